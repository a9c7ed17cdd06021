"""Writing a `.npy` file some rows at a time, while the next ones are worked out."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np


class NpyRows:
    """Takes the rows of a `.npy` file, in their order and without a gap.

    A thread writes them. Rows that are given stay as they are until the next ones have
    been given. When the system brings them to the disk is left to it.

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
            self._stack = stack.pop_all()
        return self

    def __setitem__(self, part: slice, rows: np.ndarray) -> None:
        self._wait()
        self._writing = self._writer.submit(self._write, rows)

    def __exit__(self, *raised: Any) -> None:
        with self._stack:  # waits for the thread, and closes the file
            if raised[0] is None:
                self._wait()
                self._file.flush()

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _write(self, rows: np.ndarray) -> None:
        self._file.write(rows.reshape(-1).view(np.uint8).data)  # of any dtype
