"""`warmstart_embedding_matrix`, beside the function of Keras 2.15 that it replaces.

That one is still in `tf_keras`. Where its results are sound it is the oracle; where they
are not, a test shows what it does and what is right.
"""

import keras
import ml_dtypes
import numpy as np
import pytest
import strategies
import tensorflow as tf
import tf_keras
from hypothesis import given
from models import array_of, is_held, tensor_of, warns_unless_held
from tf_keras.src.utils.layer_utils import warmstart_embedding_matrix as old_function

from warmstart_keras import WarmStartError, warmstart_embedding_matrix

Constant = keras.initializers.Constant


def matrix(rows, width=2, start=0):
    """A matrix in which every value is another."""
    values = np.arange(start, start + rows * width, dtype="float32")
    return values.reshape(rows, width)


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def moved(base, new, base_embeddings, initializer="zeros"):
    return numpy(warmstart_embedding_matrix(base, new, base_embeddings, initializer))


def moved_by_old(base, new, base_embeddings, initializer="zeros"):
    return old_function(base, new, base_embeddings, initializer).numpy()


# --- where the old function is sound ---

# No repeated tokens in the base, the same kind of strings on both sides, rows and tokens
# of the same number, no line ends in tokens. Special names were no matter there.
WORDS = ["", "[UNK]", "the", "a", "a b", "A", "1", "é", "e\u0301", "日本", "\U0001f600"]
WORDS += [f"word{i}" for i in range(9)]

KINDS = {
    "lists": [list],
    "tuples": [tuple],
    "arrays of text": [np.array],
    "arrays of objects": [lambda words: np.array(words, dtype=object)],
    "arrays of bytes": [lambda words: np.array([word.encode() for word in words])],
    "tensors": [tf.constant],
    "lists, tuples and arrays": [list, tuple, np.array],
}


def agrees(rng, makers):
    """Compares both functions on one pair of random vocabularies."""
    base = rng.permutation(WORDS)[: rng.integers(1, len(WORDS))].tolist()
    new = rng.choice(WORDS, rng.integers(1, len(WORDS))).tolist()  # may repeat words
    width = int(rng.integers(1, 4))
    base_embeddings = rng.normal(size=(len(base), width)).astype("float32")
    initial = rng.normal(size=(len(new), width)).astype("float32")
    base, new = (makers[rng.integers(len(makers))](words) for words in (base, new))
    ours = moved(base, new, base_embeddings, Constant(initial))
    constant = tf_keras.initializers.Constant(initial)
    theirs = moved_by_old(base, new, base_embeddings, constant)
    return ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


@pytest.mark.dealt
@pytest.mark.parametrize("kind", KINDS)
def test_300_random_pairs_of_vocabularies_give_what_the_old_function_gave(kind):
    rng = np.random.default_rng([300, *kind.encode()])
    different = [i for i in range(300) if not agrees(rng, KINDS[kind])]
    assert different == []


def test_50_random_pairs_of_files_give_what_the_old_function_gave(tmp_path):
    def file(words):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.txt"
        path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        return str(path)

    rng = np.random.default_rng(50)
    different = [i for i in range(50) if not agrees(rng, [file, list])]
    assert different == []


@given(strategies.list_pairs(unique_base=True))
def test_any_text_gives_what_the_old_function_gave(pair):
    base, new = pair
    base_embeddings, initial = matrix(len(base)), -1 - matrix(len(new))
    ours = moved(base, new, base_embeddings, Constant(initial))
    constant = tf_keras.initializers.Constant(initial)
    assert np.array_equal(ours, moved_by_old(base, new, base_embeddings, constant))


@pytest.mark.parametrize("initializer", ["zeros", "ones", "identity"])
def test_names_of_initializers_give_what_the_old_function_gave(initializer):
    arguments = ["a", "b"], ["c", "b", "d"], matrix(2, width=3), initializer
    assert np.array_equal(moved(*arguments), moved_by_old(*arguments))


