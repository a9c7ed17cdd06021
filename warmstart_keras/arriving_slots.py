"""The optimizer's state of a previous run, in the optimizer at hand.

A file has an optimizer's variables by position alone. Which is whose is certain where the
file tells which variables of the model the optimizer held, or where the model is the
same; then two optimizers are paired by the names that Keras gives their variables, which
an optimizer of the same class has that is built on stand-ins of the old variables.
"""

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals, tensors
from warmstart_keras.arrivals import Arrivals
from warmstart_keras.changes import Change, slots_of
from warmstart_keras.errors import WarmStartError
from warmstart_keras.involved import heir_of
from warmstart_keras.moves import Load, LoadOwn, Move
from warmstart_keras.optimizer_keys import inner_optimizers, trained_variables
from warmstart_keras.optimizer_slots import Slot, find_slots, names_on
from warmstart_keras.options import Options
from warmstart_keras.saved_files import SavedOptimizer
from warmstart_keras.saved_layers import Stored
from warmstart_keras.sides import variables_of


def arriving_moves(
    model: keras.Layer,
    arrivals: Arrivals | None,
    changes: list[Change],
    options: Options,
    undo: ExitStack,
) -> tuple[list[Load | LoadOwn | Move], list[str]]:
    """What comes from a previous run besides the rows of tables, and what to know of it.

    An optimizer that is not built yet is built; `undo` gets the way back.

    Raises:
        WarmStartError: If a variable had another shape.
    """
    if arrivals is None or not arrivals.previous.is_there:
        return [], []
    loads: list[Load | LoadOwn | Move] = [
        *arrivals.loads(variables_of([change.table.side for change in changes]))
    ]
    optimizer = heir_of(model, options)
    if optimizer is None:
        has_state = arrivals.previous.run.optimizer is not None
        return loads, [_fresh("the model is not compiled")] if has_state else []
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


def _plan_own_slots(optimizer: Any, changes: list[Change]) -> None:
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
    optimizer: Any, arrivals: Arrivals, changes: list[Change], reset: bool
) -> tuple[list[Load | Move], list[str]]:
    """Plans what a built optimizer gets from a previous run, and what to know of it.

    Args:
        optimizer: The optimizer.
        arrivals: What comes over into the model.
        changes: Those of its tables.
        reset: Whether the slots of tables start anew.
    """
    saved = arrivals.previous.run.optimizer
    arrived = arrivals.arrived()
    tables: dict[int, Change] = {}
    others: dict[tuple[int, int], Change] = {}  # of kernels with two vocabularies
    for one in changes:
        for binding in one.bindings:
            if tables.setdefault(id(binding.variable), one) is not one:
                others[id(binding.variable), binding.axis] = one
    slots = _slots(optimizer, arrived, tables)
    variables = optimizer.variables
    pairs, note = _paired(optimizer, saved, arrived, arrivals)
    for inner in _with_slots(optimizer):
        for other, second in slots_of(inner, others):
            key = id(second.variable)
            if key in pairs and second.axis is not None:
                pairs[key] = other.remapped(pairs[key], second.axis, second.start)
    for variable in variables:
        stored = pairs.get(id(variable))
        if stored is not None and stored.shape != _expected(variable, slots, tables):
            shapes = f"shape {tuple(variable.shape)} now, {stored.shape} there"
            pairs, note = {}, _fresh(f"'{variable.path}' has {shapes}")
            break
    moves: list[Load | Move] = []
    for variable in variables:
        slot, stored = slots.get(id(variable)), pairs.get(id(variable))
        change = None if slot is None else tables.get(id(slot.owner))
        if slot is not None and change is not None:
            moves.append(change.arriving_slot(slot, None if reset else stored))
        elif stored is not None:
            moves.append(Load(variable, stored))
        elif slot is not None:
            moves.append(Load(variable, slot.start))
    notes = [] if note is None else [note]
    return moves, notes + _other_rates(variables, pairs)


def _other_rates(variables: list, pairs: dict[int, Stored]) -> list[str]:
    """Says so, where the learning rate was another one than today's."""
    rates = [
        (float(tensors.to_numpy(variable)), float(pairs[id(variable)][...]))
        for variable in variables
        if variable.name == "learning_rate" and id(variable) in pairs
    ]
    return [
        f"the learning rate is that of the previous run, {before:.6g}, and not "
        f"{now:.6g}: it is part of the optimizer's state. Set "
        "`model.optimizer.learning_rate` afterwards to change it."
        for now, before in rates
        if now != before
    ]


