"""Conversion of `new_embeddings_initializer` from a name, class, instance or callable."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from keras import initializers as of_keras

from warmstart_keras.backend import Tensor, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows.methods import GaussianRows, MeanRows, OOVRows, RowMethod
from warmstart_keras.new_rows.start import (
    NewRows,
    NewRowsInitializer,
    RowInitializer,
    derive_seed,
)
from warmstart_keras.new_rows.subword import SubwordRows

_OR_OURS = (
    '`(tokens, base) -> rows`; or "mean", "gaussian", "oov", "subword", a `ContextRows` '
    "or a `PretrainedRows`"
)
_BY_NAME: dict[str, type[RowMethod]] = {
    "mean": MeanRows,
    "gaussian": GaussianRows,
    "oov": OOVRows,
    "subword": SubwordRows,
}
_OF_KERAS = of_keras.Initializer
# Initializers that make each row independently of its place.
_RANDOM = (of_keras.RandomNormal, of_keras.RandomUniform, of_keras.TruncatedNormal)
_ROW_WISE = (of_keras.Zeros, of_keras.Ones, of_keras.Constant, *_RANDOM)
# Initializers whose values depend on the shape of the whole matrix.
_OF_SHAPE = (of_keras.VarianceScaling, of_keras.Orthogonal, of_keras.Identity)


def get(identifier: NewRowsInitializer) -> RowInitializer:
    """Converts a name, class, instance or callable `(tokens, base) -> rows`.

    None means `"uniform"`, as in Keras.
    """
    if isinstance(identifier, str):
        identifier = _BY_NAME.get(identifier, identifier)
    found = instance_of(identifier)
    if isinstance(found, RowMethod):
        return found
    if callable(found) and not isinstance(found, _OF_KERAS):
        return CallableRows(found)
    return _of_keras(found, _OR_OURS)


def get_keras(identifier: NewRowsInitializer) -> "KerasRows":
    """Converts like `get`, but calls a callable with `(shape, dtype)` as Keras layers do.

    A callable makes the whole matrix, because its values may depend on the whole shape.
    Methods such as `"mean"` are refused.
    """
    found = instance_of(identifier)
    if callable(found) and not isinstance(found, _OF_KERAS):
        return KerasRows(found, whole=True)
    return _of_keras(found, "`(shape, dtype)`")


def _of_keras(identifier: NewRowsInitializer, callables: str) -> "KerasRows":
    try:
        if not isinstance(identifier, str | dict | _OF_KERAS | None):
            raise ValueError("Pass an array as `keras.initializers.Constant(array)`.")
        function = of_keras.get("uniform" if identifier is None else identifier)
    except ValueError as error:
        raise WarmStartError(
            "`new_embeddings_initializer` must be a Keras initializer (instance, class "
            f"or name) or a callable {callables}. Received: {str(identifier)[:80]!r} (of "
            f"type {type(identifier).__name__}). {str(error)[:200]}"
        ) from error
    whole = is_array(KerasRows(function)) or isinstance(function, _OF_SHAPE)
    return KerasRows(function, whole, type(function) in _ROW_WISE and not whole)


def instance_of(identifier: NewRowsInitializer) -> NewRowsInitializer:
    """Creates an instance if `identifier` is a class; otherwise returns `identifier`."""
    ours = RowMethod | _OF_KERAS
    if not isinstance(identifier, type) or not issubclass(identifier, ours):
        return identifier
    try:
        return identifier()
    except TypeError as error:
        raise WarmStartError(
            "`new_embeddings_initializer` must be an instance if its class needs "
            f"arguments. Received: the class {identifier.__name__} ({error}). Pass "
            f"`{identifier.__name__}(...)` with its arguments."
        ) from error


def is_array(initializer: RowInitializer) -> bool:
    """Returns whether `initializer` is a given matrix, made for one vocabulary."""
    return (
        isinstance(initializer, KerasRows)
        and isinstance(initializer.function, of_keras.Constant)
        and np.ndim(initializer.function.value) > 0
    )


@dataclass(frozen=True)
class KerasRows(RowInitializer):
    """Rows from a Keras initializer, or from a callable with the same arguments."""

    function: of_keras.Initializer
    whole: bool = False  # the values depend on the shape of the whole matrix
    in_parts: bool = False  # each row is independent of its place

    def __repr__(self) -> str:
        return repr(self.function)

    def get_config(self) -> dict:
        """Returns the initializer as Keras saves it."""
        return of_keras.serialize(self.function)

    def start(self, new: NewRows) -> NewRows:
        """Returns `new`; zeros become one number, so that no array is made for them."""
        is_zero = type(self.function) is of_keras.Zeros
        return replace(new, number=0) if is_zero else new

    def rows(self, new: NewRows, start: int, stop: int, seed: tuple) -> np.ndarray:
        """Returns the new rows from `start` to `stop`."""
        shape, axis = new.shape, new.axis
        if not self.whole:
            return self._ask(new, (stop - start, *shape[1:]), seed)
        # The shape in the array's order of axes.
        asked = (*shape[1 : axis + 1], shape[0], *shape[axis + 1 :])
        made = self._ask(new, asked, seed)
        return np.moveaxis(made, axis, 0)[new.row_map.new_rows]

    def _ask(self, new: NewRows, shape: tuple[int, ...], seed: tuple) -> np.ndarray:
        try:
            # On all backends, Keras accepts the dtype names of NumPy.
            given = self._reseeded(seed)(shape, dtype=np.dtype(new.dtype).name)
            made = tensors.to_numpy(given)
        except Exception as error:
            raise WarmStartError(
                f"`new_embeddings_initializer` must return an array of shape {shape}. "
                f"Received: {self!r}, which raised {type(error).__name__}: "
                f"{str(error)[:200]}. Pass another one, for example "
                '`new_embeddings_initializer="uniform"`.'
            ) from error
        new.check_shape(made, shape)
        return made

    def _reseeded(self, seed: tuple) -> of_keras.Initializer:
        """Returns the initializer with a seed for this table and these vocabularies.

        A seeded Keras initializer returns the same values at every call. With its
        original seed, the new words of every day would start from the same values, and
        so would the first rows of the table.
        """
        if not isinstance(self.function, _OF_KERAS):
            return self.function
        try:
            config = self.function.get_config()
        except NotImplementedError:
            return self.function
        if "seed" not in config:
            return self.function
        own = config["seed"] if isinstance(config["seed"], int) else None
        config["seed"] = derive_seed(*seed, own)
        return type(self.function).from_config(config)


@dataclass(frozen=True)
class CallableRows(RowInitializer):
    """Rows that a user's callable makes from the new tokens and the base rows."""

    function: Callable[..., np.ndarray | Tensor]

    def __repr__(self) -> str:
        return repr(self.function)

    def rows(self, new: NewRows, start: int, stop: int, seed: tuple) -> np.ndarray:
        """Returns all new rows: the callable needs all tokens at once."""
        tokens = new.row_map.new_tokens
        given = self.function(tokens, new.base)
        plain = isinstance(given, np.ndarray | list | tuple)
        given = np.asarray(given if plain else tensors.to_numpy(given))
        new.check_shape(given, (len(tokens), *new.shape[1:]))
        made = np.zeros((stop - start, *new.shape[1:]), new.dtype)
        made[: len(tokens)] = given  # spare rows come last, and stay 0
        return made
