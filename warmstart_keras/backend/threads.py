"""Threads for large pieces of work in NumPy, which releases the lock of Python."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

ENOUGH = 2**25  # bytes; threads are used for more
_MOST = 8  # threads


@contextmanager
def workers(size: int, threads: int | None = None) -> Iterator[Callable]:
    """Yields a `map` for pieces of work.

    If `threads` is None, the number of threads depends on `size` (in bytes).
    """
    if threads is None:
        threads = min(cores(), _MOST) if size > ENOUGH else 1
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as pool:
        yield pool.map


def cores() -> int:
    """Returns how many processor cores this process can use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
