"""Conversion of tensors of any backend to NumPy arrays and back, bit for bit."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, TypeAlias, Union

import keras
import numpy as np

if TYPE_CHECKING:
    import jax
    import tensorflow as tf
    import torch

Tensor = Union["tf.Tensor", "jax.Array", "torch.Tensor"]
"""A tensor of the active backend."""

Array: TypeAlias = np.ndarray | keras.Variable | Tensor
"""An array, or a variable or tensor of the active backend."""


def to_numpy(array: Array) -> np.ndarray:
    """Returns a variable or tensor as a read-only array, without a copy if possible.

    Arrays from TensorFlow and JAX never change. An array from PyTorch shares memory with
    the tensor, and changes with the tensor.
    """
    value: Tensor = array.value if isinstance(array, keras.Variable) else array
    backend = keras.backend.backend()
    # `keras.ops.convert_to_numpy` copies.
    if backend == "tensorflow" and hasattr(value, "numpy"):
        if _is_mirrored(value):
            return value.numpy()
        if hasattr(value, "read_value_no_copy"):
            # TensorFlow switches a variable to copy-on-read once single rows are read or
            # updated, as in an embedding. Then `read_value` copies the whole variable.
            # `assign` does so, too, until this call.
            value = value.read_value_no_copy()
        # TensorFlow does not write into memory that an array views, but copies it first.
        return np.asarray(value)
    if backend == "jax" and keras.ops.is_tensor(value) and hasattr(value, "devices"):
        return np.asarray(value)
    if backend == "torch" and keras.ops.is_tensor(value):
        return _torch_to_numpy(value.detach().cpu())
    return keras.ops.convert_to_numpy(value)


def _is_mirrored(value: Tensor) -> bool:
    return isinstance(getattr(value, "values", None), tuple)


def _numpy_to_torch(array: np.ndarray) -> Tensor:
    import torch

    if array.dtype == bfloat16():
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _torch_to_numpy(tensor: keras.KerasTensor) -> np.ndarray:
    import torch

    if tensor.dtype == torch.bfloat16:
        # Keras converts through float32, which changes the bits of some NaN values.
        array = tensor.view(torch.int16).numpy().view(bfloat16())
    else:
        array = tensor.numpy().view()
    array.flags.writeable = False
    return array


def is_on_host(variable: keras.Variable) -> bool:
    """Returns whether a variable is in host memory, where NumPy can read it."""
    value, backend = variable.value, keras.backend.backend()
    if backend == "jax":
        return all(device.platform == "cpu" for device in value.devices())
    if backend == "torch":
        return value.device.type == "cpu"
    # A mirrored variable counts too, since the host assigns it to all devices.
    device = "" if _is_mirrored(value) else str(getattr(value, "device", ""))
    return not device or "CPU" in device


def data_to_numpy(values: Array | list | tuple) -> np.ndarray:
    """Converts a batch of a user's dataset, of any library, to an array."""
    plain = isinstance(values, list | tuple | np.ndarray) or hasattr(values, "numpy")
    return np.asarray(values) if plain else to_numpy(values)


def to_tensor(array: np.ndarray, like: keras.Variable | None = None) -> Tensor:
    """Returns a value that the backend converts to a tensor with the same bits.

    On JAX, the value is placed on the device of the variable `like` if that is not the
    default device, or if the device was chosen explicitly.
    """
    if keras.backend.backend() == "jax" and like is not None:
        import jax

        place = like.value.sharding
        elsewhere = place.device_set != {jax.devices()[0]}
        chosen = elsewhere or getattr(like.value, "committed", False)
        return jax.device_put(array, place) if chosen else array
    if keras.backend.backend() != "torch" or array.dtype != bfloat16():
        return array
    return _numpy_to_torch(np.ascontiguousarray(array))


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Allocates an array in memory that any backend can use without a copy."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    # TensorFlow and JAX need addresses that are multiples of 64.
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def handed_over(array: np.ndarray, like: keras.Variable | None = None) -> Tensor:
    """Converts an array like `to_tensor`, but reuses its memory if the backend can.

    A copy of a large table would cost time and the same memory again. The array should
    come from `empty`, and must not be used afterwards.
    """
    backend = keras.backend.backend()
    fits = array.size and array.flags.c_contiguous and array.flags.writeable
    if not fits or array.ctypes.data % 64:
        return to_tensor(array, like)
    if backend == "torch":
        return _numpy_to_torch(array)
    if backend == "jax":
        import jax

        given = to_tensor(array, like)
        cut = jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype
        return given if given is not array or cut else jax.device_put(array)
    import tensorflow as tf

    if array.dtype == bfloat16():
        return tf.bitcast(handed_over(array.view(np.int16)), tf.bfloat16)
    if array.dtype.kind not in "iuf" or not array.dtype.isnative:
        return array
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def as_bits(values: Tensor) -> Tensor:
    """Reinterprets JAX floats of less than 32 bits as unsigned integers.

    XLA widens such floats even if it only copies them, which changes the bits of some
    NaN values.
    """
    import jax

    short = values.dtype.itemsize < 4
    if not short or not jax.numpy.issubdtype(values.dtype, jax.numpy.floating):
        return values
    bits = np.dtype(f"uint{8 * values.dtype.itemsize}")
    return jax.lax.bitcast_convert_type(values, bits)


def from_bits(values: Tensor, dtype: np.dtype) -> Tensor:
    """Reinterprets the result of `as_bits` as values of a dtype again."""
    import jax

    if values.dtype == dtype:
        return values
    return jax.lax.bitcast_convert_type(values, dtype)


def bfloat16() -> np.dtype:
    """Returns the NumPy dtype of bfloat16, from ml_dtypes, which Keras requires."""
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def digest(variable: keras.Variable) -> str:
    """Computes a digest of a variable's value, or of the shards in this process."""
    value = variable.value
    parts = [value]
    if keras.backend.backend() == "jax":
        parts = [shard.data for shard in value.addressable_shards]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(to_numpy(part)).tobytes())
    return digest.hexdigest()


Place = slice | int | EllipsisType | tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class LazyArray:
    """Array that is read on access, and in parts: `lazy_array[slices]`."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Place], np.ndarray]

    def __getitem__(self, place: Place) -> np.ndarray:
        return self.read(place)
