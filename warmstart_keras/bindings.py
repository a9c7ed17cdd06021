"""Which variables of a model have which vocabulary along which axis."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.embedding import WarmStartEmbedding
from warmstart_keras.errors import WarmStartError
from warmstart_keras.vocabulary import Vocabulary
from warmstart_keras.vocabulary_sources import read, read_as

# What the rows of plain layers stand for, as last recorded in this process. Keras has no
# place for it in the layer; `WarmStartEmbedding` has.
_recorded: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


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
        named: Whether the user named the layer.
        rows: How many rows there shall be.
        completed: Whether special rows of the base were added to what was read.
    """

    binding: Binding
    base: Vocabulary | None
    new: Vocabulary
    source: Any
    named: bool
    rows: int
    completed: bool = False

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
        assigned = getattr(self.binding.layer, "assigned_by_hand", False)
        return self.base is not None and self.base.same_rows(self.new) and not assigned


@dataclass
class Found:
    """What was found in a model: tables, and layers that cannot be warm-started now."""

    tables: list[Table] = field(default_factory=list)
    unbuilt: list[str] = field(default_factory=list)
    sourceless: list[str] = field(default_factory=list)


def recorded_vocabulary(layer: keras.Layer) -> Vocabulary | None:
    """What the rows of a layer stand for now, where that is known."""
    if isinstance(layer, WarmStartEmbedding):
        return layer.row_vocabulary
    return _recorded.get(layer)


def record_vocabulary(
    layer: keras.Layer, vocabulary: Vocabulary, source: Any = None
) -> Callable[[], None]:
    """Records what the rows of a layer stand for from now on, and where that was read.

    Returns what takes that back.
    """
    if isinstance(layer, WarmStartEmbedding):
        return layer.stand_for(vocabulary, source)
    before = _recorded.get(layer)

    def undo() -> None:
        if before is None:
            _recorded.pop(layer, None)
        else:
            _recorded[layer] = before

    _recorded[layer] = vocabulary
    return undo


def find_tables(
    model: keras.Layer, vocabularies: Any = None, base_vocabularies: Any = None
) -> Found:
    """All tables of a model whose source is known.

    Args:
        model: A model, or a layer alone.
        vocabularies: A mapping from a layer or its name to a source, or one source.
        base_vocabularies: What the rows stand for now, likewise.

    Raises:
        WarmStartError: If a name is unknown or borne by two layers, a layer has no
            vocabulary axis, or a vocabulary does not fit the rows.
    """
    embeddings = {
        layer: path
        for path, layer in keras_internals.walk(model)
        if isinstance(layer, keras.layers.Embedding)
    }
    given = _by_layer(model, embeddings, vocabularies, "vocabularies")
    bases = _by_layer(model, embeddings, base_vocabularies, "base_vocabularies")
    lookups = {
        id(layer)
        for _, layer in keras_internals.walk(model)
        if keras_internals.lookup_of(layer) is not None
    }
    found = Found()
    seen = set()
    for layer, path in embeddings.items():
        source = given.get(layer)
        if source is None:
            source = _source_in_model(layer, lookups)
        if source is None and layer in bases:
            raise WarmStartError(
                f"A layer in `base_vocabularies` must have a source for what its rows "
                f"shall stand for. Received: layer '{path}', which no lookup layer "
                f"feeds. Name one: `vocabularies={{'{layer.name}': ...}}`."
            )
        if source is None:
            if isinstance(layer, WarmStartEmbedding):
                found.sourceless.append(path)
            continue
        if not layer.built:
            if layer in bases or layer in given:
                found.unbuilt.append(path)
            continue
        variable = next(v for v in layer.weights if v.name == "embeddings")
        if id(variable) in seen:
            continue  # shared between layers: moved once
        seen.add(id(variable))
        base = recorded_vocabulary(layer)
        if layer in bases:
            base = read(bases[layer])
        binding = Binding(layer, path, variable)
        found.tables.append(
            _table(binding, base, _followed(source, given), layer in given)
        )
    return found


