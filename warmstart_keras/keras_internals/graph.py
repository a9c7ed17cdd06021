"""Private names of the graphs that symbolic calls of Keras's layers make."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import keras

from warmstart_keras.keras_internals import access
from warmstart_keras.keras_internals.layers import walk


@dataclass(frozen=True, eq=False)
class Call:
    """One symbolic call of a layer, a model or one of Keras's operations."""

    operation: keras.Operation  # what was called
    inputs: list[keras.KerasTensor]  # the symbolic tensors that went in
    outputs: list[keras.KerasTensor]  # those that came out
    # What it was called with: a function of symbolic tensors for `inputs` that gives
    # positional and keyword arguments.
    arguments: Callable


def calls(roots: list[keras.Layer]) -> Iterator[Call]:
    """Every symbolic call of some models, of the layers inside, and between, once."""
    # A Functional model keeps its graph in nodes of its operations alone.
    seen: set[int] = set()
    for layer in (layer for root in roots for _, layer in walk(root)):
        for operation in [layer, *getattr(layer, "operations", [])]:
            if id(operation) in seen:
                continue
            seen.add(id(operation))
            for node in access.private(operation, "_inbound_nodes"):
                inputs, outputs = list(node.input_tensors), list(node.outputs)
                if outputs:
                    yield Call(operation, inputs, outputs, node.arguments.fill_in)


def borders(call: Call) -> list[tuple[keras.KerasTensor, keras.KerasTensor]]:
    """Of a call of a model, the tensors outside and inside that are the same.

    In pairs, in the order in which values flow: what goes in, and is one of the model's
    own inputs there; and its own outputs, which come out. Empty for anything else.
    """
    if not isinstance(call.operation, keras.Model):
        return []
    try:
        inputs, outputs = call.operation.inputs, call.operation.outputs
    except (AttributeError, ValueError):  # a Sequential without a graph yet
        return []
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        return []
    goes_in = zip(call.inputs, inputs, strict=False)  # there may be masks besides
    return [*goes_in, *zip(outputs, call.outputs, strict=False)]


def set_shape(tensor: keras.KerasTensor, shape: tuple, undo: ExitStack) -> None:
    """Gives a symbolic tensor another shape, and leaves with `undo` the way back."""
    # It has no setter: to Keras the layers of a graph never change their size.
    before = access.private(tensor, "_shape")
    undo.callback(setattr, tensor, "_shape", before)
    tensor._shape = shape
