"""Where vectors with one number for each token go, in the graph of a model.

What a lookup layer gives with `output_mode="multi_hot"` (or another that counts), what a
head gives, and what goes into a kernel with a row for each word, has one number for each
token. Whatever handles each of these numbers by itself has one more place with an entry
for each token, and the first kernel behind it has a row for each.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.bindings import Side
from warmstart_keras.sides import has_sides

# Each number by itself, or over all of them alike.
_ELEMENTWISE = (
    keras.layers.Activation,
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.LeakyReLU,
    keras.layers.Masking,
    keras.layers.ReLU,
    keras.layers.Softmax,
    keras.layers.UnitNormalization,
)
_ELEMENTWISE_OPERATIONS = {
    *("Abs", "Cast", "Clip", "Exp", "Gelu", "Log", "Log1p", "LogSigmoid", "LogSoftmax"),
    *("Negative", "Relu", "Sigmoid", "Silu", "Softmax", "Softplus", "Sqrt", "Square"),
    "Tanh",
}


@dataclass
class Followed:
    """What handles vectors with one number for each token.

    Attributes:
        sides: The sides of layers that have an entry for each of them.
        problems: Layers of which it is not certain what they do, and why.
    """

    sides: list[Side] = field(default_factory=list)
    problems: list[tuple[Any, str]] = field(default_factory=list)


class PerWord:
    """The ways of vectors through the graph of a model.

    Args:
        model: The model; one without a graph has no ways.
        sides: The sides of its layers.
        paths: The paths of its layers.
    """

    def __init__(
        self,
        model: keras.Layer,
        sides: dict[keras.Layer, list[Side]],
        paths: dict[keras.Layer, str],
    ) -> None:
        self._sides, self._paths = sides, paths
        self._consumers: dict[int, list[keras_internals.Call]] = defaultdict(list)
        self._producer: dict[int, keras_internals.Call] = {}
        self._calls: dict[int, list[keras_internals.Call]] = defaultdict(list)
        # A tensor that goes into a model, or comes out of it, is one more inside.
        self._further: dict[int, list[Any]] = defaultdict(list)
        self._earlier: dict[int, Any] = {}
        for call in keras_internals.calls(model):
            self._calls[id(call.operation)].append(call)
            if keras_internals.borders(call):
                for before, after in keras_internals.borders(call):
                    self._further[id(before)].append(after)
                    self._earlier[id(after)] = before
                continue
            for tensor in call.inputs:
                self._consumers[id(tensor)].append(call)
            for tensor in call.outputs:
                self._producer[id(tensor)] = call

    def from_lookup(self, lookup: keras.Layer) -> Followed:
        """What handles the vectors that a lookup layer gives."""
        return self._after([t for call in self._calls[id(lookup)] for t in call.outputs])

    def around(self, side: Side) -> Followed:
        """What handles the vectors that go into, or come out of, one side of a layer."""
        calls = self._calls[id(side.layer)]
        if side.name == "rows":
            # A tied head gives one number for each row where it is called in reverse.
            calls = [
                c for c in calls if len(c.outputs[0].shape) == len(c.inputs[0].shape)
            ]
        if side.name in ("rows", "outputs"):
            return self._after([tensor for call in calls for tensor in call.outputs])
        origins = [self._origin(tensor) for call in calls for tensor in call.inputs[:1]]
        return self._after(origins)

    def _origin(self, tensor: Any) -> Any:
        """The first tensor of which this one has the same numbers, each changed alone."""
        while True:
            if id(tensor) in self._earlier:
                tensor = self._earlier[id(tensor)]
                continue
            call = self._producer.get(id(tensor))
            if call is None or not call.inputs or not self._is_elementwise(call):
                return tensor
            tensor = call.inputs[0]

    def _is_elementwise(self, call: keras_internals.Call) -> bool:
        operation = call.operation
        if len(call.inputs) != 1 or call.inputs[0].shape != call.outputs[0].shape:
            return False
        if isinstance(operation, keras.Layer):
            by_feature = any(s.name == "features" for s in self._sides.get(operation, []))
            return isinstance(operation, _ELEMENTWISE) or by_feature
        return type(operation).__name__ in _ELEMENTWISE_OPERATIONS

    def _after(self, tensors: Iterable[Any]) -> Followed:
        found, seen, waiting = Followed(), set(), list(tensors)
        while waiting:
            tensor = waiting.pop()
            width = tensor.shape[-1] if len(tensor.shape) else None
            if id(tensor) in seen or width is None:
                continue
            seen.add(id(tensor))
            waiting += self._further[id(tensor)]
            for call in self._consumers[id(tensor)]:
                sides = [
                    side
                    for side in self._sides.get(call.operation, [])
                    if side.name in ("inputs", "features") and side.rows == width
                ]
                found.sides += sides
                if self._is_elementwise(call):
                    waiting += call.outputs
                elif not sides:
                    problem = self._problem(call, width)
                    if problem is not None:
                        found.problems.append((call.operation, problem))
        return found

    def _problem(self, call: keras_internals.Call, width: int) -> str | None:
        """Why it is not certain what an operation makes of such vectors."""
        operation = call.operation
        name = self._paths.get(operation, operation.name)
        if isinstance(operation, keras.layers.Concatenate):
            return (
                f"Vectors with one number for each token go into layer '{name}', which "
                "joins them with others; it is not certain which rows of the kernels "
                "behind it stand for which token. Give these vectors a `Dense` of their "
                "own before they are joined."
            )
        if not isinstance(operation, keras.Layer):
            return None
        if has_sides(operation) and not getattr(operation, "quantization_mode", None):
            return None
        own = [
            f"{variable.path} {tuple(variable.shape)}"
            for variable in operation.weights
            if width in variable.shape
        ]
        if not own:
            return None
        return (
            f"Layer '{name}' must say which of its variables have an entry for each "
            "token, since vectors with one number for each go into it. Received: "
            f"{own} (of type {type(operation).__name__}). Declare them: "
            f"`vocabularies={{Binding('{operation.name}', 'variable', axis=0): ...}}`."
        )
