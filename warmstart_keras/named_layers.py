"""Which layers of a model the user meant, by name, by object, or as the only one."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from warmstart_keras.errors import WarmStartError


def by_layer(
    layers: list[tuple[str, keras.Layer]],
    embeddings: dict[keras.Layer, str],
    given: Any,
    argument: str,
) -> dict[keras.Layer, Any]:
    """What the user gave, by layer object; `layers` are all of the model, with paths."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or _is_token_mapping(given):
        if len(embeddings) != 1:
            raise WarmStartError(
                f"`{argument}` must name the layer where a model has not exactly one "
                "embedding: a mapping from a layer or its name to a source. Received: "
                f"{type(given).__name__}, for a model with {_named(embeddings)}"
            )
        return {next(iter(embeddings)): given}
    found: dict[keras.Layer, Any] = {}
    for key, source in given.items():
        layer = _layer_of(layers, embeddings, key, argument)
        if layer in found:
            raise WarmStartError(
                f"`{argument}` must name a layer once. Received: '{embeddings[layer]}', "
                "named twice"
            )
        found[layer] = source
    return found


def _is_token_mapping(given: Mapping) -> bool:
    """Whether a mapping is from token to row, and not from layer to source."""
    return bool(given) and all(
        isinstance(value, int | np.integer) for value in given.values()
    )


def _layer_of(
    layers: list[tuple[str, keras.Layer]],
    embeddings: dict[keras.Layer, str],
    key: Any,
    argument: str,
) -> keras.Layer:
    if isinstance(key, str):
        matches = [(path, layer) for path, layer in layers if layer.name == key]
        if len(matches) > 1:
            raise WarmStartError(
                f"A name in `{argument}` must be borne by one layer. Received: {key!r}, "
                f"borne by {[path for path, _ in matches]}. Pass the layer object "
                "itself as the key."
            )
    else:
        matches = [(path, layer) for path, layer in layers if layer is key]
    if not matches:
        raise WarmStartError(
            f"`{argument}` must name layers of the model. Received: {key!r}. The model "
            f"has {_named(embeddings)}."
        )
    ((path, layer),) = matches
    if layer not in embeddings:
        raise WarmStartError(
            f"`{argument}` must name layers with one row per token. Received: '{path}' "
            f"of type {type(layer).__name__}. The model has {_named(embeddings)}."
        )
    return layer


def _named(embeddings: dict[keras.Layer, str]) -> str:
    names = list(embeddings.values())
    return f"the embedding layers {names}" if names else "no embedding layer"
