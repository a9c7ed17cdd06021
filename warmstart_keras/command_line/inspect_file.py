"""Command `inspect`, which describes the vocabularies in a file.

No model is loaded: only shapes, stored vocabularies and the configuration are read.
"""

import argparse
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from warmstart_keras.backend import LazyArray
from warmstart_keras.command_line.text import Answer, content_text
from warmstart_keras.errors import WarmStartError
from warmstart_keras.previous import SavedLayer, open_previous
from warmstart_keras.report import printable
from warmstart_keras.vocabulary import Vocabulary

_SHOWN = 5  # tokens at either end
_EMBEDDINGS = ("embedding", "reversible_embedding")  # the classes, in snake case


@dataclass(frozen=True, eq=False)
class FileVocabulary:
    """Vocabulary of an embedding, of a lookup layer or of a file of tokens."""

    layer: str | None  # path of the layer; None for a file of tokens
    vocabulary: Vocabulary | None  # None if it is unknown
    # The place that stores the vocabulary: `"layer"`, `"lookup <path>"` or `"file"`.
    known_by: str
    saved: SavedLayer | None = None  # the embedding in the saved model

    def document(self) -> dict:
        """Describes the vocabulary as plain data for JSON."""
        table = None if self.saved is None else table_of(self.saved)
        shape = {} if table is None else {"rows": table.shape[0], "width": table.shape[1]}
        vocabulary = None if self.vocabulary is None else described(self.vocabulary)
        known_by = None if vocabulary is None else self.known_by
        about = {"layer": self.layer, "known_by": known_by, **shape}
        return {**about, "vocabulary": vocabulary}


@dataclass(frozen=True)
class FileContent:
    """All vocabularies of a file."""

    path: str  # the file that was read; for a directory, the newest file in it
    # Vocabularies of the embeddings, or the single one of a file of tokens.
    vocabularies: list[FileVocabulary]
    lookups: list[FileVocabulary]  # vocabularies of the lookup layers that give ids
    root: SavedLayer | None  # the layers of a saved model; None for a file of tokens


def inspect(arguments: argparse.Namespace, stage: Callable[[str], None]) -> Answer:
    """Describes the vocabularies of a file."""
    stage(f"reading {arguments.file}")
    content = read_file(arguments.file)
    document = {
        "file": content.path,
        "kind": "vocabulary" if content.root is None else "model",
        "layers": [each.document() for each in content.vocabularies],
        "lookups": [each.document() for each in content.lookups],
    }
    return Answer(document, content_text(document))


def described(vocabulary: Vocabulary) -> dict:
    """Describes a vocabulary as plain data, with its first and last tokens."""
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


def check_exists(path: Path) -> None:
    """Refuses a path that does not exist."""
    if not path.exists():
        raise WarmStartError(f"A file must exist. Received: '{path}'")


def read_file(path: Path) -> FileContent:
    """Reads the vocabularies of a saved model, or of a UTF-8 file of tokens."""
    check_exists(path)
    if path.suffix not in (".keras", ".h5") and not path.is_dir():
        tokens = FileVocabulary(None, Vocabulary.from_file(path), "file")
        return FileContent(str(path), [tokens], [], None)
    found = []
    with closing(open_previous(path)) as previous, previous.reading():
        lookups = previous.lookups(previous.root, 0)
        for saved in previous.root.walk():
            table = table_of(saved)
            if table is None:
                continue
            rows, vocabulary = int(table.shape[0]), previous.vocabulary(saved)
            feeding, known_by = {}, "layer"
            if vocabulary is None:
                feeding = previous.lookups(saved, rows, in_graph=True)
                vocabulary = _shared(feeding, rows)
                known_by = f"lookup {next(iter(feeding), '')}"
            elif len(vocabulary) > rows:
                said = f"has {rows} rows, but stores {len(vocabulary)} tokens"
                raise ValueError(f"layer '{saved.path}' {said}")
            if vocabulary is not None or feeding or saved.stem in _EMBEDDINGS:
                found.append(FileVocabulary(saved.path, vocabulary, known_by, saved))
    named = [FileVocabulary(path, v, "layer") for path, v in lookups.items()]
    return FileContent(previous.name[1:-1], found, named, previous.root)


def _shared(feeding: dict[str, Vocabulary | None], rows: int) -> Vocabulary | None:
    """Returns the vocabulary that all lookup layers of an embedding share, if it fits."""
    fits = [v for v in feeding.values() if v is not None and len(v) <= rows]
    is_shared = len(fits) == len(feeding) > 0 and all(map(fits[0].same_rows, fits))
    return fits[0] if is_shared else None


def table_of(saved: SavedLayer) -> LazyArray | None:
    """Returns the table of a saved layer, or None if the layer is no embedding."""
    arrays = saved.arrays
    named = [arrays[key] for key in ("0", "embeddings") if key in arrays]
    return next((array for array in named if len(array.shape) == 2), None)


def source_of(path: Path, like: Vocabulary) -> Path | list[int]:
    """Returns a vocabulary source for a file, with integer tokens if `like` has them."""
    if not like.compact.integers:
        return path
    try:
        return [int(str(token)) for token in Vocabulary.from_file(path).tokens]
    except ValueError as error:
        raise WarmStartError(
            "The file of an integer vocabulary must have one integer per line. Received: "
            f"'{path}': {error}"
        ) from error
