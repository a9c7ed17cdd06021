"""What must hold of a model, and of a previous run, before anything comes over."""

from typing import Any

import keras

from warmstart_keras import keras_internals, tensors
from warmstart_keras.checkpoint import Previous
from warmstart_keras.errors import WarmStartError
from warmstart_keras.saved_layers import SavedLayer


def check_live(previous: Previous, ours: SavedLayer) -> None:
    """Refuses a live previous model that shares layers, or whose slots lag behind."""
    name = previous.name
    theirs = [saved.layer for saved in previous.run.root.walk()]
    for own in ours.walk():  # lookup layers have none: they are never changed
        if own.arrays and any(own.layer is layer for layer in theirs):
            raise WarmStartError(
                "A live `previous` model must share no layer with the model that "
                "is warm-started, since it is never changed. Received: "
                f"{name}, which has layer '{own.layer.name}' too. Leave `previous` "
                "out to move the rows of the model itself."
            )
    for layer in theirs:
        if getattr(layer, "assigned_by_hand", False):
            raise WarmStartError(
                "The optimizer's state of a live `previous` model must belong to its "
                f"rows. Received: {name}, where the matrix of layer "
                f"'{layer.name}' was assigned and not trained since. Call "
                "`warm_start` on that model first."
            )


def was_adapted_today(own: SavedLayer) -> bool:
    """Whether `adapt` made what a layer has, today (L1b)."""
    return hasattr(own.layer, "adapt") and not _is_unadapted(own.layer)


def _is_unadapted(layer: Any) -> bool:
    """Whether a `Normalization` still has the mean and variance it starts with."""
    if not isinstance(layer, keras.layers.Normalization) or not layer.variables:
        return False
    mean, variance = (tensors.to_numpy(v) for v in layer.variables[:2])
    return not mean.any() and bool((variance == 1).all())


def check_built(model: keras.Layer) -> None:
    """Refuses a model that has no variables yet."""
    unbuilt = [
        path or layer.name
        for path, layer in keras_internals.walk(model)
        if not layer.built
        and (layer is model or isinstance(layer, keras.layers.Embedding))
    ]
    if unbuilt:
        raise WarmStartError(
            "A model that starts from a previous run must be built. Received: "
            f"{unbuilt}, not built yet. Call the model on a batch first, or give it a "
            "`keras.Input`."
        )
