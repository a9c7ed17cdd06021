"""Moves of the rows of JAX arrays on several devices, without gathering the arrays.

Each device gets the row map, and sends rows to other devices. No device or process ever
holds more of an array than its own shard and a block of a neighbor's shard. A block is a
range of columns, so the shards of an array with one column are sent whole.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import keras
import numpy as np

from warmstart_keras.backend import tensors
from warmstart_keras.backend.tensors import Tensor

if TYPE_CHECKING:
    import jax

_BLOCK = 8 * 2**20  # bytes of a neighbor's shard that a device holds at a time


def sharding_of(variable: keras.Variable) -> "jax.sharding.NamedSharding | None":
    """Returns the `jax.sharding.NamedSharding` of a variable; None if it has none."""
    if keras.backend.backend() != "jax":
        return None
    import jax

    sharding = getattr(variable.value, "sharding", None)
    return sharding if isinstance(sharding, jax.sharding.NamedSharding) else None


def spans_processes(variable: keras.Variable) -> bool:
    """Returns whether no process holds the whole value of a variable."""
    value = variable.value
    return sharding_of(variable) is not None and not (
        value.is_fully_addressable or value.is_fully_replicated
    )


def shards_along(variable: keras.Variable, axis: int) -> int:
    """Returns the number of shards along an axis of a variable."""
    sharding = sharding_of(variable)
    return 1 if sharding is None else _parts(sharding, axis)


def rounded_up(rows: int, parts: int) -> int:
    """Rounds a number of rows up, so that it can be cut into equal parts."""
    return -(-rows // parts) * parts


def shards_of_new(path: str, shape: tuple[int, ...]) -> int:
    """Returns the number of shards of rows that a variable created now would have."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    # A distribution reads only these two attributes of a variable without a layout.
    described = SimpleNamespace(path=path, shape=shape)
    layout = distribution.get_variable_layout(described)
    sharding = getattr(layout, "backend_layout", layout)
    # A custom distribution can return other types of layouts. Keras checks these.
    return _parts(sharding, 0) if hasattr(sharding, "spec") else 1


def full(like: Tensor, axis: int, rows: int, value: float) -> Tensor:
    """Creates an array of one number, sharded like `like`, with `rows` along an axis."""
    import jax

    shape = (*like.shape[:axis], rows, *like.shape[axis + 1 :])
    make = partial(jax.numpy.full, shape, value, like.dtype)
    return jax.jit(make, out_shardings=like.sharding)()


def made(like: Tensor, values: Callable) -> Tensor:
    """Creates an array sharded like `like`; `values` maps a tuple of slices to a part."""
    import jax

    return jax.make_array_from_callback(like.shape, like.sharding, values)


def stacked(like: Tensor, axis: int, rows: int, values: Callable) -> Tensor:
    """Creates an array from rows that this process makes, sharded like another array.

    Args:
        like: The other array.
        axis: The axis of the rows.
        rows: Number of rows. Unused rows are added at the end, so that the rows can be
            cut into equal parts.
        values: Called with a slice of the rows and a slice of each other axis. Returns
            this part, rows first. It is called for one shard at a time.
    """
    import jax

    parts = _parts(like.sharding, axis)
    shape = (*like.shape[:axis], rounded_up(rows, parts), *like.shape[axis + 1 :])

    def shard(place: tuple[slice, ...] | None) -> np.ndarray:
        assert place is not None
        bounds = [cut.indices(size)[:2] for cut, size in zip(place, shape, strict=True)]
        made = np.zeros([stop - start for start, stop in bounds], like.dtype)
        start, stop = bounds[axis]
        if start < rows:
            others = tuple(cut for i, cut in enumerate(place) if i != axis)
            found = values(slice(start, min(stop, rows)), others)
            np.moveaxis(made, axis, 0)[: len(found)] = found
        return made

    return jax.make_array_from_callback(shape, like.sharding, shard)


def merged(
    into: Tensor, source: Tensor, indices: np.ndarray, axis: int, block: int = _BLOCK
) -> Tensor:
    """Copies rows of `source` into the array `into`.

    Args:
        into: The array. Its memory is reused, so it cannot be used afterwards.
        source: Array that is sharded like `into` along all axes except, possibly, `axis`.
        indices: For each row of `into`, the row of `source` that replaces it; -1 keeps
            the row.
        axis: The axis of the rows.
        block: Bytes of a neighbor's shard that a device holds at a time.

    Returns:
        The array with the copied rows.
    """
    import jax

    mesh, spec = source.sharding.mesh, _spec(source)
    names = jax.sharding.PartitionSpec(_spec(into)[axis])
    places = jax.make_array_from_callback(
        indices.shape,
        jax.sharding.NamedSharding(mesh, names),
        lambda place: indices[place].astype(np.int32),
    )
    return _merge(mesh, _spec(into), spec, axis, block)(into, places, source)


def merged_at(
    into: Tensor, source: Tensor, rows: np.ndarray | range, axis: int
) -> Tensor:
    """Copies the first rows of `source` to the places `rows` of the array `into`."""
    indices = np.full(into.shape[axis], -1)
    indices[rows] = np.arange(len(rows))
    return merged(into, source, indices, axis)


