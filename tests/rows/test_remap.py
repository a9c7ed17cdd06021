"""`remap`: rows moved along an axis, and what rows without a past start from."""

import keras
import ml_dtypes
import numpy as np
import pytest
import strategies
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st
from models import is_held, tensor_of, warns_unless_held

from warmstart_keras import RowMap, Vocabulary, WarmStartError, remap
from warmstart_keras.new_rows import BaseRows

StringLookup = keras.layers.StringLookup

FLOATS = ["float16", ml_dtypes.bfloat16, "float32", "float64"]
NUMBERS = [*FLOATS, "int32", "int64", "uint8", "int8", "complex64", "complex128"]


def random_bits(shape, dtype, seed=0):
    """Every bit pattern may occur: NaNs of any payload, -0.0, subnormal numbers."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    data = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    return data.view(dtype).reshape(shape)


def bits(array):
    """The bytes of each row: NaN is equal to itself, and -0.0 is not 0.0."""
    return [np.ascontiguousarray(row).tobytes() for row in array]


def as_variable(array):
    # PyTorch has gradients of floats alone.
    trainable = array.dtype.kind not in "iu"
    name = array.dtype.name
    return keras.Variable(tensor_of(array), dtype=name, trainable=trainable)


def literal(*tokens):
    """A vocabulary without special rows."""
    return Vocabulary([*tokens], oov=0)


def zeros_for(tokens, base):
    return np.zeros((len(tokens), *base.matrix.shape[1:]), base.matrix.dtype)


# --- rows that stay ---


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: np.dtype(dtype).name)
def test_kept_rows_are_equal_bit_for_bit_in_every_dtype(dtype):
    array = random_bits((4, 33), dtype)
    row_map = RowMap(["a", "b", "c", "d"], ["d", "new", "b"])
    moved = remap(array, row_map, new_embeddings_initializer=zeros_for)
    assert moved.dtype == array.dtype
    assert bits(moved[[0, 2]]) == bits(array[[3, 1]])


@pytest.mark.parametrize("wrap", [tensor_of, as_variable])
@pytest.mark.parametrize(
    "dtype", [*filter(is_held, NUMBERS)], ids=lambda dtype: np.dtype(dtype).name
)
def test_kept_rows_of_tensors_and_variables_are_equal_bit_for_bit(dtype, wrap):
    array = random_bits((4, 513), dtype)
    row_map = RowMap(["a", "b", "c", "d"], ["d", "new", "b"])
    moved = remap(wrap(array), row_map, new_embeddings_initializer=zeros_for)
    assert moved.dtype == array.dtype
    assert bits(moved[[0, 2]]) == bits(array[[3, 1]])


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: np.dtype(dtype).name)
def test_nan_payloads_and_negative_zeros_are_kept(dtype):
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    sign = 1 << (8 * unsigned.itemsize - 1)
    # All bits set but the last two are a NaN that no computation would make.
    array = np.array([[sign], [2 * sign - 3], [sign - 2]], unsigned).view(dtype)
    moved = remap(array, RowMap(["a", "b", "c"], ["c", "b", "a"]))
    assert moved.view(unsigned).tolist() == [[sign - 2], [2 * sign - 3], [sign]]


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_rows_move_along_any_axis(axis):
    shape = [2, 3, 4]
    shape[axis] = 5
    array = random_bits(shape, "float32")
    row_map = RowMap([*"abcde"], [*"eac"])
    moved = remap(array, row_map, axis=axis)
    shape[axis] = 3
    assert moved.shape == tuple(shape)
    assert bits(np.moveaxis(moved, axis, 0)) == bits(
        np.moveaxis(array, axis, 0)[[4, 0, 2]]
    )


def test_entries_of_a_vector_move():
    array = np.array([1.0, 2.0, 3.0], "float32")
    row_map = RowMap(["a", "b", "c"], ["c", "new", "a"])
    moved = remap(array, row_map, new_embeddings_initializer="zeros")
    assert moved.tolist() == [3, 0, 1]


@given(strategies.permuted_lists(), st.integers(0, 2))
def test_a_permutation_and_its_inverse_change_nothing(pair, axis):
    base, new = (literal(*words) for words in pair)
    shape = [2, 3, 2]
    shape[axis] = len(base)
    array = random_bits(shape, "float32", seed=len(base))
    there = remap(array, RowMap(base, new), axis=axis)
    back = remap(there, RowMap(new, base), axis=axis)
    assert bits(back) == bits(array)


@given(st.data())
def test_two_steps_are_one_step_where_no_token_left_between(data):
    words = data.draw(st.lists(strategies.words(), min_size=1, max_size=8, unique=True))
    some = st.lists(st.sampled_from(words), min_size=1, unique=True)
    base = data.draw(some)
    middle = data.draw(st.permutations([*dict.fromkeys([*base, *data.draw(some)])]))
    new = data.draw(some)
    array = random_bits((len(base), 2), "float32")

    def step(array, before, after):
        row_map = RowMap(literal(*before), literal(*after))
        return remap(array, row_map, new_embeddings_initializer=zeros_for)

    two = step(step(array, base, middle), middle, new)
    assert bits(two) == bits(step(array, base, new))


@given(strategies.vocabulary_pairs())
def test_rows_go_where_the_row_map_says(pair):
    row_map = RowMap(*pair)
    assume(row_map.base_rows > 0)
    array = random_bits((row_map.base_rows, 2), "float32")
    moved = remap(array, row_map, new_embeddings_initializer=zeros_for)
    kept = np.flatnonzero(row_map.indices >= 0)
    assert moved.shape == (len(row_map), 2)
    assert bits(moved[kept]) == bits(array[row_map.indices[kept]])
    assert not moved[row_map.new_rows].any()


def test_a_base_without_any_row_gives_new_rows_alone():
    row_map = RowMap(StringLookup(num_oov_indices=0), ["a", "b"])
    array = np.empty((0, 2), "float32")
    moved = remap(array, row_map, new_embeddings_initializer="ones")
    assert moved.tolist() == [[1, 1], [1, 1]]


def test_spare_rows_stay_as_they_are():
    array = random_bits((4, 3), "float32")
    row_map = RowMap(["a", "b"], ["b", "c"]).within_capacity(4, 4)
    moved = remap(array, row_map)
    assert bits(moved[[0, 2, 3]]) == bits(array[[1, 2, 3]])


def test_the_array_that_is_given_stays_as_it_is():
    array = random_bits((2, 3), "float32")
    before = bits(array)
    remap(array, RowMap(["a", "b"], ["b", "c"]))
    assert bits(array) == before


@pytest.mark.parametrize(
    "wrap",
    [
        tf.constant,
        tf.Variable,
        keras.Variable,
        lambda array: keras.Variable(array).value,
        keras.ops.convert_to_tensor,
    ],
    ids=[
        "tf.constant",
        "tf.Variable",
        "keras.Variable",
        "value of a keras.Variable",
        "tensor of the backend",
    ],
)
def test_tensors_and_variables_give_a_numpy_array(wrap):
    array = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
    moved = remap(wrap(array), RowMap(["a", "b"], ["b", "a"]))
    assert isinstance(moved, np.ndarray)
    assert moved.dtype == np.float32
    assert moved.tolist() == [[3, 4], [1, 2]]


# --- OOV rows that mean something else ---


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: np.dtype(dtype).name)
def test_oov_rows_of_another_number_start_from_the_mean_of_the_old_ones(dtype):
    base = StringLookup(vocabulary=["a"], num_oov_indices=2)
    new = StringLookup(vocabulary=["a"], num_oov_indices=3)
    array = np.array([[1, 2], [2, 5], [7, 8]], dtype)
    expected = [[1.5, 3.5], [1.5, 3.5], [1.5, 3.5], [7, 8]]
    assert remap(array, RowMap(base, new)).tolist() == expected


def test_oov_rows_are_averaged_along_the_axis_of_the_vocabulary():
    row_map = RowMap(["[UNK]", "[UNK]", "a"], ["[UNK]", "a"])
    array = np.array([[1, 3, 5], [2, 6, 8]], "float32")
    assert remap(array, row_map, axis=1).tolist() == [[2, 5], [4, 8]]


def test_the_mean_of_large_values_does_not_overflow():
    row_map = RowMap(["[UNK]", "[UNK]"], ["[UNK]"])
    array = np.array([[60000], [59936]], "float16")
    assert remap(array, row_map).tolist() == [[59968]]


# --- where the result goes ---

ROW_MAP = RowMap(["a", "b"], ["b", "c", "a"])
ARRAY = np.array([[1, 2], [3, 4]], "float32")


@pytest.mark.parametrize(
    "out",
    [
        np.full((3, 2), 9, "float32"),
        np.full((3, 2), 9, "float32", order="F"),
        np.full((6, 4), 9, "float32")[::2, ::2],
    ],
    ids=["C", "Fortran", "strided"],
)
def test_out_takes_the_result_and_is_returned(out):
    moved = remap(ARRAY, ROW_MAP, new_embeddings_initializer="ones", out=out)
    assert moved is out
    assert out.tolist() == [[3, 4], [1, 1], [1, 2]]


def test_out_of_bfloat16_takes_the_result():
    array = ARRAY.astype(ml_dtypes.bfloat16)
    out = np.zeros((3, 2), ml_dtypes.bfloat16)
    remap(array, ROW_MAP, new_embeddings_initializer="ones", out=out)
    assert out.tolist() == [[3, 4], [1, 1], [1, 2]]


@pytest.mark.parametrize(
    ("out", "received"),
    [
        (np.zeros((2, 2), "float32"), r"type ndarray, shape=\(2, 2\), dtype=float32"),
        (np.zeros((3, 2), "float64"), r"type ndarray, shape=\(3, 2\), dtype=float64"),
        ([[0.0, 0.0]] * 3, r"type list, shape=\(3, 2\), dtype=None"),
    ],
    ids=["shape", "dtype", "type"],
)
def test_out_must_be_an_array_of_the_shape_and_dtype_of_the_result(out, received):
    message = rf"array of shape \(3, 2\) and dtype float32.*Received: out of {received}"
    with pytest.raises(WarmStartError, match=message):
        remap(ARRAY, ROW_MAP, out=out)


def test_out_must_not_be_the_array_itself():
    array = ARRAY.copy()
    with pytest.raises(WarmStartError, match=r"`out` must not share memory .*`array`"):
        remap(array, RowMap(["a", "b"], ["b", "a"]), out=array)


# --- what does not fit ---


@pytest.mark.parametrize("axis", [2, -3])
def test_the_axis_must_be_one_of_the_array(axis):
    message = rf"`axis` must be an axis of `array`.*axis={axis}, array.shape=\(2, 2\)"
    with pytest.raises(WarmStartError, match=message):
        remap(ARRAY, ROW_MAP, axis=axis)


def test_a_number_without_axes_has_no_rows():
    with pytest.raises(WarmStartError, match=r"axis=0, array\.shape=\(\)"):
        remap(np.float32(1), ROW_MAP)


def test_the_array_must_have_a_row_for_each_token_of_the_base():
    message = r"must have 2 entries along axis 1, as many as.*shape=\(2, 3\)"
    with pytest.raises(WarmStartError, match=message):
        remap(np.zeros((2, 3)), ROW_MAP, axis=1)


@pytest.mark.parametrize(
    "array", [np.array(["a", "b"]), np.array([True, False]), np.array([None, 1])]
)
def test_the_array_must_hold_numbers(array):
    with pytest.raises(WarmStartError, match="`array` must have a numeric dtype"):
        remap(array, ROW_MAP)


# --- rows without a past: which initializers there are ---


@pytest.mark.parametrize(
    "initializer",
    [
        "ones",
        keras.initializers.Ones,
        keras.initializers.Ones(),
        keras.initializers.Constant(1.0),
        {"class_name": "Ones", "config": {}},
        lambda tokens, base: np.ones((len(tokens), 2)),
        lambda tokens, base: [[1, 1] for _ in tokens],
        lambda tokens, base: keras.ops.ones((len(tokens), 2)),
        lambda tokens, base: keras.layers.Dense(2, kernel_initializer="ones")(
            keras.ops.ones((len(tokens), 1))
        ),
    ],
    ids=[
        "name",
        "class",
        "instance",
        "constant",
        "configuration",
        "callable",
        "callable to a list",
        "callable to a tensor",
        "callable to what a layer gives",
    ],
)
def test_new_rows_come_from_the_initializer(initializer):
    moved = remap(ARRAY, ROW_MAP, new_embeddings_initializer=initializer)
    assert moved.tolist() == [[3, 4], [1, 1], [1, 2]]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: np.dtype(dtype).name)
def test_new_rows_have_the_dtype_of_the_array(dtype):
    array = ARRAY.astype(dtype)
    with warns_unless_held(dtype):
        moved = remap(array, ROW_MAP, new_embeddings_initializer="ones")
    assert moved.dtype == dtype
    assert moved[1].tolist() == [1, 1]


def test_none_means_uniform():
    none = remap(ARRAY, ROW_MAP, new_embeddings_initializer=None)
    uniform = remap(ARRAY, ROW_MAP, new_embeddings_initializer="uniform")
    assert bits(none) == bits(uniform)


def test_new_rows_of_another_axis_are_rows_too():
    moved = remap(
        ARRAY,
        ROW_MAP,
        axis=1,
        new_embeddings_initializer=lambda tokens, base: [[10, 20]],
    )
    assert moved.tolist() == [[2, 10, 1], [4, 20, 3]]


@pytest.mark.parametrize(
    ("initializer", "received"),
    [
        ("no such", r"'no such' \(of type str\)"),
        (3, r"'3' \(of type int\)"),
        (np.ones((3, 2)), r"\(of type ndarray\).*keras\.initializers\.Constant\(array\)"),
    ],
    ids=["name", "number", "array"],
)
def test_what_is_no_initializer_is_refused(initializer, received):
    message = r"must be a Keras initializer \(instance, class or name\) or a callable"
    with pytest.raises(WarmStartError, match=f"{message}.*{received}"):
        remap(ARRAY, ROW_MAP, new_embeddings_initializer=initializer)


class Spy(keras.initializers.Initializer):
    """Ones, and a record of what was asked for."""

    def __init__(self, make=keras.ops.ones):
        self.asked = []
        self.make = make

    def __call__(self, shape, dtype=None):
        self.asked.append((tuple(shape), dtype))
        return self.make(shape, dtype)


@pytest.mark.parametrize(
    "make",
    [
        lambda shape, dtype: np.ones((2, 2)),
        lambda shape, dtype: np.ones((1, 3)),
        lambda shape, dtype: np.ones(2),
        lambda shape, dtype: np.float32(1),
    ],
    ids=["rows", "width", "rank", "number"],
)
def test_an_initializer_must_give_the_shape_that_it_was_asked_for(make):
    message = r"`new_embeddings_initializer` must .*shape \(1, 2\).*Received: shape="
    with pytest.raises(WarmStartError, match=message):
        remap(ARRAY, ROW_MAP, new_embeddings_initializer=Spy(make))


@pytest.mark.parametrize(
    "rows", [np.ones((2, 2)), np.ones((1, 3)), np.ones(2), 1.0], ids=np.shape
)
def test_a_callable_must_give_one_row_for_each_new_token(rows):
    message = r"`new_embeddings_initializer` must .*shape \(1, 2\).*Received: shape="
    with pytest.raises(WarmStartError, match=message):
        remap(ARRAY, ROW_MAP, new_embeddings_initializer=lambda tokens, base: rows)


def test_an_array_must_fit_the_whole_new_matrix():
    constant = keras.initializers.Constant(np.ones((4, 2)))
    message = (
        r"`new_embeddings_initializer` .*shape \(3, 2\)\. Received: .*, which raised"
    )
    with pytest.raises(WarmStartError, match=message):
        remap(ARRAY, ROW_MAP, new_embeddings_initializer=constant)


def test_an_error_of_the_initializer_is_named():
    def fail(shape, dtype):
        raise RuntimeError("out of luck")

    message = "which raised RuntimeError: out of luck"
    with pytest.raises(WarmStartError, match=message):
        remap(ARRAY, ROW_MAP, new_embeddings_initializer=Spy(fail))


def test_an_error_of_a_callable_is_not_hidden():
    def fail(tokens, base):
        raise KeyError(tokens[0])

    with pytest.raises(KeyError, match="c"):
        remap(ARRAY, ROW_MAP, new_embeddings_initializer=fail)


# --- what an initializer is asked for ---


def test_an_initializer_is_asked_for_the_new_rows_alone():
    spy = Spy()
    row_map = RowMap(["a", "b"], ["x", "b", "y", "a"])
    remap(np.zeros((2, 3, 5), "float32"), row_map, new_embeddings_initializer=spy)
    assert spy.asked == [((2, 3, 5), "float32")]


def test_an_initializer_is_asked_for_rows_whatever_the_axis():
    spy = Spy()
    array = np.zeros((3, 2, 5), "float16")
    remap(array, ROW_MAP, axis=1, new_embeddings_initializer=spy)
    assert spy.asked == [((1, 3, 5), "float16")]


def test_an_initializer_is_not_asked_where_no_row_is_new():
    spy = Spy()
    remap(ARRAY, RowMap(["a", "b"], ["b"]), new_embeddings_initializer=spy)
    assert spy.asked == []


def test_a_constant_number_is_asked_for_the_new_rows_alone():
    asked = []

    class Seven(keras.initializers.Constant):
        def __call__(self, shape, dtype=None):
            asked.append(tuple(shape))
            return super().__call__(shape, dtype)

    moved = remap(ARRAY, ROW_MAP, new_embeddings_initializer=Seven(7.0))
    assert asked == [(1, 2)]
    assert moved[1].tolist() == [7, 7]


@pytest.mark.parametrize(
    "kind",
    [
        keras.initializers.VarianceScaling,
        keras.initializers.GlorotUniform,
        keras.initializers.HeNormal,
        keras.initializers.LecunNormal,
        keras.initializers.Orthogonal,
    ],
    ids=lambda kind: kind.__name__,
)
def test_what_depends_on_the_whole_shape_is_asked_for_all_rows(kind):
    asked = []

    class Watched(kind):
        def __call__(self, shape, dtype=None):
            asked.append(tuple(shape))
            return super().__call__(shape, dtype)

    remap(ARRAY, ROW_MAP, new_embeddings_initializer=Watched())
    assert asked == [(3, 2)]


def test_an_array_gives_each_new_row_the_row_of_its_place():
    whole = np.arange(6, dtype="float32").reshape(3, 2)
    constant = keras.initializers.Constant(whole)
    moved = remap(ARRAY, ROW_MAP, new_embeddings_initializer=constant)
    assert moved.tolist() == [[3, 4], [2, 3], [1, 2]]


def test_new_rows_of_an_orthogonal_matrix_are_orthogonal():
    row_map = RowMap(["a"], ["x", "y", "a", "z"])
    array = np.zeros((1, 4), "float32")
    moved = remap(array, row_map, new_embeddings_initializer="orthogonal")
    rows = moved[[0, 1, 3]]
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-6)


# --- callables of the user's ---


def test_a_callable_is_given_the_new_words_in_the_order_of_their_rows():
    given_tokens = []

    def rows(tokens, base):
        given_tokens.extend(tokens)
        return np.zeros((len(tokens), 2))

    row_map = RowMap(["a", "b"], ["x", "b", b"\xff", "y"])
    remap(ARRAY, row_map, new_embeddings_initializer=rows)
    assert given_tokens == ["x", b"\xff", "y"]


def test_a_callable_can_look_old_rows_up_special_rows_included():
    array = random_bits((3, 2), "float32")
    seen = {}

    def rows(tokens, base):
        seen["bits"] = bits(base.matrix)
        seen["tokens"] = base.vocabulary.tokens
        return np.zeros((len(tokens), 2))

    row_map = RowMap(["", "[UNK]", "a"], ["", "[UNK]", "b"])
    remap(array, row_map, new_embeddings_initializer=rows)
    assert seen == {"bits": bits(array), "tokens": ["", "[UNK]", "a"]}


def test_a_callable_sees_rows_first_whatever_the_axis():
    def rows(tokens, base):
        return base.matrix[[base.vocabulary.tokens.index("b")]] * 10

    moved = remap(ARRAY, ROW_MAP, axis=1, new_embeddings_initializer=rows)
    assert moved.tolist() == [[2, 20, 1], [4, 40, 3]]


def test_a_callable_is_asked_for_the_rows_of_tokens_alone_where_rows_are_spare():
    row_map = RowMap(["a", "b"], ["b", "c", "a"]).within_capacity(4, 4)
    array = np.arange(8, dtype="float32").reshape(4, 2)
    moved = remap(array, row_map, new_embeddings_initializer=zeros_for)
    assert moved.tolist() == [[2, 3], [0, 0], [0, 1], [6, 7]]


def test_the_old_matrix_is_read_once_and_only_when_asked_for():
    reads = []
    base = BaseRows(literal("a"), lambda: reads.append(1) or ARRAY)
    assert reads == []
    assert base.matrix is base.matrix
    assert reads == [1]


# --- seeds ---

RANDOM = ["uniform", "normal", "truncated_normal", "glorot_uniform", "orthogonal"]


def new_row(row_map=ROW_MAP, initializer="uniform", **arguments):
    """The values of new rows alone."""
    array = np.zeros((row_map.base_rows, 6), "float32")
    moved = remap(array, row_map, new_embeddings_initializer=initializer, **arguments)
    return moved[row_map.new_rows]


@pytest.mark.parametrize("seed", [None, 0, 7])
@pytest.mark.parametrize("initializer", RANDOM)
def test_the_same_seed_gives_the_same_rows(initializer, seed):
    first = new_row(initializer=initializer, seed=seed)
    keras.utils.set_random_seed(1234)
    assert bits(new_row(initializer=initializer, seed=seed)) == bits(first)


def test_a_seed_may_be_a_numpy_integer():
    assert bits(new_row(seed=np.int64(7))) == bits(new_row(seed=7))


@pytest.mark.parametrize("initializer", RANDOM)
def test_another_seed_gives_other_rows(initializer):
    rows = [new_row(initializer=initializer, seed=seed) for seed in (None, 0, 1)]
    assert len({row.tobytes() for row in rows}) == 3


@pytest.mark.parametrize("initializer", RANDOM)
def test_another_vocabulary_gives_other_rows(initializer):
    other = RowMap(["a", "b"], ["b", "d", "a"])
    one = new_row(initializer=initializer, seed=0)
    assert bits(new_row(other, initializer, seed=0)) != bits(one)


def test_new_rows_are_drawn_by_the_distribution_of_the_initializer():
    row_map = RowMap(["a"], ["a", *map(str, range(2000))])
    normal = keras.initializers.RandomNormal(mean=3.0, stddev=0.5, seed=0)
    rows = new_row(row_map, normal)
    assert abs(rows.mean() - 3.0) < 0.02
    assert abs(rows.std() - 0.5) < 0.02


def test_a_seeded_initializer_gives_the_words_of_two_days_different_rows():
    initializer = keras.initializers.RandomNormal(seed=7)
    monday = new_row(RowMap(["a"], ["a", "b"]), initializer)
    tuesday = new_row(RowMap(["a", "b"], ["a", "b", "c"]), initializer)
    assert bits(tuesday) != bits(monday)


def test_a_seeded_initializer_does_not_repeat_the_first_rows_of_the_table():
    initializer = keras.initializers.RandomNormal(seed=7)
    table = keras.ops.convert_to_numpy(initializer((3, 6)))
    row_map = RowMap(["a", "b", "c"], ["a", "b", "c", "d"])
    moved = remap(table, row_map, new_embeddings_initializer=initializer)
    assert bits(moved)[3] not in bits(table)


def test_a_seeded_initializer_gives_no_values_of_its_own():
    initializer = keras.initializers.RandomNormal(seed=7)
    own = keras.ops.convert_to_numpy(initializer((1, 6)))
    assert bits(new_row(initializer=initializer)) != bits(own)


def test_the_seed_of_an_initializer_counts():
    one, other = (keras.initializers.RandomNormal(seed=seed) for seed in (7, 8))
    assert bits(new_row(initializer=one)) != bits(new_row(initializer=other))


def test_an_initializer_without_seed_is_as_repeatable_as_one_with():
    one, other = (keras.initializers.RandomNormal() for _ in range(2))
    assert bits(new_row(initializer=one)) == bits(new_row(initializer=other))


def test_an_initializer_is_left_as_it_was():
    initializer = keras.initializers.RandomNormal(seed=7)
    own = keras.ops.convert_to_numpy(initializer((1, 6)))
    new_row(initializer=initializer)
    assert bits(keras.ops.convert_to_numpy(initializer((1, 6)))) == bits(own)
