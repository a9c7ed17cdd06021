"""The previous run: from a file, a directory of files, or a model at hand."""

import os
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import trained_variables
from warmstart_keras.layers import VOCABULARY_KEY, recorded_vocabulary
from warmstart_keras.previous import keras_files
from warmstart_keras.previous.keras_files import SavedOptimizer, SavedRun
from warmstart_keras.previous.saved_layers import SavedLayer
from warmstart_keras.previous.tensorflow_files import read_tensorflow
from warmstart_keras.vocabulary import Vocabulary


class Previous:
    """A run before, read when and where it is asked; it is never changed.

    Attributes:
        name: What it is, for messages.
        run: Its layers and its optimizer.
        is_there: Whether there is one: on the first day there is none.
    """

    def __init__(self, name: str, run: SavedRun, held: ExitStack | None = None) -> None:
        self.name, self.run = name, run
        self.is_there = True
        # A plan looks twice, and what a file says does not change: it is decoded once.
        self._vocabularies: dict[SavedLayer, Vocabulary] = {}
        # A plan that is never applied closes its files when it is forgotten.
        self._close = weakref.finalize(self, (held or ExitStack()).close)

    @property
    def is_as_it_was(self) -> bool:
        """Whether it can still be read, and its file was not written again since."""
        return self._close.alive and self.run.is_as_it_was()

    def close(self) -> None:
        """Closes its files; nothing can be read after that."""
        self._close()

    def vocabulary(self, saved: SavedLayer, side: str = "rows") -> Vocabulary | None:
        """What one side of one of its layers stands for, where the run itself says so.

        Raises:
            WarmStartError: If what it says is damaged.
        """
        if saved.layer is not None:
            return recorded_vocabulary(saved.layer, side)
        if side != "rows" or VOCABULARY_KEY not in saved.values:
            return None
        if saved not in self._vocabularies:
            self._vocabularies[saved] = self._read_vocabulary(saved)
        return self._vocabularies[saved]

    def _read_vocabulary(self, saved: SavedLayer) -> Vocabulary:
        with self.reading():
            data = saved.values[VOCABULARY_KEY][...]
            try:
                return Vocabulary.from_bytes(np.asarray(data, np.uint8).tobytes())
            except WarmStartError as error:
                raise ValueError(f"layer '{saved.path}': {error}") from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Says which file is broken, if what is read in the block is."""
        with _broken(self.name):
            yield


def open_previous(previous: Any, missing_ok: bool = False) -> Previous:
    """Opens the previous run.

    Args:
        previous: Path of a `.keras` archive, a `.weights.h5` file, a checkpoint of
            `tf.train.Checkpoint`, or a directory that has some of these: then the newest
            of them. Or a `keras.Model`.
        missing_ok: Whether it may not be there.

    Raises:
        WarmStartError: If it is not there, broken, or of another kind.
    """
    if isinstance(previous, keras.Model):
        return _live(previous)
    if not isinstance(previous, str | os.PathLike):
        raise WarmStartError(
            "`previous` must be the path of a `.keras` or `.weights.h5` file, of a "
            "TensorFlow checkpoint, or of a directory of these; or a `keras.Model`. "
            f"Received: {previous!r} (of type {type(previous).__name__})"
        )
    text = os.fspath(previous)
    if not text or "://" in text:
        raise WarmStartError(
            "`previous` must be a path of a local file system. "
            f"Received: {text!r}. Copy the file first."
        )
    path = _newest(Path(previous))
    if path is None:
        if missing_ok:
            nothing = Previous(f"'{previous}'", SavedRun(SavedLayer("", "", "", {})))
            nothing.is_there = False
            return nothing
        raise WarmStartError(
            "`previous` must name a file, or a directory that has one. Received: "
            f"'{os.fspath(previous)}', where there is none. If it is the first day, "
            "pass `missing_ok=True`."
        )
    with _broken(f"'{path}'"), ExitStack() as held:
        if path.is_dir():
            run = keras_files.read_directory(path, held)
        elif path.name.endswith(".keras"):
            run = keras_files.read_archive(str(path), held)
        elif path.name.endswith(".weights.h5"):
            run = keras_files.read_weights(path, held)
        elif path.name.endswith(".index"):
            run = read_tensorflow(str(path.with_suffix("")))
        else:
            raise WarmStartError(
                "`previous` must be a `.keras` or `.weights.h5` file, a TensorFlow "
                f"checkpoint, or a directory of these. Received: '{path}'. Load it as "
                "Keras loads it, and pass the model, or save that as `.keras`."
            )
        return Previous(f"'{path}'", run, held.pop_all())


def _newest(path: Path) -> Path | None:
    """The file that is meant; of a directory, the one that was written last."""
    index = path.with_name(f"{path.name}.index")
    if path.is_file():
        return path
    if not path.is_dir() or keras_files.is_saved_model(path):
        return path if path.is_dir() else index if index.is_file() else None
    found = [
        file
        for suffix in (".keras", ".weights.h5", ".index")
        for file in path.glob(f"*{suffix}")
        if file.is_file() and not file.name.startswith(".")
    ]
    return max(found, key=lambda file: (file.stat().st_mtime_ns, file.name), default=None)


@contextmanager
def _broken(name: str) -> Iterator[None]:
    """Says that a file is broken, for all that reading a broken file can raise."""
    try:
        yield
    except WarmStartError:
        raise
    except (
        OSError,  # what HDF5 raises for nearly everything
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,  # also of a ZIP archive with a password, or a deep configuration
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
        _tensorflow_error(),
    ) as error:
        raise WarmStartError(
            "The previous run must be a whole file, as Keras wrote it. Received: "
            f"{name}, which cannot be read: {str(error)[:300] or type(error).__name__}. "
            "Use the file of the day before, or save it again. Nothing was changed."
        ) from error


def _tensorflow_error() -> type[Exception]:
    import tensorflow as tf

    return tf.errors.OpError


def _live(model: keras.Model) -> Previous:
    """A model at hand as the previous run."""
    state = keras_internals.saved_state(model)
    arrays: dict[int, LazyArray] = {}

    def stored(value: Any) -> LazyArray:
        if isinstance(value, keras.Variable):
            return arrays.setdefault(id(value), _of_variable(value))
        value = np.asarray(tensors.to_numpy(value))
        return LazyArray(value.shape, value.dtype, value.__getitem__)

    root = keras_files.tree_of(state)
    for layer in root.walk():
        layer.values = {key: stored(value) for key, value in layer.arrays.items()}
    run = SavedRun(root)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and optimizer.built:
        held = trained_variables(optimizer)
        run.optimizer = SavedOptimizer(
            [_of_variable(variable) for variable in optimizer.variables],
            [stored(variable) for variable in held],
            type(optimizer).__name__,
        )
    return Previous(f"model '{model.name}'", run)


def _of_variable(variable: Any) -> LazyArray:
    def read(place: Any) -> np.ndarray:
        return np.asarray(tensors.to_numpy(variable)[place])

    return LazyArray(tuple(map(int, variable.shape)), np.dtype(variable.dtype), read)
