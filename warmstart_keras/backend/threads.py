"""Threads, where there is enough for them to do: NumPy works without Python's lock."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

_ENOUGH = 2**25  # bytes
_MOST = 8


@contextmanager
def workers(size: int) -> Iterator[Callable]:
    """A `map` for pieces of work on so many bytes; by threads if they are many."""
    if size <= _ENOUGH or cores() == 1:
        yield map
        return
    with ThreadPoolExecutor(min(cores(), _MOST)) as pool:
        yield pool.map


def cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
