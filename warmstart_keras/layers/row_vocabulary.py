"""Vocabulary of a layer's rows: recorded, checked for rebuilds, saved and loaded."""

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
    """Holder of a value that Keras must not track as a part of the layer."""

    def __init__(self, value: object) -> None:
        self.value = value


@dataclass(frozen=True)
class _Rows:
    """Facts that a layer records about its rows."""

    vocabulary: Vocabulary | None = None  # what they stand for now; None if unknown
    # Vocabulary of the optimizer's slots, after a matrix was assigned by hand.
    slots: Vocabulary | None = None
    # Digest of a matrix that was assigned by hand. None while rows and slots agree.
    assigned: str | None = None
    # Key of the table in optimizers before it was resized by hand.
    former_key: Key = None
    resized: bool = False  # whether it was resized by hand, without a warning so far
    # Whether a file was loaded after the vocabulary was last recorded.
    loaded: bool = False
    compared: Vocabulary | None = None  # vocabulary of the source at the last check


class RowVocabulary:
    """Mixin for an embedding layer that knows which token each row stands for.

    Put it before the Keras class in the list of base classes.
    """

    # Attributes of the layer that uses this mixin.
    name: str
    built: bool
    input_dim: int | None
    embeddings: keras.Variable
    follows_vocabulary: bool

    def _know_nothing(self, source: VocabularySource | None) -> None:
        """Initializes a layer whose rows stand for no known vocabulary yet."""
        self._source = _Untracked(source)
        self._rows = _Rows()
        self._refused: WarmStartError | None = None  # error of a refused file

    @property
    def row_vocabulary(self) -> Vocabulary | None:
        """The `Vocabulary` that the rows stand for now, or None if it is unknown."""
        return self._rows.vocabulary

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Token]:
        """Returns the tokens that the rows stand for now, in the order of the rows.

        After a rebuild of the source, they differ from the tokens of the source until
        the next warm start. Spare rows have no token and are left out.

        Args:
            include_special_tokens: Whether the mask and OOV tokens are included.

        Returns:
            List of tokens.

        Raises:
            WarmStartError: If the vocabulary of the rows is unknown.
        """
        if self._rows.vocabulary is None:
            raise WarmStartError(
                f"The vocabulary of the rows of layer '{self.name}' is unknown, because "
                "the layer is "
                f"{'a clone, or has no source' if self.built else 'not built'}. "
                "Build the layer with `vocabulary=`, or pass a source and the tokens of "
                f"its rows: `warm_start(model, {{'{self.name}': vectorizer}}, "
                f"base_vocabularies={{'{self.name}': tokens}})`."
            )
        return self._rows.vocabulary.get_vocabulary(include_special_tokens)

    @property
    def vocabulary_source(self) -> VocabularySource | None:
        """Source of the layer's vocabulary, or None if it is not certain.

        The source is the argument `vocabulary`, if it was given. Otherwise it is the
        only lookup layer that feeds this layer in the graph of a model.
        """
        if self._source.value is not None:
            return self._source.value
        lookups = keras_internals.feeding_lookups(self)
        return lookups[0] if len(lookups) == 1 else None

    def follow(self, source: VocabularySource | None, transaction: Transaction) -> None:
        """Sets the source of the layer's vocabulary."""
        transaction.set_attribute(self, "_source", _Untracked(source))

    def stand_for(self, vocabulary: Vocabulary, transaction: Transaction) -> None:
        """Records that rows and slots stand for `vocabulary`."""
        rows = _Rows(vocabulary, compared=vocabulary)
        transaction.set_attribute(self, "_rows", rows)

    @property
    def loaded_since(self) -> bool:
        """True if a file was loaded after the vocabulary of the rows was recorded."""
        return self._rows.loaded

    # --- the recipe of Keras 2.15: `layer.embeddings = matrix` ---

    def _stand_for_assigned(
        self, vocabulary: Vocabulary | None, former_key: Key, resized: bool
    ) -> None:
        """Records that the rows stand for `vocabulary`, but the optimizer's slots do not.

        The slots still stand for the tokens before the assignment. The next warm start
        moves them, if no training step has changed the assigned rows until then.
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
        """True if `embeddings` was assigned after rows and slots last agreed."""
        return self._rows.assigned is not None

    @property
    def former_key(self) -> Key:
        """Key of the table in optimizers before it was resized by hand, or None."""
        return self._rows.former_key

    def slot_vocabulary(self) -> Vocabulary | None:
        """Returns the vocabulary of the optimizer's slots, or None if it is unknown."""
        if self._rows.assigned is None:
            return self._rows.vocabulary
        return self._rows.slots if self._rows.assigned == self._digest() else None

    def _digest(self) -> str:
        return tensors.digest(self.embeddings)

    # --- the warning after a rebuild ---

    def _warn_if_rebuilt(self) -> None:
        """Warns once after each rebuild that rows and ids stand for different tokens."""
        if self._rows.resized and not keras_internals.in_symbolic_call():
            self._rows = replace(self._rows, resized=False)
            warnings.warn(
                f"Layer '{self.name}' was given a matrix with another number of rows. "
                "The optimizer and compiled functions still use the previous matrix, "
                "and may fail. Call `warmstart_keras.warm_start(model)`, "
                "`model.fit(..., callbacks=[VocabularyWarmStart()])`, or "
                "`model.compile(...)` again.",
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
                f"stand for the tokens before the rebuild ({len(known)} before, "
                f"{len(vocabulary)} now). Ids now select the rows of other tokens, so "
                "outputs are wrong. Call `warmstart_keras.warm_start(model)`, or "
                "`model.fit(..., callbacks=[VocabularyWarmStart()])`.",
                stacklevel=3,
            )

    @staticmethod
    def _is_watched(source: VocabularySource | None) -> bool:
        """Returns whether every call can check `source` for a rebuild at no cost."""
        return keras_internals.lookup_of(source) is not None or isinstance(
            source, RowVocabulary
        )

    # --- saving, loading ---

    def save_own_variables(self, store: MutableMapping) -> None:
        """Saves the weights and the vocabulary that their rows stand for."""
        super().save_own_variables(store)  # type: ignore[misc]
        if self.built and self._rows.vocabulary is not None:
            data = self._rows.vocabulary.to_bytes()
            store[VOCABULARY_KEY] = np.frombuffer(data, dtype=np.uint8)

    def load_own_variables(self, store: MutableMapping) -> None:
        """Loads the weights of a file and the vocabulary that their rows stand for."""
        keys = set(store.keys())
        if not keys and self._refused is not None:
            raise self._refused  # Keras calls this twice in a subclassed model
        self._refused = None
        # A plain `Embedding` counts the keys, and raises an error for an additional one.
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
        """Raises an error if stored rows do not fit, before anything is loaded."""
        if not self.built:
            return
        if shape[0] != self.input_dim:
            raise WarmStartError(
                f"Layer '{self.name}' has {self.input_dim} rows, and loading does not "
                f"move rows. Received: a file with {shape[0]} rows. Pass the file as "
                "`previous` instead: `warmstart_keras.warm_start(model, previous=path)`, "
                "or `model.fit(..., callbacks=[VocabularyWarmStart(previous=path)])`. "
                "Each row is then moved to the new place of its token. If the file is a "
                "backup of `BackupAndRestore` for another vocabulary, delete it."
            )
        if vocabulary is not None and (
            len(vocabulary) > shape[0]
            or (self.follows_vocabulary and len(vocabulary) < shape[0])
        ):
            raise WarmStartError(
                f"The stored vocabulary of layer '{self.name}' must have one token per "
                f"row. Received: {len(vocabulary)} tokens, {shape[0]} rows."
            )

    def save_assets(self, dir_path: str) -> None:
        """Saves the vocabulary as an asset too.

        Some formats keep only weights in the store of variables.
        """
        if self._rows.vocabulary is not None:
            with open(os.path.join(dir_path, _ASSET_NAME), "wb") as file:
                file.write(self._rows.vocabulary.to_bytes())

    def load_assets(self, dir_path: str) -> None:
        """Loads the vocabulary from the assets of an archive."""
        path = os.path.join(dir_path, _ASSET_NAME)
        if os.path.exists(path):
            with open(path, "rb") as file:
                vocabulary = Vocabulary.from_bytes(file.read())
            self._check_stored((self.input_dim,), vocabulary)
            self._rows = _Rows(vocabulary)


VOCABULARY_KEY = "vocabulary"  # key of the saved vocabulary, beside the weights
