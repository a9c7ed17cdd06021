"""Whether a model of new shapes could be loaded again, asked before anything moves."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import shapes_alone
from warmstart_keras.layers import Size, WarmStartEmbedding
from warmstart_keras.model import VocabularyAxis

# Keras's own classes, whose configuration says their size and nothing more of it.
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
    """Checks that every ancestor's configuration would rebuild the new shapes.

    A Functional or Sequential model is rebuilt from its layers. Any other parent has a
    configuration of its own, and if that holds the old size of the vocabulary, the model
    would save, and fail to load. Returns the paths of ancestors whose configuration
    cannot be had, or does not rebuild the present shapes either: such a model could not
    be loaded before.
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
            f"rebuild layer '{name}' with its new number of rows, or the saved "
            "model could not be loaded. Received: a configuration that rebuilds "
            f"{_rows_in(rebuilt, inside, axis, axis.rows)} rows, where the new "
            f"vocabulary needs {axis.rows}. Say which attribute holds the size: "
            f"`Binding('{name}', '{axis.layer_axis.bindings[0].variable.name}', "
            f"size='{owner.name}.{_likely_attribute(owner, axis.layer_axis.rows)}')` as "
            "the key in `vocabularies`; give the layer a fixed capacity (a larger one, "
            "in a new model); or let `get_config` "
            f"of {type(owner).__name__} follow the layer's size."
        )
    return unchecked


def _likely_attribute(owner: keras.Layer, rows: int) -> str:
    """The name of the attribute that holds the size, where one alone can."""
    names = [
        name
        for name, value in vars(owner).items()
        if type(value) is int and value == rows and not name.startswith("_")
    ]
    return names[0] if len(names) == 1 else "attribute"


def _owners(
    model: keras.Layer, changed: set[keras.Layer]
) -> Iterator[tuple[str, keras.Layer]]:
    """The outermost layers around changed ones, themselves if of a class of the user's,
    that have a configuration of their own.
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
    """The layers of `owner`, itself first, were it rebuilt from its configuration.

    Empty where that cannot be had.
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
    except Exception:  # whatever a user's configuration raises, it is not to be had
        return []


def _rows_in(
    rebuilt: list[keras.Layer],
    inside: list[keras.Layer],
    axis: VocabularyAxis,
    wanted: int,
) -> int | None:
    """How many rows an axis has in a layer that was rebuilt; None if not known.

    `rebuilt` are the layers of what was rebuilt, `inside` those it was rebuilt from.
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
    """Lets layers say the new size in their configuration, for a while."""
    with ExitStack() as undo:
        for size, value in sizes.items():
            before = getattr(size.owner, size.attribute)
            try:
                setattr(size.owner, size.attribute, value)
            except Exception as error:  # a property of the user's may raise anything
                raise WarmStartError(
                    f"`size` of a `Binding` must name an attribute that can be set. "
                    f"Received: '{size.attribute}' of '{size.owner.name}', which raised "
                    f"{type(error).__name__}: {str(error)[:200]}. Name the attribute "
                    "that the configuration is made of."
                ) from error
            undo.callback(setattr, size.owner, size.attribute, before)
        yield
