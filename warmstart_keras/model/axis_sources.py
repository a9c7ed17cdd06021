"""Where it is read what the rows of each layer shall stand for."""

from collections.abc import Collection
from functools import cached_property
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import (
    LayerAxis,
    WarmStartEmbedding,
    behind_head,
    check_quantized,
    recorded_vocabulary,
    row_records,
)
from warmstart_keras.model.named_layers import LayerIndex, NamedAxis
from warmstart_keras.model.vector_flow import Reached, VectorFlow
from warmstart_keras.model.vocabulary_axis import AxisSource, ModelAxes
from warmstart_keras.vocabulary import Vocabulary, is_plain, read


def sourced_sides(
    model: keras.Layer,
    layers: LayerIndex,
    given: list[NamedAxis],
    bases: list[NamedAxis],
    found: ModelAxes,
    arrivals: Any = None,
    *,
    as_new: bool = False,
    besides: Collection[keras.Layer] = (),
) -> list[AxisSource]:
    """The sides of all layers of which it is known where their vocabulary is read.

    Args:
        model: The model.
        layers: Its layers.
        given: What the user named in `vocabularies`.
        bases: The same in `base_vocabularies`.
        found: Gets what has no rows yet, or no source.
        arrivals: The `MatchedRun` of a previous run, if there is one.
        as_new: Whether the model was built for today's vocabulary, to start from a
            previous run.
        besides: Other models over the same layers.

    Raises:
        WarmStartError: If it is not certain which side of a layer is meant, or a layer
            is quantised or has a base and no source.
    """
    graph = _Graph([model, *besides], layers)
    sourced = _of_embeddings(layers, given, bases, found, arrivals)
    sourced += _of_others(layers, given, bases, found, sourced, graph, as_new)
    sourced += _in_graph(graph, sourced, found)
    _check_all_have_sources(layers, sourced, bases, found)
    # A kernel may be remapped along both axes: first along that whose size stays.
    return sorted(sourced, key=lambda one: one.side.name == "outputs")


class _Graph:
    """What handles vectors with one number for each token of a lookup layer of a model.

    A lookup layer gives them itself, or ids of which a `CategoryEncoding` makes them.
    """

    def __init__(self, models: list[keras.Layer], layers: LayerIndex) -> None:
        self._models, self._layers = models, layers
        self.starts: list[tuple[keras.Layer, keras.Layer]] = []
        for layer in layers.paths:
            if keras_internals.lookup_of(layer) is not None:
                if keras_internals.gives_vectors(layer):
                    self.starts.append((layer, layer))
            elif isinstance(layer, keras.layers.CategoryEncoding):
                feeding = keras_internals.feeding_lookups(layer)
                if len(feeding) == 1 and keras_internals.gives_ids(feeding[0]):
                    self.starts.append((feeding[0], layer))

    @cached_property
    def ways(self) -> VectorFlow:
        """The ways of all vectors."""
        return VectorFlow(self._models, self._layers.sides, self._layers.paths)

    @cached_property
    def followed(self) -> list[tuple[keras.Layer, Reached]]:
        """Each lookup layer whose tokens vectors are of, with what handles these."""
        return [(lookup, self.ways.given_by(layer)) for lookup, layer in self.starts]

    def lookup_of(self, side: LayerAxis) -> keras.Layer | None:
        """The lookup layer whose vectors go into one side of a layer."""
        for lookup, reached in self.followed:
            if any((s.layer, s.name) == (side.layer, side.name) for s in reached.sides):
                return lookup
        return None


def _of_embeddings(
    layers: LayerIndex,
    given: list[NamedAxis],
    bases: list[NamedAxis],
    found: ModelAxes,
    arrivals: Any,
) -> list[AxisSource]:
    """The embeddings: ours, those that were named, and those that a lookup feeds."""
    lookups = {
        id(layer)
        for layer in layers.paths
        if keras_internals.lookup_of(layer) is not None
    }
    sourced: list[AxisSource] = []
    plain: list[str] = []
    for layer in layers.embeddings:
        path = layers.paths[layer]
        side = next((s for s in layers.sides(layer) if s.name == "rows"), None)
        named = [one for one in given if one.layer is layer]
        named = [one for one in named if side is None or one.is_for(side)]
        source = named[0].given if named else None
        if source is None:
            source = _source_in_model(layer, lookups)
        if source is None and arrivals is not None and side and arrivals.has(side):
            source = _known_alone(side, arrivals)
        if source is None:
            # A plain layer that was never named may well have no vocabulary.
            ours = isinstance(layer, WarmStartEmbedding)
            if ours or recorded_vocabulary(layer) is not None:
                found.sourceless.append(path)
            elif side is not None:  # else its model is not built: what feeds it may show
                plain.append(path)
            continue
        if side is None:
            if named or any(base.layer is layer for base in bases):
                found.unbuilt.setdefault(layer, []).append(source)
            continue
        sourced.append(AxisSource(side, _followed(source, given), bool(named)))
    found.plain = plain if len(plain) == len(layers.embeddings) else []
    return sourced


