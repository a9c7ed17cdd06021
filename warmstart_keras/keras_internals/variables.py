"""Private names of Keras's variables."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np

from warmstart_keras.keras_internals import access


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


def replace_storage(variable: Any, value: Any, undo: ExitStack) -> None:
    """Gives a variable storage of another shape; leaves with `undo` the way back.

    The `keras.Variable` stays the same object, so everything that holds it stays valid:
    layers, models and the optimizer's lists (K2). It stays where it was: on the same
    devices, sharded or mirrored in the same way.
    """
    old = access.private(variable, "_value")
    # `_initialize` changed its meaning several times: the public constructor makes the
    # storage, and only the two attributes that differ by shape are moved across.
    with _scope_of(variable):
        made = keras.Variable(
            value,
            dtype=variable.dtype,
            # Not `variable.trainable`: Keras freezes by a flag of its own.
            trainable=getattr(old, "trainable", variable.trainable),
            aggregation=variable.aggregation,
            synchronization=variable.synchronization,
            # Not `variable._layout`, which a variable made before
            # `keras.distribution.set_distribution` does not have.
            layout=getattr(old, "sharding", None),
            name=variable.name,
        )
    shape = access.private(variable, "_shape")
    if keras.backend.backend() == "torch":
        undo.callback(_set_parameter, variable, old.data, shape, old.grad)
        _set_parameter(variable, made.value.data.to(old.device), made.shape, None)
    else:
        undo.callback(_set_storage, variable, old, shape)
        _set_storage(
            variable, access.private(made, "_value"), access.private(made, "_shape")
        )


def _set_storage(variable: Any, value: Any, shape: Any) -> None:
    variable._value, variable._shape = value, shape


def _set_parameter(variable: Any, data: Any, shape: Any, gradient: Any) -> None:
    # On PyTorch layers and users hold the `Parameter` (K2b): that object stays too.
    import torch

    parameter = access.private(variable, "_value")
    # Between, another dtype: only that makes PyTorch forget the node that accumulates
    # gradients of the old shape, which any tensor computed from it may keep alive.
    other = torch.float32 if data.dtype == torch.float64 else torch.float64
    parameter.data = torch.empty(0, dtype=other, device=data.device)
    parameter.data = data
    parameter.grad = gradient
    variable._shape = shape


def storage_is_held() -> bool:
    """Whether others than a `keras.Variable` itself hold its storage, by identity."""
    # Compiled functions of TensorFlow do; those of JAX are given it at every call, and
    # on PyTorch the `Parameter` stays.
    return keras.backend.backend() == "tensorflow"


def clear_gradient(variable: Any, undo: ExitStack) -> None:
    """Forgets a gradient that PyTorch keeps for rows which have moved (K2b)."""
    gradient = getattr(variable.value, "grad", None)
    if keras.backend.backend() == "torch" and gradient is not None:
        undo.callback(setattr, variable.value, "grad", gradient)
        variable.value.grad = None


@contextmanager
def _scope_of(variable: Any) -> Iterator[None]:
    """What a `tf.Variable` must be made in to be like another one.

    The strategy that it is mirrored by (K4), or its device, and the scope of its name: by
    that name an optimizer finds what `exclude_from_weight_decay(var_names=...)` means.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    with ExitStack() as scopes:
        value = access.private(variable, "_value")
        if isinstance(value, tf.distribute.DistributedValues):
            scopes.enter_context(value.distribute_strategy.scope())
        else:
            scopes.enter_context(tf.device(value.device))
        scope, _, _ = value.name.rpartition("/")
        if scope:
            scopes.enter_context(tf.name_scope(f"{scope}/"))
        yield


def stand_in(variable: Any, value: np.ndarray) -> Any:
    """A variable of another shape that an optimizer treats as it treats `variable`."""
    made = keras.Variable(value, dtype=variable.dtype, name=variable.name)
    # Optimizers choose by path (Muon, MultiOptimizer) and by this flag (float8).
    access.private(made, "_path")
    made._path = variable.path
    made.overwrite_with_gradient = variable.overwrite_with_gradient
    return made
