"""Which variables of a model have which vocabulary along which axis."""

import weakref
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import keras

from warmstart_keras.embedding import WarmStartEmbedding
from warmstart_keras.saved_layers import Stored
from warmstart_keras.vocabulary import Vocabulary

# What the rows of plain layers stand for, as last recorded in this process. Keras has no
# place for it in the layer; `WarmStartEmbedding` has.
_recorded: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

# The fingerprint of the base that the user named for a layer at its last warm start: by
# now its rows stand for something else, and to move them from there again scrambles them.
_used_bases: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Binding:
    """Says that a variable has a vocabulary along an axis.

    Attributes:
        layer: The layer that owns the variable.
        path: The layer's path of names in the model.
        variable: The `keras.Variable`.
        axis: The axis along which it has an entry for each token.
    """

    layer: keras.Layer
    path: str
    variable: Any
    axis: int = 0

    @property
    def rows(self) -> int:
        """Number of entries along the axis, now."""
        return int(self.variable.shape[self.axis])


@dataclass(frozen=True, eq=False)
class Table:
    """A binding with its vocabularies: what the rows stand for, and what they shall.

    Attributes:
        binding: Variable and axis.
        base: What the rows stand for now; None where that is not known.
        new: What they shall stand for.
        source: Where `new` was read.
        named: Whether the user named the layer in `vocabularies`.
        base_named: Whether the user said what `base` is.
        rows: How many rows there shall be.
        completed: Whether special rows of the base were added to what was read.
        stored: Where the old rows are, if not in the variable: in a previous run.
        known_as: What the layer was called when the old rows were its own.
    """

    binding: Binding
    base: Vocabulary | None
    new: Vocabulary
    source: Any
    named: bool
    base_named: bool
    rows: int
    completed: bool
    known_as: str
    stored: Stored | None = None

    @property
    def base_rows(self) -> int:
        """How many old rows there are."""
        return self.binding.rows if self.stored is None else self.stored.shape[0]

    def is_same(self, other: "Table") -> bool:
        """Whether both say the same of the same variable."""
        ours, theirs = self.base, other.base
        return (
            self.binding.variable is other.binding.variable
            and (self.binding.rows, self.rows) == (other.binding.rows, other.rows)
            and (
                ours is theirs
                or (ours is not None and theirs is not None and ours.same_rows(theirs))
            )
            and self.new.same_rows(other.new)
        )

    @property
    def is_current(self) -> bool:
        """Whether rows and optimizer slots stand for what they shall already."""
        if self.base is None or self.stored is not None:
            return False
        assigned = getattr(self.binding.layer, "assigned_by_hand", False)
        return self.base.same_rows(self.new) and not assigned


@dataclass
class Found:
    """What was found in a model: tables, and layers that cannot be warm-started now.

    Attributes:
        tables: The tables whose source is known.
        unbuilt: The source of each layer that was named and has no rows yet.
        sourceless: Paths of layers with a vocabulary whose source is not known.
    """

    tables: list[Table] = field(default_factory=list)
    unbuilt: dict[keras.Layer, Any] = field(default_factory=dict)
    sourceless: list[str] = field(default_factory=list)


def recorded_vocabulary(layer: keras.Layer) -> Vocabulary | None:
    """What the rows of a layer stand for now, where that is known."""
    if isinstance(layer, WarmStartEmbedding):
        return layer.row_vocabulary
    return _recorded.get(layer)


def used_base(layer: keras.Layer) -> str | None:
    """The fingerprint of the base that the user named for a layer last."""
    return _used_bases.get(layer)


def record(table: Table, undo: ExitStack) -> None:
    """Records that the rows of a table stand for its new vocabulary from now on.

    Leaves with `undo` the way back.
    """
    layer = table.binding.layer
    if table.base_named and table.base is not None:
        _put(_used_bases, layer, table.base.fingerprint, undo)
    if not isinstance(layer, WarmStartEmbedding):
        _put(_recorded, layer, table.new, undo)
        return
    layer.stand_for(table.new, undo)
    if table.named:
        layer.follow(table.source, undo)


def _put(
    records: weakref.WeakKeyDictionary, layer: keras.Layer, value: Any, undo: ExitStack
) -> None:
    if layer in records:
        undo.callback(records.__setitem__, layer, records[layer])
    else:
        undo.callback(records.pop, layer, None)
    records[layer] = value
