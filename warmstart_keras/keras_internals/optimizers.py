"""Private names of Keras optimizers."""

from contextlib import AbstractContextManager, ExitStack
from typing import TypeAlias

import keras

from warmstart_keras.keras_internals import access

Key: TypeAlias = str | int | keras.Variable | None
"""Key under which an optimizer stores a variable."""


def inner_optimizers(optimizer: keras.optimizers.Optimizer) -> list:
    """Returns the optimizer and those that it wraps (as LossScaleOptimizer does)."""
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
    """Returns the model variables of an optimizer, or of one that it wraps."""
    # In some versions of Keras a LossScaleOptimizer has no variables itself.
    held = map(optimized_variables, inner_optimizers(optimizer))
    return next((variables for variables in held if variables), [])


def optimized_variables(optimizer: keras.optimizers.Optimizer) -> list:
    """Returns the model variables of a built optimizer, in its order."""
    # The public `variables` are those of the optimizer, such as slots. They do not tell
    # which model variable they belong to.
    return list(access.private(optimizer, "_trainable_variables"))


def forget_build(optimizer: keras.optimizers.Optimizer, undo: ExitStack) -> None:
    """Adds to `undo` a rollback of the next build of an optimizer."""
    # Keras cannot undo a build.
    tracker = access.private(optimizer, "_tracker")
    known = {name: set(ids) for name, ids in tracker.stored_ids.items()}
    undo.callback(tracker.stored_ids.update, known)
    _restore_later(optimizer, undo)


def _restore_later(owner: object, undo: ExitStack) -> None:
    """Adds to `undo` a rollback of an object's attributes and their containers."""
    attributes, before = vars(owner), dict(vars(owner))
    for value in before.values():
        # Other objects hold the containers, too, so they must stay the same objects. The
        # methods of `dict` and `list` restore them: Keras and TensorFlow subclasses would
        # track the restore as another change.
        if isinstance(value, dict):
            plain = getattr(value, "__wrapped__", value)  # in a wrapper of TensorFlow
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
    """Returns the EMA slots: built as zeros, but they start at their variable's value."""
    averages = getattr(optimizer, "_model_variables_moving_average", [])
    return [average for average in averages if average is not None]


def separate_averages(optimizer: keras.optimizers.Optimizer) -> None:
    """Gives each variable and its moving average separate buffers.

    At the end of `fit` Keras replaces the weights by their averages. On JAX both then
    share one buffer, and the next `fit` fails, since it donates this buffer twice.
    """
    if keras.backend.backend() != "jax":
        return
    averages = {id(average.value) for average in moving_averages(optimizer)}
    for variable in optimized_variables(optimizer) if averages else []:
        if id(variable.value) in averages:
            variable.assign(keras.ops.copy(variable.value))


def variable_key(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> Key:
    """Returns the key of a variable; on TensorFlow it changes with the storage."""
    return access.private(optimizer, "_var_key")(variable)


def stale_key(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> Key:
    """Returns the key of a variable in a built optimizer, which can be outdated."""
    for index, held in enumerate(optimized_variables(optimizer)):
        if held is variable:
            indices = access.private(optimizer, "_trainable_variables_indices")
            return next(key for key, place in indices.items() if place == index)
    return variable_key(optimizer, variable)


def stored_name(variable: keras.Variable) -> str:
    """Returns the name of a variable in `tf.train.Checkpoint`."""
    # In a subclassed model, TensorFlow's name lacks the layer, which `path` contains.
    if keras.backend.backend() != "tensorflow":
        return variable.path
    return variable.value.name.removesuffix(":0")


def storage_key(variable: keras.Variable) -> Key:
    """Returns the key of a variable in an unbuilt optimizer (only on TensorFlow)."""
    return getattr(variable.value, "_unique_id", None)


def attributes_not_tracked() -> AbstractContextManager:
    """Returns a scope in which Keras does not track new attributes of its objects."""
    return access.private("keras.src.utils.tracking", "DotNotTrackScope")()
