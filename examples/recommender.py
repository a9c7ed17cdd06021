"""
Title: Recommender with a changing catalog
Description: Compares ways to retrain next-item prediction while its items change.
"""

"""
## Introduction

This example is for engineers whose model has one output per item. A shop's model sees
the last items of a user and predicts the next one. Its embedding has one row per item,
and its head one output per item. In each period, some items leave the shop and new ones
arrive. The lookup layer is rebuilt from the latest sales, best-selling items first, so
nearly every item gets another index. We compare three ways to retrain:

- **warm start**: the embedding, the head and their optimizer slots follow the items.
- **head left behind**: only the embedding follows. The head keeps its old outputs.
- **new model**: a new model each period, trained only on that period.

To run it as a script:

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
CAPACITY = 400  # rows and outputs: more than the items of any period
HISTORY, OUTPUT_DIM, EPOCHS, AT = 3, 16, 3, 10
WARM, LEFT_BEHIND, NEW = "warm start", "head left behind", "new model"
ARMS = (WARM, LEFT_BEHIND, NEW)

parser = argparse.ArgumentParser(
    description="Next-item prediction while the catalogue changes every period."
)
parser.add_argument("--quick", action="store_true", help="three periods")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--json", help="also write the results to this file")
# In a notebook, `sys.argv` has the arguments of the kernel, so all defaults are used.
args = parser.parse_args(None if "__file__" in globals() else [])
periods = 3 if args.quick else PERIODS
keras.utils.set_random_seed(args.seed)

"""
## The shop

The sessions are simulated. Each item has a style and each user a taste, both points in
the plane. The probability that a user takes an item falls with the distance between the
two. New items have new styles. Sessions are in order of time.
"""


class Shop:
    """Simulates sessions from items with styles and users with tastes."""

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
        """Returns the sessions of a period, and then replaces some of the items."""
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

The lookup layer gets the sold items, best-selling first. Three consecutive items are an
example, and the next item is its target. Both are ids of the current lookup layer.
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

The model averages the rows of the last items and computes one score per item.
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
    """Returns the share of next items in the top ten. An unknown item is a miss."""
    scores = model.predict(histories, batch_size=1024, verbose=0)
    best = np.argpartition(-scores, AT, axis=1)[:, :AT]
    return float(((best == following[:, None]).any(axis=1) & (following > 0)).mean())


"""
## The warm start

The embedding knows its lookup layer. You must name the head, because a model does not
record what its outputs stand for.
"""


def train(arm: str, model: keras.Model, sessions: list[list[str]]):
    """Trains a model on a period, and returns the report of its warm start, if any."""
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
## The loop over periods

The models are tested on each period before they are trained on it.
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
The last warm start moved the rows of the embedding, the outputs and biases of the head,
and the slots of all of them.
"""

print("The last warm start:", report, "", sep="\n")

"""
## Results
"""

table = pd.DataFrame(rows).set_index("period")
table.loc[f"mean of 2-{periods}"] = table[1:].mean()
print(f"Share of the next period's next items in the top {AT} predictions:")
print(table.to_string(float_format=lambda share: f"{share:.3f}"))

if args.json:
    with open(args.json, "w") as file:
        json.dump({"at": AT, "periods": rows}, file, indent=1)

"""
In the first period, nothing has moved yet. From the second period on, the warm start
is best. A head left behind is worse than a new model, because its outputs now stand for
other items.
"""
