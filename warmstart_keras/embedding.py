"""`WarmStartEmbedding`: an `Embedding` that knows which token each row stands for."""

import hashlib
import os
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from warmstart_keras import initializers, keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.vocabulary import Token, Vocabulary
from warmstart_keras.vocabulary_sources import read, read_as

_STORE_KEY = "vocabulary"  # beside the weights, in `.keras` and `.weights.h5`
_ASSET_NAME = "vocabulary.bin"
_ROWS_KEY = "rows"  # in the configuration


class _Untracked:
    """Holds what a layer must not take for a part of itself (L2c)."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _is_watched(source: Any) -> bool:
    """Whether a rebuild of `source` can be seen at every call, at no cost."""
    lookup = keras_internals.lookup_of(source)
    return lookup is not None or isinstance(source, WarmStartEmbedding)


@keras.saving.register_keras_serializable(package="warmstart_keras")
class WarmStartEmbedding(keras.layers.Embedding):
    """An `Embedding` that knows which token each of its rows stands for.

    Put it where `keras.layers.Embedding` stood. When the vocabulary was rebuilt,
    `model.fit(..., callbacks=[VocabularyWarmStart()])` or `warm_start(model)` moves
    every row to its token's new place, the optimizer's state with it. A layer that is
    used after a rebuild without that warns once, and names the cure.

    Example:

    >>> import keras
    >>> from warmstart_keras import WarmStartEmbedding
    >>> vectorizer = keras.layers.TextVectorization()
    >>> vectorizer.adapt(["a good film", "a bad film"])
    >>> embedding = WarmStartEmbedding(output_dim=8, vocabulary=vectorizer)
    >>> embedding(vectorizer(["a film", "a plot"])).shape
    TensorShape([2, 2, 8])
    >>> embedding.get_vocabulary()
    ['', '[UNK]', 'film', 'a', 'good', 'bad']

    Args:
        input_dim: Integer or None. None: as many rows as the vocabulary has tokens, and
            the layer follows its size. An integer is a fixed capacity: rows past the
            vocabulary are spare until a word takes them.
        output_dim: Integer. Width of the embedding.
        embeddings_initializer: As in `Embedding`.
        embeddings_regularizer: As in `Embedding`.
        embeddings_constraint: As in `Embedding`.
        mask_zero: As in `Embedding`.
        weights: As in `Embedding`: matrix of shape `(rows, output_dim)`.
        vocabulary: What the rows stand for: a layer such as `TextVectorization`, or any
            other source that `Vocabulary` reads. A lookup layer is watched for
            rebuilds. Where it is left out, a lookup layer that feeds this layer in a
            model's graph is the source.
        new_embeddings_initializer: What the row of a new word starts from: a Keras
            initializer, or a callable `(tokens, base) -> rows`. None: the
            `embeddings_initializer`.
        **kwargs: As in `Embedding`.

    Input shape:
        Integer tensor of any shape `(batch_size, ...)`.

    Output shape:
        `(batch_size, ..., output_dim)`.

    Raises:
        WarmStartError: If neither `input_dim` nor `vocabulary` is given, or the
            vocabulary has more tokens than `input_dim`.
    """

    def __init__(
        self,
        input_dim: int | None = None,
        output_dim: int | None = None,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        *args: Any,
        vocabulary: Any = None,
        new_embeddings_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        rows = kwargs.pop(_ROWS_KEY, None)
        if input_dim is None and vocabulary is None and rows is None:
            raise WarmStartError(
                "A `WarmStartEmbedding` must have `vocabulary` (a layer or list to "
                "follow) or `input_dim` (a fixed number of rows), or both. Received: "
                "neither"
            )
        if isinstance(new_embeddings_initializer, type):
            new_embeddings_initializer = new_embeddings_initializer()
        if new_embeddings_initializer is not None:
            initializers.get(new_embeddings_initializer)
        super().__init__(
            1 if input_dim is None else input_dim,
            output_dim,
            embeddings_initializer,
            embeddings_regularizer,
            embeddings_constraint,
            mask_zero,
            None,
            *args,
            **kwargs,
        )
        self.input_dim = input_dim
        self.new_embeddings_initializer = new_embeddings_initializer
        self._follows_vocabulary = input_dim is None
        self._rows_at_build: int | None = rows
        self._source = _Untracked(vocabulary)
        self._row_vocabulary: Vocabulary | None = None
        self._slot_vocabulary: Vocabulary | None = None
        self._assigned: str | None = None
        self._resized_by_hand = False
        self._compared = _Untracked(None)
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) else [weights])

    # --- what the rows stand for ---

    @property
    def follows_vocabulary(self) -> bool:
        """Whether the number of rows is that of the vocabulary's tokens."""
        return self._follows_vocabulary

    @property
    def row_vocabulary(self) -> Vocabulary | None:
        """The `Vocabulary` that the rows stand for now; None where not known."""
        return self._row_vocabulary

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Token]:
        """The tokens that the rows stand for now, in the order of the rows.

        They differ from the source's after the source was rebuilt, until the warm
        start. Spare rows are left out.

        Raises:
            WarmStartError: If it is not known what the rows stand for.
        """
        if self._row_vocabulary is None:
            raise WarmStartError(
                f"The rows of layer '{self.name}' must stand for a known vocabulary "
                "before it can be asked for. Received: a layer that is "
                f"{'a clone, or has no source' if self.built else 'not built'}. "
                "Build the layer with `vocabulary=`, or name what the rows stand for: "
                f"`warm_start(model, base_vocabularies={{'{self.name}': tokens}})`."
            )
        return self._row_vocabulary.get_vocabulary(include_special_tokens)

    @property
    def vocabulary_source(self) -> Any:
        """Where the layer reads its vocabulary; None where that is not certain.

        The `vocabulary=` that was given, else the one lookup layer that feeds this
        layer in every graph.
        """
        if self._source.value is not None:
            return self._source.value
        feeding = keras_internals.feeding_operation(self)
        return feeding if keras_internals.lookup_of(feeding) is not None else None

    def number_of_rows(self) -> int:
        """How many rows the layer has, or would be built with now."""
        if self.input_dim is not None:
            return self.input_dim
        source = self.vocabulary_source
        return self._rows_to_build(None if source is None else read(source))

    def stand_for(
        self, vocabulary: Vocabulary, source: Any = None
    ) -> Callable[[], None]:
        """Records that rows and slots stand for `vocabulary`, and where it came from.

        Returns what takes that back.
        """
        changed = {
            "_row_vocabulary": vocabulary,
            "_slot_vocabulary": None,
            "_assigned": None,
            "_resized_by_hand": False,
            "_compared": _Untracked(vocabulary),
            "_source": self._source if source is None else _Untracked(source),
        }
        before = {name: getattr(self, name) for name in changed}

        def put(attributes: dict) -> None:
            for name, value in attributes.items():
                setattr(self, name, value)

        put(changed)
        return lambda: put(before)

    # --- building, calling ---

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        source = self.vocabulary_source
        vocabulary = None if source is None else read(source)
        if self._follows_vocabulary:
            self.input_dim = self._rows_to_build(vocabulary)
            if vocabulary is not None and len(vocabulary) != self.input_dim:
                vocabulary = None  # not loaded yet, or another than the rows were for
        self._check_capacity(vocabulary)
        super().build(input_shape)
        if vocabulary is not None:
            self.stand_for(vocabulary)

    def _rows_to_build(self, vocabulary: Vocabulary | None) -> int:
        if self._rows_at_build is not None:
            return self._rows_at_build
        if vocabulary is None:
            raise WarmStartError(
                f"Layer '{self.name}' must know its number of rows to be built. "
                "Received: no `input_dim`, and no `vocabulary`. Pass one of them."
            )
        saved = None
        if not vocabulary.has_words:
            saved = keras_internals.saved_vocabulary_size(self.vocabulary_source)
        return saved or len(vocabulary)

    def _check_capacity(self, vocabulary: Vocabulary | None) -> None:
        if vocabulary is not None and len(vocabulary) > self.input_dim:
            raise WarmStartError(
                f"The vocabulary of layer '{self.name}' must fit its `input_dim`. "
                f"Received: {len(vocabulary)} tokens, input_dim={self.input_dim}. "
                "Raise `input_dim`, limit the vocabulary (`max_tokens`), or leave "
                "`input_dim` out: the layer then follows the vocabulary's size."
            )

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, keras.KerasTensor):
            self._warn_if_rebuilt()
        return super().call(inputs)

    def _warn_if_rebuilt(self) -> None:
        """Warns, once for each rebuild, that rows stand for other tokens than ids do."""
        if self._resized_by_hand:
            self._resized_by_hand = False
            warnings.warn(
                f"Layer '{self.name}' was given a matrix with another number of rows: "
                "optimizer and compiled functions still hold the old one. Call "
                "`warmstart_keras.warm_start(model)`, `model.fit(..., "
                "callbacks=[VocabularyWarmStart()])`, or `model.compile(...)` again.",
                stacklevel=3,
            )
        source = self.vocabulary_source
        if self._row_vocabulary is None or not _is_watched(source):
            return
        vocabulary = read(source)
        if vocabulary is self._compared.value:
            return
        self._compared = _Untracked(vocabulary)
        if not vocabulary.same_rows(self._row_vocabulary):
            warnings.warn(
                f"The vocabulary of layer '{self.name}' was rebuilt, but its rows still "
                f"stand for the old tokens ({len(self._row_vocabulary)} then, "
                f"{len(vocabulary)} now): ids and rows do not agree. Call "
                "`warmstart_keras.warm_start(model)`, or "
                "`model.fit(..., callbacks=[VocabularyWarmStart()])`.",
                stacklevel=3,
            )

    # --- Keras 2.15's recipe: `layer.embeddings = matrix` ---

    def __setattr__(self, name: str, value: Any) -> None:
        # Before Keras would track a `tf.Variable` as one more weight of the layer.
        if name == "embeddings":
            self._assign_embeddings(value)
        else:
            super().__setattr__(name, value)

    def _assign_embeddings(self, matrix: Any) -> None:
        """Takes a matrix made for the source's present vocabulary."""
        if not self.built or self.lora_enabled or self.quantization_mode:
            raise WarmStartError(
                f"`embeddings` can be assigned on a built layer without LoRA or "
                f"quantization alone. Received: layer '{self.name}' with "
                f"built={self.built}, lora_enabled={self.lora_enabled}, "
                f"quantization_mode={self.quantization_mode}"
            )
        values = np.asarray(
            matrix
            if isinstance(matrix, np.ndarray | list)
            else keras.ops.convert_to_numpy(matrix)
        )
        source = self.vocabulary_source
        vocabulary = self._row_vocabulary
        if source is not None:
            vocabulary = read_as(source, self._row_vocabulary)
        rows = self.input_dim
        if self._follows_vocabulary and source is not None:
            rows = len(vocabulary)  # type: ignore[arg-type]
        elif self._follows_vocabulary and values.ndim == 2:
            rows = len(values)
            vocabulary = vocabulary if rows == self.input_dim else None
        if values.shape != (rows, self.output_dim) or values.dtype.kind not in "fVi":
            raise WarmStartError(
                f"`embeddings` of layer '{self.name}' must be a matrix of numbers of "
                f"shape ({rows}, {self.output_dim}): a row for each token of its "
                f"vocabulary. Received: shape={values.shape}, dtype={values.dtype}"
            )
        self._check_capacity(vocabulary)
        slots = self._slot_vocabulary or self._row_vocabulary
        variable = self.embeddings
        if rows == self.input_dim:
            variable.assign(values)
        else:
            keras_internals.replace_storage(variable, values)
            self.input_dim = rows
            self._resized_by_hand = True
        self._row_vocabulary = vocabulary
        # The optimizer's slots still follow the tokens of before. They are carried at
        # the next warm start, if no step has trained the new rows by then.
        self._slot_vocabulary = slots
        self._assigned = self._digest()

    @property
    def assigned_by_hand(self) -> bool:
        """Whether `embeddings` was assigned since rows and slots last agreed."""
        return self._assigned is not None

    def slot_vocabulary(self) -> Vocabulary | None:
        """What the optimizer's slots of this layer stand for; None where not known."""
        if self._assigned is None:
            return self._row_vocabulary
        return self._slot_vocabulary if self._assigned == self._digest() else None

    def _digest(self) -> str:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(self.embeddings))
        return hashlib.sha256(values.view(np.uint8)).hexdigest()

    # --- saving, loading ---

    def get_config(self) -> dict:
        config = super().get_config()
        if self._follows_vocabulary:
            config["input_dim"] = None
            config[_ROWS_KEY] = self.number_of_rows()
        new_rows = self.new_embeddings_initializer
        if new_rows is not None and not isinstance(new_rows, str):
            new_rows = keras.saving.serialize_keras_object(new_rows)
        config["new_embeddings_initializer"] = new_rows
        return config

    @classmethod
    def from_config(cls, config: dict) -> "WarmStartEmbedding":
        config = dict(config)
        new_rows = config.get("new_embeddings_initializer")
        if isinstance(new_rows, dict):
            config["new_embeddings_initializer"] = (
                keras.saving.deserialize_keras_object(new_rows)
            )
        return super().from_config(config)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.built and self._row_vocabulary is not None:
            data = self._row_vocabulary.to_bytes()
            store[_STORE_KEY] = np.frombuffer(data, dtype=np.uint8)

    def load_own_variables(self, store: Any) -> None:
        weights = {key: store[key] for key in store.keys() if key != _STORE_KEY}
        vocabulary = self._row_vocabulary
        if _STORE_KEY in store.keys():
            data = np.asarray(store[_STORE_KEY], dtype=np.uint8).tobytes()
            vocabulary = Vocabulary.from_bytes(data)
        if "0" in weights:
            self._check_stored(tuple(weights["0"].shape), vocabulary)
        super().load_own_variables(weights)
        if vocabulary is not None:
            self.stand_for(vocabulary)
            self._compared = _Untracked(None)  # the source may say something else

    def _check_stored(self, shape: tuple, vocabulary: Vocabulary | None) -> None:
        """Refuses rows that are not this layer's, before anything is taken over."""
        if not self.built:
            return
        if shape[0] != self.input_dim:
            raise WarmStartError(
                f"Layer '{self.name}' has {self.input_dim} rows, and loading never "
                f"remaps. Received: a file with {shape[0]} rows. Load into a model "
                "built for the file's vocabulary, then rebuild the vocabulary and call "
                "`warmstart_keras.warm_start(model)`."
            )
        if vocabulary is not None and (
            len(vocabulary) > shape[0]
            or (self._follows_vocabulary and len(vocabulary) < shape[0])
        ):
            raise WarmStartError(
                f"The stored vocabulary of layer '{self.name}' must have a token for "
                f"each row. Received: {len(vocabulary)} tokens, {shape[0]} rows"
            )

    def save_assets(self, dir_path: str) -> None:
        if self._row_vocabulary is not None:
            with open(os.path.join(dir_path, _ASSET_NAME), "wb") as file:
                file.write(self._row_vocabulary.to_bytes())

    def load_assets(self, dir_path: str) -> None:
        path = os.path.join(dir_path, _ASSET_NAME)
        if os.path.exists(path):
            with open(path, "rb") as file:
                vocabulary = Vocabulary.from_bytes(file.read())
            self._check_stored((self.input_dim,), vocabulary)
            self.stand_for(vocabulary)
            self._compared = _Untracked(None)
