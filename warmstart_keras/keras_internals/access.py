"""How private names of Keras are asked for."""

import importlib
from collections.abc import Callable
from typing import Any

import keras

from warmstart_keras.errors import WarmStartError


def private(owner: Any, name: str) -> Any:
    """An attribute that Keras does not document; `owner` may be the path of a module."""
    try:
        if isinstance(owner, str):
            owner = importlib.import_module(owner)
        return getattr(owner, name)
    except (AttributeError, ImportError) as error:
        where = owner if isinstance(owner, str) else type(owner).__name__
        raise WarmStartError(
            f"Keras must have `{name}` in {where}, which warmstart_keras needs. "
            f"Received: Keras {keras.__version__} on {keras.backend.backend()}, which "
            "has not. Report this message to the warmstart_keras authors, and use an "
            "earlier version of Keras until then. Nothing was changed."
        ) from error


def untraced(function: Callable) -> Callable:
    """A function that `torch.compile` calls as it is.

    Where it traces what NumPy does it makes tensors of it; where it cannot, it warns.
    """
    if keras.backend.backend() != "torch":
        return function
    import torch

    return torch.compiler.disable(function)
