"""Peak memory of each process while a table that both hold a half of is warm-started.

    python benchmarks/sharded_memory.py [--rows 1000000] [--width 64]

Two JAX processes with two devices each train a model whose table is sharded by rows over
all four (`keras.distribution.ModelParallel`), with Adam. Printed for each process, in
MiB: what it holds of the table and its two slots, and by how much its resident memory
rose above that while the rows moved. 90 % of the words stay, all at another place.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import record

MIB = 2**20


def resident(what):
    """Resident memory of this process in MiB: `VmRSS` now, `VmHWM` at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {what}")


def work(process, port, rows, width, capacity):
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    keras.utils.set_random_seed(1)
    keras.distribution.initialize(f"127.0.0.1:{port}", 2, process)
    import numpy as np
    from keras.distribution import DeviceMesh, LayoutMap, ModelParallel, TensorLayout

    from warmstart_keras import Vocabulary, WarmStartEmbedding, plan_warm_start

    mesh = DeviceMesh((1, 4), ("batch", "model"), keras.distribution.list_devices())
    layout_map = LayoutMap(mesh)
    layout_map[".*words/embeddings"] = TensorLayout(("model", None), mesh)
    keras.distribution.set_distribution(
        ModelParallel(
            layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False
        )
    )
    new_rows = rows if capacity else rows + rows // 10 // 4 * 4
    base = Vocabulary(list(range(rows)))
    kept = np.arange(rows // 10, rows)
    np.random.default_rng(0).shuffle(kept)
    new = Vocabulary([*range(rows, new_rows + rows // 10), *kept.tolist()])
    ids = keras.Input((4,), dtype="int32")
    words = WarmStartEmbedding(output_dim=width, vocabulary=base, name="words")
    model = keras.Model(ids, keras.layers.Dense(1)(keras.layers.Flatten()(words(ids))))
    model.compile("adam", "mse")
    x = np.arange(32).reshape(8, 4)
    model.fit(x, np.zeros((8, 1)), batch_size=8, verbose=0)
    plan = plan_warm_start(model, {"words": new}, verbose=0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = resident("VmRSS")
    seconds = plan.apply().seconds
    peak = resident("VmHWM")
    share = 3 * rows * width * 4 / 2 / MIB
    sizes = {"share_mib": share, "before_mib": before, "peak_mib": peak - before}
    print(json.dumps({"process": process, **sizes, "seconds": seconds}))


def printed(process, share_mib, before_mib, peak_mib, seconds):
    table = share_mib / 3
    print(
        f"process {process}: holds {share_mib:,.0f} MiB of table and slots ({table:,.0f} "
        f"each); {before_mib:,.0f} resident before, +{peak_mib:,.0f} at the peak, "
        f"{peak_mib / table:.1f} of a table's share; {seconds:.1f} s",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--capacity", action="store_true", help=argparse.SUPPRESS)
    record.add_option(parser)
    args = parser.parse_args()
    if args.process is not None:
        work(args.process, args.port, args.rows, args.width, args.capacity)
        return
    about, cases = record.about_this_run("jax"), {}
    for capacity in (True, False):
        case = "the number of rows stays" if capacity else "a tenth more rows"
        print(f"{case}:")
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        command = [sys.executable, *sys.argv, f"--port={port}"]
        command += ["--capacity"] if capacity else []
        processes = [
            subprocess.Popen(
                [*command, f"--process={i}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for i in range(2)
        ]
        outputs = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise SystemExit("a process failed")
        cases[case] = [json.loads(output.splitlines()[-1]) for output in outputs]
        for measured in cases[case]:
            printed(**measured)
    results = {"rows": args.rows, "width": args.width, "cases": cases}
    record.write(args.json, about, results)


if __name__ == "__main__":
    main()
