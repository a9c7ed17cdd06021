"""`WarmStartEmbedding`: an `Embedding` that knows which token each row stands for."""

from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import Array, Tensor, Transaction, sharded, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import plain_embedding
from warmstart_keras.layers.row_vocabulary import RowVocabulary
from warmstart_keras.new_rows import NewRowsInitializer, initializers
from warmstart_keras.vocabulary import Vocabulary, VocabularySource, read, read_as


@keras.saving.register_keras_serializable(package="warmstart_keras")
class WarmStartEmbedding(RowVocabulary, keras.layers.Embedding):
    """An `Embedding` that knows which token each of its rows stands for.

    Use it in place of `keras.layers.Embedding`. After a rebuild of the vocabulary,
    `model.fit(..., callbacks=[VocabularyWarmStart()])` or `warm_start(model)` moves each
    row and its optimizer slots to the new place of the token. A layer that is called
    after a rebuild without a warm start warns once, and names the cure.

    Examples:
        >>> import keras
        >>> from warmstart_keras import WarmStartEmbedding
        >>> vectorizer = keras.layers.TextVectorization()
        >>> vectorizer.adapt(["a good film", "a bad film"])
        >>> embedding = WarmStartEmbedding(output_dim=8, vocabulary=vectorizer)
        >>> tuple(embedding(vectorizer(["a film", "a plot"])).shape)
        (2, 2, 8)
        >>> embedding.get_vocabulary()
        ['', '[UNK]', 'film', 'a', 'good', 'bad']

    Args:
        input_dim: Integer or None. None: the layer has one row per token, and follows
            the size of the vocabulary. An integer is a fixed capacity: rows past the
            vocabulary are spare until a word takes them.
        output_dim: Integer. Width of the embedding.
        embeddings_initializer: As in `Embedding`.
        embeddings_regularizer: As in `Embedding`.
        embeddings_constraint: As in `Embedding`.
        mask_zero: As in `Embedding`.
        weights: As in `Embedding`: matrix of shape `(rows, output_dim)`.
        vocabulary: Source of the vocabulary that the rows stand for: a layer such as
            `TextVectorization`, or any other source that `Vocabulary` reads. A lookup
            layer is checked for rebuilds. None: the source is the lookup layer that
            feeds this layer in the graph of a model.
        new_embeddings_initializer: Initial values for the rows of new words: a Keras
            initializer, a method such as `"oov"` or `"subword"`, or a callable, as in
            `warm_start`. None: the `embeddings_initializer`.
        **kwargs: As in `Embedding`.

    Input shape:
        Integer tensor of any shape `(batch_size, ...)`.

    Output shape:
        `(batch_size, ..., output_dim)`.

    Raises:
        WarmStartError: If neither `input_dim` nor `vocabulary` is given. When the layer
            is built: if the vocabulary has more tokens than `input_dim`, or if the rows
            cannot be cut into equal shards for `keras.distribution`. When `embeddings` is
            assigned: if the value is not a matrix with one row per token.
    """

    def __init__(
        self,
        input_dim: int | None = None,
        output_dim: int | None = None,
        embeddings_initializer: str | keras.Initializer = "uniform",
        embeddings_regularizer: str | keras.Regularizer | None = None,
        embeddings_constraint: str | keras.constraints.Constraint | None = None,
        mask_zero: bool = False,
        weights: Array | list[Array] | None = None,
        *args: Any,
        vocabulary: VocabularySource | None = None,
        new_embeddings_initializer: NewRowsInitializer = None,
        **kwargs: Any,
    ) -> None:
        rows = kwargs.pop("rows", None)
        if input_dim is None and vocabulary is None and rows is None:
            raise WarmStartError(
                "A `WarmStartEmbedding` must have `vocabulary` or `input_dim`. Received: "
                "neither. Pass `vocabulary=vectorizer` to follow a vocabulary, "
                "`input_dim=1000` for a fixed number of rows, or both."
            )
        new_embeddings_initializer = initializers.instance_of(new_embeddings_initializer)
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
        self.follows_vocabulary = input_dim is None
        self._rows_at_build: int | None = rows
        self._know_nothing(vocabulary)
        if weights is not None:
            self.build()
            alone = not (isinstance(weights, list) and len(weights) == 1)
            self.set_weights([weights] if alone else weights)

    @classmethod
    def from_embedding(
        cls,
        layer: keras.layers.Embedding,
        vocabulary: VocabularySource,
        new_embeddings_initializer: NewRowsInitializer = None,
    ) -> "WarmStartEmbedding":
        """Creates a layer with the rows of a plain `Embedding`, and their vocabulary.

        The layer follows the size of the vocabulary if the vocabulary has one token per
        row. Otherwise the number of rows is a fixed capacity. It is a fixed capacity too
        if `vocabulary` is a lookup layer whose `max_tokens` is the number of rows.

        Examples:
            >>> import keras
            >>> from warmstart_keras import WarmStartEmbedding
            >>> plain = keras.layers.Embedding(3, 2, name="words")
            >>> plain.build()
            >>> layer = WarmStartEmbedding.from_embedding(plain, ["[UNK]", "a", "b"])
            >>> layer.get_vocabulary()
            ['[UNK]', 'a', 'b']
            >>> bool(keras.ops.all(layer.embeddings == plain.embeddings))
            True

        Args:
            layer: A built `keras.layers.Embedding`. It is not changed.
            vocabulary: Source of the vocabulary that the rows stand for: any source that
                `Vocabulary` reads. The new layer checks it for rebuilds.
            new_embeddings_initializer: As for the class.

        Returns:
            A built `WarmStartEmbedding` of the same name.

        Raises:
            WarmStartError: If `layer` has another class, is not built, is quantized or
                has LoRA factors, or if the vocabulary has more tokens than rows.
        """
        config = plain_embedding.config_of(layer, vocabulary)
        config["new_embeddings_initializer"] = new_embeddings_initializer
        made = cls.from_config(config)
        made.build()
        plain_embedding.copy_rows(layer, made)
        return made

    def to_embedding(self) -> keras.layers.Embedding:
        """Creates a plain `keras.layers.Embedding` with the same rows and name.

        The configuration is the same, too. The rows stand for the tokens of
        `get_vocabulary()`, but the plain layer does not store them. Spare rows are copied
        as well. This layer is not changed.

        Returns:
            A built `keras.layers.Embedding`.

        Raises:
            WarmStartError: If the layer is not built, is quantized or has LoRA factors.
        """
        return plain_embedding.made_of(self)

    def number_of_rows(self) -> int:
        """Returns the number of rows that the layer has, or would have if built now."""
        if self.input_dim is not None:
            return self.input_dim
        source = self.vocabulary_source
        return self._rows_to_build(None if source is None else read(source))

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates the table with one row per token, or with `input_dim` rows."""
        if self.built:
            return
        source = self.vocabulary_source
        vocabulary = None if source is None else read(source)
        if self.follows_vocabulary:
            self.input_dim = self._rows_to_build(vocabulary)
            if vocabulary is not None and len(vocabulary) != self.input_dim:
                vocabulary = None  # the source is not loaded yet, or was rebuilt
        self._check_capacity(vocabulary)
        self._check_shards()
        super().build(input_shape)
        if vocabulary is not None:
            self.stand_for(vocabulary, Transaction())

    def _check_shards(self) -> None:
        """Raises an error if the rows cannot be cut into equal shards."""
        rows, path = int(self.input_dim or 0), f"{self.path}/embeddings"
        parts = sharded.shards_of_new(path, (rows, self.output_dim))
        if rows % parts:
            raise WarmStartError(
                f"The rows of layer '{self.name}' must be cut into {parts} equal shards "
                f"by `keras.distribution`. Received: {rows} rows. Pass "
                f"`input_dim={sharded.rounded_up(rows, parts)}`, or a larger multiple of "
                f"{parts} to leave room for new words. Rows past the vocabulary are "
                "spare."
            )

    def _rows_to_build(self, vocabulary: Vocabulary | None) -> int:
        if self._rows_at_build is not None:
            return self._rows_at_build
        if vocabulary is None:
            raise WarmStartError(
                f"Layer '{self.name}' must have `vocabulary` or `input_dim` before it "
                "is built. Received: neither. Pass `vocabulary=vectorizer` or "
                "`input_dim=1000`."
            )
        saved = None
        if not vocabulary.has_words:
            saved = keras_internals.saved_vocabulary_size(self.vocabulary_source)
        return saved or len(vocabulary)

    def _check_capacity(self, vocabulary: Vocabulary | None) -> None:
        if vocabulary is not None and len(vocabulary) > (self.input_dim or 0):
            raise WarmStartError(
                f"`input_dim` of layer '{self.name}' must be at least the number of "
                f"tokens. Received: {len(vocabulary)} tokens, "
                f"input_dim={self.input_dim}. Pass `input_dim={len(vocabulary)}` or "
                "more, limit the vocabulary by `max_tokens`, or leave out `input_dim`: "
                "the layer then follows the size of the vocabulary."
            )

    def call(self, inputs: Tensor) -> Tensor:
        """Looks up rows, and warns if rows and ids stand for different tokens."""
        if not isinstance(inputs, keras.KerasTensor):
            self._warn_if_rebuilt()
        return super().call(inputs)

    # --- the recipe of Keras 2.15: `layer.embeddings = matrix` ---

    def __setattr__(self, name: str, value: object) -> None:
        # Keras must not see the value: it would track a `tf.Variable` as another weight.
        if name == "embeddings":
            self._assign_embeddings(value)
        else:
            super().__setattr__(name, value)

    def _assign_embeddings(self, matrix: Array | list) -> None:
        """Assigns a matrix that was made for the present vocabulary of the source."""
        if not self.built or self.lora_enabled or self.quantization_mode:
            raise WarmStartError(
                f"`embeddings` can only be assigned on a built layer without LoRA and "
                f"quantization. Received: layer '{self.name}' with "
                f"built={self.built}, lora_enabled={self.lora_enabled}, "
                f"quantization_mode={self.quantization_mode}. To build the layer, call "
                "`layer.build()`."
            )
        values = np.array(  # a copy: some backends would share memory with the caller
            matrix if isinstance(matrix, np.ndarray | list) else tensors.to_numpy(matrix)
        )
        source = self.vocabulary_source
        vocabulary = self.row_vocabulary
        if source is not None:
            vocabulary = read_as(source, self.row_vocabulary)
        rows = self.input_dim
        if self.follows_vocabulary and source is not None:
            rows = len(vocabulary)  # type: ignore[arg-type]
        elif self.follows_vocabulary and values.ndim == 2:
            rows = len(values)
            vocabulary = vocabulary if rows == self.input_dim else None
        if values.shape != (rows, self.output_dim) or values.dtype.kind not in "fVi":
            raise WarmStartError(
                f"`embeddings` of layer '{self.name}' must be a matrix of numbers of "
                f"shape ({rows}, {self.output_dim}), made for its present vocabulary. "
                f"Received: shape={values.shape}, dtype={values.dtype}."
            )
        if not self.follows_vocabulary:
            self._check_capacity(vocabulary)
        key = keras_internals.storage_key(self.embeddings)
        tensor = tensors.to_tensor(values)
        if rows == self.input_dim:
            self.embeddings.assign(tensor)
        else:
            keras_internals.replace_storage(self.embeddings, tensor, Transaction())
        self._stand_for_assigned(vocabulary, key, resized=rows != self.input_dim)
        self.input_dim = rows

    def get_config(self) -> dict:
        """Returns the arguments without the source, and the present number of rows."""
        config = super().get_config()
        if self.follows_vocabulary:
            config["input_dim"] = None
            config["rows"] = self.number_of_rows()
        new_rows = self.new_embeddings_initializer
        if new_rows is not None and not isinstance(new_rows, str):
            new_rows = keras.saving.serialize_keras_object(new_rows)
        config["new_embeddings_initializer"] = new_rows
        return config

    @classmethod
    def from_config(cls, config: dict) -> "WarmStartEmbedding":
        """Creates a layer with the saved number of rows and no known vocabulary."""
        config = dict(config)
        new_rows = config.get("new_embeddings_initializer")
        if isinstance(new_rows, dict):
            config["new_embeddings_initializer"] = keras.saving.deserialize_keras_object(
                new_rows
            )
        return super().from_config(config)
