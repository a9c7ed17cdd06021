"""Values of any backend as NumPy arrays, bit for bit, and the way back."""

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
    """A variable or tensor of any backend as an array; read-only, and not a copy.

    What is read so from TensorFlow and JAX stays as it is. An array from PyTorch shares
    its memory with the tensor, and follows it.
    """
    value: Tensor = array.value if isinstance(array, keras.Variable) else array
    backend = keras.backend.backend()
    # `keras.ops.convert_to_numpy` copies.
    if backend == "tensorflow" and hasattr(value, "numpy"):
        if _is_mirrored(value):
            return value.numpy()
        if hasattr(value, "read_value_no_copy"):
            # `read_value` copies a variable of which rows were ever read or updated
            # alone, as those of an embedding are, and so does `assign` until this call.
            value = value.read_value_no_copy()
        # TensorFlow copies what is looked at before it writes to it.
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
        # By way of float32, as Keras does it, some kinds of NaN change.
        array = tensor.view(torch.int16).numpy().view(bfloat16())
    else:
        array = tensor.numpy().view()
    array.flags.writeable = False
    return array


def is_on_host(variable: keras.Variable) -> bool:
    """Whether a variable is in the host's own memory, where NumPy can look at it."""
    value, backend = variable.value, keras.backend.backend()
    if backend == "jax":
        return all(device.platform == "cpu" for device in value.devices())
    if backend == "torch":
        return value.device.type == "cpu"
    # Mirrored ones are given to all of their devices by the host.
    device = "" if _is_mirrored(value) else str(getattr(value, "device", ""))
    return not device or "CPU" in device


def data_to_numpy(values: Array | list | tuple) -> np.ndarray:
    """What a user's dataset yields, of whatever library, as an array."""
    plain = isinstance(values, list | tuple | np.ndarray) or hasattr(values, "numpy")
    return np.asarray(values) if plain else to_numpy(values)


def to_tensor(array: np.ndarray, like: keras.Variable | None = None) -> Tensor:
    """What makes a tensor of the same bits when it is given to the backend.

    On JAX it is on the device where the variable `like` is, if that was chosen.
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
    """An array without content, in memory that any backend can take over as it is."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    # TensorFlow and JAX ask for addresses that are multiples of 64.
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def handed_over(array: np.ndarray, like: keras.Variable | None = None) -> Tensor:
    """What `to_tensor` gives, in the memory of an array which nobody uses any more.

    Without a copy where the backend can: of a large table each one costs time, and as
    much memory again. The array should come from `empty`.
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
    """Short floating numbers of JAX as the unsigned integers that their bits are.

    XLA widens them even where it only copies, which changes some kinds of NaN.
    """
    import jax

    short = values.dtype.itemsize < 4
    if not short or not jax.numpy.issubdtype(values.dtype, jax.numpy.floating):
        return values
    bits = np.dtype(f"uint{8 * values.dtype.itemsize}")
    return jax.lax.bitcast_convert_type(values, bits)


def from_bits(values: Tensor, dtype: np.dtype) -> Tensor:
    """The numbers of a dtype whose bits `as_bits` gave."""
    import jax

    if values.dtype == dtype:
        return values
    return jax.lax.bitcast_convert_type(values, dtype)


def bfloat16() -> np.dtype:
    """The dtype that NumPy arrays of bfloat16 have: of ml_dtypes, which Keras needs."""
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def digest(variable: keras.Variable) -> str:
    """A digest of a variable's value; of the part that this process holds."""
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
    """An array that is read when it is asked for, and in parts: `stored[slices]`."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Place], np.ndarray]

    def __getitem__(self, place: Place) -> np.ndarray:
        return self.read(place)
