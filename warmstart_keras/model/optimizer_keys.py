"""Keys of variables in optimizers, renewed when a table is replaced."""

from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import Transaction
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import inner_optimizers
from warmstart_keras.layers import Binding


def old_key(optimizer: keras.optimizers.Optimizer, binding: Binding) -> int | str | None:
    """Returns the key under which an optimizer stores a table, even if outdated."""
    former = getattr(binding.layer, "former_key", None)
    if former is not None and not optimizer.built:
        return former
    return keras_internals.stale_key(optimizer, binding.variable)


def is_lost(optimizer: keras.optimizers.Optimizer, binding: Binding) -> bool:
    """Returns whether an optimizer stores a table under an outdated key."""
    now = keras_internals.variable_key(optimizer, binding.variable)
    return old_key(optimizer, binding) != now


def replace_key(
    optimizer: keras.optimizers.Optimizer,
    old: int | str | None,
    new: int | str | None,
    transaction: Transaction,
) -> None:
    """Replaces the key `old` by `new` in every container of an optimizer.

    Some containers have the index of each variable. Others list the variables without
    weight decay, or those of each part of a `MultiOptimizer`. Custom optimizers may have
    further ones.
    """
    if old == new:
        return
    # With `setattr`, TensorFlow would track the container. Exporting the model would then
    # fail, because the keys of the dictionary are not strings.
    attributes = vars(optimizer)
    for name, value in list(attributes.items()):
        renewed = _renamed(value, old, new)
        if renewed is not value:
            transaction.on_rollback(attributes.__setitem__, name, value)
            attributes[name] = renewed


def _renamed(value: Any, old: int | str | None, new: int | str | None) -> Any:
    """Returns a container with `old` replaced, or the same object if `old` is absent."""

    def rename(item: Any) -> Any:
        if isinstance(item, str | int):
            return new if item == old else item
        return _renamed(item, old, new)

    renewed: Any
    if isinstance(value, dict):
        renewed = {rename(key): rename(item) for key, item in value.items()}
        before, after = [*value, *value.values()], [*renewed, *renewed.values()]
    elif isinstance(value, list | set) or type(value) is tuple:
        renewed = [rename(item) for item in value]
        before, after = list(value), renewed
        renewed = renewed if isinstance(value, list) else type(value)(renewed)
    else:
        return value
    same = all(a is b for a, b in zip(before, after, strict=True))
    return value if same else renewed


def check_wrapper(optimizer: keras.optimizers.Optimizer) -> None:
    """Checks that an optimizer that wraps another has only the slots of the inner one.

    Raises:
        WarmStartError: If it has more slots.
    """
    inner = {id(v) for other in inner_optimizers(optimizer)[1:] for v in other.variables}
    own = [v.path for v in optimizer.variables if len(v.shape) and id(v) not in inner]
    if own:
        raise WarmStartError(
            "An optimizer that wraps another must not have additional slots, because "
            "their rows cannot be matched with the rows of a table. Received: "
            f"'{optimizer.name}' (of type {type(optimizer).__name__}) with {own[:4]}. "
            "Pass the inner optimizer to `model.compile`."
        )
