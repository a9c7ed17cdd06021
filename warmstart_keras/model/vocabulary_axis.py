"""An axis of a layer with its vocabularies: where they are read, and what they say."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import keras

from warmstart_keras.backend import LazyArray, Transaction
from warmstart_keras.layers import (
    AxisVariable,
    LayerAxis,
    WarmStartEmbedding,
    adapted_values,
    put_record,
    record_of,
)
from warmstart_keras.model.named_layers import LayerIndex, NamedAxis
from warmstart_keras.previous import AxisOrigin
from warmstart_keras.vocabulary import Vocabulary, VocabularySource, read


@dataclass(frozen=True, eq=False)
class AxisSource:
    """An axis of a layer, where its new vocabulary is read, and where its rows are.

    `named` says whether the user named the source.
    """

    layer_axis: LayerAxis
    source: VocabularySource
    named: bool
    origin: AxisOrigin


@dataclass(eq=False)
class Sources:
    """Where the vocabulary of each layer of a model is read.

    Attributes:
        bases: What the user named in `base_vocabularies`.
        axes: The axes whose source is known.
        alone: Embeddings without a source.
        unbuilt: The sources of each layer that was named and has no rows yet.
        sourceless: Paths of layers with a vocabulary whose source is not known.
        plain: Paths of all embeddings, if they are built, and a vocabulary is known of
            none.
        watched: Lookup layers whose vectors go where their use is not certain.
        problems: Sources, and what forbids to move the rows that follow them.
    """

    index: LayerIndex
    bases: list[NamedAxis]
    axes: list[AxisSource] = field(default_factory=list)
    alone: list[LayerAxis] = field(default_factory=list)
    unbuilt: dict[keras.Layer, list[VocabularySource]] = field(default_factory=dict)
    sourceless: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    watched: list[keras.Layer] = field(default_factory=list)
    problems: list[tuple[VocabularySource, str]] = field(default_factory=list)

    def by_variable(self) -> dict[int, frozenset[int]]:
        """For the `id` of each variable the axes along which it may have a vocabulary."""
        layer_axes = [one.layer_axis for one in self.axes]
        for layer in self.index.embeddings:
            layer_axes += self.index.layer_axes(layer)
        axes: dict[int, frozenset[int]] = defaultdict(frozenset)
        for binding in (b for layer_axis in layer_axes for b in layer_axis.bindings):
            axes[id(binding.variable)] |= {binding.axis}
        return axes


@dataclass(frozen=True, eq=False)
class VocabularyAxis:
    """One axis of a layer with its base and its new vocabulary.

    Attributes:
        base: What its rows stand for now; None where that is not known.
        new: What they will stand for.
        source: Where `new` was read.
        named: Whether the user named the layer in `vocabularies`.
        base_named: Whether the user said what `base` is.
        rows: How many rows there will be.
        completed: Whether special rows of the base were added to what was read.
    """

    layer_axis: LayerAxis
    base: Vocabulary | None
    new: Vocabulary
    source: VocabularySource
    named: bool
    base_named: bool
    rows: int
    completed: bool
    origin: AxisOrigin

    def record(self, transaction: Transaction) -> None:
        """Records that the rows stand for the new vocabulary from now on."""
        layer, name = self.layer, self.layer_axis.name
        record = record_of(layer, name)
        if self.base is not None and self.base_named:
            record = replace(record, named_base=self.base.fingerprint)
        if self.base is not None and not self.is_current:
            record = replace(record, has_moved=True)
        if self.named:
            record = replace(record, is_named=True)
        if isinstance(layer, WarmStartEmbedding):
            layer.stand_for(self.new, transaction)
            if self.named:
                layer.follow(self.source, transaction)
        else:
            record = replace(record, vocabulary=self.new)
        if hasattr(layer, "adapt"):
            record = replace(record, adapted=adapted_values(layer))
        put_record(layer, name, record, transaction)

    @property
    def layer(self) -> keras.Layer:
        """The layer."""
        return self.layer_axis.layer

    @property
    def stored(self) -> Mapping[int, LazyArray]:
        """For the `id` of each variable what a previous run has of it, if it has."""
        return self.origin.arrays

    @property
    def resizes(self) -> bool:
        """Whether the number of rows changes."""
        return self.rows != self.layer_axis.rows

    def base_rows(self, binding: AxisVariable) -> int:
        """How many rows a variable has where the rows come from."""
        stored = self.stored.get(id(binding.variable))
        return binding.rows if stored is None else int(stored.shape[binding.axis])

    def is_same(self, other: "VocabularyAxis") -> bool:
        """Whether both say the same of the same variables."""
        ours, theirs = self.base, other.base
        return (
            [id(b.variable) for b in self.layer_axis.bindings]
            == [id(b.variable) for b in other.layer_axis.bindings]
            and (self.layer_axis.rows, self.rows) == (other.layer_axis.rows, other.rows)
            and (
                ours is theirs
                if ours is None or theirs is None
                else ours.same_rows(theirs)
            )
            and self.new.same_rows(other.new)
        )

    @property
    def is_current(self) -> bool:
        """Whether rows and optimizer slots stand for the new vocabulary already."""
        if self.base is None or self.stored:
            return False
        assigned = getattr(self.layer, "assigned_by_hand", False)
        return self.base.same_rows(self.new) and not assigned


@dataclass(frozen=True, eq=False)
class ModelAxes:
    """What was found in a model, with notes for the user, one sentence each."""

    axes: list[VocabularyAxis]
    sources: Sources
    notes: list[str]

    @property
    def is_in_vain(self) -> bool:
        """Whether the model has embeddings, and nothing of it is watched."""
        found = self.sources
        has_any = self.axes or found.unbuilt or found.sourceless or found.watched
        return bool(found.plain) and not has_any


def record_lookup(lookup: keras.Layer, transaction: Transaction) -> None:
    """Records what a lookup layer says now, of whose vectors not all ways are known."""
    record = replace(record_of(lookup, "vectors"), vocabulary=read(lookup))
    put_record(lookup, "vectors", record, transaction)
