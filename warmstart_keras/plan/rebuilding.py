"""Check that the saved model can be loaded with its new shapes, before rows move."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import shapes_alone
from warmstart_keras.layers import Size, WarmStartEmbedding
from warmstart_keras.model import VocabularyAxis

# Classes whose configuration holds their size, so no further check is needed.
_REBUILT_AS_THEY_ARE = (
    keras.layers.Embedding,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    getattr(keras.layers, "ReversibleEmbedding", None),
    WarmStartEmbedding,
)


def check_ancestors(
    model: keras.Layer, axes: list[VocabularyAxis], sizes: dict[Size, Any]
) -> list[str]:
    """Checks that every ancestor's configuration rebuilds the new shapes.

    Keras rebuilds a Functional or Sequential model from its layers. It rebuilds any other
    parent from the parent's own configuration. If that holds the old size of the
    vocabulary, the model can be saved but not loaded.

    Args:
        model: The model.
        axes: The vocabulary axes that change their number of rows.
        sizes: New values of attributes that hold a vocabulary's size.

    Returns:
        A list of paths of ancestors that could not be checked: their configuration raises
        an error, or does not rebuild the present shapes either. Such a model could not be
        loaded before.
    """
    unchecked = []
    changed = {axis.layer for axis in axes}
    for path, owner in _owners(model, changed):
        inside = [layer for _, layer in keras_internals.walk(owner)]
        within = [axis for axis in axes if axis.layer in inside]
        with attributes_set(sizes):
            rebuilt = _rebuilt(owner)
        wrong = [t for t in within if _rows_in(rebuilt, inside, t, t.rows) != t.rows]
        if not wrong:
            continue
        now = _rebuilt(owner)
        if any(
            _rows_in(now, inside, t, t.layer_axis.rows) != t.layer_axis.rows
            for t in wrong
        ):
            unchecked.append(path)
            continue
        axis = wrong[0]
        name = axis.layer.name
        raise WarmStartError(
            f"The configuration of '{path}' (of type {type(owner).__name__}) must "
            f"rebuild layer '{name}' with its new number of rows. Otherwise the saved "
            "model could not be loaded. Received: a configuration that rebuilds "
            f"{_rows_in(rebuilt, inside, axis, axis.rows)} rows, where the new "
            f"vocabulary needs {axis.rows}. Name the attribute that holds the size in "
            "the key of `vocabularies`: "
            f"`Binding('{name}', '{axis.layer_axis.bindings[0].variable.name}', "
            f"size='{owner.name}.{_likely_attribute(owner, axis.layer_axis.rows)}')`. "
            "Or give the layer a larger fixed capacity, in a new model. Or make "
            f"`get_config` of {type(owner).__name__} return the layer's present size."
        )
    return unchecked


def _likely_attribute(owner: keras.Layer, rows: int) -> str:
    """Guesses the attribute that holds the size, if only one has this value."""
    names = [
        name
        for name, value in vars(owner).items()
        if type(value) is int and value == rows and not name.startswith("_")
    ]
    return names[0] if len(names) == 1 else "attribute"


def _owners(
    model: keras.Layer, changed: set[keras.Layer]
) -> Iterator[tuple[str, keras.Layer]]:
    """Finds the outermost layers that contain a changed layer and have a configuration.

    A custom layer that changes is its own owner. Functional and Sequential models are
    skipped, since Keras rebuilds them from their layers.
    """

    def visit(layer: keras.Layer, path: str) -> Iterator[tuple[str, keras.Layer]]:
        if not any(inside in changed for _, inside in keras_internals.walk(layer)):
            return
        if type(layer) in _REBUILT_AS_THEY_ARE:
            return
        if not keras_internals.rebuilds_from_its_layers(layer):
            yield path or layer.name, layer
            return
        for child in keras_internals.sublayers(layer):
            yield from visit(child, f"{path}/{child.name}" if path else child.name)

    return visit(model, "")


def _rebuilt(owner: keras.Layer) -> list[keras.Layer]:
    """Rebuilds `owner` from its configuration, and lists the layers, `owner` first.

    The list is empty if this raises an error.
    """
    classes = {
        type(layer).__name__: type(layer) for _, layer in keras_internals.walk(owner)
    }
    try:
        with keras.saving.custom_object_scope(classes), shapes_alone():
            config = keras.saving.serialize_keras_object(owner)
            config.pop("compile_config", None)
            rebuilt = keras.saving.deserialize_keras_object(config)
            layers = [layer for _, layer in keras_internals.walk(rebuilt)]
            for layer in layers:
                if isinstance(layer, WarmStartEmbedding):
                    layer.number_of_rows()
            return layers
    except Exception:  # a custom configuration may raise anything
        return []


def _rows_in(
    rebuilt: list[keras.Layer],
    inside: list[keras.Layer],
    axis: VocabularyAxis,
    wanted: int,
) -> int | None:
    """Returns the number of rows of an axis after rebuilding, or None if unknown.

    Args:
        rebuilt: The layers of the rebuilt owner.
        inside: The layers of the owner itself.
        axis: The axis of a layer in `inside`.
        wanted: The number of rows that it must have.
    """
    kind = type(axis.layer)
    ours, theirs = ([x for x in some if type(x) is kind] for some in (inside, rebuilt))
    if len(ours) != len(theirs):
        return None
    layer = theirs[ours.index(axis.layer)]
    if isinstance(layer, WarmStartEmbedding):
        return layer.number_of_rows()
    binding = axis.layer_axis.bindings[0]
    place = [id(v) for v in axis.layer.weights].index(id(binding.variable))
    if layer.built and len(layer.weights) == len(axis.layer.weights):
        return int(layer.weights[place].shape[binding.axis])
    own = [size for size in axis.layer_axis.sizes if size.owner is axis.layer]
    for size in own:
        if getattr(layer, size.attribute, None) != size.value_for(wanted):
            value = getattr(layer, size.attribute, None)
            return value if isinstance(value, int) else None
    return wanted if own else None


@contextmanager
def attributes_set(sizes: dict[Size, Any]) -> Iterator[None]:
    """Sets the size attributes of layers inside the `with` block, then restores them."""
    with ExitStack() as undo:
        for size, value in sizes.items():
            before = getattr(size.owner, size.attribute)
            try:
                setattr(size.owner, size.attribute, value)
            except Exception as error:  # a custom property may raise anything
                raise WarmStartError(
                    f"`size` of a `Binding` must name an attribute that can be set. "
                    f"Received: '{size.attribute}' of '{size.owner.name}', which raised "
                    f"{type(error).__name__}: {str(error)[:200]}. Pass the attribute "
                    "that `get_config` reads, for example `size='vocabulary_size'`."
                ) from error
            undo.callback(setattr, size.owner, size.attribute, before)
        yield
