"""Small models and views of their state, for tests of what happens to a model."""

import importlib.util
from contextlib import nullcontext
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import pytest

from warmstart_keras import WarmStartEmbedding, WarmStartError
from warmstart_keras.backend import tensors

BACKEND = keras.backend.backend()
# On TensorFlow XLA takes seconds to compile what runs for milliseconds; on JAX nothing is
# compiled without it.
JIT = "auto" if BACKEND == "jax" else False
# On TensorFlow a step of training is traced in a second, so most models over ids run
# eagerly there. Models over texts are traced.
EAGER = BACKEND == "tensorflow"
KERAS = tuple(map(int, keras.__version__.split(".")[:2]))
on_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="is about TensorFlow itself: tf.function, export, ..."
)
with_strings_in_model = pytest.mark.skipif(
    BACKEND != "tensorflow",
    reason="strings enter a model on the TensorFlow backend alone",
)

WIDTH = 4
LENGTH = 5
BASE = list("abcdefgh")
REBUILDS = {
    "same size": list("hgxbaycd"),
    "grown": list("hxcaeybzdgw"),
    "shrunk": list("gxbae"),
}
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


def optimizer(name, *args, **kwargs):
    """One of Keras's optimizers; where this Keras has none so named, a skip."""
    if not hasattr(keras.optimizers, name):
        pytest.skip(f"Keras {keras.__version__} has no keras.optimizers.{name}")
    if name == "Muon" and KERAS < (3, 13) and BACKEND == "tensorflow":
        pytest.skip(f"Muon of Keras {keras.__version__} cannot train on TensorFlow")
    return getattr(keras.optimizers, name)(*args, **kwargs)


def lookup(made, **kwargs):
    """A lookup layer; where this Keras does not know one of its arguments, a skip."""
    try:
        return made(**kwargs)
    except ValueError as error:
        if "Unrecognized keyword" not in str(error):
            raise
        pytest.skip(f"Keras {keras.__version__}: {error}")


def in_model(layer, embedding, optimizer=None, **compile_args):
    """text -> ids -> embedding -> score, the vocabulary layer inside.

    Where strings cannot enter a model, texts become ids just before, as in a mapped
    dataset.
    """
    if BACKEND != "tensorflow":
        return mapped(on_ids(embedding, optimizer, **compile_args), layer)
    return over_texts(layer, embedding, optimizer, **compile_args)


def over_texts(layer, embedding, optimizer=None, **compile_args):
    """text -> ids -> embedding -> score: a graph that runs on TensorFlow alone."""
    texts = keras.Input((), dtype="string")
    hidden = keras.layers.Flatten()(embedding(layer(texts)))
    model = keras.Model(texts, keras.layers.Dense(1, name="score")(hidden))
    model.compile(optimizer or adam(), "mse", **{"jit_compile": JIT} | compile_args)
    return model


def on_ids(embedding, optimizer=None, **compile_args):
    """ids -> embedding -> score, for ids that a dataset was mapped to."""
    ids = keras.Input((LENGTH,), dtype="int32")
    hidden = keras.layers.Flatten()(embedding(ids))
    model = keras.Model(ids, keras.layers.Dense(1, name="score")(hidden))
    compile_args = {"jit_compile": JIT, "run_eagerly": EAGER} | compile_args
    model.compile(optimizer or adam(), "mse", **compile_args)
    return model


def text_input(layer):
    """The input of a model over texts, and their ids: as in `in_model`."""
    if BACKEND != "tensorflow":
        inputs = keras.Input((LENGTH,), dtype="int32")
        return inputs, inputs
    inputs = keras.Input((), dtype="string")
    return inputs, layer(inputs)


def named(layer):
    """`vocabularies` for the plain layer of `in_model`; None where its graph tells."""
    return None if BACKEND == "tensorflow" else {"words": layer}


