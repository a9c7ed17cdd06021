"""The tables of a model, with what their rows stand for, and what they shall."""

from collections.abc import Collection
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.bindings import (
    Binding,
    Found,
    Table,
    recorded_vocabulary,
    used_base,
)
from warmstart_keras.embedding import WarmStartEmbedding
from warmstart_keras.errors import WarmStartError
from warmstart_keras.named_layers import by_layer
from warmstart_keras.saved_layers import Stored
from warmstart_keras.vocabulary import Vocabulary
from warmstart_keras.vocabulary_sources import is_plain, read, read_as


def find_tables(
    model: keras.Layer,
    vocabularies: Any = None,
    base_vocabularies: Any = None,
    without_base: Collection[keras.Layer] = (),
    arrivals: Any = None,
) -> Found:
    """All tables of a model whose source is known.

    Args:
        model: A model, or a layer alone.
        vocabularies: A mapping from a layer or its name to a source, or one source.
        base_vocabularies: What the rows stand for now, likewise.
        without_base: Layers for which `base_vocabularies` no longer holds.
        arrivals: The `Arrivals` of a previous run, if there is one.

    Raises:
        WarmStartError: If a name is unknown or borne by two layers, a layer has no
            vocabulary axis, or a vocabulary does not fit the rows.
    """
    layers = list(keras_internals.walk(model))
    embeddings = {
        layer: path or layer.name
        for path, layer in layers
        if isinstance(layer, keras.layers.Embedding)
    }
    given = by_layer(layers, embeddings, vocabularies, "vocabularies")
    bases = by_layer(layers, embeddings, base_vocabularies, "base_vocabularies")
    bases = {layer: base for layer, base in bases.items() if layer not in without_base}
    lookups = {
        id(layer) for _, layer in layers if keras_internals.lookup_of(layer) is not None
    }
    found = Found()
    seen = set()
    for layer, path in embeddings.items():
        source = given.get(layer)
        if source is None:
            source = _source_in_model(layer, lookups)
        arrives = arrivals is not None and arrivals.has(layer)
        if source is None and arrives:
            source = _known_alone(layer, path, arrivals)
        if source is None and layer in bases:
            raise WarmStartError(
                f"A layer in `base_vocabularies` must have a source for what its rows "
                f"shall stand for. Received: layer '{path}', which no lookup layer "
                f"feeds. Name one: `vocabularies={{'{layer.name}': ...}}`."
            )
        if source is None:
            # A plain layer that was never named may well have no vocabulary.
            ours = isinstance(layer, WarmStartEmbedding)
            if ours or recorded_vocabulary(layer) is not None:
                found.sourceless.append(path)
            continue
        if not layer.built:
            if layer in bases or layer in given:
                found.unbuilt[layer] = source
            continue
        variable = keras_internals.embeddings_variable(layer)
        if id(variable) in seen:
            continue  # shared between layers: moved once
        seen.add(id(variable))
        binding = Binding(layer, path, variable)
        source = _followed(source, given)
        if arrives:
            base = arrivals.vocabulary(layer, bases.get(layer), source)
            stored, name = arrivals.rows(layer), arrivals.name(layer)
            found.tables.append(
                _table(binding, base, source, layer in given, False, stored, name)
            )
            continue
        base = recorded_vocabulary(layer)
        if layer in bases and arrivals is None:
            base = _named_base(binding, base, bases[layer], source)
        found.tables.append(_table(binding, base, source, layer in given, layer in bases))
    return found


def _known_alone(layer: keras.Layer, path: str, arrivals: Any) -> Vocabulary | None:
    """What the rows of a layer without a source stand for, if it has a vocabulary."""
    known = recorded_vocabulary(layer)
    if known is None and (
        isinstance(layer, WarmStartEmbedding) or arrivals.knows_vocabulary(layer)
    ):
        raise WarmStartError(
            f"It must be known what the rows of layer '{path}' shall stand for, since "
            f"they had a vocabulary in {arrivals.previous.name}. Received: a layer that "
            f"no lookup layer feeds. Name one: `vocabularies={{'{layer.name}': ...}}`."
        )
    return known


