"""Which variables of a model have which vocabulary along which axis."""

import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import keras

from warmstart_keras import tensors
from warmstart_keras.embedding import WarmStartEmbedding
from warmstart_keras.errors import WarmStartError
from warmstart_keras.saved_layers import Stored
from warmstart_keras.vocabulary import Vocabulary

# What the sides of plain layers stand for, by name of the side, as last recorded in this
# process. Keras has no place for it in the layer; `WarmStartEmbedding` has.
_recorded: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

# The fingerprint of the base that the user named for a side at its last warm start: by
# now its rows stand for something else, and to move them from there again scrambles them.
_used_bases: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

# Those sides whose vocabulary the user named, and layers whose rows have moved.
_named: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_moved: weakref.WeakSet = weakref.WeakSet()

# What the variables of layers with `adapt` were when that was recorded.
_adapted: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Binding:
    """Says that a variable has a vocabulary along an axis.

    Layers of Keras need none: name the layer itself in `vocabularies`. Use it as a key
    there to declare a variable of a layer of your own, to say which axis of a kernel is
    meant where a vocabulary fits both, or to name the attributes that hold the
    vocabulary's size, so that the saved model loads with its new one.

    Examples:
        >>> import keras
        >>> from warmstart_keras import Binding, warm_start
        >>> class Popularity(keras.layers.Layer):
        ...     def __init__(self, items, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.items = items
        ...     def build(self, input_shape):
        ...         self.scores = self.add_weight(shape=(self.items,), name="scores")
        ...     def call(self, ids):
        ...         return keras.ops.take(self.scores, ids)
        ...     def get_config(self):
        ...         return {**super().get_config(), "items": self.items}
        >>> layer = Popularity(3)
        >>> score_of_b = layer(keras.ops.array([1]))
        >>> scores = Binding(layer, "scores", size="items")
        >>> report = warm_start(
        ...     layer,
        ...     vocabularies={scores: ["b", "c", "a", "d"]},
        ...     base_vocabularies={scores: ["a", "b", "c"]},
        ...     verbose=0,
        ... )
        >>> layer.items, bool(layer(keras.ops.array([0])) == score_of_b)
        (4, True)

    Attributes:
        layer: The layer that owns the variable, or its name.
        variable: The `keras.Variable`, or the name of it or of the layer's attribute.
        axis: The axis along which it has an entry for each token.
        size: Name, or list of names, of attributes that hold the vocabulary's size and
            go into a configuration: of the layer (`"items"`), or of another one around
            it (`"encoder.items"`). They follow when the size changes.
        initializer: Keras initializer that the entries of new tokens start from. None:
            the mean of the old words' entries; of an embedding, what it says itself.
        path: The layer's path of names, where it was found in a model.
        averaged: Whether new entries start from the mean of the old words'.
        asked: Whether `new_embeddings_initializer` is for its new entries, if given.
        is_factor: Whether it is a factor of LoRA, added to another variable's entries:
            of what is given, methods that take old entries as they are serve it too.

    Raises:
        WarmStartError: If `axis` is no integer, or `size` is neither a name nor a list of
            names; and when it is used, if layer or variable is not there.
    """

    layer: keras.Layer | str
    variable: Any
    axis: int = 0
    size: str | Sequence[str] = ()
    initializer: Any = None
    path: str = field(default="", kw_only=True)
    averaged: bool = field(default=False, kw_only=True)
    asked: bool = field(default=False, kw_only=True)
    is_factor: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        names = [self.size] if isinstance(self.size, str) else self.size
        if (
            not isinstance(self.axis, int)
            or not isinstance(names, list | tuple)
            or not all(isinstance(name, str) for name in names)
        ):
            raise WarmStartError(
                "A `Binding` must have an integer as `axis`, and as `size` the name of "
                f"an attribute, or a list of names. Received: axis={self.axis!r}, "
                f"size={self.size!r}"
            )

    @property
    def rows(self) -> int:
        """Number of entries along the axis, now."""
        return int(self.variable.shape[self.axis])


@dataclass(frozen=True)
class Size:
    """An attribute of a layer that holds the size of a vocabulary.

    Attributes:
        owner: The layer.
        attribute: Name of its attribute.
        index: Where in a tuple it stands; None if the attribute is the number itself.
    """

    owner: keras.Layer
    attribute: str
    index: int | None = None

    def value_for(self, rows: int) -> Any:
        """What the attribute must be for so many rows."""
        if self.index is None:
            return rows
        values = list(getattr(self.owner, self.attribute))
        values[self.index] = rows
        return tuple(values)


