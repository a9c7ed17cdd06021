"""What comes over from a previous run into a model: which layers, and how their rows."""

from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import LayerAxis, has_sides
from warmstart_keras.previous.keras_files import tree_of
from warmstart_keras.previous.previous_run import Previous
from warmstart_keras.previous.saved_layers import (
    Axes,
    SavedLayer,
    check_width,
    match,
    paired_arrays,
)
from warmstart_keras.previous.tensorflow_files import tree_by_variable_path
from warmstart_keras.rows import LoadState, SetValue
from warmstart_keras.vocabulary import Vocabulary, is_plain, read, read_as


class MatchedRun:
    """The layers of a model that a previous run has too, and what they get from it.

    Args:
        model: The model.
        previous: The previous run.
        axes: The axes of the model's variables that may have had another size.

    Attributes:
        previous: The previous run.
        missing: Paths of layers of the model that the run has not.
        left_out: Paths of layers of the run that the model has not.
        notes: What the user should know, one sentence each.

    Raises:
        WarmStartError: If the model has no variables yet, shares some with a live
            previous model, or a layer has other shapes than it had.
    """

    def __init__(
        self, model: keras.Layer, previous: Previous, axes: Axes | None = None
    ) -> None:
        self.previous = previous
        self._axes = axes or {}
        self.missing: list[str] = []
        self.left_out: list[str] = []
        self.notes: list[str] = []
        self._pairs: list[tuple[SavedLayer, SavedLayer]] = []
        if not previous.is_there:
            self.notes.append(
                f"there is no previous run at {previous.name} yet; the model starts as "
                "it was initialised."
            )
            return
        check_built(model)
        state = keras_internals.saved_state(model)
        by_path = previous.run.by_variable_path
        with previous.reading():
            self._ours = tree_by_variable_path(state) if by_path else tree_of(state)
        check_live(previous, self._ours)
        self._match(model)

    def _match(self, model: keras.Layer) -> None:
        theirs, ours = self.previous.run.root, self._ours
        tables = {
            id(keras_internals.embeddings_variable(layer))
            for _, layer in keras_internals.walk(model)
            if isinstance(layer, keras.layers.Embedding)
        }
        pairs = match(theirs, ours, self._axes)
        self._pairs = pairs
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
        self._say_what_is_not_certain(tables)
        adapted = [
            own.path for one, own in pairs if one.arrays and was_adapted_today(own)
        ]
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
        cold = [layer.path for layer in self._ours.walk() if has_table(layer)]
        cold = [path for path in cold if path in self.missing]
        if cold:
            self.notes.append(
                "embedding layers that are not in the previous run start as initialised: "
                f"{', '.join(cold)}. If one was renamed, give it its old name."
            )

    def by_place(self, moved: set[int]) -> list[str]:
        """Notes on tables whose rows come over in their places, without a vocabulary.

        Args:
            moved: The `id`s of variables whose rows are moved.
        """
        layers = [own.layer for saved, own in self._pairs if saved.arrays]
        return [
            f"layer '{layer.name}': its rows came over in their places. If they follow a "
            f"vocabulary, name it: `vocabularies={{'{layer.name}': vectorizer}}` and "
            f"`base_vocabularies={{'{layer.name}': old_tokens}}`."
            for layer in layers
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

    def has(self, side: LayerAxis) -> bool:
        """Whether the run has the variables of one side of a layer."""
        return self._where(side.layer, side.bindings[0].variable) is not None

    def _where(
        self, layer: keras.Layer, variable: Any
    ) -> tuple[SavedLayer, SavedLayer] | None:
        """The pair that has a variable of a layer."""
        for saved, own in self._pairs:
            has_it = any(value is variable for value in own.arrays.values())
            if saved.arrays and (has_it or own.layer is layer):
                return saved, own
        return None

    def _pair(self, side: LayerAxis) -> tuple[SavedLayer, SavedLayer]:
        pair = self._where(side.layer, side.bindings[0].variable)
        assert pair is not None
        return pair

    def rows(self, side: LayerAxis) -> dict[int, LazyArray]:
        """For the `id` of each variable of one side of a layer, what it was.

        Raises:
            WarmStartError: If it was of another width.
        """
        found: dict[int, LazyArray] = {}
        for binding in side.bindings:
            pair = self._where(side.layer, binding.variable)
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

    def name(self, side: LayerAxis) -> str:
        """What a layer was called."""
        saved, own = self._pair(side)
        name = side.layer.name
        return saved.name if own.name == name else name

    def knows_vocabulary(self, side: LayerAxis) -> bool:
        """Whether the run itself says what the rows of an embedding stood for."""
        return self.previous.vocabulary(self._pair(side)[0]) is not None

    def vocabulary(self, side: LayerAxis, given: Any, source: Any) -> Vocabulary | None:
        """What the rows of one side of a layer stood for, where that is known.

        Args:
            side: The side, of a layer of the model at hand.
            given: What the user says of that; None if nothing.
            source: Where its new vocabulary is read.

        Raises:
            WarmStartError: If the user says something else than the run itself.
        """
        saved, rows = self._pair(side)[0], self.old_rows(side)
        known = self.previous.vocabulary(saved, side.name)
        if given is None and known is None and side.name == "rows":
            return self._of_lookup(saved, rows, source)
        if given is None:
            return known
        base = as_given(given, source, rows, saved.path)
        if known is not None and not known.same_rows(base):
            raise WarmStartError(
                f"`base_vocabularies` must say what the rows of layer '{saved.path}' "
                f"stood for in {self.previous.name}. Received: {base!r}, where that "
                f"says itself: {known!r}. Leave it out: it is needed only where the "
                "previous run does not know."
            )
        if len(base) < rows:
            note = (
                f"layer '{saved.path}' had {rows} rows, and `base_vocabularies` has "
                f"a token for the first {len(base)}; the others are taken as spare."
            )
            self.notes += [note] if note not in self.notes else []
        return base

    def keeps_its_own(self, side: LayerAxis) -> bool:
        """Whether `adapt` made what a layer has, today."""
        return self.has(side) and was_adapted_today(self._pair(side)[1])

    def layer_then(self, side: LayerAxis) -> keras.Layer | None:
        """The layer that had one side in a live previous model; None in a file."""
        return self._pair(side)[0].layer

    def old_rows(self, side: LayerAxis) -> int:
        """How many rows one side of a layer had."""
        main = side.bindings[0]
        return int(self.rows(side)[id(main.variable)].shape[main.axis])

    def refuse_unknown(self, side: LayerAxis) -> None:
        """Says that it is not known what rows stood for."""
        saved = self._pair(side)[0]
        raise WarmStartError(
            f"It must be known what the rows of layer '{saved.path}' stood for in "
            f"the previous run. Received: {self.previous.name}, which does not say "
            f"it for its {self.old_rows(side)} rows. Say it: "
            f"`base_vocabularies={{'{side.layer.name}': old_tokens}}`."
        )

    def _of_lookup(self, saved: SavedLayer, rows: int, source: Any) -> Vocabulary | None:
        """The vocabulary of the one lookup layer that can have fed a layer."""
        found = self.previous.run.lookups(saved, rows)
        if len(found) > 1:
            ours = [own.path for own in self._ours.walk() if own.layer is source]
            found = {path: found[path] for path in ours if path in found}
        if len(found) != 1:
            return None
        (vocabulary,) = found.values()
        fits = vocabulary is not None and len(vocabulary) <= rows
        return vocabulary if fits else None

    def loads(self, moved: set[int]) -> list[SetValue | LoadState]:
        """What the other variables of the layers get.

        Args:
            moved: The `id`s of variables whose rows are moved.

        Raises:
            WarmStartError: If a variable had another shape.
        """
        loads: dict[int, SetValue | LoadState] = {}
        for saved, own in self._pairs:
            if was_adapted_today(own) or not (saved.arrays or own.arrays):
                continue
            both = paired_arrays(saved, own)
            if both is None:
                self._refuse(saved, own, sorted(saved.arrays), sorted(own.arrays))
            assert both is not None
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
            if not was_adapted_today(own)
            for stored, value in paired_arrays(saved, own) or []
        }

    @property
    def is_whole(self) -> bool:
        """Whether the run has no other layers, and those of each class in one order."""
        pairs = [pair for pair in self._pairs if pair[1].arrays]
        pairs.sort(key=lambda pair: pair[1].order)
        last: dict[str, list] = {}
        for saved, own in pairs:
            if saved.order < last.get(own.stem, []):
                return False
            last[own.stem] = saved.order
        return not self.left_out

    def _refuse(self, saved: SavedLayer, own: SavedLayer, before: Any, now: Any) -> None:
        more = ""
        if has_sides(own.layer):
            more = (
                "; or, as its rows follow a vocabulary, name that: "
                f"`vocabularies={{'{own.layer.name}': vectorizer}}`"
            )
        raise WarmStartError(
            f"Layer '{own.path}' must have the shapes that layer '{saved.path}' had in "
            f"{self.previous.name}. Received: {now} now, {before} there. Give the layer "
            f"another name to start it anew{more}."
        )


