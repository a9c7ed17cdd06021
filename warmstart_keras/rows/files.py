"""Arrays and files that `remap` reads and writes."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

import keras
import numpy as np

from warmstart_keras.backend import Array, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.rows.arrays import RowSink, StartsFrom, Steps, move_rows
from warmstart_keras.vocabulary import RowMap

_CHUNK = 2**14  # rows that are copied at a time


def opened(array: Array | str | os.PathLike, stack: ExitStack) -> np.ndarray:
    """Opens the argument `array` of `remap` as an array; maps files into memory."""
    if isinstance(array, str | os.PathLike):
        try:
            file = np.lib.format.open_memmap(os.fspath(array), "r")
        except (EOFError, OSError, ValueError) as error:
            raise WarmStartError(
                "`array` must be an array, or the path of an intact `.npy` file without "
                f"Python objects. Received: array='{array}' ({error}). Write the file "
                "with `numpy.save(path, array, allow_pickle=False)`."
            ) from error
        return numeric(file, "array")
    is_sliced = hasattr(array, "shape") and hasattr(array, "dtype") and len(array.shape)
    is_at_hand = isinstance(array, np.ndarray | keras.Variable) or (
        keras.ops.is_tensor(array) or hasattr(array, "numpy")
    )
    if is_at_hand or not is_sliced:
        return numeric(array, "array")
    # HDF5 and similar files read single rows slowly, so they are copied first.
    room = TemporaryFile()  # noqa: SIM115
    stack.callback(room.close)
    copy = np.memmap(room, array.dtype, "w+", shape=tuple(array.shape))
    for first in range(0, len(copy), _CHUNK):
        copy[first : first + _CHUNK] = array[first : first + _CHUNK]
    return numeric(copy, "array")


def numeric(array: Array, name: str) -> np.ndarray:
    """Returns an array, tensor or variable as a NumPy array, and checks its dtype."""
    values = array if isinstance(array, np.ndarray) else tensors.to_numpy(array)
    # bfloat16 and the other dtypes of ml_dtypes have kind "V", but can be cast.
    kind = values.dtype.kind
    if kind in "iufc" or (kind == "V" and np.can_cast(values.dtype, np.float32)):
        return values
    raise WarmStartError(
        f"`{name}` must have a numeric dtype. Received: dtype={values.dtype}. Convert "
        'it, for example with `array.astype("float32")`.'
    )


def check_path(out: Path) -> None:
    """Refuses a path without the suffix `.npy`, or in a folder that does not exist."""
    if out.suffix != ".npy":
        raise WarmStartError(
            f"`out` must be the path of a `.npy` file. Received: out='{out}'. Pass a "
            "path that ends in `.npy`."
        )
    if not out.parent.is_dir():
        raise WarmStartError(
            f"`out` must be in a folder that exists. Received: out='{out}'. Create the "
            f"folder with `os.makedirs('{out.parent}')`."
        )


def check_out(out: Any, shape: tuple[int, ...], values: np.ndarray, axis: int) -> None:
    """Refuses an `out` that cannot take the result."""
    is_array = isinstance(out, np.ndarray)
    takes_slices = axis == 0 and hasattr(out, "__setitem__")
    if (
        not (is_array or takes_slices)
        or tuple(getattr(out, "shape", ())) != shape
        or getattr(out, "dtype", None) != values.dtype
        or (is_array and not out.flags.writeable)
    ):
        others = "" if axis else " (or an object that takes `out[first:last] = rows`)"
        raise WarmStartError(
            f"`out` must be a NumPy array of shape {shape} and dtype {values.dtype}, and "
            f"writeable{others}. Received: out of type {type(out).__name__}, "
            f"shape={np.shape(out)}, dtype={getattr(out, 'dtype', None)}, axis={axis}. "
            f"Pass `numpy.empty({shape}, array.dtype)`."
        )
    if is_array and (np.may_share_memory(out, values) or _share_a_file(out, values)):
        raise WarmStartError(
            "`out` must not share memory or a file with `array`, since the rows of "
            "`array` are read until the end. Received: an `out` that shares memory or a "
            "file with `array`. Pass `numpy.empty_like(out)`, or, to overwrite a file, "
            "its path as `out`."
        )


def _share_a_file(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether two arrays view the same part of a file, in one mapping or two."""
    a, b = _mapping_of(one), _mapping_of(other)
    # A temporary file without a name has no other mapping.
    if a is None or b is None or not a.filename or not b.filename:
        return False
    overlap = a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
    return overlap and os.path.samefile(a.filename, b.filename)


