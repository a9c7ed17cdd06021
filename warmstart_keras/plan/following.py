"""Configurations, graph shapes and metrics that depend on a vocabulary's size."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import Transaction
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import Size
from warmstart_keras.model import VocabularyAxis
from warmstart_keras.plan.rebuilding import attributes_set, check_ancestors


@dataclass
class Resizing:
    """Changes outside the variables that a new number of rows requires."""

    roots: list[keras.Layer] = field(default_factory=list)  # the models
    # The axes that change their number of rows.
    axes: list[VocabularyAxis] = field(default_factory=list)
    # New values of attributes that hold a vocabulary's size.
    sizes: dict[Size, Any] = field(default_factory=dict)
    # Paths of layers whose configuration could not be checked.
    unchecked: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, roots: list[keras.Layer], axes: list[VocabularyAxis]) -> "Resizing":
        """Finds and checks what depends on axes that change their number of rows."""
        if not axes:
            return cls()
        sizes = {s: s.value_for(t.rows) for t in axes for s in t.layer_axis.sizes}
        paths = [p for root in roots for p in check_ancestors(root, axes, sizes)]
        with attributes_set(sizes):
            _shapes_after(roots, axes)
        return cls(roots, axes, sizes, list(dict.fromkeys(paths)))

    def apply(self, transaction: Transaction) -> None:
        """Sets the new sizes in attributes and in the shapes of the graph."""
        if not self.axes:
            return
        for size, value in self.sizes.items():
            transaction.set_attribute(size.owner, size.attribute, value)
        for tensor, shape in _shapes_after(self.roots, self.axes):
            keras_internals.set_shape(tensor, shape, transaction)


def _shapes_after(roots: list[keras.Layer], axes: list[VocabularyAxis]) -> list[tuple]:
    """Finds the symbolic tensors of the graph whose shape changes, with the new shape."""
    resized = {axis.layer for axis in axes}
    calls = list(keras_internals.calls(roots))
    depends = {
        operation
        for operation in {call.operation for call in calls}
        if isinstance(operation, keras.Layer)
        and any(inside in resized for _, inside in keras_internals.walk(operation))
    }
    shapes: dict[int, tuple] = {}
    tensors: dict[int, keras.KerasTensor] = {}

    def shape_of(tensor: keras.KerasTensor) -> tuple:
        return shapes.get(id(tensor), tuple(tensor.shape))

    def set_to(tensor: keras.KerasTensor, shape: tuple) -> bool:
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


def _followed(before: keras.KerasTensor, now: tuple, after: keras.KerasTensor) -> tuple:
    """Returns the new shape of a tensor on the other side of a nested model's boundary.

    A nested model has symbolic inputs and outputs that correspond to those of its call.
    """
    own = tuple(after.shape)
    if len(own) != len(now):
        return own
    dims = zip(before.shape, now, own, strict=True)
    return tuple(new if new != old else kept for old, new, kept in dims)


def _outputs(call: keras_internals.Call, shape_of: Callable) -> list[tuple]:
    """Computes the output shapes of a call for inputs of other shapes."""
    inputs = {
        id(tensor): keras.KerasTensor(shape_of(tensor), dtype=tensor.dtype)
        for tensor in call.inputs
    }
    args, kwargs = call.arguments(inputs)
    try:
        given = call.operation.compute_output_spec(*args, **kwargs)
    except Exception as error:  # any exception means that the layer refuses the shapes
        name = call.operation.name
        raise WarmStartError(
            f"Layer '{name}' must accept the input shapes that result from the new "
            f"vocabulary. Received: shapes {[t.shape for t in inputs.values()]}, for "
            f"which it raised {type(error).__name__}: {str(error)[:200]}. Build a new "
            "model for the new vocabulary, and start it from this one: "
            "`warm_start(new_model, vocabularies=..., previous=this_model)`."
        ) from error
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(given)]


# Arguments of Keras metrics that refer to outputs by index, or have one value per output.
_BY_OUTPUT = ("class_id", "target_class_ids", "label_weights")

# Arguments of Keras metrics that hold the number of outputs.
_NUMBERS = ("num_classes", "num_labels")


class StaleMetrics:
    """Compiled metrics that no longer fit the number of outputs of their model.

    Args:
        models: The models whose metrics are checked.
        axes: The vocabulary axes that change.

    Attributes:
        notes: Messages about metrics that cannot be reset.
    """

    def __init__(self, models: list[keras.Model], axes: list[VocabularyAxis]) -> None:
        self.notes: list[str] = []
        self._reset: list[tuple[keras.Metric, keras.Metric]] = []
        self._models: list[keras.Model] = []
        heads = [axis for axis in axes if axis.layer_axis.name != "inputs"]
        widths = {axis.layer_axis.rows: axis.rows for axis in heads if axis.resizes}
        for model in models if heads else []:
            for metric in keras_internals.compiled_metrics(model):
                self._look_at(model, metric, widths)

    def _look_at(
        self, model: keras.Model, metric: keras.Metric, widths: dict[int, int]
    ) -> None:
        try:
            config = metric.get_config()
        except Exception:  # a custom metric that cannot be saved
            config = {}
        named = {key: config[key] for key in _BY_OUTPUT if config.get(key) is not None}
        if named:
            self.notes.append(
                f"metric '{metric.name}' refers to outputs by their old index: {named}. "
                "These outputs have moved, so the metric would measure other ones. "
                "Compile the model again with a metric for the new indices."
            )
        if not _has_width(metric, set(widths)):
            return
        for key in _NUMBERS:
            # A subclassed model has no `outputs`, so the metric's output is unknown.
            alone = len(getattr(model, "outputs", None) or []) == 1
            if alone and config.get(key) in widths:
                config[key] = widths[config[key]]
        try:
            fresh = type(metric).from_config(config)
        except Exception:  # a custom class may raise anything; it then cannot be reset
            fresh = metric
        lost = _arguments(type(metric)) - config.keys()
        if lost or _has_width(fresh, set(widths)):
            self.notes.append(
                f"metric '{metric.name}' (of type {type(metric).__name__}) was made for "
                "the old number of outputs and cannot be reset, so `fit` and `evaluate` "
                "can fail. Compile the model again with a new metric."
            )
            return
        self._reset.append((metric, fresh))
        if model not in self._models:
            self._models.append(model)

    def __bool__(self) -> bool:
        return bool(self._reset)

    def reset(self, transaction: Transaction) -> None:
        """Resets the metrics in place, so that Keras builds them for the new outputs.

        The metric objects stay the same, since user code may hold references to them.
        """
        for metric, fresh in self._reset:
            keras_internals.replace_content(metric, fresh, transaction)
        for model in self._models:
            keras_internals.forget_metrics_build(model, transaction)


def _has_width(metric: keras.Metric, widths: set[int]) -> bool:
    """Returns whether a metric has a variable as long as one of the widths."""
    shapes = [tuple(map(int, variable.shape)) for variable in metric.variables]
    return any(shape and shape[-1] in widths for shape in shapes)


def _arguments(kind: type) -> set[str]:
    """Returns the constructor arguments that a custom metric class must save.

    Keras's own classes save all of their arguments, so none are returned for them.
    """
    if kind.__module__.partition(".")[0] == "keras":
        return set()
    parameters = inspect.signature(kind).parameters.values()
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
