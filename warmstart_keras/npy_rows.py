"""Writing a `.npy` file some rows at a time, while the next ones are worked out."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np

_AT_ONCE = 2**28  # bytes that are written before they begin to go to the disk


class NpyRows:
    """Takes the rows of a `.npy` file, in their order and without a gap.

    A thread writes them, another one has the system bring them to the disk meanwhile,
    which would begin with that when hardly any memory is left, or at the end. Rows that
    are given stay as they are until the next ones have been given.

    Examples:
        >>> with NpyRows(Path("table.npy"), (4, 2), "float32") as rows:
        ...     for first in (0, 2):
        ...         rows[first : first + 2] = np.full((2, 2), first, "float32")
        >>> np.load("table.npy")[:, 0]
        array([0., 0., 2., 2.], dtype=float32)

    Args:
        path: The file; one that is there is written over.
        shape: The shape of the array.
        dtype: Its dtype.

    Raises:
        OSError: When rows are given, or at the end, if those before could not be written.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._path = path
        self._stack = ExitStack()
        self._writing: Future | None = None
        self._syncing: Future | None = None
        self._size = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._file = stack.enter_context(self._path.open("wb"))
            np.lib.format.write_array_header_1_0(
                self._file,
                {
                    "descr": np.lib.format.dtype_to_descr(self.dtype),
                    "fortran_order": False,
                    "shape": self.shape,
                },
            )
            self._writer = stack.enter_context(ThreadPoolExecutor(1))
            self._syncer = stack.enter_context(ThreadPoolExecutor(1))
            self._stack = stack.pop_all()
        return self

    def __setitem__(self, part: slice, rows: np.ndarray) -> None:
        self._wait()
        self._writing = self._writer.submit(self._write, rows)

    def __exit__(self, *raised: Any) -> None:
        with self._stack:  # waits for both threads, and closes the file
            if raised[0] is None:
                self._wait()
                self._file.flush()

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
        if self._size >= _AT_ONCE and (self._syncing is None or self._syncing.done()):
            self._size = 0
            self._syncing = self._syncer.submit(_sync, self._file.fileno())

    def _write(self, rows: np.ndarray) -> None:
        self._file.write(rows.reshape(-1).view(np.uint8).data)  # of any dtype
        self._size += rows.nbytes


# Without the times of the file, where a system has it: the size and the content alone.
_sync = getattr(os, "fdatasync", os.fsync)
