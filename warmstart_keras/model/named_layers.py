"""Resolves layers that the user named by name, object or `Binding`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import (
    AxisVariable,
    Binding,
    LayerAxis,
    Size,
    has_layer_axes,
    layer_axes_of,
)
from warmstart_keras.new_rows import initializers
from warmstart_keras.vocabulary import VocabularySource

NamedSources: TypeAlias = (
    Mapping[keras.Layer | str | Binding, VocabularySource] | VocabularySource | None
)
"""Sources by layer, as the user passes them, or one source for the only embedding."""


def unwrapped(layer: keras.Operation) -> keras.Operation:
    """Returns the layer inside a wrapper such as `TimeDistributed`."""
    while isinstance(layer, keras.layers.Wrapper) and not has_layer_axes(layer):
        inside = getattr(layer, "layer", None)
        if isinstance(layer, keras.layers.Bidirectional) or inside is None:
            break
        layer = inside
    return layer


class LayerIndex:
    """Index of all layers of a model and of their axes that may follow a vocabulary."""

    def __init__(self, model: keras.Layer) -> None:
        self._all = list(keras_internals.walk(model))
        self.paths = {layer: path or layer.name for path, layer in self._all}
        self._layer_axes: dict[keras.Layer, list[LayerAxis]] = {}
        self.embeddings = [
            layer for layer in self.paths if isinstance(layer, keras.layers.Embedding)
        ]

    def layer_axes(self, layer: keras.Operation) -> list[LayerAxis]:
        """Returns the axes of a layer that may follow a vocabulary."""
        if layer not in self.paths:
            return []
        if layer not in self._layer_axes:  # computed on demand: few layers are needed
            self._layer_axes[layer] = layer_axes_of(layer, self.paths[layer])
        return self._layer_axes[layer]

    def may_have(self, layer: keras.Layer) -> bool:
        """Returns whether a layer may follow a vocabulary, by class or by `Binding`."""
        return has_layer_axes(layer) or bool(self.layer_axes(layer))

    def named(self, key: keras.Layer | str, argument: str) -> keras.Layer:
        """Finds the layer that a key of `argument` names.

        Args:
            key: The name of a layer, or the layer object.
            argument: The argument's name, for messages.

        Raises:
            WarmStartError: If no layer matches, or two layers have the name.
        """
        by_name = isinstance(key, str)
        matches = [
            (path, layer)
            for path, layer in self._all
            if (layer.name == key if by_name else layer is key)
        ]
        if by_name and len(matches) > 1:
            raise WarmStartError(
                f"A name in `{argument}` must belong to one layer. Received: {key!r}, "
                f"the name of {len(matches)} layers: {[path for path, _ in matches]}. "
                "Pass the layer object as the key."
            )
        if not matches:
            paths = list(self.paths.values())
            has = f"the layers {paths}" if argument == "size" else self.listed()
            raise WarmStartError(
                f"`{argument}` must name layers of the model. Received: {key!r}. The "
                f"model has {has}."
            )
        return matches[0][1]

    def listed(self) -> str:
        """Describes, for messages, the layers that may follow a vocabulary."""
        embeddings = [self.paths[layer] for layer in self.embeddings]
        others = [
            f"{self.paths[layer]} {[tuple(b.variable.shape) for b in axis.bindings]}"
            for layer in self.paths
            for axis in self.layer_axes(layer)[-1:]
            if layer not in self.embeddings
        ]
        said = "no embedding layer"
        if embeddings:
            said = f"the embedding layers {embeddings}"
        return f"{said}, and the heads or kernels {others}" if others else said


@dataclass(frozen=True)
class NamedAxis:
    """Layer and source that the user named, with the axis if a `Binding` named it."""

    layer: keras.Layer
    axis: str | None
    source: VocabularySource

    def is_for(self, layer_axis: LayerAxis) -> bool:
        """Returns whether the entry applies to an axis."""
        if self.layer is not layer_axis.layer:
            return False
        if self.axis is None:
            # The axes of Keras's layers are built in. For other layers, the user
            # declares the axes.
            return not (layer_axis.declared and has_layer_axes(self.layer))
        return self.axis == layer_axis.name


def resolve(layers: LayerIndex, given: NamedSources, argument: str) -> list[NamedAxis]:
    """Resolves the value of `vocabularies` or `base_vocabularies` to layers, in order.

    An axis that a `Binding` declares is added to `layers`.

    Raises:
        WarmStartError: If an entry does not name exactly one layer.
    """
    if given is None:
        return []
    if not isinstance(given, Mapping) or _is_token_mapping(given):
        if len(layers.embeddings) != 1:
            received = type(given).__name__
            if isinstance(given, str | os.PathLike):
                received = f"{str(given)!r} (a model to start from is `previous=`)"
            raise WarmStartError(
                f"`{argument}` must be a mapping from a layer or its name to a source, "
                "unless the model has exactly one embedding. Received: "
                f"{received}, for a model with {layers.listed()}. Pass "
                f"`{argument}={{'layer_name': source}}`."
            )
        return [NamedAxis(layers.embeddings[0], None, given)]
    found: list[NamedAxis] = []
    for key, source in given.items():
        if isinstance(key, Binding):
            one = _declared(layers, key, source, argument)
        else:
            one = NamedAxis(_with_axes(layers, key, argument), None, source)
        axes = [axis for axis in layers.layer_axes(one.layer) if one.is_for(axis)]
        if any(
            (other.layer is one.layer and other.axis == one.axis)
            or any(map(other.is_for, axes))
            for other in found
        ):
            raise WarmStartError(
                f"`{argument}` must name a layer once. Received: "
                f"'{layers.paths[one.layer]}', named twice. Remove one of the entries."
            )
        found.append(one)
    return found


def _is_token_mapping(given: Mapping) -> bool:
    """Returns whether a mapping is from token to row instead of layer to source."""
    return bool(given) and all(isinstance(v, int | np.integer) for v in given.values())


def _with_axes(layers: LayerIndex, key: keras.Layer | str, argument: str) -> keras.Layer:
    layer = layers.named(key, argument)
    if not layers.may_have(layer):
        layer = unwrapped(layer)
    if not layers.may_have(layer):
        raise WarmStartError(
            f"`{argument}` must name layers with one row per token. Received: "
            f"'{layers.paths[layer]}' of type {type(layer).__name__}. The model has "
            f"{layers.listed()}. For a custom layer, pass a `Binding` that declares the "
            f"variable as the key: `Binding('{layer.name}', 'variable', axis=0)`."
        )
    return layer


def _declared(
    layers: LayerIndex, key: Binding, source: VocabularySource, argument: str
) -> NamedAxis:
    """Resolves a `Binding` to an axis of its layer, or declares a new axis."""
    if key.initializer is not None:
        initializers.get_keras(key.initializer)
    layer = layers.named(key.layer, argument)
    if isinstance(key.variable, str) and not hasattr(layer, key.variable):
        layer = unwrapped(layer)
    if not layer.built:
        return NamedAxis(layer, f"{key.variable} along {key.axis}", source)
    variable = _variable(layers, layer, key, argument)
    rank = len(variable.shape)
    if not -rank <= key.axis < rank:
        raise WarmStartError(
            f"The axis of a `Binding` must be an axis of its variable. Received: "
            f"axis={key.axis} for '{variable.path}' of shape {tuple(variable.shape)}. "
            f"Pass an axis from {-rank} to {rank - 1}."
        )
    axis = key.axis % rank
    own = layers.layer_axes(layer)
    for place, layer_axis in enumerate(own):
        if any(b.variable is variable and b.axis == axis for b in layer_axis.bindings):
            sizes = (*layer_axis.sizes, *_sizes(layers, layer, key, layer_axis.rows))
            bindings = layer_axis.bindings
            if key.initializer is not None:
                bindings = tuple(
                    replace(b, initializer=key.initializer, averaged=False, asked=False)
                    if b.variable is variable
                    else b
                    for b in bindings
                )
            own[place] = replace(
                layer_axis, sizes=tuple(dict.fromkeys(sizes)), bindings=bindings
            )
            return NamedAxis(layer, layer_axis.name, source)
    binding = AxisVariable(
        layer,
        variable,
        axis,
        initializer=key.initializer,
        path=layers.paths[layer],
        averaged=key.initializer is None,
    )
    sizes = _sizes(layers, layer, key, binding.rows)
    name = variable.name if axis == 0 else f"{variable.name} along {axis}"
    layer_axis = LayerAxis(layer, binding.path, name, (binding,), sizes, declared=True)
    own.append(layer_axis)
    return NamedAxis(layer, name, source)


def _variable(
    layers: LayerIndex, layer: keras.Layer, key: Binding, argument: str
) -> keras.Variable:
    named = key.variable
    if isinstance(named, str):
        known = getattr(layer, named, None)
        matches = [v for v in layer.weights if v is known]
        matches = matches or [v for v in layer.weights if v.name == named]
    else:
        matches = [v for v in layer.weights if v is named]
    if len(matches) != 1:
        has = [f"{v.name} {tuple(v.shape)}" for v in layer.weights]
        raise WarmStartError(
            f"A `Binding` in `{argument}` must name one variable of its layer. Received: "
            f"{named!r}. Layer '{layers.paths[layer]}' has the variables {has}."
        )
    return matches[0]


def _sizes(
    layers: LayerIndex, layer: keras.Layer, key: Binding, rows: int
) -> tuple[Size, ...]:
    names = [key.size] if isinstance(key.size, str) else list(key.size)
    sizes = []
    for name in names:
        before, _, attribute = name.rpartition(".")
        owner = layers.named(before, "size") if before else layer
        holds = getattr(owner, attribute, "no such attribute")
        if holds != rows:
            raise WarmStartError(
                "`size` of a `Binding` must name an attribute that has the "
                f"vocabulary's size. Received: {name!r}, which is {holds!r}, but the "
                f"variable of layer '{layers.paths[layer]}' has {rows} entries. "
                f"Attributes of '{owner.name}' (of type {type(owner).__name__}) with "
                "this size: "
                f"{[n for n, v in vars(owner).items() if type(v) is int and v == rows]}."
            )
        sizes.append(Size(owner, attribute))
    return tuple(sizes)
