"""Values of any backend as NumPy arrays, bit for bit, and the way back."""

import hashlib
from typing import Any

import keras
import numpy as np


def to_numpy(value: Any) -> np.ndarray:
    """A variable or tensor of any backend as an array, which may share its memory."""
    # Nothing private, but `convert_to_numpy` of a variable makes NumPy 2 warn.
    if isinstance(value, keras.Variable):
        value = value.value
    backend = keras.backend.backend()
    if backend == "tensorflow" and hasattr(value, "numpy"):
        return value.numpy()
    if backend == "torch" and str(getattr(value, "dtype", "")) == "torch.bfloat16":
        # By way of float32, as Keras does it, some kinds of NaN change.
        import torch

        bits = value.detach().cpu().view(torch.int16).numpy()
        return bits.view(bfloat16())
    return keras.ops.convert_to_numpy(value)


def data_to_numpy(values: Any) -> np.ndarray:
    """What a user's dataset yields, of whatever library, as an array."""
    plain = isinstance(values, list | tuple | np.ndarray) or hasattr(values, "numpy")
    return np.asarray(values) if plain else to_numpy(values)


def to_tensor(array: np.ndarray, like: Any = None) -> Any:
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
    import torch

    bits = np.ascontiguousarray(array).view(np.int16)
    return torch.from_numpy(bits).view(torch.bfloat16)


def bfloat16() -> np.dtype:
    """The dtype that NumPy arrays of bfloat16 have: of ml_dtypes, which Keras needs."""
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def digest(variable: Any) -> str:
    """A digest of a variable's value; of the part that this process holds."""
    value = variable.value
    parts = [value]
    if keras.backend.backend() == "jax":
        parts = [shard.data for shard in value.addressable_shards]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(to_numpy(part)).tobytes())
    return digest.hexdigest()
