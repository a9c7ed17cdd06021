"""Private names of Keras's optimizers."""

from contextlib import AbstractContextManager, ExitStack
from typing import TypeAlias

import keras

from warmstart_keras.keras_internals import access

Key: TypeAlias = str | int | keras.Variable | None
"""What an optimizer knows a variable by."""


def inner_optimizers(optimizer: keras.optimizers.Optimizer) -> list:
    """The optimizer and all that it wraps (LossScaleOptimizer, MultiOptimizer, ...)."""
    found: list = []

    def visit(value: object) -> None:
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


def trained_variables(optimizer: keras.optimizers.Optimizer) -> list:
    """The model's variables that an optimizer holds, or one that it wraps."""
    # In some versions of Keras a LossScaleOptimizer itself holds none.
    held = map(optimized_variables, inner_optimizers(optimizer))
    return next((variables for variables in held if variables), [])


def optimized_variables(optimizer: keras.optimizers.Optimizer) -> list:
    """The model's variables that a built optimizer holds, in its order."""
    # The public `variables` are the optimizer's own: they do not say whose they are.
    return list(access.private(optimizer, "_trainable_variables"))


def forget_build(optimizer: keras.optimizers.Optimizer, undo: ExitStack) -> None:
    """Leaves with `undo` what makes an optimizer unbuilt again that is built next."""
    # Nothing of Keras takes a build back.
    tracker = access.private(optimizer, "_tracker")
    known = {name: set(ids) for name, ids in tracker.stored_ids.items()}
    undo.callback(tracker.stored_ids.update, known)
    _restore_later(optimizer, undo)


def _restore_later(owner: object, undo: ExitStack) -> None:
    """Leaves with `undo` the attributes of an object, and what their containers hold."""
    attributes, before = vars(owner), dict(vars(owner))
    for value in before.values():
        # The containers are held by others too: they must stay the same objects. By the
        # methods of the plain classes, since those of Keras and TensorFlow would take
        # this for one more change to track.
        if isinstance(value, dict):
            plain = getattr(value, "__wrapped__", value)  # of TensorFlow's wrapper
            if plain is not value:
                last = "_self_last_wrapped_dict_snapshot"
                undo.callback(setattr, value, last, dict(plain))
            undo.callback(dict.update, plain, dict(plain))
            undo.callback(dict.clear, plain)
            continue
        if isinstance(value, list):
            undo.callback(list.__setitem__, value, slice(None), list(value))
            if hasattr(value, "__dict__"):
                _restore_later(value, undo)
    undo.callback(attributes.update, before)
    undo.callback(attributes.clear)


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list:
    """The EMA slots: they start at the value of their variable, though built as zeros."""
    averages = getattr(optimizer, "_model_variables_moving_average", [])
    return [average for average in averages if average is not None]


def separate_averages(optimizer: keras.optimizers.Optimizer) -> None:
    """Gives each average of weights a buffer of its own.

    At the end of `fit` Keras puts the averages in the place of the weights. On JAX both
    are one buffer then, which the next `fit` fails to donate twice.
    """
    if keras.backend.backend() != "jax":
        return
    averages = {id(average.value) for average in moving_averages(optimizer)}
    for variable in optimized_variables(optimizer) if averages else []:
        if id(variable.value) in averages:
            variable.assign(keras.ops.copy(variable.value))


def variable_key(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> Key:
    """What an optimizer knows a variable by: on TensorFlow it changes with storage."""
    return access.private(optimizer, "_var_key")(variable)


def stale_key(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> Key:
    """The key by which a built optimizer still knows a variable, maybe an old one."""
    for index, held in enumerate(optimized_variables(optimizer)):
        if held is variable:
            indices = access.private(optimizer, "_trainable_variables_indices")
            return next(key for key, place in indices.items() if place == index)
    return variable_key(optimizer, variable)


def stored_name(variable: keras.Variable) -> str:
    """What `tf.train.Checkpoint` calls a variable."""
    # In a subclassed model TensorFlow's name has no part for the layer; `path` has.
    if keras.backend.backend() != "tensorflow":
        return variable.path
    return variable.value.name.removesuffix(":0")


def storage_key(variable: keras.Variable) -> Key:
    """What an optimizer that is not built knows a variable by (TensorFlow alone)."""
    return getattr(variable.value, "_unique_id", None)


def attributes_not_tracked() -> AbstractContextManager:
    """A scope in which Keras takes no attribute for a part of its object."""
    return access.private("keras.src.utils.tracking", "DotNotTrackScope")()
