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
    """Finds where the vocabulary of each layer of a model is read.

    `base_vocabularies` no longer holds for the layers `without_base`. The models
    `besides` are over the same layers. `as_new` says that the model was built for today's
    vocabulary, to start from a previous run.
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
    # A kernel may be remapped along both axes: first along that whose size stays.
    found.axes.sort(key=lambda one: one.layer_axis.name == "outputs")
    return found


def _source(axis: LayerAxis, source: VocabularySource, named: bool) -> AxisSource:
    return AxisSource(axis, source, named, origin_in_model(axis))


class _Graph:
    """Follows vectors with one number for each token of a lookup layer.

    The lookup layer gives them itself, or a `CategoryEncoding` makes them of its ids.
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
        """The graph of all vectors."""
        return VectorFlow(self._models, self._layers.layer_axes, self._layers.paths)

    @cached_property
    def followed(self) -> list[tuple[keras.Layer, Reached]]:
        """Each lookup layer, with what handles the vectors of its tokens."""
        return [(lookup, self.ways.given_by(layer)) for lookup, layer in self.starts]

    def lookup_of(self, axis: LayerAxis) -> keras.Layer | None:
        """The lookup layer whose vectors go into one axis of a layer."""
        for lookup, reached in self.followed:
            if (axis.layer, axis.name) in ((a.layer, a.name) for a in reached.layer_axes):
                return lookup
        return None


def _find_embeddings(found: Sources, named: list[NamedAxis]) -> None:
    """Finds the embeddings: ours, those named, and those that a lookup feeds."""
    index = found.index
    for layer in index.embeddings:
        path = index.paths[layer]
        rows = next((a for a in index.layer_axes(layer) if a.name == "rows"), None)
        meant = [n for n in named if n.layer is layer and (not rows or n.is_for(rows))]
        source = meant[0].source if meant else None
        if source is None:
            source = _source_in_model(layer, index)
        if source is None:
            # A plain layer that was never named may have no vocabulary at all.
            ours = isinstance(layer, WarmStartEmbedding)
            if ours or recorded_vocabulary(layer) is not None:
                found.sourceless.append(path)
            elif rows is not None:  # else its model is not built: what feeds it may show
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
    """Finds the axes of other layers that were named."""
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
        if one.axis is None:  # it is not said which
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
    """Those axes of a layer that the vectors of no other lookup layer go into."""
    fed = {axis: graph.lookup_of(axis) for axis in axes if graph.starts}
    by_it = [axis for axis in axes if fed.get(axis) is source]
    return by_it or [axis for axis in axes if fed.get(axis) is None]


def _sizes(
    source: VocabularySource, base: VocabularySource | None, axes: list[AxisSource]
) -> list[int]:
    """The possible numbers of tokens that an axis of a source has now."""
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
    """The one axis of a layer that a vocabulary fits."""
    named = [axis for axis in axes if record_of(layer, axis.name).is_named]
    if len(named) == 1:
        return named[0]
    lookup = keras_internals.lookup_of(source)
    exact = [*sizes, None if lookup is None else lookup.max_tokens]
    # More outputs than tokens are spare; other inputs are no counts of tokens.
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
            f"{[f'{a.rows} {a.name}' for a in axes]}. If it stands for an older "
            f"vocabulary, say that: `base_vocabularies={{'{layer.name}': old_tokens}}`; "
            "else build a new model of today's size, and warm start it from this one: "
            "`warm_start(new_model, ..., previous=this_model)`."
        )
    meant = " or ".join(
        f"`Binding('{layer.name}', '{main.variable.name}', axis={main.axis})` for its "
        f"{axis.name}"
        for axis in fits
        for main in axis.bindings[:1]
    )
    raise WarmStartError(
        f"It must be certain along which axis layer '{path}' has the vocabulary. "
        f"Received: {sizes[0]} tokens, which fit a kernel of shape "
        f"{tuple(fits[0].bindings[0].variable.shape)} along {len(fits)} axes. "
        f"Say which, as the key in `vocabularies`: {meant}."
    )


def _find_in_graph(found: Sources, graph: _Graph) -> None:
    """Finds the axes that take vectors with one number for each token."""
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
                    f"{axis.name}. Received: vectors of two. Name the one that its "
                    f"entries stand for: `vocabularies={{'{axis.layer.name}': ...}}`."
                )
                found.problems += [(source, message), (known[key], message)]
        problems = [
            (source, message) for layer, message in reached.problems if layer not in named
        ]
        found.problems += problems
        if problems and any(source is lookup for lookup, _ in graph.starts):
            found.watched.append(source)


def _is_alike(one: VocabularySource, other: VocabularySource) -> bool:
    """Whether two sources are one, or lists of the same tokens."""
    both_plain = is_plain(one) and is_plain(other)
    return one is other or (both_plain and read(one).same_rows(read(other)))


def _check_all_have_sources(found: Sources) -> None:
    """Refuses a base of what has no source; notes layers that had a vocabulary before."""
    index = found.index
    axes = [one.layer_axis for one in found.axes]
    for base in found.bases:
        if base.layer in found.unbuilt or any(map(base.is_for, axes)):
            continue
        raise WarmStartError(
            f"A layer in `base_vocabularies` must have a source for what its rows "
            f"shall stand for. Received: layer '{index.paths[base.layer]}', which no "
            f"lookup layer feeds. Name one: `vocabularies={{'{base.layer.name}': ...}}`."
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
    """The source that the layer itself knows, or the lookup of the model feeding it."""
    if isinstance(layer, WarmStartEmbedding):
        return layer.vocabulary_source
    feeding = [
        other
        for other in keras_internals.feeding_lookups(layer)
        if other in index.paths and keras_internals.gives_ids(other)
    ]
    return feeding[0] if len(feeding) == 1 else None


def _end_of_chain(source: VocabularySource, named: list[NamedAxis]) -> VocabularySource:
    """The source at the end of a chain of layers that follow one another."""
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
