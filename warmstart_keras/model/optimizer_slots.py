"""Finds the optimizer variables that follow a vocabulary, by their structure.

The name of a slot does not show which of its axes follows the vocabulary. Its shape does
not show this either if the table is as wide as it is long. So two tiny twins of the
optimizer are built on stand-ins for the model's variables. The stand-ins of the two twins
differ only along the vocabulary's axis. If an axis of a slot differs between the twins,
it follows the vocabulary.
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

# Value of all stand-ins. A slot with this value starts as a copy of its row. The value is
# exact in float16. In bfloat16 it is compared after rounding.
_MARK = 777.0


@dataclass(frozen=True, eq=False)
class Slot:
    """Optimizer variable that belongs to a variable of a model."""

    variable: keras.Variable  # the optimizer's variable
    owner: keras.Variable  # the model's variable
    # The axis that follows the vocabulary. None if the slot does not have this axis, as
    # the column statistics of Adafactor.
    axis: int | None
    # The initial value. None if the slot starts as a copy of the owner.
    initial: float | None

    @property
    def start(self) -> keras.Variable | float:
        """Initial number of the slot, or the variable that the slot initially copies."""
        return self.owner if self.initial is None else self.initial


def find_slots(optimizer: keras.optimizers.Optimizer, axes: dict[int, int]) -> list[Slot]:
    """Finds the slots that a built optimizer has for some variables.

    Args:
        optimizer: A built optimizer that does not wrap another one.
        axes: The axis of each variable that follows the vocabulary, by the variable's
            `id`.

    Raises:
        WarmStartError: If the twins do not show the axis of each slot.
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
            f"the same number of variables as '{optimizer.name}'. Received: "
            f"{len(small)} variables instead of {len(real)} (of type "
            f"{type(optimizer).__name__}). Return every option that changes the "
            "variables from its `get_config`."
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
                "Each optimizer slot that depends on the vocabulary must have one entry "
                "per token along one of its axes. "
                f"Received: '{variable.path}' of shape {tuple(variable.shape)} in "
                f"'{optimizer.name}' (of type {type(optimizer).__name__}), whose size "
                "depends on the vocabulary in another way. Recompile with a fresh "
                "optimizer: `model.compile(optimizer=..., loss=...)`."
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
    """Returns the names that an optimizer's variables have if it is built on `variables`.

    Args:
        optimizer: An optimizer. A twin of it is built.
        variables: The shape, dtype, name and path of each variable.
        expected: The likely number of names.
    """
    stand_ins = [_stand_in(variable, {}, {}, 0) for variable in variables]
    return [variable.name for variable in _twin(optimizer, stand_ins, expected)]


def _stand_in(
    variable: keras.Variable | SimpleNamespace,
    axes: dict[int, int],
    sizes: dict[int, int],
    rows: int,
) -> keras.Variable:
    """Creates a tiny variable in place of a model's variable.

    A variable in `axes` has sizes that no other variable has.
    """
    shape = [2] * len(variable.shape)
    if id(variable) in axes:
        # The vocabulary's axis has `size` entries in one twin and `size + 1` in the
        # other. All other axes have other sizes.
        shape = [sizes[id(variable)] + 2 + (i % 2) for i in range(len(shape))]
        shape[axes[id(variable)]] = sizes[id(variable)] + rows
    with _undistributed():
        return keras_internals.stand_in(variable, np.full(shape, _MARK))


@contextmanager
def _undistributed() -> Iterator[None]:
    """Disables `keras.distribution`, because tiny variables cannot be sharded."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def _twin(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable], expected: int
) -> list[keras.Variable]:
    """Returns the variables of a twin of the optimizer, built on `variables`."""
    twin = _built(optimizer, variables)
    if len(twin) != expected:
        # A `LossScaleOptimizer` builds its inner optimizer without attribute tracking,
        # so the inner optimizer has fewer variables.
        with keras_internals.attributes_not_tracked():
            twin = _built(optimizer, variables)
    return twin


def _built(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
) -> list[keras.Variable]:
    try:
        with warnings.catch_warnings(), _undistributed():
            # A lambda as learning rate, for example, makes Keras warn.
            warnings.simplefilter("ignore")
            config = optimizer.get_config()
            if "learning_rate" in config:
                # Slots do not depend on the learning rate. However, an optimizer has a
                # variable for the learning rate only if it is a number.
                number = isinstance(config["learning_rate"], float)
                config["learning_rate"] = 0.001 if number else lambda: 0.001
            twin = type(optimizer).from_config(config)
            twin.build(variables)
    except Exception as error:
        raise WarmStartError(
            "It must be possible to build the optimizer from its configuration, which "
            f"saving the model requires too. Received: '{optimizer.name}' (of type "
            f"{type(optimizer).__name__}), which raised {type(error).__name__}: {error}. "
            f"Implement `{type(optimizer).__name__}.get_config`."
        ) from error
    return twin.variables
