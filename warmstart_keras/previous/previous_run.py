"""Previous run: its layers, its optimizer state and its vocabularies."""

import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np

from warmstart_keras.backend import LazyArray
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import VOCABULARY_KEY, recorded_vocabulary
from warmstart_keras.previous.saved_layers import SavedLayer
from warmstart_keras.vocabulary import Vocabulary


@dataclass(eq=False)
class SavedOptimizer:
    """Optimizer state of a previous run."""

    values: list[LazyArray]  # the arrays of its `variables`, in their order
    # The arrays of the model variables that it updated, in its order; None if unknown.
    trained: list[LazyArray] | None = None
    kind: str | None = None  # the name of its class; None if unknown


@dataclass(eq=False)
class PreviousRun:
    """Previous run, which is read on demand and never changed."""

    root: SavedLayer  # the tree of its layers
    name: str = ""  # a description for messages
    optimizer: SavedOptimizer | None = None  # the optimizer state; None without one
    # True if layers are identified by the paths of their variables. Otherwise they are
    # identified by their places in their parents.
    by_variable_path: bool = False
    # For a layer and its number of rows, returns the lookup layers that may have fed the
    # layer: the path and the vocabulary of each, or None if the vocabulary is unknown.
    # With `in_graph=True`, only lookup layers that feed the layer in the graph.
    lookups: Callable[..., dict[str, Vocabulary | None]] = lambda *_, **__: {}
    # Returns whether the file was not written again after it was opened.
    is_unchanged: Callable[[], bool] = lambda: True
    is_there: bool = True  # False if `missing_ok=True` allowed a missing run
    # Decoded vocabularies. A plan needs each of them twice, and they do not change.
    _vocabularies: dict[SavedLayer, Vocabulary] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._close = weakref.finalize(self, ExitStack().close)

    def hold(self, held: ExitStack) -> None:
        """Keeps the files open until `close` is called or the run is deleted."""
        self._close = weakref.finalize(self, held.close)

    @property
    def is_as_it_was(self) -> bool:
        """True if the run is still open and its file was not written again."""
        return self._close.alive and self.is_unchanged()

    def close(self) -> None:
        """Closes the files; the run cannot be read after that."""
        self._close()

    def vocabulary(self, saved: SavedLayer, axis: str = "rows") -> Vocabulary | None:
        """Returns the vocabulary that the run records for an axis of a layer, or None."""
        if saved.layer is not None:
            return recorded_vocabulary(saved.layer, axis)
        if axis != "rows" or VOCABULARY_KEY not in saved.values:
            return None
        if saved not in self._vocabularies:
            with self.reading():
                data = np.asarray(saved.values[VOCABULARY_KEY][...], np.uint8)
                try:
                    self._vocabularies[saved] = Vocabulary.from_bytes(data.tobytes())
                except WarmStartError as error:
                    raise ValueError(f"layer '{saved.path}': {error}") from error
        return self._vocabularies[saved]

    def reading(self) -> AbstractContextManager[None]:
        """Raises an error that names the file if reading in the block fails."""
        return broken_if_unreadable(self.name)


@contextmanager
def broken_if_unreadable(name: str) -> Iterator[None]:
    """Converts any error from reading a broken file to a `WarmStartError`."""
    try:
        yield
    except WarmStartError:
        raise
    except (
        OSError,  # raised by HDF5 in nearly all cases
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,  # also for a ZIP archive with a password, or deep nesting
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
        _tensorflow_error(),
    ) as error:
        raise WarmStartError(
            "`previous` must be a complete file that Keras wrote. Received: "
            f"{name}, which cannot be read: {str(error)[:300] or type(error).__name__}. "
            "The model was not changed. Pass an older file as `previous`, or save the "
            "file again."
        ) from error


def _tensorflow_error() -> type[Exception]:
    import tensorflow as tf

    return tf.errors.OpError
