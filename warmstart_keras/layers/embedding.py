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

    Put it where `keras.layers.Embedding` stood. When the vocabulary was rebuilt,
    `model.fit(..., callbacks=[VocabularyWarmStart()])` or `warm_start(model)` moves
    every row to its token's new place, the optimizer's state with it. A layer that is
    used after a rebuild without that warns once, and names the cure.

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
            initializer, a method such as `"oov"` or `"subword"`, or a callable, as in
            `warm_start`. None: the `embeddings_initializer`.
        **kwargs: As in `Embedding`.

    Input shape:
        Integer tensor of any shape `(batch_size, ...)`.

    Output shape:
        `(batch_size, ..., output_dim)`.

    Raises:
        WarmStartError: If neither `input_dim` nor `vocabulary` is given; when it is
            built, if the vocabulary has more tokens than `input_dim`, or the rows cannot
            be cut into the shards of `keras.distribution`; and when `embeddings` is
            assigned, if that is no matrix with a row for each token.
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
                "A `WarmStartEmbedding` must have `vocabulary` (a layer or list to "
                "follow) or `input_dim` (a fixed number of rows), or both. Received: "
                "neither"
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
        """A layer with the rows of a plain `Embedding`, which stand for `vocabulary`.

        It follows the vocabulary's size if that has a token for each row and does not
        come from a lookup layer limited to as many (`max_tokens`); else its rows are a
        capacity.

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
            layer: A built `keras.layers.Embedding`. It stays as it is.
            vocabulary: What its rows stand for, and where a rebuild is seen: any source
                that `Vocabulary` reads.
            new_embeddings_initializer: As for the class.

        Returns:
            A built `WarmStartEmbedding` of the same name.

        Raises:
            WarmStartError: If `layer` is of another class, not built, quantised or has
                LoRA factors, or the vocabulary has more tokens than rows.
        """
        config = plain_embedding.config_of(layer, vocabulary)
        config["new_embeddings_initializer"] = new_embeddings_initializer
        made = cls.from_config(config)
        made.build()
        plain_embedding.copy_rows(layer, made)
        return made

    def to_embedding(self) -> keras.layers.Embedding:
        """A plain `keras.layers.Embedding` with the same rows, name and configuration.

        Its rows stand for the tokens of `get_vocabulary()`, which it does not know; spare
        rows come along. This layer stays as it is.

        Returns:
            A built `keras.layers.Embedding`.

        Raises:
            WarmStartError: If the layer is not built, quantised or has LoRA factors.
        """
        return plain_embedding.made_of(self)

    def number_of_rows(self) -> int:
        """How many rows the layer has, or would be built with now."""
        if self.input_dim is not None:
            return self.input_dim
        source = self.vocabulary_source
        return self._rows_to_build(None if source is None else read(source))

    def build(self, input_shape: tuple | None = None) -> None:
        """Makes the table, with a row for each token, or `input_dim` rows."""
        if self.built:
            return
        source = self.vocabulary_source
        vocabulary = None if source is None else read(source)
        if self.follows_vocabulary:
            self.input_dim = self._rows_to_build(vocabulary)
            if vocabulary is not None and len(vocabulary) != self.input_dim:
                vocabulary = None  # not loaded yet, or another than the rows were for
        self._check_capacity(vocabulary)
        self._check_shards()
        super().build(input_shape)
        if vocabulary is not None:
            self.stand_for(vocabulary, Transaction())

    def _check_shards(self) -> None:
        """Refuses rows that `keras.distribution` could not cut into equal shards."""
        rows, path = int(self.input_dim or 0), f"{self.path}/embeddings"
        parts = sharded.shards_of_new(path, (rows, self.output_dim))
        if rows % parts:
            raise WarmStartError(
                f"The rows of layer '{self.name}' are to be cut into {parts} equal "
                f"shards. Received: {rows} rows. Give the layer a capacity that can be "
                "cut, and leaves room to grow: "
                f"`input_dim={sharded.rounded_up(rows, parts)}` or more. Rows past the "
                "vocabulary are spare."
            )

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
        if vocabulary is not None and len(vocabulary) > (self.input_dim or 0):
            raise WarmStartError(
                f"The vocabulary of layer '{self.name}' must fit its `input_dim`. "
                f"Received: {len(vocabulary)} tokens, input_dim={self.input_dim}. "
                "Raise `input_dim`, limit the vocabulary (`max_tokens`), or leave "
                "`input_dim` out: the layer then follows the vocabulary's size."
            )

    def call(self, inputs: Tensor) -> Tensor:
        """Looks up rows; warns if they do not stand for what the ids stand for."""
        if not isinstance(inputs, keras.KerasTensor):
            self._warn_if_rebuilt()
        return super().call(inputs)

    # --- Keras 2.15's recipe: `layer.embeddings = matrix` ---

    def __setattr__(self, name: str, value: object) -> None:
        # Before Keras would track a `tf.Variable` as one more weight of the layer.
        if name == "embeddings":
            self._assign_embeddings(value)
        else:
            super().__setattr__(name, value)

    def _assign_embeddings(self, matrix: Array | list) -> None:
        """Takes a matrix made for the source's present vocabulary."""
        if not self.built or self.lora_enabled or self.quantization_mode:
            raise WarmStartError(
                f"`embeddings` can be assigned on a built layer without LoRA or "
                f"quantization alone. Received: layer '{self.name}' with "
                f"built={self.built}, lora_enabled={self.lora_enabled}, "
                f"quantization_mode={self.quantization_mode}"
            )
        values = np.array(  # a copy: some backends would share the caller's memory
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
                f"shape ({rows}, {self.output_dim}): a row for each token of its "
                f"vocabulary. Received: shape={values.shape}, dtype={values.dtype}"
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
        """The arguments, without the source, and the present number of rows."""
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
        """A layer of that many rows, which stand for nothing known yet."""
        config = dict(config)
        new_rows = config.get("new_embeddings_initializer")
        if isinstance(new_rows, dict):
            config["new_embeddings_initializer"] = keras.saving.deserialize_keras_object(
                new_rows
            )
        return super().from_config(config)
