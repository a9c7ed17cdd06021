"""Opens a previous run: a file, a directory of files, or a live model."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import trained_variables
from warmstart_keras.previous.keras_files import (
    is_saved_model,
    read_archive,
    read_directory,
    read_weights,
    tree_of,
)
from warmstart_keras.previous.previous_run import (
    PreviousRun,
    SavedOptimizer,
    broken_if_unreadable,
)
from warmstart_keras.previous.saved_layers import SavedLayer, Value
from warmstart_keras.previous.tensorflow_files import read_tensorflow


def open_previous(
    previous: str | os.PathLike | keras.Model, missing_ok: bool = False
) -> PreviousRun:
    """Opens the previous run.

    Args:
        previous: The path of a `.keras` archive, a `.weights.h5` file, a checkpoint of
            `tf.train.Checkpoint`, or a directory with such files. In a directory, the
            newest file is opened. Or a `keras.Model`.
        missing_ok: Whether a missing file is allowed.

    Raises:
        WarmStartError: If `previous` is not a previous run, or cannot be read.
    """
    if isinstance(previous, keras.Model):
        return _live(previous)
    if not isinstance(previous, str | os.PathLike):
        raise WarmStartError(
            "`previous` must be the path of a `.keras` file, a `.weights.h5` file, a "
            "TensorFlow checkpoint or a directory with such files, or a `keras.Model`. "
            f"Received: previous={previous!r} (of type {type(previous).__name__}). Pass "
            "`previous='model.keras'`, for example."
        )
    text = os.fspath(previous)
    if not text or "://" in text:
        raise WarmStartError(
            "`previous` must be a path in a local file system. Received: "
            f"previous={text!r}. Copy the file to a local directory and pass its path: "
            "`previous='model.keras'`."
        )
    path = _newest(Path(previous))
    if path is None:
        if missing_ok:
            nothing = SavedLayer("", "", "", {})
            return PreviousRun(nothing, f"'{previous}'", is_there=False)
        raise WarmStartError(
            "`previous` must name an existing file, or a directory with such a file. "
            f"Received: '{os.fspath(previous)}', which does not exist or does not have "
            "such a file. If there may be no previous run yet, pass `missing_ok=True`."
        )
    with broken_if_unreadable(f"'{path}'"), ExitStack() as held:
        if path.is_dir():
            run = read_directory(path, held)
        elif path.name.endswith(".keras"):
            run = read_archive(str(path), held)
        elif path.name.endswith(".weights.h5"):
            run = read_weights(path, held)
        elif path.name.endswith(".index"):
            run = read_tensorflow(str(path.with_suffix("")))
        else:
            raise WarmStartError(
                "`previous` must be a `.keras` file, a `.weights.h5` file, a TensorFlow "
                f"checkpoint or a directory with such files. Received: '{path}'. If "
                "Keras can load the file, pass the loaded model and the tokens of its "
                f"rows: `previous=keras.models.load_model('{path}', compile=False), "
                "base_vocabularies={'words': old_tokens}`."
            )
        run.name = f"'{path}'"
        run.hold(held.pop_all())
        return run


def _newest(path: Path) -> Path | None:
    """Finds the file at a path; in a directory, the file that was written last."""
    if path.is_file() or (path.is_dir() and is_saved_model(path)):
        return path
    if not path.is_dir():
        index = path.with_name(f"{path.name}.index")
        return index if index.is_file() else None
    found = [
        file
        for suffix in (".keras", ".weights.h5", ".index")
        for file in path.glob(f"*{suffix}")
        if file.is_file() and not file.name.startswith(".")
    ]
    return max(found, key=lambda file: (file.stat().st_mtime_ns, file.name), default=None)


def _live(model: keras.Model) -> PreviousRun:
    """Returns a live model as a previous run."""
    arrays: dict[int, LazyArray] = {}

    def stored(value: Value) -> LazyArray:
        if isinstance(value, keras.Variable):
            return arrays.setdefault(id(value), _of_variable(value))
        value = np.asarray(tensors.to_numpy(value))
        return LazyArray(value.shape, value.dtype, value.__getitem__)

    run = PreviousRun(
        tree_of(keras_internals.saved_state(model)), f"model '{model.name}'"
    )
    for layer in run.root.walk():
        layer.values = {key: stored(value) for key, value in layer.arrays.items()}
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and optimizer.built:
        run.optimizer = SavedOptimizer(
            [_of_variable(variable) for variable in optimizer.variables],
            [stored(variable) for variable in trained_variables(optimizer)],
            type(optimizer).__name__,
        )
    return run


def _of_variable(variable: keras.Variable) -> LazyArray:
    def read(place: Any) -> np.ndarray:
        return np.asarray(tensors.to_numpy(variable)[place])

    return LazyArray(tuple(map(int, variable.shape)), np.dtype(variable.dtype), read)
