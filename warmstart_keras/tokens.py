"""Tokens as they come, and as they are compared: text, bytes or integers."""

from typing import Any

import numpy as np

from warmstart_keras.errors import WarmStartError


def normalized(tokens: list, encoding: str = "utf-8") -> list[Any]:
    """Tokens as `str`, as `bytes` where they are no text, or as `int`."""
    kinds = set(map(type, tokens))
    if kinds <= {str} or kinds <= {int}:
        return tokens
    if any(issubclass(kind, bool | np.bool_) for kind in kinds) or not all(
        issubclass(kind, str | bytes | int | np.integer) for kind in kinds
    ):
        wrong = next(
            t
            for t in tokens
            if isinstance(t, bool) or not isinstance(t, str | bytes | int | np.integer)
        )
        raise WarmStartError(
            "The tokens of a vocabulary must be strings, bytes or integers. "
            f"Received: {wrong!r} (of type {type(wrong).__name__})"
        )
    integers = [issubclass(kind, int | np.integer) for kind in kinds]
    if all(integers):
        return [int(token) for token in tokens]
    if any(integers):
        raise WarmStartError(
            "The tokens of a vocabulary must be all strings or all integers. "
            f"Received: both, {str(tokens[:6])[:-1]}, ...]"
        )
    return [
        _decoded(token, encoding) if isinstance(token, bytes) else str(token)
        for token in tokens
    ]


def _decoded(token: bytes, encoding: str) -> str | bytes:
    try:
        return token.decode(encoding)
    except UnicodeDecodeError:
        return bytes(token)
