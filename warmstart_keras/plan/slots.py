"""Updates of optimizer slots: moved with their rows, or read from a previous run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray, Transaction
from warmstart_keras.keras_internals import inner_optimizers
from warmstart_keras.layers import WarmStartEmbedding
from warmstart_keras.model import (
    Slot,
    VocabularyAxis,
    check_wrapper,
    find_slots,
    other_rates,
    pair_variables,
    starts_anew,
)
from warmstart_keras.plan.axis_plan import AxisPlan
from warmstart_keras.plan.options import Options, Scope
from warmstart_keras.previous import MatchedRun
from warmstart_keras.rows import MoveRows, SetValue
from warmstart_keras.vocabulary import RowMap


@dataclass(frozen=True, eq=False)
class SlotUpdate:
    """Update of one variable of an optimizer."""

    update: MoveRows | SetValue
    # The vocabulary axis that the variable follows, or None.
    axis: VocabularyAxis | None = None
    # The variable of the model that the slot belongs to, if it follows an axis.
    owner: keras.Variable | None = None


def _slots_of(
    optimizer: keras.optimizers.Optimizer, plans: Sequence[AxisPlan]
) -> Iterator[tuple[AxisPlan, Slot]]:
    """Yields the slots of some plans; a kernel with two vocabularies is yielded twice."""
    owners = {(id(b.variable), b.axis): plan for plan in plans for b in plan.bindings}
    rounds: list[dict[int, int]] = []
    for variable, axis in owners:
        alone = next((one for one in rounds if variable not in one), None)
        if alone is None:
            rounds.append(alone := {})
        alone[variable] = axis
    for axes in rounds:
        for slot in find_slots(optimizer, axes):
            owner = id(slot.owner)
            yield owners[owner, axes[owner]], slot


def with_slots(
    optimizers: Sequence[keras.optimizers.Optimizer],
) -> list[keras.optimizers.Optimizer]:
    """Selects the built optimizers that hold slots, which wrappers of others do not."""
    found = []
    for optimizer in optimizers:
        if not optimizer.built:
            continue
        if len(inner_optimizers(optimizer)) > 1:
            check_wrapper(optimizer)
        else:
            found.append(optimizer)
    return found


def move_slots(
    optimizer: keras.optimizers.Optimizer, plans: Sequence[AxisPlan], options: Options
) -> list[SlotUpdate]:
    """Moves the slots of a built optimizer with the rows that they belong to."""
    updates = []
    for plan, slot in _slots_of(optimizer, plans):
        # If the rows come from a previous run, the slots of the replaced rows are reset.
        reset = options.optimizer_state == "reset" or bool(plan.axis.stored)
        if slot.axis is None and not reset:
            continue
        axis = slot.axis or 0
        rows = int(slot.variable.shape[axis])
        row_map = _slot_rows(plan, rows)
        if reset:
            after = rows if slot.axis is None else plan.axis.rows
            row_map = row_map.all_new(rows, after)
        if not row_map.is_identity:
            move = MoveRows(slot.variable, axis, row_map, slot.start)
            updates.append(SlotUpdate(move, plan.axis, slot.owner))
    return updates


def _slot_rows(plan: AxisPlan, rows: int) -> RowMap:
    """Returns the row map of a slot.

    After `layer.embeddings = matrix`, the slots stand for older tokens than the table.
    """
    layer, after = plan.axis.layer, plan.axis.rows
    if isinstance(layer, WarmStartEmbedding) and layer.assigned_by_hand:
        vocabulary = layer.slot_vocabulary()
        if vocabulary is not None and (
            len(vocabulary) == rows
            or (len(vocabulary) < rows and not layer.follows_vocabulary)
        ):
            return RowMap(vocabulary, plan.row_map.new).within_capacity(rows, after)
    if rows != plan.axis.layer_axis.rows:
        return plan.row_map.all_new(rows, after)
    return plan.row_map.within_capacity(rows, after)


def slots_from_run(
    model: keras.Layer,
    run: MatchedRun,
    plans: Sequence[AxisPlan],
    scope: Scope,
    options: Options,
    transaction: Transaction,
) -> tuple[list[SlotUpdate], list[str]]:
    """Plans the state that the optimizer takes over from a previous run.

    An optimizer that is not built yet is built.

    Returns:
        A list of updates, and a list of notes for the report.
    """
    optimizer = scope.heir
    if optimizer is None:
        has_state = run.previous.optimizer is not None
        return [], [starts_anew("the model is not compiled")] if has_state else []
    updates: list[SlotUpdate] = []
    if not optimizer.built:
        for inner in inner_optimizers(optimizer):
            keras_internals.forget_build(inner, transaction)
        optimizer.build(model.trainable_variables)
        own = [plan for plan in plans if not plan.axis.stored]
        for inner in with_slots(inner_optimizers(optimizer)):
            updates += move_slots(inner, own, options)
    coming = [plan for plan in plans if plan.axis.stored]
    reset = options.optimizer_state == "reset"
    found, notes = _bring_slots(optimizer, run, coming, reset)
    return updates + found, notes


def _bring_slots(
    optimizer: keras.optimizers.Optimizer,
    run: MatchedRun,
    plans: list[AxisPlan],
    reset: bool,
) -> tuple[list[SlotUpdate], list[str]]:
    """Plans the state that a built optimizer takes over from a previous run.

    Args:
        optimizer: The optimizer.
        run: The previous run.
        plans: The plans whose rows come from the run.
        reset: Whether slots in `plans` start again instead.

    Returns:
        A list of updates, and a list of notes for the report.
    """
    first: dict[int, AxisPlan] = {}
    seconds: list[AxisPlan] = []  # of kernels with a vocabulary along both axes
    for plan in plans:
        for binding in plan.bindings:
            if first.setdefault(id(binding.variable), plan) is not plan:
                seconds.append(plan)
    slots = _all_slots(optimizer, run.arrived(), first)
    pairs, note = pair_variables(optimizer, run)
    for inner in with_slots(inner_optimizers(optimizer)):
        for plan, slot in _slots_of(inner, seconds):
            key = id(slot.variable)
            is_first = first[id(slot.owner)] is plan
            if key in pairs and slot.axis is not None and not is_first:
                pairs[key] = plan.remapped(pairs[key], slot.axis, slot.start)
    for variable in optimizer.variables:
        stored = pairs.get(id(variable))
        if stored is not None and stored.shape != _expected(variable, slots, first):
            shapes = f"shape {tuple(variable.shape)} now, {stored.shape} there"
            pairs, note = {}, starts_anew(f"'{variable.path}' has {shapes}")
            break
    updates: list[SlotUpdate] = []
    for variable in optimizer.variables:
        found, stored = slots.get(id(variable)), pairs.get(id(variable))
        if found is not None and id(found.owner) in first:
            plan = first[id(found.owner)]
            update = _bring_slot(plan, found, None if reset else stored)
            updates.append(SlotUpdate(update, plan.axis, found.owner))
        elif stored is not None:
            updates.append(SlotUpdate(SetValue(variable, stored)))
        elif found is not None:
            updates.append(SlotUpdate(SetValue(variable, found.start)))
    notes = [] if note is None else [note]
    return updates, notes + other_rates(optimizer.variables, pairs)


def _bring_slot(
    plan: AxisPlan, slot: Slot, stored: LazyArray | None
) -> MoveRows | SetValue:
    """Plans a slot of a plan, from the stored slot if there is one, or from its start."""
    if slot.axis is None:
        return SetValue(slot.variable, slot.start if stored is None else stored)
    if stored is None:
        rows = int(slot.variable.shape[slot.axis])
        row_map = plan.row_map.all_new(rows, plan.axis.rows)
        return MoveRows(slot.variable, slot.axis, row_map, slot.start)
    row_map = plan.rows_of(plan.binding_of(slot.owner))
    return MoveRows(slot.variable, slot.axis, row_map, slot.start, stored)


def _all_slots(
    optimizer: keras.optimizers.Optimizer,
    arrived: dict[int, LazyArray],
    plans: dict[int, AxisPlan],
) -> dict[int, Slot]:
    """Finds the slots of all variables that the run sets, by `id` of the slot."""
    found: dict[int, Slot] = {}
    for inner in with_slots(inner_optimizers(optimizer)):
        axes = {
            id(variable): plans[id(variable)].binding_of(variable).axis
            if id(variable) in plans
            else 0
            for variable in keras_internals.optimized_variables(inner)
            if id(variable) in arrived and len(variable.shape)
        }
        found |= {id(slot.variable): slot for slot in find_slots(inner, axes)}
    return found


def _expected(
    variable: keras.Variable, slots: dict[int, Slot], plans: dict[int, AxisPlan]
) -> tuple[int, ...]:
    """Returns the shape that an optimizer variable must have in the previous run."""
    shape = list(map(int, variable.shape))
    slot = slots.get(id(variable))
    if slot is not None and id(slot.owner) in plans and slot.axis is not None:
        plan = plans[id(slot.owner)]
        shape[slot.axis] = plan.axis.base_rows(plan.binding_of(slot.owner))
    return tuple(shape)
