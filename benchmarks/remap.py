"""How fast and how lean rows are moved, next to every other way there is.

    pip install "warmstart-keras[benchmarks]" tf_keras
    python benchmarks/remap.py [--rows 10000 100000 1000000 10000000] [--widths 64 128]
    python benchmarks/remap.py --only lists rows --rows 100000 --json new.json
    python benchmarks/remap.py --compare old.json new.json    # runs nothing
    python benchmarks/remap.py --quick                        # whether all of it works

Every measurement has a process of its own, in turn: all of the first round, then all of
the second. Imports, inputs and a first call with 100 rows stand outside. Memory is how
far the peak of the process rose above what it held right before. 90 % of the words are
kept, all at another place. Every result is compared with a dictionary looked up word by
word: the command fails if a row is not where it belongs. Prints Markdown tables.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import record
import remap_tables
from remap_process import Measurement, measure, measure_here
from tqdm import tqdm

TOPICS = ["copy", "lists", "rows", "lookup", "nothing changed", "memory", "files"]
INPUTS = ("arrays", "text files", "tensors")  # besides lists: with few words alone
FEW, MANY = 10_000, 1_000_000
FILE_ROWS = 5_000_000
RIVALS = ("tf_keras", "TF1 ops", "recipe")


def planned(topics, rows, widths):
    """All measurements of the first round, in their order."""
    narrow, wide = min(widths), max(widths)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    plan = []
    for number in sorted(rows):
        for width in sorted(widths):
            ways = [("copy", "copy")]
            if "lists" in topics:
                ways += [("lists", way) for way in ("ours", "tf_keras", "TF1 ops")]
                if number <= FEW:
                    ways += [(i, way) for i in INPUTS for way in ("ours", "tf_keras")]
            if "rows" in topics:
                ways += [("rows", way) for way in ("one core", "two cores")[:cores]]
            if width == narrow and number <= MANY:
                if "lookup" in topics:
                    ways += [("lookup", "ours"), ("lookup", "recipe")]
                if "nothing changed" in topics:
                    ways += [("nothing changed", f"same {w}") for w in ("table", "words")]
            plan += [Measurement(*way, number, width) for way in ways]
    if "memory" in topics:
        plan.append(Measurement("lists", "ours", max(rows), narrow))
    if "files" in topics:
        size = min(max(rows), FILE_ROWS), wide
        plan += [Measurement("files", way, *size) for way in ("ours", "copy")]
    needs_copy = {"copy", "lists", "rows", "lookup"} & set(topics)
    return [one for one in dict.fromkeys(plan) if one.topic != "copy" or needs_copy]


def rounds_of(one, rounds):
    return 1 if one.way in RIVALS and one.rows > MANY else rounds


def run(arguments, about):
    """All rounds of all measurements: for each what it found, and why if nothing."""
    plan = planned(arguments.only, arguments.rows, arguments.widths)
    limit = arguments.memory_limit * 1e9
    found = {
        one: {"rounds": [], "note": "does not fit" if one.bytes_needed > limit else ""}
        for one in plan
    }
    turns = [
        (number, one)
        for number in range(arguments.rounds)
        for one in plan
        if number < rounds_of(one, arguments.rounds) and not found[one]["note"]
    ]
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        if arguments.quick:  # in one process: what it says of time means nothing
            together = iter(measure(__file__, [one for _, one in turns], directory))
        for number, one in tqdm(turns, unit="measurement", file=sys.stderr):
            got = (
                next(together)
                if arguments.quick
                else measure(__file__, [one], directory)[0]
            )
            found[one]["rounds"].append(got)
            took = got.get("failed") or f"{got['seconds']:.3g} s"
            tqdm.write(f"round {number + 1}: {one}: {took}", file=sys.stderr)
            record.write(arguments.json, about, remap_tables.records(found))
    return found


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = [10_000, 100_000, 1_000_000, 10_000_000]
    add = parser.add_argument
    add("--rows", type=int, nargs="+", default=sizes)
    add("--widths", type=int, nargs="+", default=[64, 128])
    add("--rounds", type=int, default=3)
    add("--only", nargs="+", choices=TOPICS, default=TOPICS, metavar="CASE")
    add("--quick", action="store_true", help="small sizes, once, in one process")
    record.add_option(parser)
    add("--compare", type=Path, nargs=2, metavar=("OLD.json", "NEW.json"))
    add("--memory-limit", type=float, default=18, metavar="GB")
    add("--directory", help="where the files of a moment go")
    add("--one", type=Measurement.parse, nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.widths, arguments.rounds = [1000], [8], 1
    if min(arguments.rows) < 100 or min(*arguments.widths, arguments.rounds) < 1:
        parser.error("`--rows` must be at least 100, `--widths` and `--rounds` 1")
    return arguments


def main():
    arguments = parsed()
    if arguments.one:
        measure_here(arguments.one, arguments.directory)
        return
    if arguments.compare:
        old, new = (json.loads(path.read_text("utf-8")) for path in arguments.compare)
        print(remap_tables.compared(old, new))
        return
    about = record.about_this_run()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # its files go, too
    found = run(arguments, about)
    lines = remap_tables.records(found)
    print(remap_tables.report(lines, about["machine"], arguments.quick))
    wrong = [
        f"{one}: {got.get('failed', 'rows that are not the right ones')}"
        for one, result in found.items()
        for got in result["rounds"]
        if not got["ok"]
    ]
    if wrong:
        raise SystemExit("\n".join(f"WRONG: {line}" for line in wrong))


if __name__ == "__main__":
    main()
