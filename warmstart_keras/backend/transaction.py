"""`Transaction`: changes that are rolled back together unless all of them succeed."""

from collections.abc import Callable
from contextlib import ExitStack

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import tensors
from warmstart_keras.backend.tensors import Array
from warmstart_keras.backend.variable_values import give


class Transaction(ExitStack):
    """Changes that are rolled back in reverse order, unless `commit` is called.

    The rollback of a change is registered before the change is made. So an error in the
    middle of a change is rolled back, too.

    Examples:
        >>> from types import SimpleNamespace
        >>> layer = SimpleNamespace(units=3)
        >>> try:
        ...     with Transaction() as transaction:
        ...         transaction.set_attribute(layer, "units", 4)
        ...         raise RuntimeError("no more disk")
        ... except RuntimeError:
        ...     layer.units
        3
    """

    def on_rollback(self, function: Callable, *args: object) -> None:
        """Registers a function that rolls back the next change."""
        self.callback(function, *args)

    def set_attribute(self, owner: object, name: str, value: object) -> None:
        """Sets an attribute of an object."""
        self.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def assign(self, variable: keras.Variable, value: Array) -> None:
        """Gives a variable a value with any number of rows."""
        same_shape = tuple(value.shape) == tuple(variable.shape)
        if not same_shape and keras_internals.storage_is_held():
            keras_internals.replace_storage(variable, value, self)
            return
        before = variable.value
        if keras.backend.backend() != "jax":  # arrays of JAX never change
            before = np.array(tensors.to_numpy(variable))
        self.callback(give, variable, before)
        give(variable, value)

    def commit(self) -> None:
        """Keeps all changes."""
        self.pop_all()
