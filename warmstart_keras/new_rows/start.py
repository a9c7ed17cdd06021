"""New rows that an initializer makes when they are asked for, and rows that are given."""

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

# New rows are drawn in parts of this size, each with a seed of its own: their values
# depend neither on who makes them, nor on how a table is sharded.
_PART = 2**16


@dataclass(frozen=True, eq=False)
class Fitted:
    """An initializer that has learned what it needs of one table.

    `rows(start, stop, seed)` gives the new rows from `start` to `stop`, in their shape or
    with all numbers of a row along one axis; `seed` is that of this part.
    """

    rows: Callable[[int, int, tuple], np.ndarray]
    remark: str | None = None


class RowInitializer:
    """What makes new rows: an initializer of Keras, a method of ours, a callable.

    A subclass overrides `rows`, `fit` if it learns first, or `start` if it copies.
    """

    in_parts = False  # whether it makes some of the rows without the others
    learns = False

    def start(self, new: "NewRows") -> Start:
        """What new rows start from, after a check that the initializer fits."""
        return new

    def fit(self, new: "NewRows") -> Fitted:
        """Learns what new rows are made of."""
        return Fitted(partial(self.rows, new))

    def rows(self, new: "NewRows", start: int, stop: int, seed: tuple) -> np.ndarray:
        """The new rows from `start` to `stop`."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """The arguments of the class, as Keras saves them with a layer."""
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
"""What the rows of new tokens start from: `new_embeddings_initializer`."""


@dataclass(frozen=True, eq=False)
class NewRows(Start):
    """New rows that an initializer makes when they are asked for."""

    initializer: RowInitializer  # what makes them
    row_map: RowMap  # which rows of the new matrix are new, and their tokens
    shape: tuple[int, ...]  # shape of the whole new matrix, rows first
    dtype: np.dtype  # NumPy dtype of the matrix
    base: BaseRows  # the base matrix
    seed: tuple  # what the values depend on: plain values, the same in every process
    # Where the array has its rows: an initializer that is asked for the whole array is
    # asked in the array's own order of axes.
    axis: int = 0
    number: float | None = None
    remark: str | None = None
    learned: Fitted | None = None  # what the initializer has learned, once it has
    all_rows: np.ndarray | None = None  # the values of all new rows, once they were made
    # The part that was made last, by its first row: it may be asked for in pieces.
    _last_part: dict[int, np.ndarray] = field(default_factory=dict, init=False)

    @property
    def in_parts(self) -> bool:
        """Whether a part of the rows can be had without all others."""
        return self.initializer.in_parts

    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Gives what it keeps in a copy: that goes when all rows have moved."""
        return replace(self) if self.in_parts else self.made()

    def __call__(self, part: slice, others: tuple[slice, ...] = ()) -> np.ndarray:
        """The values of some new rows; of each other axis its slice in `others`."""
        if not self.in_parts or self.all_rows is not None:
            rows = self.made().all_rows
            assert rows is not None
            return rows[(part, *others)]
        start, stop, _ = part.indices(self._count)
        pieces = []
        for first in range(start // _PART * _PART, stop, _PART):
            within = slice(max(start - first, 0), min(stop - first, _PART))
            if first not in self._last_part:
                self._last_part.clear()
                last = min(first + _PART, self._count)
                self._last_part[first] = self._part(first, last)
            pieces.append(self._last_part[first][(within, *others)])
        if len(pieces) == 1:
            return pieces[0]  # not a copy
        one_row = np.broadcast_to(0, self.shape[1:])[others]
        return np.concatenate([np.empty((0, *one_row.shape), self.dtype), *pieces])

    def fitted(self) -> "NewRows":
        """The same, after the initializer has learned what it must."""
        if self.learned is not None or not self._count:
            return self
        learned = self.initializer.fit(self)
        return replace(self, learned=learned, remark=learned.remark)

    def tried(self) -> "NewRows":
        """The same, after one row was made: what fails there fails before all moves."""
        if self._count:
            self._part(0, 1)
        return self

    def made(self) -> "NewRows":
        """The same with the values of all rows made."""
        if self.all_rows is not None:
            return self
        fitted, count = self.fitted(), self._count
        rows = np.empty((count, *self.shape[1:]), self.dtype)
        is_cut = self.in_parts or self.initializer.learns
        step = _PART if is_cut else max(count, 1)
        for first in range(0, count, step):
            stop = min(first + step, count)
            rows[first:stop] = fitted._part(first, stop)
        return replace(fitted, all_rows=rows)

    def digest(self) -> str:
        """What tells whether another process makes the same rows."""
        if self.all_rows is not None:
            return hashlib.sha256(self.all_rows.tobytes()).hexdigest()
        about = [self.initializer.get_config(), self.seed]
        return hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()

    @cached_property
    def _count(self) -> int:
        return len(self.row_map.new_rows)

    def _part(self, start: int, stop: int) -> np.ndarray:
        learned, number = self.fitted().learned, start // _PART
        assert learned is not None
        made = learned.rows(start, stop, (*self.seed, number) if number else self.seed)
        made = made.reshape(stop - start, *self.shape[1:])
        return made.astype(self.dtype, copy=False)

    def check_shape(self, made: np.ndarray, expected: tuple[int, ...]) -> None:
        """Refuses what the initializer gave in another shape than was asked for."""
        if made.shape != expected:
            raise WarmStartError(
                f"The initializer of new rows must give an array of shape {expected}, "
                f"one row for each new token. Received: shape={made.shape}"
            )


@dataclass(frozen=True, eq=False)
class GivenRows(Start):
    """New entries are given: by an array, a variable of the new shape, or one number.

    The array has the rows first, in the order of the new ones. The variable has them at
    their places.
    """

    given: keras.Variable | np.ndarray | float
    number: float | None = None

    def values(self, row_map: RowMap, axis: int, read: ReadRows) -> Values:
        """Gives the number, or the entries of each part."""
        given = self.given
        if isinstance(given, keras.Variable):
            value = tensors.to_numpy(given)
            return lambda part: rows_at(value, axis, row_map.new_rows[part])
        return lambda part: given[part] if isinstance(given, np.ndarray) else given


def as_start(start: Start | keras.Variable | np.ndarray | float) -> Start:
    """What a number, an array of rows or a variable means as a start."""
    if isinstance(start, Start):
        return start
    if isinstance(start, keras.Variable | np.ndarray):
        return GivenRows(start)
    return GivenRows(start, number=start)


def derive_seed(*parts: str | int | None) -> int:
    """A seed from plain values, the same in every process."""
    digest = hashlib.sha256(json.dumps(parts, default=int).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