def _named_base(
    binding: Binding, recorded: Vocabulary | None, given: Any, source: Any
) -> Vocabulary:
    """What the user says that the rows stand for, where that can be so."""
    path = binding.path
    base = as_given(given, source, binding.rows, path)
    used = used_base(binding.layer)
    if recorded is not None and used == base.fingerprint and not recorded.same_rows(base):
        raise WarmStartError(
            f"`base_vocabularies` must say what the rows of layer '{path}' stand for "
            "now. Received: the vocabulary that they were moved from before; by now they "
            f"stand for {recorded!r}. Leave it out: it is needed only once."
        )
    return base


def as_given(given: Any, source: Any, rows: int, path: str) -> Vocabulary:
    """What the user says that `rows` rows stand for, special rows included.

    Raises:
        WarmStartError: If it is not certain whether special rows are missing.
    """
    base = read(given)
    if not is_plain(given):
        return base
    specials = read(source).special_rows
    if base.special_rows and (
        len(base) >= rows or len(base.special_rows) >= len(specials)
    ):
        return base
    if not base.special_rows:
        # Names of special rows other than "" and "[UNK]" are known to the source alone.
        named = read_as(given, read(source))
        if len(named) == len(base):
            return named
    if len(base) < rows:
        raise WarmStartError(
            f"The base vocabulary of layer '{path}' must say whether its rows begin with "
            f"mask and OOV rows. Received: {len(base)} tokens, {len(base.special_rows)} "
            f"of them special, for {rows} rows, where the new vocabulary has "
            f"{len(specials)} special ones. Pass all entries, "
            "as `get_vocabulary()` gives them, or `Vocabulary(tokens, mask=..., "
            "oov=...)`."
        )
    return base


def _table(
    binding: Binding,
    base: Vocabulary | None,
    source: Any,
    named: bool,
    base_named: bool,
    stored: Stored | None = None,
    known_as: str | None = None,
) -> Table:
    """A table whose vocabularies fit its rows."""
    new = read_as(source, base)
    rows, path = binding.rows, binding.path
    follows = getattr(binding.layer, "follows_vocabulary", None)
    cure = f"`base_vocabularies={{'{binding.layer.name}': old_tokens}}`"
    old = rows if stored is None else stored.shape[0]
    if base is not None and (
        len(base) > old or (follows and stored is None and len(base) != old)
    ):
        raise WarmStartError(
            f"The base vocabulary of layer '{path}' must have a token for each of its "
            f"{old} rows. Received: {len(base)} tokens. Pass what these very rows stand "
            f"for: {cure}."
        )
    if follows is None and stored is not None:
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
    if not follows and len(new) > rows:
        raise WarmStartError(
            f"The vocabulary of layer '{path}' must fit its {rows} rows. Received: "
            f"{len(new)} tokens. Raise `input_dim` in a new model, limit the vocabulary "
            "(`max_tokens`), or use `WarmStartEmbedding(vocabulary=...)` without "
            "`input_dim`, which follows the vocabulary's size."
        )
    completed = base is not None and len(read(source)) < len(new)
    return Table(
        binding=binding,
        base=base,
        new=new,
        source=source,
        named=named,
        base_named=base_named,
        rows=len(new) if follows else rows,
        completed=completed,
        known_as=known_as or binding.layer.name,
        stored=stored,
    )


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


def _followed(source: Any, given: dict) -> Any:
    """The source at the end of a chain of layers that follow one another."""
    seen: list = []
    while isinstance(source, WarmStartEmbedding) and not any(source is s for s in seen):
        seen.append(source)
        further = given.get(source)
        if further is None:
            further = source.vocabulary_source
        if further is None:
            break
        source = further
    return source
