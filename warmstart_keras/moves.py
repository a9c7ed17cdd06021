"""Moving the rows of one variable, so that it can be undone."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.remap import move_rows
from warmstart_keras.row_map import RowMap


@dataclass(frozen=True, eq=False)
class Move:
    """The rows of one variable, a model's or an optimizer's, that go to new places.

    Attributes:
        variable: The `keras.Variable`.
        axis: The axis that has the vocabulary.
        row_map: Where each of its new rows comes from.
        new_rows: Called with the numbers of the rows that start anew; gives their
            values, rows first, or one number for all.
        early: Whether `new_rows` can be called before anything has moved.
    """

    variable: Any
    axis: int
    row_map: RowMap
    new_rows: Callable[[np.ndarray], Any]
    early: bool = True

    def prepared(self) -> "Move":
        """The same with its new rows made, where that can be done ahead."""
        if not self.early:
            return self
        rows = self.new_rows(self.row_map.new_rows)
        return replace(self, new_rows=lambda _: rows)

    def apply(self, undo: ExitStack) -> None:
        """Moves the rows, and leaves with `undo` what takes that back.

        Where the shape stays, the variable is assigned, so that nothing else that holds
        it is disturbed (K1b), and undoing needs only the rows that left: the others come
        back through the inverse row map. Else it gets new storage, and the old one is
        kept until all is done, since compiled functions hold that very object.
        """
        before = keras_internals.to_numpy(self.variable)
        rows = self.new_rows(self.row_map.new_rows)
        after = move_rows(before, self.row_map, rows, axis=self.axis)
        if after.shape != before.shape:
            keras_internals.replace_storage(self.variable, after, undo)
            return
        left = np.take(before, self.row_map.left_rows, axis=self.axis)
        whole = [before]  # until the variable is known to be assigned
        undo.callback(self._restore, np.moveaxis(left, self.axis, 0), whole)
        self.variable.assign(after)
        whole.clear()

    def _restore(self, left: np.ndarray, whole: list[np.ndarray]) -> None:
        if whole:
            self.variable.assign(whole[0])
            return
        now = keras_internals.to_numpy(self.variable)
        back = self.row_map.inverted()
        self.variable.assign(move_rows(now, back, left, axis=self.axis))


def set_attribute(owner: Any, name: str, value: Any, undo: ExitStack) -> None:
    """Sets an attribute, and leaves with `undo` what takes that back."""
    undo.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)