def _slots(
    optimizer: Any, arrived: dict[int, Stored], tables: dict[int, Change]
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
    variable: Any, slots: dict[int, Slot], tables: dict[int, Change]
) -> tuple[int, ...]:
    """The shape that a variable of the optimizer must have had."""
    shape = list(map(int, variable.shape))
    slot = slots.get(id(variable))
    if slot is not None and id(slot.owner) in tables and slot.axis is not None:
        change = tables[id(slot.owner)]
        shape[slot.axis] = change.table.base_rows(change.binding_of(slot.owner))
    return tuple(shape)


def _paired(
    optimizer: Any,
    saved: SavedOptimizer | None,
    arrived: dict[int, Stored],
    arrivals: Arrivals,
) -> tuple[dict[int, Stored], str | None]:
    """What each variable of the optimizer was, where that is certain; and why not."""
    variables = optimizer.variables
    if saved is None:
        return {}, _fresh("there is none")
    # A model of mixed precision wraps the optimizer that it is compiled with.
    kinds = [type(inner).__name__ for inner in inner_optimizers(optimizer)]
    if saved.kind is not None and saved.kind not in kinds:
        return {}, _fresh(f"it is of another class: {kinds[0]} now, {saved.kind} there")
    held = trained_variables(optimizer)
    sources = [arrived.get(id(variable)) for variable in held]
    trained = saved.trained
    if trained is None:
        if not arrivals.is_whole:
            return {}, _fresh(
                "the file does not tell which of its variables were whose, and the model "
                "has not the same layers in the same order. A `.keras` file tells it, if "
                "its classes are known"
            )
        trained = [source for source in sources if source is not None]
    if list(map(id, trained)) == list(map(id, sources)):
        if len(saved.values) != len(variables):
            return {}, _fresh(
                f"{len(variables)} variables now, {len(saved.values)} there"
            )
        paired = zip(variables, saved.values, strict=True)
        return {id(variable): stored for variable, stored in paired}, None
    now = {id(arrived[id(v)]): v for v in held if id(v) in arrived}
    return _paired_by_name(optimizer, saved, trained, now)


def _paired_by_name(
    optimizer: Any, saved: SavedOptimizer, trained: list[Stored], now: dict[int, Any]
) -> tuple[dict[int, Stored], str | None]:
    """Pairs by the names of slots, on stand-ins whose names are borne once.

    Those of the model are not: layers inside two models inside a model may be called
    the same.
    """
    held = trained_variables(optimizer)
    places = {id(variable): place for place, variable in enumerate(held)}
    ours = [_stand_in(variable, variable.path, i) for i, variable in enumerate(held)]
    theirs = [
        ours[places[id(now[id(stored)])]]
        if id(stored) in now
        else _stand_in(stored, "left_out", len(held) + i)
        for i, stored in enumerate(trained)
    ]
    variables = optimizer.variables
    try:
        names = names_on(optimizer, ours, len(variables))
        before = names_on(optimizer, theirs, len(saved.values))
    except WarmStartError as error:
        return {}, _fresh(str(error))
    if len(names) != len(variables) or len(before) != len(saved.values):
        return {}, _fresh(f"{len(before)} variables expected, {len(saved.values)} there")
    by_name: dict[str, list[Stored]] = {}
    for name, stored in zip(before, saved.values, strict=True):
        by_name.setdefault(name, []).append(stored)
    # Optimizers inside optimizers have several of one name, such as "iteration".
    if any(names.count(n) != len(by_name[n]) for n in set(names) & by_name.keys()):
        return {}, _fresh("its variables cannot be told apart by their names")
    pairs = {
        id(variable): by_name[name].pop(0)
        for variable, name in zip(variables, names, strict=True)
        if name in by_name
    }
    return pairs, None


def _stand_in(variable: Any, path: str, number: int) -> Any:
    """What an optimizer can be built on in a variable's place, under another name."""
    dtype = variable.dtype
    return SimpleNamespace(
        shape=variable.shape,
        dtype=dtype if isinstance(dtype, str) else np.dtype(dtype).name,
        name=f"variable_{number}",
        path=f"{path}_{number}",
        overwrite_with_gradient=getattr(variable, "overwrite_with_gradient", False),
    )


def _fresh(reason: str) -> str:
    return (
        "the optimizer's state of the previous run could not be taken over, and starts "
        f"anew: {reason}."
    )
