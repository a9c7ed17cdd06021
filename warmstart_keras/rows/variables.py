"""Moves of the rows of a variable on the host, an accelerator, or several devices.

If the shape stays, the variable is assigned, so other objects can keep it. For a
rollback, only the dropped rows are stored; all other rows are restored with the inverse
row map. Memory therefore never holds two copies of a table, except of the table that is
being moved.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import (
    Array,
    LazyArray,
    Tensor,
    Transaction,
    give,
    rows_at,
    sharded,
    tensors,
)
from warmstart_keras.new_rows import (
    CopyOfBase,
    MeanOfBase,
    NewRows,
    as_start,
    mean_of_rows,
)
from warmstart_keras.rows.arrays import StartsFrom, move_rows
from warmstart_keras.vocabulary import RowMap

Places = np.ndarray | range


def move_in_variable(
    variable: keras.Variable,
    axis: int,
    row_map: RowMap,
    start: StartsFrom,
    transaction: Transaction,
) -> None:
    """Moves the rows of a variable to new places in the same variable."""
    kind: type[_Exchange] = _OnDevice
    if sharded.sharding_of(variable) is not None:
        kind = _Sharded
    elif tensors.is_on_host(variable):
        kind = _OnHost
    kind(variable, axis, row_map, start).apply(transaction)


def bring_rows(
    variable: keras.Variable,
    axis: int,
    row_map: RowMap,
    start: StartsFrom,
    source: LazyArray,
    transaction: Transaction,
) -> None:
    """Copies rows of a previous run to their new places in a variable."""
    if sharded.sharding_of(variable) is None:
        before = source[...].astype(variable.dtype, copy=False)
        after = move_rows(before, row_map, start, axis=axis)
        transaction.assign(variable, tensors.handed_over(after, variable))
        return
    after = _moved_sharded(_brought(variable, axis, source), axis, row_map, start)
    sharded.wait_for(after)
    transaction.on_rollback(give, variable, variable.value)
    give(variable, after)


class _Exchange(ABC):
    """Move of the rows of a variable, with its rollback.

    `_after` holds the moved rows until the variable has them. If the move is interrupted
    before that, the rollback rebuilds the base rows from `_after`.
    """

    def __init__(
        self, variable: keras.Variable, axis: int, row_map: RowMap, start: StartsFrom
    ) -> None:
        self.variable, self.axis, self.row_map, self.start = (
            variable,
            axis,
            row_map,
            start,
        )
        self._left, self._after = self._moved()

    @abstractmethod
    def _moved(self) -> tuple[Array, Array]:
        """Returns the dropped rows, for a rollback, and the new value."""

    @abstractmethod
    def _before(self, now: Array) -> Array:
        """Rebuilds the value before the move from the value after it."""

    def _value(self) -> Array:
        value = self.variable.value
        return value.detach() if keras.backend.backend() == "torch" else value

    def _give(self, rows: Array) -> None:
        give(self.variable, rows)

    def apply(self, transaction: Transaction) -> None:
        """Gives the variable its new rows.

        On TensorFlow, compiled functions hold the storage of a variable. If the shape
        changes, the variable gets new storage, and the memory of the previous storage is
        freed. A rollback fills the previous storage again and gives it back.
        """
        same_shape = tuple(self._after.shape) == tuple(self.variable.shape)
        if same_shape or not keras_internals.storage_is_held():
            transaction.on_rollback(self._take_back)
            self._give(self._after)
        else:
            storage, way_back = self.variable.value, ExitStack()
            transaction.on_rollback(self._put_back, storage, way_back)
            value = _handed_over(self._after, self.variable)
            keras_internals.replace_storage(self.variable, value, way_back)
            keras_internals.let_go(storage)
        self._after = None

    def _take_back(self) -> None:
        self._give(self._before(self._value() if self._after is None else self._after))

    def _put_back(self, storage: Tensor, way_back: ExitStack) -> None:
        before = self._before(self._value() if self._after is None else self._after)
        keras_internals.refill(storage, _handed_over(before, self.variable))
        way_back.close()


class _OnHost(_Exchange):
    """Move in the host's memory, with NumPy."""

    def _value(self) -> np.ndarray:
        return tensors.to_numpy(self.variable)

    def _moved(self) -> tuple[np.ndarray, np.ndarray]:
        # TensorFlow writes in place only if no array views the variable's memory. So no
        # such array is kept when this method returns.
        before = self._value()
        left = rows_at(before, self.axis, self.row_map.left_rows)
        return left, move_rows(before, self.row_map, self.start, axis=self.axis)

    def _before(self, now: np.ndarray) -> np.ndarray:
        return move_rows(now, self.row_map.inverted(), self._left, axis=self.axis)

    def _give(self, rows: np.ndarray) -> None:
        give(self.variable, tensors.handed_over(rows, self.variable))


class _OnDevice(_Exchange):
    """Move on an accelerator, which receives only indices and new rows."""

    def _moved(self) -> tuple[Array, Array]:
        row_map, axis = self.row_map, self.axis
        left = keras.ops.take(self._value(), row_map.left_rows, axis=axis)
        left = keras.ops.moveaxis(left, axis, 0)
        places, values = _fresh(row_map, self.start, axis, self._read)
        return left, _moved(self._value(), axis, row_map.indices, places, values)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        taken = keras.ops.take(self._value(), np.asarray(rows), axis=self.axis)
        return np.moveaxis(tensors.to_numpy(taken), self.axis, 0)

    def _before(self, now: Array) -> Array:
        inverse, left_rows = self.row_map.inverse(), self.row_map.left_rows
        return _moved(now, self.axis, inverse, left_rows, self._left)


