"""Finds each layer's vocabulary source: named, in the layer, or in the graph."""

from collections.abc import Collection
from functools import cached_property

import keras

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import (
    LayerAxis,
    WarmStartEmbedding,
    behind_head,
    check_quantized,
    record_of,
    recorded_vocabulary,
    records_of,
)
from warmstart_keras.model.named_layers import (
    LayerIndex,
    NamedAxis,
    NamedSources,
    resolve,
)
from warmstart_keras.model.vector_flow import Reached, VectorFlow
from warmstart_keras.model.vocabulary_axis import AxisSource, Sources
from warmstart_keras.previous import origin_in_model
from warmstart_keras.vocabulary import VocabularySource, is_plain, read


def find_sources(
    model: keras.Layer,
    vocabularies: NamedSources = None,
    base_vocabularies: NamedSources = None,
    without_base: Collection[keras.Layer] = (),
    besides: Collection[keras.Layer] = (),
    as_new: bool = False,
) -> Sources:
    """Finds the source of each layer's new vocabulary.

    Args:
        model: The model to warm-start.
        vocabularies: Sources that the user named, by layer.
        base_vocabularies: Base vocabularies that the user named, by layer.
        without_base: Layers whose entry in `base_vocabularies` is outdated and ignored.
        besides: Further models that share layers with `model`.
        as_new: Whether the model was built for the new vocabulary, to start from a
            previous run.
    """
    index = LayerIndex(model)
    named = resolve(index, vocabularies, "vocabularies")
    bases = resolve(index, base_vocabularies, "base_vocabularies")
    bases = [base for base in bases if base.layer not in without_base]
    found = Sources(index, bases)
    graph = _Graph([model, *besides], index)
    _find_embeddings(found, named)
    _find_named(found, named, graph, as_new)
    _find_in_graph(found, graph)
    _check_all_have_sources(found)
    # A kernel may be remapped along both axes. The axis that keeps its size goes first.
    found.axes.sort(key=lambda one: one.layer_axis.name == "outputs")
    return found


def _source(axis: LayerAxis, source: VocabularySource, named: bool) -> AxisSource:
    return AxisSource(axis, source, named, origin_in_model(axis))


