"""Moving the rows of an array along an axis."""

from typing import Any

import keras
import numpy as np

from warmstart_keras import initializers, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows import NewRows, start_of
from warmstart_keras.old_rows import BaseTable, OldMean, OldRows, mean_of_rows
from warmstart_keras.row_map import RowMap
from warmstart_keras.vocabulary import Vocabulary


def warmstart_embedding_matrix(
    base_vocabulary: Any,
    new_vocabulary: Any,
    base_embeddings: Any,
    new_embeddings_initializer: Any = "uniform",
) -> Any:
    """Carries the rows of an embedding matrix over to another vocabulary.

    The function of Keras 2.15 (`tf.keras.utils.warmstart_embedding_matrix`), for every
    backend, and right where that one was silently wrong: bytes match text, the k-th of
    a repeated token continues the k-th, lengths are checked. Vocabularies are taken
    entry by entry: no row is special.

    Example:

    >>> import numpy as np
    >>> from warmstart_keras import warmstart_embedding_matrix
    >>> base = np.array([[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]], "float32")
    >>> np.asarray(
    ...     warmstart_embedding_matrix(
    ...         base_vocabulary=["unk", "a", "b"],
    ...         new_vocabulary=["unk", "b", "c"],
    ...         base_embeddings=base,
    ...         new_embeddings_initializer="zeros",
    ...     )
    ... )
    array([[0. , 0.1],
           [2. , 2.1],
           [0. , 0. ]], dtype=float32)

    Args:
        base_vocabulary: What the rows of `base_embeddings` stand for: any source that
            `Vocabulary` reads.
        new_vocabulary: What the rows of the result shall stand for, likewise.
        base_embeddings: Array, tensor or variable of shape
            `(len(base_vocabulary), width)` and of a numeric dtype.
        new_embeddings_initializer: What new tokens start from: a Keras initializer
            (instance, class or name) or a callable `(shape, dtype)`, as Keras calls
            it; a whole matrix by `keras.initializers.Constant`. None means
            `"uniform"`.

    Returns:
        Tensor of the active backend, of shape `(len(new_vocabulary), width)` and the
        dtype of `base_embeddings`; a warning says so where the backend has it not.

    Raises:
        WarmStartError: If a vocabulary cannot be read, or `base_embeddings` has another
            number of rows than the base vocabulary has tokens, another rank, or a dtype
            that is not numeric.
    """
    base = Vocabulary(base_vocabulary)
    new = Vocabulary(new_vocabulary)
    if isinstance(base_embeddings, list | tuple):
        base_embeddings = np.asarray(base_embeddings, dtype=keras.config.floatx())
    matrix = _numeric(base_embeddings, "base_embeddings")
    if matrix.ndim != 2 or matrix.shape[0] != len(base):
        raise WarmStartError(
            "`base_embeddings` must have shape (len(base_vocabulary), width), here "
            f"({len(base)}, width). Received: shape={matrix.shape}. Every row needs its "
            "token: pass the vocabulary that this very matrix was trained with."
        )
    row_map = RowMap.entry_by_entry(base, new)
    result = np.empty((len(new), matrix.shape[1]), matrix.dtype)
    rows = NewRows(
        initializers.get(new_embeddings_initializer, as_keras=True, whole=True),
        row_map,
        result.shape,
        matrix.dtype,
        BaseTable(base, lambda: matrix),
        seed=("warmstart_embedding_matrix", base.fingerprint, new.fingerprint),
    )
    move_rows(matrix, row_map, rows, out=result)
    # Asked by name, JAX without 64 bits warns where it must cut.
    return keras.ops.convert_to_tensor(tensors.to_tensor(result), result.dtype.name)


