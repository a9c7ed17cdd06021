"""Whether a model of new shapes could be loaded again, asked before anything moves."""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from warmstart_keras import keras_internals
from warmstart_keras.embedding import WarmStartEmbedding
from warmstart_keras.errors import WarmStartError


def check_ancestors(model: keras.Layer, new_rows: dict[keras.Layer, int]) -> list[str]:
    """Checks that every ancestor's configuration would rebuild the new shapes (K9b).

    A Functional or Sequential model is rebuilt from its layers. Any other parent has a
    configuration of its own, and if that holds the old size of the vocabulary, the model
    would save, and fail to load.

    Args:
        model: The model.
        new_rows: For each embedding layer that changes its number of rows, the new one.

    Returns:
        The paths of ancestors whose configuration cannot be had, or does not rebuild
        the present shapes either: such a model could not be loaded before.

    Raises:
        WarmStartError: If an ancestor would rebuild another number of rows.
    """
    unchecked = []
    for path, owner in _owners(model, set(new_rows)):
        inside = [layer for _, layer in keras_internals.walk(owner)]
        wanted = {layer: new_rows[layer] for layer in inside if layer in new_rows}
        with _rows_set(wanted):
            rebuilt = _rebuilt_rows(owner)
        wrong = [layer for layer in wanted if rebuilt.get(layer) != wanted[layer]]
        if not wrong:
            continue
        now = _rebuilt_rows(owner)
        if any(now.get(layer) != layer.input_dim for layer in wrong):
            unchecked.append(path)
            continue
        layer = wrong[0]
        raise WarmStartError(
            f"The configuration of '{path}' (of type {type(owner).__name__}) must "
            f"rebuild layer '{layer.name}' with its new number of rows, or the saved "
            "model could not be loaded. Received: a configuration that rebuilds "
            f"{rebuilt.get(layer)} rows, where the new vocabulary needs "
            f"{wanted[layer]}. Give the embedding a fixed capacity (a larger "
            f"`input_dim`, in a new model), or let `get_config` of "
            f"{type(owner).__name__} follow the embedding's `input_dim`."
        )
    return unchecked


def _owners(
    model: keras.Layer, changed: set[keras.Layer]
) -> Iterator[tuple[str, keras.Layer]]:
    """The outermost layers around changed ones, themselves if of a class of the user's,
    that have a configuration of their own.
    """

    def visit(layer: keras.Layer, path: str) -> Iterator[tuple[str, keras.Layer]]:
        if not any(inside in changed for _, inside in keras_internals.walk(layer)):
            return
        if type(layer) in (keras.layers.Embedding, WarmStartEmbedding):
            return
        if not keras_internals.rebuilds_from_its_layers(layer):
            yield path or layer.name, layer
            return
        for child in keras_internals.sublayers(layer):
            yield from visit(child, f"{path}/{child.name}" if path else child.name)

    return visit(model, "")


def _embeddings(owner: keras.Layer) -> list[keras.layers.Embedding]:
    return [
        layer
        for _, layer in keras_internals.walk(owner)
        if isinstance(layer, keras.layers.Embedding)
    ]


def _rebuilt_rows(owner: keras.Layer) -> dict[keras.Layer, int]:
    """Rows of each embedding of `owner`, were it rebuilt from its configuration.

    Empty where that cannot be had.
    """
    classes = {
        type(layer).__name__: type(layer) for _, layer in keras_internals.walk(owner)
    }
    try:
        with keras.saving.custom_object_scope(classes), shapes_alone():
            config = keras.saving.serialize_keras_object(owner)
            config.pop("compile_config", None)
            rebuilt = _embeddings(keras.saving.deserialize_keras_object(config))
            rows = [_rows(layer) for layer in rebuilt]
    except Exception:  # whatever a user's configuration raises, it is not to be had
        return {}
    ours = _embeddings(owner)
    return dict(zip(ours, rows, strict=True)) if len(ours) == len(rows) else {}


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Lets layers be made of their configuration that are only to be looked at.

    No table is allocated, and no random number is used up: layers made later are what
    they would have been.
    """
    state = random.getstate()
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            keras_internals.variables_without_value(),
        ):
            yield
    finally:
        random.setstate(state)


def _rows(layer: keras.layers.Embedding) -> int:
    if isinstance(layer, WarmStartEmbedding):
        return layer.number_of_rows()
    return layer.input_dim


@contextmanager
def _rows_set(new_rows: dict[keras.Layer, int]) -> Iterator[None]:
    """Lets layers say the new number of rows in their configuration, for a while."""
    before = {layer: layer.input_dim for layer in new_rows}
    try:
        for layer, rows in new_rows.items():
            layer.input_dim = rows
        yield
    finally:
        for layer, rows in before.items():
            layer.input_dim = rows
