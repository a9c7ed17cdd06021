"""Rows of JAX arrays that lie on several devices, moved without gathering them.

The row map travels, the rows move where they live: no device and no process ever holds
more of a sharded array than its own shard, and a block of that of a neighbour: of its
columns, so that an array of one column travels by whole shards.
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

# Bytes of a neighbour's shard that a device holds at a time.
_BLOCK = 8 * 2**20


def sharding_of(variable: keras.Variable) -> "jax.sharding.NamedSharding | None":
    """The `jax.sharding.NamedSharding` of a variable; None where it is on one device."""
    if keras.backend.backend() != "jax":
        return None
    import jax

    sharding = getattr(variable.value, "sharding", None)
    return sharding if isinstance(sharding, jax.sharding.NamedSharding) else None


def spans_processes(variable: keras.Variable) -> bool:
    """Whether no process holds a variable's whole value."""
    value = variable.value
    return sharding_of(variable) is not None and not (
        value.is_fully_addressable or value.is_fully_replicated
    )


def shards_along(variable: keras.Variable, axis: int) -> int:
    """Into how many parts an axis of a variable is cut."""
    sharding = sharding_of(variable)
    return 1 if sharding is None else _parts(sharding, axis)


def rounded_up(rows: int, parts: int) -> int:
    """The least number of rows, not below `rows`, that can be cut into equal parts."""
    return -(-rows // parts) * parts


def shards_of_new(path: str, shape: tuple[int, ...]) -> int:
    """Into how many parts the rows of a variable will be cut that is made now."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    # All that a distribution asks of a variable which has no layout of its own.
    described = SimpleNamespace(path=path, shape=shape)
    layout = distribution.get_variable_layout(described)
    sharding = getattr(layout, "backend_layout", layout)
    # Whatever else a distribution of the user's own may give is Keras's to judge.
    return _parts(sharding, 0) if hasattr(sharding, "spec") else 1


def full(like: Tensor, axis: int, rows: int, value: float) -> Tensor:
    """An array of one number, sharded as another one, with `rows` along an axis."""
    import jax

    shape = (*like.shape[:axis], rows, *like.shape[axis + 1 :])
    make = partial(jax.numpy.full, shape, value, like.dtype)
    return jax.jit(make, out_shardings=like.sharding)()


def made(like: Tensor, values: Callable) -> Tensor:
    """An array sharded as another one; `values` gives the part at a tuple of slices."""
    import jax

    return jax.make_array_from_callback(like.shape, like.sharding, values)


def stacked(like: Tensor, axis: int, rows: int, values: Callable) -> Tensor:
    """Rows that are made by this process, sharded as an array is.

    Args:
        like: The array.
        axis: The axis that has the rows.
        rows: How many rows there are. As many rows that mean nothing follow them as it
            takes to cut them into equal parts.
        values: Called with a slice of the rows and one of each other axis; gives that
            part, rows first. It is asked for one shard at a time.
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


def merged(into: Tensor, source: Tensor, indices: np.ndarray, axis: int) -> Tensor:
    """The array `into`, but with those rows of `source` that `indices` names.

    Args:
        into: The array; it is used up.
        source: Array with the same sharding of all axes but maybe this one.
        indices: For each row of `into` the row of `source` that shall stand there; -1
            where it stays as it is.
        axis: The axis that has the rows.
    """
    import jax

    mesh, spec = source.sharding.mesh, _spec(source)
    names = jax.sharding.PartitionSpec(_spec(into)[axis])
    places = jax.make_array_from_callback(
        indices.shape,
        jax.sharding.NamedSharding(mesh, names),
        lambda place: indices[place].astype(np.int32),
    )
    return _merge(mesh, _spec(into), spec, axis)(into, places, source)


def merged_at(
    into: Tensor, source: Tensor, rows: np.ndarray | range, axis: int
) -> Tensor:
    """The array `into`, but with the first rows of `source` at the places `rows`."""
    indices = np.full(into.shape[axis], -1)
    indices[rows] = np.arange(len(rows))
    return merged(into, source, indices, axis)


def read_rows(value: Tensor, axis: int, rows: np.ndarray) -> np.ndarray:
    """A few rows of an array, rows first, in every process."""
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
    """Waits until arrays are there: JAX tells of what failed only then."""
    import jax

    jax.block_until_ready(arrays)


def taken(value: Tensor, axis: int, rows: np.ndarray) -> Tensor:
    """Some rows of an array, sharded as it is: followed by some that mean nothing."""
    parts = _parts(value.sharding, axis)
    indices = np.full(rounded_up(len(rows), parts), -1)
    indices[: len(rows)] = rows
    return merged(full(value, axis, len(indices), 0), value, indices, axis)


def _spec(value: Tensor) -> tuple:
    """The mesh axes by which each axis of an array is cut."""
    spec = tuple(value.sharding.spec)
    return spec + (None,) * (value.ndim - len(spec))


def _parts(sharding: "jax.sharding.NamedSharding", axis: int) -> int:
    return _size(sharding.mesh, dict(enumerate(sharding.spec)).get(axis))


def _size(mesh: "jax.sharding.Mesh", names: str | Sequence[str] | None) -> int:
    """How many devices the mesh has along one axis of its own, several, or None."""
    names = (names,) if isinstance(names, str) else names or ()
    return math.prod(mesh.shape[name] for name in names)


@lru_cache(maxsize=64)
def _merge(
    mesh: "jax.sharding.Mesh", into_spec: tuple, source_spec: tuple, axis: int
) -> Callable:
    """The compiled function that does the work of `merged`.

    The shards of `source` go round in a ring, in blocks: each device takes from what
    passes by the rows that it wants. There is no arithmetic: they arrive bit for bit,
    NaN and -0.0 included.
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

        def block(into: Tensor, passing: Tensor) -> Tensor:
            def step(_: Tensor, state: tuple) -> tuple:
                into, passing, owner = state
                local = places - owner * size
                here = ((local >= 0) & (local < size)).reshape(wide)
                found = jnp.take(passing, jnp.clip(local, 0, size - 1), axis=axis)
                into = jnp.where(here, found, into)
                if parts > 1:
                    # Whose shard it is travels along: several mesh axes are counted in
                    # one order here and in another by `axis_index`.
                    ring = [(i, (i - 1) % parts) for i in range(parts)]
                    passing, owner = jax.lax.ppermute((passing, owner), names, ring)
                return into, passing, owner

            return jax.lax.fori_loop(0, parts, step, (into, passing, mine))[0]

        return _by_blocks(block, into, source, axis) if size else into

    @partial(jax.jit, donate_argnums=0)
    def merge(into: Tensor, places: Tensor, source: Tensor) -> Tensor:
        made = jax.shard_map(
            shards,
            mesh=mesh,
            in_specs=(spec(*into_spec), spec(into_spec[axis]), spec(*source_spec)),
            out_specs=spec(*into_spec),
            check_vma=False,  # what it cannot see: all devices take the same rows
        )(tensors.as_bits(into), places, tensors.as_bits(source))
        return tensors.from_bits(made, into.dtype)

    return merge


def _by_blocks(block: Callable, into: Tensor, source: Tensor, axis: int) -> Tensor:
    """Applies `block` to blocks of columns, so that little of a shard travels at once."""
    import jax

    others = [i for i in range(source.ndim) if i != axis]
    if not others or source.nbytes <= _BLOCK:
        return block(into, source)
    cut = max(others, key=lambda i: source.shape[i])
    width = source.shape[cut]
    step = max(1, min(width, width * _BLOCK // source.nbytes))

    def one(number: Tensor, into: Tensor) -> Tensor:
        # The last block may overlap the one before it: it writes the same rows again.
        start = jax.numpy.minimum(number * step, width - step)
        part = jax.lax.dynamic_slice_in_dim(into, start, step, cut)
        passing = jax.lax.dynamic_slice_in_dim(source, start, step, cut)
        part = block(part, passing)
        return jax.lax.dynamic_update_slice_in_dim(into, part, start, cut)

    return jax.lax.fori_loop(0, -(-width // step), one, into)
