"""Making a plan: everything is found and checked, and nothing changes."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import Transaction, agreement, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import recorded_vocabulary, variables_of
from warmstart_keras.model import (
    ModelAxes,
    NamedSources,
    VocabularyAxis,
    find_axes,
    find_sources,
    is_lost,
    unnamed_heads,
)
from warmstart_keras.plan.axis_plan import AxisPlan, plan_axes, plan_variables
from warmstart_keras.plan.following import Resizing, StaleMetrics
from warmstart_keras.plan.options import Options, Scope
from warmstart_keras.plan.plan import WarmStartPlan, asked_sources, held
from warmstart_keras.plan.slots import SlotUpdate, move_slots, with_slots
from warmstart_keras.plan.text import (
    Level,
    Note,
    adopted,
    left_behind,
    not_held,
    not_watched,
)
from warmstart_keras.previous import MatchedRun, open_previous
from warmstart_keras.vocabulary import Vocabulary, read


def make_plan(model: keras.Layer, options: Options) -> WarmStartPlan:
    """Plans the warm start of a model, or of a layer alone."""
    if keras_internals.in_step(model):
        raise WarmStartError(
            "A warm start must not run inside a training step or a compiled "
            "function. Received: a call from within one. Call `warm_start(model)` "
            "before `fit`, or use `VocabularyWarmStart()`, which acts in "
            "`on_train_begin`. If a JAX loop of your own holds the values, assign "
            "them to the variables first."
        )
    with ExitStack() as opened:
        with agreement(model, "plan a warm start", lambda: plan.facts()):
            plan = _plan(model, options, opened)
        opened.pop_all()  # the plan reads the previous run when it is applied
    return plan


def _plan(model: keras.Layer, options: Options, opened: ExitStack) -> WarmStartPlan:
    run, found = _find(model, options, opened)
    is_from_run = run is not None and run.previous.is_there
    scope = Scope.of(model, options)
    unknown = [adopted(axis) for axis in found.axes if axis.base is None]
    unwatched = not_watched(found, model)
    for axis in found.axes:
        _check_known(axis, options)
    bound = variables_of([axis.layer_axis for axis in found.axes])
    plans = plan_axes(found.axes, bound, options)
    _check_problems(found, plans)
    changing = [plan.axis for plan in plans]
    resizing = Resizing.of(scope.roots, [axis for axis in changing if axis.resizes])
    metrics = StaleMetrics(scope.models if plans else [], changing)
    if metrics and options.adopt and keras.backend.backend() == "jax":
        raise WarmStartError(
            "Metrics that were made for another number of outputs must be reset "
            "before `fit`, which on JAX has looked at them when its callbacks begin. "
            f"Received: a callback, for {[plan.name for plan in plans]}. Call "
            "`warm_start(model, ...)` before `fit`."
        )
    heads = left_behind(unnamed_heads(model, found.axes) if plans else [], plans)
    plans = plan_variables(plans, options)
    slots = _own_slots(plans, scope, options, is_from_run)
    plans = _with_something_to_do(plans, slots, scope, is_from_run)
    by_place: list[str] = []
    if run is not None:
        # What cannot come is refused now, though it is only read in `apply`.
        moved = variables_of([plan.axis.layer_axis for plan in plans])
        run.loads(moved)
        by_place = run.by_place(moved)
    said_of_unknown = Level.WARNING if unknown and _is_trained(scope) else Level.INFO
    of_run = [*(run.notes if run is not None else []), *found.notes, *by_place]
    notes = [
        *((text, Level.WARNING) for text in unwatched),
        *((text, said_of_unknown) for text in unknown),
        *(
            (f"layer '{plan.name}': {text}", level)
            for plan in plans
            for texts, level in ((plan.notes, Level.DETAIL), (plan.remarks, Level.INFO))
            for text in texts
        ),
        *((text, Level.WARNING) for text in heads),
        *((text, Level.INFO) for text in metrics.notes),
    ]
    return WarmStartPlan(
        model,
        options,
        scope,
        run,
        found,
        tuple(plans),
        tuple(slots),
        resizing,
        metrics,
        tuple(Note(text, Level.INFO) for text in of_run),
        tuple(Note(*note) for note in notes),
        unknown,
        unwatched,
        held(scope, tuple(plans)),
    )


def _find(
    model: keras.Layer, options: Options, opened: ExitStack
) -> tuple[MatchedRun | None, ModelAxes]:
    """The previous run, if the user named one, and the axes of the model."""
    run, sources = None, asked_sources(model, options)
    if options.previous is not None:
        previous = open_previous(options.previous, options.missing_ok)
        opened.callback(previous.close)
        run = MatchedRun(model, previous, sources.by_variable())
    found = find_axes(sources, run)
    if sources.unbuilt and not options.adopt:
        raise WarmStartError(
            "A layer whose rows are to be moved must be built. Received: "
            f"{[layer.name for layer in sources.unbuilt]}, not built yet. Call the "
            "model on a batch first."
        )
    return run, found


def _check_known(axis: VocabularyAxis, options: Options) -> None:
    """Refuses a layer that the user named, and whose base is not known."""
    if axis.base is None and axis.named and not options.adopt:
        raise WarmStartError(
            f"It must be known what the rows of layer '{axis.layer_axis.title}' stand "
            "for now. Received: a layer for which nothing was recorded in this "
            f"process. Say it: `base_vocabularies={{'{axis.layer.name}': old_tokens}}`."
        )


def _check_problems(found: ModelAxes, plans: list[AxisPlan]) -> None:
    """Refuses to move rows where it is not certain what follows a rebuilt source."""
    rebuilt = [plan.axis.source for plan in plans]
    for lookup in found.sources.watched:
        before = recorded_vocabulary(lookup, "vectors")
        if before is not None and not before.same_rows(read(lookup)):
            rebuilt.append(lookup)
    for source, problem in found.sources.problems:
        if any(source is other for other in rebuilt):
            raise WarmStartError(problem)


def _own_slots(
    plans: list[AxisPlan], scope: Scope, options: Options, is_from_run: bool
) -> list[SlotUpdate]:
    """The slots that move with the rows of the model itself."""
    inherits = []
    if is_from_run and scope.heir is not None:
        inherits = keras_internals.inner_optimizers(scope.heir)
    slots: list[SlotUpdate] = []
    for optimizer in with_slots(scope.optimizers if plans else []):
        own = plans
        if any(optimizer is other for other in inherits):
            own = [plan for plan in plans if not plan.axis.stored]
        slots += move_slots(optimizer, own, options)
    return slots


def _with_something_to_do(
    plans: list[AxisPlan], slots: list[SlotUpdate], scope: Scope, is_from_run: bool
) -> list[AxisPlan]:
    """The plans that have something to do, with notes on who holds their variables."""
    holding = with_slots(scope.optimizers if plans else [])
    variables = [v for o in holding for v in keras_internals.optimized_variables(o)]
    if is_from_run and scope.heir is not None:
        variables += scope.roots[0].trainable_variables
    known = {id(variable) for variable in variables}
    return [
        replace(plan, notes=(*plan.notes, *not_held(plan, known, scope.optimizers)))
        for plan in plans
        # After `layer.embeddings = matrix` and some training nothing may be left to do.
        if plan.moves
        or any(slot.axis is plan.axis for slot in slots)
        or not plan.row_map.is_identity
        or any(is_lost(o, b) for o in scope.optimizers for b in plan.bindings)
    ]


def _is_trained(scope: Scope) -> bool:
    """Whether an optimizer has taken a step."""
    return any(tensors.to_numpy(o.iterations) > 0 for o in scope.optimizers)


def record_untouched(
    model: keras.Layer,
    vocabularies: NamedSources,
    unbuilt: Mapping[keras.Layer, Vocabulary],
) -> None:
    """Records what the rows of layers stand for that a training has built.

    The ids that it was trained on were those of its begin: `unbuilt` has what the source
    of each layer said then.
    """
    for axis in find_axes(find_sources(model, vocabularies)).axes:
        if recorded_vocabulary(axis.layer, axis.layer_axis.name) is None:
            trained_on = unbuilt.get(axis.layer, axis.new)
            replace(axis, new=trained_on).record(Transaction())
