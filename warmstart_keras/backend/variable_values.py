"""Values of variables: assignment with any number of rows, and reading of rows."""

from contextlib import ExitStack

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import sharded, tensors
from warmstart_keras.backend.tensors import Array


def give(variable: keras.Variable, value: Array) -> None:
    """Gives a variable a value with any number of rows, completely or not at all."""
    if isinstance(value, np.ndarray):
        value = tensors.to_tensor(value, like=variable)
    if tuple(value.shape) == tuple(variable.shape):
        variable.assign(value)
        return
    undo = ExitStack()
    try:
        keras_internals.replace_storage(variable, value, undo)
    except BaseException:
        undo.close()
        raise


def read_rows(variable: keras.Variable, axis: int, rows: np.ndarray) -> np.ndarray | None:
    """Reads some rows of a variable into a new array, rows first.

    No other rows are gathered or copied, and no other process takes part.

    Args:
        variable: The `keras.Variable`.
        axis: The axis of the rows.
        rows: The numbers of the rows.

    Returns:
        The rows; None if this process does not hold all of them.
    """
    if sharded.sharding_of(variable) is not None:
        whole = not sharded.spans_processes(variable)
        return _from_shards(variable, axis, rows) if whole else None
    if tensors.is_on_host(variable):
        # One replica of a mirrored variable is read, since a read of the whole copies it.
        replicas = getattr(variable.value, "values", None)
        one = replicas[0] if isinstance(replicas, tuple) else variable
        return rows_at(tensors.to_numpy(one), axis, rows)
    taken = keras.ops.take(variable.value, rows, axis=axis)
    return np.moveaxis(np.array(tensors.to_numpy(taken)), axis, 0)


def _from_shards(variable: keras.Variable, axis: int, rows: np.ndarray) -> np.ndarray:
    """Reads some rows of a JAX array that lies on several devices of this process."""
    value, is_on_host = variable.value, tensors.is_on_host(variable)
    shape = list(value.shape)
    shape[axis] = len(rows)
    found = np.empty(shape, value.dtype)
    for shard in value.addressable_shards:
        first, last, _ = shard.index[axis].indices(value.shape[axis])
        here = np.flatnonzero((first <= rows) & (rows < last))
        data = np.asarray(shard.data) if is_on_host else shard.data
        place = (*shard.index[:axis], here, *shard.index[axis + 1 :])
        found[place] = data.take(rows[here] - first, axis=axis)
    return np.moveaxis(found, axis, 0)


def rows_at(before: np.ndarray, axis: int, places: np.ndarray | range) -> np.ndarray:
    """Returns the rows at some places, rows first."""
    # "clip" avoids a check of each place.
    taken = np.take(before, np.asarray(places), axis=axis, mode="clip")
    return np.moveaxis(taken, axis, 0)
