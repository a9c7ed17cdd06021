"""The layers of two runs, and which of one is which of the other.

A weights file is a tree of groups, named by class and a counter; a model is made into the
same tree. Layers are matched by their names. Those that bear Keras's automatic names are
matched by the attribute that holds them, or by their order among the layers of their
class, and then only where both sides have the same number and shapes of them.
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

# For the `id` of a variable, the axes along which it may have a vocabulary.
Axes = dict[int, frozenset[int]]

# What a layer saves: in a run a `LazyArray`, of a model at hand what it has now.
Value: TypeAlias = LazyArray | keras.Variable | Tensor


@dataclass(eq=False)
class SavedLayer:
    """A layer as a run has saved it, or would save it."""

    path: str  # path of names in the model; empty for the model itself
    # Where its parent holds it: an attribute, or a container and in that the class and a
    # counter (`layers/dense_1`); empty where that is not known.
    place: str
    kind: str  # its class in snake case; empty where that is not known
    values: dict[str, Value]  # what is saved of it, by key
    layer: keras.Layer | None = None  # the layer itself; None in a file
    group: str = ""  # path of its group in a file
    # The layers inside it, those of one class in their order.
    children: list["SavedLayer"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def order(self) -> list:
        """Sorts layers as a file numbers them: `dense_10` after `dense_9`."""
        return _in_order(self.group)

    @property
    def stem(self) -> str:
        """What its class is called; an embedding of ours is in place of Keras's own."""
        kind = self.kind or re.sub(r"_\d+$", "", self.name)
        return "embedding" if kind == "warm_start_embedding" else kind

    @property
    def has_automatic_name(self) -> bool:
        """Whether Keras made its name; False where its class is not known."""
        return bool(self.kind) and _is_automatic(self.name, self.kind)

    @property
    def arrays(self) -> dict[str, Value]:
        """What is saved of it but the vocabulary of an embedding of ours."""
        return {key: v for key, v in self.values.items() if key != VOCABULARY_KEY}

    def walk(self) -> Iterator["SavedLayer"]:
        """Itself, and all inside it."""
        yield self
        for child in self.children:
            yield from child.walk()


def _is_automatic(name: str, kind: str) -> bool:
    return bool(re.fullmatch(rf"{re.escape(kind)}(_\d+)?", name))


def tree(groups: dict[str, SavedLayer]) -> SavedLayer:
    """Puts layers into their parents; `groups` by the path of their group in a file.

    A layer comes with its name as path, and without a place.
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
    """So that `dense_10` comes after `dense_9`, and a layer after its parent."""
    return [
        [int(p) if i % 2 else p for i, p in enumerate(re.split(r"(\d+)", name))]
        for name in group.split("/")
    ]


def match(
    theirs: SavedLayer, ours: SavedLayer, axes: Axes
) -> list[tuple[SavedLayer, SavedLayer]]:
    """Pairs of layers that are the same, each of a run with one of the model at hand.

    Along `axes`, a variable of ours may have had another size.
    """
    pairs: list[tuple[SavedLayer, SavedLayer]] = []

    def pair(one: SavedLayer, other: SavedLayer) -> None:
        pairs.append((one, other))
        for child, own in _same(one.children, other.children, axes):
            pair(child, own)

    pair(theirs, ours)
    # A layer that was moved into, or out of, another one.
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
    """Layers whose name was given to them, and is borne by no other."""
    names = Counter(layer.name for layer in layers)
    return {
        layer.name: layer
        for layer in layers
        if names[layer.name] == 1 and not layer.has_automatic_name
    }


def _same(
    theirs: list[SavedLayer], ours: list[SavedLayer], axes: Axes
) -> list[tuple[SavedLayer, SavedLayer]]:
    """Pairs among the children of one parent."""
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
    """Whether the name may be an automatic one of that class."""
    if layer.kind:
        return layer.has_automatic_name
    return _is_automatic(layer.name.removeprefix("warm_start_"), stem)


def _both_named(one: SavedLayer, other: SavedLayer) -> bool:
    """Whether the user gave a name to either of them: then these tell them apart."""
    return not other.has_automatic_name and not _has_name_of(other.stem, one)


def _is_like(one: SavedLayer, other: SavedLayer, axes: Axes) -> bool:
    """Whether two layers have the same shapes, and so have all inside them."""
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
    """The layers inside it that have arrays: by their attribute, or by their class."""
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
    """What a run has of a layer, and what that layer has now; None if it has others."""
    theirs, ours = one.arrays, other.arrays
    if theirs.keys() != ours.keys():
        return None
    return [(theirs[key], ours[key]) for key in theirs]


def _is_alike(before: LazyArray, now: keras.Variable, axes: Collection[int]) -> bool:
    """Whether two arrays have the same shape but along some axes."""
    shapes = list(map(int, before.shape)), list(map(int, now.shape))
    return len(shapes[0]) == len(shapes[1]) and all(
        one == other or axis in axes
        for axis, (one, other) in enumerate(zip(*shapes, strict=True))
    )


def check_width(
    path: str, before: LazyArray, now: keras.Variable, axes: Collection[int]
) -> None:
    """Refuses a table of another shape than it had, but for its size along `axes`."""
    if _is_alike(before, now, axes):
        return
    if set(axes) == {0}:
        raise WarmStartError(
            f"Layer '{path}' must be as wide as it was in the previous run. Received: "
            f"width {now.shape[-1]} now, width {before.shape[-1]} there. Build the model "
            f"with `output_dim={before.shape[-1]}`, or give the layer another name to "
            "start it anew."
        )
    raise WarmStartError(
        f"Layer '{path}' must have the shape that it had in the previous run, but for "
        f"the vocabulary. Received: {tuple(now.shape)} now, {tuple(before.shape)} there. "
        "Give the layer another name to start it anew."
    )
