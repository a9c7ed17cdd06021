"""`PretrainedRows`: rows of new words from vectors that were trained elsewhere."""

import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import keras
import numpy as np

from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows.base_rows import ReadRows, parts
from warmstart_keras.new_rows.methods import LearningMethod, without
from warmstart_keras.new_rows.start import Fitted, NewRows
from warmstart_keras.vocabulary import NEW, Token

_NUMBERS = 2**23  # similarities that are computed at a time
_NEAREST = 256  # nearest kept words that are tried first


class KeyedVectors(Protocol):
    """Vectors with an index by word, like the class of this name in gensim."""

    key_to_index: Mapping[str, int]
    vectors: np.ndarray


Vector = Sequence[float] | np.ndarray
Vectors = Mapping[Token, Vector] | KeyedVectors | str | os.PathLike


@keras.saving.register_keras_serializable(package="warmstart_keras")
class PretrainedRows(LearningMethod):
    """New rows as mixtures of kept rows, weighted by vectors trained elsewhere.

    A new row is a convex combination of the rows of kept words. The weights are the
    sparsemax of the cosines between the vector of the new word and the vectors of the
    kept words. Only the nearest kept words have a weight above 0. A new word therefore
    starts where the model has placed similar words. The vectors can have any width. See
    Dobler and de Melo, "FOCUS: Effective Embedding Initialization for Monolingual
    Specialization of Multilingual Models" (2023). For the sparsemax, see Martins and
    Astudillo (2016).

    Examples:
        >>> import numpy as np
        >>> from warmstart_keras import PretrainedRows, RowMap, remap
        >>> vectors = {
        ...     "cat": [1.0, 0.1, 0.0], "dog": [0.9, 0.2, 0.0], "car": [0.0, 0.0, 1.0]
        ... }
        >>> row_map = RowMap(["cat", "car"], ["cat", "car", "dog"])
        >>> matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> remap(matrix, row_map, new_embeddings_initializer=PretrainedRows(vectors))[2]
        array([1.00..., 2.00...])

    Args:
        vectors: A mapping from token to vector, a gensim `KeyedVectors`, or the path of
            a text file in word2vec or GloVe format. The file may be gzipped (`.gz`).
            Only the vectors of kept and new words are read.
        direct: Whether a new row is the vector of the word itself. Use it for a table
            that started from the same vectors. They must have the width of the table.

    Raises:
        WarmStartError: If `vectors` has another type, or its file does not exist. When
            new rows are made: if the vectors differ in length, or if `direct` is set
            and the vectors do not have the width of the table.
    """

    def __init__(self, vectors: Vectors, *, direct: bool = False) -> None:
        if vectors is not None:
            check_is_source(vectors)
        self.vectors = vectors
        self.direct = bool(direct)

    def get_config(self) -> dict:
        """Returns the arguments without the vectors: data is not saved with a layer."""
        return {"vectors": None, "direct": self.direct}

    def check(self) -> None:
        """Raises an error if there are no vectors: they are not saved with a layer."""
        if self.vectors is None:
            raise WarmStartError(
                "`vectors` of `PretrainedRows` must be given again after loading: they "
                "are not saved with a layer. Received: vectors=None. Pass "
                "`new_embeddings_initializer=PretrainedRows(vectors)`."
            )

    def fit(self, new: NewRows) -> Fitted:
        """Reads the vectors of the kept and the new words, and prepares the new rows."""
        row_map, base = new.row_map, new.base
        # The table is read before the user's data. All processes must read a sharded
        # table together, and an error in the data could stop one of them.
        mean = base.mean_of_words()
        kept = row_map.kept_words
        kept_words = row_map.new.some(kept)
        words = row_map.new_words
        known, matrix = vectors_of(
            self.vectors, [*kept_words, *(w for w in words if w is not None)]
        )
        place = np.array([known.get(word, NEW) for word in words], np.int64)
        lengths = np.linalg.norm(matrix, axis=1)
        # The last entry is for words without a vector: their place is -1 (`NEW`).
        usable = np.append(np.isfinite(lengths), False)
        place[~usable[place]] = NEW
        if self.direct:
            if len(matrix) and matrix.shape[1] != len(mean):
                raise WarmStartError(
                    "`vectors` must have the width of the table if `direct=True`: "
                    f"{len(mean)}. Received: vectors of length {matrix.shape[1]}. Pass "
                    "`PretrainedRows(vectors)` without `direct`: new rows are then "
                    "mixtures of the rows of kept words."
                )
            return Fitted(
                filled(mean, place, lambda rows: matrix[rows]),
                without(words, place != NEW, "they have no vector"),
            )

        usable[:-1] &= lengths > 0  # a vector of zeros has no direction
        place[~usable[place]] = NEW
        near = np.array([known.get(word, NEW) for word in kept_words], np.int64)
        has = usable[near]
        old_rows, near = row_map.indices[kept[has]], near[has]
        if not len(near):
            place[:] = NEW
        matrix[usable[:-1]] /= lengths[usable[:-1], None]
        others = matrix[near]

        def mixed(places: np.ndarray) -> np.ndarray:
            used, weights = mixtures(matrix[places], others)
            return weights @ base.rows(old_rows[used])

        return Fitted(
            filled(mean, place, mixed, max(1, _NUMBERS // max(1, len(near)))),
            without(words, place != NEW, "they have no vector, or no kept word has one"),
        )


def filled(
    mean: np.ndarray, place: np.ndarray, rows_of: ReadRows, size: int = 2**16
) -> Callable[[int, int, tuple], np.ndarray]:
    """Returns a function that makes new rows: the mean for words without a place."""

    def made(start: int, stop: int, seed: tuple) -> np.ndarray:
        rows = np.tile(mean, (stop - start, 1))
        for some in parts(np.flatnonzero(place[start:stop] != NEW), size):
            rows[some] = rows_of(place[start:stop][some])
        return rows

    return made


def mixtures(
    vectors: np.ndarray, others: np.ndarray, nearest: int = _NEAREST
) -> tuple[np.ndarray, np.ndarray]:
    """Selects the unit vectors that are mixed, and their weights for each vector.

    The `nearest` ones are tried first, and more of them until one has the weight 0.
    """
    cosines = vectors @ others.T
    weights = np.zeros_like(cosines)
    open_ = np.arange(len(vectors))
    number = min(nearest, len(others))
    while len(open_):
        near = np.argpartition(-cosines[open_], number - 1, axis=1)[:, :number]
        values = np.take_along_axis(cosines[open_], near, axis=1)
        found = sparsemax(values)
        # If one vector here has weight 0, all vectors that are further away have it too.
        enough = (found == 0).any(axis=1) | (number == len(others))
        weights[open_[enough][:, None], near[enough]] = found[enough]
        open_, number = open_[~enough], min(2 * number, len(others))
    used = np.flatnonzero(weights.any(axis=0))
    return used, weights[:, used]


def sparsemax(values: np.ndarray) -> np.ndarray:
    """Computes the nearest point of the simplex to each row.

    See Martins and Astudillo (2016).
    """
    ordered = -np.sort(-values, axis=1)
    sums = np.cumsum(ordered, axis=1, dtype=np.float64)
    ranks = np.arange(1, values.shape[1] + 1)
    size = np.count_nonzero(1 + ranks * ordered > sums, axis=1)
    least = (np.take_along_axis(sums, size[:, None] - 1, axis=1) - 1) / size[:, None]
    return np.maximum(values - least, 0)


def check_is_source(vectors: object) -> None:
    """Raises an error if `vectors` is no source of vectors, or names no file."""
    is_keyed = hasattr(vectors, "key_to_index") and hasattr(vectors, "vectors")
    if isinstance(vectors, str | os.PathLike):
        if not Path(vectors).is_file():
            raise WarmStartError(
                "`vectors` must be a mapping, a gensim `KeyedVectors`, or the path of an "
                f"existing file. Received: {os.fspath(vectors)!r}, which is no file."
            )
    elif not (is_keyed or isinstance(vectors, Mapping)):
        raise WarmStartError(
            "`vectors` must be a mapping from token to vector, a gensim `KeyedVectors`, "
            "or the path of a text file in word2vec or GloVe format. "
            f"Received: {str(vectors)[:60]!r} (of type {type(vectors).__name__})."
        )


def vectors_of(
    source: Vectors, words: Iterable[Token]
) -> tuple[dict[Token, int], np.ndarray]:
    """Reads the vectors of some words: the row of each word, and a matrix."""
    check_is_source(source)
    wanted = dict.fromkeys(words)
    try:
        if isinstance(source, str | os.PathLike):
            found = _in_file(Path(source), wanted)
        elif isinstance(source, Mapping):
            found = _looked_up(source, source.__getitem__, wanted)
        else:
            rows, matrix = source.key_to_index, source.vectors
            found = _looked_up(rows, lambda key: matrix[rows[key]], wanted)
        pairs = {word: np.asarray(vector, np.float32) for word, vector in found}
    except WarmStartError:
        raise
    except Exception as error:  # a user's mapping may raise anything
        raise WarmStartError(
            "`vectors` must give a vector of numbers for each word. Received: a source "
            f"that raised {type(error).__name__}: {error}."
        ) from error
    shapes = {vector.shape for vector in pairs.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise WarmStartError(
            "`vectors` must give vectors of one length. Received: vectors of shape "
            f"{sorted(shapes)[:4]}."
        )
    matrix = np.stack([*pairs.values()]) if pairs else np.empty((0, 0), np.float32)
    return {word: row for row, word in enumerate(pairs)}, matrix


def _looked_up(
    keys: Mapping, vector_of: Callable, words: Iterable[Token]
) -> Iterator[tuple[Token, Vector]]:
    """Yields words with their vectors; `b"a"` and `"a"` are the same word."""
    for word in words:
        key: Token = word
        if key not in keys and isinstance(word, str):
            key = word.encode("utf-8", "surrogatepass")
        if key in keys:
            yield word, vector_of(key)


def _in_file(path: Path, words: dict[Token, None]) -> Iterator[tuple[Token, Vector]]:
    """Yields the wanted words of a file with their vectors.

    A first line of two integers is skipped: it is the header of a word2vec file.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        length: int | None = None
        for number, line in enumerate(file, 1):
            parts = line.removeprefix(b"\xef\xbb\xbf").split()
            if number == 1 and len(parts) == 2 and all(p.isdigit() for p in parts):
                length = int(parts[1])
                continue
            if not parts:
                continue
            length = len(parts) - 1 if length is None else length
            try:
                if not 0 < length < len(parts):
                    raise ValueError
                # In some files, words contain spaces.
                word = _text(b" ".join(parts[:-length]))
                if word in words:
                    yield word, [float(n) for n in parts[-length:]]
            except ValueError:
                raise WarmStartError(
                    "`vectors` must be a text file whose lines have a word and numbers, "
                    "separated by spaces, with the same count of numbers in each line. "
                    f"word2vec writes it with `binary=False`. Received: line {number} of "
                    f"{os.fspath(path)!r}: {line[:60]!r}."
                ) from None


def _text(line: bytes) -> Token:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line
