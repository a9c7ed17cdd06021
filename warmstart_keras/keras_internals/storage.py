"""Private names for what is behind a variable: its storage."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from warmstart_keras.keras_internals import access


def replace_storage(variable: keras.Variable, value: Any, undo: ExitStack) -> None:
    """Gives a variable storage of another shape; leaves with `undo` the way back.

    The `keras.Variable` stays the same object, so everything that holds it stays valid:
    layers, models and the optimizer's lists. It stays where it was: on the same
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


def _set_storage(variable: keras.Variable, value: Any, shape: Any) -> None:
    variable._value, variable._shape = value, shape


def _set_parameter(
    variable: keras.Variable, data: Any, shape: Any, gradient: Any
) -> None:
    # On PyTorch layers and users hold the `Parameter`: that object stays too.
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


def let_go(storage: Any) -> None:
    """Frees the memory of a `tf.Variable` that was replaced; `refill` gives it a value.

    What still holds it, such as a function that a user compiled, fails from now on,
    where it would have gone on with rows that nothing trains any more.
    """
    import tensorflow as tf

    for part in _parts(storage):
        nothing = tf.zeros((0, *part.shape[1:]), part.dtype)
        # `assign` asks for the variable's own shape.
        tf.raw_ops.AssignVariableOp(resource=part.handle, value=nothing)


def refill(storage: Any, value: Any) -> None:
    """Gives a `tf.Variable` a value of its own shape, after `let_go`."""
    import tensorflow as tf

    for part in _parts(storage):
        tensor = tf.convert_to_tensor(value, part.dtype)
        tf.raw_ops.AssignVariableOp(resource=part.handle, value=tensor)


def _parts(storage: Any) -> tuple:
    """The variables that a mirrored one has; else the variable."""
    return getattr(storage, "values", (storage,))


@contextmanager
def _scope_of(variable: keras.Variable) -> Iterator[None]:
    """What a `tf.Variable` must be made in to be like another one.

    The strategy that it is mirrored by, or its device, and the scope of its name: by
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
