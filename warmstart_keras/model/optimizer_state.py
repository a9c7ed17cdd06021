"""The optimizer's state of a previous run, in the optimizer at hand.

A file has an optimizer's variables by position alone. Which is whose is certain where the
file tells which variables of the model the optimizer held, or where the model is the
same; then two optimizers are paired by the names that Keras gives their variables, which
an optimizer of the same class has that is built on stand-ins of the old variables.
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
    """Says so, where the learning rate was another one than today's."""
    rates = [
        (float(tensors.to_numpy(v)), float(pairs[id(v)][...]))
        for v in variables
        if v.name == "learning_rate" and id(v) in pairs
    ]
    return [
        f"the learning rate is that of the previous run, {before:.6g}, and not "
        f"{now:.6g}: it is part of the optimizer's state. Set "
        "`model.optimizer.learning_rate` afterwards to change it."
        for now, before in rates
        if now != before
    ]


def pair_variables(
    optimizer: keras.optimizers.Optimizer, run: MatchedRun
) -> tuple[dict[int, LazyArray], str | None]:
    """What each variable of the optimizer was, where that is certain; and why not."""
    variables, saved = optimizer.variables, run.previous.optimizer
    if saved is None:
        return {}, starts_anew("there is none")
    # A model of mixed precision wraps the optimizer that it is compiled with.
    kinds = [type(inner).__name__ for inner in inner_optimizers(optimizer)]
    if saved.kind is not None and saved.kind not in kinds:
        return {}, starts_anew(
            f"it is of another class: {kinds[0]} now, {saved.kind} there"
        )
    held, arrived = trained_variables(optimizer), run.arrived()
    sources = [arrived.get(id(variable)) for variable in held]
    trained = saved.trained
    if trained is None:
        if not run.is_whole:
            return {}, starts_anew(
                "the file does not tell which of its variables were whose, and the model "
                "has not the same layers in the same order. A `.keras` file tells it, if "
                "its classes are known"
            )
        trained = [source for source in sources if source is not None]
    if list(map(id, trained)) == list(map(id, sources)):
        if len(saved.values) != len(variables):
            return {}, starts_anew(
                f"{len(variables)} variables now, {len(saved.values)} there"
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
        return {}, starts_anew(str(error))
    if len(names) != len(variables) or len(before) != len(saved.values):
        return {}, starts_anew(
            f"{len(before)} variables expected, {len(saved.values)} there"
        )
    by_name: dict[str, list[LazyArray]] = {}
    for name, stored in zip(before, saved.values, strict=True):
        by_name.setdefault(name, []).append(stored)
    # Optimizers inside optimizers have several of one name, such as "iteration".
    if any(names.count(n) != len(by_name[n]) for n in set(names) & by_name.keys()):
        return {}, starts_anew("its variables cannot be told apart by their names")
    pairs = {
        id(variable): by_name[name].pop(0)
        for variable, name in zip(variables, names, strict=True)
        if name in by_name
    }
    return pairs, None


def _stand_in(
    variable: keras.Variable | LazyArray, path: str, number: int
) -> SimpleNamespace:
    """Describes a variable under another name, for an optimizer to be built on."""
    dtype = variable.dtype
    return SimpleNamespace(
        shape=variable.shape,
        dtype=dtype if isinstance(dtype, str) else np.dtype(dtype).name,
        name=f"variable_{number}",
        path=f"{path}_{number}",
        overwrite_with_gradient=getattr(variable, "overwrite_with_gradient", False),
    )


def starts_anew(reason: str) -> str:
    """The note that says why the state of an optimizer did not come over."""
    return (
        "the optimizer's state of the previous run could not be taken over, and starts "
        f"anew: {reason}."
    )
