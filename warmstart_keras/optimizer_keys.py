"""Optimizers inside optimizers, and what they keep by variable."""

from contextlib import ExitStack
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.bindings import Binding


def inner_optimizers(optimizer: Any) -> list:
    """The optimizer and all that it wraps (LossScaleOptimizer, MultiOptimizer, ...)."""
    found: list = []

    def visit(value: Any) -> None:
        if isinstance(value, keras.optimizers.Optimizer):
            if not any(value is known for known in found):
                found.append(value)
                for attribute in vars(value).values():
                    visit(attribute)
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            visit(list(value.values()))

    visit(optimizer)
    return found


def trained_variables(optimizer: Any) -> list:
    """The model's variables that an optimizer holds, or one that it wraps."""
    # In some versions of Keras a LossScaleOptimizer itself holds none.
    held = map(keras_internals.optimized_variables, inner_optimizers(optimizer))
    return next((variables for variables in held if variables), [])


def old_key(optimizer: Any, binding: Binding) -> Any:
    """The key by which an optimizer knows a table's variable, maybe an old one."""
    former = getattr(binding.layer, "former_key", None)
    if former is not None and not optimizer.built:
        return former
    return keras_internals.stale_key(optimizer, binding.variable)


def is_lost(optimizer: Any, binding: Binding) -> bool:
    """Whether an optimizer knows a table's variable by an old key."""
    now = keras_internals.variable_key(optimizer, binding.variable)
    return old_key(optimizer, binding) != now


def replace_key(optimizer: Any, old: Any, new: Any, undo: ExitStack) -> None:
    """Puts `new` for `old` in all that is keyed by variable (K3).

    That is the index of each variable, the exclusions from weight decay and their
    cache, and the choice of a MultiOptimizer; an optimizer of the user's own may have
    more, so every container among the attributes is looked at. Leaves with `undo` the
    way back.
    """
    if old == new:
        return
    # Not by `setattr`: TensorFlow would track the container, and fail to export a
    # dictionary whose keys are no strings.
    attributes = vars(optimizer)
    for name, value in list(attributes.items()):
        renewed = _renamed(value, old, new)
        if renewed is not value:
            undo.callback(attributes.__setitem__, name, value)
            attributes[name] = renewed


def _renamed(value: Any, old: Any, new: Any) -> Any:
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
