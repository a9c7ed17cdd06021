"""Plan of one vocabulary axis: where its rows move, and how new rows are initialized."""

from dataclasses import dataclass

import keras
import numpy as np

from warmstart_keras.backend import LazyArray, sharded, tensors
from warmstart_keras.layers import AxisVariable, WarmStartEmbedding
from warmstart_keras.model import VocabularyAxis
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
from warmstart_keras.rows import MoveRows, move_rows
from warmstart_keras.vocabulary import RowMap


@dataclass(frozen=True, eq=False)
class AxisPlan:
    """Plan for a vocabulary axis whose rows or optimizer slots must move."""

    axis: VocabularyAxis  # the axis, with its vocabularies
    row_map: RowMap  # from the base vocabulary to the new one, without spare rows
    moves: tuple[MoveRows, ...] = ()  # one for each variable that changes
    notes: tuple[str, ...] = ()  # messages for the report, one sentence each
    # Messages about the rows of new words. They are printed and reported.
    remarks: tuple[str, ...] = ()

    @property
    def bindings(self) -> tuple[AxisVariable, ...]:
        """The variables of the axis."""
        return self.axis.layer_axis.bindings

    @property
    def name(self) -> str:
        """The path of the layer, with the name of the axis."""
        return self.axis.layer_axis.title

    def binding_of(self, variable: keras.Variable) -> AxisVariable:
        """Finds the binding of a variable of this axis."""
        return next(b for b in self.bindings if b.variable is variable)

    def rows_of(self, binding: AxisVariable) -> RowMap:
        """Returns the row map of a variable, extended by its spare rows."""
        return self.row_map.within_capacity(self.axis.base_rows(binding), self.axis.rows)

    def remapped(self, stored: LazyArray, axis: int, start: Start | float) -> LazyArray:
        """Moves the rows of an array of a previous run along an axis, when it is read."""
        row_map = self.row_map.within_capacity(int(stored.shape[axis]), self.axis.rows)
        shape = (*stored.shape[:axis], self.axis.rows, *stored.shape[axis + 1 :])
        return LazyArray(
            shape,
            stored.dtype,
            lambda place: move_rows(stored[...], row_map, start, axis=axis)[place],
        )


def plan_axes(
    axes: list[VocabularyAxis], moved: set[int], options: Options
) -> list[AxisPlan]:
    """Plans which rows move along each axis whose vocabulary has changed.

    Args:
        axes: The vocabulary axes of the model.
        moved: The `id`s of all variables that follow a vocabulary.
        options: The arguments of the warm start.
    """
    stale = [axis for axis in axes if axis.base is not None and not axis.is_current]
    return [_plan_axis(axis, moved, options) for axis in stale]


def plan_variables(plans: list[AxisPlan], options: Options) -> list[AxisPlan]:
    """Adds to each plan the moves of its variables.

    A kernel from a previous run can follow a vocabulary along both axes. Then the first
    plan sets the kernel, and reads it already remapped along the other axis. Therefore
    the plans are completed from last to first.
    """
    planned: list[AxisPlan] = []
    sources: dict[int, LazyArray] = {}
    for place in reversed(range(len(plans))):
        earlier = {key for plan in plans[:place] for key in plan.axis.stored}
        planned.insert(0, _plan_variables(plans[place], earlier, sources, options))
    return planned


def _plan_axis(axis: VocabularyAxis, moved: set[int], options: Options) -> AxisPlan:
    """Plans one axis, without the moves of its variables."""
    base, new = axis.base, axis.new
    assert base is not None
    row_map = RowMap(base, new)
    notes = check_other_variables(axis, moved)
    check_sharding(axis)
    check_kept(axis.layer_axis.title, row_map, options.min_kept)
    if not base.has_words:
        row_map = row_map.without_past()
        notes.append(
            "it was built before its vocabulary had a word. The rows of all words are "
            "initialized by `embeddings_initializer`."
        )
    if len(row_map.averaged_rows):
        notes.append(
            f"the number of OOV rows or their hashing has changed ({len(base.oov_rows)} "
            f"OOV rows before, {len(new.oov_rows)} now). All OOV rows start from the "
            "mean of the old ones."
        )
    if axis.completed:
        notes.append(
            "the new tokens have no special rows, so the mask and OOV rows of the base "
            "were added."
        )
    return AxisPlan(axis, row_map, notes=tuple(notes))


