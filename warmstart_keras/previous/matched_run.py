"""A previous run, matched with the model at hand: which layers, and how their rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import LayerAxis, has_layer_axes, recorded_vocabulary
from warmstart_keras.previous.keras_files import tree_of
from warmstart_keras.previous.previous_run import PreviousRun
from warmstart_keras.previous.saved_layers import (
    Axes,
    SavedLayer,
    check_width,
    match,
    paired_arrays,
)
from warmstart_keras.previous.tensorflow_files import tree_by_variable_path
from warmstart_keras.rows import LoadState, SetValue
from warmstart_keras.vocabulary import Vocabulary, VocabularySource

# A layer of a run, and the layer of the model at hand that is the same.
_Pair = tuple[SavedLayer, SavedLayer]


@dataclass(frozen=True, eq=False)
class AxisOrigin:
    """Where the rows of one axis of a layer come from: the model itself, or a run."""

    rows: int  # how many rows there are
    layer: keras.Layer | None  # the layer there; None in a file
    name: str  # what the layer is called there
    path: str  # its path there
    # What the rows stand for, where the origin says so by itself.
    vocabulary: Vocabulary | None
    # The run that they come from; None for the model itself.
    run: "MatchedRun | None" = None
    saved: SavedLayer | None = None  # the layer as the run has it
    # For the `id` of each variable, what it is in the run.
    arrays: Mapping[int, LazyArray] = field(default_factory=dict)


def origin_in_model(axis: LayerAxis) -> AxisOrigin:
    """The rows of a layer as the model itself has them."""
    known = recorded_vocabulary(axis.layer, axis.name)
    return AxisOrigin(axis.rows, axis.layer, axis.layer.name, axis.path, known)


class MatchedRun:
    """The layers of a model that a previous run has too, and what they get from it.

    Along `axes`, the model's variables may have had another size.

    Attributes:
        missing: Paths of layers of the model that the run has not.
        left_out: Paths of layers of the run that the model has not.
        notes: What the user should know, one sentence each.
    """

    def __init__(self, model: keras.Layer, previous: PreviousRun, axes: Axes) -> None:
        self.previous, self._axes = previous, axes
        self.missing: list[str] = []
        self.left_out: list[str] = []
        self.notes: list[str] = []
        self._pairs: list[_Pair] = []
        self._by_variable: dict[int, _Pair] = {}
        self._by_layer: dict[keras.Layer, _Pair] = {}
        if not previous.is_there:
            self.notes.append(
                f"there is no previous run at {previous.name} yet; the model starts as "
                "it was initialised."
            )
            return
        _check_built(model)
        state = keras_internals.saved_state(model)
        with previous.reading():
            by_path = previous.by_variable_path
            self._ours = tree_by_variable_path(state) if by_path else tree_of(state)
        _check_live(previous, self._ours)
        self._match(model)

    def _match(self, model: keras.Layer) -> None:
        theirs, ours = self.previous.root, self._ours
        tables = {
            id(keras_internals.embeddings_variable(layer))
            for _, layer in keras_internals.walk(model)
            if isinstance(layer, keras.layers.Embedding)
        }
        self._pairs = pairs = match(theirs, ours, self._axes)
        if not any(one.arrays and own.arrays for one, own in pairs):
            raise WarmStartError(
                "A model must have a layer in common with the previous run. Received: "
                f"{[layer.path for layer in ours.walk() if layer.arrays]}, and "
                f"{[layer.path for layer in theirs.walk() if layer.arrays]} in "
                f"{self.previous.name}. Give layers that are the same the same name."
            )
        found = {id(layer) for pair in pairs for layer in pair}
        self.missing, self.left_out = (
            [node.path for node in root.walk() if node.arrays and id(node) not in found]
            for root in (ours, theirs)
        )
        for pair in pairs:
            if pair[0].arrays:
                self._by_layer.setdefault(pair[1].layer, pair)
                for value in pair[1].arrays.values():
                    self._by_variable.setdefault(id(value), pair)
        self._say_what_is_not_certain(tables)
        adapted = [o.path for one, o in pairs if one.arrays and was_adapted(o.layer)]
        if adapted:
            self.notes.append(f"what `adapt` made today was kept: {', '.join(adapted)}.")

    def _say_what_is_not_certain(self, tables: set[int]) -> None:
        def has_table(layer: SavedLayer) -> bool:
            return any(id(value) in tables for value in layer.arrays.values())

        by_order = [
            inside.path
            for _, own in self._pairs
            if own.has_automatic_name and "/" in own.place
            for inside in own.walk()
            if has_table(inside)
        ]
        if len(by_order) > 1:
            self.notes.append(
                "embedding layers with automatic names, or in layers with such, were "
                f"matched by their order: {', '.join(by_order)}. Give names to them."
            )
        tables_now = [layer.path for layer in self._ours.walk() if has_table(layer)]
        cold = [path for path in tables_now if path in self.missing]
        if cold:
            self.notes.append(
                "embedding layers that are not in the previous run start as initialised: "
                f"{', '.join(cold)}. If one was renamed, give it its old name."
            )

    def by_place(self, moved: set[int]) -> list[str]:
        """Notes on tables whose variables are not `moved`, and come over as they were."""
        return [
            f"layer '{layer.name}': its rows came over in their places. If they follow a "
            f"vocabulary, name it: `vocabularies={{'{layer.name}': vectorizer}}` and "
            f"`base_vocabularies={{'{layer.name}': old_tokens}}`."
            for layer in [own.layer for saved, own in self._pairs if saved.arrays]
            if isinstance(layer, keras.layers.Embedding)
            and id(keras_internals.embeddings_variable(layer)) not in moved
        ]

    def about(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "previous": self.previous.name if self.previous.is_there else None,
            "missing": self.missing,
            "left_out": self.left_out,
        }

    def _pair(self, layer: keras.Layer, variable: keras.Variable) -> _Pair | None:
        """The pair that has a variable of a layer."""
        return self._by_variable.get(id(variable)) or self._by_layer.get(layer)

    def has(self, axis: LayerAxis) -> bool:
        """Whether the run has the layer of an axis."""
        return self._pair(axis.layer, axis.bindings[0].variable) is not None

    def origin(self, axis: LayerAxis) -> AxisOrigin | None:
        """What the run has of one axis of a layer; None where it has not the layer."""
        main = axis.bindings[0]
        pair = self._pair(axis.layer, main.variable)
        if pair is None:
            return None
        saved, own = pair
        arrays = self._arrays(axis)
        return AxisOrigin(
            rows=int(arrays[id(main.variable)].shape[main.axis]),
            layer=saved.layer,
            name=saved.name if own.name == axis.layer.name else axis.layer.name,
            path=saved.path,
            vocabulary=self.previous.vocabulary(saved, axis.name),
            run=self,
            saved=saved,
            arrays=arrays,
        )

    def _arrays(self, axis: LayerAxis) -> dict[int, LazyArray]:
        found: dict[int, LazyArray] = {}
        for binding in axis.bindings:
            pair = self._pair(axis.layer, binding.variable)
            assert pair is not None
            saved, own = pair
            for stored, value in paired_arrays(saved, own) or []:
                if value is binding.variable:
                    axes = self._axes.get(id(value), frozenset({binding.axis}))
                    check_width(own.path, stored, value, axes)
                    found[id(value)] = stored
            if id(binding.variable) not in found:
                raise WarmStartError(
                    f"Layer '{own.path}' must save its table as its class does without "
                    f"LoRA. Received: {sorted(own.arrays)} now, {sorted(saved.arrays)} "
                    f"in {self.previous.name}. Merge LoRA factors first, and dequantise "
                    "(save and load the model)."
                )
        return found

    def lookup_vocabulary(
        self, origin: AxisOrigin, source: VocabularySource
    ) -> Vocabulary | None:
        """The vocabulary of the one lookup layer that can have fed an embedding."""
        found = self.previous.lookups(origin.saved, origin.rows)
        if len(found) > 1:
            ours = [own.path for own in self._ours.walk() if own.layer is source]
            found = {path: found[path] for path in ours if path in found}
        if len(found) != 1:
            return None
        (vocabulary,) = found.values()
        fits = vocabulary is not None and len(vocabulary) <= origin.rows
        return vocabulary if fits else None

    def loads(self, moved: set[int]) -> list[SetValue | LoadState]:
        """What the variables get whose rows are not `moved`."""
        loads: dict[int, SetValue | LoadState] = {}
        for saved, own in self._pairs:
            if was_adapted(own.layer) or not (saved.arrays or own.arrays):
                continue
            both = paired_arrays(saved, own)
            if both is None:
                self._refuse(saved, own, sorted(saved.arrays), sorted(own.arrays))
            if isinstance(own.layer, keras.layers.Normalization):
                # It works out more of them when it loads.
                found = {id(value): stored for stored, value in both}
                values = [found[id(variable)] for variable in own.layer.variables]
                named = {str(i): stored for i, stored in enumerate(values)}
                loads.setdefault(id(own.layer), LoadState(own.layer, named))
                continue
            if not all(isinstance(value, keras.Variable) for _, value in both):
                loads.setdefault(id(own.layer), LoadState(own.layer, saved.arrays))
                continue
            for stored, variable in both:
                if id(variable) in moved:
                    continue
                shapes = stored.shape, tuple(map(int, variable.shape))
                if shapes[0] != shapes[1]:
                    self._refuse(saved, own, *shapes)
                loads.setdefault(id(variable), SetValue(variable, stored))
        return list(loads.values())

    def arrived(self) -> dict[int, LazyArray]:
        """For the `id` of each variable that gets a value, what it comes from."""
        return {
            id(value): stored
            for saved, own in self._pairs
            if not was_adapted(own.layer)
            for stored, value in paired_arrays(saved, own) or []
        }

    @property
    def is_whole(self) -> bool:
        """Whether the run has no other layers, and those of each class in one order."""
        pairs = [pair for pair in self._pairs if pair[1].arrays]
        last: dict[str, list] = {}
        for saved, own in sorted(pairs, key=lambda pair: pair[1].order):
            if saved.order < last.get(own.stem, []):
                return False
            last[own.stem] = saved.order
        return not self.left_out

    def _refuse(
        self, saved: SavedLayer, own: SavedLayer, before: Sequence, now: Sequence
    ) -> NoReturn:
        more = ""
        if own.layer is not None and has_layer_axes(own.layer):
            more = (
                "; or, as its rows follow a vocabulary, name that: "
                f"`vocabularies={{'{own.layer.name}': vectorizer}}`"
            )
        raise WarmStartError(
            f"Layer '{own.path}' must have the shapes that layer '{saved.path}' had in "
            f"{self.previous.name}. Received: {now} now, {before} there. Give the layer "
            f"another name to start it anew{more}."
        )


def _check_live(previous: PreviousRun, ours: SavedLayer) -> None:
    """Refuses a live previous model that shares layers, or whose slots lag behind."""
    name = previous.name
    theirs = [saved.layer for saved in previous.root.walk()]
    for own in ours.walk():  # lookup layers have no arrays: they are never changed
        if own.arrays and own.layer is not None and own.layer in theirs:
            raise WarmStartError(
                "A live `previous` model must share no layer with the model that "
                "is warm-started, since it is never changed. Received: "
                f"{name}, which has layer '{own.layer.name}' too. Leave `previous` "
                "out to move the rows of the model itself."
            )
    for layer in theirs:
        if layer is not None and getattr(layer, "assigned_by_hand", False):
            raise WarmStartError(
                "The optimizer's state of a live `previous` model must belong to its "
                f"rows. Received: {name}, where the matrix of layer "
                f"'{layer.name}' was assigned and not trained since. Call "
                "`warm_start` on that model first."
            )


def was_adapted(layer: keras.Layer) -> bool:
    """Whether `adapt` has made what a layer of the model at hand has."""
    if isinstance(layer, keras.layers.Normalization) and layer.variables:
        mean, variance = (tensors.to_numpy(v) for v in layer.variables[:2])
        return bool(mean.any() or (variance != 1).any())  # it starts with 0 and 1
    return hasattr(layer, "adapt")


def _check_built(model: keras.Layer) -> None:
    """Refuses a model that has no variables yet."""
    unbuilt = [
        path or layer.name
        for path, layer in keras_internals.walk(model)
        if not layer.built
        and (layer is model or isinstance(layer, keras.layers.Embedding))
    ]
    if unbuilt:
        raise WarmStartError(
            "A model that starts from a previous run must be built. Received: "
            f"{unbuilt}, not built yet. Call the model on a batch first, or give it a "
            "`keras.Input`."
        )
