"""Axes of Keras's own layers with one entry per token.

An embedding has one such axis, its rows. A `Dense` may follow a vocabulary along its
outputs (a softmax over words or labels), along its inputs (vectors of counts with one
entry per word), or along both. A layer that normalizes such vectors has one entry per
feature.
"""

import re
from dataclasses import dataclass, replace

import keras

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers.binding import AxisVariable, Size


@dataclass(frozen=True, eq=False)
class LayerAxis:
    """Axis of a layer that follows one vocabulary: its rows, inputs or outputs."""

    layer: keras.Layer
    path: str  # path of the layer in the model
    # `"rows"` of an embedding, `"inputs"` or `"outputs"` of a `Dense`, `"features"` of a
    # normalization layer. In a custom layer, the name of the variable (and its axis).
    name: str
    # One binding per variable, the main variable first.
    bindings: tuple[AxisVariable, ...]
    sizes: tuple[Size, ...] = ()  # attributes that hold the size of the axis
    keeps_width: bool = False  # whether the size is fixed, as that of inputs
    declared: bool = False  # whether the user declared it by a `Binding`

    @property
    def rows(self) -> int:
        """Present number of entries."""
        return self.bindings[0].rows

    @property
    def title(self) -> str:
        """Name of the axis in messages."""
        of = "" if self.name == "rows" else f" ({self.name})"
        return f"{self.path}{of}"


_WITH_AXES = (
    keras.layers.Embedding,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
)


def has_layer_axes(layer: keras.Layer) -> bool:
    """Returns whether the class of a layer may follow a vocabulary, built or not."""
    return isinstance(layer, _WITH_AXES)


def layer_axes_of(layer: keras.Layer, path: str) -> list[LayerAxis]:
    """Finds the axes of a layer that may follow a vocabulary; none if it is not built."""
    if not layer.built or not has_layer_axes(layer):
        return []
    if isinstance(layer, keras.layers.Embedding):
        return [_rows(layer, path)]
    if getattr(layer, "quantization_mode", None):
        return []
    if isinstance(layer, keras.layers.Dense):
        kernel = keras_internals.kernel_variable(layer)
        outputs = _outputs(layer, path, kernel, 1, Size(layer, "units"), 0)
        return [_inputs(layer, path, kernel, 0), outputs]
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_axes(layer, path)
    return _features(layer, path)


def behind_head(layer_axis: LayerAxis) -> LayerAxis:
    """Returns the axis of a layer behind a head.

    New logits are means of the base logits. So the new entries of a layer that normalizes
    logits start from the mean, too. Other axes stay unchanged.
    """
    bindings = tuple(replace(binding, averaged=True) for binding in layer_axis.bindings)
    return (
        replace(layer_axis, bindings=bindings)
        if layer_axis.name == "features"
        else layer_axis
    )


def variables_of(layer_axes: list[LayerAxis]) -> set[int]:
    """Returns the `id`s of all variables of some axes."""
    return {
        id(binding.variable)
        for layer_axis in layer_axes
        for binding in layer_axis.bindings
    }


def _rows(layer: keras.Layer, path: str) -> LayerAxis:
    # A tied head uses the same rows for its outputs.
    tied = getattr(layer, "tie_weights", None) is True
    fresh = layer.embeddings_initializer
    table = AxisVariable(
        layer,
        keras_internals.embeddings_variable(layer),
        initializer=fresh,
        path=path,
        averaged=tied,
        asked=True,
    )
    bindings = [table]
    if layer.lora_enabled:
        factor = layer.lora_embeddings_a
        bindings.append(
            replace(table, variable=factor, initializer="zeros", is_factor=True)
        )
    if getattr(layer, "tie_weights", None) is False:
        head = layer.reverse_embeddings
        bindings.append(replace(table, variable=head, axis=1, averaged=True, asked=False))
    return LayerAxis(layer, path, "rows", tuple(bindings), (Size(layer, "input_dim"),))


def _inputs(
    layer: keras.Layer, path: str, kernel: keras.Variable, axis: int
) -> LayerAxis:
    fresh = layer.kernel_initializer
    bindings = [AxisVariable(layer, kernel, axis, (), fresh, path=path, asked=True)]
    if layer.lora_enabled:
        factor, axis = _lora_factor(layer, kernel, axis)
        how = {"variable": factor, "axis": axis, "initializer": "zeros"}
        bindings.append(replace(bindings[0], **how, is_factor=True))
    return LayerAxis(layer, path, "inputs", tuple(bindings), keeps_width=True)