def test_an_initializer_of_the_users_own_gives_what_the_old_function_gave():
    def values(shape):
        return np.arange(np.prod(shape), dtype="float32").reshape(shape)

    class Ramp(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return values(shape)

    class OldRamp(tf_keras.initializers.Initializer):
        def __call__(self, shape, dtype=None, **kwargs):
            return values(shape)

    pair = ["a", "b"], ["c", "b", "d"], -matrix(2)
    assert np.array_equal(moved(*pair, Ramp()), moved_by_old(*pair, OldRamp()))


def test_the_example_of_the_old_documentation_gives_what_the_old_function_gave():
    base = tf.constant(["unk", "a", "b", "c"])
    new = tf.constant(["unk", "unk", "a", "b", "c", "d", "e"])
    rng = np.random.default_rng(0)
    base_embeddings, initial = rng.random((4, 3)), rng.random((7, 3))
    old_constant = tf_keras.initializers.Constant(initial)
    with warns_unless_held("float64"):
        ours = moved(base, new, base_embeddings, Constant(initial))
    theirs = moved_by_old(base, new, base_embeddings, old_constant)
    assert theirs.dtype == np.float64
    assert ours.dtype == ("float64" if is_held("float64") else "float32")
    assert np.array_equal(ours, theirs.astype(ours.dtype))


def test_arguments_can_be_named_as_in_the_old_function():
    result = warmstart_embedding_matrix(
        base_vocabulary=["a", "b"],
        new_vocabulary=["b", "c"],
        base_embeddings=matrix(2),
        new_embeddings_initializer="zeros",
    )
    assert numpy(result).tolist() == [[2, 3], [0, 0]]


def test_vocabularies_without_a_word_in_common_are_allowed():
    assert moved(["a"], ["b", "c"], matrix(1), "ones").tolist() == [[1, 1], [1, 1]]


def test_a_token_that_is_repeated_in_the_new_vocabulary_is_copied_for_each():
    result = moved(["unk", "a"], ["unk", "unk", "a"], matrix(2))
    assert result.tolist() == [[0, 1], [0, 1], [2, 3]]


def test_no_special_row_is_added_or_recognised():
    base = ["", "[UNK]", "a"]
    assert moved(base, ["a"], matrix(3)).tolist() == [[4, 5]]
    result = moved(base, ["[UNK]", "[UNK]", "a", ""], matrix(3))
    assert result.tolist() == [[2, 3], [2, 3], [4, 5], [0, 1]]


def test_a_plain_callable_is_called_for_the_whole_matrix_as_keras_calls_it():
    asked = []

    def initializer(shape, dtype=None):
        asked.append((tuple(shape), keras.backend.standardize_dtype(dtype)))
        return keras.ops.ones(shape, dtype)

    result = moved(["a", "b"], ["c", "b", "d"], matrix(2), initializer)
    assert asked == [((3, 2), "float32")]
    assert result.tolist() == [[1, 1], [2, 3], [1, 1]]


@pytest.mark.parametrize("initializer", ["uniform", keras.initializers.RandomUniform])
def test_the_same_arguments_give_the_same_random_rows(initializer):
    arguments = ["a"], ["a", "b"], matrix(1), initializer
    first = moved(*arguments)
    keras.utils.set_random_seed(1234)
    assert np.array_equal(moved(*arguments), first)


# --- what is taken and what is given ---


@pytest.mark.parametrize(
    "wrap",
    [np.asarray, tf.constant, tf.Variable, keras.ops.convert_to_tensor, keras.Variable],
    ids=["array", "tf.constant", "tf.Variable", "tensor of the backend", "Variable"],
)
def test_the_result_is_a_tensor_of_the_backend_whatever_the_matrix(wrap):
    result = warmstart_embedding_matrix(["a", "b"], ["b"], wrap(matrix(2)))
    assert keras.ops.is_tensor(result)
    assert not isinstance(result, keras.Variable)
    assert numpy(result).tolist() == [[2, 3]]


@pytest.mark.parametrize(
    "dtype",
    ["float16", ml_dtypes.bfloat16, "float32", "float64"],
    ids=lambda dtype: np.dtype(dtype).name,
)
def test_the_dtype_of_the_matrix_is_kept(dtype):
    arguments = ["a", "b"], ["c", "b"], matrix(2).astype(dtype), "ones"
    with warns_unless_held(dtype):
        result = warmstart_embedding_matrix(*arguments)
    kept = np.dtype(dtype).name if is_held(dtype) else "float32"
    assert keras.backend.standardize_dtype(result.dtype) == kept
    assert numpy(result).tolist() == [[1, 1], [2, 3]]


@pytest.mark.parametrize("dtype", ["float64", "int64", "complex128"])
def test_a_matrix_that_the_backend_cannot_hold_is_warned_of_where_no_row_is_new(dtype):
    large = np.array([[2**40 + 1]], dtype)
    with warns_unless_held(dtype):
        result = warmstart_embedding_matrix(["a"], ["a", "a"], large)
    if is_held(dtype):
        assert numpy(result).tolist() == [[2**40 + 1]] * 2


@pytest.mark.parametrize("wrap", [np.asarray, tensor_of], ids=["array", "tensor"])
@pytest.mark.parametrize(
    "dtype",
    [*filter(is_held, ["float16", ml_dtypes.bfloat16, "float32", "float64", "int64"])],
    ids=lambda dtype: np.dtype(dtype).name,
)
def test_kept_rows_are_equal_bit_for_bit_in_tensors_of_the_backend(dtype, wrap):
    dtype = np.dtype(dtype)
    # NaNs of any payload and -0.0 are among these.
    values = np.random.default_rng(0).bytes(2 * 513 * dtype.itemsize)
    values = np.frombuffer(bytearray(values), dtype).reshape(2, 513)
    result = warmstart_embedding_matrix(["a", "b"], ["b", "a"], wrap(values))
    assert array_of(result).tobytes() == values[::-1].tobytes()


@pytest.mark.parametrize(
    "make",
    [list, np.array, tf.constant, keras.ops.convert_to_tensor],
    ids=["list", "array", "tf.constant", "tensor of the backend"],
)
def test_vocabularies_may_be_integers_in_tensors_of_the_backend(make):
    result = moved(make([7, 5]), make([5, 9, 7]), matrix(2))
    assert result.tolist() == [[2, 3], [0, 0], [0, 1]]


def test_the_matrix_that_is_given_stays_as_it_is():
    base_embeddings = matrix(2)
    warmstart_embedding_matrix(["a", "b"], ["b", "c"], base_embeddings)
    assert np.array_equal(base_embeddings, matrix(2))


def test_a_matrix_must_have_two_axes():
    with pytest.raises(WarmStartError, match=r"\(2, width\)\. Received: shape=\(2,\)"):
        warmstart_embedding_matrix(["a", "b"], ["b"], np.zeros(2))


def test_a_matrix_must_hold_numbers():
    message = "`base_embeddings` must have a numeric dtype"
    with pytest.raises(WarmStartError, match=message):
        warmstart_embedding_matrix(["a"], ["b"], np.array([["x"]]))


def test_a_vocabulary_that_cannot_be_read_is_refused():
    with pytest.raises(WarmStartError, match="A vocabulary must be a lookup layer"):
        warmstart_embedding_matrix(None, ["b"], matrix(1))


def test_what_is_no_initializer_is_refused():
    with pytest.raises(WarmStartError, match="must be a Keras initializer"):
        warmstart_embedding_matrix(["a"], ["b"], matrix(1), "no such")


def test_lookup_layers_are_vocabularies_too():
    base = keras.layers.TextVectorization(vocabulary=["a", "b"])
    new = keras.layers.TextVectorization(vocabulary=["b", "c"])
    result = moved(base, new, matrix(4))
    assert result.tolist() == [[0, 1], [2, 3], [6, 7], [0, 0]]


# --- where the old function is silently wrong, or fails ---


def test_bytes_match_text_where_the_old_function_matched_nothing():
    arguments = tf.constant(["a", "b"]), ["b", "a"], matrix(2)
    assert moved(*arguments).tolist() == [[2, 3], [0, 1]]
    assert not moved_by_old(*arguments).any()


def test_repeated_tokens_match_in_order_where_the_old_function_lost_the_first():
    arguments = ["unk", "unk", "a"], ["unk", "unk", "a"], matrix(3)
    assert moved(*arguments).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert moved_by_old(*arguments).tolist() == [[2, 3], [2, 3], [4, 5]]


def test_the_last_of_repeated_tokens_serves_where_the_new_vocabulary_has_more():
    result = moved(["unk", "unk", "a"], ["unk"] * 4, matrix(3))
    assert result.tolist() == [[0, 1], [2, 3], [2, 3], [2, 3]]


def test_none_means_uniform_as_documented_where_the_old_function_failed():
    arguments = ["a"], ["a", "b"], matrix(1)
    result = moved(*arguments, None)
    assert np.array_equal(result, moved(*arguments, "uniform"))
    assert 0 < abs(result[1]).max() <= 0.05
    with pytest.raises(TypeError, match="not callable"):
        moved_by_old(*arguments, None)


MISFIT = r"must have shape \(len\(base_vocabulary\), width\).*`base_vocabulary`"


def test_a_vocabulary_shorter_than_the_matrix_is_refused_that_the_old_one_let_pass():
    arguments = ["a"], ["a"], matrix(2)
    with pytest.raises(WarmStartError, match=MISFIT):
        warmstart_embedding_matrix(*arguments)
    assert moved_by_old(*arguments).tolist() == [[0, 1]]


def test_a_vocabulary_longer_than_the_matrix_is_refused_that_the_old_one_let_pass():
    arguments = ["a", "b", "c"], ["a", "b"], matrix(2)
    with pytest.raises(WarmStartError, match=MISFIT):
        warmstart_embedding_matrix(*arguments)
    assert moved_by_old(*arguments).tolist() == [[0, 1], [2, 3]]


def test_a_vocabulary_longer_than_the_matrix_is_named_where_the_old_one_broke_inside():
    arguments = ["a", "b", "c"], ["c"], matrix(2)
    with pytest.raises(WarmStartError, match=MISFIT):
        warmstart_embedding_matrix(*arguments)
    with pytest.raises(tf.errors.InvalidArgumentError, match="GatherV2"):
        moved_by_old(*arguments)


@pytest.mark.parametrize("wrap", [list, tuple])
def test_a_matrix_may_be_a_list_where_the_old_function_failed(wrap):
    arguments = ["a", "b"], ["b", "c"], wrap([[0.0, 0.1], [1.0, 1.1]])
    result = warmstart_embedding_matrix(*arguments, "zeros")
    assert keras.backend.standardize_dtype(result.dtype) == keras.config.floatx()
    assert numpy(result).tolist() == np.float32([[1.0, 1.1], [0, 0]]).tolist()
    with pytest.raises(AttributeError, match="shape"):
        moved_by_old(*arguments)


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_lines_of_a_file_end_at_lf_alone_where_the_old_function_broke_words(
    tmp_path, end
):
    path = tmp_path / "words.txt"
    path.write_text(f"a{end}b\nc\n", encoding="utf-8")
    arguments = str(path), ["c", f"a{end}b"], matrix(2)
    assert moved(*arguments).tolist() == [[2, 3], [0, 1]]
    # There the file has three tokens: "c" is its third, of a matrix with two rows.
    with pytest.raises(tf.errors.InvalidArgumentError, match="GatherV2"):
        moved_by_old(*arguments)
