"""Follows vectors with one entry per token through the graph of a model.

Three kinds of vectors have one entry per token: the output of a lookup layer with
`output_mode="multi_hot"` (or another mode that counts), the output of a head, and the
input of a kernel with one row per token. A layer with variables that treats each entry
separately, such as a normalization, has an axis with one entry per token. The first
kernel after it has one row per token.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import keras
import numpy as np
from keras import layers

from warmstart_keras import keras_internals
from warmstart_keras.layers import LayerAxis, variables_of
from warmstart_keras.model.named_layers import unwrapped

# Layers that keep each entry at its position. They treat each entry separately, treat all
# entries equally, or combine several vectors entry by entry.
_ELEMENTWISE = (
    *(layers.Activation, layers.ActivityRegularization, layers.Add, layers.AlphaDropout),
    *(layers.Average, layers.Dropout, layers.ELU, layers.GaussianDropout),
    *(layers.GaussianNoise, layers.Identity, layers.LeakyReLU, layers.Masking),
    *(layers.Maximum, layers.Minimum, layers.Multiply, layers.ReLU, layers.Softmax),
    *(layers.Subtract, layers.UnitNormalization),
)
_ELEMENTWISE_OPERATIONS = {
    *("Absolute", "Add", "Cast", "Clip", "Divide", "Elu", "Exp", "Gelu", "LeakyRelu"),
    *("Log", "Log1p", "LogSigmoid", "LogSoftmax", "Maximum", "Minimum", "Multiply"),
    *("Negative", "Relu", "Sigmoid", "Silu", "Softmax", "Softplus", "Sqrt", "Square"),
    *("Subtract", "Tanh", "TrueDivide"),
}

# Layers that move the entries of a vector to other positions, or drop some of them.
_REARRANGING = (layers.Flatten, layers.RepeatVector, layers.Reshape)
_REARRANGING_OPERATIONS = {"GetItem", "Pad", "Ravel", "Reshape", "Slice", "Split"}

Problem: TypeAlias = tuple[keras.Operation, str]


@dataclass
class Reached:
    """Axes that vectors with one entry per token reach, and problems on their way."""

    layer_axes: list[LayerAxis] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class VectorFlow:
    """Graph of some models, in which vectors with one entry per token are followed.

    Args:
        models: The models. The first is the one to warm-start.
        axes: Returns the axes of a layer of the first model.
        paths: The paths of the layers of the first model.
    """

    def __init__(
        self,
        models: list[keras.Layer],
        axes: Callable[[keras.Operation], list[LayerAxis]],
        paths: dict[keras.Layer, str],
    ) -> None:
        self._layer_axes, self._paths = axes, paths
        self._consumers: dict[int, list[keras_internals.Call]] = defaultdict(list)
        self._producer: dict[int, keras_internals.Call] = {}
        self._calls: dict[int, list[keras_internals.Call]] = defaultdict(list)
        # At the border of a nested model, two tensors stand for one vector: one outside
        # the model and one inside. These map each tensor to its partner, with the data
        # flow and against it.
        self._further: dict[int, list[keras.KerasTensor]] = defaultdict(list)
        self._earlier: dict[int, list[keras.KerasTensor]] = defaultdict(list)
        for call in keras_internals.calls(models):
            self._calls[id(unwrapped(call.operation))].append(call)
            borders = keras_internals.borders(call)
            for before, after in borders:
                self._further[id(before)].append(after)
                self._earlier[id(after)].append(before)
            if borders:
                continue
            for tensor in call.inputs:
                self._consumers[id(tensor)].append(call)
            for tensor in call.outputs:
                self._producer[id(tensor)] = call

    def given_by(self, layer: keras.Layer) -> Reached:
        """Follows the vectors that a layer outputs."""
        return self._after([t for call in self._calls[id(layer)] for t in call.outputs])

    def around(self, axis: LayerAxis) -> Reached:
        """Follows the vectors that go into, or come out of, one axis of a layer."""
        calls = self._calls[id(axis.layer)]
        if axis.name == "rows":
            # A tied head outputs one entry per row where the embedding is called in
            # reverse. In these calls, input and output have the same rank.
            calls = [
                c for c in calls if len(c.outputs[0].shape) == len(c.inputs[0].shape)
            ]
        if axis.name in ("rows", "outputs"):
            return self._after([tensor for call in calls for tensor in call.outputs])
        return self._after([t for call in calls for t in self._origins(call.inputs[0])])

    def _origins(self, tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Finds the first tensors that lead to this one through a constant width."""
        found, seen, waiting = [], set(), [tensor]
        while waiting:
            one = waiting.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            call = self._producer.get(id(one))
            before = list(self._earlier[id(one)])
            if call is not None and not self._is_source(call):
                before += [t for t in call.inputs if _width(t) == _width(one)]
            waiting += before
            if not before:
                found.append(one)
        return found

    def _is_source(self, call: keras_internals.Call) -> bool:
        """Returns whether an operation makes new entries, as a head does."""
        axes = self._layer_axes(unwrapped(call.operation))
        return any(axis.name in ("rows", "outputs") for axis in axes)

    def _is_elementwise(self, call: keras_internals.Call) -> bool:
        operation, width = unwrapped(call.operation), _width(call.outputs[0])
        if any(_width(tensor) not in (width, 1, None) for tensor in call.inputs):
            return False
        if not isinstance(operation, keras.Layer):
            return type(operation).__name__ in _ELEMENTWISE_OPERATIONS
        if isinstance(operation, layers.Rescaling):
            return np.ndim(operation.scale) == np.ndim(operation.offset) == 0
        if isinstance(operation, layers.Flatten):
            return len(call.inputs[0].shape) == 2
        if isinstance(operation, layers.Concatenate):
            return operation.axis not in (-1, len(call.outputs[0].shape) - 1)
        by_feature = any(s.name == "features" for s in self._layer_axes(operation))
        return isinstance(operation, _ELEMENTWISE) or by_feature

    def _after(self, tensors: Iterable[keras.KerasTensor]) -> Reached:
        found, seen = Reached(), set()
        waiting: list[tuple[keras.KerasTensor, str | None]] = [(t, None) for t in tensors]
        while waiting:
            tensor, doubt = waiting.pop()
            width = _width(tensor)
            if (id(tensor), doubt is None) in seen or width is None:
                continue
            seen.add((id(tensor), doubt is None))
            waiting += [(further, doubt) for further in self._further[id(tensor)]]
            for call in self._consumers[id(tensor)]:
                waiting += self._through(call, tensor, doubt, found)
        return found

    def _through(
        self,
        call: keras_internals.Call,
        tensor: keras.KerasTensor,
        doubt: str | None,
        found: Reached,
    ) -> list[tuple[keras.KerasTensor, str | None]]:
        """Follows a vector through one call.

        Args:
            call: The call of a layer or an operation.
            tensor: The input that has one entry per token.
            doubt: The name of an earlier layer whose effect on the entries is unknown, or
                None.
            found: The axes and problems found are added to this object.

        Returns:
            The outputs to follow next, each with its `doubt`.
        """
        width = tensor.shape[-1]
        operation = unwrapped(call.operation)
        name = self._paths.get(operation, operation.name)
        axes = [a for a in self._layer_axes(operation) if a.rows == width]
        axes = [axis for axis in axes if axis.name in ("inputs", "features")]
        if doubt is None:
            found.layer_axes += axes
        elif axes:
            found.problems.append((operation, _asks(name, doubt)))
        problem = self._problem(call, operation, name, width, axes)
        if problem is not None:
            found.problems.append((operation, problem))
            return []
        if self._is_elementwise(call):
            others = [t for t in call.inputs if t is not tensor and _width(t) == width]
            for other in (o for t in others for o in self._origins(t)):
                found.problems += self._other_head(other, name)
            return [(output, doubt) for output in call.outputs]
        if axes:
            return []  # the outputs of a kernel no longer have one entry per token
        kept = [output for output in call.outputs if _width(output) == width]
        return [(output, doubt or name) for output in kept]

    def _other_head(self, tensor: keras.KerasTensor, name: str) -> list[Problem]:
        """Finds an unnamed head whose outputs layer `name` combines with the vector."""
        call = self._producer.get(id(tensor))
        if call is None:
            return []
        operation = unwrapped(call.operation)
        axes = [a for a in self._layer_axes(operation) if a.name == "outputs"]
        return [
            (
                operation,
                f"`vocabularies` must also name layer '{axis.path}', because '{name}' "
                "combines its outputs with vectors that have one entry per token. "
                f"Received: `vocabularies` without '{axis.layer.name}'. Add "
                f"`'{axis.layer.name}': vectorizer` to `vocabularies`.",
            )
            for axis in axes
        ]

    def _problem(
        self,
        call: keras_internals.Call,
        operation: keras.Operation,
        name: str,
        width: int,
        axes: list[LayerAxis],
    ) -> str | None:
        """Describes why a vector cannot be followed through an operation, or gives None.

        Args:
            call: The call of the operation.
            operation: The operation, without its wrappers.
            name: Its path, for messages.
            width: The number of entries of the vector.
            axes: The axes of the operation that take the vector.
        """
        if _has_constant(call, width):
            return (
                f"Layer '{name}' must not have a constant with one entry per token, "
                "because a warm start cannot move the entries of a constant. Received: "
                f"a constant of width {width} (in a layer of type "
                f"{type(operation).__name__}) for vectors with one entry per token. "
                "Build a new model for the new vocabulary, and warm-start the part of it "
                "without this layer: `warm_start(keras.Model(new_model.inputs, "
                "new_model.get_layer('head').output), ..., previous=this_model)`."
            )
        kind = type(operation).__name__
        if isinstance(operation, layers.Concatenate) or kind == "Concatenate":
            return None if self._is_elementwise(call) else self._joined(call, name)
        if isinstance(operation, _REARRANGING) or kind in _REARRANGING_OPERATIONS:
            kept = any(_width(output) == width for output in call.outputs)
            return None if kept else self._joined(call, name)
        if not isinstance(operation, keras.Layer):
            return None
        behind = [a for a in self._layer_axes(operation) if a.name in ("rows", "outputs")]
        known = variables_of([*axes, *behind] if axes else [])
        own = [
            f"{variable.path} {tuple(variable.shape)}"
            for variable in call.operation.weights
            if width in variable.shape and id(variable) not in known
        ]
        if np.size(getattr(operation, "input_mean", ())) == width > 1:
            own = ["mean, variance"]  # arguments of a `Normalization`
        if not own:
            return None
        if operation not in self._paths:
            return (
                f"Layer '{name}' of a model in `also` must not have variables with one "
                "entry per token, because only the variables of the warm-started model "
                f"are moved. Received: {own}. Warm-start that model instead, and pass "
                "this model as `also`: `warm_start(other_model, also=this_model)`."
            )
        return (
            f"`vocabularies` must declare which variables of layer '{name}' have one "
            "entry per token, because its input vectors have one entry per token. "
            f"Received: the variables {own} of this size (in a layer of type "
            f"{type(operation).__name__}). Pass `vocabularies={{Binding("
            f"'{operation.name}', 'variable', axis=0): vectorizer}}`."
        )

    def _joined(self, call: keras_internals.Call, name: str) -> str | None:
        """Describes why joined vectors cannot be followed, or gives None.

        They only matter if a layer with variables comes after the call.
        """
        waiting, seen = list(call.outputs), set()
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            waiting += self._further[id(tensor)]
            for behind in self._consumers[id(tensor)]:
                if getattr(behind.operation, "weights", []):
                    return (
                        f"Layer '{name}' joins or rearranges vectors with one entry per "
                        "token, so it is unknown which kernel rows after it stand for "
                        f"which token. Received: layer '{behind.operation.name}' after "
                        f"'{name}'. Apply a separate `Dense` layer to the vectors "
                        f"before '{name}': `keras.layers.Dense(units)(vectors)`."
                    )
                waiting += behind.outputs
        return None


def _width(tensor: keras.KerasTensor) -> int | None:
    return tensor.shape[-1] if len(tensor.shape) else None


def _has_constant(call: keras_internals.Call, width: int) -> bool:
    """Returns whether an operation uses an array of that width as a constant."""
    operation = call.operation
    arguments = call.arguments({id(tensor): None for tensor in call.inputs})
    found = [a for a in keras.tree.flatten(arguments) if hasattr(a, "shape")]
    if isinstance(operation, layers.Rescaling):
        found += [np.asarray(operation.scale), np.asarray(operation.offset)]
    return width > 1 and any(width in tuple(array.shape) for array in found)


def _asks(name: str, through: str) -> str:
    return (
        f"`vocabularies` must name layer '{name}' if the layer has one entry per token. "
        f"Received: vectors with one entry per token that pass through '{through}' "
        f"first. The effect of '{through}' on their entries is unknown. Add "
        f"`'{name.rpartition('/')[2]}': vectorizer` to `vocabularies`."
    )
