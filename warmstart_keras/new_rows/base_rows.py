"""The old rows of a table, as those of new words are made from them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from warmstart_keras.vocabulary import Vocabulary


class BaseRows:
    """The table before a warm start, as a callable for new rows sees it.

    Attributes:
        vocabulary: The `Vocabulary` that the old rows stand for.
        matrix: NumPy array of shape `(rows, ...)` with the old rows, special rows
            included; read when it is first asked for.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        read: Callable[[], np.ndarray],
        read_rows: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self._read = read
        self._read_rows = read_rows

    @cached_property
    def matrix(self) -> np.ndarray:
        """The old rows, read once."""
        return self._read()

    def rows(self, places: Any) -> np.ndarray:
        """Some of the old rows, in the order of `places`, as real numbers in two axes.

        A table that is sharded is not gathered for it: all of its processes must ask.

        Returns:
            Array of shape `(len(places), numbers in a row)`; of float32, or of float64
            if the table is.
        """
        asked = np.asarray(places, np.int64)
        found = self._read_rows(asked) if self._read_rows else self.matrix[asked]
        wide = np.float64 if found.dtype == np.float64 else np.float32
        size = int(np.prod(found.shape[1:]))
        return found.reshape(len(asked), size).astype(wide, copy=False)

    def mean_of_words(self) -> np.ndarray:
        """The mean of the words' rows: float64, of shape `(numbers in a row,)`."""
        return mean_of_rows(self.rows, self.vocabulary.word_rows)


@dataclass(frozen=True, eq=False)
class MeanOfBase:
    """New entries start from the mean of some old ones.

    For the outputs of a head: a new token's logit is then the mean of the old ones', and
    since the exponential is convex, `m` new tokens beside `n` old ones add at most the
    share `m / n` to the softmax's normalisation. No loss rises by more than
    `log(1 + m / n)`; a start at random may take nearly all probability, where the old
    logits are far below 0. See John Hewitt, "Initializing New Word Embeddings for
    Pretrained Language Models" (2021).

    Attributes:
        rows: The old entries.
        remark: What the user should know about it.
    """

    rows: np.ndarray
    remark: str | None = None


@dataclass(frozen=True, eq=False)
class CopyOfBase:
    """Each new entry starts as a copy of an old one, bit for bit.

    Attributes:
        rows: The old entry of each new one.
        remark: What the user should know about it.
    """

    rows: np.ndarray
    remark: str | None = None


def parts(rows: Any, size: int = 2**16) -> list[np.ndarray]:
    """Places of rows, so many at a time as are worked on together."""
    places = np.asarray(rows)
    return [places[start : start + size] for start in range(0, len(places), size)]


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different ones of numbers that ascend from 0, and where each begins."""
    firsts = np.flatnonzero(np.diff(values, prepend=-1))
    return values[firsts], firsts


def mean_of_rows(read: Callable[[np.ndarray], np.ndarray], rows: Any) -> np.ndarray:
    """The mean of some rows, a part of them read at a time; in float64 at least.

    Args:
        read: Gives the rows at some places.
        rows: Their places, at least one.
    """
    total: Any = 0
    for places in parts(rows):
        part = read(places)
        wide = np.float64 if part.dtype.itemsize < 8 else None
        total = total + part.sum(axis=0, dtype=wide)
    return total / len(rows)
