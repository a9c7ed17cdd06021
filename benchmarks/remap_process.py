"""One measurement of `remap.py`, in a process of its own: seconds, and bytes."""

import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from remap_cases import CASES

# What a process holds at its peak, as was seen: the matrix and what is added to it, as
# multiples of the matrix, and the words, in two lists and in what is looked up in.
NEEDED = {"ours": 2.6, "tf_keras": 5.6, "TF1 ops": 3.8, "recipe": 12.0}
NEEDED_OF_MODEL = 8.0  # a table and two slots, their values beside them, and two more
BYTES_OF_A_WORD = 300
CALLS = {"same table": 20}  # so fast that the median of so many counts
STATUS = Path("/proc/self/status")


class Measurement(NamedTuple):
    """What is measured: a topic, one of the ways to do it, and a size."""

    topic: str
    way: str
    rows: int
    width: int

    def __str__(self):
        return f"{self.topic}/{self.way}/{self.rows}x{self.width}"

    @classmethod
    def parse(cls, text):
        topic, way, size = text.split("/")
        return cls(topic, way, *map(int, size.split("x")))

    @property
    def bytes_needed(self):
        times = NEEDED.get(self.way, 2.0)
        if self.topic in ("lookup", "nothing changed") and self.way != "recipe":
            times = NEEDED_OF_MODEL
        elif self.topic == "files":
            times = 1.0  # for the system, which keeps what is written at hand
        return self.rows * (self.width * 4 * times + BYTES_OF_A_WORD)


def memory(what, file=STATUS):
    """Bytes that this process holds: `VmRSS`, `RssAnon`, or `VmHWM` at its peak."""
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1]) * 1024
    return None


def memory_from_here():
    """Bytes held now, from where on `VmHWM` counts the peak; None if that cannot be."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return memory("VmRSS")


def give_back_free_memory():
    """What is free inside of the process would hide what the work takes."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
        if trim is not None:
            trim(0)


def touch(size):
    """Has the host of a virtual machine bring memory now, and gives it back.

    The first touch of what the host had not given yet takes up to twenty times as long
    as a copy of it.
    """
    free = memory("MemAvailable", Path("/proc/meminfo"))
    if free is not None:
        np.empty(int(min(size, 0.8 * free)), np.uint8).fill(1)


@contextmanager
def anonymous_memory(watched):
    """Yields a list of what `RssAnon` is now, and every 5 ms if `watched`."""
    seen, over = [memory("RssAnon")], threading.Event()

    def watch():
        while not over.wait(0.005):
            seen.append(memory("RssAnon"))

    thread = threading.Thread(target=watch, daemon=True)
    if watched and seen[0] is not None:
        thread.start()
    try:
        yield seen
        seen.append(memory("RssAnon"))
    finally:
        over.set()


@contextmanager
def few_cores(number):
    """This process has its first cores alone."""
    if number is None:
        yield
        return
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_cores)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)


def measured(one, directory):
    """Seconds, bytes and whether the result is right."""
    case = CASES[one.topic, one.way]
    with few_cores(getattr(case, "cores", None)):
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            case(100, one.width, Path(folder))[0]()
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            work, check = case(one.rows, one.width, Path(folder))
            touch(one.bytes_needed)
            give_back_free_memory()
            before, seconds = memory_from_here(), []
            cpu = time.process_time()
            with anonymous_memory(one.topic == "files") as anonymous:
                for _ in range(CALLS.get(one.way, 1)):
                    start = time.perf_counter()
                    result = work()
                    seconds.append(time.perf_counter() - start)
            cpu = time.process_time() - cpu
            peak = memory("VmHWM")
            watched = one.topic == "files" and before is not None
            return {
                "seconds": statistics.median(seconds),
                "cpu": cpu / len(seconds),  # less than that: the machine was busy
                "extra": None if before is None else peak - before,
                "anonymous": max(anonymous) - anonymous[0] if watched else None,
                "ok": bool(check(result)),
            }


def measure_here(measurements, directory):
    for one in measurements:
        try:
            got = measured(one, directory)
        except Exception as error:
            got = {"ok": False, "failed": f"{type(error).__name__}: {error}"}
        # On a line of its own, whatever was printed.
        print("\n" + json.dumps({"of": str(one), **got}), flush=True)


def measure(command, measurements, directory):
    """The measurements of another process, and what it said if it failed."""
    names = [str(one) for one in measurements]
    done = subprocess.run(
        [sys.executable, command, "--directory", directory, "--one", *names],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"of": ')]
    found = {line.pop("of"): line for line in map(json.loads, lines)}
    said = [line for line in done.stderr.splitlines() if line.strip()]
    lost = {"ok": False, "failed": f"exit code {done.returncode}; {' '.join(said[-1:])}"}
    return [found.get(name, lost) for name in names]
