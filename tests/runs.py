"""A run of Monday, saved in each of the ways a run of Tuesday can start from."""

import zipfile
from pathlib import Path

import keras
import numpy as np
from models import BACKEND, EAGER, JIT, array, optimizer, variables

from warmstart_keras import WarmStartEmbedding, warm_start

# Where a weights file holds what the rows of `build`'s embedding stand for.
KEY = "layers/warm_start_embedding/vars/vocabulary"
BASE = list("abcdefg")
NEW = [*"gxcbay", "new", "words"]
LENGTH = 3
SOURCES = ["archive", "directory model", "weights", "directory", "live"]
if BACKEND == "tensorflow":
    SOURCES += ["tensorflow checkpoint", "tensorflow directory"]


def lookup(words=BASE):
    return keras.layers.StringLookup(vocabulary=list(words))


def build(
    source,
    embedding=WarmStartEmbedding,
    *,
    extra=False,
    width=4,
    made="Adam",
    eager=EAGER,
):
    """ids -> embedding -> scores; `extra` puts two layers more before the last."""
    if embedding is WarmStartEmbedding:
        words = WarmStartEmbedding(output_dim=width, vocabulary=source, name="words")
    else:
        words = embedding(source.vocabulary_size(), width, name="words")
    ids = keras.Input((LENGTH,), dtype="int32")
    hidden = keras.layers.Flatten()(words(ids))
    hidden = keras.layers.Dense(5, name="first")(hidden)
    hidden = keras.layers.BatchNormalization(name="norm")(hidden)
    if extra:
        hidden = keras.layers.Dense(5, name="one more")(hidden)
        hidden = keras.layers.Dense(5, name="and another")(hidden)
    model = keras.Model(ids, keras.layers.Dense(1, name="last")(hidden))
    model.compile(optimizer(made, 0.01), "mse", jit_compile=JIT, run_eagerly=eager)
    return model


def train(model, rows, steps=3, seed=0):
    """Trains a model on ids below `rows`; gives the losses."""
    rng = np.random.default_rng(seed)
    model.reset_metrics()  # of some versions of Keras the loss is a mean of all so far
    return [
        float(
            model.train_on_batch(rng.integers(0, rows, (8, LENGTH)), rng.random((8, 1)))
        )
        for _ in range(steps)
    ]


def saved(model, kind, folder):
    """The model as a previous run of that kind."""
    folder = Path(folder)
    if kind == "live":
        return model
    if kind == "weights":
        path = folder / "run.weights.h5"
        model.save_weights(path)
        return path
    if kind == "directory model":
        model.save(folder / "model", zipped=False)
        return folder / "model"
    if kind.startswith("tensorflow"):
        import tensorflow as tf

        checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        path = checkpoint.save(folder / "tf" / "run")
        return folder / "tf" if kind.endswith("directory") else path
    path = folder / "run.keras"
    model.save(path)
    return folder if kind == "directory" else str(path)


def told(kind, words=BASE):
    """The base vocabulary, for a run that does not tell it."""
    if not kind.startswith("tensorflow"):
        return {}
    return {"base_vocabularies": {"words": ["[UNK]", *words]}}


def bits(model):
    """All of model and optimizer, bit for bit, in its order."""
    return [(v.shape, array(v).tobytes()) for v in variables(model)]


class Day:
    """A model trained on Monday, and the same moved to Tuesday's words in its process."""

    def __init__(self, **options):
        keras.utils.set_random_seed(0)
        self.source = lookup()
        self.model = build(self.source, **options)
        train(self.model, len(BASE) + 1)

    def go_on(self):
        """The chain in one process: rebuild, move; gives the state it has then."""
        self.source.set_vocabulary(NEW)
        warm_start(self.model, verbose=0)
        return bits(self.model)


def rewritten(archive, path, member, content):
    """A copy of an archive with other content of one member; None leaves it out."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            data = old.read(info) if info.filename != member else content
            if data is not None:
                new.writestr(info.filename, data)
    return path
