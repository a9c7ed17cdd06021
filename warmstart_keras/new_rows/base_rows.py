"""Rows of a table before a warm start, and new rows that start from them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from warmstart_keras.vocabulary import RowMap, Vocabulary

ReadRows = Callable[[np.ndarray], np.ndarray]
"""Function that returns the rows at given places, with one row per entry of axis 0."""
Values = Callable[[slice], np.ndarray | float]
"""Function that returns the new rows of a slice, with one row per entry of axis 0.

It may also return one row, or one number, that is the same for all new rows.
"""


@dataclass(eq=False)
class BaseRows:
    """Table before a warm start, as a callable for new rows receives it.

    `read` reads the whole table. `read_rows`, if given, reads only some rows.
    """

    vocabulary: Vocabulary
    read: Callable[[], np.ndarray]
    read_rows: ReadRows | None = None

    @cached_property
    def matrix(self) -> np.ndarray:
        """Array of shape `(rows, ...)` with all base rows, read at the first access."""
        return self.read()

    def rows(self, places: np.ndarray | Sequence[int]) -> np.ndarray:
        """Returns some base rows as float32 or float64, one flat row for each place.

        A sharded table is not gathered. All processes that hold a part of the table
        must make this call.
        """
        asked = np.asarray(places, np.int64)
        found = self.read_rows(asked) if self.read_rows else self.matrix[asked]
        wide = np.float64 if found.dtype == np.float64 else np.float32
        size = int(np.prod(found.shape[1:]))
        return found.reshape(len(asked), size).astype(wide, copy=False)

    def mean_of_words(self) -> np.ndarray:
        """Returns the mean of the words' rows as one flat row of float64."""
        return mean_of_rows(self.rows, self.vocabulary.word_rows)


class Start(ABC):
    """Initial values for the rows of new tokens.

    Attributes:
        remark: Sentence about the initial values for the report, or None.
        number: The number that fills all new rows, or None if there is no such number.
    """

    remark: str | None = None
    number: float | None = None

    @abstractmethod
    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Returns a function that maps a slice to values of new rows.

        The slice selects from `row_map.new_rows`. The rows lie along `axis` of the
        array. `read` reads base rows, before they are moved.
        """


@dataclass(frozen=True, eq=False)
class MeanOfBase(Start):
    """Mean of some base entries, at least one, as the start of every new entry.

    In a head, the logit of a new token is then the mean of the base logits. The
    exponential function is convex. Therefore `m` new tokens beside `n` base tokens add
    at most the share `m / n` to the normalization of the softmax, and no loss rises by
    more than `log(1 + m / n)`. Random values have no such bound: if the base logits are
    far below 0, the new tokens can take nearly all of the probability. See John Hewitt,
    "Initializing New Word Embeddings for Pretrained Language Models" (2021).
    """

    rows: np.ndarray
    remark: str | None = None

    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Returns a function that gives the mean of the base entries for every part."""
        mean = mean_of_rows(read, self.rows) if len(row_map.new_rows) else 0.0
        return lambda part: mean


@dataclass(frozen=True, eq=False)
class CopyOfBase(Start):
    """Bit-for-bit copies of base entries: `rows` has the base row of each new entry."""

    rows: np.ndarray

    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Returns a function that reads the base rows of each part."""
        return lambda part: read(self.rows[part])


def parts(rows: np.ndarray, size: int = 2**16) -> list[np.ndarray]:
    """Splits row numbers into parts that are processed one at a time."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the distinct values of an ascending array, and the index where each begins.

    The values must be 0 or more.
    """
    firsts = np.flatnonzero(np.diff(values, prepend=-1))
    return values[firsts], firsts


def mean_of_rows(read: ReadRows, rows: np.ndarray | range) -> np.ndarray:
    """Computes the mean of some rows, at least one, in float64 or wider.

    The rows are read in parts.
    """
    total: np.ndarray | int = 0
    for places in parts(np.asarray(rows)):
        part = read(places)
        wide = np.float64 if part.dtype.itemsize < 8 else None
        total = total + part.sum(axis=0, dtype=wide)
    return np.asarray(total / len(rows))