def _lora_factor(
    layer: keras.Layer, kernel: keras.Variable, axis: int
) -> tuple[keras.Variable, int]:
    """Finds the LoRA factor that has an axis of the kernel, and its axis there."""
    if axis == len(kernel.shape) - 1:
        return layer.lora_kernel_b, 1
    return layer.lora_kernel_a, axis


def _outputs(
    layer: keras.Layer,
    path: str,
    kernel: keras.Variable,
    axis: int,
    size: Size,
    bias_axis: int | None,
) -> LayerAxis:
    mean = AxisVariable(layer, kernel, axis, (), layer.kernel_initializer, path=path)
    bindings = [mean]
    if layer.lora_enabled:
        factor, at = _lora_factor(layer, kernel, axis)
        bindings.append(replace(mean, variable=factor, axis=at, initializer="zeros"))
    if layer.bias is not None and bias_axis is not None:
        fresh = layer.bias_initializer
        bindings.append(
            replace(mean, variable=layer.bias, axis=bias_axis, initializer=fresh)
        )
    averaged = tuple(replace(binding, averaged=True) for binding in bindings)
    return LayerAxis(layer, path, "outputs", averaged, (size,))


def _einsum_axes(layer: keras.Layer, path: str) -> list[LayerAxis]:
    """Finds the last input axis, if the layer sums over it, and the last output axis."""
    inputs, weights, output = re.split(r",|->", layer.equation.replace(" ", ""))
    kernel = keras_internals.kernel_variable(layer)
    layer_axes = []
    last = inputs[-1]
    if last.isalpha() and last in weights and last not in output:
        layer_axes.append(_inputs(layer, path, kernel, weights.index(last)))
    last = output[-1]
    made = {o: int(kernel.shape[weights.index(o)]) for o in output if o in weights}
    # If several axes have the same size, the user must declare which one is meant.
    is_alone = list(made.values()).count(made.get(last, 0)) == 1
    if last.isalpha() and is_alone and last not in inputs:
        has_it = last in (layer.bias_axes or "")
        bias_axis = len(layer.bias.shape) - 1 if has_it else None
        size = Size(layer, "partial_output_shape", -1)
        layer_axes.append(
            _outputs(layer, path, kernel, weights.index(last), size, bias_axis)
        )
    return layer_axes


def _features(layer: keras.Layer, path: str) -> list[LayerAxis]:
    """Finds the axis of a layer with one entry per feature, if it is the last axis.

    New entries are as in a fresh layer. An input of 0, such as the count of a word that a
    text does not have, then stays 0 and adds nothing to the output of the next kernel.
    """
    if not _is_along_last_axis(layer):
        return []
    if isinstance(layer, keras.layers.Normalization):
        names, fresh = ["adapt_mean", "adapt_variance"], ["zeros", "ones"]
    else:
        names = ["alpha"] if isinstance(layer, keras.layers.PReLU) else ["gamma", "beta"]
        if isinstance(layer, keras.layers.BatchNormalization):
            names += ["moving_mean", "moving_variance"]
        fresh = [getattr(layer, f"{name}_initializer") for name in names]
    values = [getattr(layer, name, None) for name in names]
    bindings = tuple(
        AxisVariable(layer, value, 0, (), start, path=path)
        for value, start in zip(values, fresh, strict=True)
        if value is not None and len(value.shape) == 1
    )
    return (
        [LayerAxis(layer, path, "features", bindings, keeps_width=True)]
        if bindings
        else []
    )


def _is_along_last_axis(layer: keras.Layer) -> bool:
    axis = getattr(layer, "axis", -1)
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    rank = getattr(layer.input_spec, "ndim", None)
    return axes == [-1] or (rank is not None and axes == [rank - 1])


def check_quantized(layer: keras.Layer, path: str) -> None:
    """Raises an error for a quantized layer: rounded rows cannot be trained."""
    mode = getattr(layer, "quantization_mode", None)
    if mode:
        raise WarmStartError(
            f"Layer '{path}' must not be quantized: rounded rows cannot be trained. "
            f"Received: quantization_mode={mode!r}. Warm-start the float model, then "
            "quantize it."
        )
