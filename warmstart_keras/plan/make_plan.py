"""Construction of a plan: all axes are found and checked, and nothing is changed."""

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
    """Plans the warm start of a model or of a single layer."""
    if keras_internals.in_step(model):
        raise WarmStartError(
            "A warm start must not run inside a training step or a compiled "
            "function, since values there are symbolic or held by the loop. Call "
            "`warm_start(model)` before `fit`, or pass "
            "`callbacks=[VocabularyWarmStart()]` to `fit`. If a custom JAX training "
            "loop holds the values, assign them to the variables first."
        )
    with ExitStack() as opened:
        with agreement(model, "plan a warm start", lambda: plan.facts()):
            plan = _plan(model, options, opened)
        opened.pop_all()  # stays open, since `apply` reads the previous run
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
            "Compiled metrics have another number of outputs than the new vocabulary, "
            "and on JAX the callback cannot reset them, since `fit` has read them "
            f"already. The layers concerned are {[plan.name for plan in plans]}. Call "
            "`warm_start(model, ...)` before `fit`."
        )
    heads = left_behind(unnamed_heads(model, found.axes) if plans else [], plans)
    plans = plan_variables(plans, options)
    slots = _own_slots(plans, scope, options, is_from_run)
    plans = _with_something_to_do(plans, slots, scope, is_from_run)
    by_place: list[str] = []
    if run is not None:
        # `apply` reads these arrays later. Mismatches must be refused now.
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
    """Opens the previous run, if there is one, and finds the axes of the model."""
    run, sources = None, asked_sources(model, options)
    if options.previous is not None:
        previous = open_previous(options.previous, options.missing_ok)
        opened.callback(previous.close)
        run = MatchedRun(model, previous, sources.by_variable())
    found = find_axes(sources, run)
    if sources.unbuilt and not options.adopt:
        raise WarmStartError(
            "A layer whose rows move must be built. Received: "
            f"{[layer.name for layer in sources.unbuilt]}, not built yet. Call the "
            "model on a batch first: `model(batch)`."
        )
    return run, found


def _check_known(axis: VocabularyAxis, options: Options) -> None:
    """Refuses a layer that the user named if its base is unknown."""
    if axis.base is None and axis.named and not options.adopt:
        raise WarmStartError(
            f"It is unknown what the rows of layer '{axis.layer_axis.title}' stand for "
            "now, since no earlier warm start in this process has recorded it. Pass "
            "the tokens of the rows: "
            f"`base_vocabularies={{'{axis.layer.name}': old_tokens}}`."
        )


def _check_problems(found: ModelAxes, plans: list[AxisPlan]) -> None:
    """Refuses to move rows if another layer may depend on the same rebuilt source."""
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
    """Plans the slots that move with the rows of the model itself."""
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
    """Selects the plans that change something, and adds notes about their optimizers."""
    holding = with_slots(scope.optimizers if plans else [])
    variables = [v for o in holding for v in keras_internals.optimized_variables(o)]
    if is_from_run and scope.heir is not None:
        variables += scope.roots[0].trainable_variables
    known = {id(variable) for variable in variables}
    return [
        replace(plan, notes=(*plan.notes, *not_held(plan, known, scope.optimizers)))
        for plan in plans
        # After `layer.embeddings = matrix` and some training, a plan may be empty.
        if plan.moves
        or any(slot.axis is plan.axis for slot in slots)
        or not plan.row_map.is_identity
        or any(is_lost(o, b) for o in scope.optimizers for b in plan.bindings)
    ]


def _is_trained(scope: Scope) -> bool:
    """Returns whether an optimizer has taken a step."""
    return any(tensors.to_numpy(o.iterations) > 0 for o in scope.optimizers)


def record_untouched(
    model: keras.Layer,
    vocabularies: NamedSources,
    unbuilt: Mapping[keras.Layer, Vocabulary],
) -> None:
    """Records the vocabularies of layers that `fit` has built.

    Args:
        model: The model.
        vocabularies: The sources that the user named.
        unbuilt: The vocabulary of each layer's source at the start of `fit`. The layer
            was trained on the ids of this vocabulary, even if the source has changed
            since.
    """
    for axis in find_axes(find_sources(model, vocabularies)).axes:
        if recorded_vocabulary(axis.layer, axis.layer_axis.name) is None:
            trained_on = unbuilt.get(axis.layer, axis.new)
            replace(axis, new=trained_on).record(Transaction())
