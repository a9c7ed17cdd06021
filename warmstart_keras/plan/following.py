"""What follows when a vocabulary's size changes: configurations, graphs and metrics."""

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
    """What has to follow the axes of a model that change their number of rows."""

    roots: list[keras.Layer] = field(default_factory=list)  # the models
    axes: list[VocabularyAxis] = field(default_factory=list)  # the axes
    # New values of attributes that hold a vocabulary's size.
    sizes: dict[Size, Any] = field(default_factory=dict)
    # Paths of layers whose configuration could not be checked.
    unchecked: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, roots: list[keras.Layer], axes: list[VocabularyAxis]) -> "Resizing":
        """What follows the axes that change their number of rows."""
        if not axes:
            return cls()
        sizes = {s: s.value_for(t.rows) for t in axes for s in t.layer_axis.sizes}
        paths = [p for root in roots for p in check_ancestors(root, axes, sizes)]
        with attributes_set(sizes):
            _shapes_after(roots, axes)
        return cls(roots, axes, sizes, list(dict.fromkeys(paths)))

    def apply(self, transaction: Transaction) -> None:
        """Sets what follows."""
        if not self.axes:
            return
        for size, value in self.sizes.items():
            transaction.set_attribute(size.owner, size.attribute, value)
        for tensor, shape in _shapes_after(self.roots, self.axes):
            keras_internals.set_shape(tensor, shape, transaction)


def _shapes_after(roots: list[keras.Layer], axes: list[VocabularyAxis]) -> list[tuple]:
    """The symbolic tensors of the graph that get another shape, and which."""
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


# What metrics call the outputs that they are about, or have a number for each.
_BY_OUTPUT = ("class_id", "target_class_ids", "label_weights")

# What they call the number of outputs.
_NUMBERS = ("num_classes", "num_labels")


class StaleMetrics:
    """The compiled metrics of some models that do not fit their heads any more.

    Args:
        models: The models.
        axes: The axes that change.

    Attributes:
        notes: What the user should know of metrics that cannot be reset.
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
        except Exception:  # a metric of the user's that cannot be saved
            config = {}
        named = {key: config[key] for key in _BY_OUTPUT if config.get(key) is not None}
        if named:
            self.notes.append(
                f"metric '{metric.name}' is about outputs by their place, and these have "
                f"moved: {named}. Compile the model with what they are now."
            )
        if not _has_width(metric, set(widths)):
            return
        for key in _NUMBERS:
            # A subclassed model has no `outputs`: which is meant is not known there.
            alone = len(getattr(model, "outputs", None) or []) == 1
            if alone and config.get(key) in widths:
                config[key] = widths[config[key]]
        try:
            fresh = type(metric).from_config(config)
        except Exception:  # whatever a class of the user's raises, there is none
            fresh = metric
        lost = _arguments(type(metric)) - config.keys()
        if lost or _has_width(fresh, set(widths)):
            self.notes.append(
                f"metric '{metric.name}' (of type {type(metric).__name__}) was made for "
                "the old number of outputs and cannot be reset. Compile the model with "
                "one that is made for today's."
            )
            return
        self._reset.append((metric, fresh))
        if model not in self._models:
            self._models.append(model)

    def __bool__(self) -> bool:
        return bool(self._reset)

    def reset(self, transaction: Transaction) -> None:
        """Lets Keras build the metrics anew.

        The objects stay, since the user may hold them.
        """
        for metric, fresh in self._reset:
            keras_internals.replace_content(metric, fresh, transaction)
        for model in self._models:
            keras_internals.forget_metrics_build(model, transaction)


def _has_width(metric: keras.Metric, widths: set[int]) -> bool:
    """Whether a metric has a number for each of so many outputs."""
    shapes = [tuple(map(int, variable.shape)) for variable in metric.variables]
    return any(shape and shape[-1] in widths for shape in shapes)


def _arguments(kind: type) -> set[str]:
    """The arguments that a user's class of metrics is made with, and must save."""
    if kind.__module__.partition(".")[0] == "keras":
        return set()
    parameters = inspect.signature(kind).parameters.values()
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
