"""Moves of the rows of an array along an axis, in blocks and with several threads."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any, Protocol, TypeAlias

import keras
import numpy as np

from warmstart_keras.backend import rows_at, tensors, workers
from warmstart_keras.new_rows import Start, as_start, mean_of_rows
from warmstart_keras.vocabulary import RowMap

StartsFrom: TypeAlias = Start | keras.Variable | np.ndarray | float
"""Values of new rows, in all forms that `as_start` accepts."""


class RowSink(Protocol):
    """Object that takes rows in their order, and may read them until it gets the next."""

    def __setitem__(self, part: slice, rows: np.ndarray) -> None: ...


@dataclass(frozen=True)
class Steps:
    """Steps in which the rows of an array are moved."""

    block: int = 2**25  # bytes per block; blocks are moved one after the other
    piece: int = 2**22  # bytes that a thread moves at a time
    threads: int | None = None  # as for `workers`
    # Called after each block with the number of rows done so far, for `axis=0`.
    after_block: Callable[[int], None] | None = None


_STEPS = Steps()


def move_rows(
    before: np.ndarray,
    row_map: RowMap,
    start: StartsFrom,
    *,
    axis: int = 0,
    out: np.ndarray | RowSink | None = None,
    steps: Steps = _STEPS,
) -> Any:
    """Moves the rows of an array along an axis to their new places.

    Args:
        before: The array.
        row_map: Map from the new rows to the base rows.
        start: Values of new rows: a `Start`, or another form that `as_start` accepts.
        axis: The axis of the rows.
        out: Target of the result: an array that shares no memory with `before`, or,
            for `axis=0`, a `RowSink`. None creates an array.
        steps: Sizes of the steps. The result does not depend on them.

    Returns:
        `out`, or the new array. `tensors.handed_over` can pass the new array to the
        backend without a copy.
    """
    shape = (*before.shape[:axis], len(row_map), *before.shape[axis + 1 :])
    moved = tensors.empty(shape, before.dtype) if out is None else out
    read = partial(rows_at, before, axis)
    averaged = np.asarray(row_map.averaged_rows, np.int64)
    mean = mean_of_rows(read, row_map.averaged_from) if len(averaged) else 0
    first_values, new_rows = as_start(start), row_map.new_rows
    number = first_values.number
    values = first_values.values(row_map, axis, read) if number is None else None
    itemsize = before.dtype.itemsize
    blocks = _cut(shape[0], shape[0] if axis else _rows_of(steps.block, shape, itemsize))
    rooms: Iterator[np.ndarray] = iter(())
    if not isinstance(moved, np.ndarray):
        most = max((last - first for first, last in blocks), default=0)
        # Two buffers take turns: one is filled while `out` writes the other.
        rooms = cycle([np.empty((most, *shape[1:]), before.dtype) for _ in blocks[:2]])
    with workers(math.prod(shape) * itemsize, steps.threads) as each:
        for first, last in blocks:
            if isinstance(moved, np.ndarray):
                block = moved[first:last]
            else:
                block = next(rooms)[: last - first]
            begin, end = (0, len(row_map)) if axis else (first, last)
            a, b = np.searchsorted(new_rows, [begin, end])
            new, indices = new_rows[a:b] - begin, row_map.indices[begin:end]
            take = partial(_take, before, indices, axis, block, (new, number))
            pieces = _cut(len(block), _rows_of(steps.piece, shape, itemsize))
            for _ in each(take, pieces):
                pass
            rows_first = np.moveaxis(block, axis, 0)
            if values is not None and a < b:
                rows_first[new] = values(slice(int(a), int(b)))
            c, d = np.searchsorted(averaged, [begin, end])
            rows_first[averaged[c:d] - begin] = mean
            if not isinstance(moved, np.ndarray):
                moved[first:last] = block
            if steps.after_block is not None:
                steps.after_block(last)
    return moved


def _cut(length: int, step: int) -> list[tuple[int, int]]:
    """Cuts a length into parts of at most `step`: the start and stop of each."""
    firsts = range(0, length, max(1, step))
    return [(first, min(first + step, length)) for first in firsts]


def _rows_of(size: int, shape: tuple[int, ...], itemsize: int) -> int:
    """Returns how many entries along the first axis have `size` bytes; at least 1."""
    return max(1, size // max(1, math.prod(shape[1:]) * itemsize))


def _take(
    before: np.ndarray,
    indices: np.ndarray,
    axis: int,
    out: np.ndarray,
    new: tuple[np.ndarray, float | None],
    part: tuple[int, int],
) -> None:
    """Fills a part of a block; new rows get the number in `new`, or any row if None."""
    (new_rows, number), (begin, end) = new, part
    piece = out[begin:end]
    # The base of a lookup that is not adapted can have no rows.
    if before.shape[axis]:
        source = before[begin:end] if axis else before
        wanted = indices if axis else indices[begin:end]
        # With "clip", index -1 (a new row) takes row 0, which is overwritten later.
        np.take(source, wanted, axis=axis, out=piece, mode="clip")
    if number is not None and axis:
        np.moveaxis(piece, axis, 0)[new_rows] = number
    elif number is not None:
        a, b = np.searchsorted(new_rows, [begin, end])
        piece[new_rows[a:b] - begin] = number