def _of_others(
    layers: LayerIndex,
    given: list[NamedAxis],
    bases: list[NamedAxis],
    found: ModelAxes,
    sourced: list[AxisSource],
    graph: _Graph,
    as_new: bool,
) -> list[AxisSource]:
    """The sides of other layers that were named."""
    others = []
    for one in given:
        if one.layer in layers.embeddings and one.side in (None, "rows"):
            continue
        source = _followed(one.given, given)
        if not one.layer.built:
            found.unbuilt.setdefault(one.layer, []).append(source)
            continue
        check_quantized(one.layer, layers.paths[one.layer])
        sides = [side for side in layers.sides(one.layer) if one.is_for(side)]
        if one.side is None:  # it is not said which
            sides = _left_by_graph(graph, sides, source)
            base = next((b.given for b in bases if b.layer is one.layer), None)
            sizes = _sizes(source, None if as_new else base, [] if as_new else sourced)
            sides = [_meant(layers, one.layer, sides, source, sizes)]
        others.append(AxisSource(sides[0], source, True))
    return others


def _left_by_graph(graph: _Graph, sides: list[LayerAxis], source: Any) -> list[LayerAxis]:
    """Those sides of a layer that the vectors of no other lookup layer go into."""
    fed = {side: graph.lookup_of(side) for side in sides if graph.starts}
    by_it = [side for side in sides if fed.get(side) is source]
    return by_it or [side for side in sides if fed.get(side) is None]


def _sizes(source: Any, base: Any, sourced: list[AxisSource]) -> list[int]:
    """How many tokens a side has now that stands for the tokens of a source."""
    if base is not None:
        return [len(read(base))]
    before = [recorded_vocabulary(o.side.layer) for o in sourced if o.source is source]
    known = [len(vocabulary) for vocabulary in before if vocabulary is not None]
    return known or [len(read(source))]


def _meant(
    layers: LayerIndex,
    layer: keras.Layer,
    sides: list[LayerAxis],
    source: Any,
    sizes: list[int],
) -> LayerAxis:
    """The one side of a layer that a vocabulary fits.

    Raises:
        WarmStartError: If it fits none, or several.
    """
    path = layers.paths[layer]
    records = row_records(layer)
    named = [s for s in sides if s.name in records and records[s.name].is_named]
    if len(named) == 1:
        return named[0]
    lookup = keras_internals.lookup_of(source)
    exact = [*sizes, None if lookup is None else lookup.max_tokens]
    # More outputs than tokens are spare; other inputs are no counts of tokens.
    fits = [
        side
        for side in sides
        if side.rows in exact or (not side.keeps_width and side.rows > max(sizes))
    ]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise WarmStartError(
            "`vocabularies` must name layers with one row per token. Received: "
            f"'{path}' of type {type(layer).__name__}, for {sizes[0]} tokens, with "
            f"{[f'{s.rows} {s.name}' for s in sides]}. If it stands for an older "
            f"vocabulary, say that: `base_vocabularies={{'{layer.name}': old_tokens}}`; "
            "else build a new model of today's size, and warm start it from this one: "
            "`warm_start(new_model, ..., previous=this_model)`."
        )
    meant = " or ".join(
        f"`Binding('{layer.name}', '{main.variable.name}', axis={main.axis})` for its "
        f"{side.name}"
        for side in fits
        for main in side.bindings[:1]
    )
    raise WarmStartError(
        f"It must be certain along which axis layer '{path}' has the vocabulary. "
        f"Received: {sizes[0]} tokens, which fit a kernel of shape "
        f"{tuple(fits[0].bindings[0].variable.shape)} along {len(fits)} axes. "
        f"Say which, as the key in `vocabularies`: {meant}."
    )


