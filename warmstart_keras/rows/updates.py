"""What a warm start does to a variable: moves its rows, sets it, or loads its layer."""

import hashlib
from dataclasses import dataclass, replace

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray, Transaction, give, sharded, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows import NewRows, Start
from warmstart_keras.rows.variables import bring_rows, move_in_variable
from warmstart_keras.vocabulary import RowMap

# Arrays of up to so many numbers are compared between processes, and tell whether these
# read the same file.
_SMALL = 2**16


@dataclass(frozen=True, eq=False)
class MoveRows:
    """The rows of one variable, a model's or an optimizer's, that go to new places."""

    variable: keras.Variable  # the `keras.Variable`
    axis: int  # the axis that has the vocabulary
    row_map: RowMap  # where each of its new rows comes from
    # What the rows that start anew have, as of `move_rows`.
    start: Start | keras.Variable | float
    # Where the rows come from, if not from the variable itself: those of a previous run.
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
        """The same with all asked of the user's code that can be asked ahead."""
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

    def apply(self, transaction: Transaction) -> None:
        """Moves the rows."""
        what = self.variable, self.axis, self.row_map, self.start
        keras_internals.clear_gradient(self.variable, transaction)
        if self.source is None:
            move_in_variable(*what, transaction)
        else:
            bring_rows(*what, self.source, transaction)


@dataclass(frozen=True, eq=False)
class SetValue:
    """The value of one variable, as a whole."""

    variable: keras.Variable  # the `keras.Variable`
    # What it gets: what a previous run has, the value of another variable at that time,
    # or one number everywhere.
    source: LazyArray | keras.Variable | float

    def digest(self) -> str:
        """What must be the same in every process; of a large array, its shape."""
        shape = tuple(map(int, self.variable.shape))
        found = ""
        if isinstance(self.source, LazyArray) and np.prod(shape) <= _SMALL:
            found = hashlib.sha256(self.source[...].tobytes()).hexdigest()[:16]
        return f"value of '{self.variable.path}' {shape} {found}"

    def apply(self, transaction: Transaction) -> None:
        """Gives the variable its value."""
        keras_internals.clear_gradient(self.variable, transaction)
        variable, source = self.variable, self.source
        if isinstance(source, keras.Variable):
            value = keras.ops.copy(source.value)
        elif sharded.sharding_of(variable) is not None:
            value = sharded.made(variable.value, self._part)
        else:
            value = self._part(())
        transaction.assign(variable, value)

    def _part(self, place: tuple[slice, ...]) -> np.ndarray:
        shape = np.broadcast_to(0, tuple(self.variable.shape))[place].shape
        dtype = np.dtype(self.variable.dtype)
        if isinstance(self.source, LazyArray):
            # A live model's own memory is not to be shared with another one.
            return np.array(self.source[place or ...], dtype)
        return np.full(shape, self.source, dtype)


@dataclass(frozen=True, eq=False)
class LoadState:
    """What a layer saves in a form of its own, and alone can read."""

    layer: keras.Layer
    values: dict[str, LazyArray]  # what it has saved, by key

    def digest(self) -> str:
        """What must be the same in every process."""
        return f"state of '{self.layer.path}': {sorted(self.values)}"

    def apply(self, transaction: Transaction) -> None:
        """Lets the layer load."""
        attributes = vars(self.layer)
        transaction.on_rollback(attributes.update, dict(attributes))
        for variable in self.layer.variables:
            transaction.on_rollback(give, variable, np.array(tensors.to_numpy(variable)))
        self.layer.load_own_variables({k: v[...] for k, v in self.values.items()})
