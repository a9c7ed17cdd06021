"""Which rows move along one vocabulary axis, and what its new rows start from."""

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
    """A vocabulary axis whose rows, or whose optimizer slots, must move."""

    axis: VocabularyAxis  # the axis, with its vocabularies
    row_map: RowMap  # from the base vocabulary to the new one, without spare rows
    moves: tuple[MoveRows, ...] = ()  # what becomes of its variables
    notes: tuple[str, ...] = ()  # what the user should know about it, one sentence each
    # The same about the rows of new words; printed as well as reported.
    remarks: tuple[str, ...] = ()

    @property
    def bindings(self) -> tuple[AxisVariable, ...]:
        """The variables of the axis."""
        return self.axis.layer_axis.bindings

    @property
    def name(self) -> str:
        """The layer's path, and which axis of it."""
        return self.axis.layer_axis.title

    def binding_of(self, variable: keras.Variable) -> AxisVariable:
        """The binding of one of its variables."""
        return next(b for b in self.bindings if b.variable is variable)

    def rows_of(self, binding: AxisVariable) -> RowMap:
        """Where the rows of one of its variables come from, spare ones included."""
        return self.row_map.within_capacity(self.axis.base_rows(binding), self.axis.rows)

    def remapped(self, stored: LazyArray, axis: int, start: Start | float) -> LazyArray:
        """What a previous run has, with its rows along an axis in their new places."""
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
    """Plans which rows move, along each axis that is not up to date.

    `moved` has the `id`s of all variables with a vocabulary.
    """
    stale = [axis for axis in axes if axis.base is not None and not axis.is_current]
    return [_plan_axis(axis, moved, options) for axis in stale]


def plan_variables(plans: list[AxisPlan], options: Options) -> list[AxisPlan]:
    """The same plans, with the moves of their variables.

    A kernel that comes from a previous run may have a vocabulary along both of its axes:
    the first plan brings it, with its rows remapped along the other axis. So the last
    plan is made first.
    """
    planned: list[AxisPlan] = []
    sources: dict[int, LazyArray] = {}
    for place in reversed(range(len(plans))):
        earlier = {key for plan in plans[:place] for key in plan.axis.stored}
        planned.insert(0, _plan_variables(plans[place], earlier, sources, options))
    return planned


def _plan_axis(axis: VocabularyAxis, moved: set[int], options: Options) -> AxisPlan:
    """The plan of one axis, before its variables are looked at."""
    base, new = axis.base, axis.new
    assert base is not None
    row_map = RowMap(base, new)
    notes = check_other_variables(axis, moved)
    check_sharding(axis)
    check_kept(axis.layer_axis.title, row_map, options.min_kept)
    if not base.has_words:
        row_map = row_map.without_past()
        notes.append(
            "it was built before its vocabulary had a word; every word's row takes "
            "the `embeddings_initializer`."
        )
    if len(row_map.averaged_rows):
        notes.append(
            f"{len(base.oov_rows)} OOV rows before, {len(new.oov_rows)} now, or "
            "hashed in another way: all start from the mean of the old ones."
        )
    if axis.completed:
        notes.append(
            "the given tokens had no special rows; the mask and OOV rows of the base "
            "were added."
        )
    return AxisPlan(axis, row_map, notes=tuple(notes))


def _plan_variables(
    plan: AxisPlan, earlier: set[int], sources: dict[int, LazyArray], options: Options
) -> AxisPlan:
    """The plan with the moves of its variables.

    Args:
        plan: The plan of an axis.
        earlier: The `id`s of variables that an earlier axis brings from a previous run.
        sources: What the run has of these, remapped along later axes; gets what this
            axis remaps.
        options: What the user asked for.
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
                "new words take the rows that an array has at their places. If it was "
                "made for other words, as pretrained vectors are, pass another "
                "`new_embeddings_initializer`."
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
    """What the entries of new tokens start from."""
    base, new = plan.row_map.base, plan.row_map.new
    if initializer is None:
        return MeanOfBase(base.word_rows)
    shape = list(map(int, binding.variable.shape))
    del shape[binding.axis]
    # So that two variables of a layer do not start alike; the main one has no name.
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
    """The base rows; a few rows of a sharded table are read without gathering it."""
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
    """The way to new entries; None for the mean of the base's words."""
    layer, fresh = binding.layer, binding.initializer
    own = None if fresh is None else initializers.get_keras(fresh)
    if not plan.row_map.base.has_words:
        # Nothing was learned: the entries are the variable's first.
        return initializers.get("zeros") if own is None else own
    given = options.new_embeddings_initializer if binding.asked else None
    if given is None and binding.asked and isinstance(layer, WarmStartEmbedding):
        given = layer.new_embeddings_initializer
    if given is not None:
        found = initializers.get(given)
        if not binding.is_factor or isinstance(found, CopyingMethod):
            return found
    return None if binding.averaged else own
