"""Updates of a warm start: moved rows, a new value, or a loaded layer state."""

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

# Arrays of up to this many numbers are compared between processes, to detect processes
# that read different files.
_SMALL = 2**16


@dataclass(frozen=True, eq=False)
class MoveRows:
    """Move of the rows of one variable, of a model or an optimizer, to new places."""

    variable: keras.Variable  # the variable to update
    axis: int  # the axis that follows the vocabulary
    row_map: RowMap  # the base row of each new row
    # Values of new rows, as in `move_rows`.
    start: Start | keras.Variable | float
    # Rows of a previous run; None if the rows come from the variable itself.
    source: LazyArray | None = None

    @property
    def remark(self) -> str | None:
        """Remark about the new rows for the user, or None."""
        return getattr(self.start, "remark", None)

    def fitted(self) -> "MoveRows":
        """Returns the update after its initializer has learned, if it has to learn."""
        if not isinstance(self.start, NewRows):
            return self
        return replace(self, start=self.start.fitted())

    def prepared(self) -> "MoveRows":
        """Runs user callbacks before anything is modified; returns the update."""
        if not isinstance(self.start, NewRows):
            return self
        if self.start.in_parts:
            # The rows are made in parts, since all rows may not fit into memory.
            return replace(self, start=self.start.tried())
        is_asked = len(self.row_map.new_rows) and not self.start.initializer.learns
        if is_asked and sharded.spans_processes(self.variable):
            raise WarmStartError(
                f"The rows of '{self.variable.path}' are split across processes, so "
                "`new_embeddings_initializer` must be row-wise (compute each row "
                f"separately). Received: {self.start.initializer!r}, which may need the "
                'whole table. Pass `new_embeddings_initializer="uniform"` ("normal", '
                '"zeros", ...), or warm-start in one process and load the model that it '
                "saves."
            )
        return replace(self, start=self.start.made())

    def digest(self) -> str:
        """Returns a text that must be equal in all processes."""
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
    """New value for a whole variable."""

    variable: keras.Variable  # the variable to update
    # Array of a previous run; another variable, for its value when the update is applied;
    # or one number for all elements.
    source: LazyArray | keras.Variable | float

    def digest(self) -> str:
        """Returns a text that must be equal in all processes; only the shape if large."""
        shape = tuple(map(int, self.variable.shape))
        found = ""
        if isinstance(self.source, LazyArray) and np.prod(shape) <= _SMALL:
            found = hashlib.sha256(self.source[...].tobytes()).hexdigest()[:16]
        return f"value of '{self.variable.path}' {shape} {found}"

    def apply(self, transaction: Transaction) -> None:
        """Assigns the value."""
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
            # A copy, since two live models must not share memory.
            return np.array(self.source[place or ...], dtype)
        return np.full(shape, self.source, dtype)


@dataclass(frozen=True, eq=False)
class LoadState:
    """State of a layer in a format that only the layer can read."""

    layer: keras.Layer
    values: dict[str, LazyArray]  # the saved state, by key

    def digest(self) -> str:
        """Returns a text that must be equal in all processes."""
        return f"state of '{self.layer.path}': {sorted(self.values)}"

    def apply(self, transaction: Transaction) -> None:
        """Loads the state into the layer."""
        attributes = vars(self.layer)
        transaction.on_rollback(attributes.update, dict(attributes))
        for variable in self.layer.variables:
            transaction.on_rollback(give, variable, np.array(tensors.to_numpy(variable)))
        self.layer.load_own_variables({k: v[...] for k, v in self.values.items()})
