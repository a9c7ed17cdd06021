"""The rows of a table before a warm start, and new rows that start from them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from warmstart_keras.vocabulary import RowMap, Vocabulary

ReadRows = Callable[[np.ndarray], np.ndarray]
"""Gives the rows at some places, the rows first."""
Values = Callable[[slice], np.ndarray | float]
"""Gives a part of the new rows, the rows first; or one row or number for all of them."""


@dataclass(eq=False)
class BaseRows:
    """The table before a warm start, as a callable for new rows sees it.

    `read` reads the whole table, `read_rows` some rows alone, where that is of use.
    """

    vocabulary: Vocabulary
    read: Callable[[], np.ndarray]
    read_rows: ReadRows | None = None

    @cached_property
    def matrix(self) -> np.ndarray:
        """Array of shape `(rows, ...)`: all base rows, read when first asked for."""
        return self.read()

    def rows(self, places: np.ndarray | Sequence[int]) -> np.ndarray:
        """Some base rows as float32 or float64, of shape `(places, numbers in a row)`.

        A sharded table is not gathered for it: all of its processes must ask.
        """
        asked = np.asarray(places, np.int64)
        found = self.read_rows(asked) if self.read_rows else self.matrix[asked]
        wide = np.float64 if found.dtype == np.float64 else np.float32
        size = int(np.prod(found.shape[1:]))
        return found.reshape(len(asked), size).astype(wide, copy=False)

    def mean_of_words(self) -> np.ndarray:
        """The mean of the words' rows: float64, of shape `(numbers in a row,)`."""
        return mean_of_rows(self.rows, self.vocabulary.word_rows)


class Start(ABC):
    """What the rows of new tokens start from.

    Attributes:
        remark: What the user should know about it.
        number: The one number that all new rows consist of; None if they differ.
    """

    remark: str | None = None
    number: float | None = None

    @abstractmethod
    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Gives a function of a slice, for the values of `row_map.new_rows[part]`.

        `axis` has the rows of the array; `read` reads them before they are moved.
        """


@dataclass(frozen=True, eq=False)
class MeanOfBase(Start):
    """New entries start from the mean of some base entries, at least one.

    For the outputs of a head: a new token's logit is then the mean of the base's, and
    since the exponential is convex, `m` new tokens beside `n` base ones add at most the
    share `m / n` to the softmax's normalisation. No loss rises by more than
    `log(1 + m / n)`; a start at random may take nearly all probability, where the base
    logits are far below 0. See John Hewitt, "Initializing New Word Embeddings for
    Pretrained Language Models" (2021).
    """

    rows: np.ndarray
    remark: str | None = None

    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Reads the rows, and gives their mean for every part."""
        mean = mean_of_rows(read, self.rows) if len(row_map.new_rows) else 0.0
        return lambda part: mean


@dataclass(frozen=True, eq=False)
class CopyOfBase(Start):
    """Each new entry starts as a copy of its entry in `rows`, bit for bit."""

    rows: np.ndarray

    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Reads the rows of each part."""
        return lambda part: read(self.rows[part])


def parts(rows: np.ndarray, size: int = 2**16) -> list[np.ndarray]:
    """Splits places of rows into parts that are worked on one at a time."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of ascending numbers from 0 on, and where each begins."""
    firsts = np.flatnonzero(np.diff(values, prepend=-1))
    return values[firsts], firsts


def mean_of_rows(read: ReadRows, rows: np.ndarray | range) -> np.ndarray:
    """The mean of some rows, at least one, read in parts; in float64 at least."""
    total: np.ndarray | int = 0
    for places in parts(np.asarray(rows)):
        part = read(places)
        wide = np.float64 if part.dtype.itemsize < 8 else None
        total = total + part.sum(axis=0, dtype=wide)
    return np.asarray(total / len(rows))
