"""Carries the rows of an array over to another vocabulary."""

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
from warmstart_keras.rows.arrays import RowSink, move_rows
from warmstart_keras.rows.files import (
    NpyRows,
    check_out,
    check_path,
    numeric,
    opened,
    read_only,
    written_atomically,
)
from warmstart_keras.vocabulary import RowMap, Vocabulary, VocabularySource


def warmstart_embedding_matrix(
    base_vocabulary: VocabularySource,
    new_vocabulary: VocabularySource,
    base_embeddings: Array | Sequence,
    new_embeddings_initializer: NewRowsInitializer = "uniform",
) -> Tensor:
    """Carries the rows of an embedding matrix over to another vocabulary.

    The function of Keras 2.15 (`tf.keras.utils.warmstart_embedding_matrix`), for every
    backend, and right where that one was silently wrong: bytes match text, the k-th of
    a repeated token continues the k-th, lengths are checked. Vocabularies are taken
    entry by entry: no row is special.

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
        base_vocabulary: What the rows of `base_embeddings` stand for: any source that
            `Vocabulary` reads.
        new_vocabulary: What the rows of the result stand for, likewise.
        base_embeddings: Array, tensor or variable of shape
            `(len(base_vocabulary), width)` and of a numeric dtype.
        new_embeddings_initializer: What new tokens start from: a Keras initializer
            (instance, class or name) or a callable `(shape, dtype)`, as Keras calls
            it; a whole matrix by `keras.initializers.Constant`. None means
            `"uniform"`.

    Returns:
        Tensor of the active backend, of shape `(len(new_vocabulary), width)` and the
        dtype of `base_embeddings`; a warning says so if the backend lacks it.

    Raises:
        WarmStartError: If a vocabulary cannot be read, or `base_embeddings` has another
            number of rows than the base vocabulary has tokens, another rank, or a dtype
            that is not numeric.
    """
    base = Vocabulary(base_vocabulary)
    new = Vocabulary(new_vocabulary)
    if isinstance(base_embeddings, list | tuple):
        base_embeddings = np.asarray(base_embeddings, dtype=keras.config.floatx())
    matrix = numeric(base_embeddings, "base_embeddings")
    if matrix.ndim != 2 or matrix.shape[0] != len(base):
        raise WarmStartError(
            "`base_embeddings` must have shape (len(base_vocabulary), width), here "
            f"({len(base)}, width). Received: shape={matrix.shape}. Every row needs its "
            "token: pass the vocabulary that this very matrix was trained with."
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
    # Asked by name, JAX without 64 bits warns where it must cut.
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
    """Moves the rows of an array along an axis, as a `RowMap` says.

    Examples:
        >>> import numpy as np
        >>> from warmstart_keras import RowMap, remap
        >>> kernel = np.array([[1, 2, 3], [4, 5, 6]], "float32")  # (features, vocabulary)
        >>> row_map = RowMap(["a", "b", "c"], ["c", "a", "new"])
        >>> remap(kernel, row_map, axis=1, new_embeddings_initializer="zeros")
        array([[3., 1., 0.],
               [6., 4., 0.]], dtype=float32)

        From file to file, in blocks of some 32 MiB, for tables larger than memory:

        >>> np.save("old.npy", np.arange(6, dtype="float32").reshape(3, 2))
        >>> remap("old.npy", row_map, new_embeddings_initializer="zeros", out="new.npy",
        ...       verbose=0)
        memmap([[4., 5.],
                [0., 1.],
                [0., 0.]], dtype=float32)

    Args:
        array: Array, tensor or variable with `row_map.base_rows` entries along `axis`;
            the path of a `.npy` file; or anything else with a `shape` and a `dtype` that
            is sliced, such as an `h5py.Dataset` (it is first copied to a temporary file).
        row_map: Where each new row comes from.
        axis: The axis that has the vocabulary.
        new_embeddings_initializer: What new rows start from: a Keras initializer
            (instance, class or name), or a callable `(tokens, base) -> rows`; rows come
            first, whatever the axis. Or `"mean"`, `"gaussian"`, `"oov"`, `"subword"`,
            `ContextRows(...)`, `PretrainedRows(...)`. None means `"uniform"`. Keras
            initializers that make each row by itself ("uniform", "zeros", ...) are asked
            for some rows at a time; all others need memory for all new rows.
        seed: Integer or None; equal seeds give equal rows.
        out: What the result is written into: the path of a `.npy` file, which may be
            that of `array`, and is as it was if anything fails; a NumPy array of its
            shape and dtype, such as a `np.memmap`, that shares neither memory nor a file
            with `array`; or, for `axis=0`, anything else of that shape that takes
            `out[first:last] = rows`. The latter two are left half written if anything
            fails. None: a new array.
        verbose: Whether a progress bar is printed. `"auto"`: if `out` is a path.

    Returns:
        NumPy array of the dtype of `array`, with `len(row_map)` entries along `axis`;
        `out`, where that was given; the file as a read-only `np.memmap`, where that was
        a path.

    Raises:
        WarmStartError: If the number of entries along `axis` is not that of the row
            map, the dtype is not numeric, or `array`, `row_map` or `out` does not fit.
    """
    if not isinstance(row_map, RowMap):
        raise WarmStartError(
            "`row_map` must be a `RowMap`: `RowMap(old_tokens, new_tokens)`. Received: "
            f"{row_map!r} (of type {type(row_map).__name__})"
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
                f"shape={values.shape}"
            )
        shape = (*values.shape[:axis], len(row_map), *values.shape[axis + 1 :])
        path: Path | None = None
        into: np.ndarray | RowSink | None = None
        if isinstance(out, str | os.PathLike):
            path = Path(out)
            check_path(path)
        elif out is not None:
            check_out(out, shape, values, axis)
            into = out
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
        if path is not None:
            partial = stack.enter_context(written_atomically(path))
            if axis:  # written all over, not row by row
                into = np.lib.format.open_memmap(partial, "w+", values.dtype, shape)
            else:
                into = stack.enter_context(NpyRows(partial, shape, values.dtype))
        start, update = initializer.start(rows), bar.update if bar else None
        moved = move_rows(values, row_map, start, axis=axis, out=into, after_block=update)
    if path is None:
        return moved
    # The format has no name for bfloat16 and its like: they come back as bare bytes.
    return np.load(path, mmap_mode="r").view(values.dtype)
