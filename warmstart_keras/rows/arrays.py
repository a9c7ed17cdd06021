"""Moving the rows of an array along an axis, in blocks and by several threads."""

import math
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

from warmstart_keras.backend import rows_at, tensors, workers
from warmstart_keras.new_rows import as_start, mean_of_rows
from warmstart_keras.vocabulary import RowMap

_BLOCK = 2**25  # bytes that are finished before others are begun
_PIECE = 2**22  # bytes that one thread moves at a time


def move_rows(
    before: np.ndarray,
    row_map: RowMap,
    start: Any,
    *,
    axis: int = 0,
    out: Any = None,
    after_block: Callable[[int], None] | None = None,
) -> Any:
    """An array with its rows along an axis in new places.

    Args:
        before: The array.
        row_map: Where each of its new rows comes from.
        start: What the rows that start anew have: `NewRows`, a `MeanOfBase`, a
            `CopyOfBase`, one number for all, an array of them with the rows first, or
            the variable whose rows, in their new places, they are equal to.
        axis: The axis that has the rows.
        out: What the result is written into, apart from `before`: an array; or, for
            `axis=0`, anything that takes `out[first:last] = rows`, in their order; these
            stay as they are until the next ones were taken. None: a new array.
        after_block: Called with the number of rows that are done, for `axis=0`.

    Returns:
        `out`, or the new array, which `tensors.handed_over` can hand to the backend.
    """
    shape = (*before.shape[:axis], len(row_map), *before.shape[axis + 1 :])
    moved = tensors.empty(shape, before.dtype) if out is None else out
    read = partial(rows_at, before, axis)
    mean: Any = 0
    if len(row_map.averaged_rows):
        mean = mean_of_rows(read, row_map.averaged_from)
    start, new_rows = as_start(start), row_map.new_rows
    number = start.number
    values = start.values(row_map, axis, read) if number is None else None
    averaged = np.asarray(row_map.averaged_rows, np.int64)
    blocks = _blocks(shape, axis, before.dtype.itemsize)
    rooms = None
    if not isinstance(moved, np.ndarray):
        most = max((last - first for first, last in blocks), default=0)
        # While `out` may still write the rows of one of them, the other is filled.
        rooms = cycle([np.empty((most, *shape[1:]), before.dtype) for _ in blocks[:2]])
    with workers(math.prod(shape) * before.dtype.itemsize) as each:
        for first, last in blocks:
            block = moved[first:last] if rooms is None else next(rooms)[: last - first]
            begin, end = (0, len(row_map)) if axis else (first, last)
            a, b = np.searchsorted(new_rows, [begin, end])
            places = new_rows[a:b] - begin
            blank = None if number is None else (places, number)
            _take(before, row_map.indices[begin:end], axis, block, each, blank)
            rows_first = np.moveaxis(block, axis, 0)
            if values is not None and a < b:
                rows_first[places] = values(slice(int(a), int(b)))
            c, d = np.searchsorted(averaged, [begin, end])
            rows_first[averaged[c:d] - begin] = mean
            if rooms is not None:
                moved[first:last] = block
            if after_block is not None:
                after_block(last)
    return moved


def _blocks(shape: tuple[int, ...], axis: int, itemsize: int) -> list[tuple[int, int]]:
    """First and last row of each block; all at once along another axis than the first."""
    step = max(1, shape[0]) if axis else _rows_of(_BLOCK, shape, itemsize)
    firsts = range(0, shape[0], step)
    return [(first, min(first + step, shape[0])) for first in firsts]


def _rows_of(size: int, shape: tuple[int, ...], itemsize: int) -> int:
    """How many entries along the first axis have so many bytes; one at least."""
    return max(1, size // max(1, math.prod(shape[1:]) * itemsize))


def _take(
    before: np.ndarray,
    wanted: np.ndarray,
    axis: int,
    out: np.ndarray,
    each: Callable,
    blank: tuple[np.ndarray, float] | None,
) -> None:
    """Fills a block with the rows `wanted`; new rows get any row.

    Args:
        before: The array.
        wanted: The base row of each row of the block, below 0 for a new one.
        axis: The axis that has the rows.
        out: The block.
        each: A `map`, maybe by several threads.
        blank: Which rows of the block are new, if all of them have one number; and that.
    """

    def fill(begin: int) -> None:
        end = min(begin + step, len(out))
        piece = out[begin:end]
        # Of a lookup that is not adapted, without mask and OOV rows, there are none.
        if before.shape[axis]:
            source = before[begin:end] if axis else before
            rows = wanted if axis else wanted[begin:end]
            # Indices below 0 are clipped as well.
            np.take(source, rows, axis=axis, out=piece, mode="clip")
        if blank is not None and axis:
            np.moveaxis(piece, axis, 0)[blank[0]] = blank[1]
        elif blank is not None:
            a, b = np.searchsorted(blank[0], [begin, end])
            piece[blank[0][a:b] - begin] = blank[1]

    step = _rows_of(_PIECE, out.shape, out.dtype.itemsize)
    for _ in each(fill, range(0, len(out), step)):
        pass
