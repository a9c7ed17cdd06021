"""Axes of layers with their sources, and with their base and new vocabularies."""

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
    """Axis of a layer, with the source of its new vocabulary and the origin of its rows.

    The source is `named` if the user passed it in `vocabularies`.
    """

    layer_axis: LayerAxis
    source: VocabularySource
    named: bool
    origin: AxisOrigin


@dataclass(eq=False)
class Sources:
    """Vocabulary sources of all layers of a model."""

    index: LayerIndex  # the layers of the model
    bases: list[NamedAxis]  # the entries of `base_vocabularies`
    axes: list[AxisSource] = field(default_factory=list)  # the axes that have a source
    alone: list[LayerAxis] = field(default_factory=list)  # embeddings without a source
    # The sources of each layer that was named and is not built yet.
    unbuilt: dict[keras.Layer, list[VocabularySource]] = field(default_factory=dict)
    # Paths of layers that follow a vocabulary and do not have a source.
    sourceless: list[str] = field(default_factory=list)
    # Paths of all embeddings, if all are built and none has a known vocabulary.
    plain: list[str] = field(default_factory=list)
    # Lookup layers whose vectors cannot be followed through the whole graph.
    watched: list[keras.Layer] = field(default_factory=list)
    # Sources, each with a message. It is raised if rows that follow the source must move.
    problems: list[tuple[VocabularySource, str]] = field(default_factory=list)

    def by_variable(self) -> dict[int, frozenset[int]]:
        """Maps the `id` of each variable to the axes that may follow a vocabulary."""
        layer_axes = [one.layer_axis for one in self.axes]
        for layer in self.index.embeddings:
            layer_axes += self.index.layer_axes(layer)
        axes: dict[int, frozenset[int]] = defaultdict(frozenset)
        for binding in (b for layer_axis in layer_axes for b in layer_axis.bindings):
            axes[id(binding.variable)] |= {binding.axis}
        return axes


@dataclass(frozen=True, eq=False)
class VocabularyAxis:
    """Axis of a layer with its base and its new vocabulary."""

    layer_axis: LayerAxis  # the axis, with its variables
    base: Vocabulary | None  # the tokens of its rows before; None if they are unknown
    new: Vocabulary  # the tokens of its rows after the warm start
    source: VocabularySource  # the source of `new`
    named: bool  # True if the user named the layer in `vocabularies`
    base_named: bool  # True if the user named the layer in `base_vocabularies`
    rows: int  # the number of rows after the warm start
    completed: bool  # True if special rows of the base were added to the source's tokens
    origin: AxisOrigin  # the rows before the warm start: the model's, or a previous run's

    def record(self, transaction: Transaction) -> None:
        """Records that the rows now stand for the new vocabulary."""
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
        """Layer that the axis belongs to."""
        return self.layer_axis.layer

    @property
    def stored(self) -> Mapping[int, LazyArray]:
        """Arrays of a previous run, by the `id` of the variable; empty without a run."""
        return self.origin.arrays

    @property
    def resizes(self) -> bool:
        """True if the number of rows changes."""
        return self.rows != self.layer_axis.rows

    def base_rows(self, binding: AxisVariable) -> int:
        """Returns the number of rows of a variable in the model or run it comes from."""
        stored = self.stored.get(id(binding.variable))
        return binding.rows if stored is None else int(stored.shape[binding.axis])

    def is_same(self, other: "VocabularyAxis") -> bool:
        """Returns whether both describe the same change of the same variables."""
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
        """True if rows and optimizer slots already stand for the new vocabulary."""
        if self.base is None or self.stored:
            return False
        assigned = getattr(self.layer, "assigned_by_hand", False)
        return self.base.same_rows(self.new) and not assigned


@dataclass(frozen=True, eq=False)
class ModelAxes:
    """Axes and sources found in a model, with notes for the user of one sentence each."""

    axes: list[VocabularyAxis]
    sources: Sources
    notes: list[str]

    @property
    def is_in_vain(self) -> bool:
        """True if the model has embeddings, but no layer follows a vocabulary."""
        found = self.sources
        has_any = self.axes or found.unbuilt or found.sourceless or found.watched
        return bool(found.plain) and not has_any


def record_lookup(lookup: keras.Layer, transaction: Transaction) -> None:
    """Records the current vocabulary of a lookup layer in `Sources.watched`."""
    record = replace(record_of(lookup, "vectors"), vocabulary=read(lookup))
    put_record(lookup, "vectors", record, transaction)
