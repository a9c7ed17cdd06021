"""What the vocabularies in files are.

No model is loaded: of a saved one the archive is read, and of that no more than shapes,
stored vocabularies and the configuration.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warmstart_keras.backend import LazyArray
from warmstart_keras.errors import WarmStartError
from warmstart_keras.previous import SavedLayer, open_previous
from warmstart_keras.report import printable
from warmstart_keras.vocabulary import Vocabulary

_SHOWN = 5  # tokens at either end
_EMBEDDINGS = ("embedding", "reversible_embedding")  # the classes, in snake case


@dataclass(frozen=True, eq=False)
class Held:
    """A vocabulary that a file holds, or a table of which it should.

    Attributes:
        layer: Path of the layer; None of a file of tokens.
        shape: Shape of the table; None of a lookup layer and of a file of tokens.
        vocabulary: What the rows stand for; None where that is not known.
        known_by: What says so: `"layer"`, `"lookup <path>"` or `"file"`; or None.
        saved: The layer, as the file has it.
    """

    layer: str | None
    shape: tuple[int, ...] | None
    vocabulary: Vocabulary | None
    known_by: str | None
    saved: SavedLayer | None = None

    def to_dict(self) -> dict:
        """The same as plain data that JSON takes."""
        plain: dict[str, Any] = {"layer": self.layer, "known_by": self.known_by}
        if self.shape is not None:
            plain |= {"rows": self.shape[0], "width": self.shape[-1]}
        return plain | {"vocabulary": described(self.vocabulary)}


@dataclass(frozen=True, eq=False)
class FileContent:
    """The vocabularies of a file.

    Attributes:
        path: The file that was read: of a directory of several, the newest.
        is_model: Whether it is a saved model.
        held: A `Held` for each embedding, or the one of a file of tokens.
        lookups: A `Held` for each lookup layer that gives ids.
        root: The layers of a model.
    """

    path: str
    is_model: bool
    held: list[Held] = field(default_factory=list)
    lookups: list[Held] = field(default_factory=list)
    root: SavedLayer | None = None

    def to_dict(self) -> dict:
        """The same as plain data that JSON takes."""
        return {
            "file": self.path,
            "kind": "model" if self.is_model else "vocabulary",
            "layers": [one.to_dict() for one in self.held],
            "lookups": [one.to_dict() for one in self.lookups],
        }


def described(vocabulary: Vocabulary | None) -> dict | None:
    """A vocabulary as plain data, with its first and last tokens."""
    if vocabulary is None:
        return None
    size = len(vocabulary)
    ends = range(min(_SHOWN, size)), range(max(size - _SHOWN, 0), size)
    first, last = ([printable(t) for t in vocabulary.some([*rows])] for rows in ends)
    return {
        "tokens": size,
        "mask_row": vocabulary.mask_row,
        "oov_rows": [*vocabulary.oov_rows],
        "fingerprint": vocabulary.fingerprint,
        "first": first,
        "last": last,
    }


def is_model_file(path: str | os.PathLike) -> bool:
    """Whether a path is taken for a saved model, and not for a file of tokens."""
    path = Path(path)
    return path.suffix in (".keras", ".h5") or path.is_dir()


def check_exists(path: str | os.PathLike) -> None:
    """Refuses a file that is not there.

    Raises:
        WarmStartError: If it is not.
    """
    if not os.path.exists(path):
        raise WarmStartError(f"A file must exist. Received: '{os.fspath(path)}'")


@contextmanager
def reading(path: str | os.PathLike) -> Iterator[FileContent]:
    """The vocabularies of a file; the file is open in the block.

    Args:
        path: A `.keras` or `.weights.h5` file, a directory that `model.save` wrote, or a
            UTF-8 file with one token a line.

    Raises:
        WarmStartError: If it is missing, broken or of another kind.
    """
    check_exists(path)
    if not is_model_file(path):
        vocabulary = Vocabulary.from_file(path)
        held = Held(None, None, vocabulary, "file")
        yield FileContent(os.fspath(path), False, [held])
        return
    previous = open_previous(path)
    try:
        run = previous
        with previous.reading():
            lookups = run.lookups(run.root, 0)
            held_layers = [_held(previous, saved) for saved in run.root.walk()]
        yield FileContent(
            previous.name[1:-1],
            True,
            [one for one in held_layers if one is not None],
            [
                Held(name, None, v, None if v is None else "layer")
                for name, v in lookups.items()
            ],
            run.root,
        )
    finally:
        previous.close()


def _held(previous: Any, saved: SavedLayer) -> Held | None:
    """What a layer of a saved model holds, if it is an embedding, or fed by a lookup."""
    table = table_of(saved)
    if table is None:
        return None
    rows, path = int(table.shape[0]), saved.path
    stored = previous.vocabulary(saved)
    if stored is not None:
        if len(stored) > rows:
            raise ValueError(
                f"layer '{path}' has {rows} rows, and stores {len(stored)} tokens"
            )
        return Held(path, table.shape, stored, "layer", saved)
    feeding = previous.lookups(saved, rows, in_graph=True)
    fits = [(name, v) for name, v in feeding.items() if v is not None and len(v) <= rows]
    if len(feeding) == len(fits) > 0 and all(v.same_rows(fits[0][1]) for _, v in fits):
        return Held(path, table.shape, fits[0][1], f"lookup {fits[0][0]}", saved)
    if feeding or saved.stem in _EMBEDDINGS:
        return Held(path, table.shape, None, None, saved)
    return None


def table_of(saved: SavedLayer) -> LazyArray | None:
    """The array of a layer that has a row for each token, if it is an embedding."""
    arrays = saved.arrays
    named = [arrays[key] for key in ("0", "embeddings") if key in arrays]
    return next((array for array in named if len(array.shape) == 2), None)


def source_of(path: str | os.PathLike, like: Vocabulary) -> Path | list[int]:
    """A file of tokens as the source of a vocabulary, of integers where `like` is.

    Raises:
        WarmStartError: If it has to hold integers, and does not.
    """
    if not like.compact.integers:
        return Path(path)
    tokens = Vocabulary.from_file(path).tokens
    try:
        return [int(str(token)) for token in tokens]
    except ValueError as error:
        raise WarmStartError(
            "The file of an integer vocabulary must have one integer a line. Received: "
            f"'{os.fspath(path)}': {error}"
        ) from error
