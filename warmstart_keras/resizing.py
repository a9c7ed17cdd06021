"""What follows when a vocabulary's size changes: configurations, graphs and metrics."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.assigning import set_attribute
from warmstart_keras.bindings import Size, Table
from warmstart_keras.config_check import attributes_set, check_ancestors
from warmstart_keras.errors import WarmStartError


@dataclass
class Resizing:
    """What has to follow the tables of a model that change their number of rows.

    Attributes:
        roots: The models.
        tables: The tables.
        sizes: New values of attributes that hold a vocabulary's size.
        unchecked: Paths of layers whose configuration could not be checked.
    """

    roots: list[keras.Layer] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    sizes: dict[Size, Any] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, roots: list[keras.Layer], tables: list[Table]) -> "Resizing":
        """What follows some tables, all of which change their number of rows.

        Raises:
            WarmStartError: If the saved model could not be loaded, or a layer behind a
                head does not take vectors of the new width.
        """
        if not tables:
            return cls()
        sizes = {s: s.value_for(t.rows) for t in tables for s in t.side.sizes}
        paths = [p for root in roots for p in check_ancestors(root, tables, sizes)]
        with attributes_set(sizes):
            _shapes_after(roots, tables)
        return cls(roots, tables, sizes, list(dict.fromkeys(paths)))

    def apply(self, undo: ExitStack) -> None:
        """Sets what follows, and leaves with `undo` the way back."""
        if not self.tables:
            return
        for size, value in self.sizes.items():
            set_attribute(size.owner, size.attribute, value, undo)
        for tensor, shape in _shapes_after(self.roots, self.tables):
            keras_internals.set_shape(tensor, shape, undo)


def _shapes_after(roots: list[keras.Layer], tables: list[Table]) -> list[tuple]:
    """The symbolic tensors of the graph that get another shape, and which.

    Raises:
        WarmStartError: If a layer does not take what those before it give.
    """
    resized = {table.layer for table in tables}
    calls = list(keras_internals.calls(roots))
    depends = {
        operation
        for operation in {call.operation for call in calls}
        if isinstance(operation, keras.Layer)
        and any(inside in resized for _, inside in keras_internals.walk(operation))
    }
    shapes: dict[int, tuple] = {}
    tensors: dict[int, Any] = {}

    def shape_of(tensor: Any) -> tuple:
        return shapes.get(id(tensor), tuple(tensor.shape))

    def set_to(tensor: Any, shape: tuple) -> bool:
        if shape == shape_of(tensor):
            return False
        shapes[id(tensor)], tensors[id(tensor)] = shape, tensor
        return True

    changed = True
    while changed:
        changed = False
        for call in calls:
            borders = keras_internals.borders(call)
            for before, after in borders:
                changed |= set_to(after, _followed(before, shape_of(before), after))
            if borders:
                continue
            if call.operation in depends or any(id(t) in shapes for t in call.inputs):
                shaped = zip(call.outputs, _outputs(call, shape_of), strict=True)
                for tensor, shape in shaped:
                    changed |= set_to(tensor, shape)
    return [(tensor, shapes[key]) for key, tensor in tensors.items()]


def _followed(before: Any, now: tuple, after: Any) -> tuple:
    """The shape of the same tensor on the other side of a model's border."""
    own = tuple(after.shape)
    if len(own) != len(now):
        return own
    dims = zip(before.shape, now, own, strict=True)
    return tuple(new if new != old else kept for old, new, kept in dims)


def _outputs(call: keras_internals.Call, shape_of: Callable) -> list[tuple]:
    """The shapes of what a call would give for inputs of other shapes."""
    inputs = {
        id(tensor): keras.KerasTensor(shape_of(tensor), dtype=tensor.dtype)
        for tensor in call.inputs
    }
    args, kwargs = call.arguments(inputs)
    try:
        given = call.operation.compute_output_spec(*args, **kwargs)
    except Exception as error:  # whatever a layer raises, it does not take them
        name = call.operation.name
        raise WarmStartError(
            f"Layer '{name}' must take what the layers before it give with the new "
            f"vocabulary. Received: shapes {[t.shape for t in inputs.values()]}, for "
            f"which it raised {type(error).__name__}: {str(error)[:200]}. Build a new "
            "model for today's vocabulary, and take over what this one has learned: "
            "`warm_start(new_model, vocabularies=..., previous=this_model)`."
        ) from error
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(given)]
