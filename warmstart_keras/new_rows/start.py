"""What new rows have, made when it is asked for."""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from warmstart_keras.backend import tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows import initializers
from warmstart_keras.new_rows.base_rows import BaseRows, CopyOfBase, MeanOfBase
from warmstart_keras.new_rows.initializers import RowInitializer
from warmstart_keras.new_rows.methods import (
    CopyingMethod,
    Fitted,
    LearningMethod,
    RowMethod,
)
from warmstart_keras.vocabulary import RowMap

# So many new rows are drawn at a time, each part with a seed of its own: their values do
# not depend on who makes them, nor on how a table is sharded.
_PART = 2**16


@dataclass(frozen=True, eq=False)
class NewRows:
    """The values of new rows, made when they are asked for.

    Attributes:
        initializer: The way to new rows.
        row_map: Which rows of the new matrix are new, and their tokens.
        shape: Shape of the whole new matrix, rows first.
        dtype: NumPy dtype of the matrix.
        base: The old matrix.
        seed: What the values depend on: plain values, the same in every process.
        axis: Where the array has its rows: an initializer that is asked for the whole
            of it is asked in the array's own order of axes.
        learned: What a `LearningMethod` has learned, once it has.
        values: Those of all rows, once they were made.
    """

    initializer: RowInitializer
    row_map: RowMap
    shape: tuple[int, ...]
    dtype: Any
    base: BaseRows
    seed: tuple
    axis: int = 0
    learned: Fitted | None = None
    values: np.ndarray | None = None

    @cached_property
    def rows(self) -> np.ndarray:
        """The rows of the new matrix that are new."""
        return self.row_map.new_rows

    @property
    def remark(self) -> str | None:
        """What the user should know about it; of a method once that has learned."""
        return None if self.learned is None else self.learned.remark

    def __call__(self, part: slice, others: tuple[slice, ...] = ()) -> np.ndarray:
        """The values of the rows `rows[part]`; of each other axis its slice in `others`.

        Returns:
            Array of shape `(len(rows[part]), *shape[1:])`, where `others` does not cut
            it, and dtype `dtype`.

        Raises:
            WarmStartError: If the initializer gives another shape.
        """
        if self.values is not None:
            return self.values[(part, *others)]
        if not self.in_parts:
            return self._all()[(part, *others)]
        start, stop, _ = part.indices(len(self.rows))
        pieces = []
        for number in range(start // _PART, -(-stop // _PART)):
            first = number * _PART
            within = slice(max(start - first, 0), min(stop - first, _PART))
            pieces.append(self._part(number)[(within, *others)])
        if len(pieces) == 1:
            return pieces[0]  # not a copy
        one_row = np.broadcast_to(0, self.shape[1:])[others]
        return np.concatenate([np.empty((0, *one_row.shape), self.dtype), *pieces])

    def _part(self, number: int) -> np.ndarray:
        """One part, which is kept until another one is asked for."""
        if number not in self._last_part:
            self._last_part.clear()
            size = min(_PART, len(self.rows) - number * _PART)
            made = self._ask((size, *self.shape[1:]), self._seed_of(number))
            self._last_part[number] = made.astype(self.dtype, copy=False)
        return self._last_part[number]

    @cached_property
    def _last_part(self) -> dict[int, np.ndarray]:
        return {}

    def digest(self) -> str:
        """What tells whether another process makes the same rows."""
        if self.values is not None:
            about: Any = self.values.tobytes()
        else:
            function: Any = self.initializer.function
            about = json.dumps(
                [type(function).__name__, function.get_config(), self.seed], default=str
            ).encode()
        return hashlib.sha256(about).hexdigest()

    def tried(self) -> "NewRows":
        """The same, after one row was made: what fails there fails before all moves."""
        if len(self.rows):
            self._ask((1, *self.shape[1:]))
        return self

    @property
    def in_parts(self) -> bool:
        """Whether a part of the rows can be had without all others."""
        function = self.initializer.function
        return not self.initializer.whole and initializers.is_the_same_for_each_row(
            function
        )

    @property
    def is_learned(self) -> bool:
        """Whether they are made by a `LearningMethod`."""
        return isinstance(self.initializer.function, LearningMethod)

    def fitted(self) -> "NewRows":
        """The same, after a method that learns something has learned it."""
        function = self.initializer.function
        if not isinstance(function, LearningMethod) or not len(self.rows):
            return self
        return replace(self, learned=function.fit(self.row_map, self.base))

    def made(self) -> "NewRows":
        """The same with the values of all rows made."""
        if self.values is not None:
            return self
        return replace(self, values=self(slice(None)))

    def _seed_of(self, part: int) -> tuple:
        return (*self.seed, part) if part else self.seed

    def _all(self) -> np.ndarray:
        expected = (len(self.rows), *self.shape[1:])
        if len(self.rows) == 0:
            return np.empty(expected, self.dtype)
        shape, axis, function = self.shape, self.axis, self.initializer.function
        if isinstance(function, LearningMethod):
            made = self._all_learned().reshape(expected)
        elif not self.initializer.as_keras:
            tokens = self.row_map.new_tokens
            given = function(tokens, self.base)
            plain = isinstance(given, np.ndarray | list | tuple)
            given = np.asarray(given if plain else tensors.to_numpy(given))
            _check_shape(given, (len(tokens), *expected[1:]))
            made = np.zeros(expected, self.dtype)  # spare rows come last
            made[: len(tokens)] = given
        elif self.initializer.whole:
            # In the array's own order of axes.
            made = self._ask((*shape[1 : axis + 1], shape[0], *shape[axis + 1 :]))
            made = np.moveaxis(made, axis, 0)[self.rows]
        else:
            made = self._ask(expected)
        _check_shape(made, expected)
        return made.astype(self.dtype, copy=False)

    def _all_learned(self) -> np.ndarray:
        learned = self.learned or self.fitted().learned
        assert learned is not None
        made = np.empty((len(self.rows), math.prod(self.shape[1:])), self.dtype)
        for number, start in enumerate(range(0, len(made), _PART)):
            stop = min(start + _PART, len(made))
            made[start:stop] = learned.rows(start, stop, self._seed_of(number))
        return made

    def _ask(self, shape: tuple[int, ...], seed: tuple | None = None) -> np.ndarray:
        """What the Keras initializer gives."""
        function = self.initializer.function
        try:
            reseeded = initializers.reseeded(
                function, self.seed if seed is None else seed
            )
            # Keras knows the dtypes of all its backends by NumPy's names.
            given = reseeded(shape, dtype=np.dtype(self.dtype).name)
            made = tensors.to_numpy(given)
        except Exception as error:
            raise WarmStartError(
                f"The initializer of new rows must give an array of shape {shape}. "
                f"Received: {function!r}, which raised {type(error).__name__}: "
                f"{str(error)[:200]}. Pass another `new_embeddings_initializer`."
            ) from error
        _check_shape(made, shape)
        return made


def _check_shape(made: np.ndarray, expected: tuple[int, ...]) -> None:
    if made.shape != expected:
        raise WarmStartError(
            f"The initializer of new rows must give an array of shape {expected}, one "
            f"row for each new token. Received: shape={made.shape}"
        )


Start = NewRows | MeanOfBase | CopyOfBase


def start_of(
    initializer: RowInitializer,
    row_map: RowMap,
    shape: tuple[int, ...],
    dtype: Any,
    base: BaseRows,
    seed: tuple,
    axis: int = 0,
) -> Start:
    """What new rows start from; arguments as of `NewRows`.

    Raises:
        WarmStartError: If it is made of the base's words, of which there is none, or of
            data that is not there.
    """
    function = initializer.function
    if isinstance(function, RowMethod) and not row_map.base.has_words:
        raise WarmStartError(
            "New rows can only be made of the rows of old words where there are some. "
            f"Received: {function!r}, and a base vocabulary without any word. Pass an "
            'initializer of Keras, such as "uniform".'
        )
    if isinstance(function, CopyingMethod):
        return function.start(row_map)
    if isinstance(function, LearningMethod):
        function.check()
    return NewRows(initializer, row_map, shape, dtype, base, seed, axis)
