"""Private names of the graphs that symbolic calls of Keras layers create."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import keras

from warmstart_keras.keras_internals import access
from warmstart_keras.keras_internals.layers import walk


@dataclass(frozen=True, eq=False)
class Call:
    """One symbolic call of a layer, a model or another Keras operation."""

    operation: keras.Operation  # the layer, model or operation that was called
    inputs: list[keras.KerasTensor]  # the symbolic input tensors
    outputs: list[keras.KerasTensor]  # the symbolic output tensors
    # Function of symbolic tensors, which replace `inputs`. It returns the positional and
    # keyword arguments of the call.
    arguments: Callable


def calls(roots: list[keras.Layer]) -> Iterator[Call]:
    """Yields every symbolic call in some models, their layers and operations, once."""
    # Only the nodes of its operations have the graph of a Functional model.
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
    """Pairs the tensors outside and inside a called model that have the same value.

    In each pair, values flow from the first tensor to the second: from an input of the
    call to an input of the model, and from an output of the model to an output of the
    call. The list is empty if the call is not that of a model.
    """
    if not isinstance(call.operation, keras.Model):
        return []
    try:
        inputs, outputs = call.operation.inputs, call.operation.outputs
    except (AttributeError, ValueError):  # a Sequential that has no graph yet
        return []
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        return []
    goes_in = zip(call.inputs, inputs, strict=False)  # masks can follow
    return [*goes_in, *zip(outputs, call.outputs, strict=False)]


def set_shape(tensor: keras.KerasTensor, shape: tuple, undo: ExitStack) -> None:
    """Changes the shape of a symbolic tensor; adds the rollback to `undo`."""
    # A symbolic tensor has no setter: in Keras the layers of a graph never change size.
    before = access.private(tensor, "_shape")
    undo.callback(setattr, tensor, "_shape", before)
    tensor._shape = shape
