"""Conversion between a plain `Embedding` and a `WarmStartEmbedding`."""

import keras

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.vocabulary import VocabularySource, read


def config_of(layer: keras.layers.Embedding, vocabulary: VocabularySource) -> dict:
    """Returns the configuration of a `WarmStartEmbedding` with a plain layer's rows."""
    if type(layer) is not keras.layers.Embedding:
        raise WarmStartError(
            "`layer` must be a `keras.layers.Embedding`, not a subclass. "
            f"Received: {layer!r} (of type {type(layer).__name__})."
        )
    _check_convertible(layer)
    rows, tokens = layer.input_dim, len(read(vocabulary))
    lookup = keras_internals.lookup_of(vocabulary)
    limited = lookup is not None and lookup.max_tokens == rows
    follows = tokens == rows and not limited
    about = {"input_dim": None if follows else rows, "vocabulary": vocabulary}
    return {**layer.get_config(), **about}


def made_of(layer: keras.Layer) -> keras.layers.Embedding:
    """Creates a plain layer with the rows of a `WarmStartEmbedding`."""
    _check_convertible(layer)
    config = {**keras.layers.Embedding.get_config(layer), "input_dim": layer.input_dim}
    plain = keras.layers.Embedding.from_config(config)
    plain.build()
    copy_rows(layer, plain)
    return plain


def _check_convertible(layer: keras.layers.Embedding) -> None:
    if not layer.built or layer.lora_enabled or getattr(layer, "quantization_mode", None):
        raise WarmStartError(
            f"Layer '{layer.name}' must be built, without LoRA factors and not "
            f"quantized. Received: built={layer.built}, "
            f"lora_enabled={layer.lora_enabled}, "
            f"quantization_mode={getattr(layer, 'quantization_mode', None)!r}. Call "
            "`layer.build()` to build it. To merge LoRA factors, copy the rows into a "
            "plain layer: `keras.layers.Embedding(*layer.embeddings.shape, "
            "weights=[layer.embeddings])`."
        )


def copy_rows(source: keras.Layer, target: keras.Layer) -> None:
    """Copies the rows of one embedding layer to another."""
    # The array is copied. On JAX, training deletes the arrays that go into a step, so
    # two models must not share an array.
    rows = keras_internals.embeddings_variable(source).value
    keras_internals.embeddings_variable(target).assign(keras.ops.copy(rows))
