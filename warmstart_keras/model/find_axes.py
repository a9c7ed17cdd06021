"""The tables of a model, with what their rows stand for, and what they shall."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import LayerAxis, variables_of
from warmstart_keras.model.axis_sources import sourced_sides
from warmstart_keras.model.base_vocabularies import (
    _base_of_alike,
    _check_adapted,
    _given_base,
    _known_base,
    _was_adapted_today,
)
from warmstart_keras.model.named_layers import LayerIndex, resolve, unwrapped
from warmstart_keras.model.vocabulary_axis import AxisSource, ModelAxes, VocabularyAxis
from warmstart_keras.vocabulary import Vocabulary, read, read_as


def find_tables(
    model: keras.Layer,
    vocabularies: Any = None,
    base_vocabularies: Any = None,
    without_base: Collection[keras.Layer] = (),
    arrivals: Any = None,
    besides: Collection[keras.Layer] = (),
) -> ModelAxes:
    """All tables of a model whose source is known.

    Args:
        model: A model, or a layer alone.
        vocabularies: A mapping from a layer, its name or a `Binding` to a source, or one
            source.
        base_vocabularies: What the rows stand for now, likewise.
        without_base: Layers for which `base_vocabularies` no longer holds.
        arrivals: The `MatchedRun` of a previous run, if there is one.
        besides: Other models over the same layers.

    Raises:
        WarmStartError: If a name is unknown or borne by two layers, a layer has no
            vocabulary axis, or a vocabulary does not fit the rows.
    """
    layers = LayerIndex(model)
    given = resolve(layers, vocabularies, "vocabularies")
    bases = resolve(layers, base_vocabularies, "base_vocabularies")
    bases = [base for base in bases if base.layer not in without_base]
    found = ModelAxes()
    as_new = arrivals is not None
    sourced = sourced_sides(
        model, layers, given, bases, found, arrivals, as_new=as_new, besides=besides
    )
    found.problems += _of_wrappers(layers, sourced)
    sourced = [one for one in sourced if not _was_adapted_today(one, arrivals)]
    given_bases = [_given_base(one, bases, sourced) for one in sourced]
    known = [
        _known_base(one, base, arrivals)
        for one, base in zip(sourced, given_bases, strict=True)
    ]
    seen: set[tuple[int, int]] = set()
    for place, (one, base) in enumerate(zip(sourced, given_bases, strict=True)):
        keys = [(id(b.variable), b.axis) for b in one.side.bindings]
        left = _without(one.side, seen)
        seen.update(keys)
        if not left.bindings:
            continue  # shared between layers: moved once
        if base is None:
            known[place] = _base_of_alike(one, known[place], sourced, known, arrivals)
        one = replace(one, side=left)
        found.tables.append(_table(one, known[place], base is not None, arrivals))
    _check_adapted(found.tables, arrivals)
    return found


def unnamed_heads(model: keras.Layer, tables: list[VocabularyAxis]) -> list[LayerAxis]:
    """The outputs of layers of a model that are in no table."""
    bound = variables_of([table.side for table in tables])
    layers = LayerIndex(model)
    parts = {  # the projections inside a `MultiHeadAttention`, say
        part
        for layer in layers.paths
        if type(layer).__module__.startswith("keras.")
        and not isinstance(layer, keras.Model | keras.layers.Wrapper)
        for part in keras_internals.sublayers(layer)
    }
    sides = [
        s for layer in layers.paths if layer not in parts for s in layers.sides(layer)
    ]
    return [s for s in sides if s.name == "outputs" and not variables_of([s]) & bound]


def vocabulary_axes(model: keras.Layer, options: Any) -> dict[int, frozenset[int]]:
    """For the `id` of each variable the axes along which it may have a vocabulary.

    Those of embeddings, and of all layers whose vocabulary has a source.
    """
    layers = LayerIndex(model)
    given = resolve(layers, options.vocabularies, "vocabularies")
    resolve(layers, options.base_vocabularies, "base_vocabularies")
    sourced = sourced_sides(model, layers, given, [], ModelAxes(), as_new=True)
    asked = [one.side for one in sourced]
    asked += [side for layer in layers.embeddings for side in layers.sides(layer)]
    axes: dict[int, frozenset[int]] = {}
    for binding in (binding for side in asked for binding in side.bindings):
        key = id(binding.variable)
        axes[key] = axes.get(key, frozenset()) | {binding.axis}
    return axes


def _without(side: LayerAxis, seen: set[tuple[int, int]]) -> LayerAxis:
    left = tuple(b for b in side.bindings if (id(b.variable), b.axis) not in seen)
    return side if len(left) == len(side.bindings) else replace(side, bindings=left)


def _of_wrappers(layers: LayerIndex, sourced: list[AxisSource]) -> list[tuple[Any, str]]:
    """Wrappers with variables of their own that have the size of what they wrap."""
    problems = []
    for wrapper, path in layers.paths.items():
        inside = unwrapped(wrapper)
        if inside is wrapper:
            continue
        known = {id(variable) for variable in inside.weights}
        own = [v for v in wrapper.weights if id(v) not in known]
        for one in sourced:
            if one.side.layer is inside and any(one.side.rows in v.shape for v in own):
                message = (
                    f"Layer '{path}' must have no variable of the vocabulary's size, "
                    f"since it is around '{inside.name}', which has one. Received: "
                    f"{[f'{v.path} {tuple(v.shape)}' for v in own]} (of type "
                    f"{type(wrapper).__name__}). Build a new model, and take over what "
                    "this one has learned by `previous=`, without the wrapper."
                )
                problems.append((one.source, message))
    return problems


def _table(
    one: AxisSource, base: Vocabulary | None, base_named: bool, arrivals: Any
) -> VocabularyAxis:
    """A table whose vocabularies fit its rows."""
    side, source = one.side, one.source
    arrives = arrivals is not None and arrivals.has(side)
    stored = arrivals.rows(side) if arrives else {}
    new = read_as(source, base)
    rows, path = side.rows, side.title
    follows = getattr(side.layer, "follows_vocabulary", None)
    cure = f"`base_vocabularies={{'{side.layer.name}': old_tokens}}`"
    main = side.bindings[0]
    old = int(stored[id(main.variable)].shape[main.axis]) if stored else rows
    if base is not None and (
        len(base) > old or (follows and not stored and len(base) != old)
    ):
        raise WarmStartError(
            f"The base vocabulary of layer '{path}' must have a token for each of its "
            f"{old} rows. Received: {len(base)} tokens. Pass what these very rows stand "
            f"for: {cure}."
        )
    if follows is None and stored:
        follows = False  # a plain layer is built for today's vocabulary already
    if follows is None:
        lookup = keras_internals.lookup_of(source)
        limited = lookup is not None and lookup.max_tokens == rows
        follows = base is not None and len(base) == rows and not limited
    if base is None and (len(new) > rows or (follows and len(new) != rows)):
        raise WarmStartError(
            f"The rows of layer '{path}' stand for no known vocabulary, and today's does "
            f"not fit them. Received: {len(new)} tokens, {rows} rows. Say what the rows "
            f"stand for: {cure}; or, if they stand for nothing yet, raise `input_dim` or "
            "limit the vocabulary (`max_tokens`)."
        )
    if side.keeps_width and (len(new) > rows or (follows and len(new) != rows)):
        raise WarmStartError(
            f"The vectors that go into layer '{side.path}' must stay {rows} wide, as its "
            f"configuration says. Received: {len(new)} tokens. Give them a fixed width "
            "(`max_tokens=..., pad_to_max_tokens=True`); or build a new model for "
            "today's vocabulary, and take over what this one has learned: "
            f"`warm_start(new_model, vocabularies={{'{side.layer.name}': ...}}, "
            "previous=this_model)`."
        )
    if not follows and len(new) > rows:
        raise WarmStartError(
            f"The vocabulary of layer '{path}' must fit its {rows} rows. Received: "
            f"{len(new)} tokens. Raise `input_dim` in a new model, limit the vocabulary "
            "(`max_tokens`), or use `WarmStartEmbedding(vocabulary=...)` without "
            "`input_dim`, which follows the vocabulary's size."
        )
    completed = base is not None and len(read(source)) < len(new)
    return VocabularyAxis(
        side=side,
        base=base,
        new=new,
        source=source,
        named=one.named,
        base_named=base_named and not arrives,
        rows=len(new) if follows else rows,
        completed=completed,
        known_as=arrivals.name(side) if arrives else side.layer.name,
        stored=stored,
    )
