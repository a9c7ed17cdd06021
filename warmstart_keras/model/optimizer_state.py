"""Optimizer state of a previous run, matched with the variables of this optimizer.

A file stores the variables of an optimizer only by position. They can be matched if the
file shows which model variables the optimizer had, or if the model has the same layers.
The variables of the two optimizers are then paired by the names that Keras gives them.
The names of the previous optimizer's variables are found by building an optimizer of the
same class on stand-ins for the old model variables.
"""

from types import SimpleNamespace

import keras
import numpy as np

from warmstart_keras.backend import LazyArray, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import inner_optimizers, trained_variables
from warmstart_keras.model.optimizer_slots import names_on
from warmstart_keras.previous import MatchedRun, SavedOptimizer


def other_rates(
    variables: list[keras.Variable], pairs: dict[int, LazyArray]
) -> list[str]:
    """Returns a note if the learning rate of the previous run differs from this one."""
    rates = [
        (float(tensors.to_numpy(v)), float(pairs[id(v)][...]))
        for v in variables
        if v.name == "learning_rate" and id(v) in pairs
    ]
    return [
        f"the learning rate is restored from the previous run: {before:.6g} instead of "
        f"{now:.6g}, because the learning rate is part of the optimizer state. Set "
        f"`model.optimizer.learning_rate = {now:.6g}` after the warm start to change it."
        for now, before in rates
        if now != before
    ]


def pair_variables(
    optimizer: keras.optimizers.Optimizer, run: MatchedRun
) -> tuple[dict[int, LazyArray], str | None]:
    """Pairs each variable of the optimizer with its saved array.

    Returns:
        For the `id` of each variable its saved array, and None. If the variables cannot
        be paired safely, an empty dictionary, and a note that gives the reason.
    """
    variables, saved = optimizer.variables, run.previous.optimizer
    if saved is None:
        return {}, starts_anew("the previous run has no optimizer state")
    # A model with mixed precision wraps the optimizer that it is compiled with.
    kinds = [type(inner).__name__ for inner in inner_optimizers(optimizer)]
    if saved.kind is not None and saved.kind not in kinds:
        return {}, starts_anew(
            f"this optimizer is {kinds[0]}, that of the previous run is {saved.kind}"
        )
    held, arrived = trained_variables(optimizer), run.arrived()
    sources = [arrived.get(id(variable)) for variable in held]
    trained = saved.trained
    if trained is None:
        if not run.is_whole:
            return {}, starts_anew(
                "the file does not show which model variable each slot belongs to, and "
                "the model does not have the same layers in the same order. Save the "
                "previous run as a `.keras` file, and register its custom classes"
            )
        trained = [source for source in sources if source is not None]
    if list(map(id, trained)) == list(map(id, sources)):
        if len(saved.values) != len(variables):
            return {}, starts_anew(
                f"this optimizer has {len(variables)} variables, that of the previous "
                f"run has {len(saved.values)}"
            )
        paired = zip(variables, saved.values, strict=True)
        return {id(variable): stored for variable, stored in paired}, None
    now = {id(arrived[id(v)]): v for v in held if id(v) in arrived}
    return _paired_by_name(optimizer, saved, trained, now)


def _paired_by_name(
    optimizer: keras.optimizers.Optimizer,
    saved: SavedOptimizer,
    trained: list[LazyArray],
    now: dict[int, keras.Variable],
) -> tuple[dict[int, LazyArray], str | None]:
    """Pairs optimizer variables by name, on stand-ins with unique names.

    The model's variables may not have unique names: two nested models may have layers of
    the same name.
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
        return {}, starts_anew(str(error))
    if len(names) != len(variables) or len(before) != len(saved.values):
        return {}, starts_anew(
            f"{len(before)} variables were expected, but the previous run has "
            f"{len(saved.values)}"
        )
    by_name: dict[str, list[LazyArray]] = {}
    for name, stored in zip(before, saved.values, strict=True):
        by_name.setdefault(name, []).append(stored)
    # Nested optimizers have several variables of one name, such as "iteration".
    if any(names.count(n) != len(by_name[n]) for n in set(names) & by_name.keys()):
        return {}, starts_anew("the names of its variables are ambiguous")
    pairs = {
        id(variable): by_name[name].pop(0)
        for variable, name in zip(variables, names, strict=True)
        if name in by_name
    }
    return pairs, None


def _stand_in(
    variable: keras.Variable | LazyArray, path: str, number: int
) -> SimpleNamespace:
    """Describes a variable under a unique name, so that an optimizer can be built."""
    dtype = variable.dtype
    return SimpleNamespace(
        shape=variable.shape,
        dtype=dtype if isinstance(dtype, str) else np.dtype(dtype).name,
        name=f"variable_{number}",
        path=f"{path}_{number}",
        overwrite_with_gradient=getattr(variable, "overwrite_with_gradient", False),
    )


def starts_anew(reason: str) -> str:
    """Returns the note that the optimizer state is not restored, with the reason."""
    return (
        "the optimizer state of the previous run is not restored, so the optimizer "
        f"starts with fresh slots: {reason.rstrip('.')}."
    )
