"""Private names of Keras variables."""

import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import keras
import numpy as np

from warmstart_keras.keras_internals import access


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Enters a scope for layers that are created only to be inspected.

    No table is allocated, and no random number is drawn, so layers that are created
    later do not change.
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
    """Enters a scope in which new variables have a shape, but never get a value."""
    # Keras records such variables, and gives them values when the next stateless scope
    # ends. In the middle of `fit`, this could allocate another table as large as the
    # model's table. So the record is restored at the end.
    state = "keras.src.backend.common.global_state"
    name = "uninitialized_variables"
    before = list(access.private(state, "get_global_attribute")(name) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        access.private(state, "set_global_attribute")(name, before)


def clear_gradient(variable: keras.Variable, undo: ExitStack) -> None:
    """Deletes the gradient that PyTorch keeps for rows that have moved."""
    gradient = getattr(variable.value, "grad", None)
    if keras.backend.backend() == "torch" and gradient is not None:
        undo.callback(setattr, variable.value, "grad", gradient)
        variable.value.grad = None


def stand_in(variable: keras.Variable, value: np.ndarray) -> keras.Variable:
    """Creates a variable of another shape that optimizers treat like `variable`."""
    made = keras.Variable(value, dtype=variable.dtype, name=variable.name)
    # Optimizers select variables by path (Muon, MultiOptimizer) or this flag (float8).
    access.private(made, "_path")
    made._path = variable.path
    made.overwrite_with_gradient = variable.overwrite_with_gradient
    return made
