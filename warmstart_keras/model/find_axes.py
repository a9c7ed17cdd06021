"""The axes of a model with their vocabularies: what its rows stand for, and will."""

from dataclasses import replace

import keras

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import (
    LayerAxis,
    WarmStartEmbedding,
    recorded_vocabulary,
    variables_of,
)
from warmstart_keras.model.base_vocabularies import (
    base_of_alike,
    known_base,
    named_base,
    spare_rows,
)
from warmstart_keras.model.named_layers import LayerIndex, unwrapped
from warmstart_keras.model.vocabulary_axis import (
    AxisSource,
    ModelAxes,
    Sources,
    VocabularyAxis,
)
from warmstart_keras.previous import MatchedRun, was_adapted
from warmstart_keras.vocabulary import Vocabulary, VocabularySource, read, read_as


def find_axes(sources: Sources, run: MatchedRun | None = None) -> ModelAxes:
    """Reads the base and the new vocabulary of every axis whose source is known."""
    found = sources.axes
    if run is not None:
        sources, found = _with_origins(sources, run)
    if problems := _of_wrappers(sources.index, found):
        sources = replace(sources, problems=[*sources.problems, *problems])
    named = [named_base(one, sources.bases, found) for one in found]
    known = [known_base(o, n, run) for o, n in zip(found, named, strict=True)]
    axes: list[VocabularyAxis] = []
    notes: list[str] = []
    seen: set[tuple[int, int]] = set()
    for place, (one, base) in enumerate(zip(found, named, strict=True)):
        bindings = one.layer_axis.bindings
        left = tuple(b for b in bindings if (id(b.variable), b.axis) not in seen)
        seen.update((id(b.variable), b.axis) for b in bindings)
        if not left:
            continue  # shared between layers: moved once
        if base is None:
            others = list(zip(found, known, strict=True))
            known[place] = base_of_alike(one, known[place], others)
        else:
            notes += spare_rows(one, known[place])
        if len(left) < len(one.layer_axis.bindings):
            one = replace(one, layer_axis=replace(one.layer_axis, bindings=left))
        axes.append(_vocabulary_axis(one, known[place], base is not None))
    _check_adapted(axes, run)
    return ModelAxes(axes, sources, notes)


def _with_origins(sources: Sources, run: MatchedRun) -> tuple[Sources, list[AxisSource]]:
    """The axes with what a run has of each; embeddings without a source included."""
    alone = []
    for axis in sources.alone:
        origin, known = run.origin(axis), recorded_vocabulary(axis.layer)
        if origin is None:
            continue
        ours = isinstance(axis.layer, WarmStartEmbedding)
        if known is None and (ours or origin.vocabulary is not None):
            raise WarmStartError(
                f"It must be known what the rows of layer '{axis.path}' shall stand for, "
                f"since they had a vocabulary in {run.previous.name}. Received: a layer "
                "that no lookup layer feeds. Name one: "
                f"`vocabularies={{'{axis.layer.name}': ...}}`."
            )
        if known is not None:
            alone.append(AxisSource(axis, known, False, origin))
    paths = [one.layer_axis.path for one in alone]
    left = [path for path in sources.sourceless if path not in paths]
    found = [
        replace(one, origin=run.origin(one.layer_axis) or one.origin)
        for one in sources.axes
        # What `adapt` has made of today's vectors stays.
        if not (was_adapted(one.layer_axis.layer) and run.has(one.layer_axis))
    ]
    return replace(sources, sourceless=left), [*alone, *found]


def unnamed_heads(model: keras.Layer, axes: list[VocabularyAxis]) -> list[LayerAxis]:
    """The outputs of layers of a model that follow no vocabulary."""
    bound = variables_of([axis.layer_axis for axis in axes])
    index = LayerIndex(model)
    parts = {  # the projections inside a `MultiHeadAttention`, say
        part
        for layer in index.paths
        if type(layer).__module__.startswith("keras.")
        and not isinstance(layer, keras.Model | keras.layers.Wrapper)
        for part in keras_internals.sublayers(layer)
    }
    return [
        axis
        for layer in index.paths
        if layer not in parts
        for axis in index.layer_axes(layer)
        if axis.name == "outputs" and not variables_of([axis]) & bound
    ]


