"""What a row without a past starts from."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np

from warmstart_keras import tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.vocabulary import Token, Vocabulary

# So many new rows are drawn at a time, each part with a seed of its own: their values do
# not depend on who makes them, nor on how a table is sharded.
_PART = 2**16


class BaseTable:
    """The table before a warm start, as a callable for new rows sees it.

    Attributes:
        vocabulary: The `Vocabulary` that the old rows stand for.
        matrix: NumPy array of shape `(rows, ...)` with the old rows, special rows
            included; read when it is first asked for.
    """

    def __init__(self, vocabulary: Vocabulary, read: Callable[[], np.ndarray]) -> None:
        self.vocabulary = vocabulary
        self._read = read

    @cached_property
    def matrix(self) -> np.ndarray:
        """The old rows, read once."""
        return self._read()


@dataclass(frozen=True)
class RowInitializer:
    """How new rows are made: by a Keras initializer, or by a callable of the user's.

    Attributes:
        function: Called `(shape, dtype)` if `as_keras`, else `(tokens, base)`.
        as_keras: Which of the two.
        whole: Whether its values depend on the shape of the whole matrix, so that it
            must be asked for all rows.
    """

    function: Callable
    as_keras: bool = True
    whole: bool = False


def get(
    identifier: Any, *, as_keras: bool = False, whole: bool = False
) -> RowInitializer:
    """The way to new rows that `identifier` names.

    Args:
        identifier: Name, class or instance of a Keras initializer, None for
            `"uniform"`, or any other callable, `(tokens, base) -> rows`.
        as_keras: Whether a plain callable is called `(shape, dtype)`, as a Keras layer
            calls its initializers; for the whole matrix, since nothing is known of it.
        whole: Whether an initializer that is not of Keras is asked for the whole matrix.

    Raises:
        WarmStartError: If `identifier` is none of these.
    """
    if isinstance(identifier, RowInitializer):
        return identifier
    if isinstance(identifier, type) and issubclass(
        identifier, keras.initializers.Initializer
    ):
        identifier = identifier()
    if callable(identifier) and not isinstance(
        identifier, keras.initializers.Initializer
    ):
        return RowInitializer(identifier, as_keras=as_keras, whole=as_keras)
    try:
        if identifier is not None and not isinstance(
            identifier, str | dict | keras.initializers.Initializer
        ):
            raise ValueError("an array goes in as `keras.initializers.Constant(array)`")
        function = keras.initializers.get("uniform" if identifier is None else identifier)
    except ValueError as error:
        raise WarmStartError(
            "`new_embeddings_initializer` must be a Keras initializer (instance, class "
            "or name) or a callable `(tokens, base) -> rows`. "
            f"Received: {str(identifier)[:80]!r} (of type {type(identifier).__name__}): "
            f"{str(error)[:200]}"
        ) from error
    if whole:
        return RowInitializer(function, whole=not _is_the_same_for_each_row(function))
    return RowInitializer(function, whole=_depends_on_whole_shape(function))


@dataclass(frozen=True, eq=False)
class NewRows:
    """The values of new rows, made when they are asked for.

    Attributes:
        initializer: The way to new rows.
        rows: Which rows of the new matrix are new.
        shape: Shape of the whole new matrix, rows first.
        dtype: NumPy dtype of the matrix.
        tokens: The new rows' tokens.
        base: The old matrix.
        seed: What the values depend on: plain values, the same in every process.
        axis: Where the array has its rows: an initializer that is asked for the whole
            of it is asked in the array's own order of axes.
    """

    initializer: RowInitializer
    rows: np.ndarray
    shape: tuple[int, ...]
    dtype: Any
    tokens: list[Token]
    base: BaseTable
    seed: tuple
    axis: int = 0
    values: np.ndarray | None = None  # of all rows, once they were made

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
        one_row = np.broadcast_to(0, self.shape[1:])[others]
        values = np.empty((stop - start, *one_row.shape), self.dtype)
        for number in range(start // _PART, -(-stop // _PART)):
            first = number * _PART
            size = min(_PART, len(self.rows) - first)
            seed = (*self.seed, number) if number else self.seed
            made = self._ask((size, *self.shape[1:]), seed)
            low, high = max(first, start), min(first + size, stop)
            made = made[(slice(low - first, high - first), *others)]
            values[low - start : high - start] = made
        return values

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
        return not self.initializer.whole and _is_the_same_for_each_row(function)

    def made(self) -> "NewRows":
        """The same with the values of all rows made."""
        return replace(self, values=self(slice(None)))

    def _all(self) -> np.ndarray:
        expected = (len(self.rows), *self.shape[1:])
        if len(self.rows) == 0:
            return np.empty(expected, self.dtype)
        shape, axis = self.shape, self.axis
        if not self.initializer.as_keras:
            given = self.initializer.function(self.tokens, self.base)
            plain = isinstance(given, np.ndarray | list | tuple)
            made = np.asarray(given if plain else tensors.to_numpy(given))
        elif self.initializer.whole:
            # In the array's own order of axes.
            made = self._ask((*shape[1 : axis + 1], shape[0], *shape[axis + 1 :]))
            made = np.moveaxis(made, axis, 0)[self.rows]
        else:
            made = self._ask(expected)
        _check_shape(made, expected)
        return made.astype(self.dtype, copy=False)

    def _ask(self, shape: tuple[int, ...], seed: tuple | None = None) -> np.ndarray:
        """What the Keras initializer gives."""
        function = self.initializer.function
        try:
            reseeded = _reseeded(function, self.seed if seed is None else seed)
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


@dataclass(frozen=True, eq=False)
class OldMean:
    """New entries start from the mean of some old ones.

    For the outputs of a head: a new token's logit is then the mean of the old ones', and
    since the exponential is convex, `m` new tokens beside `n` old ones add at most the
    share `m / n` to the softmax's normalisation. No loss rises by more than
    `log(1 + m / n)`; a start at random may take nearly all probability, where the old
    logits are far below 0. See John Hewitt, "Initializing New Word Embeddings for
    Pretrained Language Models" (2021).

    Attributes:
        rows: The old entries.
    """

    rows: np.ndarray


def _check_shape(made: np.ndarray, expected: tuple[int, ...]) -> None:
    if made.shape != expected:
        raise WarmStartError(
            f"The initializer of new rows must give an array of shape {expected}, one "
            f"row for each new token. Received: shape={made.shape}"
        )


def is_array(function: Any) -> bool:
    """Whether it gives the rows of one matrix, made for one vocabulary."""
    constant = isinstance(function, keras.initializers.Constant)
    return constant and np.ndim(function.value) > 0


def _is_the_same_for_each_row(function: Any) -> bool:
    own = keras.initializers
    alike = (
        own.Zeros,
        own.Ones,
        own.RandomNormal,
        own.RandomUniform,
        own.TruncatedNormal,
        own.Constant,
    )
    return type(function) in alike and not _depends_on_whole_shape(function)


def _depends_on_whole_shape(function: Any) -> bool:
    return is_array(function) or isinstance(
        function,
        keras.initializers.VarianceScaling
        | keras.initializers.Orthogonal
        | keras.initializers.Identity,
    )


def _reseeded(function: Any, seed: tuple) -> Any:
    """The initializer with a seed of its own for this place and these vocabularies.

    A seeded Keras initializer gives the same values at every call (K13): as it stands,
    it would give the words of every day, and the first rows of the table, the same.
    """
    if not isinstance(function, keras.initializers.Initializer):
        return function
    try:
        config = function.get_config()
    except NotImplementedError:
        return function
    if "seed" not in config:
        return function
    own = config["seed"] if isinstance(config["seed"], int) else None
    config["seed"] = derive_seed(*seed, own)
    return type(function).from_config(config)


def derive_seed(*parts: Any) -> int:
    """A seed from plain values, the same in every process."""
    digest = hashlib.sha256(json.dumps(parts, default=int).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