def remap(
    array: Any,
    row_map: RowMap,
    *,
    axis: int = 0,
    new_embeddings_initializer: Any = "uniform",
    seed: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Moves the rows of an array along an axis, as a `RowMap` says.

    Example:

    >>> import numpy as np
    >>> from warmstart_keras import RowMap, remap
    >>> kernel = np.array([[1, 2, 3], [4, 5, 6]], "float32")  # (features, vocabulary)
    >>> row_map = RowMap(["a", "b", "c"], ["c", "a", "new"])
    >>> remap(kernel, row_map, axis=1, new_embeddings_initializer="zeros")
    array([[3., 1., 0.],
           [6., 4., 0.]], dtype=float32)

    Args:
        array: Array, tensor or variable with `row_map.base_rows` entries along `axis`.
        row_map: Where each new row comes from.
        axis: The axis that has the vocabulary.
        new_embeddings_initializer: What rows without a past start from: a Keras
            initializer (instance, class or name), or a callable `(tokens, base) ->
            rows`; rows come first, whatever the axis. Or `"mean"`, `"gaussian"`,
            `"oov"`, `"subword"`, `ContextRows(...)`, `PretrainedRows(...)`. None means
            `"uniform"`.
        seed: Integer or None; equal seeds give equal rows.
        out: NumPy array for the result, of its shape and dtype, apart from `array`.

    Returns:
        NumPy array of the dtype of `array`, with `len(row_map)` entries along `axis`;
        `out`, where that was given.

    Raises:
        WarmStartError: If the number of entries along `axis` is not that of the row
            map, the dtype is not numeric, or `out` does not fit.
    """
    values = _numeric(array, "array")
    if not -values.ndim <= axis < values.ndim:
        raise WarmStartError(
            f"`axis` must be an axis of `array`. Received: axis={axis}, "
            f"array.shape={values.shape}"
        )
    axis %= values.ndim
    if values.shape[axis] != row_map.base_rows:
        raise WarmStartError(
            f"`array` must have {row_map.base_rows} entries along axis {axis}, as many "
            f"as the base vocabulary has tokens. Received: shape={values.shape}"
        )
    shape = (*values.shape[:axis], len(row_map), *values.shape[axis + 1 :])
    if out is not None and (
        not isinstance(out, np.ndarray)
        or out.shape != shape
        or out.dtype != values.dtype
        or np.may_share_memory(out, values)
    ):
        raise WarmStartError(
            f"`out` must be a NumPy array of shape {shape} and dtype {values.dtype}, "
            "apart from `array` in memory. Received: "
            f"out of type {type(out).__name__}, shape={np.shape(out)}, "
            f"dtype={getattr(out, 'dtype', None)}"
        )
    rows_first = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    start = start_of(
        initializers.get(new_embeddings_initializer),
        row_map,
        rows_first,
        values.dtype,
        BaseTable(row_map.base, lambda: _read_only(np.moveaxis(values, axis, 0))),
        seed=(seed, "", row_map.base.fingerprint, row_map.new.fingerprint),
        axis=axis,
    )
    return move_rows(values, row_map, start, axis=axis, out=out)


def move_rows(
    before: np.ndarray,
    row_map: RowMap,
    start: Any,
    *,
    axis: int = 0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """An array with its rows along an axis in new places.

    Args:
        before: The array.
        row_map: Where each of its new rows comes from.
        start: What the rows that start anew have: `NewRows`, the `OldMean`, `OldRows`,
            one number for all, an array of them with the rows first, or the variable
            whose rows, in their new places, they are equal to.
        axis: The axis that has the rows.
        out: As of `remap`.
    """
    old = np.moveaxis(before, axis, 0)
    new_rows = row_map.new_rows
    values: Any = start
    if isinstance(start, NewRows):
        values = start(slice(None))
    elif isinstance(start, OldRows):
        values = old[start.rows]
    elif isinstance(start, OldMean):
        values = mean_of_rows(old.__getitem__, start.rows) if len(new_rows) else 0
    elif isinstance(start, keras.Variable):
        values = np.moveaxis(tensors.to_numpy(start), axis, 0)[new_rows]

    # Taking by indices that are all valid and then writing the few others is faster
    # than taking and writing the kept rows alone; "clip" skips a check for each index.
    if before.shape[axis]:
        moved = np.take(before, row_map.indices.clip(0), axis=axis, out=out, mode="clip")
    else:  # a lookup that is not adapted, without mask and OOV rows
        shape = (*before.shape[:axis], len(row_map), *before.shape[axis + 1 :])
        moved = np.empty(shape, before.dtype) if out is None else out
    rows_first = np.moveaxis(moved, axis, 0)
    rows_first[new_rows] = values
    if len(row_map.averaged_rows):
        mean = mean_of_rows(old.__getitem__, row_map.averaged_from)
        rows_first[row_map.averaged_rows] = mean
    return moved


def _read_only(view: np.ndarray) -> np.ndarray:
    view.flags.writeable = False
    return view


def _numeric(array: Any, name: str) -> np.ndarray:
    values = array if isinstance(array, np.ndarray) else tensors.to_numpy(array)
    # bfloat16 and its like (ml_dtypes) are of kind "V", but can be cast.
    kind = values.dtype.kind
    if kind in "iufc" or (kind == "V" and np.can_cast(values.dtype, np.float32)):
        return values
    raise WarmStartError(
        f"`{name}` must have a numeric dtype. Received: dtype={values.dtype}"
    )
