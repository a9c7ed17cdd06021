"""Seconds and memory that rows of new words from their n-grams take.

    python benchmarks/subword.py [--kept 1000000] [--new 100000] [--width 64]

Makes up words of syllables, so that they share n-grams as words do, and a table of
random rows. Prints the seconds that `remap` takes with "subword" and with "zeros", which
moves the rows alone, and how far the peak of the process's memory rises above what
words and table took before.
"""

import argparse
import resource
import time

import numpy as np
import record

from warmstart_keras import RowMap, remap

CONSONANTS = ["", *"bcdfghjklmnprstvwz", "ch", "st", "tr", "pl", "sh", "th"]
VOWELS = [*"aeiou", "ai", "ou", "ee"]


def made_up_words(number, seed=0):
    """Different words of one to five syllables, which are common and rare ones."""
    random = np.random.default_rng(seed)
    syllables = np.array(
        [a + v + b for a in CONSONANTS for v in VOWELS for b in ("", *"nrslt")]
    )
    share = 1 / np.arange(1, len(syllables) + 1)
    random.shuffle(share)
    words: dict[str, None] = {}
    while len(words) < number:
        lengths = random.integers(1, 6, number)
        drawn = random.choice(syllables, lengths.sum(), p=share / share.sum())
        ends = np.cumsum(lengths).tolist()
        parts = drawn.tolist()
        words |= dict.fromkeys(
            "".join(parts[end - length : end])
            for end, length in zip(ends, lengths.tolist(), strict=True)
        )
    return list(words)[:number]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # MiB on Linux


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kept", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=64)
    record.add_option(parser)
    arguments = parser.parse_args()
    about, methods = record.about_this_run(), {}

    words = made_up_words(arguments.kept + arguments.new)
    row_map = RowMap(["[UNK]", *words[: arguments.kept]], ["[UNK]", *words[::-1]])
    table = np.empty((arguments.kept + 1, arguments.width), np.float32)
    np.random.default_rng(0).standard_normal(out=table, dtype=np.float32)
    print(
        f"{arguments.kept:,} kept words, {arguments.new:,} new ones, width "
        f"{arguments.width}: a table of {table.nbytes / 2**20:.0f} MiB; the longest "
        f"word has {max(map(len, words))} letters, the mean "
        f"{np.mean([*map(len, words)]):.1f}"
    )
    for method in ("zeros", "subword"):
        before, start = peak(), time.perf_counter()
        moved = remap(table, row_map, new_embeddings_initializer=method)
        seconds = time.perf_counter() - start
        print(f"{method:8} {seconds:6.1f} s, peak {before:,.0f} -> {peak():,.0f} MiB")
        methods[method] = {"seconds": seconds, "peak_mib": peak()}
        del moved
    sizes = {name: getattr(arguments, name) for name in ("kept", "new", "width")}
    record.write(arguments.json, about, {**sizes, "methods": methods})


if __name__ == "__main__":
    main()
