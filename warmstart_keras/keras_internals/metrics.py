"""Private names of a model's compiled metrics."""

from contextlib import ExitStack

import keras

from warmstart_keras.keras_internals import access


def compiled_metrics(model: keras.Model) -> list[keras.Metric]:
    """The metrics that a model was compiled with, as far as they are built."""
    # `model.metrics` wraps all of them in one.
    if not getattr(model, "compiled", False):
        return []
    container = access.private(model, "_compile_metrics")
    return [] if container is None else list(container.metrics)


def replace_content(metric: keras.Metric, fresh: keras.Metric, undo: ExitStack) -> None:
    """Makes a metric what a fresh one is; leaves with `undo` the way back."""
    # No public method makes a metric build its variables anew.
    attributes = vars(metric)
    before = dict(attributes)

    def set_to(content: dict) -> None:
        attributes.clear()
        attributes.update(content)

    undo.callback(set_to, before)
    set_to(vars(fresh))


def forget_metrics_build(model: keras.Model, undo: ExitStack) -> None:
    """Lets Keras build a model's compiled metrics in the next `fit`."""
    # JAX needs it: there variables cannot be made within a step.
    container = access.private(model, "_compile_metrics")
    undo.callback(setattr, container, "built", container.built)
    container.built = False
