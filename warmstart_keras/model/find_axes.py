"""Finds the base and the new vocabulary of every axis of a model."""

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
    """Reads the base and the new vocabulary of every axis that has a source."""
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
            continue  # the layers share these variables, which are moved once
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
    """Returns the axes with their origins in a run.

    An embedding without a source is included if its vocabulary is recorded.

    Raises:
        WarmStartError: If an embedding needs a source and does not have one.
    """
    alone = []
    for axis in sources.alone:
        origin, known = run.origin(axis), recorded_vocabulary(axis.layer)
        if origin is None:
            continue
        ours = isinstance(axis.layer, WarmStartEmbedding)
        if known is None and (ours or origin.vocabulary is not None):
            raise WarmStartError(
                f"No new vocabulary was found for layer '{axis.path}', which had a "
                f"vocabulary in {run.previous.name}. Received: a layer that no lookup "
                f"layer feeds. Pass `vocabularies={{'{axis.layer.name}': vectorizer}}`."
            )
        if known is not None:
            alone.append(AxisSource(axis, known, False, origin))
    paths = [one.layer_axis.path for one in alone]
    left = [path for path in sources.sourceless if path not in paths]
    found = [
        replace(one, origin=run.origin(one.layer_axis) or one.origin)
        for one in sources.axes
        # A layer that was adapted to the new vectors keeps its values.
        if not (was_adapted(one.layer_axis.layer) and run.has(one.layer_axis))
    ]
    return replace(sources, sourceless=left), [*alone, *found]


def unnamed_heads(model: keras.Layer, axes: list[VocabularyAxis]) -> list[LayerAxis]:
    """Returns the output axes of a model that do not follow a vocabulary."""
    bound = variables_of([axis.layer_axis for axis in axes])
    index = LayerIndex(model)
    parts = {  # such as the projections inside a `MultiHeadAttention`
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
    """Finds wrappers that have variables as large as the axis of the wrapped layer."""
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
                    f"Wrapper layer '{path}' must not have variables of the vocabulary's "
                    f"size, because the layer inside it, '{inside.name}', follows the "
                    "vocabulary and the wrapper's variables would not move with it. "
                    f"Received: {[f'{v.path} {tuple(v.shape)}' for v in own]} (of type "
                    f"{type(wrapper).__name__}). Build a new model without the wrapper "
                    "and warm-start it from this one: `warm_start(new_model, ..., "
                    "previous=this_model)`."
                )
                problems.append((one.source, message))
    return problems


def _check_adapted(axes: list[VocabularyAxis], run: MatchedRun | None) -> None:
    """Checks that every `Normalization` was adapted to the new vocabulary.

    Raises:
        WarmStartError: If its statistics belong to other words, or may do so.
    """
    for axis in axes:
        if not isinstance(axis.layer, keras.layers.Normalization):
            continue
        alike = [a.base for a in axes if a.source is axis.source and a is not axis]
        changed = any(base and not base.same_rows(axis.new) for base in alike)
        if run is None and axis.base is None and changed:
            raise WarmStartError(
                f"No base vocabulary was found for layer '{axis.layer_axis.path}'. "
                "Received: a `Normalization` that may have been adapted to vectors of "
                "another vocabulary. If it was adapted to vectors of the new vocabulary, "
                f"pass `base_vocabularies={{'{axis.layer.name}': vectorizer}}`. If it "
                "was adapted to vectors of the old vocabulary, pass "
                f"`base_vocabularies={{'{axis.layer.name}': old_tokens}}`."
            )
        moves = axis.base and not axis.base.same_rows(axis.new)
        if run is not None and axis.stored and moves:
            raise WarmStartError(
                f"Layer '{axis.layer_axis.path}' must be adapted to the new vocabulary's "
                f"vectors before the model starts from {run.previous.name}. Received: a "
                "`Normalization` that was not adapted. Call its `adapt` method with the "
                "new vectors first."
            )


def _vocabulary_axis(
    one: AxisSource, base: Vocabulary | None, base_named: bool
) -> VocabularyAxis:
    """Returns the axis with its vocabularies.

    Raises:
        WarmStartError: If a vocabulary does not fit the number of rows.
    """
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
            f"{origin.rows} rows. Received: {len(base)} tokens. Pass the tokens that "
            f"these rows stand for: {cure}."
        )
    if follows is None and in_run:
        follows = False  # a plain layer was built for the new vocabulary already
    if follows is None:
        lookup = keras_internals.lookup_of(source)
        limited = lookup is not None and lookup.max_tokens == rows
        follows = base is not None and len(base) == rows and not limited
    unfit = len(new) > rows or (follows and len(new) != rows)
    if base is None and unfit:
        raise WarmStartError(
            f"No base vocabulary was found for layer '{path}', and the new vocabulary "
            f"does not fit its rows. Received: {len(new)} tokens, {rows} rows. Pass the "
            f"tokens that the rows stand for: {cure}. If the layer has not been trained "
            "yet, raise `input_dim` or limit the vocabulary (`max_tokens`)."
        )
    if axis.keeps_width and unfit:
        raise WarmStartError(
            f"The input vectors of layer '{axis.path}' must stay {rows} wide, because "
            f"the width is part of its configuration. Received: {len(new)} tokens. Give "
            "the lookup layer a fixed width (`max_tokens=..., pad_to_max_tokens=True`), "
            "or build a new model for the new vocabulary and warm-start it from this "
            "one with the same `vocabularies`: `warm_start(new_model, vocabularies, "
            "previous=this_model)`."
        )
    if not follows and len(new) > rows:
        raise WarmStartError(
            f"The new vocabulary of layer '{path}' must fit its {rows} rows. Received: "
            f"{len(new)} tokens. Raise `input_dim` in a new model, limit the vocabulary "
            "(`max_tokens`), or use `WarmStartEmbedding(vocabulary=...)` without "
            "`input_dim`, whose number of rows follows the vocabulary."
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