def _mapping_of(array: object) -> np.memmap | None:
    """Finds the file mapping that an array is, or is a view of."""
    found = None
    while isinstance(array, np.ndarray):
        found = array if isinstance(array, np.memmap) else found  # the last is whole
        array = array.base
    return found


def read_only(view: np.ndarray) -> np.ndarray:
    """Makes a view of an array read-only."""
    view.flags.writeable = False
    return view


class NpyRows:
    """Writer of the rows of a `.npy` file, in a thread.

    Assign the rows in their order and without gaps. Do not change rows before the next
    rows are assigned. The rows are not synced to the disk.

    Examples:
        >>> with NpyRows(Path("table.npy"), (4, 2), "float32") as rows:
        ...     for first in (0, 2):
        ...         rows[first : first + 2] = np.full((2, 2), first, "float32")
        >>> np.load("table.npy")[:, 0]
        array([0., 0., 2., 2.], dtype=float32)

    Args:
        path: The file; an existing file is overwritten.
        shape: The shape of the array.
        dtype: The dtype of the array.

    Raises:
        OSError: If rows could not be written. It is raised when the next rows are
            assigned, or at the end.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._path = path
        self._stack = ExitStack()
        self._writing: Future | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._file = stack.enter_context(self._path.open("wb"))
            descr = np.lib.format.dtype_to_descr(self.dtype)
            header = {"descr": descr, "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(self._file, header)
            self._writer = stack.enter_context(ThreadPoolExecutor(1))
            self._stack = stack.pop_all()
        return self

    def __setitem__(self, part: slice, rows: np.ndarray) -> None:
        self._wait()
        self._writing = self._writer.submit(self._write, rows)

    def __exit__(self, *raised: Any) -> None:
        with self._stack:  # waits for the thread, then closes the file
            if raised[0] is None:
                self._wait()
                self._file.flush()

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _write(self, rows: np.ndarray) -> None:
        self._file.write(rows.reshape(-1).view(np.uint8).data)  # as bytes: any dtype


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yields the path of a partial file, which replaces `path` when it is complete.

    If anything is raised, `path` stays unchanged and the partial file is deleted.
    """
    # The name is always the same, so the next job overwrites the file of a killed job.
    # The file is hidden, so that `previous=` skips it in a directory.
    target = Path(os.path.realpath(path))  # follows symbolic links
    partial = target.with_name(f".partial-{path.name}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # without it, a power failure can leave half a file
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def move_to_file(
    path: Path,
    values: np.ndarray,
    row_map: RowMap,
    start: StartsFrom,
    axis: int,
    steps: Steps,
) -> np.memmap:
    """Moves the rows of an array to a `.npy` file, and opens it; see `move_rows`.

    If anything is raised, an existing file stays unchanged.
    """
    shape = (*values.shape[:axis], len(row_map), *values.shape[axis + 1 :])
    with ExitStack() as stack:
        partial = stack.enter_context(written_atomically(path))
        out: np.ndarray | RowSink
        if axis:  # other axes are not written row by row
            out = np.lib.format.open_memmap(partial, "w+", values.dtype, shape)
        else:
            out = stack.enter_context(NpyRows(partial, shape, values.dtype))
        move_rows(values, row_map, start, axis=axis, out=out, steps=steps)
    # `.npy` has no name for bfloat16 and similar dtypes, and loads them as raw bytes.
    return np.load(path, mmap_mode="r").view(values.dtype)
