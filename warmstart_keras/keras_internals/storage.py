"""Private names of the storage of a variable."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from warmstart_keras.keras_internals import access


def replace_storage(variable: keras.Variable, value: Any, undo: ExitStack) -> None:
    """Gives a variable storage of another shape; adds the rollback to `undo`.

    The `keras.Variable` stays the same object, so the layers, models and optimizer lists
    that hold it stay valid. The new storage is on the same devices, and sharded or
    mirrored in the same way.
    """
    old = access.private(variable, "_value")
    # Keras changed the meaning of `_initialize` several times. So the public constructor
    # creates the storage, and only the two attributes that depend on the shape are taken.
    with _scope_of(variable):
        made = keras.Variable(
            value,
            dtype=variable.dtype,
            # Not `variable.trainable`: to freeze a layer, Keras changes only that flag.
            trainable=getattr(old, "trainable", variable.trainable),
            aggregation=variable.aggregation,
            synchronization=variable.synchronization,
            # Not `variable._layout`, which is missing if the variable was created before
            # `keras.distribution.set_distribution`.
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
    # On PyTorch, layers and users hold the `Parameter`, so this object stays, too.
    import torch

    parameter = access.private(variable, "_value")
    # PyTorch has a node that accumulates gradients of the old shape. A tensor computed
    # from the parameter can keep the node alive. PyTorch drops the node only if the data
    # gets another dtype, so another dtype is set in between.
    other = torch.float32 if data.dtype == torch.float64 else torch.float64
    parameter.data = torch.empty(0, dtype=other, device=data.device)
    parameter.data = data
    parameter.grad = gradient
    variable._shape = shape


def storage_is_held() -> bool:
    """Returns whether other objects than the `keras.Variable` hold its storage."""
    # Compiled TensorFlow functions hold the storage. Compiled JAX functions receive it at
    # every call. On PyTorch the `Parameter` stays the same object.
    return keras.backend.backend() == "tensorflow"


def let_go(storage: Any) -> None:
    """Frees the memory of a replaced `tf.Variable`; `refill` can fill it again.

    Objects that still hold the variable, such as a function that the user compiled, fail
    from now on. Otherwise they would continue with rows that are no longer trained.
    """
    import tensorflow as tf

    for part in _parts(storage):
        nothing = tf.zeros((0, *part.shape[1:]), part.dtype)
        # `assign` would refuse a value of another shape.
        tf.raw_ops.AssignVariableOp(resource=part.handle, value=nothing)


def refill(storage: Any, value: Any) -> None:
    """Gives a `tf.Variable` a value of its shape again, after `let_go`."""
    import tensorflow as tf

    for part in _parts(storage):
        tensor = tf.convert_to_tensor(value, part.dtype)
        tf.raw_ops.AssignVariableOp(resource=part.handle, value=tensor)


def _parts(storage: Any) -> tuple:
    """Returns the replicas of a mirrored variable, or the variable if not mirrored."""
    return getattr(storage, "values", (storage,))


@contextmanager
def _scope_of(variable: keras.Variable) -> Iterator[None]:
    """Enters the scopes that make a new `tf.Variable` like an existing one.

    These are the strategy that mirrors the variable, or its device, and its name scope.
    An optimizer needs the name for `exclude_from_weight_decay(var_names=...)`.
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
