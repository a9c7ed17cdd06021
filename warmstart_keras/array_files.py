"""Arrays in memory and in files, as `remap` takes and gives them."""

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import keras
import numpy as np

from warmstart_keras import tensors
from warmstart_keras.errors import WarmStartError

_CHUNK = 2**14  # rows that are copied at a time


def opened(array: Any, stack: ExitStack) -> np.ndarray:
    """What `remap` was given, as an array; what is larger than memory as a file's.

    Raises:
        WarmStartError: If it is no numeric array, or a file without one.
    """
    if isinstance(array, str | os.PathLike):
        try:
            file = np.lib.format.open_memmap(os.fspath(array), "r")
        except (EOFError, OSError, ValueError) as error:
            raise WarmStartError(
                "`array` must be an array, or the path of a `.npy` file that has one, "
                f"whole and without Python objects. Received: array='{array}' ({error})"
            ) from error
        return numeric(file, "array")
    is_sliced = hasattr(array, "shape") and hasattr(array, "dtype")
    is_at_hand = isinstance(array, np.ndarray | keras.Variable) or (
        keras.ops.is_tensor(array) or hasattr(array, "numpy")
    )
    if is_at_hand or not is_sliced or not len(array.shape):
        return numeric(array, "array")
    # Its rows are asked for in any order, for which such files are not made.
    room = TemporaryFile()  # noqa: SIM115
    stack.callback(room.close)
    copy = np.memmap(room, array.dtype, "w+", shape=tuple(array.shape))
    for first in range(0, len(copy), _CHUNK):
        copy[first : first + _CHUNK] = array[first : first + _CHUNK]
    return numeric(copy, "array")


def numeric(array: Any, name: str) -> np.ndarray:
    """An array, tensor or variable as a NumPy array.

    Raises:
        WarmStartError: If its dtype is not numeric.
    """
    values = array if isinstance(array, np.ndarray) else tensors.to_numpy(array)
    # bfloat16 and its like (ml_dtypes) are of kind "V", but can be cast.
    kind = values.dtype.kind
    if kind in "iufc" or (kind == "V" and np.can_cast(values.dtype, np.float32)):
        return values
    raise WarmStartError(
        f"`{name}` must have a numeric dtype. Received: dtype={values.dtype}"
    )


def check_path(out: Any) -> None:
    """Refuses a path that no `.npy` file can be written to.

    Raises:
        WarmStartError: If it ends otherwise, or its folder is not there.
    """
    if Path(out).suffix != ".npy":
        raise WarmStartError(
            f"`out` must be the path of a `.npy` file. Received: out='{out}'"
        )
    if not Path(out).parent.is_dir():
        raise WarmStartError(
            f"`out` must be in a folder that exists. Received: out='{out}'"
        )


def check_out(out: Any, shape: tuple[int, ...], values: np.ndarray, axis: int) -> None:
    """Refuses what the result cannot be written into.

    Raises:
        WarmStartError: If it is of another kind, shape or dtype, cannot be written to,
            or shares memory or a file with `values`.
    """
    is_array = isinstance(out, np.ndarray)
    takes_slices = axis == 0 and hasattr(out, "__setitem__")
    if (
        not (is_array or takes_slices)
        or tuple(getattr(out, "shape", ())) != shape
        or getattr(out, "dtype", None) != values.dtype
        or (is_array and not out.flags.writeable)
    ):
        others = "" if axis else " (or what takes `out[first:last] = rows`)"
        raise WarmStartError(
            f"`out` must be a NumPy array of shape {shape} and dtype {values.dtype}, and "
            f"writeable{others}. Received: out of type {type(out).__name__}, "
            f"shape={np.shape(out)}, dtype={getattr(out, 'dtype', None)}, axis={axis}"
        )
    if is_array and (np.may_share_memory(out, values) or _share_a_file(out, values)):
        raise WarmStartError(
            "`out` must be apart from `array` in memory and on disk: the rows of `array` "
            "are needed to the end. Received: an `out` that shares memory or a file with "
            "it. To write over a file, give its path as `out`."
        )


def _share_a_file(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays look at the same part of a file, maybe by two mappings."""
    a, b = _mapping_of(one), _mapping_of(other)
    # An unnamed temporary file, of which nobody else has a mapping, has no name.
    if a is None or b is None or not a.filename or not b.filename:
        return False
    overlap = a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
    return overlap and os.path.samefile(a.filename, b.filename)


def _mapping_of(array: Any) -> np.memmap | None:
    """The mapping of a file that an array is, or is a view of."""
    found = None
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            found = array  # of views the last one is the whole
        array = array.base
    return found


def read_only(view: np.ndarray) -> np.ndarray:
    """The same view, closed for writing."""
    view.flags.writeable = False
    return view
