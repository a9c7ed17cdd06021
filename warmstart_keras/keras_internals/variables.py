"""Private names of Keras's variables."""

import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import keras
import numpy as np

from warmstart_keras.keras_internals import access


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Lets layers be made of their configuration that are only to be looked at.

    No table is allocated, and no random number is used up: layers made later are what
    they would have been.
    """
    state = random.getstate()
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            variables_without_value(),
        ):
            yield
    finally:
        random.setstate(state)


@contextmanager
def variables_without_value() -> Iterator[None]:
    """A scope in which variables that are made have a shape, and never get a value."""
    # Keras remembers them, and gives all a value when the next stateless scope ends: of
    # a table as large as the model's own, in the middle of `fit`.
    state = "keras.src.backend.common.global_state"
    name = "uninitialized_variables"
    before = list(access.private(state, "get_global_attribute")(name) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        access.private(state, "set_global_attribute")(name, before)


def clear_gradient(variable: keras.Variable, undo: ExitStack) -> None:
    """Forgets a gradient that PyTorch keeps for rows which have moved."""
    gradient = getattr(variable.value, "grad", None)
    if keras.backend.backend() == "torch" and gradient is not None:
        undo.callback(setattr, variable.value, "grad", gradient)
        variable.value.grad = None


def stand_in(variable: keras.Variable, value: np.ndarray) -> keras.Variable:
    """A variable of another shape that an optimizer treats as it treats `variable`."""
    made = keras.Variable(value, dtype=variable.dtype, name=variable.name)
    # Optimizers choose by path (Muon, MultiOptimizer) and by this flag (float8).
    access.private(made, "_path")
    made._path = variable.path
    made.overwrite_with_gradient = variable.overwrite_with_gradient
    return made
