"""What the rows of a layer stand for: known, watched, saved and loaded with it."""

import os
import warnings
from collections.abc import MutableMapping
from dataclasses import dataclass, replace

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import Transaction, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import Key
from warmstart_keras.vocabulary import Token, Vocabulary, VocabularySource, read

_ASSET_NAME = "vocabulary.bin"


@keras_internals.untraced
def _same_rows(one: Vocabulary, other: Vocabulary) -> bool:
    return one.same_rows(other)


class _Untracked:
    """Holds what a layer must not take for a part of itself."""

    def __init__(self, value: object) -> None:
        self.value = value


@dataclass(frozen=True)
class _Rows:
    """What a layer knows of its rows."""

    vocabulary: Vocabulary | None = None  # what they stand for now; None where not known
    # What the optimizer's slots stand for, after a matrix was assigned by hand.
    slots: Vocabulary | None = None
    # Digest of a matrix that was assigned by hand since rows and slots last agreed.
    assigned: str | None = None
    # What optimizers knew the table by before it was resized by hand.
    former_key: Key = None
    resized: bool = False  # whether it was resized by hand, and nobody was warned yet
    # Whether they were loaded since it was recorded what they stand for.
    loaded: bool = False
    compared: Vocabulary | None = None  # what the source said when last looked at