def _in_graph(
    graph: _Graph, sourced: list[AxisSource], found: ModelAxes
) -> list[AxisSource]:
    """The sides that vectors with one number for each token go into, in the graph."""
    starts = [
        one
        for one in sourced
        if not one.side.declared
        and (one.side.name != "rows" or one.side.bindings[0].averaged)
    ]
    if not graph.starts and not starts:
        return []
    followed: list[tuple[Any, Reached, bool]] = [
        (lookup, reached, False) for lookup, reached in graph.followed
    ]
    followed += [
        (one.source, graph.ways.around(one.side), one.side.name in ("rows", "outputs"))
        for one in starts
    ]
    known = {(one.side.layer, one.side.name): one.source for one in sourced}
    named = [one.side.layer for one in sourced if one.named]
    more: list[AxisSource] = []
    for source, reached, of_head in followed:
        for side in reached.sides:
            key = (side.layer, side.name)
            if key not in known:
                known[key] = source
                side = behind_head(side) if of_head else side
                more.append(AxisSource(side, source, False))
            elif not _is_alike(known[key], source) and side.layer not in named:
                message = (
                    f"Layer '{side.path}' must have one vocabulary along its "
                    f"{side.name}. Received: vectors of two. Name the one that its "
                    f"entries stand for: `vocabularies={{'{side.layer.name}': ...}}`."
                )
                found.problems += [(source, message), (known[key], message)]
        problems = [
            (source, message)
            for layer, message in reached.problems
            if not any(layer is other for other in named)
        ]
        found.problems += problems
        if problems and any(source is lookup for lookup, _ in graph.starts):
            found.watched.append(source)
    return more


def _is_alike(one: Any, other: Any) -> bool:
    """Whether two sources are one, or lists of the same tokens."""
    if one is other:
        return True
    return is_plain(one) and is_plain(other) and read(one).same_rows(read(other))


def _check_all_have_sources(
    layers: LayerIndex,
    sourced: list[AxisSource],
    bases: list[NamedAxis],
    found: ModelAxes,
) -> None:
    """Refuses a base of what has no vocabulary; tells of what had one before."""
    sides = [one.side for one in sourced]
    for base in bases:
        if base.layer in found.unbuilt or any(map(base.is_for, sides)):
            continue
        raise WarmStartError(
            f"A layer in `base_vocabularies` must have a source for what its rows "
            f"shall stand for. Received: layer '{layers.paths[base.layer]}', which no "
            f"lookup layer feeds. Name one: `vocabularies={{'{base.layer.name}': ...}}`."
        )
    known = {(side.layer, side.name) for side in sides}
    for layer, path in layers.paths.items():
        if layer in layers.embeddings or keras_internals.lookup_of(layer) is not None:
            continue
        found.sourceless += [
            path
            for name, record in row_records(layer).items()
            if record.vocabulary is not None and (layer, name) not in known
        ]


def _source_in_model(layer: keras.Layer, lookups: set[int]) -> Any | None:
    """The source that the layer itself knows, or the lookup of the model feeding it."""
    if isinstance(layer, WarmStartEmbedding):
        return layer.vocabulary_source
    feeding = [
        other
        for other in keras_internals.feeding_lookups(layer)
        if id(other) in lookups and keras_internals.gives_ids(other)
    ]
    return feeding[0] if len(feeding) == 1 else None


def _known_alone(side: LayerAxis, arrivals: Any) -> Vocabulary | None:
    """What the rows of a layer without a source stand for, if it has a vocabulary."""
    layer = side.layer
    known = recorded_vocabulary(layer)
    if known is None and (
        isinstance(layer, WarmStartEmbedding) or arrivals.knows_vocabulary(side)
    ):
        raise WarmStartError(
            f"It must be known what the rows of layer '{side.path}' shall stand for, "
            f"since they had a vocabulary in {arrivals.previous.name}. Received: a layer "
            "that no lookup layer feeds. Name one: "
            f"`vocabularies={{'{layer.name}': ...}}`."
        )
    return known


def _followed(source: Any, given: list[NamedAxis]) -> Any:
    """The source at the end of a chain of layers that follow one another."""
    seen: list = []
    while isinstance(source, WarmStartEmbedding) and not any(source is s for s in seen):
        seen.append(source)
        named = (one.given for one in given if one.layer is source)
        further = next(named, source.vocabulary_source)
        if further is None:
            break
        source = further
    return source
