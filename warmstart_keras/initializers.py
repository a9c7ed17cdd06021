"""What a row without a past starts from."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.vocabulary import Token, Vocabulary


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


def make_rows(
    initializer: RowInitializer,
    rows: np.ndarray,
    shape: tuple[int, ...],
    dtype: Any,
    *,
    tokens: list[Token],
    base: BaseTable,
    seed: tuple,
    axis: int = 0,
) -> np.ndarray:
    """The values of new rows.

    Args:
        initializer: The way to new rows.
        rows: Which rows of the new matrix are new.
        shape: Shape of the whole new matrix, rows first.
        dtype: NumPy dtype of the matrix.
        tokens: The new rows' tokens.
        base: The old matrix.
        seed: What the values depend on: plain values, the same in every process.
        axis: Where the array has its rows: an initializer that is asked for the whole
            of it is asked in the array's own order of axes.

    Returns:
        Array of shape `(len(rows), *shape[1:])` and dtype `dtype`.

    Raises:
        WarmStartError: If the initializer gives another shape.
    """
    expected = (len(rows), *shape[1:])
    if len(rows) == 0:
        return np.empty(expected, dtype)
    if not initializer.as_keras:
        made = np.asarray(initializer.function(tokens, base))
    else:
        asked = (*shape[1 : axis + 1], shape[0], *shape[axis + 1 :])
        asked = asked if initializer.whole else expected
        try:
            function = _reseeded(initializer.function, seed)
            # Keras knows the dtypes of all its backends by NumPy's names.
            rows_or_all = function(asked, dtype=np.dtype(dtype).name)
            made = keras_internals.to_numpy(rows_or_all)
        except Exception as error:
            raise WarmStartError(
                f"The initializer of new rows must give an array of shape {asked}. "
                f"Received: {initializer.function!r}, which raised "
                f"{type(error).__name__}: {str(error)[:200]}. Pass another "
                "`new_embeddings_initializer`."
            ) from error
        if initializer.whole and made.shape == asked:
            made = np.moveaxis(made, axis, 0)[rows]
    if made.shape != expected:
        raise WarmStartError(
            f"The initializer of new rows must give an array of shape {expected}, one "
            f"row for each new token. Received: shape={made.shape}"
        )
    return made.astype(dtype, copy=False)


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
