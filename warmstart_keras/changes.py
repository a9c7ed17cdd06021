"""Which rows of which variables move, for one table and its optimizer slots."""

from dataclasses import dataclass, field

import numpy as np

from warmstart_keras import initializers, tensors
from warmstart_keras.bindings import Binding, Table
from warmstart_keras.checks import check_kept, check_other_variables, check_sharding
from warmstart_keras.embedding import WarmStartEmbedding
from warmstart_keras.moves import Load, Move
from warmstart_keras.optimizer_slots import Slot
from warmstart_keras.options import Options
from warmstart_keras.report import VariableChange
from warmstart_keras.row_map import RowMap
from warmstart_keras.saved_layers import Stored


@dataclass(eq=False)
class Change:
    """A table whose rows, or whose optimizer slots, must move.

    Attributes:
        table: The table.
        options: How it shall be done.
        row_map: From the base vocabulary to the new one, without spare rows.
        moves: What moves: the variable first, then its slots.
        slots: The slots that move.
        notes: What the user should know about it, one sentence each.
    """

    table: Table
    options: Options
    row_map: RowMap
    moves: list[Move] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, table: Table, options: Options) -> "Change":
        """The change that a table's vocabularies ask for; no move is planned yet.

        Raises:
            WarmStartError: If the vocabularies, or the layer, do not allow it.
        """
        base, new = table.base, table.new
        assert base is not None
        row_map = RowMap(base, new)
        change = cls(table, options, row_map)
        check_other_variables(table.binding)
        check_sharding(table)
        check_kept(change.name, row_map, options.min_kept)
        if not base.has_words:
            change.row_map = row_map.without_past()
            change.notes.append(
                "it was built before its vocabulary had a word; every word's row takes "
                "the `embeddings_initializer`."
            )
        if len(row_map.averaged_rows):
            change.notes.append(
                f"{len(base.oov_rows)} OOV rows before, {len(new.oov_rows)} now, or "
                "hashed in another way: all start from the mean of the old ones."
            )
        if table.completed:
            change.notes.append(
                "the given tokens had no special rows; the mask and OOV rows of the base "
                "were added."
            )
        return change

    @property
    def binding(self) -> Binding:
        """The table's variable and axis."""
        return self.table.binding

    @property
    def name(self) -> str:
        """The layer's path."""
        return self.binding.path

    @property
    def resizes(self) -> bool:
        """Whether the number of rows changes."""
        return self.table.rows != self.binding.rows

    def plan_variable(self) -> None:
        """Plans the move of the table itself."""
        stored = self.table.stored
        rows = self.row_map.within_capacity(self.table.base_rows, self.table.rows)
        if rows.is_identity and stored is None:
            return
        variable = self.binding.variable
        base, new = self.row_map.base, self.row_map.new
        initializer = self._initializer()
        if len(rows.new_rows) and initializers.is_array(initializer.function):
            self.notes.append(
                "new words take the rows that an array has at their places. If it was "
                "made for other words, as pretrained vectors are, pass another "
                "`new_embeddings_initializer`."
            )

        new_rows = initializers.NewRows(
            initializer,
            rows.new_rows,
            (self.table.rows, *map(int, variable.shape[1:])),
            np.dtype(variable.dtype),
            tokens=self.row_map.new_tokens,
            base=initializers.BaseTable(base, lambda: self._old_rows()[: len(base)]),
            seed=(
                self.options.seed,
                self.table.known_as,
                base.fingerprint,
                new.fingerprint,
            ),
        )
        self.moves.append(Move(variable, self.binding.axis, rows, new_rows, stored))

    def _old_rows(self) -> np.ndarray:
        stored = self.table.stored
        return tensors.to_numpy(self.binding.variable) if stored is None else stored[...]

    def plan_slot(self, slot: Slot) -> None:
        """Plans the move of one of its slots, in an optimizer at hand."""
        # Slots of rows that come from elsewhere are of no use.
        reset = self.options.optimizer_state == "reset" or self.table.stored is not None
        if slot.axis is None and not reset:
            return
        axis = slot.axis or 0
        rows = int(slot.variable.shape[axis])
        row_map = self._slot_rows(rows)
        if reset:
            after = rows if slot.axis is None else self.table.rows
            row_map = row_map.all_new(rows, after)
        if row_map.is_identity:
            return

        self.slots.append(slot)
        self.moves.append(Move(slot.variable, axis, row_map, slot.start))

    def keep(self, moves: int, slots: int) -> None:
        """Forgets all moves and slots that were planned after the first so many."""
        del self.moves[moves:], self.slots[slots:]

    def arriving_slot(self, slot: Slot, stored: Stored | None) -> Move | Load:
        """What one of its slots gets from a previous run; `stored` is None if nothing."""
        self.slots.append(slot)
        if slot.axis is None:
            return Load(slot.variable, slot.start if stored is None else stored)
        rows = int(slot.variable.shape[slot.axis])
        if stored is None:
            fresh = self.row_map.all_new(rows, self.table.rows)
            return Move(slot.variable, slot.axis, fresh, slot.start)
        row_map = self.row_map.within_capacity(self.table.base_rows, self.table.rows)
        return Move(slot.variable, slot.axis, row_map, slot.start, stored)

    def report(self) -> VariableChange:
        """What becomes of the variable; to be asked before it moves."""
        variable, axis = self.binding.variable, self.binding.axis
        stored = self.table.stored
        before = tuple(map(int, variable.shape)) if stored is None else stored.shape
        after = (*before[:axis], self.table.rows, *before[axis + 1 :])
        slots = [slot.variable.path for slot in self.slots]
        return VariableChange(variable.path, axis, before, after, slots)

    def _initializer(self) -> initializers.RowInitializer:
        layer = self.binding.layer
        own = initializers.get(layer.embeddings_initializer, as_keras=True)
        if not self.row_map.base.has_words:
            return own  # nothing was learned: the rows are the table's first
        given = self.options.new_embeddings_initializer
        if given is None and isinstance(layer, WarmStartEmbedding):
            given = layer.new_embeddings_initializer
        return own if given is None else initializers.get(given)

    def _slot_rows(self, rows: int) -> RowMap:
        """Where the rows of a slot come from.

        After `layer.embeddings = matrix` the slots still stand for older tokens than the
        table does.
        """
        layer, after = self.binding.layer, self.table.rows
        row_map = self.row_map
        if isinstance(layer, WarmStartEmbedding) and layer.assigned_by_hand:
            vocabulary = layer.slot_vocabulary()
            if vocabulary is not None and (
                len(vocabulary) == rows
                or (len(vocabulary) < rows and not layer.follows_vocabulary)
            ):
                row_map = RowMap(vocabulary, self.row_map.new)
                return row_map.within_capacity(rows, after)
        if rows != self.binding.rows:
            return row_map.all_new(rows, after)
        return row_map.within_capacity(rows, after)
