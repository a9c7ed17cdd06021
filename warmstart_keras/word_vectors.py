"""Reading vectors that were trained elsewhere, of those words that are needed."""

import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from warmstart_keras.errors import WarmStartError
from warmstart_keras.tokens import Token


def check_is_source(vectors: Any) -> None:
    """Refuses what is no source of vectors, and a path where there is no file.

    Raises:
        WarmStartError: If it is one of these.
    """
    if isinstance(vectors, str | os.PathLike):
        if not Path(vectors).is_file():
            raise WarmStartError(
                "`vectors` must be a mapping, a `KeyedVectors` of gensim or the path of "
                f"a text file. Received: {os.fspath(vectors)!r}, where there is no file"
            )
    elif not (isinstance(vectors, Mapping) or _is_keyed(vectors)):
        raise WarmStartError(
            "`vectors` must be a mapping from token to vector, a `KeyedVectors` of "
            "gensim, or the path of a text file as word2vec and GloVe write it. "
            f"Received: {str(vectors)[:60]!r} (of type {type(vectors).__name__})"
        )


def vectors_of(
    source: Any, words: Iterable[Token]
) -> tuple[dict[Token, int], np.ndarray]:
    """The vectors of those of some words that a source has.

    Args:
        source: A mapping from token to vector, a `KeyedVectors` of gensim, or the path of
            a file in the text format of word2vec or GloVe (gzipped, if it ends in
            `.gz`): a line for each word, the word and its numbers with a space between
            them; a first line of two integers is a header.
        words: The words.

    Returns:
        For each word that is there its row, and a float32 matrix.

    Raises:
        WarmStartError: If vectors are not of one length, or no numbers.
    """
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
    except Exception as error:  # whatever a user's mapping may raise
        raise WarmStartError(
            "`vectors` must give a vector of numbers for each word. Received: one that "
            f"raised {type(error).__name__}: {error}"
        ) from error
    shapes = {vector.shape for vector in pairs.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise WarmStartError(
            "`vectors` must give vectors of one length. Received: vectors of shape "
            f"{sorted(shapes)[:4]}"
        )
    matrix = np.stack([*pairs.values()]) if pairs else np.empty((0, 0), np.float32)
    return {word: row for row, word in enumerate(pairs)}, matrix


def _is_keyed(vectors: Any) -> bool:
    return hasattr(vectors, "key_to_index") and hasattr(vectors, "vectors")


def _looked_up(
    keys: Any, vector_of: Callable, words: Iterable[Token]
) -> Iterator[tuple[Token, Any]]:
    """Words with their vectors; `b"a"` and `"a"` are the same word."""
    for word in words:
        key: Token = word
        if key not in keys and isinstance(word, str):
            key = word.encode("utf-8", "surrogatepass")
        if key in keys:
            yield word, vector_of(key)


def _in_file(path: Path, words: dict[Token, None]) -> Iterator[tuple[Token, Any]]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
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
                # A word of some files has spaces in it.
                word = _text(b" ".join(parts[:-length]))
                if word in words:
                    yield word, [float(n) for n in parts[-length:]]
            except ValueError:
                raise WarmStartError(
                    "A file of vectors must have in each line a word and as many "
                    "numbers as in the first, with a space between them, as word2vec "
                    f"writes it with `binary=False`. Received: line {number} of "
                    f"{os.fspath(path)!r}: {line[:60]!r}"
                ) from None


def _text(line: bytes) -> Token:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line