class RowVocabulary:
    """The part of a layer that knows which token each of its rows stands for.

    To be mixed into an embedding layer, before its Keras class.
    """

    # Of the layer that this is mixed into.
    name: str
    built: bool
    input_dim: int | None
    embeddings: keras.Variable
    follows_vocabulary: bool

    def _know_nothing(self, source: VocabularySource | None) -> None:
        """How a layer starts; `source` is where its vocabulary will be read, or None."""
        self._source = _Untracked(source)
        self._rows = _Rows()
        self._refused: WarmStartError | None = None  # why a file was not loaded

    @property
    def row_vocabulary(self) -> Vocabulary | None:
        """The `Vocabulary` that the rows stand for now; None where not known."""
        return self._rows.vocabulary

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Token]:
        """The tokens that the rows stand for now, in the order of the rows.

        They differ from the source's after the source was rebuilt, until the warm
        start. Spare rows are left out.

        Args:
            include_special_tokens: Whether mask and OOV tokens are among them.

        Returns:
            List of tokens.

        Raises:
            WarmStartError: If it is not known what the rows stand for.
        """
        if self._rows.vocabulary is None:
            raise WarmStartError(
                f"The rows of layer '{self.name}' must stand for a known vocabulary "
                "before it can be asked for. Received: a layer that is "
                f"{'a clone, or has no source' if self.built else 'not built'}. "
                "Build the layer with `vocabulary=`, or name what the rows stand for: "
                f"`warm_start(model, base_vocabularies={{'{self.name}': tokens}})`."
            )
        return self._rows.vocabulary.get_vocabulary(include_special_tokens)

    @property
    def vocabulary_source(self) -> VocabularySource | None:
        """Where the layer reads its vocabulary; None where that is not certain.

        The `vocabulary=` that was given, else the one lookup layer that feeds this
        layer in a model's graph.
        """
        if self._source.value is not None:
            return self._source.value
        lookups = keras_internals.feeding_lookups(self)
        return lookups[0] if len(lookups) == 1 else None

    def follow(self, source: VocabularySource | None, transaction: Transaction) -> None:
        """Makes `source` the one where the layer reads its vocabulary."""
        transaction.set_attribute(self, "_source", _Untracked(source))

    def stand_for(self, vocabulary: Vocabulary, transaction: Transaction) -> None:
        """Records that rows and slots stand for `vocabulary`."""
        rows = _Rows(vocabulary, compared=vocabulary)
        transaction.set_attribute(self, "_rows", rows)

    @property
    def loaded_since(self) -> bool:
        """Whether a file was loaded since it was recorded what the rows stand for."""
        return self._rows.loaded

    # --- the recipe of Keras 2.15: `layer.embeddings = matrix` ---

    def _stand_for_assigned(
        self, vocabulary: Vocabulary | None, former_key: Key, resized: bool
    ) -> None:
        """Records that rows, but not the optimizer's slots, stand for `vocabulary`.

        The slots still follow the tokens of before. They are carried at the next warm
        start, if no step has trained the assigned rows by then.
        """
        before = self._rows
        self._rows = replace(
            before,
            vocabulary=vocabulary,
            slots=before.slots or before.vocabulary,
            assigned=self._digest(),
            former_key=before.former_key or former_key,
            resized=before.resized or resized,
        )

    @property
    def assigned_by_hand(self) -> bool:
        """Whether `embeddings` was assigned since rows and slots last agreed."""
        return self._rows.assigned is not None

    @property
    def former_key(self) -> Key:
        """What optimizers knew the table by before it was resized by hand, or None."""
        return self._rows.former_key

    def slot_vocabulary(self) -> Vocabulary | None:
        """What the optimizer's slots of this layer stand for; None where not known."""
        if self._rows.assigned is None:
            return self._rows.vocabulary
        return self._rows.slots if self._rows.assigned == self._digest() else None

    def _digest(self) -> str:
        return tensors.digest(self.embeddings)

    # --- the guard ---

    def _warn_if_rebuilt(self) -> None:
        """Warns, once for each rebuild, that rows stand for other tokens than ids do."""
        if self._rows.resized and not keras_internals.in_symbolic_call():
            self._rows = replace(self._rows, resized=False)
            warnings.warn(
                f"Layer '{self.name}' was given a matrix with another number of rows: "
                "optimizer and compiled functions still hold the old one. Call "
                "`warmstart_keras.warm_start(model)`, `model.fit(..., "
                "callbacks=[VocabularyWarmStart()])`, or `model.compile(...)` again.",
                stacklevel=3,
            )
        source = self.vocabulary_source
        known = self._rows.vocabulary
        if known is None or not self._is_watched(source):
            return
        vocabulary = read(source)
        if vocabulary is self._rows.compared or keras_internals.in_symbolic_call():
            return
        self._rows = replace(self._rows, compared=vocabulary)
        if not _same_rows(vocabulary, known):
            warnings.warn(
                f"The vocabulary of layer '{self.name}' was rebuilt, but its rows still "
                f"stand for the old tokens ({len(known)} then, "
                f"{len(vocabulary)} now): ids and rows do not agree. Call "
                "`warmstart_keras.warm_start(model)`, or "
                "`model.fit(..., callbacks=[VocabularyWarmStart()])`.",
                stacklevel=3,
            )

    @staticmethod
    def _is_watched(source: VocabularySource | None) -> bool:
        """Whether a rebuild of `source` can be seen at every call, at no cost."""
        return keras_internals.lookup_of(source) is not None or isinstance(
            source, RowVocabulary
        )

    # --- saving, loading ---

    def save_own_variables(self, store: MutableMapping) -> None:
        """Saves the weights, and beside them the vocabulary that they stand for."""
        super().save_own_variables(store)  # type: ignore[misc]
        if self.built and self._rows.vocabulary is not None:
            data = self._rows.vocabulary.to_bytes()
            store[VOCABULARY_KEY] = np.frombuffer(data, dtype=np.uint8)

    def load_own_variables(self, store: MutableMapping) -> None:
        """Takes over the weights of a file, and the tokens that they stand for."""
        keys = set(store.keys())
        if not keys and self._refused is not None:
            raise self._refused  # in a subclassed model Keras asks twice
        self._refused = None
        # A plain `Embedding` counts the keys, and refuses one too many.
        weights = {key: store[key] for key in keys - {VOCABULARY_KEY}}
        vocabulary = self._rows.vocabulary
        if VOCABULARY_KEY in keys:
            data = np.asarray(store[VOCABULARY_KEY][()], np.uint8)
            vocabulary = Vocabulary.from_bytes(data.tobytes())
        if "0" in weights:
            try:
                self._check_stored(tuple(weights["0"].shape), vocabulary)
            except WarmStartError as error:
                self._refused = error
                raise
        super().load_own_variables(weights)  # type: ignore[misc]
        if vocabulary is not None:
            self._rows = _Rows(vocabulary, loaded=True)

    def _check_stored(self, shape: tuple, vocabulary: Vocabulary | None) -> None:
        """Refuses rows that are not this layer's, before anything is taken over."""
        if not self.built:
            return
        if shape[0] != self.input_dim:
            raise WarmStartError(
                f"Layer '{self.name}' has {self.input_dim} rows, and loading never "
                f"remaps. Received: a file with {shape[0]} rows. Start from the file "
                "instead of loading it: `warmstart_keras.warm_start(model, "
                "previous=path)`, or `VocabularyWarmStart(previous=path)` in `fit`, "
                "which moves every row to its token's new place. If it is a backup of "
                "`BackupAndRestore`, of an older vocabulary, delete it."
            )
        if vocabulary is not None and (
            len(vocabulary) > shape[0]
            or (self.follows_vocabulary and len(vocabulary) < shape[0])
        ):
            raise WarmStartError(
                f"The stored vocabulary of layer '{self.name}' must have a token for "
                f"each row. Received: {len(vocabulary)} tokens, {shape[0]} rows"
            )

    def save_assets(self, dir_path: str) -> None:
        """Saves the vocabulary once more, for formats that keep weights alone."""
        if self._rows.vocabulary is not None:
            with open(os.path.join(dir_path, _ASSET_NAME), "wb") as file:
                file.write(self._rows.vocabulary.to_bytes())

    def load_assets(self, dir_path: str) -> None:
        """Takes over the vocabulary of an archive."""
        path = os.path.join(dir_path, _ASSET_NAME)
        if os.path.exists(path):
            with open(path, "rb") as file:
                vocabulary = Vocabulary.from_bytes(file.read())
            self._check_stored((self.input_dim,), vocabulary)
            self._rows = _Rows(vocabulary)


VOCABULARY_KEY = "vocabulary"  # what an embedding of ours saves beside its weights
