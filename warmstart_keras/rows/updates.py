"""Moving the rows of one variable, so that it can be undone."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray, give, put, sharded, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows import CopyOfBase, MeanOfBase, NewRows, Start, mean_of_rows
from warmstart_keras.rows.arrays import move_rows
from warmstart_keras.rows.variables import move_on_device, move_on_host
from warmstart_keras.vocabulary import RowMap

# Arrays of up to so many numbers are compared between processes, and tell whether these
# read the same file.
_SMALL = 2**16


@dataclass(frozen=True, eq=False)
class MoveRows:
    """The rows of one variable, a model's or an optimizer's, that go to new places.

    Attributes:
        variable: The `keras.Variable`.
        axis: The axis that has the vocabulary.
        row_map: Where each of its new rows comes from.
        start: What the rows that start anew have, as of `move_rows`.
        source: Where the rows come from, if not from the variable itself: those of a
            previous run.
    """

    variable: Any
    axis: int
    row_map: RowMap
    start: Start | keras.Variable | float
    source: LazyArray | None = None

    @property
    def remark(self) -> str | None:
        """What the user should know about the new rows."""
        return getattr(self.start, "remark", None)

    def fitted(self) -> "MoveRows":
        """The same, after what new rows are made of was learned, if it must be."""
        if not isinstance(self.start, NewRows):
            return self
        return replace(self, start=self.start.fitted())

    def prepared(self) -> "MoveRows":
        """The same with all asked of the user's code that can be asked ahead.

        Raises:
            WarmStartError: If that cannot be had for a variable of several processes.
        """
        if not isinstance(self.start, NewRows):
            return self
        if self.start.in_parts:
            # Made some at a time: all of them may be more than memory holds.
            return replace(self, start=self.start.tried())
        is_asked = len(self.row_map.new_rows) and not self.start.initializer.learns
        if is_asked and sharded.spans_processes(self.variable):
            raise WarmStartError(
                f"Across processes new rows of '{self.variable.path}' must be made by an "
                "initializer that makes each row by itself. Received: "
                f"{self.start.initializer!r}, which may need the whole table, "
                "and no process holds it. Pass a `new_embeddings_initializer` that is "
                'row-wise ("uniform", "normal", "zeros", ...), or warm start in one '
                "process and load what it saves."
            )
        return replace(self, start=self.start.made())

    def digest(self) -> str:
        """What must be the same in every process."""
        rows = self.row_map
        indices = hashlib.sha256(rows.indices.tobytes()).hexdigest()
        made = self.start.digest() if isinstance(self.start, NewRows) else ""
        return (
            f"rows of '{self.variable.path}' along axis {self.axis}: {indices[:16]}, "
            f"{rows.averaged_rows} from {rows.averaged_from}, new rows {made[:16]}"
        )

    def apply(self, undo: ExitStack) -> None:
        """Moves the rows, and leaves with `undo` what takes that back."""
        what = self.variable, self.axis, self.row_map, self.start
        keras_internals.clear_gradient(self.variable, undo)
        if sharded.sharding_of(self.variable) is not None:
            self._apply_sharded(undo)
        elif self.source is not None:
            before = self.source[...].astype(self.variable.dtype, copy=False)
            after = move_rows(before, self.row_map, self.start, axis=self.axis)
            put(self.variable, tensors.handed_over(after, self.variable), undo)
        elif tensors.is_on_host(self.variable):
            move_on_host(*what, undo)
        else:
            move_on_device(*what, undo)

    # --- on several devices, with JAX ---

    def _apply_sharded(self, undo: ExitStack) -> None:
        before = self.variable.value
        if self.source is not None:
            after = self._moved_in_place(self._brought(before))
            sharded.wait_for(after)
            undo.callback(give, self.variable, before)
            give(self.variable, after)
            return
        after = self._moved_in_place(before)
        left_rows = self.row_map.left_rows
        left = sharded.taken(before, self.axis, left_rows)
        sharded.wait_for(after, left)  # what fails there fails here
        in_doubt = [before]  # arrays of JAX never change
        undo.callback(self._restore_sharded, left_rows, left, in_doubt)
        del before
        give(self.variable, after)
        in_doubt.clear()

    def _brought(self, like: Any) -> Any:
        """The rows of the source, each device its own part of them."""
        source, dtype, axis = self.source, self.variable.dtype, self.axis
        assert source is not None

        def rows(part: slice, others: tuple[slice, ...] = ()) -> np.ndarray:
            place = (*others[:axis], part, *others[axis:])
            return np.moveaxis(source[place], axis, 0).astype(dtype, copy=False)

        return sharded.stacked(like, axis, source.shape[axis], rows)

    def _moved_in_place(self, before: Any) -> Any:
        row_map, axis, start = self.row_map, self.axis, self.start
        number = start if isinstance(start, int | float) else 0
        after = sharded.full(before, axis, len(row_map), number)
        if isinstance(start, NewRows):
            after = self._merged_into(after, row_map.new_rows, start)
        elif isinstance(start, keras.Variable):
            places = np.full(len(row_map), -1)
            places[row_map.new_rows] = row_map.new_rows
            after = sharded.merged(after, start.value, places, axis)
        elif isinstance(start, MeanOfBase):
            after = self._averaged_into(after, row_map.new_rows, before, start.rows)
        elif isinstance(start, CopyOfBase):
            places = np.full(len(row_map), -1)
            places[row_map.new_rows] = start.rows
            after = sharded.merged(after, before, places, axis)
        after = self._averaged_into(
            after, row_map.averaged_rows, before, row_map.averaged_from
        )
        return sharded.merged(after, before, row_map.indices, axis)

    def _averaged_into(self, array: Any, places: Any, before: Any, rows: Any) -> Any:
        """The array with the mean of some rows of `before` in some places."""
        if not len(places):
            return array
        read = partial(sharded.read_rows, before, self.axis)
        mean = mean_of_rows(read, rows)
        made = np.broadcast_to(mean, (len(places), *mean.shape))
        return self._merged_into(
            array, places, lambda part, others: made[(part, *others)]
        )

    def _merged_into(self, array: Any, places: Any, rows: Callable) -> Any:
        """The array with rows that this process makes in some places."""
        made = sharded.stacked(array, self.axis, len(places), rows)
        return sharded.merged_at(array, made, places, self.axis)

    def _restore_sharded(self, left_rows: np.ndarray, left: Any, in_doubt: list) -> None:
        if in_doubt:
            give(self.variable, in_doubt[0])
            return
        inverse = self.row_map.inverse()
        now = self.variable.value
        back = sharded.full(now, self.axis, len(inverse), 0)
        back = sharded.merged_at(back, left, left_rows, self.axis)
        back = sharded.merged(back, now, inverse, self.axis)
        sharded.wait_for(back)
        give(self.variable, back)


@dataclass(frozen=True, eq=False)
class SetValue:
    """The value of one variable, as a whole.

    Attributes:
        variable: The `keras.Variable`.
        source: What it gets: what a previous run has, the value of another variable at
            that time, or one number everywhere.
    """

    variable: Any
    source: LazyArray | keras.Variable | float

    def digest(self) -> str:
        """What must be the same in every process; of a large array, its shape."""
        shape = tuple(map(int, self.variable.shape))
        found = ""
        if isinstance(self.source, LazyArray) and np.prod(shape) <= _SMALL:
            found = hashlib.sha256(self.source[...].tobytes()).hexdigest()[:16]
        return f"value of '{self.variable.path}' {shape} {found}"

    def apply(self, undo: ExitStack) -> None:
        """Gives the variable its value, and leaves with `undo` what takes that back."""
        keras_internals.clear_gradient(self.variable, undo)
        variable, source = self.variable, self.source
        if isinstance(source, keras.Variable):
            value = keras.ops.copy(source.value)
        elif sharded.sharding_of(variable) is not None:
            value = sharded.made(variable.value, self._part)
        else:
            value = self._part(())
        put(variable, value, undo)

    def _part(self, place: tuple[slice, ...]) -> np.ndarray:
        shape = np.broadcast_to(0, tuple(self.variable.shape))[place].shape
        dtype = np.dtype(self.variable.dtype)
        if isinstance(self.source, LazyArray):
            # A live model's own memory is not to be shared with another one.
            return np.array(self.source[place or ...], dtype)
        return np.full(shape, self.source, dtype)


@dataclass(frozen=True, eq=False)
class LoadState:
    """What a layer saves in a form of its own, and alone can read.

    Attributes:
        layer: The layer.
        values: What it has saved, by key.
    """

    layer: keras.Layer
    values: dict[str, LazyArray]

    def digest(self) -> str:
        """What must be the same in every process."""
        return f"state of '{self.layer.path}': {sorted(self.values)}"

    def apply(self, undo: ExitStack) -> None:
        """Lets the layer load, and leaves with `undo` what takes that back."""
        attributes = vars(self.layer)
        undo.callback(attributes.update, dict(attributes))
        for variable in self.layer.variables:
            undo.callback(give, variable, np.array(tensors.to_numpy(variable)))
        self.layer.load_own_variables({k: v[...] for k, v in self.values.items()})
