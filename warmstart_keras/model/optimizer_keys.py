"""Optimizers inside optimizers, and what they keep by variable."""

from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import Transaction
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import inner_optimizers
from warmstart_keras.layers import Binding


def old_key(optimizer: keras.optimizers.Optimizer, binding: Binding) -> int | str | None:
    """The key by which an optimizer knows a table's variable, maybe an old one."""
    former = getattr(binding.layer, "former_key", None)
    if former is not None and not optimizer.built:
        return former
    return keras_internals.stale_key(optimizer, binding.variable)


def is_lost(optimizer: keras.optimizers.Optimizer, binding: Binding) -> bool:
    """Whether an optimizer knows a table's variable by an old key."""
    now = keras_internals.variable_key(optimizer, binding.variable)
    return old_key(optimizer, binding) != now


def replace_key(
    optimizer: keras.optimizers.Optimizer,
    old: int | str | None,
    new: int | str | None,
    transaction: Transaction,
) -> None:
    """Puts `new` for `old` in every container of an optimizer.

    These hold the index of each variable, the exclusions from weight decay and their
    cache, the choice of a MultiOptimizer, and whatever a user's optimizer keeps.
    """
    if old == new:
        return
    # Not by `setattr`: TensorFlow would track the container, and fail to export a
    # dictionary whose keys are no strings.
    attributes = vars(optimizer)
    for name, value in list(attributes.items()):
        renewed = _renamed(value, old, new)
        if renewed is not value:
            transaction.on_rollback(attributes.__setitem__, name, value)
            attributes[name] = renewed


def _renamed(value: Any, old: int | str | None, new: int | str | None) -> Any:
    """A container with `new` for `old`; the very same one if it does not hold it."""

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
    """Refuses an optimizer around others that keeps slots of its own."""
    inner = {id(v) for other in inner_optimizers(optimizer)[1:] for v in other.variables}
    own = [v.path for v in optimizer.variables if len(v.shape) and id(v) not in inner]
    if own:
        raise WarmStartError(
            "An optimizer that wraps another must keep no slots of its own, since it "
            "cannot be told which rows they belong to. Received: "
            f"'{optimizer.name}' (of type {type(optimizer).__name__}) with {own[:4]}. "
            "Pass the inner optimizer to `compile`."
        )