def _of_wrappers(
    layers: LayerIndex, sourced: list[AxisSource]
) -> list[tuple[VocabularySource, str]]:
    """Refuses wrappers whose own variables have the size of what they wrap."""
    problems = []
    for wrapper, path in layers.paths.items():
        inside = unwrapped(wrapper)
        if inside is wrapper:
            continue
        known = {id(variable) for variable in inside.weights}
        own = [v for v in wrapper.weights if id(v) not in known]
        for one in sourced:
            rows = one.layer_axis.rows
            if one.layer_axis.layer is inside and any(rows in v.shape for v in own):
                message = (
                    f"Layer '{path}' must have no variable of the vocabulary's size, "
                    f"since it is around '{inside.name}', which has one. Received: "
                    f"{[f'{v.path} {tuple(v.shape)}' for v in own]} (of type "
                    f"{type(wrapper).__name__}). Build a new model, and take over what "
                    "this one has learned by `previous=`, without the wrapper."
                )
                problems.append((one.source, message))
    return problems


def _check_adapted(axes: list[VocabularyAxis], run: MatchedRun | None) -> None:
    """Refuses to leave what a `Normalization` learned of vectors of other words."""
    for axis in axes:
        if not isinstance(axis.layer, keras.layers.Normalization):
            continue
        alike = [a.base for a in axes if a.source is axis.source and a is not axis]
        changed = any(base and not base.same_rows(axis.new) for base in alike)
        if run is None and axis.base is None and changed:
            raise WarmStartError(
                f"It must be known what the entries of layer '{axis.layer_axis.path}' "
                "stand for. Received: a `Normalization` of which it is not known whether "
                "it was adapted to today's vectors. Adapt it and say so: "
                f"`base_vocabularies={{'{axis.layer.name}': vectorizer}}`; or, if it "
                f"was adapted to those of before: `{{'{axis.layer.name}': old_tokens}}`."
            )
        moves = axis.base and not axis.base.same_rows(axis.new)
        if run is not None and axis.stored and moves:
            raise WarmStartError(
                f"Layer '{axis.layer_axis.path}' must be adapted to today's vectors "
                f"before the model starts from {run.previous.name}. Received: a "
                "`Normalization` that is not. Call its `adapt`."
            )


def _vocabulary_axis(
    one: AxisSource, base: Vocabulary | None, base_named: bool
) -> VocabularyAxis:
    """The axis with its vocabularies, if these fit its rows."""
    axis, source, origin = one.layer_axis, one.source, one.origin
    in_run = origin.run is not None
    new = read_as(source, base)
    rows, path, name = axis.rows, axis.title, axis.layer.name
    follows = getattr(axis.layer, "follows_vocabulary", None)
    cure = f"`base_vocabularies={{'{name}': old_tokens}}`"
    if base is not None and (
        len(base) > origin.rows or (follows and not in_run and len(base) != rows)
    ):
        raise WarmStartError(
            f"The base vocabulary of layer '{path}' must have a token for each of its "
            f"{origin.rows} rows. Received: {len(base)} tokens. Pass what these very "
            f"rows stand for: {cure}."
        )
    if follows is None and in_run:
        follows = False  # a plain layer is built for today's vocabulary already
    if follows is None:
        lookup = keras_internals.lookup_of(source)
        limited = lookup is not None and lookup.max_tokens == rows
        follows = base is not None and len(base) == rows and not limited
    unfit = len(new) > rows or (follows and len(new) != rows)
    if base is None and unfit:
        raise WarmStartError(
            f"The rows of layer '{path}' stand for no known vocabulary, and today's does "
            f"not fit them. Received: {len(new)} tokens, {rows} rows. Say what the rows "
            f"stand for: {cure}; or, if they stand for nothing yet, raise `input_dim` or "
            "limit the vocabulary (`max_tokens`)."
        )
    if axis.keeps_width and unfit:
        raise WarmStartError(
            f"The vectors that go into layer '{axis.path}' must stay {rows} wide, "
            f"as its configuration says. Received: {len(new)} tokens. Give them a fixed "
            "width (`max_tokens=..., pad_to_max_tokens=True`); or build a new model for "
            "today's vocabulary, and take over what this one has learned: "
            f"`warm_start(new_model, vocabularies={{'{name}': ...}}, "
            "previous=this_model)`."
        )
    if not follows and len(new) > rows:
        raise WarmStartError(
            f"The vocabulary of layer '{path}' must fit its {rows} rows. Received: "
            f"{len(new)} tokens. Raise `input_dim` in a new model, limit the vocabulary "
            "(`max_tokens`), or use `WarmStartEmbedding(vocabulary=...)` without "
            "`input_dim`, which follows the vocabulary's size."
        )
    return VocabularyAxis(
        layer_axis=axis,
        base=base,
        new=new,
        source=source,
        named=one.named,
        base_named=base_named and not in_run,
        rows=len(new) if follows else rows,
        completed=base is not None and len(read(source)) < len(new),
        origin=origin,
    )