class _Graph:
    """Graph of the vectors that have one entry per token of a lookup layer.

    Either the lookup layer outputs these vectors, or a `CategoryEncoding` layer makes
    them from the ids that the lookup layer outputs.
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
        """Graph of all vectors of the models."""
        return VectorFlow(self._models, self._layers.layer_axes, self._layers.paths)

    @cached_property
    def followed(self) -> list[tuple[keras.Layer, Reached]]:
        """Lookup layers, each with the axes that its vectors reach."""
        return [(lookup, self.ways.given_by(layer)) for lookup, layer in self.starts]

    def lookup_of(self, axis: LayerAxis) -> keras.Layer | None:
        """Finds the lookup layer whose vectors feed one axis of a layer."""
        for lookup, reached in self.followed:
            if (axis.layer, axis.name) in ((a.layer, a.name) for a in reached.layer_axes):
                return lookup
        return None


def _find_embeddings(found: Sources, named: list[NamedAxis]) -> None:
    """Finds the source of every `WarmStartEmbedding`, named and lookup-fed embedding."""
    index = found.index
    for layer in index.embeddings:
        path = index.paths[layer]
        rows = next((a for a in index.layer_axes(layer) if a.name == "rows"), None)
        meant = [n for n in named if n.layer is layer and (not rows or n.is_for(rows))]
        source = meant[0].source if meant else None
        if source is None:
            source = _source_in_model(layer, index)
        if source is None:
            # A plain `Embedding` that was never named may not have a vocabulary.
            ours = isinstance(layer, WarmStartEmbedding)
            if ours or recorded_vocabulary(layer) is not None:
                found.sourceless.append(path)
            elif rows is not None:
                # Before its model is built, the lookup that feeds a layer is unknown.
                found.plain.append(path)
            if rows is not None:
                found.alone.append(rows)
        elif rows is not None:
            found.axes.append(_source(rows, _end_of_chain(source, named), bool(meant)))
        elif meant or any(base.layer is layer for base in found.bases):
            found.unbuilt.setdefault(layer, []).append(source)
    if len(found.plain) < len(index.embeddings):
        found.plain = []


def _find_named(
    found: Sources, named: list[NamedAxis], graph: _Graph, as_new: bool
) -> None:
    """Finds the sources of all other axes that the user named."""
    index, embeddings = found.index, list(found.axes)
    for one in named:
        if one.layer in index.embeddings and one.axis in (None, "rows"):
            continue
        source = _end_of_chain(one.source, named)
        if not one.layer.built:
            found.unbuilt.setdefault(one.layer, []).append(source)
            continue
        check_quantized(one.layer, index.paths[one.layer])
        axes = [a for a in index.layer_axes(one.layer) if one.is_for(a)]
        if one.axis is None:  # the user did not name the axis
            axes = _left_by_graph(graph, axes, source)
            base = next((b.source for b in found.bases if b.layer is one.layer), None)
            sizes = [len(read(source))]
            if not as_new:
                sizes = _sizes(source, base, embeddings)
            axes = [_meant(one.layer, index.paths[one.layer], axes, source, sizes)]
        found.axes.append(_source(axes[0], source, True))


def _left_by_graph(
    graph: _Graph, axes: list[LayerAxis], source: VocabularySource
) -> list[LayerAxis]:
    """Returns the axes that `source` feeds, or otherwise those that no lookup feeds."""
    fed = {axis: graph.lookup_of(axis) for axis in axes if graph.starts}
    by_it = [axis for axis in axes if fed.get(axis) is source]
    return by_it or [axis for axis in axes if fed.get(axis) is None]


def _sizes(
    source: VocabularySource, base: VocabularySource | None, axes: list[AxisSource]
) -> list[int]:
    """Returns the possible sizes of an axis that follows `source`."""
    if base is not None:
        return [len(read(base))]
    known = [one.origin.vocabulary for one in axes if one.source is source]
    return [len(v) for v in known if v is not None] or [len(read(source))]


def _meant(
    layer: keras.Layer,
    path: str,
    axes: list[LayerAxis],
    source: VocabularySource,
    sizes: list[int],
) -> LayerAxis:
    """Returns the only axis of a layer whose size fits the vocabulary."""
    named = [axis for axis in axes if record_of(layer, axis.name).is_named]
    if len(named) == 1:
        return named[0]
    lookup = keras_internals.lookup_of(source)
    exact = [*sizes, None if lookup is None else lookup.max_tokens]
    # A layer may have spare outputs beyond the tokens. Its inputs must match exactly.
    fits = [
        axis
        for axis in axes
        if axis.rows in exact or (not axis.keeps_width and axis.rows > max(sizes))
    ]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise WarmStartError(
            "`vocabularies` must name layers with one row per token. Received: "
            f"'{path}' of type {type(layer).__name__}, for {sizes[0]} tokens, with "
            f"{[f'{a.rows} {a.name}' for a in axes]}. If the layer follows an older "
            f"vocabulary, pass `base_vocabularies={{'{layer.name}': old_tokens}}`. "
            "Otherwise build a new model for the new vocabulary and warm-start it from "
            "this one: `warm_start(new_model, ..., previous=this_model)`."
        )
    meant = " or ".join(
        f"`Binding('{layer.name}', '{main.variable.name}', axis={main.axis})` for the "
        f"{axis.name}"
        for axis in fits
        for main in axis.bindings[:1]
    )
    raise WarmStartError(
        f"`vocabularies` must name the axis of layer '{path}' that follows the "
        f"vocabulary. Received: {sizes[0]} tokens, which fit a kernel of shape "
        f"{tuple(fits[0].bindings[0].variable.shape)} along {len(fits)} axes. "
        f"Name the axis with a `Binding` as the key in `vocabularies`: {meant}."
    )


def _find_in_graph(found: Sources, graph: _Graph) -> None:
    """Finds axes that take vectors with one entry per token, by following the graph."""
    sources = list(found.axes)
    followed: list[tuple[VocabularySource, Reached, bool]] = [
        (lookup, reached, False) for lookup, reached in graph.followed
    ]
    for one in sources:
        axis = one.layer_axis
        if not axis.declared and (axis.name != "rows" or axis.bindings[0].averaged):
            of_head = axis.name in ("rows", "outputs")
            followed.append((one.source, graph.ways.around(axis), of_head))
    known = {(o.layer_axis.layer, o.layer_axis.name): o.source for o in sources}
    named = [one.layer_axis.layer for one in sources if one.named]
    for source, reached, of_head in followed:
        for axis in reached.layer_axes:
            key = (axis.layer, axis.name)
            if key not in known:
                known[key] = source
                axis = behind_head(axis) if of_head else axis
                found.axes.append(_source(axis, source, False))
            elif not _is_alike(known[key], source) and axis.layer not in named:
                message = (
                    f"Layer '{axis.path}' must have one vocabulary along its "
                    f"{axis.name}. Received: vectors of two vocabularies. Name the "
                    "vocabulary that the layer follows: "
                    f"`vocabularies={{'{axis.layer.name}': vectorizer}}`."
                )
                found.problems += [(source, message), (known[key], message)]
        problems = [
            (source, message) for layer, message in reached.problems if layer not in named
        ]
        found.problems += problems
        if problems and any(source is lookup for lookup, _ in graph.starts):
            found.watched.append(source)


def _is_alike(one: VocabularySource, other: VocabularySource) -> bool:
    """Returns whether two sources are one object, or lists of the same tokens."""
    both_plain = is_plain(one) and is_plain(other)
    return one is other or (both_plain and read(one).same_rows(read(other)))


def _check_all_have_sources(found: Sources) -> None:
    """Checks that every named base has a source, and collects layers that lost theirs.

    Raises:
        WarmStartError: If a layer in `base_vocabularies` has no source.
    """
    index = found.index
    axes = [one.layer_axis for one in found.axes]
    for base in found.bases:
        if base.layer in found.unbuilt or any(map(base.is_for, axes)):
            continue
        raise WarmStartError(
            "A layer in `base_vocabularies` must have a source for its new vocabulary. "
            f"Received: layer '{index.paths[base.layer]}', which is not fed by a lookup "
            f"layer. Pass `vocabularies={{'{base.layer.name}': vectorizer}}`."
        )
    known = {(axis.layer, axis.name) for axis in axes}
    for layer, path in index.paths.items():
        if layer in index.embeddings or keras_internals.lookup_of(layer) is not None:
            continue
        found.sourceless += [
            path
            for name, record in records_of(layer).items()
            if record.vocabulary is not None and (layer, name) not in known
        ]


def _source_in_model(layer: keras.Layer, index: LayerIndex) -> VocabularySource | None:
    """Returns the source stored in the layer, or the only lookup layer that feeds it."""
    if isinstance(layer, WarmStartEmbedding):
        return layer.vocabulary_source
    feeding = [
        other
        for other in keras_internals.feeding_lookups(layer)
        if other in index.paths and keras_internals.gives_ids(other)
    ]
    return feeding[0] if len(feeding) == 1 else None


def _end_of_chain(source: VocabularySource, named: list[NamedAxis]) -> VocabularySource:
    """Returns the last source in a chain of embeddings that follow each other."""
    seen = set()
    while isinstance(source, WarmStartEmbedding) and source not in seen:
        seen.add(source)
        further = next(
            (one.source for one in named if one.layer is source), source.vocabulary_source
        )
        if further is None:
            break
        source = further
    return source
