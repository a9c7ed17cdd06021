"""
Title: A recommender whose items come and go
Description: Next-item prediction while the catalogue changes every period.
"""

"""
## Introduction

A shop's model sees a user's last items and predicts the next one. Its embedding has a
row for each item, and its head an output for each. Every period some items leave the
shop and new ones come, and the lookup layer is rebuilt from what was sold lately,
the best-selling first: nearly every item gets another index. Three ways to go on:

- **warm start**: embedding, head and the optimizer's state for both follow the items.
- **head left behind**: only the embedding follows; the head goes on with its old outputs.
- **new model**: built anew each period, trained on that period alone.

As a script:

```sh
pip install "warmstart-keras[examples]"
python recommender.py            # about a minute on two CPU cores
python recommender.py --quick    # three periods
```
"""

"""
## Setup
"""

import argparse
import json

import keras
import numpy as np
import pandas as pd

from warmstart_keras import VocabularyWarmStart, WarmStartEmbedding

CATALOGUE, COME_AND_GO, PERIODS, SESSIONS, SESSION_LENGTH = 300, 40, 8, 3000, 6
CAPACITY = 400  # rows and outputs: more than there are items at a time
HISTORY, OUTPUT_DIM, EPOCHS, AT = 3, 16, 3, 10
WARM, LEFT_BEHIND, NEW = "warm start", "head left behind", "new model"
ARMS = (WARM, LEFT_BEHIND, NEW)

parser = argparse.ArgumentParser(
    description="Next-item prediction while the catalogue changes every period."
)
parser.add_argument("--quick", action="store_true", help="three periods")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--json", help="also write the results to this file")
# A notebook is no file, and its command line is the kernel's: all as by default.
args = parser.parse_args(None if "__file__" in globals() else [])
periods = 3 if args.quick else PERIODS
keras.utils.set_random_seed(args.seed)

"""
## The shop

Nobody's clicks are in here. They are made from a stated model of taste: every item has a
style (a point in the plane), every user a taste (another one), and a user takes an item
with a probability that falls with its distance; the shop's new items have new styles.
Sessions come in the order of time.
"""


class Shop:
    """Makes sessions from a model of taste, in the order of time."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        self._styles = self._draw.uniform(-1, 1, size=(0, 2))
        self._items: list[str] = []
        self._made = 0
        self._add(CATALOGUE)

    def _add(self, number: int) -> None:
        self._styles = np.vstack([self._styles, self._draw.uniform(-1, 1, (number, 2))])
        self._items += [f"item {self._made + i}" for i in range(number)]
        self._made += number

    def next_period(self) -> list[list[str]]:
        """The sessions of a period, after which some items leave and others come."""
        tastes = self._draw.uniform(-1, 1, size=(SESSIONS, 2))
        distances = np.linalg.norm(tastes[:, None] - self._styles[None], axis=2)
        weights = np.exp(-8 * distances)
        weights /= weights.sum(axis=1, keepdims=True)
        drawn = self._draw.uniform(size=(SESSIONS, SESSION_LENGTH, 1))
        taken = (drawn > weights.cumsum(axis=1)[:, None]).sum(axis=2)
        sessions = [[self._items[i] for i in row] for row in taken.clip(0, CATALOGUE - 1)]
        left = self._draw.permutation(len(self._items))[COME_AND_GO:]
        self._styles = self._styles[left]
        self._items = [self._items[i] for i in left]
        self._add(COME_AND_GO)
        return sessions


"""
## From sessions to ids

The lookup layer gets the items that were sold, the best-selling first. Each three items
in a row are an example, and the next one its target: ids of today's lookup.
"""

items = keras.layers.StringLookup()


def by_sales(sessions: list[list[str]]) -> list[str]:
    return pd.Series(np.concatenate(sessions)).value_counts().index.tolist()


def examples_of(sessions: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    ids = keras.ops.convert_to_numpy(items(np.array(sessions)))
    starts = range(SESSION_LENGTH - HISTORY)
    histories = np.concatenate([ids[:, start : start + HISTORY] for start in starts])
    return histories, np.concatenate([ids[:, start + HISTORY] for start in starts])


"""
## The model

The last items, the mean of their rows, and a score for each item that may be next.
"""


def build_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((HISTORY,), dtype="int32"),
            WarmStartEmbedding(CAPACITY, OUTPUT_DIM, vocabulary=items, name="items"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(CAPACITY, name="next_item"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss)
    return model


def hits(model: keras.Model, histories: np.ndarray, following: np.ndarray) -> float:
    """How often the next item is among the first ten; unknown ones are no hit."""
    scores = model.predict(histories, batch_size=1024, verbose=0)
    best = np.argpartition(-scores, AT, axis=1)[:, :AT]
    return float(((best == following[:, None]).any(axis=1) & (following > 0)).mean())


"""
## The warm start

The embedding knows its lookup layer. The head has to be named once: nothing in a model
says what its outputs stand for.
"""


def train(arm: str, model: keras.Model, sessions: list[list[str]]):
    """Trains a model on a period; returns the report of its warm start, if any."""
    named = {"next_item": items} if arm == WARM else None
    callback = VocabularyWarmStart(named, verbose=0)
    histories, following = examples_of(sessions)
    model.fit(
        histories,
        following,
        batch_size=128,
        epochs=EPOCHS,
        callbacks=[callback],
        verbose=0,
    )
    return callback.report


"""
## The periods go by

Each period is tested on before anything of it is trained on.
"""

shop = Shop(args.seed)
sessions = shop.next_period()
models, rows, report = {}, [], None
for period in range(1, periods + 1):
    items.set_vocabulary(by_sales(sessions))
    for arm in ARMS:
        if arm not in models or arm == NEW:
            models[arm] = build_model()
        made = train(arm, models[arm], sessions)
        report = made if arm == WARM and made is not None else report
    sessions = shop.next_period()
    tested = examples_of(sessions)
    shares = {arm: hits(model, *tested) for arm, model in models.items()}
    rows.append({"period": period, **shares})

"""
The last warm start moved rows of the embedding, outputs and biases of the head, and the
slots of all of them.
"""

print("The last warm start:", report, "", sep="\n")

"""
## What came of it
"""

table = pd.DataFrame(rows).set_index("period")
table.loc["mean of 2-"] = table[1:].mean()
print(f"How often the next period's next item is among the first {AT}:")
print(table.to_string(float_format=lambda share: f"{share:.3f}"))

if args.json:
    with open(args.json, "w") as file:
        json.dump({"at": AT, "periods": rows}, file, indent=1)

"""
In the first period nothing has moved yet. From the second on, the warm start is best. A
head left behind is worse than a new model: each of its outputs stands for another item.
"""
