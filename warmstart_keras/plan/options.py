"""Arguments of a warm start, checked when they are passed."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.keras_internals import inner_optimizers
from warmstart_keras.model import NamedSources
from warmstart_keras.new_rows import NewRowsInitializer, initializers

Optimizers: TypeAlias = (
    keras.optimizers.Optimizer | Sequence[keras.optimizers.Optimizer] | None
)
"""Type of the argument `optimizer`: optimizers that the model does not hold."""


@dataclass(frozen=True)
class Options:
    """Checked arguments of a warm start, as described in `warm_start`."""

    vocabularies: NamedSources = None
    previous: str | os.PathLike | keras.Model | None = None
    base_vocabularies: NamedSources = None
    new_embeddings_initializer: NewRowsInitializer = None
    optimizer_state: str = "carry"
    min_kept: float | None = None
    missing_ok: bool = False
    also: keras.Model | Sequence[keras.Model] = ()
    seed: int | None = None
    verbose: str | int = "auto"
    optimizer: Optimizers = None
    # Whether a named layer with an unknown base takes the new vocabulary as its base.
    adopt: bool = False
    # Layers for which `base_vocabularies` is out of date and ignored.
    without_base: Collection[keras.Layer] = ()

    def __post_init__(self) -> None:
        if self.optimizer_state not in ("carry", "reset"):
            raise WarmStartError(
                '`optimizer_state` must be "carry" or "reset". '
                f"Received: optimizer_state={self.optimizer_state!r}"
            )
        if self.min_kept is not None and not 0 <= self.min_kept <= 1:
            raise WarmStartError(
                "`min_kept` must be a share of the words from 0 to 1, or None. "
                f"Received: min_kept={self.min_kept!r}. Pass for example "
                "`min_kept=0.5`."
            )
        if self.seed is not None and not isinstance(self.seed, int | np.integer):
            raise WarmStartError(
                "`seed` must be an integer or None. "
                f"Received: seed={self.seed!r} (of type {type(self.seed).__name__}). "
                "Pass for example `seed=0`."
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
        """The models in `also`, as a list."""
        return _listed(self.also)

    @property
    def optimizers_besides(self) -> list:
        """The optimizers in `optimizer`, as a list."""
        return _listed(self.optimizer)


def _check_is(value: object, kind: type, argument: str, plural: str) -> None:
    if not isinstance(value, kind):
        raise WarmStartError(
            f"`{argument}` must be one of Keras's {plural}, or a list of them. "
            f"Received: {value!r} (of type {type(value).__name__})"
        )


def _listed(value: object) -> list:
    """Converts a single value, a list, a tuple or None into a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


@dataclass(frozen=True, eq=False)
class Scope:
    """All models and optimizers that a warm start may change."""

    roots: list[keras.Layer]  # the model, and the models in `also`
    models: list[keras.Model]  # the roots, and the models inside them
    # Optimizers of the models and in `optimizer`, with the optimizers that they wrap.
    optimizers: list[keras.optimizers.Optimizer]
    # The optimizer that takes over the state of a previous run: the optimizer of the
    # model, or the only one in `optimizer`.
    heir: keras.optimizers.Optimizer | None

    @classmethod
    def of(cls, model: keras.Layer, options: Options) -> "Scope":
        """Finds the models and optimizers as they are now."""
        roots = [model, *options.models_besides]
        inside = [layer for root in roots for _, layer in keras_internals.walk(root)]
        models = [layer for layer in inside if isinstance(layer, keras.Model)]
        models = list({id(m): m for m in models}.values())
        named = options.optimizers_besides
        tops = [getattr(m, "optimizer", None) for m in models]
        tops = [top for top in [*tops, *named] if top is not None]
        inner = [o for top in tops for o in inner_optimizers(top)]
        heir = getattr(model, "optimizer", None)
        if heir is None and len(named) == 1:
            heir = named[0]
        return cls(roots, models, list({id(o): o for o in inner}.values()), heir)
