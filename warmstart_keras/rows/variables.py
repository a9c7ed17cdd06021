"""Moving the rows of a variable that is whole in one place: the host, or an accelerator.

Where the shape stays, the variable is assigned, so that nothing else that holds it is
disturbed (K1b). To undo it only the rows that left are kept: the others come back through
the inverse row map. So no table is there twice, but for the one that is being moved.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import give, rows_at, tensors
from warmstart_keras.new_rows import mean_of_rows
from warmstart_keras.rows.arrays import move_rows, values_of
from warmstart_keras.vocabulary import RowMap


def move_on_host(
    variable: Any, axis: int, row_map: RowMap, start: Any, undo: ExitStack
) -> None:
    """Moves the rows of a variable in the host's memory; arguments as of `MoveRows`."""
    before = tensors.to_numpy(variable)
    left = rows_at(before, axis, row_map.left_rows)
    after = move_rows(before, row_map, start, axis=axis)
    del before  # TensorFlow writes in place only to what nobody else looks at
    in_doubt = [after]  # until the variable is known to have it

    def as_before() -> np.ndarray:
        now = in_doubt[0] if in_doubt else tensors.to_numpy(variable)
        return move_rows(now, row_map.inverted(), left, axis=axis)

    def give_rows(rows: np.ndarray) -> None:
        give(variable, tensors.handed_over(rows, variable))

    _exchange(variable, after, as_before, give_rows, undo)
    in_doubt.clear()


def move_on_device(
    variable: Any, axis: int, row_map: RowMap, start: Any, undo: ExitStack
) -> None:
    """The same on an accelerator: only indices and new rows travel there."""

    def read(rows: Any) -> np.ndarray:
        taken = keras.ops.take(_value(variable), np.asarray(rows), axis=axis)
        return np.moveaxis(tensors.to_numpy(taken), axis, 0)

    def give_rows(rows: Any) -> None:
        give(variable, rows)

    left = keras.ops.take(_value(variable), row_map.left_rows, axis=axis)
    left = keras.ops.moveaxis(left, axis, 0)
    places, values = _fresh(row_map, start, axis, read)
    after = _moved(_value(variable), axis, row_map.indices, places, values)
    in_doubt = [after]

    def as_before() -> Any:
        now = in_doubt[0] if in_doubt else _value(variable)
        return _moved(now, axis, row_map.inverse(), row_map.left_rows, left)

    _exchange(variable, after, as_before, give_rows, undo)
    in_doubt.clear()


def _exchange(
    variable: Any,
    after: Any,
    as_before: Callable[[], Any],
    give_rows: Callable[[Any], None],
    undo: ExitStack,
) -> None:
    """Gives a variable its new rows, and leaves with `undo` what takes that back.

    On TensorFlow a variable that gets new storage must get its very old one back, since
    compiled functions hold that object. What is in it is let go.
    """
    same_shape = tuple(after.shape) == tuple(variable.shape)
    if same_shape or not keras_internals.storage_is_held():
        undo.callback(lambda: give_rows(as_before()))
        give_rows(after)
        return
    storage = variable.value
    way_back = ExitStack()

    def put_back() -> None:
        keras_internals.refill(storage, _handed_over(as_before(), variable))
        way_back.close()

    undo.callback(put_back)
    keras_internals.replace_storage(variable, _handed_over(after, variable), way_back)
    keras_internals.let_go(storage)


def _handed_over(rows: Any, variable: Any) -> Any:
    is_array = isinstance(rows, np.ndarray)
    return tensors.handed_over(rows, variable) if is_array else rows


def _value(variable: Any) -> Any:
    value = variable.value
    return value.detach() if keras.backend.backend() == "torch" else value


def _fresh(row_map: RowMap, start: Any, axis: int, read: Callable) -> tuple:
    """The rows that continue none, and what they have; as arrays on the host."""
    new_rows, averaged = row_map.new_rows, np.asarray(row_map.averaged_rows, np.int64)
    values = np.asarray(values_of(start, row_map, axis, read)(slice(0, len(new_rows))))
    if not len(averaged):
        return new_rows, values
    mean = mean_of_rows(read, row_map.averaged_from)
    parts = [
        np.broadcast_to(part, (len(rows), *mean.shape))
        for rows, part in ((new_rows, values), (averaged, mean))
    ]
    return np.concatenate([new_rows, averaged]), np.concatenate(parts)


def _moved(value: Any, axis: int, indices: np.ndarray, places: Any, rows: Any) -> Any:
    """A tensor with its rows along an axis elsewhere, and others in some places."""
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


def _as_bits(value: Any) -> Any:
    if keras.backend.backend() != "jax":
        return value
    return tensors.as_bits(keras.ops.convert_to_tensor(value))
