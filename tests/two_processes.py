"""One of several processes that train a model together; run by `test_processes.py`.

python tests/two_processes.py FOLDER PORT NUMBER PROCESS SCENARIOS

SCENARIOS is a document of JSON: of each layout the names of its scenarios.
"""

import json
import os
import pathlib
import sys

folder, port, number, process, scenarios = sys.argv[1:]
number, process = int(number), int(process)
os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={4 // number}"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras

if number > 1:
    keras.distribution.initialize(f"127.0.0.1:{port}", number, process)

import jax
import numpy as np
from jax.experimental import multihost_utils
from keras.distribution import (
    DataParallel,
    DeviceMesh,
    LayoutMap,
    ModelParallel,
    TensorLayout,
)

from warmstart_keras import (
    ContextRows,
    PretrainedRows,
    VocabularyWarmStart,
    WarmStartEmbedding,
    warm_start,
)
from warmstart_keras.model import VocabularyAxis

WIDTH = 4
BASE = [f"w{i}" for i in range(16)]
GROWN = ["x", *BASE[3:12], "y", *BASE[:3], "z", "u", "v", "t", "s", "w15"]
SHUFFLED = [*BASE[:10], "b", "a", *BASE[12:][::-1]]
AGAIN = [*SHUFFLED, "z", "x", "o", "p"]
CUTS = {"rows": ("model", None), "width": (None, "model")}


def distribution(layout):
    devices = keras.distribution.list_devices()
    if layout == "data":
        return DataParallel(devices=devices, auto_shard_dataset=False)
    # Along "model" the mesh goes over both processes: each holds a half of the table.
    mesh = DeviceMesh((1, 4), ("batch", "model"), devices)
    layout_map = LayoutMap(mesh)
    layout_map[".*words/embeddings"] = TensorLayout(CUTS[layout], mesh)
    return ModelParallel(
        layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False
    )


def build(source):
    ids = keras.Input((3,), dtype="int32")
    words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=source, name="words")
    hidden = keras.layers.Flatten()(words(ids))
    outputs = keras.layers.Dense(1, name="head")(hidden)
    model = keras.Model(ids, outputs)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def fit(model, rows, seed, callbacks=()):
    layout = keras.distribution.distribution()
    rng = np.random.default_rng(seed)
    x = rng.integers(0, rows, (5, 8, 3)).astype("int32")
    y = rng.normal(size=(5, 8, 1)).astype("float32")
    size = 8
    if isinstance(layout, DataParallel):  # of each batch every process is given its part
        size //= number
        x, y = (a[:, process * size : (process + 1) * size] for a in (x, y))
    x, y = x.reshape(-1, 3), y.reshape(-1, 1)
    return model.fit(
        x, y, batch_size=size, shuffle=False, verbose=0, callbacks=list(callbacks)
    ).history["loss"]


def whole(variable):
    """A variable's value, gathered from all processes: for comparison alone."""
    value = variable.value
    if value.is_fully_addressable or value.is_fully_replicated:
        return np.asarray(value)
    return np.asarray(multihost_utils.process_allgather(value, tiled=True))


def tables(model):
    return [
        variable
        for variable in [*model.weights, *model.optimizer.variables]
        if len(variable.shape) == 2 and variable.shape[1] == WIDTH
    ]


def assert_moved(before, model, base, new):
    """Every kept row of every shard that this process holds is what it was."""
    for old, variable in zip(before, tables(model), strict=True):
        expected = whole(variable).copy()
        assert expected.shape == (len(new), WIDTH)
        for row, token in enumerate(new):
            if token in base:
                expected[row] = old[base.index(token)]
        for shard in variable.value.addressable_shards:
            found = np.asarray(shard.data)
            assert found.tobytes() == expected[shard.index].tobytes(), variable.path


def train():
    """Two rebuilds, one in `fit` and one before; what each process sees."""
    words = keras.layers.StringLookup(vocabulary=BASE, num_oov_indices=0)
    model = build(words)
    losses = fit(model, len(BASE), seed=1)
    before = [whole(v) for v in tables(model)]
    shardings = [v.value.sharding for v in tables(model)]
    words.set_vocabulary(GROWN)
    callback = VocabularyWarmStart(seed=3)
    moved = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: assert_moved(before, model, BASE, GROWN)
    )
    losses += fit(model, len(GROWN), 2, [callback, moved])
    before = [whole(v) for v in tables(model)]
    words.set_vocabulary(AGAIN)
    (sample,) = warm_start(model, seed=3, verbose=0).samples
    is_cut = number > 1 and layout != "data"  # no process holds all rows
    assert (sample.values is None) == isinstance(sample.since(), str) == is_cut
    assert_moved(before, model, GROWN, AGAIN)
    for sharding, variable in zip(shardings, tables(model), strict=True):
        assert variable.value.sharding.is_equivalent_to(sharding, 2)
    losses += fit(model, len(GROWN), 3)
    table = whole(model.get_layer("words").embeddings)
    return {"losses": losses, "table": table.tolist()}