class _Sharded(_Exchange):
    """Move of a sharded variable on several devices, with JAX."""

    def _moved(self) -> tuple[Array, Array]:
        before = self.variable.value
        after = _moved_sharded(before, self.axis, self.row_map, self.start)
        left = sharded.taken(before, self.axis, self.row_map.left_rows)
        sharded.wait_for(after, left)  # errors of the devices are raised here
        return left, after

    def _before(self, now: Array) -> Array:
        inverse = self.row_map.inverse()
        back = sharded.full(now, self.axis, len(inverse), 0)
        back = sharded.merged_at(back, self._left, self.row_map.left_rows, self.axis)
        back = sharded.merged(back, now, inverse, self.axis)
        sharded.wait_for(back)
        return back


def _handed_over(rows: Array, variable: keras.Variable) -> Array:
    is_array = isinstance(rows, np.ndarray)
    return tensors.handed_over(rows, variable) if is_array else rows


def _fresh(row_map: RowMap, start: StartsFrom, axis: int, read: Callable) -> tuple:
    """Returns new and averaged rows, and their values, as arrays on the host."""
    new_rows, averaged = row_map.new_rows, np.asarray(row_map.averaged_rows, np.int64)
    values = np.asarray(
        as_start(start).values(row_map, axis, read)(slice(0, len(new_rows)))
    )
    if not len(averaged):
        return new_rows, values
    mean = mean_of_rows(read, row_map.averaged_from)
    parts = [
        np.broadcast_to(part, (len(rows), *mean.shape))
        for rows, part in ((new_rows, values), (averaged, mean))
    ]
    return np.concatenate([new_rows, averaged]), np.concatenate(parts)


def _moved(
    value: Array, axis: int, indices: np.ndarray, places: np.ndarray, rows: Array
) -> Tensor:
    """Moves the rows of a tensor along an axis, and puts `rows` at `places`."""
    kind = keras.backend.standardize_dtype(value.dtype)
    moved = keras.ops.take(_as_bits(value), indices.clip(0), axis=axis)
    if len(places):
        if isinstance(rows, np.ndarray):
            shape = (len(places), *np.delete(moved.shape, axis))
            rows = tensors.to_tensor(np.broadcast_to(rows, shape).astype(np.dtype(kind)))
        moved = keras.ops.moveaxis(moved, axis, 0)
        moved = keras.ops.scatter_update(moved, places[:, None], _as_bits(rows))
        moved = keras.ops.moveaxis(moved, 0, axis)
    return tensors.from_bits(moved, kind) if keras.backend.backend() == "jax" else moved


def _as_bits(value: Array) -> Tensor:
    if keras.backend.backend() != "jax":
        return value
    return tensors.as_bits(keras.ops.convert_to_tensor(value))


def _brought(variable: keras.Variable, axis: int, source: LazyArray) -> Tensor:
    """Reads the rows of a previous run; each device gets only its part."""

    def rows(part: slice, others: tuple[slice, ...] = ()) -> np.ndarray:
        place = (*others[:axis], part, *others[axis:])
        return np.moveaxis(source[place], axis, 0).astype(variable.dtype, copy=False)

    return sharded.stacked(variable.value, axis, source.shape[axis], rows)


def _moved_sharded(
    before: Tensor, axis: int, row_map: RowMap, start: StartsFrom
) -> Tensor:
    number = start if isinstance(start, int | float) else 0
    after = sharded.full(before, axis, len(row_map), number)
    if isinstance(start, NewRows):
        after = _merged_into(after, axis, row_map.new_rows, start)
    elif isinstance(start, keras.Variable):
        places = np.full(len(row_map), -1)
        places[row_map.new_rows] = row_map.new_rows
        after = sharded.merged(after, start.value, places, axis)
    elif isinstance(start, MeanOfBase):
        after = _averaged_into(after, axis, row_map.new_rows, before, start.rows)
    elif isinstance(start, CopyOfBase):
        places = np.full(len(row_map), -1)
        places[row_map.new_rows] = start.rows
        after = sharded.merged(after, before, places, axis)
    averaged = row_map.averaged_rows, before, row_map.averaged_from
    after = _averaged_into(after, axis, *averaged)
    return sharded.merged(after, before, row_map.indices, axis)


def _averaged_into(
    array: Tensor, axis: int, places: Places, before: Tensor, rows: Places
) -> Tensor:
    """Puts the mean of some rows of `before` at some places of an array."""
    if not len(places):
        return array
    mean = mean_of_rows(partial(sharded.read_rows, before, axis), rows)
    made = np.broadcast_to(mean, (len(places), *mean.shape))
    return _merged_into(array, axis, places, lambda part, others: made[(part, *others)])


def _merged_into(array: Tensor, axis: int, places: Places, rows: Callable) -> Tensor:
    """Puts rows that this process makes at some places of an array."""
    made = sharded.stacked(array, axis, len(places), rows)
    return sharded.merged_at(array, made, places, axis)