def read_rows(value: Tensor, axis: int, rows: np.ndarray) -> np.ndarray:
    """Reads a few rows of an array, rows first, in every process."""
    import jax

    spec = list(_spec(value))
    spec[axis] = None
    sharding = jax.sharding.NamedSharding(
        value.sharding.mesh, jax.sharding.PartitionSpec(*spec)
    )
    shape = (*value.shape[:axis], len(rows), *value.shape[axis + 1 :])
    empty = jax.make_array_from_callback(
        shape, sharding, lambda place: np.zeros(sharding.shard_shape(shape), value.dtype)
    )
    found = merged(empty, value, rows, axis)
    replicated = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    return np.moveaxis(np.asarray(jax.device_put(found, replicated)), axis, 0)


def wait_for(*arrays: Tensor) -> None:
    """Waits until arrays are computed, since JAX raises errors only then."""
    import jax

    jax.block_until_ready(arrays)


def taken(value: Tensor, axis: int, rows: np.ndarray) -> Tensor:
    """Takes some rows of an array, sharded like it; unused rows are added at the end."""
    parts = _parts(value.sharding, axis)
    indices = np.full(rounded_up(len(rows), parts), -1)
    indices[: len(rows)] = rows
    return merged(full(value, axis, len(indices), 0), value, indices, axis)


def _spec(value: Tensor) -> tuple:
    """Returns the mesh axes that shard each axis of an array."""
    spec = tuple(value.sharding.spec)
    return spec + (None,) * (value.ndim - len(spec))


def _parts(sharding: "jax.sharding.NamedSharding", axis: int) -> int:
    return _size(sharding.mesh, dict(enumerate(sharding.spec)).get(axis))


def _size(mesh: "jax.sharding.Mesh", names: str | Sequence[str] | None) -> int:
    """Returns how many devices a mesh has along the named axes; 1 for None."""
    names = (names,) if isinstance(names, str) else names or ()
    return math.prod(mesh.shape[name] for name in names)


@lru_cache(maxsize=64)
def _merge(
    mesh: "jax.sharding.Mesh",
    into_spec: tuple,
    source_spec: tuple,
    axis: int,
    block: int = _BLOCK,
) -> Callable:
    """Creates the compiled function that does the work of `merged`.

    The shards of `source` pass around a ring of devices, in blocks. Each device takes the
    rows that it needs from every block. There is no arithmetic, so rows stay the same bit
    for bit, including NaN and -0.0.
    """
    import jax
    import jax.numpy as jnp

    names = source_spec[axis]
    parts = _size(mesh, names)
    spec = jax.sharding.PartitionSpec

    def shards(into: Tensor, places: Tensor, source: Tensor) -> Tensor:
        size = source.shape[axis]
        mine = 0 if names is None else jax.lax.axis_index(names)
        wide = [1] * into.ndim
        wide[axis] = places.shape[0]

        def pass_on(into: Tensor, passing: Tensor) -> Tensor:
            def step(_: Tensor, state: tuple) -> tuple:
                into, passing, owner = state
                local = places - owner * size
                here = ((local >= 0) & (local < size)).reshape(wide)
                found = jnp.take(passing, jnp.clip(local, 0, size - 1), axis=axis)
                into = jnp.where(here, found, into)
                if parts > 1:
                    # The number of the owner is sent along, since `axis_index` counts
                    # several mesh axes in another order than this ring.
                    ring = [(i, (i - 1) % parts) for i in range(parts)]
                    passing, owner = jax.lax.ppermute((passing, owner), names, ring)
                return into, passing, owner

            return jax.lax.fori_loop(0, parts, step, (into, passing, mine))[0]

        return _by_blocks(pass_on, into, source, axis, block) if size else into

    @partial(jax.jit, donate_argnums=0)
    def merge(into: Tensor, places: Tensor, source: Tensor) -> Tensor:
        made = jax.shard_map(
            shards,
            mesh=mesh,
            in_specs=(spec(*into_spec), spec(into_spec[axis]), spec(*source_spec)),
            out_specs=spec(*into_spec),
            check_vma=False,  # it cannot see that all devices take the same rows
        )(tensors.as_bits(into), places, tensors.as_bits(source))
        return tensors.from_bits(made, into.dtype)

    return merge


def _by_blocks(
    pass_on: Callable, into: Tensor, source: Tensor, axis: int, block: int
) -> Tensor:
    """Applies `pass_on` to blocks of columns, so that a shard is sent in small parts."""
    import jax

    others = [i for i in range(source.ndim) if i != axis]
    if not others or source.nbytes <= block:
        return pass_on(into, source)
    cut = max(others, key=lambda i: source.shape[i])
    width = source.shape[cut]
    step = max(1, min(width, width * block // source.nbytes))

    def one(number: Tensor, into: Tensor) -> Tensor:
        # The last block can overlap the previous block, and writes the same rows again.
        start = jax.numpy.minimum(number * step, width - step)
        part = jax.lax.dynamic_slice_in_dim(into, start, step, cut)
        passing = jax.lax.dynamic_slice_in_dim(source, start, step, cut)
        part = pass_on(part, passing)
        return jax.lax.dynamic_update_slice_in_dim(into, part, start, cut)

    return jax.lax.fori_loop(0, -(-width // step), one, into)
