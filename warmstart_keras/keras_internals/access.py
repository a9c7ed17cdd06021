"""Access to private names of Keras."""

import importlib
from collections.abc import Callable
from typing import Any

import keras

from warmstart_keras.errors import WarmStartError


def private(owner: Any, name: str) -> Any:
    """Returns an attribute that Keras does not document; `owner` can be a module path."""
    try:
        if isinstance(owner, str):
            owner = importlib.import_module(owner)
        return getattr(owner, name)
    except (AttributeError, ImportError) as error:
        where = owner if isinstance(owner, str) else type(owner).__name__
        raise WarmStartError(
            f"Keras {keras.__version__} on {keras.backend.backend()} has no `{name}` in "
            f"{where}, which warmstart_keras needs. Nothing was changed. Install an "
            f'earlier version of Keras with `pip install "keras<{keras.__version__}"`, '
            "and report this message to the warmstart_keras authors."
        ) from error


def untraced(function: Callable) -> Callable:
    """Excludes a function from tracing by `torch.compile`.

    If `torch.compile` traces NumPy calls, their results become tensors. If it cannot
    trace them, it warns.
    """
    if keras.backend.backend() != "torch":
        return function
    import torch

    return torch.compiler.disable(function)