def methods():
    """New rows by each method that looks at the old ones, the same in every process."""
    vectors = {word: [1.0, hash_ / 7, hash_ % 3] for hash_, word in enumerate(GROWN)}
    texts = [" ".join(GROWN[i : i + 5]) for i in range(16)]
    vectorizer = keras.layers.TextVectorization(vocabulary=GROWN)
    tables = []
    for method in (
        "mean",
        "gaussian",
        "oov",
        "subword",
        ContextRows(texts, vectorizer, verbose=0),
        PretrainedRows(vectors),
    ):
        base, new = (["[UNK]", *words[:-1]] for words in (BASE, GROWN))
        model = build(base)
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(size=v.shape) for v in model.weights])
        warm_start(model, new, new_embeddings_initializer=method, verbose=0)
        tables.append(whole(model.get_layer("words").embeddings).tolist())
    return {"message": "", "losses": [], "tables": tables}


def broken_vectors():
    """Vectors that cannot be read in one process alone."""
    vectors = {word: [1.0, 2.0] for word in SHUFFLED}
    if process == 0:
        vectors["w0"] = [1.0]
    return refused(SHUFFLED, new_embeddings_initializer=PretrainedRows(vectors))


def refused(source, **options):
    """The message of a refused warm start, after which all is as it was."""
    model = build(BASE)
    fit(model, len(BASE), seed=1)
    before = [whole(v) for v in tables(model)]
    try:
        warm_start(model, source, verbose=0, **options)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    for old, variable in zip(before, tables(model), strict=True):
        assert old.tobytes() == whole(variable).tobytes()
    return {"message": message, "losses": fit(model, len(BASE), seed=2)}


def differ():
    """Vocabularies that are the same but for the order of two words."""
    new = SHUFFLED.copy()
    if process == 1:
        new[3], new[4] = new[4], new[3]
    return refused(new)


def fail():
    """One process alone is given a vocabulary without a word of the base."""
    return refused(SHUFFLED if process == 0 else [f"n{i}" for i in range(16)])


def ask():
    """Rows by a callable, which would need the whole table."""
    return refused(
        SHUFFLED,
        new_embeddings_initializer=lambda tokens, base: base.matrix[: len(tokens)],
    )


def initializers():
    """A row-wise initializer of another value in each process."""
    start = keras.initializers.Constant(float(process))
    return refused(SHUFFLED, new_embeddings_initializer=start)


def broken_initializer():
    """A row-wise initializer that fails in one process."""
    start = keras.initializers.RandomNormal(stddev="x" if process == 0 else 1.0)
    return refused(SHUFFLED, new_embeddings_initializer=start)


def late():
    """One process alone fails when all rows have moved, resized or not."""
    results = []
    for new in (SHUFFLED, GROWN):
        record = VocabularyAxis.record

        def fail(*args, record=record):
            if process == 0:
                raise ValueError("no more disk")
            record(*args)

        VocabularyAxis.record = fail
        try:
            results.append(refused(new))
        finally:
            VocabularyAxis.record = record
    return results[0] | {"message": " and ".join(r["message"] for r in results)}


def alone():
    """A model of one process alone needs no other process."""
    layout = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    model = build(BASE)
    if process == 0:
        warm_start(model, GROWN, verbose=0)
    keras.distribution.set_distribution(layout)
    return {"message": "", "losses": []}


def random_rows():
    """Rows by a callable that gives other values in each process."""
    rng = np.random.default_rng(process)
    return refused(
        SHUFFLED,
        new_embeddings_initializer=lambda tokens, base: rng.normal(
            size=(len(tokens), WIDTH)
        ),
    )


def from_file():
    """A new model that starts from the file of a process alone."""
    run = np.load(pathlib.Path(folder, "run.npz"))
    model = build(GROWN)
    warm_start(model, previous=pathlib.Path(folder, "run.keras"), verbose=0)
    assert_moved([run[name] for name in run], model, BASE, GROWN)
    return {"message": "", "losses": fit(model, len(GROWN), seed=2)}


def no_file():
    """A file that is not there in one process."""
    name = "run.keras" if process == 0 else "nothing.keras"
    return refused(SHUFFLED, previous=pathlib.Path(folder, name))


def other_file():
    """A file of another day in one process, of the same words."""
    name = "run.keras" if process == 0 else "other.keras"
    return refused(SHUFFLED, previous=pathlib.Path(folder, name))


results = {}
for layout, names in json.loads(scenarios).items():
    keras.utils.set_random_seed(7)  # before Keras agrees on one with the other process
    keras.distribution.set_distribution(distribution(layout))
    results[layout] = {name: globals()[name]() for name in names}
pathlib.Path(folder, f"{process}.json").write_text(json.dumps(results))
if number > 1:
    jax.distributed.shutdown()
