"""Agreement between several processes that train one model.

Each process computes the row map and the new rows separately. Before anything moves, the
processes compare their results. If results differ, or one process fails, all processes
raise an error.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np

from warmstart_keras.errors import WarmStartError

_LENGTH = 4096  # bytes of the message from a process to the others
_FAILED = b"failed"


def is_shared(model: keras.Layer) -> bool:
    """Returns whether several processes train this model together, on JAX alone."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.process_count() > 1 and any(
        not variable.value.is_fully_addressable for variable in model.variables
    )


@contextmanager
def agreement(
    model: keras.Layer, what: str, facts: Callable[[], list[str]]
) -> Iterator[None]:
    """Raises an error in all processes if one fails in the block, or its facts differ.

    Args:
        model: The model. If no other process trains it, nothing is compared.
        what: The purpose of the block, for the error message.
        facts: Called after the block; returns texts that must be equal in all processes.

    Raises:
        WarmStartError: If another process failed, or its facts differ. A process that
            fails in the block raises its original error.
    """
    if not is_shared(model):
        yield
        return
    try:
        yield
        text = "; ".join(facts()).encode()
    except BaseException:
        _told_to_all(_FAILED)
        raise
    ours = hashlib.sha256(text).hexdigest().encode() + b" " + text
    everyone = _told_to_all(ours[:_LENGTH])
    failed = [i for i, said in enumerate(everyone) if said == _FAILED]
    if failed:
        raise WarmStartError(
            f"Not all processes could {what}: an error in process {failed[0]} stopped "
            "them. The model is unchanged. Read the error message of process "
            f"{failed[0]}, and start all processes again when the error is fixed."
        )
    other = next((i for i, said in enumerate(everyone) if said != ours[:_LENGTH]), None)
    if other is not None:
        theirs = everyone[other].partition(b" ")[2].decode(errors="replace")
        raise WarmStartError(
            f"The processes disagree when they {what}: here "
            f"{_first_difference(text.decode(), theirs)} in process {other}. Build the "
            "vocabulary once, give it to every process, and pass the same arguments in "
            "every process."
        )


def _told_to_all(message: bytes) -> list[bytes]:
    """Sends a message to all processes; returns the messages of all, in order."""
    from jax.experimental import multihost_utils

    padded = np.zeros(_LENGTH, np.uint8)
    padded[: len(message)] = np.frombuffer(message, np.uint8)
    everyone = np.asarray(multihost_utils.process_allgather(padded))
    return [row.tobytes().rstrip(b"\0") for row in everyone]


def _first_difference(ours: str, theirs: str) -> str:
    for one, other in zip(ours.split("; "), theirs.split("; "), strict=False):
        if one != other:
            return f"[{one}], and [{other}]"
    return f"{ours.count('; ') + 1} facts, and {theirs.count('; ') + 1}"
