"""An axis of a layer with its vocabularies: what it stands for, and what it shall."""

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from warmstart_keras.backend import LazyArray
from warmstart_keras.layers import (
    Binding,
    LayerAxis,
    WarmStartEmbedding,
    adapted_values,
    put_row_record,
    row_record,
)
from warmstart_keras.vocabulary import Vocabulary, read


@dataclass(frozen=True, eq=False)
class VocabularyAxis:
    """One side of a layer with its vocabularies: what it stands for, and what it shall.

    Attributes:
        side: The side, with its variables.
        base: What its rows stand for now; None where that is not known.
        new: What they shall stand for.
        source: Where `new` was read.
        named: Whether the user named the layer in `vocabularies`.
        base_named: Whether the user said what `base` is.
        rows: How many rows there shall be.
        completed: Whether special rows of the base were added to what was read.
        stored: For the `id` of each variable where its old rows are, if not in itself:
            in a previous run.
        known_as: What the layer was called when the old rows were its own.
    """

    side: LayerAxis
    base: Vocabulary | None
    new: Vocabulary
    source: Any
    named: bool
    base_named: bool
    rows: int
    completed: bool
    known_as: str
    stored: dict[int, LazyArray] = field(default_factory=dict)

    def record(self, undo: ExitStack) -> None:
        """Records that the rows stand for the new vocabulary from now on.

        Leaves with `undo` the way back.
        """
        layer, name = self.layer, self.side.name
        record = row_record(layer, name)
        if self.base is not None and self.base_named:
            record = replace(record, named_base=self.base.fingerprint)
        if self.base is not None and not self.is_current:
            record = replace(record, has_moved=True)
        if self.named:
            record = replace(record, is_named=True)
        if isinstance(layer, WarmStartEmbedding):
            layer.stand_for(self.new, undo)
            if self.named:
                layer.follow(self.source, undo)
        else:
            record = replace(record, vocabulary=self.new)
        if hasattr(layer, "adapt"):
            record = replace(record, adapted=adapted_values(layer))
        put_row_record(layer, name, record, undo)

    @property
    def layer(self) -> keras.Layer:
        """The layer."""
        return self.side.layer

    @property
    def resizes(self) -> bool:
        """Whether the number of rows changes."""
        return self.rows != self.side.rows

    def base_rows(self, binding: Binding) -> int:
        """How many old rows a variable has."""
        stored = self.stored.get(id(binding.variable))
        return binding.rows if stored is None else int(stored.shape[binding.axis])

    def is_same(self, other: "VocabularyAxis") -> bool:
        """Whether both say the same of the same variables."""
        ours, theirs = self.base, other.base
        return (
            [id(b.variable) for b in self.side.bindings]
            == [id(b.variable) for b in other.side.bindings]
            and (self.side.rows, self.rows) == (other.side.rows, other.rows)
            and (
                ours is theirs
                or (ours is not None and theirs is not None and ours.same_rows(theirs))
            )
            and self.new.same_rows(other.new)
        )

    @property
    def is_current(self) -> bool:
        """Whether rows and optimizer slots stand for what they shall already."""
        if self.base is None or self.stored:
            return False
        assigned = getattr(self.layer, "assigned_by_hand", False)
        return self.base.same_rows(self.new) and not assigned


@dataclass
class ModelAxes:
    """What was found in a model: tables, and layers that cannot be warm-started now.

    Attributes:
        tables: The tables whose source is known.
        unbuilt: The sources of each layer that was named and has no rows yet.
        sourceless: Paths of layers with a vocabulary whose source is not known.
        plain: Paths of all embeddings, if they are built, and of none a vocabulary is
            known.
        watched: Lookup layers that have problems, and maybe no table.
        problems: Sources, and what forbids to move the rows that follow them.
    """

    tables: list[VocabularyAxis] = field(default_factory=list)
    unbuilt: dict[keras.Layer, list[Any]] = field(default_factory=dict)
    sourceless: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    watched: list[keras.Layer] = field(default_factory=list)
    problems: list[tuple[Any, str]] = field(default_factory=list)

    @property
    def is_in_vain(self) -> bool:
        """Whether there are embeddings, and nothing to be watched in the model."""
        has_any = self.tables or self.unbuilt or self.sourceless or self.watched
        return bool(self.plain) and not has_any


@dataclass(frozen=True, eq=False)
class AxisSource:
    """A side of a layer, and where it is read what its rows shall stand for.

    Attributes:
        side: The side.
        source: A vocabulary source.
        named: Whether the user named it.
    """

    side: LayerAxis
    source: Any
    named: bool


def record_lookup(lookup: keras.Layer, undo: ExitStack) -> None:
    """Records what a lookup layer says now, of whose vectors not all ways are known."""
    record = replace(row_record(lookup, "vectors"), vocabulary=read(lookup))
    put_row_record(lookup, "vectors", record, undo)