def mapped(model, layer):
    """The model, whose methods take texts, and map them to ids by the layer."""
    if BACKEND != "tensorflow":
        for name in ("fit", "predict", "train_on_batch"):
            method = getattr(type(model), name)
            setattr(
                model, name, lambda x, *a, m=method, **k: m(model, ids(layer, x), *a, **k)
            )
    return model


def ids(layer, values):
    """The ids of texts, as an array."""
    return array(layer(list(values)))


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
    """Texts in the form in which they enter a model."""
    if BACKEND != "tensorflow":
        return list(values)
    import tensorflow as tf

    return tf.constant(list(values))


def numbers(values):
    """Texts as rows of integers, a number for each word: they enter every model."""
    rows = [[int.from_bytes(w.encode()[:3]) for w in text.split()] for text in values]
    return np.array([(row + [0] * LENGTH)[:LENGTH] for row in rows], "int32")


def own_step(optimizer, variables, loss):
    """A step of a training loop of one's own, as the backend has it.

    Args:
        optimizer: The optimizer.
        variables: What is trained.
        loss: A function without arguments; gives what shall become smaller.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss()
        optimizer.apply(tape.gradient(value, variables), variables)
    elif BACKEND == "torch":
        for variable in variables:
            variable.value.grad = None
        loss().backward()
        optimizer.apply([variable.value.grad for variable in variables], variables)
    else:
        import jax

        def of(values):
            with keras.StatelessScope(zip(variables, values, strict=True)):
                return loss()

        optimizer.apply(jax.grad(of)([v.value for v in variables]), variables)


def benchmark(name):
    """A command under `benchmarks/`, as a module."""
    path = Path(__file__).parent.parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def array(value):
    """A NumPy array of its own, of a variable or tensor."""
    return np.array(tensors.to_numpy(value))


def tensor_of(values):
    """A tensor of the backend with the bits of an array.

    On PyTorch Keras converts bfloat16 by way of float32, which makes one NaN of all.
    """
    if BACKEND == "torch" and values.dtype == ml_dtypes.bfloat16:
        import torch

        return torch.from_numpy(values.view("int16")).view(torch.bfloat16)
    return keras.ops.convert_to_tensor(values)


def array_of(tensor):
    """An array with the bits of a tensor of the backend."""
    if BACKEND == "torch" and keras.backend.standardize_dtype(tensor.dtype) == "bfloat16":
        import torch

        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return array(tensor)


def is_held(dtype):
    """Whether the backend has a dtype: JAX has none of 64 bits unless asked for them."""
    tensor = keras.ops.convert_to_tensor(np.zeros(1, dtype))
    return keras.backend.standardize_dtype(tensor.dtype) == np.dtype(dtype).name


def warns_unless_held(dtype):
    """Expects a warning that values are cut, where the backend has not the dtype."""
    if is_held(dtype):
        return nullcontext()
    return pytest.warns(UserWarning, match=f"{np.dtype(dtype).name}.* truncated")


def rows_by_token(before, base, new, otherwise):
    """The row of each token where it had one, else what `otherwise` has in its place."""
    rows = otherwise.copy()
    for place, token in enumerate(new):
        if token in base:
            rows[place] = before[base.index(token)]
    return rows


def variables(model):
    """All variables of a model and of its optimizer."""
    return [*model.weights, *model.optimizer.variables]


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


def assert_refused(model, message, act):
    """`act` raises `message`, and leaves weights, slots and functions as they were."""
    before = state(model)
    functions = [getattr(model, f"{name}_function") for name in ("train", "predict")]
    layers = [layer for layer in model.layers if hasattr(layer, "input_dim")]
    sizes = [layer.input_dim for layer in layers]
    with pytest.raises(WarmStartError, match=message):
        act()
    assert_same_state(before, state(model))
    assert functions == [model.train_function, model.predict_function]
    assert sizes == [layer.input_dim for layer in layers]


class StateAtFirstStep(keras.callbacks.Callback):
    """Sees the model as the first training step finds it."""

    def on_train_begin(self, logs=None):
        self.state = state(self.model)
