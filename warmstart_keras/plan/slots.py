"""Which moves the changes of a model's tables need, the slots of optimizers included."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray
from warmstart_keras.keras_internals import inner_optimizers
from warmstart_keras.layers import variables_of
from warmstart_keras.model import (
    Slot,
    check_wrapper,
    find_slots,
    is_lost,
    other_rates,
    pair_variables,
    starts_anew,
)
from warmstart_keras.plan.axis_plan import AxisPlan
from warmstart_keras.plan.options import Options, heir_of
from warmstart_keras.previous import MatchedRun
from warmstart_keras.rows import LoadState, MoveRows, SetValue


def slots_of(
    optimizer: Any, owners: dict[tuple[int, int], AxisPlan]
) -> Iterator[tuple[AxisPlan, Slot]]:
    """The slots that an optimizer has for variables with a vocabulary.

    Args:
        optimizer: The optimizer.
        owners: For the `id` and the axis of each variable, its change. A kernel may have
            one vocabulary along its inputs, and another one along its outputs.
    """
    axes: list[dict[int, int]] = []
    for variable, axis in owners:
        alone = next((one for one in axes if variable not in one), None)
        if alone is None:
            axes.append(alone := {})
        alone[variable] = axis
    for one in axes:
        for slot in find_slots(optimizer, one):
            owner = id(slot.owner)
            yield owners[owner, one[owner]], slot


def plan_moves(
    model: keras.Layer,
    changes: list[AxisPlan],
    optimizers: list[Any],
    options: Options,
    *,
    from_previous: bool,
) -> list[AxisPlan]:
    """Plans the moves of every table, and of the slots that belong to it.

    Args:
        model: The model.
        changes: The changes of its tables; their moves are planned in them.
        optimizers: Those of all models, and all that they wrap.
        options: How it shall be done.
        from_previous: Whether there is a previous run, which one of them continues.

    Returns:
        The changes that have something to do.

    Raises:
        WarmStartError: If an optimizer keeps slots that cannot be told apart.
    """
    owners = {(id(b.variable), b.axis): c for c in changes for b in c.bindings}
    held: set[int] = set()
    for place, change in enumerate(changes):
        change.plan_variables(changes[:place])
    heir = heir_of(model, options) if from_previous else None
    inherits = {id(o) for o in ([] if heir is None else inner_optimizers(heir))}
    if heir is not None:
        held.update(map(id, model.trainable_variables))
    for optimizer in optimizers if changes else []:
        if not optimizer.built:
            continue
        if len(inner_optimizers(optimizer)) > 1:
            check_wrapper(optimizer)
            continue
        held.update(map(id, keras_internals.optimized_variables(optimizer)))
        for change, slot in slots_of(optimizer, owners):
            if not change.table.stored or id(optimizer) not in inherits:
                change.plan_slot(slot)
    left = [change for change in changes if _has_something_to_do(change, optimizers)]
    for change in left:
        _note_what_is_not_held(change, held, optimizers)
    return left


def _has_something_to_do(change: AxisPlan, optimizers: list[Any]) -> bool:
    """After `layer.embeddings = matrix` and some training nothing may be left to do."""
    return (
        bool(change.moves)
        or not change.row_map.is_identity
        or any(
            is_lost(optimizer, binding)
            for optimizer in optimizers
            for binding in change.bindings
        )
    )


def _note_what_is_not_held(
    change: AxisPlan, held: set[int], optimizers: list[Any]
) -> None:
    unheld = any(
        b.variable.trainable and id(b.variable) not in held for b in change.bindings
    )
    if change.table.resizes:
        change.notes.append(
            "its number of rows changes; make functions that you compiled "
            "yourself anew, and name other models over this layer in `also=`."
        )
    if unheld and (change.table.resizes or not optimizers):
        change.notes.append(
            "no built optimizer is known that holds its variable. If a training "
            "loop of your own has one, pass `optimizer=`."
        )


def arriving_moves(
    model: keras.Layer,
    arrivals: MatchedRun | None,
    changes: list[AxisPlan],
    options: Options,
    undo: ExitStack,
) -> tuple[list[SetValue | LoadState | MoveRows], list[str]]:
    """What comes from a previous run besides the rows of tables, and what to know of it.

    An optimizer that is not built yet is built; `undo` gets the way back.

    Raises:
        WarmStartError: If a variable had another shape.
    """
    if arrivals is None or not arrivals.previous.is_there:
        return [], []
    loads: list[SetValue | LoadState | MoveRows] = [
        *arrivals.loads(variables_of([change.table.side for change in changes]))
    ]
    optimizer = heir_of(model, options)
    if optimizer is None:
        has_state = arrivals.previous.run.optimizer is not None
        return loads, [starts_anew("the model is not compiled")] if has_state else []
    for change in changes:  # a plan that failed may be applied again
        undo.callback(change.keep, len(change.moves), len(change.slots))
    if not optimizer.built:
        for inner in inner_optimizers(optimizer):
            keras_internals.forget_build(inner, undo)
        optimizer.build(model.trainable_variables)
        _plan_own_slots(optimizer, [c for c in changes if not c.table.stored])
    coming = [change for change in changes if change.table.stored]
    reset = options.optimizer_state == "reset"
    slots, notes = plan_slots(optimizer, arrivals, coming, reset)
    return [*loads, *slots], notes


def _plan_own_slots(optimizer: Any, changes: list[AxisPlan]) -> None:
    """Plans the moves of slots that an optimizer has only now, of rows of the model."""
    owners = {(id(b.variable), b.axis): c for c in changes for b in c.bindings}
    for inner in _with_slots(optimizer):
        for change, slot in slots_of(inner, owners):
            change.plan_slot(slot)


def _with_slots(optimizer: Any) -> list[Any]:
    """Those of an optimizer and all that it wraps that keep slots: they wrap none."""
    inside = inner_optimizers(optimizer)
    return [one for one in inside if one.built and len(inner_optimizers(one)) == 1]


def plan_slots(
    optimizer: Any, arrivals: MatchedRun, changes: list[AxisPlan], reset: bool
) -> tuple[list[SetValue | MoveRows], list[str]]:
    """Plans what a built optimizer gets from a previous run, and what to know of it.

    Args:
        optimizer: The optimizer.
        arrivals: What comes over into the model.
        changes: Those of its tables.
        reset: Whether the slots of tables start anew.
    """
    saved = arrivals.previous.run.optimizer
    arrived = arrivals.arrived()
    tables: dict[int, AxisPlan] = {}
    others: dict[tuple[int, int], AxisPlan] = {}  # of kernels with two vocabularies
    for one in changes:
        for binding in one.bindings:
            if tables.setdefault(id(binding.variable), one) is not one:
                others[id(binding.variable), binding.axis] = one
    slots = _slots(optimizer, arrived, tables)
    variables = optimizer.variables
    pairs, note = pair_variables(optimizer, saved, arrived, arrivals)
    for inner in _with_slots(optimizer):
        for other, second in slots_of(inner, others):
            key = id(second.variable)
            if key in pairs and second.axis is not None:
                pairs[key] = other.remapped(pairs[key], second.axis, second.start)
    for variable in variables:
        stored = pairs.get(id(variable))
        if stored is not None and stored.shape != _expected(variable, slots, tables):
            shapes = f"shape {tuple(variable.shape)} now, {stored.shape} there"
            pairs, note = {}, starts_anew(f"'{variable.path}' has {shapes}")
            break
    moves: list[SetValue | MoveRows] = []
    for variable in variables:
        slot, stored = slots.get(id(variable)), pairs.get(id(variable))
        change = None if slot is None else tables.get(id(slot.owner))
        if slot is not None and change is not None:
            moves.append(change.arriving_slot(slot, None if reset else stored))
        elif stored is not None:
            moves.append(SetValue(variable, stored))
        elif slot is not None:
            moves.append(SetValue(variable, slot.start))
    notes = [] if note is None else [note]
    return moves, notes + other_rates(variables, pairs)


def _slots(
    optimizer: Any, arrived: dict[int, LazyArray], tables: dict[int, AxisPlan]
) -> dict[int, Slot]:
    """The slots of all variables that get a value, by the `id` of the slot's variable."""
    found: dict[int, Slot] = {}
    for inner in _with_slots(optimizer):
        axes = {
            id(variable): tables[id(variable)].binding_of(variable).axis
            if id(variable) in tables
            else 0
            for variable in keras_internals.optimized_variables(inner)
            if id(variable) in arrived and len(variable.shape)
        }
        found |= {id(slot.variable): slot for slot in find_slots(inner, axes)}
    return found


def _expected(
    variable: Any, slots: dict[int, Slot], tables: dict[int, AxisPlan]
) -> tuple[int, ...]:
    """The shape that a variable of the optimizer must have had."""
    shape = list(map(int, variable.shape))
    slot = slots.get(id(variable))
    if slot is not None and id(slot.owner) in tables and slot.axis is not None:
        change = tables[id(slot.owner)]
        shape[slot.axis] = change.table.base_rows(change.binding_of(slot.owner))
    return tuple(shape)
