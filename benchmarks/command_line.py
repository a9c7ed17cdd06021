"""How long the command line takes on a saved model of many tokens.

    python benchmarks/command_line.py [--tokens 1000000] [--width 64] [--rounds 3]

Makes a model of a `WarmStartEmbedding` and Adam's two slots in a temporary folder, and a
file of tokens of which nine in ten are the model's, all in other rows. Prints for each
command the seconds of each round, the seconds that it used the processors, and the most
memory that it held. All begin with what `--help` takes: importing Keras and TensorFlow.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import record


def make(folder, tokens, width):
    """Saves the model, as an archive and as weights, and the file of tokens."""
    # Here alone: what this process holds would be counted as the commands' too.
    import keras
    import numpy as np

    from warmstart_keras import WarmStartEmbedding

    words = [f"word{i}" for i in range(tokens)]
    ids = keras.Input((4,), dtype="int32")
    table = WarmStartEmbedding(output_dim=width, vocabulary=words, name="words")
    hidden = keras.layers.GlobalAveragePooling1D()(table(ids))
    model = keras.Model(ids, keras.layers.Dense(1)(hidden))
    model.compile("adam", "mse")
    model.fit(np.zeros((8, 4), "int32"), np.zeros((8, 1)), verbose=0)
    model.save(folder / "old.keras")
    model.save_weights(folder / "old.weights.h5")
    kept = words[tokens // 10 :]
    np.random.default_rng(0).shuffle(kept)
    new = [f"new{i}" for i in range(tokens // 10)] + kept
    (folder / "new.txt").write_text("".join(f"{word}\n" for word in new), "utf-8")


def measured(*arguments, folder, status=0):
    """Seconds of a command in a process of its own, of the processors, and MiB."""
    command = [sys.executable, "-m", "warmstart_keras", *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, ended, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(ended)
    if process.returncode != status:
        sys.exit(f"{command} ended with {process.returncode}")
    seconds = time.perf_counter() - start
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    record.add_option(parser)
    arguments = parser.parse_args()
    about, commands = record.about_this_run(), {}
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    remap = ("remap", "old.keras", "--vocabulary", "new.txt", "-o", "new.keras")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: its memory is not to be counted.
        made = f"import command_line as c; c.make(c.Path({name!r}), "
        made += f"{arguments.tokens}, {arguments.width})"
        here = Path(__file__).resolve().parent
        subprocess.run([sys.executable, "-c", made], cwd=here, check=True)
        size = (folder / "old.keras").stat().st_size / 1e6
        shape = f"{arguments.tokens:,} x {arguments.width}"
        print(f"{shape}, {arguments.rounds} rounds; old.keras has {size:,.0f} MB\n")
        print("| command | seconds, median | each | of processors | MiB, at most |")
        print("|---|---:|---|---:|---:|", flush=True)
        for command, status in (
            (("--help",), 0),
            (("inspect", "old.keras"), 0),
            (("inspect", "old.weights.h5"), 0),
            (("diff", "old.keras", "new.txt"), 1),
            (remap, 0),
            (("diff", "old.keras", "new.keras"), 1),
        ):
            rounds = [
                measured(*command, folder=folder, status=status)
                for _ in range(arguments.rounds)
            ]
            times, used, sizes = zip(*rounds, strict=True)
            each = ", ".join(f"{seconds:.1f}" for seconds in times)
            medians = [f"{statistics.median(each):.1f}" for each in (times, used)]
            said = f"{medians[0]} | {each} | {medians[1]} | {max(sizes):,.0f}"
            print(f"| `{' '.join(command)}` | {said} |", flush=True)
            commands[" ".join(command)] = {
                "seconds": times,
                "processor_seconds": used,
                "mib": max(sizes),
            }
    results = {
        "tokens": arguments.tokens,
        "width": arguments.width,
        "rounds": arguments.rounds,
        "old_mb": size,
        "commands": commands,
    }
    record.write(arguments.json, about, results)


if __name__ == "__main__":
    main()