@dataclass(frozen=True, eq=False)
class Side:
    """What of a layer has one vocabulary: its rows, its inputs or its outputs.

    Attributes:
        layer: The layer.
        path: The layer's path of names in the model.
        name: `"rows"` of an embedding, `"inputs"` or `"outputs"` of a `Dense`,
            `"features"` of a normalisation; of a layer of the user's, its variables.
        bindings: One for each of its variables, the main one first.
        sizes: The attributes that hold its size.
        keeps_width: Whether its size cannot change, as an input's.
        declared: Whether the user declared it.
    """

    layer: keras.Layer
    path: str
    name: str
    bindings: tuple[Binding, ...]
    sizes: tuple[Size, ...] = ()
    keeps_width: bool = False
    declared: bool = False

    @property
    def rows(self) -> int:
        """How many entries it has now."""
        return self.bindings[0].rows

    @property
    def title(self) -> str:
        """What it is called in messages."""
        of = "" if self.name == "rows" else f" ({self.name})"
        return f"{self.path}{of}"


@dataclass(frozen=True, eq=False)
class Table:
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

    side: Side
    base: Vocabulary | None
    new: Vocabulary
    source: Any
    named: bool
    base_named: bool
    rows: int
    completed: bool
    known_as: str
    stored: dict[int, Stored] = field(default_factory=dict)

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

    def is_same(self, other: "Table") -> bool:
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
class Found:
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

    tables: list[Table] = field(default_factory=list)
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


def recorded_vocabulary(layer: keras.Layer, side: str = "rows") -> Vocabulary | None:
    """What the entries of one side of a layer stand for now, where that is known."""
    if isinstance(layer, WarmStartEmbedding):
        return layer.row_vocabulary
    return _recorded.get(layer, {}).get(side)


def has_moved(layer: keras.Layer) -> bool:
    """Whether a warm start in this process has moved rows of a layer."""
    return layer in _moved


def named_sides(layer: keras.Layer) -> dict[str, bool]:
    """The names of those sides of a plain layer whose vocabulary the user once named."""
    return _named.get(layer, {})


def recorded_sides(layer: keras.Layer) -> list[str]:
    """The names of those sides of a plain layer about which something was recorded."""
    return list(_recorded.get(layer, {}))


def adapted_since(layer: keras.Layer) -> bool:
    """Whether a layer was adapted since it was recorded what its entries stand for."""
    return _adapted.get(layer) != _values_of(layer)


def _values_of(layer: keras.Layer) -> list[bytes]:
    return [tensors.to_numpy(variable).tobytes() for variable in layer.variables]


def used_base(side: Side) -> str | None:
    """The fingerprint of the base that the user named for a side last."""
    return _used_bases.get(side.layer, {}).get(side.name)


def record(table: Table, undo: ExitStack) -> None:
    """Records that the rows of a table stand for its new vocabulary from now on.

    Leaves with `undo` the way back.
    """
    layer = table.layer
    if table.base_named and table.base is not None:
        _put(_used_bases, table.side, table.base.fingerprint, undo)
    if not table.is_current and table.base is not None and layer not in _moved:
        undo.callback(_moved.discard, layer)
        _moved.add(layer)
    if table.named:
        _put(_named, table.side, True, undo)
    if not isinstance(layer, WarmStartEmbedding):
        _put(_recorded, table.side, table.new, undo)
        if hasattr(layer, "adapt"):
            undo.callback(_adapted.__setitem__, layer, _adapted.get(layer))
            _adapted[layer] = _values_of(layer)
        return
    layer.stand_for(table.new, undo)
    if table.named:
        layer.follow(table.source, undo)


def record_lookup(lookup: keras.Layer, vocabulary: Vocabulary, undo: ExitStack) -> None:
    """Records what a lookup layer says now, of whose vectors not all ways are known."""
    side = Side(lookup, lookup.name, "vectors", ())
    _put(_recorded, side, vocabulary, undo)


def _put(
    records: weakref.WeakKeyDictionary, side: Side, value: Any, undo: ExitStack
) -> None:
    layer = side.layer
    if layer in records:
        undo.callback(records.__setitem__, layer, records[layer])
    else:
        undo.callback(records.pop, layer, None)
    records[layer] = {**records.get(layer, {}), side.name: value}