def check_live(previous: Previous, ours: SavedLayer) -> None:
    """Refuses a live previous model that shares layers, or whose slots lag behind."""
    name = previous.name
    theirs = [saved.layer for saved in previous.run.root.walk()]
    for own in ours.walk():  # lookup layers have none: they are never changed
        if own.arrays and any(own.layer is layer for layer in theirs):
            raise WarmStartError(
                "A live `previous` model must share no layer with the model that "
                "is warm-started, since it is never changed. Received: "
                f"{name}, which has layer '{own.layer.name}' too. Leave `previous` "
                "out to move the rows of the model itself."
            )
    for layer in theirs:
        if getattr(layer, "assigned_by_hand", False):
            raise WarmStartError(
                "The optimizer's state of a live `previous` model must belong to its "
                f"rows. Received: {name}, where the matrix of layer "
                f"'{layer.name}' was assigned and not trained since. Call "
                "`warm_start` on that model first."
            )


def was_adapted_today(own: SavedLayer) -> bool:
    """Whether `adapt` made what a layer has, today (L1b)."""
    return hasattr(own.layer, "adapt") and not _is_unadapted(own.layer)


def _is_unadapted(layer: Any) -> bool:
    """Whether a `Normalization` still has the mean and variance it starts with."""
    if not isinstance(layer, keras.layers.Normalization) or not layer.variables:
        return False
    mean, variance = (tensors.to_numpy(v) for v in layer.variables[:2])
    return not mean.any() and bool((variance == 1).all())


def check_built(model: keras.Layer) -> None:
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


def as_given(given: Any, source: Any, rows: int, path: str) -> Vocabulary:
    """What the user says that `rows` rows stand for, special rows included.

    Raises:
        WarmStartError: If it is not certain whether special rows are missing.
    """
    base = read(given)
    if not is_plain(given):
        return base
    specials = read(source).special_rows
    if base.special_rows and (
        len(base) >= rows or len(base.special_rows) >= len(specials)
    ):
        return base
    if not base.special_rows:
        # Names of special rows other than "" and "[UNK]" are known to the source alone.
        named = read_as(given, read(source))
        if len(named) == len(base):
            return named
    if len(base) < rows:
        raise WarmStartError(
            f"The base vocabulary of layer '{path}' must say whether its rows begin with "
            f"mask and OOV rows. Received: {len(base)} tokens, {len(base.special_rows)} "
            f"of them special, for {rows} rows, where the new vocabulary has "
            f"{len(specials)} special ones. Pass all entries, "
            "as `get_vocabulary()` gives them, or `Vocabulary(tokens, mask=..., "
            "oov=...)`."
        )
    return base
