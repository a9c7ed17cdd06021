"""Small models and views of their state, for tests of what happens to a model."""

import keras
import numpy as np
import tensorflow as tf

from warmstart_keras import WarmStartEmbedding

WIDTH = 4
LENGTH = 5
MONDAY = ["a good good film", "a bad film film", "the plot of a film"]
TUESDAY = ["a good plot twist twist", "twist of the bad plot", "zebra plot good"]
RESHUFFLED = ["plot plot plot plot", "of of of", "the the bad good a film", "the bad"]
LABELS = np.array([[1.0], [0.0], [0.5]], "float32")


def vectorizer(texts=MONDAY, **kwargs):
    layer = keras.layers.TextVectorization(output_sequence_length=LENGTH, **kwargs)
    if texts is not None:
        layer.adapt(texts)
    return layer


def adam():
    """Adam whose variables bear the same paths in every test."""
    return keras.optimizers.Adam(name="adam")


def in_model(layer, embedding, optimizer=None, **compile_args):
    """text -> ids -> embedding -> score, the vocabulary layer inside."""
    texts = keras.Input((), dtype="string")
    hidden = keras.layers.Flatten()(embedding(layer(texts)))
    model = keras.Model(texts, keras.layers.Dense(1, name="score")(hidden))
    model.compile(optimizer or adam(), "mse", **compile_args)
    return model


def on_ids(embedding, optimizer=None, **compile_args):
    """ids -> embedding -> score, for ids that a dataset was mapped to."""
    ids = keras.Input((LENGTH,), dtype="int64")
    hidden = keras.layers.Flatten()(embedding(ids))
    model = keras.Model(ids, keras.layers.Dense(1, name="score")(hidden))
    model.compile(optimizer or adam(), "mse", **compile_args)
    return model


def trained_in_model(embedding=None, layer=None, **compile_args):
    """A model that has learned Monday's texts; its vocabulary layer; its embedding."""
    layer = layer or vectorizer()
    embedding = embedding or WarmStartEmbedding(
        output_dim=WIDTH, vocabulary=layer, name="words"
    )
    model = in_model(layer, embedding, **compile_args)
    model.fit(texts(MONDAY), LABELS, epochs=2, verbose=0)
    return model, layer, embedding


def texts(values):
    return tf.constant(list(values))


def array(value):
    """A NumPy array of its own, of a variable or tensor."""
    return np.array(value.numpy() if hasattr(value, "numpy") else value)


def state(model):
    """Every weight and optimizer variable by path, as it is now."""
    variables = list(model.weights)
    if getattr(model, "optimizer", None) is not None:
        variables += model.optimizer.variables
    return {variable.path: array(variable) for variable in variables}


def assert_same_state(before, after):
    assert list(before) == list(after)
    for path, value in before.items():
        assert value.dtype == after[path].dtype, path
        np.testing.assert_array_equal(value, after[path], err_msg=path)


class StateAtFirstStep(keras.callbacks.Callback):
    """Sees the model as the first training step finds it."""

    def on_train_begin(self, logs=None):
        self.state = state(self.model)
