"""`kill -9` at any moment of a job that saves after each day.

    python benchmarks/kills.py [--kills 50] [--seed 0] [--kind keras] [--in-place]

A job trains 100,000 words a few steps a day, writes into a log what all of its state
comes to, and saves with `save_atomically`; with `--in-place` as Keras saves. It is killed
at random, about every second time while it saves, and the next one starts with
`warm_start(model, previous=path, missing_ok=True)`. It must be in a state that the log
knows, and have lost no day that was saved. Only with `--in-place` the file may be broken
instead: then the error must name it, the model be what it was, and the user removes it.
Whatever else happens is a failure. The seed draws the moments; what they hit depends on
the machine. Jobs are forked from a process that has imported Keras, to save the seconds.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

WORDS, WIDTH, STEPS, BATCH = 100_000, 64, 8, 1024
NAMES = {"keras": "model.keras", "weights": "model.weights.h5"}
SECONDS = 1.5  # of a job that has taken its first step: a few days
DAYS = 50  # after which it ends of itself, should nobody kill it
TOO_LONG = 120  # seconds, after which a job counts as hung
STARTS = ["no file", "whole file", "broken file"]  # all that may happen

# --- the log ---


def write(folder, *fields):
    """Adds a line that a kill leaves whole or not at all, and waits for the disk."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, (" ".join(map(str, fields)) + "\n").encode())
    os.fsync(log)
    os.close(log)


def logged(folder):
    """Lines of the log since a user removed the file."""
    path = folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    removed = max((i for i, line in enumerate(lines) if line == "removed"), default=-1)
    return [line.split() for line in lines[removed + 1 :]]


def may_be_there(lines):
    """Days by digest: the one that was saved last, and those whose saving began since."""
    saved = [i for i, (what, *_) in enumerate(lines) if what == "saved"]
    return {digest: int(day) for _, day, digest in lines[saved[-1] if saved else 0 :]}


def was_saving(lines):
    return bool(lines) and lines[-1][0] == "saving"


# --- the job ---


def digest(model):
    """What all weights and all of the optimizer's variables come to."""
    import numpy as np

    total = hashlib.sha256()
    for variable in [*model.weights, *model.optimizer.variables]:
        value = np.ascontiguousarray(variable.numpy())
        total.update(f"{value.shape} {value.dtype}".encode())
        total.update(value)
    return total.hexdigest()


def build(size=WORDS):
    import keras

    from warmstart_keras import WarmStartEmbedding

    words = ["[UNK]", *(f"word{i}" for i in range(size))]
    model = keras.Sequential(
        [
            keras.Input((8,), dtype="int32"),
            WarmStartEmbedding(output_dim=WIDTH, vocabulary=words, name="words"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1, name="head"),
        ]
    )
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def start(model, folder, path):
    """How the job starts, the day from which it goes on, and the error."""
    from warmstart_keras import WarmStartError, warm_start

    was_there, before, lines = path.exists(), digest(model), logged(folder)
    try:
        warm_start(model, previous=path, missing_ok=True, verbose=0)
    except WarmStartError as error:
        same = digest(model) == before
        return "broken file" if same else "refused, yet changed", 0, str(error)
    days, now = may_be_there(lines), digest(model)
    if not was_there:
        saved = any(what == "saved" for what, *_ in lines)
        return "LOST FILE" if saved or now != before else "no file", 0, ""
    if now in days:
        return "whole file", days[now], ""
    known = any(now == digest for _, _, digest in lines)
    return "LOST DAY" if known else "HALF FILE", 0, ""


def save(model, path, in_place):
    from warmstart_keras import save_atomically

    if not in_place:
        save_atomically(model, path)
    elif path.suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path, overwrite=True)


def train(model, day, steps):
    import numpy as np

    rng = np.random.default_rng(day)
    for _ in range(steps):
        ids = rng.integers(0, WORDS + 1, (BATCH, 8), "int32")
        model.train_on_batch(ids, rng.standard_normal((BATCH, 1), "float32"))


def job(folder, kind, in_place):
    """Starts, says how, and trains and saves day after day."""
    model, path = build(), folder / NAMES[kind]
    how, last, message = start(model, folder, path)
    well = how in ("no file", "whole file")
    if well:
        train(model, 0, 1)  # is compiled: long seconds in which no file is touched
    print(json.dumps([how, last, message]), flush=True)
    for day in range(last + 1, last + 1 + DAYS if well else 0):
        train(model, day, STEPS)
        now = digest(model)
        write(folder, "saving", day, now)
        save(model, path, in_place)
        write(folder, "saved", day, now)


