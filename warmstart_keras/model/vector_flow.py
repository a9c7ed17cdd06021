"""Where vectors with one number for each token go, in the graph of a model.

What a lookup layer gives with `output_mode="multi_hot"` (or another that counts), what a
head gives, and what goes into a kernel with a row for each word, has one number for each
token. Whatever handles each of these numbers by itself has one more place with an entry
for each token, and the first kernel behind it has a row for each.
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

# Each number by itself, or over all of them alike; or those of several vectors.
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

# What gives the same numbers in other places, or only some of them.
_REARRANGING = (layers.Flatten, layers.RepeatVector, layers.Reshape)
_REARRANGING_OPERATIONS = {"GetItem", "Pad", "Ravel", "Reshape", "Slice", "Split"}

Problem: TypeAlias = tuple[keras.Operation, str]


@dataclass
class Reached:
    """The axes that handle vectors with one number for each token, and what may not."""

    layer_axes: list[LayerAxis] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class VectorFlow:
    """The ways of vectors through the graphs of some models.

    `axes` and `paths` are those of the layers of the first model.
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
        # A tensor that goes into a model, or comes out of it, is one more inside.
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

    def _origins(self, tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
        """The first tensors connected to this one by operations that keep its width."""
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
        """What a call makes of such a vector, which went through `doubt` before."""
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
            return []  # a kernel: what it gives has nothing to do with the tokens
        kept = [output for output in call.outputs if _width(output) == width]
        return [(output, doubt or name) for output in kept]

    def _other_head(self, tensor: keras.KerasTensor, name: str) -> list[Problem]:
        """A head whose outputs are added to those of another one, say, and not named."""
        call = self._producer.get(id(tensor))
        if call is None:
            return []
        operation = unwrapped(call.operation)
        axes = [a for a in self._layer_axes(operation) if a.name == "outputs"]
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
        operation: keras.Operation,
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


def _width(tensor: keras.KerasTensor) -> int | None:
    return tensor.shape[-1] if len(tensor.shape) else None


def _has_constant(call: keras_internals.Call, width: int) -> bool:
    """Whether an operation is called with an array, or scales by one, of that width."""
    operation = call.operation
    arguments = call.arguments({id(tensor): None for tensor in call.inputs})
    found = [a for a in keras.tree.flatten(arguments) if hasattr(a, "shape")]
    if isinstance(operation, layers.Rescaling):
        found += [np.asarray(operation.scale), np.asarray(operation.offset)]
    return width > 1 and any(width in tuple(array.shape) for array in found)


def _asks(name: str, through: str) -> str:
    return (
        f"Layer '{name}' must be named, if it has an entry for each token. Received: "
        f"vectors with one number for each that go through '{through}' before, of which "
        f"it is not certain what it does. Add `'{name.rpartition('/')[2]}': ...` to "
        "`vocabularies`."
    )
