"""Several processes that train one model: what each decides must be the same.

Every process works out the row map and the new rows by itself. Before anything moves
they compare what they have come to, so that a difference, or an error in one of them,
ends in an error in all.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np

from warmstart_keras.errors import WarmStartError

_LENGTH = 4096  # bytes of what a process tells the others
_FAILED = b"failed"


def number_of_processes() -> int:
    """How many processes train together; 1 on all backends but JAX."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return jax.process_count()


def is_shared(model: keras.Layer) -> bool:
    """Whether several processes train the model together, not each one of its own."""
    return number_of_processes() > 1 and any(
        not variable.value.is_fully_addressable for variable in model.variables
    )


@contextmanager
def agreement(
    model: keras.Layer, what: str, facts: Callable[[], list[str]]
) -> Iterator[None]:
    """All processes get to the end of the block with equal facts, or all get an error.

    Args:
        model: The model; if it is this process's own, there is nothing to agree on.
        what: What is done in the block, for the error.
        facts: Says after the block what must be the same everywhere.

    Raises:
        WarmStartError: If the facts of another process differ, or it failed. A process
            that failed itself gets its own error.
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
            f"All processes must be able to {what}. Received: an error in process "
            f"{failed[0]}, whose message says why. The model is as it was before."
        )
    other = next((i for i, said in enumerate(everyone) if said != ours[:_LENGTH]), None)
    if other is not None:
        theirs = everyone[other].partition(b" ")[2].decode(errors="replace")
        raise WarmStartError(
            f"All processes must come to the same when they {what}. Received: here "
            f"{_first_difference(text.decode(), theirs)} in process {other}. Build the "
            "vocabulary once and give it to every process, and call with the same "
            "arguments."
        )


def _told_to_all(message: bytes) -> list[bytes]:
    """What every process says, in their order."""
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
