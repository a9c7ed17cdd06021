"""Compiled metrics that have an entry for each output, when the outputs change (K9c)."""

import inspect
from contextlib import ExitStack
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.bindings import Table

# What metrics call the outputs that they are about, or have a number for each.
_BY_OUTPUT = ("class_id", "target_class_ids", "label_weights")
# What they call the number of outputs.
_NUMBERS = ("num_classes", "num_labels")


class StaleMetrics:
    """The compiled metrics of some models that do not fit their heads any more.

    Args:
        models: The models.
        tables: The tables that change.

    Attributes:
        notes: What the user should know of metrics that cannot be reset.
    """

    def __init__(self, models: list[keras.Model], tables: list[Table]) -> None:
        self.notes: list[str] = []
        self._reset: list[tuple[Any, Any]] = []
        self._models: list[keras.Model] = []
        heads = [table for table in tables if table.side.name != "inputs"]
        widths = {table.side.rows: table.rows for table in heads if table.resizes}
        for model in models if heads else []:
            for metric in keras_internals.compiled_metrics(model):
                self._look_at(model, metric, widths)

    def _look_at(self, model: keras.Model, metric: Any, widths: dict[int, int]) -> None:
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

    def reset(self, undo: ExitStack) -> None:
        """Lets Keras build the metrics anew; leaves with `undo` the way back.

        The objects stay, since the user may hold them.
        """
        for metric, fresh in self._reset:
            keras_internals.replace_content(metric, fresh, undo)
        for model in self._models:
            keras_internals.forget_metrics_build(model, undo)


def _has_width(metric: Any, widths: set[int]) -> bool:
    """Whether a metric has a number for each of so many outputs."""
    shapes = [tuple(map(int, variable.shape)) for variable in metric.variables]
    return any(shape and shape[-1] in widths for shape in shapes)


def _arguments(kind: type) -> set[str]:
    """The arguments that a user's class of metrics is made with, and must save."""
    if kind.__module__.partition(".")[0] == "keras":
        return set()
    parameters = inspect.signature(kind).parameters.values()
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
