"""Matches the layers of two runs.

A weights file is a tree of groups, which are named by class and a counter. A model is
converted to the same tree. Layers are matched by name. Layers with automatic names of
Keras are matched by the attribute of their parent. Otherwise they are matched by their
order among the layers of their class, if both sides have the same number of them and the
same shapes.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import keras

from warmstart_keras.backend import LazyArray, Tensor
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import VOCABULARY_KEY

# Axes of each variable that may follow a vocabulary, by the variable's `id`.
Axes = dict[int, frozenset[int]]

# A value that a layer saves: a `LazyArray` in a run, the present value in a live model.
Value: TypeAlias = LazyArray | keras.Variable | Tensor


@dataclass(eq=False)
class SavedLayer:
    """Layer of a run, in the form that saving writes."""

    path: str  # path of names in the model; empty for the model itself
    # Its place in its parent: an attribute, or a container with the class and a counter
    # (`layers/dense_1`). Empty if unknown.
    place: str
    kind: str  # its class in snake case; empty if unknown
    values: dict[str, Value]  # its saved values, by key
    layer: keras.Layer | None = None  # the layer object; None in a file
    group: str = ""  # path of its group in a file
    # The layers inside it. Layers of one class are in their order.
    children: list["SavedLayer"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def order(self) -> list:
        """Sort key in the order of a file's numbers: `dense_10` after `dense_9`."""
        return _in_order(self.group)

    @property
    def stem(self) -> str:
        """Class in snake case; a `WarmStartEmbedding` counts as an `Embedding`."""
        kind = self.kind or re.sub(r"_\d+$", "", self.name)
        return "embedding" if kind == "warm_start_embedding" else kind

    @property
    def has_automatic_name(self) -> bool:
        """True if Keras generated the name; False if the class is unknown."""
        return bool(self.kind) and _is_automatic(self.name, self.kind)

    @property
    def arrays(self) -> dict[str, Value]:
        """Saved values without the vocabulary of a `WarmStartEmbedding`."""
        return {key: v for key, v in self.values.items() if key != VOCABULARY_KEY}

    def walk(self) -> Iterator["SavedLayer"]:
        """Yields the layer and all layers inside it."""
        yield self
        for child in self.children:
            yield from child.walk()


def _is_automatic(name: str, kind: str) -> bool:
    return bool(re.fullmatch(rf"{re.escape(kind)}(_\d+)?", name))


def tree(groups: dict[str, SavedLayer]) -> SavedLayer:
    """Builds the tree of layers and returns its root.

    Args:
        groups: The layers by the paths of their groups in a file. The path of each layer
            is its name, and its place is empty. Both are set here.
    """
    root = groups.get("") or SavedLayer("", "", "", {})
    known: dict[str, SavedLayer] = {"": root}
    root.path = ""
    for group in sorted(set(groups) - {""}, key=_in_order):
        layer, parent = groups[group], group
        while parent not in known or parent == group:
            parent = parent.rpartition("/")[0]
        above = known[parent]
        layer.group, layer.place = group, group[len(parent) :].lstrip("/")
        layer.path = f"{above.path}/{layer.name}".lstrip("/")
        if not layer.kind and "/" in layer.place:
            layer.kind = re.sub(r"_\d+$", "", layer.place.rpartition("/")[2])
        above.children.append(layer)
        known[group] = layer
    return root


def _in_order(group: str) -> list:
    """Returns a sort key: `dense_10` after `dense_9`, and a layer after its parent."""
    return [
        [int(p) if i % 2 else p for i, p in enumerate(re.split(r"(\d+)", name))]
        for name in group.split("/")
    ]


def match(
    theirs: SavedLayer, ours: SavedLayer, axes: Axes
) -> list[tuple[SavedLayer, SavedLayer]]:
    """Pairs the layers of a run with the layers of a model.

    A variable of the model may have had another size along its `axes`.
    """
    pairs: list[tuple[SavedLayer, SavedLayer]] = []

    def pair(one: SavedLayer, other: SavedLayer) -> None:
        pairs.append((one, other))
        for child, own in _same(one.children, other.children, axes):
            pair(child, own)

    pair(theirs, ours)
    # A layer may have been moved into or out of another layer.
    found = {id(layer) for both in pairs for layer in both}
    left, own = (
        _by_name([layer for layer in root.walk() if id(layer) not in found])
        for root in (theirs, ours)
    )
    for name in own.keys() & left.keys():
        taken = {id(layer) for both in pairs for layer in both}
        if not {id(left[name]), id(own[name])} & taken:
            pair(left[name], own[name])
    return pairs


def _by_name(layers: list[SavedLayer]) -> dict[str, SavedLayer]:
    """Returns the layers that have a unique name from the user, by name."""
    names = Counter(layer.name for layer in layers)
    return {
        layer.name: layer
        for layer in layers
        if names[layer.name] == 1 and not layer.has_automatic_name
    }


