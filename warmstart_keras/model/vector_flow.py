"""Where vectors with one number for each token go, in the graph of a model.

What a lookup layer gives with `output_mode="multi_hot"` (or another that counts), what a
head gives, and what goes into a kernel with a row for each word, has one number for each
token. Whatever handles each of these numbers by itself has one more place with an entry
for each token, and the first kernel behind it has a row for each.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.layers import LayerAxis
from warmstart_keras.model.named_layers import unwrapped

# Each number by itself, or over all of them alike; or those of several vectors.
_ELEMENTWISE = (
    keras.layers.Activation,
    keras.layers.ActivityRegularization,
    keras.layers.Add,
    keras.layers.AlphaDropout,
    keras.layers.Average,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.LeakyReLU,
    keras.layers.Masking,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.ReLU,
    keras.layers.Softmax,
    keras.layers.Subtract,
    keras.layers.UnitNormalization,
)
_ELEMENTWISE_OPERATIONS = {
    *("Absolute", "Add", "Cast", "Clip", "Divide", "Elu", "Exp", "Gelu", "LeakyRelu"),
    *("Log", "Log1p", "LogSigmoid", "LogSoftmax", "Maximum", "Minimum", "Multiply"),
    *("Negative", "Relu", "Sigmoid", "Silu", "Softmax", "Softplus", "Sqrt", "Square"),
    *("Subtract", "Tanh", "TrueDivide"),
}

# What gives the same numbers in other places, or only some of them.
_REARRANGING = (
    keras.layers.Flatten,
    keras.layers.RepeatVector,
    keras.layers.Reshape,
)
_REARRANGING_OPERATIONS = {"GetItem", "Pad", "Ravel", "Reshape", "Slice", "Split"}


@dataclass
class Reached:
    """What handles vectors with one number for each token.

    Attributes:
        axes: The axes of layers that have an entry for each of them.
        problems: Layers of which it is not certain what they do, and why.
    """

    layer_axes: list[LayerAxis] = field(default_factory=list)
    problems: list[tuple[Any, str]] = field(default_factory=list)


class VectorFlow:
    """The ways of vectors through the graphs of some models.

    Args:
        models: The models; one without a graph has no ways.
        axes: Gives the axes of one of the first one's layers.
        paths: The paths of these layers.
    """

    def __init__(
        self,
        models: list[keras.Layer],
        axes: Callable[[Any], list[LayerAxis]],
        paths: dict[keras.Layer, str],
    ) -> None:
        self._layer_axes, self._paths = axes, paths
        self._consumers: dict[int, list[keras_internals.Call]] = defaultdict(list)
        self._producer: dict[int, keras_internals.Call] = {}
        self._calls: dict[int, list[keras_internals.Call]] = defaultdict(list)
        # A tensor that goes into a model, or comes out of it, is one more inside.
        self._further: dict[int, list[Any]] = defaultdict(list)
        self._earlier: dict[int, list[Any]] = defaultdict(list)
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
        """What handles the vectors that a layer gives."""
        return self._after([t for call in self._calls[id(layer)] for t in call.outputs])

    def around(self, axis: LayerAxis) -> Reached:
        """What handles the vectors that go into, or come out of, one axis of a layer."""
        calls = self._calls[id(axis.layer)]
        if axis.name == "rows":
            # A tied head gives one number for each row where it is called in reverse.
            calls = [
                c for c in calls if len(c.outputs[0].shape) == len(c.inputs[0].shape)
            ]
        if axis.name in ("rows", "outputs"):
            return self._after([tensor for call in calls for tensor in call.outputs])
        return self._after([t for call in calls for t in self._origins(call.inputs[0])])

    def _origins(self, tensor: Any) -> list[Any]:
        """The first tensors of which this one has the same numbers, each changed alone.

        Where it is not certain what an operation does, also what goes into that.
        """
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
        """Whether what an operation gives is not by place what goes in."""
        axes = self._layer_axes(unwrapped(call.operation))
        return any(axis.name in ("rows", "outputs") for axis in axes)

    def _is_elementwise(self, call: keras_internals.Call) -> bool:
        operation, width = unwrapped(call.operation), _width(call.outputs[0])
        if any(_width(tensor) not in (width, 1, None) for tensor in call.inputs):
            return False
        if not isinstance(operation, keras.Layer):
            return type(operation).__name__ in _ELEMENTWISE_OPERATIONS
        if isinstance(operation, keras.layers.Rescaling):
            return np.ndim(operation.scale) == np.ndim(operation.offset) == 0
        if isinstance(operation, keras.layers.Flatten):
            return len(call.inputs[0].shape) == 2
        if isinstance(operation, keras.layers.Concatenate):
            return operation.axis not in (-1, len(call.outputs[0].shape) - 1)
        by_feature = any(s.name == "features" for s in self._layer_axes(operation))
        return isinstance(operation, _ELEMENTWISE) or by_feature

    def _after(self, tensors: Iterable[Any]) -> Reached:
        found, seen = Reached(), set()
        waiting: list[tuple[Any, str | None]] = [(tensor, None) for tensor in tensors]
        while waiting:
            tensor, doubt = waiting.pop()
            width = _width(tensor)
            if (id(tensor), doubt is None) in seen or width is None:
                continue
            seen.add((id(tensor), doubt is None))
            waiting += [(further, doubt) for further in self._further[id(tensor)]]
            for call in self._consumers[id(tensor)]:
                waiting += self._through(call, tensor, width, doubt, found)
        return found

    def _through(
        self,
        call: keras_internals.Call,
        tensor: Any,
        width: int,
        doubt: str | None,
        found: Reached,
    ) -> list[tuple[Any, str | None]]:
        """What a call makes of such a vector, and where that goes on to."""
        operation = unwrapped(call.operation)
        name = self._paths.get(operation, operation.name)
        axes = [
            axis
            for axis in self._layer_axes(operation)
            if axis.name in ("inputs", "features") and axis.rows == width
        ]
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
            return []  # a kernel: what it gives has nothing to do with the tokens
        kept = [output for output in call.outputs if _width(output) == width]
        return [(output, doubt or name) for output in kept]

    def _other_head(self, tensor: Any, name: str) -> list[tuple[Any, str]]:
        """A head whose outputs are added to those of another one, say, and not named."""
        call = self._producer.get(id(tensor))
        if call is None:
            return []
        operation = unwrapped(call.operation)
        axes = [s for s in self._layer_axes(operation) if s.name == "outputs"]
        return [
            (
                operation,
                f"Layer '{axis.path}' must be named too: what it gives is combined in "
                f"'{name}' with vectors that have one number for each token. Received: "
                f"`vocabularies` without it. Add `'{axis.layer.name}': ...`.",
            )
            for axis in axes
        ]

    def _problem(
        self,
        call: keras_internals.Call,
        operation: Any,
        name: str,
        width: int,
        axes: list[LayerAxis],
    ) -> str | None:
        """Why it is not certain what an operation makes of such vectors."""
        if _has_constant(call, width):
            return (
                f"Layer '{name}' must have no constant with one number for each token, "
                "since that stays in its place. Received: vectors with one number for "
                f"each that go into it (of type {type(operation).__name__}). Build a new "
                "model for today's vocabulary, and take over what this one has learned "
                "by `previous=`."
            )
        kind = type(operation).__name__
        if isinstance(operation, keras.layers.Concatenate) or kind == "Concatenate":
            return None if self._is_elementwise(call) else self._joined(call, name)
        if isinstance(operation, _REARRANGING) or kind in _REARRANGING_OPERATIONS:
            kept = any(_width(output) == width for output in call.outputs)
            return None if kept else self._joined(call, name)
        if not isinstance(operation, keras.Layer):
            return None
        known = {id(b.variable) for axis in axes for b in axis.bindings}
        known |= {
            id(b.variable)
            for axis in self._layer_axes(operation)
            if axis.name in ("rows", "outputs") and axes
            for b in axis.bindings
        }
        own = [
            f"{variable.path} {tuple(variable.shape)}"
            for variable in call.operation.weights
            if width in variable.shape and id(variable) not in known
        ]
        given: Any = getattr(operation, "input_mean", None)
        if np.size(given) == width > 1:
            own = ["mean, variance"]  # of a `Normalization`, given by the user
        if not own:
            return None
        if operation not in self._paths:
            return (
                f"Layer '{name}' of a model in `also` has an entry for each token. "
                f"Received: {own}. Warm-start that model, and name this one in `also`."
            )
        return (
            f"Layer '{name}' must say which of its variables have an entry for each "
            "token, since vectors with one number for each go into it. Received: "
            f"{own} (of type {type(operation).__name__}). Declare them: "
            f"`vocabularies={{Binding('{operation.name}', 'variable', axis=0): ...}}`."
        )

    def _joined(self, call: keras_internals.Call, name: str) -> str | None:
        """Vectors that are joined with others, if a layer with variables comes behind."""
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
                        "Vectors with one number for each token go into layer "
                        f"'{name}', which joins or rearranges them; it is not certain "
                        "which rows of the kernels behind it stand for which token. "
                        "Received: "
                        f"'{behind.operation.name}' behind it. Give these vectors a "
                        "`Dense` of their own before that."
                    )
                waiting += behind.outputs
        return None


def _width(tensor: Any) -> int | None:
    return tensor.shape[-1] if len(tensor.shape) else None


def _has_constant(call: keras_internals.Call, width: int) -> bool:
    """Whether an operation is called with an array, or scales by one, of that width."""
    operation = call.operation
    arguments = call.arguments({id(tensor): None for tensor in call.inputs})
    found = [a for a in keras.tree.flatten(arguments) if hasattr(a, "shape")]
    if isinstance(operation, keras.layers.Rescaling):
        found += [np.asarray(operation.scale), np.asarray(operation.offset)]
    return width > 1 and any(width in tuple(array.shape) for array in found)


def _asks(name: str, through: str) -> str:
    return (
        f"Layer '{name}' must be named, if it has an entry for each token. Received: "
        f"vectors with one number for each that go through '{through}' before, of which "
        f"it is not certain what it does. Add `'{name.rpartition('/')[2]}': ...` to "
        "`vocabularies`."
    )
