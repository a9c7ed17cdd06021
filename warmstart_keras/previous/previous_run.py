"""A previous run: its layers, its optimizer, and what its rows stood for."""

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
    """An optimizer's state in a previous run."""

    values: list[LazyArray]  # the arrays of its `variables`, in their order
    # The arrays of the model's variables that it held, in its order; None if the file
    # does not tell.
    trained: list[LazyArray] | None = None
    kind: str | None = None  # the name of its class; None if the file does not tell


@dataclass(eq=False)
class PreviousRun:
    """A run before, read when and where it is asked; it is never changed."""

    root: SavedLayer  # its layers
    name: str = ""  # what it is, for messages
    optimizer: SavedOptimizer | None = None  # its optimizer, if it has one
    # Whether the layers are named by the paths of their variables, and not by where their
    # parents hold them.
    by_variable_path: bool = False
    # For a layer and its number of rows, the paths of lookup layers that may have given
    # it its ids, and what vocabularies these had, if that is known; with `in_graph=True`
    # of those alone that feed it in the model's graph.
    lookups: Callable[..., dict[str, Vocabulary | None]] = lambda *_, **__: {}
    # Whether its file was not written again since.
    is_unchanged: Callable[[], bool] = lambda: True
    is_there: bool = True  # whether there is one: on the first day there is none
    # A plan looks twice, and what a file says does not change: it is decoded once.
    _vocabularies: dict[SavedLayer, Vocabulary] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._close = weakref.finalize(self, ExitStack().close)

    def hold(self, held: ExitStack) -> None:
        """Keeps what it is read from open: until `close`, or until it is forgotten."""
        self._close = weakref.finalize(self, held.close)

    @property
    def is_as_it_was(self) -> bool:
        """Whether it can still be read, and its file was not written again since."""
        return self._close.alive and self.is_unchanged()

    def close(self) -> None:
        """Closes its files; nothing can be read after that."""
        self._close()

    def vocabulary(self, saved: SavedLayer, axis: str = "rows") -> Vocabulary | None:
        """What one axis of one of its layers stands for, where the run itself says so."""
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
        """Says which file is broken, if what is read in the block is."""
        return broken_if_unreadable(self.name)


@contextmanager
def broken_if_unreadable(name: str) -> Iterator[None]:
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
