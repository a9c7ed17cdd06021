"""Which moves the changes of a model's tables need, the slots of optimizers included."""

from typing import Any

import keras

from warmstart_keras import keras_internals, optimizer_keys
from warmstart_keras.changes import Change, slots_of
from warmstart_keras.checks import check_wrapper
from warmstart_keras.involved import heir_of
from warmstart_keras.optimizer_keys import inner_optimizers
from warmstart_keras.options import Options


def plan_moves(
    model: keras.Layer,
    changes: list[Change],
    optimizers: list[Any],
    options: Options,
    *,
    from_previous: bool,
) -> list[Change]:
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


def _has_something_to_do(change: Change, optimizers: list[Any]) -> bool:
    """After `layer.embeddings = matrix` and some training nothing may be left to do."""
    return (
        bool(change.moves)
        or not change.row_map.is_identity
        or any(
            optimizer_keys.is_lost(optimizer, binding)
            for optimizer in optimizers
            for binding in change.bindings
        )
    )


def _note_what_is_not_held(change: Change, held: set[int], optimizers: list[Any]) -> None:
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
