"""New vocabularies, read from files, for the lookup layers of a loaded model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import Transaction
from warmstart_keras.command_line.inspect_file import source_of
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import recorded_vocabulary
from warmstart_keras.model import find_axes, find_sources, record_lookup
from warmstart_keras.vocabulary import Vocabulary, read, read_as

# Name of a layer, and its file of tokens. The name is None for the only vocabulary.
NamedFile = tuple[str | None, Path]

_Source: TypeAlias = keras.Layer | Path | list[int]


@dataclass(frozen=True, eq=False)
class _Known:
    """Embedding or lookup layer whose vocabulary is known."""

    path: str  # path of the layer
    layer: keras.Layer
    vocabulary: Vocabulary  # the base vocabulary
    is_lookup: bool  # whether it is a lookup layer
    feeding: list[keras.Layer]  # the lookup layers that feed an embedding in the graph
    loose: bool  # whether the graph does not show which layers it belongs to

    def goes_with(self, other: "_Known") -> bool:
        """Returns whether the other layer must get the same new vocabulary."""
        if other.layer in self.feeding or self.layer in other.feeding:
            return True
        # Without a graph, a lookup layer with the same tokens is assumed to give the ids.
        may_go = (self.is_lookup or other.is_lookup) and (self.loose or other.loose)
        return may_go and self.vocabulary.same_rows(other.vocabulary)


def layer_named(model: keras.Model, name: str) -> keras.Layer | str:
    """Returns the layer at a path, or the name itself, which `warm_start` resolves."""
    paths = {path: layer for path, layer in keras_internals.walk(model) if path}
    return paths.get(name, name)


def set_lookups(
    model: keras.Model, files: list[NamedFile], base_files: list[NamedFile]
) -> tuple[Mapping[keras.Layer | str, _Source] | Path | None, list[keras.Layer]]:
    """Sets the new vocabularies of the lookup layers of a model.

    Args:
        model: A `keras.Model`.
        files: List of the files of new tokens, each with a layer.
        base_files: List of the files of base tokens, each with a layer.

    Returns:
        The argument `vocabularies` for `warm_start`, and the lookup layers that were
        set.
    """
    known = _known_layers(model)
    for name, file in base_files:
        for one in known:
            if not one.is_lookup and name in (None, one.path, one.layer.name):
                raise WarmStartError(
                    "`--base-vocabulary` must be for a layer whose base vocabulary the "
                    f"model does not store. Received: '{file}', for layer '{one.path}', "
                    f"whose {len(one.vocabulary)} tokens are stored. Leave the option "
                    "out, or name another layer: `--base-vocabulary LAYER=FILE`."
                )
    if not known and files[0][0] is None:
        return files[0][1], []
    assigned, others = _assign(model, known, files)
    lookups = {one: file for one, file in assigned.items() if one.is_lookup}
    _check_nothing_is_left(model, known, others, lookups)
    for lookup, file in lookups.items():
        _replace_vocabulary(lookup, file)
    # One object per file, since layers with the same source object share a vocabulary.
    sources: dict[Path, Path | list[int]] = {}
    vocabularies: dict[keras.Layer | str, _Source] = {}
    for one, file in assigned.items():
        # If a single lookup layer feeds an embedding, `warm_start` finds it in the graph.
        if one.is_lookup or len(one.feeding) == 1:
            continue
        followed = [lookup.layer for lookup in lookups if one.goes_with(lookup)]
        if not followed and file not in sources:
            sources[file] = source_of(file, one.vocabulary)
        vocabularies[one.layer] = followed[0] if followed else sources[file]
    for layer, file in others.items():
        followed = [lookup.layer for lookup in lookups if lookups[lookup] == file]
        vocabularies[layer] = followed[0] if followed else sources.setdefault(file, file)
    return vocabularies or None, [lookup.layer for lookup in lookups]


def _known_layers(model: keras.Model) -> list[_Known]:
    """Finds the embeddings and lookup layers whose vocabulary is known."""
    found = find_axes(find_sources(model))
    # In a loaded model, an embedding in the graph stands for the saved vocabulary of the
    # lookup layer that feeds it.
    for axis in found.axes:
        if axis.base is None:
            axis.record(Transaction())
    for lookup in found.sources.watched:
        record_lookup(lookup, Transaction())
    layers = list(keras_internals.walk(model))
    known = []
    for path, layer in layers:
        vocabulary = recorded_vocabulary(layer)
        if isinstance(layer, keras.layers.Embedding) and vocabulary is not None:
            feeding = keras_internals.feeding_lookups(layer)
            known.append(_Known(path, layer, vocabulary, False, feeding, not feeding))
    fed = [lookup for one in known for lookup in one.feeding]
    seen = []
    for path, layer in layers:
        lookup = keras_internals.lookup_of(layer)
        if lookup is not None and layer not in seen and read(layer).has_words:
            loose = layer not in fed and not keras_internals.gives_vectors(layer)
            known.append(_Known(path, layer, read(layer), True, [], loose))
        # The lookup layer inside a `TextVectorization` is set through the outer layer.
        seen.append(lookup)
    return known


def _assign(
    model: keras.Model, known: list[_Known], files: list[NamedFile]
) -> tuple[dict[_Known, Path], dict[keras.Layer | str, Path]]:
    """Assigns files to the known layers, and lists the files for other layers."""
    if files[0][0] is None:
        if len({one.vocabulary.fingerprint for one in known}) > 1:
            listed = [f"{one.path} ({len(one.vocabulary)} tokens)" for one in known]
            raise WarmStartError(
                "`--vocabulary` must name the layer if a model has several "
                f"vocabularies: `--vocabulary LAYER=FILE`. Received: '{files[0][1]}', "
                f"for a model with {listed}"
            )
        return dict.fromkeys(known, files[0][1]), {}
    assigned: dict[_Known, Path] = {}
    others: dict[keras.Layer | str, Path] = {}
    for name, file in files:
        named = [one for one in known if one.path == name]
        named = named or [one for one in known if one.layer.name == name]
        if len(named) > 1:
            raise WarmStartError(
                f"A name in `--vocabulary` must belong to one layer. Received: {name!r}, "
                f"the name of {[one.path for one in named]}. Pass the path instead: "
                f"`--vocabulary {named[0].path}={file}`."
            )
        if not named:
            others[layer_named(model, str(name))] = file
        elif assigned.get(named[0], file) != file:
            raise WarmStartError(
                f"Layer '{named[0].path}' must get one vocabulary, since it shares its "
                f"tokens with other layers. Received: '{assigned[named[0]]}' and "
                f"'{file}'. Pass one file for all of them."
            )
        for one in named:  # the list grows by the layers that go with each layer
            assigned[one] = file
            named += [o for o in known if o not in named and one.goes_with(o)]
    return {one: assigned[one] for one in known if one in assigned}, others


def _check_nothing_is_left(
    model: keras.Model,
    known: list[_Known],
    others: dict[keras.Layer | str, Path],
    lookups: dict[_Known, Path],
) -> None:
    """Refuses to change ids that reach a table whose vocabulary is unknown."""
    named = [*others, *(one.layer for one in known)]
    for path, layer in keras_internals.walk(model):
        if not isinstance(layer, keras.layers.Embedding):
            continue
        if layer in named or layer.name in named:
            continue
        feeding = keras_internals.feeding_lookups(layer)
        for lookup, file in lookups.items():
            is_fed = lookup.layer in feeding
            if is_fed or (lookup.loose and layer.input_dim == len(lookup.vocabulary)):
                raise WarmStartError(
                    f"It is unknown what the rows of layer '{path}' stand for, but the "
                    f"ids of lookup layer '{lookup.path}' "
                    f"{'go' if is_fed else 'may go'} into it. The saved model does not "
                    f"store this vocabulary. Pass it: `--vocabulary {path}={file} "
                    f"--base-vocabulary {path}=OLD.txt`."
                )


def _replace_vocabulary(one: _Known, file: Path) -> None:
    """Sets the vocabulary of a lookup layer to the tokens of a file."""
    lookup: keras.Layer = keras_internals.lookup_of(one.layer)
    before = one.vocabulary
    new = read_as(source_of(file, before), before)
    if new.same_rows(before):
        return
    if lookup.output_mode == "tf_idf":
        raise WarmStartError(
            f"Lookup layer '{one.path}' must not use `output_mode='tf_idf'`, since a "
            f"file of tokens does not contain the weights. Received: '{file}'. In "
            "Python, call `adapt` on the layer, and then `warm_start(model)`."
        )
    if (new.mask_row, new.oov_rows) != (before.mask_row, before.oov_rows):
        raise WarmStartError(
            f"The file for lookup layer '{one.path}' must have the layer's special rows "
            f"at the start and in the same order, or no special rows. Received: "
            f"'{file}', with mask row {new.mask_row} and OOV rows {[*new.oov_rows]}. The "
            f"layer has mask row {before.mask_row} and OOV rows {[*before.oov_rows]}"
        )
    lines = [str(word) for word in new.words]
    are_saved = keras_internals.is_saved_as_lines(one.layer)
    if are_saved and "\n".join(lines).splitlines() != lines:
        raise WarmStartError(
            f"Lookup layer '{one.path}' must have tokens without line breaks, including "
            f"Unicode ones such as U+2028, since Keras saves one token per line. "
            f"Received: '{file}', whose tokens would change when the model is loaded"
        )
    try:
        keras_internals.replace_vocabulary(one.layer, new.words)
    except Exception as error:  # repeated tokens, a fixed size, `max_tokens`, ...
        raise WarmStartError(
            f"Lookup layer '{one.path}' does not accept the tokens of '{file}'. "
            f"Received: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    if not read(lookup).same_rows(new):
        raise WarmStartError(
            f"Lookup layer '{one.path}' has changed the tokens of '{file}'. This happens "
            "if its encoding is not UTF-8. Set its vocabulary in Python, and call "
            "`warm_start(model)`."
        )
