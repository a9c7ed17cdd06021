"""Giving variables values, so that it can be undone."""

from contextlib import ExitStack
from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals, tensors


def put(variable: Any, value: Any, undo: ExitStack) -> None:
    """Gives a variable a value, and leaves with `undo` what takes that back."""
    same_shape = tuple(value.shape) == tuple(variable.shape)
    if not same_shape and keras_internals.storage_is_held():
        keras_internals.replace_storage(variable, value, undo)
        return
    before = variable.value
    if keras.backend.backend() != "jax":  # arrays of JAX never change
        before = np.array(tensors.to_numpy(variable))
    undo.callback(give, variable, before)
    give(variable, value)


def give(variable: Any, value: Any) -> None:
    """Gives a variable a value of any number of rows: wholly, or not at all."""
    if isinstance(value, np.ndarray):
        value = tensors.to_tensor(value, like=variable)
    if tuple(value.shape) == tuple(variable.shape):
        variable.assign(value)
        return
    undo = ExitStack()
    try:
        keras_internals.replace_storage(variable, value, undo)
    except BaseException:
        undo.close()
        raise


def set_attribute(owner: Any, name: str, value: Any, undo: ExitStack) -> None:
    """Sets an attribute, and leaves with `undo` what takes that back."""
    undo.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)
