"""Private names of the compiled metrics of a model."""

from contextlib import ExitStack

import keras

from warmstart_keras.keras_internals import access


def compiled_metrics(model: keras.Model) -> list[keras.Metric]:
    """Returns the metrics that a model was compiled with; none before they are built."""
    # `model.metrics` has one object that wraps these metrics.
    if not getattr(model, "compiled", False):
        return []
    container = access.private(model, "_compile_metrics")
    return [] if container is None else list(container.metrics)


def replace_content(metric: keras.Metric, fresh: keras.Metric, undo: ExitStack) -> None:
    """Resets a metric to the content of a fresh metric; adds the rollback to `undo`."""
    # No public method makes a metric recreate its variables.
    attributes = vars(metric)
    before = dict(attributes)

    def set_to(content: dict) -> None:
        attributes.clear()
        attributes.update(content)

    undo.callback(set_to, before)
    set_to(vars(fresh))


def forget_metrics_build(model: keras.Model, undo: ExitStack) -> None:
    """Makes Keras build the compiled metrics of a model again in the next `fit`."""
    # JAX needs this, since it cannot create variables inside a step.
    container = access.private(model, "_compile_metrics")
    undo.callback(setattr, container, "built", container.built)
    container.built = False
