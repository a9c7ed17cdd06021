"""`remap` and `warmstart_embedding_matrix`: moves of rows to another vocabulary."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from warmstart_keras.backend import Array, Tensor, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows import BaseRows, NewRows, NewRowsInitializer, initializers
from warmstart_keras.rows.arrays import RowSink, Steps, move_rows
from warmstart_keras.rows.files import (
    check_out,
    check_path,
    move_to_file,
    numeric,
    opened,
    read_only,
)
from warmstart_keras.vocabulary import RowMap, Vocabulary, VocabularySource


def warmstart_embedding_matrix(
    base_vocabulary: VocabularySource,
    new_vocabulary: VocabularySource,
    base_embeddings: Array | Sequence,
    new_embeddings_initializer: NewRowsInitializer = "uniform",
) -> Tensor:
    """Moves the rows of an embedding matrix to another vocabulary.

    It has the arguments of `tf.keras.utils.warmstart_embedding_matrix` (Keras 2.15), and
    runs on every backend. It fixes silent errors of that function: bytes match text, the
    k-th occurrence of a repeated token continues the k-th in the base, and lengths are
    checked. Every entry counts as a word; there are no special rows.

    Examples:
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
        base_vocabulary: Vocabulary of the rows of `base_embeddings`: any source that
            `Vocabulary` reads.
        new_vocabulary: Vocabulary of the rows of the result: any source that
            `Vocabulary` reads.
        base_embeddings: Array, tensor or variable of shape
            `(len(base_vocabulary), width)` and of a numeric dtype.
        new_embeddings_initializer: Initializer of the rows of new tokens: a Keras
            initializer (instance, class or name), or a callable `(shape, dtype)`. Use
            `keras.initializers.Constant` to pass a whole matrix. None means
            `"uniform"`.

    Returns:
        Tensor of the active backend, of shape `(len(new_vocabulary), width)`. It has the
        dtype of `base_embeddings`; if the backend lacks this dtype, a warning is given.

    Raises:
        WarmStartError: If a vocabulary cannot be read. If the number of rows of
            `base_embeddings` differs from the number of tokens in the base vocabulary.
            If its rank is not 2, or its dtype is not numeric.
    """
    base = Vocabulary(base_vocabulary)
    new = Vocabulary(new_vocabulary)
    if isinstance(base_embeddings, list | tuple):
        base_embeddings = np.asarray(base_embeddings, dtype=keras.config.floatx())
    matrix = numeric(base_embeddings, "base_embeddings")
    if matrix.ndim != 2 or matrix.shape[0] != len(base):
        raise WarmStartError(
            "`base_embeddings` must have shape (len(base_vocabulary), width), here "
            f"({len(base)}, width). Received: shape={matrix.shape}. Every row needs a "
            "token: pass as `base_vocabulary` the vocabulary that the matrix was trained "
            "with."
        )
    row_map = RowMap.entry_by_entry(base, new)
    initializer = initializers.get_keras(new_embeddings_initializer)
    rows = NewRows(
        replace(initializer, whole=not initializer.in_parts),
        row_map,
        (len(new), matrix.shape[1]),
        matrix.dtype,
        BaseRows(base, lambda: matrix),
        seed=("warmstart_embedding_matrix", base.fingerprint, new.fingerprint),
    )
    start = initializer.start(rows)
    result = tensors.handed_over(move_rows(matrix, row_map, start))
    # With the dtype by name, JAX without 64-bit types warns that it reduces precision.
    return keras.ops.convert_to_tensor(result, matrix.dtype.name)


def remap(
    array: Array | str | os.PathLike,
    row_map: RowMap,
    *,
    axis: int = 0,
    new_embeddings_initializer: NewRowsInitializer = "uniform",
    seed: int | None = None,
    out: np.ndarray | RowSink | str | os.PathLike | None = None,
    verbose: bool | int | str = "auto",
) -> np.ndarray:
    """Moves the rows of an array along an axis to the places that a `RowMap` gives.

    Examples:
        >>> import numpy as np
        >>> from warmstart_keras import RowMap, remap
        >>> kernel = np.array([[1, 2, 3], [4, 5, 6]], "float32")  # (features, vocabulary)
        >>> row_map = RowMap(["a", "b", "c"], ["c", "a", "new"])
        >>> remap(kernel, row_map, axis=1, new_embeddings_initializer="zeros")
        array([[3., 1., 0.],
               [6., 4., 0.]], dtype=float32)

        From file to file, in blocks of about 32 MiB, for tables larger than memory:

        >>> np.save("old.npy", np.arange(6, dtype="float32").reshape(3, 2))
        >>> remap("old.npy", row_map, new_embeddings_initializer="zeros", out="new.npy",
        ...       verbose=0)
        memmap([[4., 5.],
                [0., 1.],
                [0., 0.]], dtype=float32)

    Args:
        array: Array, tensor or variable with `row_map.base_rows` entries along `axis`.
            Or the path of a `.npy` file. Or an object with `shape` and `dtype` that can
            be sliced, such as an `h5py.Dataset`, which is copied to a temporary file.
        row_map: Map from the new rows to the base rows.
        axis: The axis that follows the vocabulary.
        new_embeddings_initializer: Initializer of new rows: a Keras initializer
            (instance, class or name), or a callable `(tokens, base) -> rows`, whose
            result has the rows first for every `axis`. Or `"mean"`, `"gaussian"`,
            `"oov"`, `"subword"`, `ContextRows(...)`, `PretrainedRows(...)`. None means
            `"uniform"`. Keras initializers that compute each row separately ("uniform",
            "zeros", ...) are called for some rows at a time. All others need memory for
            all new rows.
        seed: Integer or None; equal seeds give equal rows.
        out: Target of the result. The path of a `.npy` file, which can be the file of
            `array`; if anything fails, this file stays unchanged. Or a NumPy array of
            the right shape and dtype, such as a `np.memmap`, that shares no memory and
            no file with `array`. Or, for `axis=0`, another object of this shape that
            takes `out[first:last] = rows`. Arrays and objects can be left half written
            if anything fails. None creates an array.
        verbose: Whether a progress bar is printed. `"auto"` prints it if `out` is a
            path.

    Returns:
        NumPy array of the dtype of `array`, with `len(row_map)` entries along `axis`. If
        `out` is an array or object, it is returned. If `out` is a path, the file is
        returned as a read-only `np.memmap`.

    Raises:
        WarmStartError: If the number of entries along `axis` differs from
            `row_map.base_rows`, if the dtype is not numeric, or if `array`, `row_map` or
            `out` does not fit.
    """
    if not isinstance(row_map, RowMap):
        raise WarmStartError(
            f"`row_map` must be a `RowMap`. Received: {row_map!r} (of type "
            f"{type(row_map).__name__}). Pass `RowMap(base_tokens, new_tokens)`."
        )
    with ExitStack() as stack:
        values = opened(array, stack)
        if not -values.ndim <= axis < values.ndim:
            raise WarmStartError(
                f"`axis` must be an axis of `array`. Received: axis={axis}, "
                f"array.shape={values.shape}"
            )
        axis %= values.ndim
        if values.shape[axis] != row_map.base_rows:
            raise WarmStartError(
                f"`array` must have {row_map.base_rows} entries along axis {axis}, as "
                "many as the base vocabulary has tokens. Received: "
                f"shape={values.shape}. Pass another `axis`, or a `RowMap` with the "
                "vocabulary that the array was trained with."
            )
        shape = (*values.shape[:axis], len(row_map), *values.shape[axis + 1 :])
        path: Path | None = None
        if isinstance(out, str | os.PathLike):
            path, out = Path(out), None
            check_path(path)
        elif out is not None:
            check_out(out, shape, values, axis)
        initializer = initializers.get(new_embeddings_initializer)
        rows = NewRows(
            initializer,
            row_map,
            (shape[axis], *shape[:axis], *shape[axis + 1 :]),
            values.dtype,
            BaseRows(row_map.base, lambda: read_only(np.moveaxis(values, axis, 0))),
            seed=(seed, "", row_map.base.fingerprint, row_map.new.fingerprint),
            axis=axis,
        )
        shows = path is not None if verbose == "auto" else bool(verbose)
        bar = keras.utils.Progbar(shape[0], unit_name="row") if shows else None
        steps = Steps(after_block=bar.update if bar else None)
        start = initializer.start(rows)
        if path is not None:
            return move_to_file(path, values, row_map, start, axis, steps)
        return move_rows(values, row_map, start, axis=axis, out=out, steps=steps)
