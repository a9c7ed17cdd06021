"""The arguments of a warm start that say how, checked when they are given."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import inner_optimizers
from warmstart_keras.new_rows import initializers


@dataclass(frozen=True)
class Options:
    """The arguments of a warm start that say how; see `warm_start`."""

    vocabularies: Any = None
    previous: Any = None
    base_vocabularies: Any = None
    new_embeddings_initializer: Any = None
    optimizer_state: str = "carry"
    min_kept: float | None = None
    missing_ok: bool = False
    also: Any = ()
    seed: int | None = None
    verbose: Any = "auto"
    optimizer: Any = None
    adopt: bool = False  # a named layer without a base takes today's vocabulary
    without_base: Collection[keras.Layer] = ()  # `base_vocabularies` no longer holds

    def __post_init__(self) -> None:
        if self.optimizer_state not in ("carry", "reset"):
            raise WarmStartError(
                '`optimizer_state` must be "carry" or "reset". '
                f"Received: optimizer_state={self.optimizer_state!r}"
            )
        if self.min_kept is not None and not 0 <= self.min_kept <= 1:
            raise WarmStartError(
                "`min_kept` must be a share of the words, from 0 to 1, or None. "
                f"Received: min_kept={self.min_kept!r}"
            )
        if self.seed is not None and not isinstance(self.seed, int | np.integer):
            raise WarmStartError(
                "`seed` must be an integer or None. "
                f"Received: seed={self.seed!r} (of type {type(self.seed).__name__})"
            )
        for model in self.models_besides:
            _check_is(model, keras.Model, "also", "models")
        for optimizer in self.optimizers_besides:
            _check_is(optimizer, keras.optimizers.Optimizer, "optimizer", "optimizers")
        if self.verbose not in ("auto", 0, 1, 2):
            raise WarmStartError(
                f'`verbose` must be "auto", 0, 1 or 2. Received: verbose={self.verbose!r}'
            )
        if self.new_embeddings_initializer is not None:
            initializers.get(self.new_embeddings_initializer)

    @property
    def models_besides(self) -> list:
        """Other models over the same layers."""
        return _listed(self.also)

    @property
    def optimizers_besides(self) -> list:
        """Optimizers that no model holds."""
        return _listed(self.optimizer)


def _check_is(value: Any, kind: type, argument: str, plural: str) -> None:
    if not isinstance(value, kind):
        raise WarmStartError(
            f"`{argument}` must be one of Keras's {plural}, or a list of them. "
            f"Received: {value!r} (of type {type(value).__name__})"
        )


def _listed(value: Any) -> list:
    """One thing, or a list or tuple of them, or None, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def involved_models(model: keras.Layer, options: Options) -> list[keras.Model]:
    """The model, those inside it, and those that the user named besides."""
    roots = [model, *options.models_besides]
    inside = [layer for root in roots for _, layer in keras_internals.walk(root)]
    return list({id(m): m for m in inside if isinstance(m, keras.Model)}.values())


def involved_optimizers(model: keras.Layer, options: Options) -> list[Any]:
    """Those of these models, those that the user named, and all that they wrap."""
    tops = [getattr(m, "optimizer", None) for m in involved_models(model, options)]
    found: list[Any] = []
    for top in [*tops, *options.optimizers_besides]:
        inner = [] if top is None else inner_optimizers(top)
        found += [o for o in inner if not any(o is known for known in found)]
    return found


def heir_of(model: keras.Layer, options: Options) -> Any | None:
    """The optimizer that a previous run's state is for: the model's, or the one named."""
    optimizer = getattr(model, "optimizer", None)
    listed = options.optimizers_besides
    return listed[0] if optimizer is None and len(listed) == 1 else optimizer