def _plan_variables(
    plan: AxisPlan, earlier: set[int], sources: dict[int, LazyArray], options: Options
) -> AxisPlan:
    """Adds to one plan the moves of its variables.

    Args:
        plan: The plan of an axis.
        earlier: The `id`s of variables that an earlier plan sets from a previous run.
        sources: Arrays of the previous run that were remapped along later axes, by the
            `id` of their variables. The arrays that this axis remaps are added.
        options: The arguments of the warm start.
    """
    moves: list[MoveRows] = []
    notes, remarks = list(plan.notes), list(plan.remarks)
    for binding in plan.bindings:
        variable, rows = binding.variable, plan.rows_of(binding)
        source = sources.get(id(variable), plan.axis.stored.get(id(variable)))
        if rows.is_identity and source is None:
            continue
        initializer = _initializer(plan, binding, options)
        start = _start(plan, binding, initializer, source, options.seed)
        if start.remark is not None and start.remark not in remarks:
            remarks.append(start.remark)
        if initializer and len(rows.new_rows) and initializers.is_array(initializer):
            notes.append(
                "new words take the rows that an array has at their places. If the array "
                "was made for another vocabulary, these vectors belong to other words. "
                "Then pass another `new_embeddings_initializer`, such as "
                "`new_embeddings_initializer='mean'`."
            )
        if source is not None and id(variable) in earlier:
            sources[id(variable)] = plan.remapped(source, binding.axis, start)
        else:
            moves.append(MoveRows(variable, binding.axis, rows, start, source))
    return AxisPlan(plan.axis, plan.row_map, tuple(moves), tuple(notes), tuple(remarks))


def _start(
    plan: AxisPlan,
    binding: AxisVariable,
    initializer: RowInitializer | None,
    source: LazyArray | None,
    seed: int | None,
) -> Start:
    """Returns the start of the entries of new tokens."""
    base, new = plan.row_map.base, plan.row_map.new
    if initializer is None:
        return MeanOfBase(base.word_rows)
    shape = list(map(int, binding.variable.shape))
    del shape[binding.axis]
    # The name makes two variables of a layer start from different random values. The main
    # variable has no name here.
    which = [] if binding is plan.bindings[0] else [binding.variable.name]
    rows_anew = NewRows(
        initializer,
        plan.rows_of(binding),
        (plan.axis.rows, *shape),
        np.dtype(binding.variable.dtype),
        _base_rows(plan, binding, source),
        (seed, plan.axis.origin.name, *which, base.fingerprint, new.fingerprint),
        binding.axis,
    )
    return initializer.start(rows_anew)


def _base_rows(
    plan: AxisPlan, binding: AxisVariable, source: LazyArray | None
) -> BaseRows:
    """Returns the base rows, which are read from a sharded table without gathering it."""
    base, variable, axis = plan.row_map.base, binding.variable, binding.axis

    def matrix() -> np.ndarray:
        values = tensors.to_numpy(variable) if source is None else source[...]
        return np.moveaxis(values, axis, 0)[: len(base)]

    def read_sharded(rows: np.ndarray) -> np.ndarray:
        return sharded.read_rows(variable.value, axis, rows)

    in_shards = source is None and sharded.sharding_of(variable)
    return BaseRows(base, matrix, read_sharded if in_shards else None)


def _initializer(
    plan: AxisPlan, binding: AxisVariable, options: Options
) -> RowInitializer | None:
    """Returns the initializer of new entries, or None for the mean of the words."""
    layer, fresh = binding.layer, binding.initializer
    own = None if fresh is None else initializers.get_keras(fresh)
    if not plan.row_map.base.has_words:
        # Nothing was learned yet, so all entries are initialized as in a new layer.
        return initializers.get("zeros") if own is None else own
    given = options.new_embeddings_initializer if binding.asked else None
    if given is None and binding.asked and isinstance(layer, WarmStartEmbedding):
        given = layer.new_embeddings_initializer
    if given is not None:
        found = initializers.get(given)
        if not binding.is_factor or isinstance(found, CopyingMethod):
            return found
    return None if binding.averaged else own
