"""Models with more than one variable that has a vocabulary, for tests of all of them.

`Kind` makes one; `expected` is the slow and obvious oracle of what a warm start does.
"""

from dataclasses import dataclass, field

import keras
import numpy as np
import pytest
from models import JIT, array

from warmstart_keras import Binding, WarmStartEmbedding

OOV = "[UNK]"
BASE = list("abcdefg")
REBUILDS = {
    "same size": list("gxbayce"),
    "grown": list("hxcaeybgzd"),
    "shrunk": list("gxbae"),
}
WIDTH, LENGTH, HIDDEN = 6, 4, 9


def layer(kind, *args, **kwargs):
    """A layer of Keras; where this version has none so named, a skip."""
    if not hasattr(keras.layers, kind):
        pytest.skip(f"Keras {keras.__version__} has no keras.layers.{kind}")
    return getattr(keras.layers, kind)(*args, **kwargs)


def lookup(tokens=BASE, **kwargs):
    return keras.layers.StringLookup(vocabulary=tokens, **kwargs)


def ids_of(source, tokens):
    return np.asarray(array(source(np.array(tokens))))


@keras.saving.register_keras_serializable("tests")
class Scores(keras.layers.Layer):
    """A head of the user's own, with a scale and a bias for each item."""

    def __init__(self, items, **kwargs):
        super().__init__(**kwargs)
        self.items = items

    def build(self, input_shape):
        self.table = self.add_weight(
            shape=(input_shape[-1], self.items), initializer="normal", name="table"
        )
        self.prior = self.add_weight(
            shape=(self.items,), initializer="normal", name="prior"
        )

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.table) + self.prior

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.items)

    def get_config(self):
        return {**super().get_config(), "items": self.items}


@dataclass
class Kind:
    """A model over the ids of one lookup layer, that gives logits for the same tokens.

    Attributes:
        make: Makes the model's layers for so many tokens.
        axes: For each variable with a vocabulary its path's end and its axis.
        named: What has to be named in `vocabularies`.
    """

    make: object
    axes: dict
    named: list = field(default_factory=list)

    def model(self, source, optimizer=None, *, eager=True):
        """The model; to compile functions takes long, and is the matter of few tests."""
        keras.utils.set_random_seed(3)
        model = self.make(source, source.vocabulary_size())
        model.compile(
            optimizer or keras.optimizers.Adam(0.1, name="adam"),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            run_eagerly=eager,
            jit_compile=JIT and not eager,
        )
        return model

    def vocabularies(self, source):
        return dict.fromkeys(self.named, source)

    def axis(self, path):
        """The axis along which a variable, or a slot of it, has the vocabulary."""
        path = path.replace("/", "_").removesuffix("_momentum").removesuffix("_velocity")
        for end, axis in self.axes.items():
            if path.endswith(end.replace("/", "_")):
                return axis
        return None


def _language_model(embedding, head):
    """ids -> embedding -> hidden -> head."""
    ids = keras.Input((LENGTH,), dtype="int32")
    hidden = keras.layers.Dense(WIDTH, "tanh", name="hidden")(embedding(ids))
    return keras.Model(ids, head(hidden))


def _with_head(make_head):
    def make(source, rows):
        words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=source, name="words")
        return _language_model(words, make_head(rows))

    return make


def _reversible(tied, lora=False):
    def make(source, rows):
        words = layer("ReversibleEmbedding", rows, WIDTH, tie_weights=tied, name="words")
        model = _language_model(words, lambda hidden: words(hidden, reverse=True))
        if lora:
            words.enable_lora(2, b_initializer="normal")
        return model

    return make


def _dense_with_lora(rows):
    head = keras.layers.Dense(rows, name="head")
    head.build((None, LENGTH, WIDTH))
    head.enable_lora(2, b_initializer="normal")
    return head


def _einsum(equation):
    def make_head(rows):
        shape = rows if "..." in equation else (None, rows)
        return keras.layers.EinsumDense(equation, shape, bias_axes="v", name="head")

    return make_head


