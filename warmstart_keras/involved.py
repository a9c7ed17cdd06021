"""The models and optimizers that a warm start of a model has to do with."""

from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.optimizer_keys import inner_optimizers
from warmstart_keras.options import Options


def involved_models(model: keras.Layer, options: Options) -> list[keras.Model]:
    """The model, those inside it, and those that the user named besides."""
    roots = [model, *options.models_besides]
    inside = [layer for root in roots for _, layer in keras_internals.walk(root)]
    return list({id(m): m for m in inside if isinstance(m, keras.Model)}.values())


def involved_optimizers(model: keras.Layer, options: Options) -> list[Any]:
    """Those of these models, those that the user named, and all that they wrap."""
    tops = [getattr(m, "optimizer", None) for m in involved_models(model, options)]
    found: list[Any] = []
    for top in [*tops, *options.optimizers_besides]:
        inner = [] if top is None else inner_optimizers(top)
        found += [o for o in inner if not any(o is known for known in found)]
    return found


def heir_of(model: keras.Layer, options: Options) -> Any | None:
    """The optimizer that a previous run's state is for: the model's, or the one named."""
    optimizer = getattr(model, "optimizer", None)
    listed = options.optimizers_besides
    return listed[0] if optimizer is None and len(listed) == 1 else optimizer
