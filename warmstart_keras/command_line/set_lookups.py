"""Gives the lookup layers of a loaded model the tokens of files."""

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

# A file of tokens, and the layer that it is for; None for a model's only vocabulary.
NamedFile = tuple[str | None, Path]

_Source: TypeAlias = keras.Layer | Path | list[int]


@dataclass(frozen=True, eq=False)
class _Known:
    """An embedding or a lookup layer whose vocabulary is known."""

    path: str  # path of the layer
    layer: keras.Layer
    vocabulary: Vocabulary  # what it stands for now
    is_lookup: bool  # whether it is a lookup layer
    feeding: list[keras.Layer]  # the lookup layers that feed an embedding in the graph
    loose: bool  # whether the graph does not tell what it belongs to

    def goes_with(self, other: "_Known") -> bool:
        """Whether the other one must get a new vocabulary if this one does."""
        if other.layer in self.feeding or self.layer in other.feeding:
            return True
        # In a model that is no graph, a lookup with the same tokens makes the ids.
        may_go = (self.is_lookup or other.is_lookup) and (self.loose or other.loose)
        return may_go and self.vocabulary.same_rows(other.vocabulary)


def layer_named(model: keras.Model, name: str) -> keras.Layer | str:
    """The layer of a path; a name alone is left to `warm_start`, which finds it."""
    paths = {path: layer for path, layer in keras_internals.walk(model) if path}
    return paths.get(name, name)


def set_lookups(
    model: keras.Model, files: list[NamedFile], base_files: list[NamedFile]
) -> tuple[Mapping[keras.Layer | str, _Source] | Path | None, list[keras.Layer]]:
    """Gives the lookup layers of a model their new vocabularies.

    Args:
        model: The model.
        files: The files of new tokens.
        base_files: The files of what rows stand for now.

    Returns:
        The `vocabularies` of `warm_start`, and the lookup layers that were set.
    """
    known = _known_layers(model)
    for name, file in base_files:
        for one in known:
            if not one.is_lookup and name in (None, one.path, one.layer.name):
                raise WarmStartError(
                    "`--base-vocabulary` must be for a layer whose rows the model does "
                    f"not know. Received: '{file}', for layer '{one.path}', which stands "
                    f"for {len(one.vocabulary)} tokens. Leave it out, or name the layer: "
                    "`--base-vocabulary LAYER=FILE`."
                )
    if not known and files[0][0] is None:
        return files[0][1], []
    assigned, others = _assign(model, known, files)
    lookups = {one: file for one, file in assigned.items() if one.is_lookup}
    _check_nothing_is_left(model, known, others, lookups)
    for lookup, file in lookups.items():
        _replace_vocabulary(lookup, file)
    # One object for each file: what has the same source stands for the same.
    sources: dict[Path, Path | list[int]] = {}
    vocabularies: dict[keras.Layer | str, _Source] = {}
    for one, file in assigned.items():
        # Where one lookup layer feeds an embedding, the graph says so.
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
    """The embeddings and lookup layers whose vocabulary is known."""
    found = find_axes(find_sources(model))
    # What lookup layers feed in the graph stands for what these say in the file.
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
        seen.append(lookup)  # the one inside a `TextVectorization` is set through it
    return known


def _assign(
    model: keras.Model, known: list[_Known], files: list[NamedFile]
) -> tuple[dict[_Known, Path], dict[keras.Layer | str, Path]]:
    """The file for each known layer that gets one, and the files for other layers."""
    if files[0][0] is None:
        if len({one.vocabulary.fingerprint for one in known}) > 1:
            listed = [f"{one.path} ({len(one.vocabulary)} tokens)" for one in known]
            raise WarmStartError(
                "`--vocabulary` must name the layer where a model has several "
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
                "A name in `--vocabulary` must be borne by one layer. Received: "
                f"{name!r}, borne by {[one.path for one in named]}. Pass the whole path."
            )
        if not named:
            others[layer_named(model, str(name))] = file
        elif assigned.get(named[0], file) != file:
            raise WarmStartError(
                f"Layer '{named[0].path}' must get one vocabulary, since its tokens are "
                f"those of other layers too. Received: '{assigned[named[0]]}' and "
                f"'{file}'"
            )
        for one in named:  # grows by the layers that go with it
            assigned[one] = file
            named += [o for o in known if o not in named and one.goes_with(o)]
    return {one: assigned[one] for one in known if one in assigned}, others


def _check_nothing_is_left(
    model: keras.Model,
    known: list[_Known],
    others: dict[keras.Layer | str, Path],
    lookups: dict[_Known, Path],
) -> None:
    """Refuses to change ids that go into a table whose vocabulary is not known."""
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
                    f"It must be known what the rows of layer '{path}' stand for, since "
                    f"the ids of lookup layer '{lookup.path}' "
                    f"{'go' if is_fed else 'may go'} into it. Received: a file that does "
                    f"not say it. Say it: `--vocabulary {path}={file} "
                    f"--base-vocabulary {path}=OLD.txt`."
                )


def _replace_vocabulary(one: _Known, file: Path) -> None:
    """Gives a lookup layer the tokens of a file."""
    lookup: keras.Layer = keras_internals.lookup_of(one.layer)
    before = one.vocabulary
    new = read_as(source_of(file, before), before)
    if new.same_rows(before):
        return
    if lookup.output_mode == "tf_idf":
        raise WarmStartError(
            f"Lookup layer '{one.path}' must not weigh its tokens (tf_idf): the weights "
            f"of new ones are in no file of tokens. Received: '{file}'. Adapt the layer "
            "in Python, and call `warm_start(model)`."
        )
    if (new.mask_row, new.oov_rows) != (before.mask_row, before.oov_rows):
        raise WarmStartError(
            f"The file for lookup layer '{one.path}' must have the layer's special rows, "
            f"first and in its order, or none. Received: '{file}', with mask row "
            f"{new.mask_row} and OOV rows {[*new.oov_rows]}; the layer has mask row "
            f"{before.mask_row} and OOV rows {[*before.oov_rows]}"
        )
    lines = [str(word) for word in new.words]
    are_saved = keras_internals.is_saved_as_lines(one.layer)
    if are_saved and "\n".join(lines).splitlines() != lines:
        raise WarmStartError(
            f"Lookup layer '{one.path}' must have tokens without line breaks, since "
            f"Keras saves it as lines, and ends one at U+2028 and its like. Received: "
            f"'{file}', which would come back as other tokens"
        )
    try:
        keras_internals.replace_vocabulary(one.layer, new.words)
    except Exception as error:  # repeated tokens, a fixed size, `max_tokens`, ...
        raise WarmStartError(
            f"Lookup layer '{one.path}' must take the tokens of '{file}'. Received: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error
    if not read(lookup).same_rows(new):
        raise WarmStartError(
            f"Lookup layer '{one.path}' must have the tokens of '{file}' once it got "
            "them. Received: others, as of tokens in an encoding that is not UTF-8"
        )
