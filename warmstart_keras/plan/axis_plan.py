"""Which rows of which variables move, for one table and its optimizer slots."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from warmstart_keras.backend import LazyArray, sharded, tensors
from warmstart_keras.layers import Binding, WarmStartEmbedding
from warmstart_keras.model import Slot, VocabularyAxis
from warmstart_keras.new_rows import (
    BaseRows,
    CopyingMethod,
    MeanOfBase,
    NewRows,
    RowInitializer,
    Start,
    initializers,
)
from warmstart_keras.plan.checks import check_kept, check_other_variables, check_sharding
from warmstart_keras.plan.options import Options
from warmstart_keras.report import VariableChange
from warmstart_keras.rows import MoveRows, SetValue, move_rows
from warmstart_keras.vocabulary import RowMap


@dataclass(eq=False)
class AxisPlan:
    """A table whose rows, or whose optimizer slots, must move.

    Attributes:
        table: The table.
        options: How it shall be done.
        row_map: From the base vocabulary to the new one, without spare rows.
        moves: What moves: the variable first, then its slots.
        slots: The slots that move.
        notes: What the user should know about it, one sentence each.
        remarks: The same about new words' rows; printed as well as reported.
    """

    table: VocabularyAxis
    options: Options
    row_map: RowMap
    moves: list[MoveRows] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, table: VocabularyAxis, options: Options, moved: set[int]) -> "AxisPlan":
        """The change that a table's vocabularies ask for; no move is planned yet.

        Args:
            table: The table.
            options: How it shall be done.
            moved: The `id`s of all variables that have a vocabulary.

        Raises:
            WarmStartError: If the vocabularies, or the layer, do not allow it.
        """
        base, new = table.base, table.new
        assert base is not None
        row_map = RowMap(base, new)
        change = cls(table, options, row_map)
        remark = check_other_variables(table, moved)
        change.notes += [] if remark is None else [remark]
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
    def bindings(self) -> tuple[Binding, ...]:
        """The table's variables and axes."""
        return self.table.side.bindings

    @property
    def name(self) -> str:
        """The layer's path, and which side of it."""
        return self.table.side.title

    def binding_of(self, variable: Any) -> Binding:
        """The binding of one of its variables."""
        return next(b for b in self.bindings if b.variable is variable)

    def remark(self, remark: str | None) -> None:
        """Adds what the user should know about new words' rows, once."""
        if remark is not None and remark not in self.remarks:
            self.remarks.append(remark)

    def plan_variables(self, others: list["AxisPlan"]) -> None:
        """Plans the moves of its variables.

        Args:
            others: The changes whose moves come before. If one of them brings a kernel
                over along its inputs, it brings it remapped along its outputs.
        """
        for binding in self.bindings:
            key = id(binding.variable)
            brings = next((one for one in others if key in one.table.stored), None)
            if brings is None:
                self._plan_variable(binding)
            else:
                brings._bring_remapped(binding, self)

    def _bring_remapped(self, binding: Binding, other: "AxisPlan") -> None:
        variable = binding.variable
        start = other._start(binding, other._rows(binding))
        stored = self.table.stored[id(variable)]
        source = other.remapped(stored, binding.axis, start)
        self.table.stored[id(variable)] = source
        self.moves = [
            replace(move, source=source) if move.variable is variable else move
            for move in self.moves
        ]

    def remapped(self, stored: LazyArray, axis: int, start: Any) -> LazyArray:
        """What a previous run has, with its rows along an axis where they shall be."""
        row_map = self.row_map.within_capacity(int(stored.shape[axis]), self.table.rows)

        def read(place: Any) -> np.ndarray:
            return move_rows(stored[...], row_map, start, axis=axis)[place]

        shape = list(stored.shape)
        shape[axis] = self.table.rows
        return LazyArray(tuple(shape), stored.dtype, read)

    def _plan_variable(self, binding: Binding) -> None:
        stored = self.table.stored.get(id(binding.variable))
        rows = self._rows(binding)
        if rows.is_identity and stored is None:
            return
        start = self._start(binding, rows)
        self.moves.append(MoveRows(binding.variable, binding.axis, rows, start, stored))

    def _rows(self, binding: Binding) -> RowMap:
        before = self.table.base_rows(binding)
        return self.row_map.within_capacity(before, self.table.rows)

    def _start(self, binding: Binding, rows: RowMap) -> Start:
        """What the entries of new tokens start from."""
        base, new = self.row_map.base, self.row_map.new
        initializer = self._initializer(binding)
        if initializer is None:
            return MeanOfBase(base.word_rows)
        if len(rows.new_rows) and initializers.is_array(initializer):
            self.notes.append(
                "new words take the rows that an array has at their places. If it was "
                "made for other words, as pretrained vectors are, pass another "
                "`new_embeddings_initializer`."
            )
        shape = list(map(int, binding.variable.shape))
        del shape[binding.axis]
        rows_anew = NewRows(
            initializer,
            rows,
            (self.table.rows, *shape),
            np.dtype(binding.variable.dtype),
            self._base_table(binding),
            seed=(
                self.options.seed,
                self.table.known_as,
                *self._seed_of(binding),
                base.fingerprint,
                new.fingerprint,
            ),
            axis=binding.axis,
        )
        start = initializer.start(rows_anew)
        self.remark(start.remark)
        return start

    def _seed_of(self, binding: Binding) -> list[str]:
        """So that two variables of a layer do not start alike; the main one has none."""
        return [] if binding is self.bindings[0] else [binding.variable.name]

    def _base_table(self, binding: Binding) -> BaseRows:
        """The old rows, of which a sharded table is not gathered for a few."""
        base, variable = self.row_map.base, binding.variable
        read_rows = None
        if id(variable) not in self.table.stored and sharded.sharding_of(variable):
            read_rows = partial(_read_sharded, variable, binding.axis)
        return BaseRows(base, lambda: self._old_rows(binding)[: len(base)], read_rows)

    def _old_rows(self, binding: Binding) -> np.ndarray:
        stored = self.table.stored.get(id(binding.variable))
        values = tensors.to_numpy(binding.variable) if stored is None else stored[...]
        return np.moveaxis(values, binding.axis, 0)

    def plan_slot(self, slot: Slot) -> None:
        """Plans the move of one of its slots, in an optimizer at hand."""
        # Slots of rows that come from elsewhere are of no use.
        reset = self.options.optimizer_state == "reset" or bool(self.table.stored)
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
        start = self._start_of_slot(slot, row_map)
        self.moves.append(MoveRows(slot.variable, axis, row_map, start))

    def keep(self, moves: int, slots: int) -> None:
        """Forgets all moves and slots that were planned after the first so many."""
        del self.moves[moves:], self.slots[slots:]

    def arriving_slot(self, slot: Slot, stored: LazyArray | None) -> MoveRows | SetValue:
        """What one of its slots gets from a previous run; `stored` is None if nothing."""
        self.slots.append(slot)
        if slot.axis is None:
            return SetValue(slot.variable, slot.start if stored is None else stored)
        rows = int(slot.variable.shape[slot.axis])
        if stored is None:
            fresh = self.row_map.all_new(rows, self.table.rows)
            return MoveRows(slot.variable, slot.axis, fresh, slot.start)
        row_map = self._rows(self.binding_of(slot.owner))
        start = self._start_of_slot(slot, row_map)
        return MoveRows(slot.variable, slot.axis, row_map, start, stored)

    def _start_of_slot(self, slot: Slot, row_map: RowMap) -> Any:
        """What the slots of new rows start from."""
        if self.options.new_slots == "initial" or not slot.is_statistic:
            return slot.start
        kept = row_map.indices[row_map.kept_words]
        return MeanOfBase(kept) if len(kept) else slot.start

    def report(self) -> list[VariableChange]:
        """What becomes of its variables; to be asked before they move."""
        return [self._report(binding) for binding in self.bindings]

    def _report(self, binding: Binding) -> VariableChange:
        variable, axis = binding.variable, binding.axis
        stored = self.table.stored.get(id(variable))
        before = tuple(map(int, variable.shape)) if stored is None else stored.shape
        after = (*before[:axis], self.table.rows, *before[axis + 1 :])
        slots = [s.variable.path for s in self.slots if s.owner is variable]
        return VariableChange(variable.path, axis, before, after, slots)

    def _initializer(self, binding: Binding) -> RowInitializer | None:
        """The way to new entries; None for the mean of the old words'."""
        layer, fresh = binding.layer, binding.initializer
        own = None if fresh is None else initializers.get_keras(fresh)
        if not self.row_map.base.has_words:
            # Nothing was learned: the entries are the variable's first.
            return initializers.get("zeros") if own is None else own
        given = self.options.new_embeddings_initializer if binding.asked else None
        if given is None and binding.asked and isinstance(layer, WarmStartEmbedding):
            given = layer.new_embeddings_initializer
        if given is not None:
            found = initializers.get(given)
            if not binding.is_factor or isinstance(found, CopyingMethod):
                return found
        return None if binding.averaged else own

    def _slot_rows(self, rows: int) -> RowMap:
        """Where the rows of a slot come from.

        After `layer.embeddings = matrix` the slots still stand for older tokens than the
        table does.
        """
        layer, after = self.table.layer, self.table.rows
        row_map = self.row_map
        if isinstance(layer, WarmStartEmbedding) and layer.assigned_by_hand:
            vocabulary = layer.slot_vocabulary()
            if vocabulary is not None and (
                len(vocabulary) == rows
                or (len(vocabulary) < rows and not layer.follows_vocabulary)
            ):
                row_map = RowMap(vocabulary, self.row_map.new)
                return row_map.within_capacity(rows, after)
        if rows != self.table.side.rows:
            return row_map.all_new(rows, after)
        return row_map.within_capacity(rows, after)


def _read_sharded(variable: Any, axis: int, rows: np.ndarray) -> np.ndarray:
    return sharded.read_rows(variable.value, axis, rows)
