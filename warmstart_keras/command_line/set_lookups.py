"""The lookup layers of a loaded model, and the tokens of files that they are given."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import Transaction
from warmstart_keras.command_line.inspect_file import source_of
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import recorded_vocabulary
from warmstart_keras.model import find_axes, find_sources, record_lookup
from warmstart_keras.vocabulary import Vocabulary, read, read_as


@dataclass(eq=False)
class _Known:
    """A layer of a model of which it is known what it stands for.

    Attributes:
        path: Path of the layer.
        layer: An embedding or a lookup layer.
        vocabulary: What it stands for now.
        feeding: Of an embedding the lookup layers that feed it in the graph; None of a
            lookup layer.
        loose: Whether the graph does not tell what it belongs to.
        file: The file of its new vocabulary; None where it stays.
    """

    path: str
    layer: Any
    vocabulary: Vocabulary
    feeding: list[Any] | None = None
    loose: bool = False
    file: Path | None = None

    def goes_with(self, other: "_Known") -> bool:
        """Whether the other one must get a new vocabulary if this one does."""
        for one, two in ((self, other), (other, self)):
            if one.feeding is not None and any(two.layer is f for f in one.feeding):
                return True
        # In a model that is no graph, a lookup with the same tokens makes the ids.
        has_lookup = self.feeding is None or other.feeding is None
        apart = self.loose or other.loose
        return has_lookup and apart and self.vocabulary.same_rows(other.vocabulary)


@dataclass
class Sources:
    """What the vocabularies of a model shall be read from.

    Attributes:
        vocabularies: As of `warm_start`; of a model's only embedding a file alone.
        lookups: Those that got a new vocabulary.
    """

    vocabularies: dict[Any, Any] | Path = field(default_factory=dict)
    lookups: list[Any] = field(default_factory=list)


@contextmanager
def no_warnings() -> Iterator[list[Any]]:
    """Collects the texts of warnings."""
    texts: list[Any] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield texts
        finally:
            texts += [warning.message for warning in caught]


def layer_named(model: Any, name: str) -> Any:
    """The layer of a path; a name alone is left to `warm_start`, which finds it."""
    paths = {path: layer for path, layer in keras_internals.walk(model) if path}
    return paths.get(name, name)


def _known_layers(model: Any) -> list[_Known]:
    """The embeddings and lookup layers of which it is known what they stand for."""
    with no_warnings():
        found = find_axes(find_sources(model))
    # What lookup layers feed in the graph stands for what these say in the file.
    for axis in found.axes:
        if axis.base is None:
            axis.record(Transaction())
    for lookup in found.sources.watched:
        record_lookup(lookup, Transaction())
    layers = list(keras_internals.walk(model))
    works = [(p, each, keras_internals.lookup_of(each)) for p, each in layers]
    # Those inside a `TextVectorization` are set through it.
    inside = {id(does_work) for _, each, does_work in works if does_work is not each}
    lookups = {
        p: each for p, each, does in works if does is not None and id(each) not in inside
    }
    known = []
    fed: list[Any] = []
    for path, layer in layers:
        vocabulary = recorded_vocabulary(layer)
        if isinstance(layer, keras.layers.Embedding) and vocabulary is not None:
            feeding = keras_internals.feeding_lookups(layer)
            fed += feeding
            known.append(_Known(path, layer, vocabulary, feeding, loose=not feeding))
    for path, layer in lookups.items():
        vocabulary = read(layer)
        if vocabulary.has_words:
            is_loose = not any(layer is one for one in fed)
            is_loose = is_loose and not keras_internals.gives_vectors(layer)
            known.append(_Known(path, layer, vocabulary, None, is_loose))
    return known


def with_new_lookups(
    model: Any,
    files: list[tuple[str | None, Path]],
    base_files: list[tuple[str | None, Path]],
) -> Sources:
    """Gives the lookup layers of a model their new vocabularies.

    Args:
        model: The model.
        files: The name of a layer, or None for the model's only vocabulary, and the file
            of its new tokens.
        base_files: The same for what rows stand for now.

    Raises:
        WarmStartError: If a name does not fit the model, a base is given for what the
            model knows, or a lookup layer cannot have the vocabulary of a file.
    """
    known = _known_layers(model)
    for name, file in base_files:
        for one in known:
            if one.feeding is not None and name in (None, one.path, one.layer.name):
                raise WarmStartError(
                    "`--base-vocabulary` must be for a layer whose rows the model does "
                    f"not know. Received: '{file}', for layer '{one.path}', which stands "
                    f"for {len(one.vocabulary)} tokens. Leave it out, or name the layer: "
                    "`--base-vocabulary LAYER=FILE`."
                )
    if not known and files[0][0] is None:
        return Sources(files[0][1])
    others = _assign(model, known, files)
    lookups = [one for one in known if one.file is not None and one.feeding is None]
    _check_nothing_is_left(model, known, others, lookups)
    for lookup in lookups:
        _replace_vocabulary(lookup)
    plain: dict[Path, Any] = {}
    vocabularies: dict[Any, Any] = {}
    for one in known:
        # Where one lookup layer feeds an embedding, the graph says so.
        if one.file is None or one.feeding is None or len(one.feeding) == 1:
            continue
        made = [lookup.layer for lookup in lookups if one.goes_with(lookup)]
        if not made and one.file not in plain:
            plain[one.file] = source_of(one.file, one.vocabulary)
        vocabularies[one.layer] = made[0] if made else plain[one.file]
    for layer, file in others.items():
        made = [lookup.layer for lookup in lookups if lookup.file == file]
        # One object: what has the same source as an embedding stands for the same.
        vocabularies[layer] = made[0] if made else plain.setdefault(file, file)
    return Sources(vocabularies, [lookup.layer for lookup in lookups])


def _assign(
    model: Any, known: list[_Known], files: list[tuple[str | None, Path]]
) -> dict[Any, Path]:
    """Says of each known layer which file is meant for it; gives those for others."""
    if files[0][0] is None:
        if len({one.vocabulary.fingerprint for one in known}) > 1:
            listed = [f"{one.path} ({len(one.vocabulary)} tokens)" for one in known]
            raise WarmStartError(
                "`--vocabulary` must name the layer where a model has several "
                f"vocabularies: `--vocabulary LAYER=FILE`. Received: '{files[0][1]}', "
                f"for a model with {listed}"
            )
        for one in known:
            one.file = files[0][1]
        return {}
    others: dict[Any, Path] = {}
    for name, file in files:
        meant = [one for one in known if one.path == name]
        meant = meant or [one for one in known if one.layer.name == name]
        if len(meant) > 1:
            raise WarmStartError(
                "A name in `--vocabulary` must be borne by one layer. Received: "
                f"{name!r}, borne by {[one.path for one in meant]}. Pass the whole path."
            )
        if meant:
            _give(meant[0], file, known)
        else:
            others[layer_named(model, str(name))] = file
    return others


def _give(one: _Known, file: Path, known: list[_Known]) -> None:
    """Says that a file is for a layer, and for those that must go with it."""
    if one.file not in (None, file):
        raise WarmStartError(
            f"Layer '{one.path}' must get one vocabulary, since its tokens are those of "
            f"other layers too. Received: '{one.file}' and '{file}'"
        )
    if one.file is None:
        one.file = file
        for other in known:
            if one.goes_with(other):
                _give(other, file, known)


def _check_nothing_is_left(
    model: Any, known: list[_Known], others: dict[Any, Path], lookups: list[_Known]
) -> None:
    """Refuses to change ids that go into a table of which not enough is known."""
    looked_at = [one.layer for one in known]
    for path, layer in keras_internals.walk(model):
        is_left = isinstance(layer, keras.layers.Embedding) and layer not in looked_at
        if not is_left or layer in others or layer.name in others:
            continue
        feeding = keras_internals.feeding_lookups(layer)
        for lookup in lookups:
            is_fed = any(lookup.layer is one for one in feeding)
            may_be = lookup.loose and layer.input_dim == len(lookup.vocabulary)
            if is_fed or may_be:
                raise WarmStartError(
                    f"It must be known what the rows of layer '{path}' stand for, since "
                    f"the ids of lookup layer '{lookup.path}' "
                    f"{'go' if is_fed else 'may go'} into it. Received: a file that does "
                    f"not say it. Say it: `--vocabulary {path}={lookup.file} "
                    f"--base-vocabulary {path}=OLD.txt`."
                )


def _replace_vocabulary(one: _Known) -> None:
    """Gives a lookup layer the tokens of its file.

    Raises:
        WarmStartError: If it cannot have them, or could not be loaded with them.
    """
    lookup: Any = keras_internals.lookup_of(one.layer)
    file = one.file
    assert file is not None
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
    words = new.words
    if keras_internals.is_saved_as_lines(one.layer) and _lines_read(words) != words:
        raise WarmStartError(
            f"Lookup layer '{one.path}' must have tokens without line breaks, since "
            f"Keras saves it as lines, and ends one at U+2028 and its like. Received: "
            f"'{file}', which would come back as other tokens"
        )
    try:
        keras_internals.replace_vocabulary(one.layer, words)
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


def _lines_read(words: list) -> list:
    """What Keras reads of a file of these lines (V4)."""
    text = "\n".join(map(str, words)).replace("\r\n", "\n").replace("\r", "\n")
    lines = text.splitlines()
    while lines and lines[-1] == "":
        lines.pop()
    return lines if not words or isinstance(words[0], str) else [int(x) for x in lines]
