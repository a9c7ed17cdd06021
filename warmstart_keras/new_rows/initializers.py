"""What names the way to new rows: an initializer, a method of ours, a callable."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows.methods import (
    GaussianRows,
    MeanRows,
    OOVRows,
    RowMethod,
    derive_seed,
)
from warmstart_keras.new_rows.subword import SubwordRows

_OR_OURS = (
    '`(tokens, base) -> rows`; or "mean", "gaussian", "oov", "subword", a `ContextRows` '
    "or a `PretrainedRows`"
)
_BY_NAME: dict[str, Callable[[], RowMethod]] = {
    "mean": MeanRows,
    "gaussian": GaussianRows,
    "oov": OOVRows,
    "subword": SubwordRows,
}


@dataclass(frozen=True)
class RowInitializer:
    """How new rows are made: by a Keras initializer, a method of ours, or a callable.

    Attributes:
        function: A `RowMethod`; or what is called `(shape, dtype)` if `as_keras`, else
            `(tokens, base)`.
        as_keras: Which of the two.
        whole: Whether its values depend on the shape of the whole matrix, so that it
            must be asked for all rows.
    """

    function: Any
    as_keras: bool = True
    whole: bool = False


def get(
    identifier: Any, *, as_keras: bool = False, whole: bool = False
) -> RowInitializer:
    """The way to new rows that `identifier` names.

    Args:
        identifier: Name, class or instance of a Keras initializer or of a method of
            ours, None for `"uniform"`, or any other callable, `(tokens, base) -> rows`.
        as_keras: Whether a plain callable is called `(shape, dtype)`, as a Keras layer
            calls its initializers; for the whole matrix, since nothing is known of it.
            There are no methods of ours then.
        whole: Whether an initializer that is not of Keras is asked for the whole matrix.

    Raises:
        WarmStartError: If `identifier` is none of these.
    """
    if isinstance(identifier, RowInitializer):
        return identifier
    if not as_keras:
        if isinstance(identifier, str) and identifier in _BY_NAME:
            identifier = _BY_NAME[identifier]
        if isinstance(identifier, type) and issubclass(identifier, RowMethod):
            identifier = _made(identifier)
        if isinstance(identifier, RowMethod):
            return RowInitializer(identifier, as_keras=False)
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
            "or name) or a callable "
            f"{'`(shape, dtype)`' if as_keras else _OR_OURS}. "
            f"Received: {str(identifier)[:80]!r} (of type {type(identifier).__name__}): "
            f"{str(error)[:200]}"
        ) from error
    if whole:
        return RowInitializer(function, whole=not is_the_same_for_each_row(function))
    return RowInitializer(function, whole=_depends_on_whole_shape(function))


def _made(method: type[RowMethod]) -> RowMethod:
    try:
        return method()
    except TypeError as error:
        raise WarmStartError(
            "`new_embeddings_initializer` can be a class only where that needs no "
            f"arguments. Received: {method.__name__}: {error}. Pass an instance."
        ) from error


def is_array(function: Any) -> bool:
    """Whether it gives the rows of one matrix, made for one vocabulary."""
    constant = isinstance(function, keras.initializers.Constant)
    return constant and np.ndim(function.value) > 0


def is_the_same_for_each_row(function: Any) -> bool:
    """Whether an initializer of Keras makes rows without looking at their place."""
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


def reseeded(function: Any, seed: tuple) -> Any:
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
