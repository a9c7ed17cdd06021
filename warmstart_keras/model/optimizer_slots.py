"""Which variables of an optimizer follow the vocabulary, found by their structure.

The names of an optimizer's variables do not tell which of their axes has the vocabulary,
and the sizes do not either where it is as large as the embedding is wide. So two tiny
twins of the optimizer are built on stand-ins for the model's variables: between the two,
the stand-ins differ along the vocabulary's axis alone. Whatever differs in the twins'
variables follows the vocabulary.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import tensors
from warmstart_keras.errors import WarmStartError

# Rows of the stand-ins hold this, so that a slot which starts at its row's own value
# shows it. Exact in float16; in bfloat16 compared after rounding.
_MARK = 777.0


@dataclass(frozen=True, eq=False)
class Slot:
    """A variable of an optimizer that belongs to a variable of a model.

    Attributes:
        owner: The model's variable.
        axis: The axis that has the vocabulary; None where it has none (the column
            statistics of Adafactor).
        initial: What it starts at; None where it starts at the owner's own value.
    """

    variable: keras.Variable
    owner: keras.Variable
    axis: int | None
    initial: float | None

    @property
    def start(self) -> keras.Variable | float:
        """The number that it starts at, or the variable whose own value."""
        return self.owner if self.initial is None else self.initial


def find_slots(optimizer: keras.optimizers.Optimizer, axes: dict[int, int]) -> list[Slot]:
    """The slots that a built optimizer, wrapping no other, has for some variables.

    `axes` has the vocabulary axis of each variable asked about, by its `id`.
    """
    held = keras_internals.optimized_variables(optimizer)
    asked = [variable for variable in held if id(variable) in axes]
    if not asked:
        return []
    sizes = {id(v): 5 + 4 * place for place, v in enumerate(asked)}
    real = optimizer.variables

    small, large = (
        _twin(optimizer, [_stand_in(v, axes, sizes, rows) for v in held], len(real))
        for rows in (0, 1)
    )
    if not len(small) == len(large) == len(real):
        raise WarmStartError(
            f"An optimizer built from the configuration of '{optimizer.name}' must have "
            f"the same number of variables. Received: {len(small)} instead of "
            f"{len(real)} (of type {type(optimizer).__name__}). Let its `get_config` "
            "and `build` agree."
        )
    owners = {size + i: v for v in asked for size in [sizes[id(v)]] for i in range(4)}
    averages = {id(v) for v in keras_internals.moving_averages(optimizer)}
    slots = []
    for variable, one, other in zip(real, small, large, strict=True):
        owner = next((owners[n] for n in one.shape if n in owners), None)
        differing = [i for i, n in enumerate(one.shape) if n != other.shape[i]]
        size = sizes.get(id(owner))
        if any(
            size is None or (one.shape[i], other.shape[i]) != (size, size + 1)
            for i in differing
        ):
            raise WarmStartError(
                "The slots of an optimizer must have the vocabulary along one of their "
                f"axes. Received: '{variable.path}' of shape {tuple(variable.shape)} in "
                f"'{optimizer.name}' (of type {type(optimizer).__name__}), whose size "
                "depends on the vocabulary in another way. Compile with a fresh "
                "optimizer."
            )
        if owner is None:
            continue
        start = tensors.to_numpy(one).ravel()[0]
        own_value = id(variable) in averages or start == np.asarray(_MARK, start.dtype)
        axis = differing[0] if differing else None
        slots.append(Slot(variable, owner, axis, None if own_value else float(start)))
    return slots


def names_on(
    optimizer: keras.optimizers.Optimizer, variables: list[SimpleNamespace], expected: int
) -> list[str]:
    """The names of the variables that an optimizer has when built on `variables`.

    These have rank, dtype, name and path; `expected` is the likely number of names.
    """
    stand_ins = [_stand_in(variable, {}, {}, 0) for variable in variables]
    return [variable.name for variable in _twin(optimizer, stand_ins, expected)]


def _stand_in(
    variable: keras.Variable | SimpleNamespace,
    axes: dict[int, int],
    sizes: dict[int, int],
    rows: int,
) -> keras.Variable:
    """A tiny variable; one that is asked about has sizes that no other has."""
    shape = [2] * len(variable.shape)
    if id(variable) in axes:
        # Never `size` along another axis: between the twins, `size` and `size + 1`.
        shape = [sizes[id(variable)] + 2 + (i % 2) for i in range(len(shape))]
        shape[axes[id(variable)]] = sizes[id(variable)] + rows
    with _undistributed():
        return keras_internals.stand_in(variable, np.full(shape, _MARK))


@contextmanager
def _undistributed() -> Iterator[None]:
    """Sets `keras.distribution` aside: sizes so small cannot be sharded."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def _twin(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable], expected: int
) -> list[keras.Variable]:
    """The variables of an optimizer of the same configuration, built on `variables`."""
    twin = _built(optimizer, variables)
    if len(twin) != expected:
        # Inside a LossScaleOptimizer, which is built so, fewer variables are tracked.
        with keras_internals.attributes_not_tracked():
            twin = _built(optimizer, variables)
    return twin


def _built(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
) -> list[keras.Variable]:
    try:
        with warnings.catch_warnings(), _undistributed():
            warnings.simplefilter("ignore")  # of a lambda as learning rate, say
            config = optimizer.get_config()
            if "learning_rate" in config:
                # No slot depends on it; but a number is kept in a variable of its own.
                number = isinstance(config["learning_rate"], float)
                config["learning_rate"] = 0.001 if number else lambda: 0.001
            twin = type(optimizer).from_config(config)
            twin.build(variables)
    except Exception as error:
        raise WarmStartError(
            "The optimizer must be one that can be built from its configuration, as "
            f"saving the model needs too. Received: '{optimizer.name}' (of type "
            f"{type(optimizer).__name__}), which raised {type(error).__name__}: {error}. "
            "Give it `get_config`."
        ) from error
    return twin.variables