def _table(binding: Binding, base: Vocabulary | None, source: Any, named: bool) -> Table:
    """A table whose vocabularies fit its rows."""
    new = read_as(source, base)
    rows = binding.rows
    follows = getattr(binding.layer, "follows_vocabulary", None)
    if base is not None and (len(base) > rows or (follows and len(base) != rows)):
        raise WarmStartError(
            f"The base vocabulary of layer '{binding.path}' must have a token for each "
            f"of its {rows} rows. Received: {len(base)} tokens. Pass what these very "
            f"rows stand for: `base_vocabularies={{'{binding.layer.name}': ...}}`."
        )
    if follows is None:
        lookup = keras_internals.lookup_of(source)
        limited = lookup is not None and lookup.max_tokens == rows
        follows = base is not None and len(base) == rows and not limited
    if base is None and follows and len(new) != rows:
        raise WarmStartError(
            f"The rows of layer '{binding.path}' stand for no known vocabulary, and "
            f"today's does not fit them. Received: {len(new)} tokens, {rows} rows. Say "
            "what the rows stand for: "
            f"`base_vocabularies={{'{binding.layer.name}': ...}}`."
        )
    if not follows and len(new) > rows:
        raise WarmStartError(
            f"The vocabulary of layer '{binding.path}' must fit its {rows} rows. "
            f"Received: {len(new)} tokens. Raise `input_dim`, limit the vocabulary "
            "(`max_tokens`), or use `WarmStartEmbedding(vocabulary=...)` without "
            "`input_dim`, which follows the vocabulary's size"
            + (
                "; or say what the rows stand for now: "
                f"`base_vocabularies={{'{binding.layer.name}': ...}}`."
                if base is None
                else "."
            )
        )
    completed = base is not None and len(read(source)) < len(new)
    rows = len(new) if follows else rows
    return Table(binding, base, new, source, named, rows, completed)


def _source_in_model(layer: keras.Layer, lookups: set[int]) -> Any | None:
    """The source that the layer itself knows, or the lookup of the model feeding it."""
    if isinstance(layer, WarmStartEmbedding):
        return layer.vocabulary_source
    feeding = keras_internals.feeding_operation(layer)
    lookup = keras_internals.lookup_of(feeding)
    if lookup is None or id(feeding) not in lookups:
        return None
    return feeding if lookup.output_mode == "int" and not lookup.invert else None


def _followed(source: Any, given: dict) -> Any:
    """The source at the end of a chain of layers that follow one another."""
    while isinstance(source, WarmStartEmbedding):
        further = given.get(source)
        if further is None:
            further = source.vocabulary_source
        if further is None:
            break
        source = further
    return source


def _by_layer(
    model: keras.Layer, embeddings: dict[keras.Layer, str], given: Any, argument: str
) -> dict[keras.Layer, Any]:
    """What the user gave, by layer object."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or _is_token_mapping(given):
        if len(embeddings) != 1:
            raise WarmStartError(
                f"`{argument}` must name the layer where a model has not exactly one "
                "embedding: a mapping from a layer or its name to a source. Received: "
                f"{type(given).__name__}, for a model with {_named(embeddings)}"
            )
        return {next(iter(embeddings)): given}
    return {
        _layer_of(model, embeddings, key, argument): source
        for key, source in given.items()
    }


def _is_token_mapping(given: Mapping) -> bool:
    """Whether a mapping is from token to row, and not from layer to source."""
    return bool(given) and all(isinstance(value, int) for value in given.values())


def _layer_of(
    model: keras.Layer, embeddings: dict[keras.Layer, str], key: Any, argument: str
) -> keras.Layer:
    layers = list(keras_internals.walk(model))
    if isinstance(key, str):
        matches = [(path, layer) for path, layer in layers if layer.name == key]
        if len(matches) > 1:
            raise WarmStartError(
                f"A name in `{argument}` must be borne by one layer. Received: {key!r}, "
                f"borne by {[path for path, _ in matches]}. Pass the layer object "
                "itself as the key."
            )
    else:
        matches = [(path, layer) for path, layer in layers if layer is key]
    if not matches:
        raise WarmStartError(
            f"`{argument}` must name layers of the model. Received: {key!r}. The model "
            f"has {_named(embeddings)}."
        )
    ((path, layer),) = matches
    if layer not in embeddings:
        raise WarmStartError(
            f"`{argument}` must name layers with one row per token. Received: '{path}' "
            f"of type {type(layer).__name__}. The model has {_named(embeddings)}."
        )
    return layer


def _named(embeddings: dict[keras.Layer, str]) -> str:
    names = [path or layer.name for layer, path in embeddings.items()]
    return f"the embedding layers {names}" if names else "no embedding layer"