def _nested(source, rows):
    """A head in a model in a model, and an embedding in another one."""
    ids = keras.Input((LENGTH,), dtype="int32")
    words = keras.layers.Embedding(rows, WIDTH, name="words")
    left = keras.Model(ids, words(ids), name="left")
    head = keras.Sequential(
        [
            keras.Input((LENGTH, WIDTH)),
            keras.layers.Dense(HIDDEN, name="hidden"),
            keras.layers.Dense(rows, name="head"),
        ],
        name="right",
    )
    outer = keras.Input((LENGTH,), dtype="int32")
    return keras.Model(outer, keras.layers.Activation("linear")(head(left(outer))))


def _two_embeddings(source, rows):
    """Two embeddings on one vocabulary, one of them on two inputs."""
    ids = keras.Input((LENGTH,), dtype="int32")
    words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=source, name="words")
    others = WarmStartEmbedding(output_dim=WIDTH, vocabulary=source, name="others")
    once, again = words(ids), words(keras.ops.flip(ids, axis=1))
    joined = keras.layers.Concatenate()([once, others(ids), again])
    hidden = keras.layers.Dense(HIDDEN, name="hidden")(joined)
    return keras.Model(ids, keras.layers.Dense(rows, name="head")(hidden))


def _normalised(kind):
    def make_head(rows):
        head, after = keras.layers.Dense(rows, name="head"), layer(kind, name="after")
        return lambda hidden: after(keras.layers.Dropout(0.1)(head(hidden)))

    return make_head


def _own(rows):
    return Scores(rows, name="head")


_KERNEL = {"words/embeddings": 0, "head/kernel": 1, "head/bias": 0}
_OWN = [
    Binding("head", "table", axis=1, size="items"),
    Binding("head", "prior", size="items"),
]
KINDS = {
    "tied": Kind(_reversible(True), {"words/embeddings": 0}, ["words"]),
    "untied": Kind(
        _reversible(False), {"reverse_embeddings": 1, "words/embeddings": 0}, ["words"]
    ),
    "tied with LoRA": Kind(
        _reversible(True, lora=True),
        {"words/embeddings": 0, "lora_embeddings_a": 0},
        ["words"],
    ),
    "dense": Kind(
        _with_head(lambda rows: keras.layers.Dense(rows, name="head")), _KERNEL, ["head"]
    ),
    "dense without bias": Kind(
        _with_head(lambda rows: keras.layers.Dense(rows, use_bias=False, name="head")),
        _KERNEL,
        ["head"],
    ),
    "dense with LoRA": Kind(
        _with_head(_dense_with_lora), _KERNEL | {"lora_kernel_b": 1}, ["head"]
    ),
    "einsum": Kind(_with_head(_einsum("btd,dv->btv")), _KERNEL, ["head"]),
    "einsum, words first": Kind(
        _with_head(_einsum("...d,vd->...v")), _KERNEL | {"head/kernel": 0}, ["head"]
    ),
    "time-distributed": Kind(
        _with_head(
            lambda rows: keras.layers.TimeDistributed(
                keras.layers.Dense(rows, name="head"), name="each"
            )
        ),
        _KERNEL,
        ["each"],
    ),
    "nested": Kind(_nested, _KERNEL, ["words", "head"]),
    "two embeddings": Kind(_two_embeddings, _KERNEL | {"others/embeddings": 0}, ["head"]),
    "of the user's own": Kind(
        _with_head(_own), {"words/embeddings": 0, "table": 1, "prior": 0}, _OWN
    ),
    "batch-normalised": Kind(
        _with_head(_normalised("BatchNormalization")),
        _KERNEL
        | {f"after/{n}": 0 for n in ("gamma", "beta", "moving_mean", "moving_variance")},
        ["head"],
    ),
    "layer-normalised": Kind(
        _with_head(_normalised("LayerNormalization")),
        _KERNEL | {"after/gamma": 0, "after/beta": 0},
        ["head"],
    ),
}
KEEP_THEIR_WIDTH = ("batch-normalised", "layer-normalised")


def expected(before, axis, base, new, after):
    """What a variable must be: kept entries as they were; `after` where they are new."""
    if axis is None:
        return before
    moved = np.moveaxis(after.copy(), axis, 0)
    for row, token in enumerate(new):
        if token in base:
            moved[row] = np.moveaxis(before, axis, 0)[base.index(token)]
    return np.moveaxis(moved, 0, axis)
