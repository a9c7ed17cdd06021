"""Matches the layers of a previous run with the layers of a model."""

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

# A layer of a previous run, and the layer of the model that it was matched with.
_Pair = tuple[SavedLayer, SavedLayer]


@dataclass(frozen=True, eq=False)
class AxisOrigin:
    """Origin of the rows of an axis: the model itself, or a previous run."""

    rows: int  # the number of rows in the origin
    layer: keras.Layer | None  # the layer in the origin; None if the origin is a file
    name: str  # the layer's name in the origin
    path: str  # the layer's path in the origin
    # The vocabulary that the origin records for the rows; None if it does not.
    vocabulary: Vocabulary | None
    # The previous run; None if the origin is the model itself.
    run: "MatchedRun | None" = None
    saved: SavedLayer | None = None  # the layer in the previous run
    # The array that the run has for each variable, by the variable's `id`.
    arrays: Mapping[int, LazyArray] = field(default_factory=dict)


def origin_in_model(axis: LayerAxis) -> AxisOrigin:
    """Returns the model itself as the origin of the rows of an axis."""
    known = recorded_vocabulary(axis.layer, axis.name)
    return AxisOrigin(axis.rows, axis.layer, axis.layer.name, axis.path, known)


class MatchedRun:
    """Previous run whose layers are matched with the layers of a model.

    A variable of the model may have had another size along its `axes`.

    Attributes:
        missing: Paths of layers of the model that the run does not have.
        left_out: Paths of layers of the run that the model does not have.
        notes: Notes for the user, one sentence each.
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
                f"there is no previous run at {previous.name}, so the model keeps its "
                "current values."
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
                "The model must have a layer in common with `previous`. Received: the "
                f"layers {[layer.path for layer in ours.walk() if layer.arrays]} now, "
                f"{[layer.path for layer in theirs.walk() if layer.arrays]} in "
                f"{self.previous.name}. Give each layer the name that it had in the "
                "previous run: `Embedding(..., name='words')`."
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
            self.notes.append(
                "layers with values from `adapt` keep these values instead of those of "
                f"the previous run: {', '.join(adapted)}."
            )

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
                "embedding layers were matched by their order, because these layers or "
                f"their parents have automatic names: {', '.join(by_order)}. Give each "
                "layer a name: `Embedding(..., name='words')`."
            )
        tables_now = [layer.path for layer in self._ours.walk() if has_table(layer)]
        cold = [path for path in tables_now if path in self.missing]
        if cold:
            self.notes.append(
                "embedding layers that are not in the previous run keep their initial "
                f"values: {', '.join(cold)}. If a layer was renamed, give it its old "
                "name."
            )

    def by_place(self, moved: set[int]) -> list[str]:
        """Returns a note for each table that is copied without moving its rows."""
        return [
            f"layer '{layer.name}': its rows were copied in their old order. If the rows "
            f"follow a vocabulary, pass `vocabularies={{'{layer.name}': vectorizer}}` "
            f"and `base_vocabularies={{'{layer.name}': old_tokens}}`."
            for layer in [own.layer for saved, own in self._pairs if saved.arrays]
            if isinstance(layer, keras.layers.Embedding)
            and id(keras_internals.embeddings_variable(layer)) not in moved
        ]

    def about(self) -> dict[str, Any]:
        """Returns the fields of a report that describe the run."""
        return {
            "previous": self.previous.name if self.previous.is_there else None,
            "missing": self.missing,
            "left_out": self.left_out,
        }

    def _pair(self, layer: keras.Layer, variable: keras.Variable) -> _Pair | None:
        """Finds the pair of layers that has a variable."""
        return self._by_variable.get(id(variable)) or self._by_layer.get(layer)

    def has(self, axis: LayerAxis) -> bool:
        """Returns whether the run has the layer of an axis."""
        return self._pair(axis.layer, axis.bindings[0].variable) is not None

    def origin(self, axis: LayerAxis) -> AxisOrigin | None:
        """Returns the run as the origin of an axis, or None if it lacks the layer."""
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
                    f"Layer '{own.path}' must not have LoRA factors or be quantized when "
                    "it takes its rows from a previous run. Received: the arrays "
                    f"{sorted(own.arrays)} now, {sorted(saved.arrays)} in "
                    f"{self.previous.name}. Build the model without LoRA and "
                    "quantization, and call `enable_lora` or `quantize` after "
                    "`warm_start`. If the layer of the previous run is quantized, pass "
                    "the float model as `previous`."
                )
        return found

    def lookup_vocabulary(
        self, origin: AxisOrigin, source: VocabularySource
    ) -> Vocabulary | None:
        """Returns the vocabulary of the only lookup layer that may feed an embedding."""
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
        """Returns the updates of all variables whose rows are not `moved`."""
        loads: dict[int, SetValue | LoadState] = {}
        for saved, own in self._pairs:
            if was_adapted(own.layer) or not (saved.arrays or own.arrays):
                continue
            both = paired_arrays(saved, own)
            if both is None:
                self._refuse(saved, own, sorted(saved.arrays), sorted(own.arrays))
            if isinstance(own.layer, keras.layers.Normalization):
                # Loading its state makes the layer compute further values.
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
        """Maps the `id` of each variable that the run restores to the saved array."""
        return {
            id(value): stored
            for saved, own in self._pairs
            if not was_adapted(own.layer)
            for stored, value in paired_arrays(saved, own) or []
        }

    @property
    def is_whole(self) -> bool:
        """True if the run has only layers of the model, each class in the same order."""
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
                " If its rows follow a vocabulary, pass "
                f"`vocabularies={{'{own.layer.name}': vectorizer}}`."
            )
        raise WarmStartError(
            f"Layer '{own.path}' must have the shapes that layer '{saved.path}' had in "
            f"{self.previous.name}. Received: {now} now, {before} there. To start with "
            f"fresh weights, give the layer a new name: `name='new_name'`.{more}"
        )


def _check_live(previous: PreviousRun, ours: SavedLayer) -> None:
    """Checks that a live previous model is a separate model with matching slots.

    Raises:
        WarmStartError: If it shares a layer with the model, or if a matrix was assigned
            without moving the optimizer slots.
    """
    name = previous.name
    theirs = [saved.layer for saved in previous.root.walk()]
    for own in ours.walk():  # lookup layers may be shared: they do not have arrays
        if own.arrays and own.layer is not None and own.layer in theirs:
            raise WarmStartError(
                "A live `previous` model must not share layers with the model that "
                "is warm-started, because a previous model is never changed. Received: "
                f"{name}, which also has layer '{own.layer.name}'. To move the rows of "
                "the model itself, call `warm_start(model)` without `previous`."
            )
    for layer in theirs:
        if layer is not None and getattr(layer, "assigned_by_hand", False):
            raise WarmStartError(
                "The optimizer slots of a live `previous` model must belong to its "
                f"rows. Received: {name}, where the matrix of layer '{layer.name}' was "
                "assigned and the slots still belong to the old matrix. Call "
                "`warm_start(previous_model)` first."
            )


def was_adapted(layer: keras.Layer) -> bool:
    """Returns whether a layer of the model has values from `adapt`."""
    if isinstance(layer, keras.layers.Normalization) and layer.variables:
        mean, variance = (tensors.to_numpy(v) for v in layer.variables[:2])
        return bool(mean.any() or (variance != 1).any())  # a fresh layer has 0 and 1
    return hasattr(layer, "adapt")


def _check_built(model: keras.Layer) -> None:
    """Checks that a model and its embeddings are built.

    Raises:
        WarmStartError: If the model or an embedding does not have variables yet.
    """
    unbuilt = [
        path or layer.name
        for path, layer in keras_internals.walk(model)
        if not layer.built
        and (layer is model or isinstance(layer, keras.layers.Embedding))
    ]
    if unbuilt:
        raise WarmStartError(
            "A model that starts from a previous run must be built. Received: "
            f"{unbuilt}, not built yet. Call the model on a batch first, as "
            "`model(batch)`, or build it with a `keras.Input`."
        )
