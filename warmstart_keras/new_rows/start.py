"""New rows that an initializer makes on demand, and new rows that are given."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TypeAlias

import keras
import numpy as np

from warmstart_keras.backend import rows_at, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows.base_rows import BaseRows, ReadRows, Start, Values
from warmstart_keras.vocabulary import RowMap, Token

# New rows are made in parts of this size. Each part has its own seed. So the values do
# not depend on the process that makes them, or on how a table is sharded.
PART = 2**16


@dataclass(frozen=True, eq=False)
class Fitted:
    """Initializer after it has learned from one table.

    `rows(start, stop, seed)` returns the new rows from `start` to `stop`. The rows may be
    flat. `seed` is the seed of this part.
    """

    rows: Callable[[int, int, tuple], np.ndarray]
    remark: str | None = None


class RowInitializer:
    """Base class of everything that makes new rows: initializers, methods, callables.

    A subclass overrides `start` if it copies base rows, `fit` if it learns from the table
    first, and `rows` otherwise.
    """

    in_parts = False  # whether some new rows can be made without the others
    learns = False  # whether it learns from the base rows first

    def start(self, new: "NewRows") -> Start:
        """Checks that the initializer can be used, and returns the start of new rows."""
        return new

    def fit(self, new: "NewRows") -> Fitted:
        """Learns what it needs to make new rows."""
        return Fitted(partial(self.rows, new))

    def rows(self, new: "NewRows", start: int, stop: int, seed: tuple) -> np.ndarray:
        """Returns the new rows from `start` to `stop`."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Returns the arguments of the class, as Keras saves them with a layer."""
        return {}


NewRowsInitializer: TypeAlias = (
    str
    | dict
    | keras.initializers.Initializer
    | type[keras.initializers.Initializer]
    | RowInitializer
    | type[RowInitializer]
    | Callable[[list[Token], BaseRows], np.ndarray]
    | None
)
"""Type of `new_embeddings_initializer`: initial values for the rows of new tokens."""


@dataclass(frozen=True, eq=False)
class NewRows(Start):
    """New rows that an initializer makes on demand."""

    initializer: RowInitializer  # makes the new rows
    row_map: RowMap  # tells which rows are new, and their tokens
    shape: tuple[int, ...]  # shape of the whole new matrix, rows first
    dtype: np.dtype  # NumPy dtype of the matrix
    base: BaseRows  # the base rows
    seed: tuple  # determines random values; the same in every process
    # Axis of the array that has the rows. An initializer that makes the whole array gets
    # the shape in the array's order of axes.
    axis: int = 0
    number: float | None = None
    remark: str | None = None
    learned: Fitted | None = None  # result of `fit`, once it has run
    all_rows: np.ndarray | None = None  # values of all new rows, once made
    # The last part that was made, by its first row: a part may be read in pieces.
    _last_part: dict[int, np.ndarray] = field(default_factory=dict, init=False)

    @property
    def in_parts(self) -> bool:
        """True if some new rows can be made without the others."""
        return self.initializer.in_parts

    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Returns a copy that makes the values, and is freed when all rows have moved."""
        return replace(self) if self.in_parts else self.made()

    def __call__(self, part: slice, others: tuple[slice, ...] = ()) -> np.ndarray:
        """Returns some new rows; `others` has the slices of the other axes."""
        if not self.in_parts or self.all_rows is not None:
            rows = self.made().all_rows
            assert rows is not None
            return rows[(part, *others)]
        start, stop, _ = part.indices(self._count)
        pieces = []
        for first in range(start // PART * PART, stop, PART):
            within = slice(max(start - first, 0), min(stop - first, PART))
            if first not in self._last_part:
                self._last_part.clear()
                last = min(first + PART, self._count)
                self._last_part[first] = self._part(first, last)
            pieces.append(self._last_part[first][(within, *others)])
        if len(pieces) == 1:
            return pieces[0]  # without a copy
        one_row = np.broadcast_to(0, self.shape[1:])[others]
        return np.concatenate([np.empty((0, *one_row.shape), self.dtype), *pieces])

    def fitted(self) -> "NewRows":
        """Returns the same start after the initializer has learned from the table."""
        if self.learned is not None or not self._count:
            return self
        learned = self.initializer.fit(self)
        return replace(self, learned=learned, remark=learned.remark)

    def tried(self) -> "NewRows":
        """Makes one row as a test, so that a failure comes before any row is moved."""
        if self._count:
            self._part(0, 1)
        return self

    def made(self) -> "NewRows":
        """Returns the same start with the values of all new rows."""
        if self.all_rows is not None:
            return self
        fitted, count = self.fitted(), self._count
        rows = np.empty((count, *self.shape[1:]), self.dtype)
        is_cut = self.in_parts or self.initializer.learns
        step = PART if is_cut else max(count, 1)
        for first in range(0, count, step):
            stop = min(first + step, count)
            rows[first:stop] = fitted._part(first, stop)
        return replace(fitted, all_rows=rows)

    def digest(self) -> str:
        """Returns a digest that is equal in processes that make the same rows."""
        if self.all_rows is not None:
            return hashlib.sha256(self.all_rows.tobytes()).hexdigest()
        about = [self.initializer.get_config(), self.seed]
        return hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()

    @cached_property
    def _count(self) -> int:
        return len(self.row_map.new_rows)

    def _part(self, start: int, stop: int) -> np.ndarray:
        learned, number = self.fitted().learned, start // PART
        assert learned is not None
        made = learned.rows(start, stop, (*self.seed, number) if number else self.seed)
        made = made.reshape(stop - start, *self.shape[1:])
        return made.astype(self.dtype, copy=False)

    def check_shape(self, made: np.ndarray, expected: tuple[int, ...]) -> None:
        """Raises an error if the initializer returned an unexpected shape."""
        if made.shape != expected:
            raise WarmStartError(
                "`new_embeddings_initializer` must return an array of shape "
                f"{expected}, one row per requested token. Received: shape={made.shape}."
            )


@dataclass(frozen=True, eq=False)
class GivenRows(Start):
    """Given values for new entries: an array, a variable of the new shape, or a number.

    The array has one entry per new row along its first axis, in the order of the new
    rows. The variable has each new entry at the place of its row.
    """

    given: keras.Variable | np.ndarray | float
    number: float | None = None

    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Returns a function that gives the number, or the entries of each part."""
        given = self.given
        if isinstance(given, keras.Variable):
            value = tensors.to_numpy(given)
            return lambda part: rows_at(value, axis, row_map.new_rows[part])
        return lambda part: given[part] if isinstance(given, np.ndarray) else given


def as_start(start: Start | keras.Variable | np.ndarray | float) -> Start:
    """Converts a number, an array of rows or a variable to a `Start`."""
    if isinstance(start, Start):
        return start
    if isinstance(start, keras.Variable | np.ndarray):
        return GivenRows(start)
    return GivenRows(start, number=start)


def derive_seed(*parts: str | int | None) -> int:
    """Derives a seed from plain values, the same in every process."""
    digest = hashlib.sha256(json.dumps(parts, default=int).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