def serve(*arguments):
    """Forks a job for each line of the standard input."""
    import tensorflow  # noqa: F401 what takes its time is imported before

    import warmstart_keras  # noqa: F401

    for _ in sys.stdin:
        process = os.fork()
        if process == 0:
            signal.alarm(TOO_LONG)
            print(json.dumps(["process", os.getpid()]), flush=True)
            try:
                job(*arguments)
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
                print(json.dumps(["OTHER ERROR", 0, text]), flush=True)
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        print(json.dumps(["ended"]), flush=True)


# --- the kills ---


class Jobs:
    """Jobs in a folder, one after the other."""

    def __init__(self, folder, kind, in_place):
        options = ["--kind", kind, *(["--in-place"] if in_place else [])]
        temporary = folder / "temporary"  # Keras leaves something there when it is killed
        temporary.mkdir()
        environment = {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
        self.process = None
        self.server = subprocess.Popen(
            [sys.executable, __file__, "--serve", folder, *options],
            env=environment | {"TMPDIR": str(temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _heard(self):
        line = self.server.stdout.readline()
        if not line:
            raise RuntimeError("the process that starts the jobs has ended")
        return json.loads(line)

    def start(self):
        """Starts a job; how it starts, and the error."""
        self.server.stdin.write("\n")
        self.server.stdin.flush()
        _, self.process = self._heard()
        said = self._heard()
        if said == ["ended"]:
            self.process = None
            return "NO ANSWER", 0, ""
        return said

    def kill(self):
        """Kills the job; what it said before, which should be nothing."""
        with contextlib.suppress(ProcessLookupError):  # it has ended of itself
            os.kill(self.process, signal.SIGKILL)
        return self.wait()

    def wait(self):
        said = []
        while (line := self._heard()) != ["ended"]:
            said.append(line)
        self.process = None
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process is not None:
            self.kill()
        self.server.kill()
        self.server.communicate()


def kills(folder, kills, seed, kind="keras", in_place=False, progress=iter):
    """Counts of how jobs started, of kills while saving, and the failures."""
    rng, counts, failures = random.Random(seed), Counter(), []
    path = folder / NAMES[kind]
    mine = {path.name, f".partial-{path.name}", "log", "temporary"}

    def started(jobs):
        how, _, message = jobs.start()
        counts[how] += 1
        fault = how not in STARTS
        if how == "broken file":
            fault = not in_place or str(path) not in message
        if fault:
            failures.append(f"{how}: {message}")
        return how

    def started_well(jobs):
        """Starts a job; if it cannot start, the user removes the file, and again."""
        if started(jobs) in ("no file", "whole file"):
            return True
        if jobs.process is not None:
            jobs.wait()
        path.unlink(missing_ok=True)
        write(folder, "removed")
        return started(jobs) == "no file"

    with Jobs(folder, kind, in_place) as jobs:
        for _ in progress(range(kills)):
            if not started_well(jobs):
                break
            time.sleep(rng.uniform(0, SECONDS))
            failures += [f"{what}: {message}" for what, _, message in jobs.kill()]
            counts["while saving"] += was_saving(logged(folder))
        started_well(jobs)
    others = {file.name for file in folder.iterdir()} - mine
    if others:
        failures.append(f"files were left: {sorted(others)}")
    return counts, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=[*NAMES], default="keras")
    parser.add_argument("--in-place", action="store_true", help="as Keras saves")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write results")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve, arguments.kind, arguments.in_place)
    try:
        from tqdm import tqdm as progress
    except ImportError:
        progress = iter
    import record  # not above: tests import this file, and do not find its neighbors

    about, begin = record.about_this_run("jax"), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counts, failures = kills(
            Path(folder),
            arguments.kills,
            arguments.seed,
            arguments.kind,
            arguments.in_place,
            progress,
        )
    for failure in failures:
        print(f"FAILURE: {failure}")
    print(
        f"{NAMES[arguments.kind]}, {'in place' if arguments.in_place else 'atomically'}: "
        f"{arguments.kills} kills, {counts['while saving']} while saving; next starts: "
        + ", ".join(f"{counts[how]} {how}" for how in STARTS)
        + f"; {len(failures)} failures; {time.perf_counter() - begin:.0f} seconds"
    )
    results = {
        "file": NAMES[arguments.kind],
        "in_place": arguments.in_place,
        "kills": arguments.kills,
        "while_saving": counts["while saving"],
        "starts": {how: counts[how] for how in STARTS},
        "failures": failures,
        "seconds": time.perf_counter() - begin,
    }
    record.write(arguments.json, about, results)
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
