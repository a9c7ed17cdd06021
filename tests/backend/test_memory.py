"""Memory that the backend takes over, and storage that it lets go of."""

import keras
import numpy as np
import pytest
from models import BACKEND, BASE, JIT, REBUILDS, WIDTH, array

from warmstart_keras import WarmStartEmbedding, warm_start, warmstart_embedding_matrix
from warmstart_keras.backend import tensors

TOKENS = [f"w{i}" for i in range(101)]
TABLE = np.arange(101 * 6, dtype="float32").reshape(101, 6)


def trained_on(model, steps=2):
    ids = np.array([[0, 1, 2]] * 4)
    for _ in range(steps):
        model.train_on_batch(ids, np.ones(4, "int32"))


def test_what_was_read_before_training_stays_what_it_was():
    words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=BASE, name="words")
    head = keras.layers.Dense(len(BASE), name="head")
    model = keras.Sequential([keras.Input((3,), dtype="int32"), words])
    model.add(keras.layers.Flatten())
    model.add(head)
    # Without logits it would clip what is negative, and some models would not learn.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=JIT)
    trained_on(model)
    source = {"words": REBUILDS["same size"], "head": REBUILDS["same size"]}
    warm_start(model, source, base_vocabularies={"head": BASE}, verbose=0)
    variables = [*model.trainable_variables, *model.optimizer.variables[2:]]
    read = [keras.ops.copy(variable.value) for variable in variables]
    views = [np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in read]
    values = [view.tobytes() for view in views]
    for _ in range(2):
        trained_on(model)
        assert array(words.embeddings).tobytes() != values[0]
        assert [view.tobytes() for view in views] == values


def test_a_result_has_memory_of_its_own():
    base = TABLE.copy()
    moved = keras.Variable(warmstart_embedding_matrix(TOKENS, TOKENS, base))
    assert array(moved).tobytes() == base.tobytes()
    moved.assign(moved + 1)
    assert base.tobytes() == TABLE.tobytes()


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "int8", "int64", "bool"]
)
def test_an_array_is_handed_over_bit_for_bit(dtype):
    if BACKEND == "jax" and dtype.endswith("64"):
        pytest.skip("JAX has no numbers of 64 bits, where it was not told to")
    kind = tensors.bfloat16() if dtype == "bfloat16" else np.dtype(dtype)
    for shape in ((3, 5), (0, 5), (1000,)):
        made = tensors.empty(shape, kind)
        made[...] = np.arange(made.size).reshape(shape) % 2
        expected = made.copy()
        given = keras.ops.convert_to_tensor(tensors.handed_over(made), dtype)
        assert not made.size or made.ctypes.data % 64 == 0
        assert tensors.to_numpy(given).tobytes() == expected.tobytes()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="holds storage on TensorFlow alone")
def test_old_storage_is_let_go_and_what_still_holds_it_fails():
    import tensorflow as tf

    words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=BASE, name="words")
    words.build()
    step = tf.function(lambda ids: words(ids))
    step(tf.constant([1]))
    old = words.embeddings.value
    warm_start(words, REBUILDS["grown"], verbose=0)
    assert old.read_value().shape[0] == 0
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not in \\[0, 0\\)"):
        step(tf.constant([1]))
