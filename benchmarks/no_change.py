"""What `VocabularyWarmStart` costs `fit` when no vocabulary was rebuilt.

    python benchmarks/no_change.py [--tokens 100000] [--rounds 50]

Prints the milliseconds that the callback itself takes at the start of training (the first
call of all, median and worst of the rounds), and `fit` with and without it, in turn.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import record

from warmstart_keras import VocabularyWarmStart, WarmStartEmbedding


def milliseconds(function):
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=50)
    record.add_option(parser)
    arguments = parser.parse_args()
    about = record.about_this_run()

    lookup = keras.layers.StringLookup(
        vocabulary=[f"word{i}" for i in range(arguments.tokens)]
    )
    words = WarmStartEmbedding(output_dim=8, vocabulary=lookup)
    model = keras.Sequential([words, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    ids, labels = np.zeros((8, 4), "int64"), np.zeros((8, 1), "float32")
    model.fit(ids, labels, verbose=0)

    def begin():
        callback = VocabularyWarmStart()  # a new one each day
        callback.set_model(model)
        callback.set_params({"verbose": 0})
        callback.on_train_begin()
        callback.on_epoch_begin(0)

    first = milliseconds(begin)
    alone = [milliseconds(begin) for _ in range(arguments.rounds)]
    fits = {"without": [], "with": []}
    for _ in range(arguments.rounds):
        for name, callbacks in (("without", []), ("with", [VocabularyWarmStart()])):
            fits[name].append(
                milliseconds(
                    lambda callbacks=callbacks: model.fit(
                        ids, labels, verbose=0, callbacks=callbacks
                    )
                )
            )
    print(f"{arguments.tokens:,} tokens, {arguments.rounds} rounds")
    print(f"callback, first call      {first:8.3f} ms")
    print(f"callback, median          {statistics.median(alone):8.3f} ms")
    print(f"callback, worst           {max(alone):8.3f} ms")
    for name, times in fits.items():
        print(f"fit {name + ' it, median':<20}  {statistics.median(times):8.3f} ms")
    results = {
        "tokens": arguments.tokens,
        "rounds": arguments.rounds,
        "first_ms": first,
        "median_ms": statistics.median(alone),
        "worst_ms": max(alone),
        "fit_ms": {name: statistics.median(times) for name, times in fits.items()},
    }
    record.write(arguments.json, about, results)


if __name__ == "__main__":
    main()