def _same(
    theirs: list[SavedLayer], ours: list[SavedLayer], axes: Axes
) -> list[tuple[SavedLayer, SavedLayer]]:
    """Pairs the layers inside two matched parents."""
    pairs = []
    left, own = list(theirs), list(ours)

    def take(one: SavedLayer, other: SavedLayer) -> None:
        pairs.append((one, other))
        left.remove(one)
        own.remove(other)

    named = _by_name(own)
    for name, one in _by_name(left).items():
        if name in named:
            take(one, named[name])
    places = {other.place: other for other in own if "/" not in other.place}
    for one in list(left):
        other = places.get(one.place)
        if one.place and other is not None and not _both_named(one, other):
            take(one, other)
    for group in dict.fromkeys(map(_group, own)):
        now = [layer for layer in own if _group(layer) == group]
        now = [layer for layer in now if layer.has_automatic_name]
        before = [layer for layer in left if _is_in(group, layer)]
        before = [layer for layer in before if _has_name_of(group[1], layer)]
        if len(before) != len(now):
            continue
        both = list(zip(before, now, strict=True))
        if all(_is_like(one, other, axes) for one, other in both):
            for one, other in both:
                take(one, other)
        elif group[1] == "embedding":
            for one, other in both:
                for stored, value in paired_arrays(one, other) or []:
                    check_width(other.path, stored, value, axes.get(id(value), ()))
    return pairs


def _group(layer: SavedLayer) -> tuple[str, str]:
    return layer.place.rpartition("/")[0], layer.stem


def _is_in(group: tuple[str, str], layer: SavedLayer) -> bool:
    container, stem = _group(layer)
    return stem == group[1] and (not layer.place or container == group[0])


def _has_name_of(stem: str, layer: SavedLayer) -> bool:
    """Returns whether the name may be an automatic name of that class."""
    if layer.kind:
        return layer.has_automatic_name
    return _is_automatic(layer.name.removeprefix("warm_start_"), stem)


def _both_named(one: SavedLayer, other: SavedLayer) -> bool:
    """Returns whether the user named both layers, so that they are different layers."""
    return not other.has_automatic_name and not _has_name_of(other.stem, one)


def _is_like(one: SavedLayer, other: SavedLayer, axes: Axes) -> bool:
    """Returns whether two layers, and all layers inside them, have the same shapes."""
    both = paired_arrays(one, other)
    if both is None or not all(
        _is_alike(stored, value, axes.get(id(value), ())) for stored, value in both
    ):
        return False
    theirs, ours = _by_role(one), _by_role(other)
    return theirs.keys() == ours.keys() and all(
        len(theirs[role]) == len(ours[role])
        and all(
            _is_like(a, b, axes) for a, b in zip(theirs[role], ours[role], strict=True)
        )
        for role in ours
    )


def _by_role(layer: SavedLayer) -> dict[str, list[SavedLayer]]:
    """Groups the child layers that have arrays by their attribute or their class."""
    found: dict[str, list[SavedLayer]] = {}
    for child in layer.children:
        if any(inside.arrays for inside in child.walk()):
            is_attribute = child.place and "/" not in child.place
            role = child.place if is_attribute else child.stem
            found.setdefault(role, []).append(child)
    return found


def paired_arrays(
    one: SavedLayer, other: SavedLayer
) -> list[tuple[LazyArray, keras.Variable | Tensor]] | None:
    """Pairs the arrays of two layers, or returns None if their keys differ."""
    theirs, ours = one.arrays, other.arrays
    if theirs.keys() != ours.keys():
        return None
    return [(theirs[key], ours[key]) for key in theirs]


def _is_alike(before: LazyArray, now: keras.Variable, axes: Collection[int]) -> bool:
    """Returns whether two arrays have the same shape except along `axes`."""
    shapes = list(map(int, before.shape)), list(map(int, now.shape))
    return len(shapes[0]) == len(shapes[1]) and all(
        one == other or axis in axes
        for axis, (one, other) in enumerate(zip(*shapes, strict=True))
    )


def check_width(
    path: str, before: LazyArray, now: keras.Variable, axes: Collection[int]
) -> None:
    """Checks that a table has the shape that it had, except along `axes`.

    Raises:
        WarmStartError: If the shapes differ along another axis.
    """
    if _is_alike(before, now, axes):
        return
    if set(axes) == {0}:
        raise WarmStartError(
            f"Layer '{path}' must be as wide as in the previous run. Received: width "
            f"{now.shape[-1]} now, width {before.shape[-1]} there. Build the model with "
            f"`output_dim={before.shape[-1]}`. To start with fresh weights, give the "
            "layer a new name: `name='new_name'`."
        )
    raise WarmStartError(
        f"Layer '{path}' must have the same shape as in the previous run, except along "
        f"the vocabulary's axis. Received: {tuple(now.shape)} now, "
        f"{tuple(before.shape)} there. To start with fresh weights, give the layer a new "
        "name: `name='new_name'`."
    )
