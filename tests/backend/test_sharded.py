"""Under `keras.distribution` on JAX rows move where they live, shard by shard."""

import keras
import numpy as np
import pytest
from faults import let_fail
from models import BACKEND, WIDTH, array, rows_by_token, variables

from warmstart_keras import (
    ContextRows,
    PretrainedRows,
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    plan_warm_start,
    warm_start,
)

if BACKEND != "jax":
    pytest.skip("keras.distribution works on JAX alone", allow_module_level=True)

import jax
from keras.distribution import DataParallel, DeviceMesh, LayoutMap, ModelParallel

from warmstart_keras.backend import sharded
from warmstart_keras.new_rows.start import PART

pytestmark = pytest.mark.devices

BASE = list("abcdefghijklmnop")
REBUILDS = {
    "same size": list("jdTapoUVhgfecbXi"),
    "grown": list("SpocTabdjihgfenmXYZl"),
    "shrunk": list("jdTapobc"),
}
AXES = ("batch", "model")
# The shape of the mesh of four devices, and how the table is cut over it.
LAYOUTS = {
    "rows": ((2, 2), ("model", None)),
    "rows in four": ((1, 4), ("model", None)),
    "width": ((2, 2), (None, "model")),
    "rows and width": ((2, 2), ("batch", "model")),
    "replicated": ((2, 2), (None, None)),
}


def devices():
    return keras.distribution.list_devices()[:4]


def distribution(layout):
    if layout == "data parallel":
        return DataParallel(devices=devices())
    shape, cut = LAYOUTS[layout]
    mesh = DeviceMesh(shape=shape, axis_names=AXES, devices=devices())
    layout_map = LayoutMap(mesh)
    layout_map[".*words/embeddings"] = keras.distribution.TensorLayout(cut, mesh)
    return ModelParallel(layout_map=layout_map, batch_dim_name="batch")


@pytest.fixture(params=[*LAYOUTS, "data parallel"])
def distributed(request):
    with distribution(request.param).scope():
        yield request.param


@pytest.fixture
def rows_sharded():
    with distribution("rows").scope():
        yield


def build(vocabulary, make=None, **how):
    ids = keras.Input((3,), dtype="int32")
    words = WarmStartEmbedding(
        output_dim=WIDTH, vocabulary=vocabulary, name="words", **how
    )
    hidden = keras.layers.Flatten()(words(ids))
    model = keras.Model(ids, keras.layers.Dense(1, name="head")(hidden))
    make = make or (lambda: keras.optimizers.Adam(0.01))
    model.compile(make(), "mse")
    return model


def data(rows, seed, steps=4):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, rows, (steps * 4, 3)).astype("int32")
    return x, rng.normal(size=(steps * 4, 1)).astype("float32")


def fit(model, rows, seed, **how):
    x, y = data(rows, seed)
    return model.fit(x, y, batch_size=4, shuffle=False, verbose=0, **how)


def values(model):
    return [array(v) for v in variables(model)]


def shardings(model):
    return [v.value.sharding for v in variables(model)]


def trained(make=None, base=BASE, **how):
    model = build(base, make, **how)
    fit(model, len(base), seed=1)
    return model


def assert_moved(before, model, new, base=BASE):
    """All shards hold the rows they should, whatever the layout; replicas agree."""
    for old, variable in zip(before, variables(model), strict=True):
        expected = array(variable)
        if old.shape == (len(base), WIDTH):
            expected = rows_by_token(old, base, new, otherwise=expected)
        for shard in variable.value.addressable_shards:
            got = np.asarray(shard.data)
            assert got.tobytes() == expected[shard.index].tobytes(), variable.path


@pytest.mark.parametrize("rebuild", REBUILDS)
def test_every_shard_holds_the_rows_of_its_tokens(distributed, rebuild):
    new = REBUILDS[rebuild]
    model = trained()
    before, layouts = values(model), shardings(model)
    warm_start(model, new, verbose=0)
    assert_moved(before, model, new)
    for old, now, variable in zip(
        layouts, shardings(model), variables(model), strict=True
    ):
        assert now.is_equivalent_to(old, len(variable.shape)), variable.path
    assert model.get_layer("words").embeddings.shape == (len(new), WIDTH)


@pytest.mark.parametrize("rebuild", ["same size", "grown"])
def test_training_goes_on_as_that_of_a_control(distributed, rebuild):
    new = REBUILDS[rebuild]
    model = trained()
    warm_start(model, new, verbose=0)
    control = build(new)
    control.optimizer.build(control.trainable_variables)
    for ours, theirs in zip(variables(control), variables(model), strict=True):
        ours.assign(array(theirs))
    losses = [fit(m, len(new), seed=2).history["loss"] for m in (model, control)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for ours, theirs in zip(values(model), values(control), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_fit_with_the_callback_is_as_without_distribution():
    losses = []
    for layout in ("rows", None):
        keras.utils.set_random_seed(5)
        words = keras.layers.StringLookup(vocabulary=BASE, num_oov_indices=0)

        def run(words=words):
            model = build(words)
            fit(model, 16, seed=1)
            words.set_vocabulary(REBUILDS["grown"])
            callback = VocabularyWarmStart(seed=3)
            return fit(model, 20, seed=2, callbacks=[callback]).history["loss"]

        if layout is None:
            losses.append(run())
        else:
            with distribution(layout).scope():
                losses.append(run())
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.usefixtures("rows_sharded")
@pytest.mark.parametrize("number", [8, PART + 8])
def test_new_rows_do_not_depend_on_how_a_table_is_sharded(number):
    new = [f"n{i}" for i in range(number)] + BASE[:8]
    tables = []
    for layout in ("rows", "width", None):
        keras.distribution.set_distribution(layout and distribution(layout))
        model = build(BASE)
        warm_start(model, new, seed=3, verbose=0)
        tables.append(array(model.get_layer("words").embeddings)[:number])
    assert tables[0].tobytes() == tables[1].tobytes() == tables[2].tobytes()
    assert len(np.unique(tables[0], axis=0)) == number


@pytest.mark.parametrize(
    ("layout", "method"),
    [
        ("rows", "mean"),
        ("rows", "gaussian"),
        ("rows", "oov"),
        ("rows", "subword"),
        ("rows", "context"),
        ("rows", "pretrained"),
        ("width", "mean"),
        ("width", "oov"),
        ("width", "pretrained"),
        ("replicated", "subword"),
    ],
)
def test_rows_from_old_rows_do_not_depend_on_how_a_table_is_sharded(layout, method):
    base = ["", "[UNK]", *(f"w{i}" for i in range(14))]
    new = ["", "[UNK]", *(f"w{i}" for i in range(20, 3, -1)), "x"]
    made = method
    if method == "context":
        vectorizer = keras.layers.TextVectorization(vocabulary=new[2:])
        texts = [" ".join(new[i : i + 6]) for i in range(16)]
        made = ContextRows(texts, vectorizer, verbose=0)
    if method == "pretrained":
        made = PretrainedRows({w: [1, i / 9, i % 4] for i, w in enumerate(new)})

    tables = []
    for one in (layout, None):
        keras.distribution.set_distribution(one and distribution(one))
        model = build(base)
        weights = np.random.default_rng(0)
        model.set_weights([weights.normal(size=v.shape) for v in model.weights])
        warm_start(model, new, new_embeddings_initializer=made, verbose=0)
        tables.append(array(model.get_layer("words").embeddings))
    keras.distribution.set_distribution(None)
    np.testing.assert_allclose(*tables, rtol=1e-5, atol=1e-6)
    kept = [row for row, token in enumerate(new) if token in base]
    assert tables[0][kept].tobytes() == tables[1][kept].tobytes()


@pytest.mark.usefixtures("rows_sharded")
@pytest.mark.parametrize("rebuild", REBUILDS)
def test_averages_of_weights_of_new_words_start_at_their_rows(rebuild):
    model = trained(lambda: keras.optimizers.SGD(use_ema=True, momentum=0.9))
    before = values(model)
    new = REBUILDS[rebuild]
    warm_start(model, new, verbose=0)
    assert_moved(before, model, new)
    table = array(model.get_layer("words").embeddings)
    (average,) = [
        array(v)
        for v in model.optimizer.variables
        if "words" in v.path and v.path.endswith("average")
    ]
    fresh = [row for row, token in enumerate(new) if token not in BASE]
    assert len(fresh)
    np.testing.assert_array_equal(average[fresh], table[fresh])


@pytest.mark.usefixtures("rows_sharded")
def test_oov_rows_that_mean_something_else_start_from_the_mean():
    def lookup(words, oov):
        return keras.layers.StringLookup(vocabulary=words, num_oov_indices=oov)

    words = lookup(BASE[:14], 2)
    model = trained(base=words.get_vocabulary())
    before = array(model.get_layer("words").embeddings)
    warm_start(model, {"words": words}, verbose=0)
    warm_start(model, {"words": lookup(BASE[:13], 3)}, verbose=0)
    after = array(model.get_layer("words").embeddings)
    mean = before[:2].mean(axis=0, dtype="float64").astype("float32")
    np.testing.assert_array_equal(after[:3], [mean] * 3)
    np.testing.assert_array_equal(after[3:], before[2:15])


@pytest.mark.usefixtures("rows_sharded")
@pytest.mark.parametrize("rebuild", REBUILDS)
def test_an_interrupt_leaves_every_shard_as_it_was(rebuild):
    model = trained()
    before = values(model)
    let_fail(plan_warm_start(model, REBUILDS[rebuild]).apply)
    for old, variable in zip(before, variables(model), strict=True):
        assert array(variable).tobytes() == old.tobytes(), variable.path


@pytest.mark.usefixtures("rows_sharded")
def test_rows_that_cannot_be_cut_into_equal_shards_are_refused_with_the_cure():
    model = trained()
    before = values(model)
    message = r"sharded into 2 parts.*Received: 17 rows.*`input_dim=18`"
    with pytest.raises(WarmStartError, match=message):
        warm_start(model, [*BASE, "one more"], verbose=0)
    for old, now in zip(before, values(model), strict=True):
        assert old.tobytes() == now.tobytes()


@pytest.mark.usefixtures("rows_sharded")
def test_a_table_that_cannot_be_cut_is_refused_with_the_cure_when_it_is_built():
    message = r"layer 'words' must .* 2 equal .*Received: 17 rows.*`input_dim=18`"
    with pytest.raises(WarmStartError, match=message):
        build([*BASE, "one more"])
    layer = WarmStartEmbedding(
        output_dim=WIDTH, vocabulary=[*BASE, "one more"], name="words"
    )
    model = keras.Sequential([layer, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(WarmStartError, match=message):
        model.predict(np.zeros((4, 3), "int32"), verbose=0)


@pytest.mark.usefixtures("rows_sharded")
def test_keras_itself_refuses_a_plain_table_that_cannot_be_cut():
    with pytest.raises(ValueError, match=r"divi"):
        keras.layers.Embedding(17, WIDTH, name="words").build()


@pytest.mark.usefixtures("rows_sharded")
def test_a_capacity_takes_any_number_of_words():
    model = trained(input_dim=18)
    before = array(model.get_layer("words").embeddings)
    warm_start(model, ["new", *BASE], verbose=0)
    after = array(model.get_layer("words").embeddings)
    np.testing.assert_array_equal(after[1:17], before[:16])
    assert after.shape == (18, WIDTH)


@pytest.mark.usefixtures("rows_sharded")
def test_a_callable_for_new_rows_sees_the_whole_table_within_one_process():
    model = trained()
    before = array(model.get_layer("words").embeddings)
    warm_start(
        model,
        [*BASE[:15], "new"],
        new_embeddings_initializer=lambda tokens, base: base.matrix[[3]] + 1,
        verbose=0,
    )
    after = array(model.get_layer("words").embeddings)
    np.testing.assert_array_equal(after[15], before[3] + 1)


@pytest.mark.usefixtures("rows_sharded")
def test_an_assigned_matrix_is_sharded_as_the_table_was():
    model = trained()
    layer = model.get_layer("words")
    sharding = layer.embeddings.value.sharding
    matrix = np.arange(16 * WIDTH, dtype="float32").reshape(16, WIDTH)
    layer.embeddings = matrix
    assert layer.embeddings.value.sharding.is_equivalent_to(sharding, 2)
    np.testing.assert_array_equal(array(layer.embeddings), matrix)


# --- the ring --------------------------------------------------------------------------


# A cut over two axes of the mesh too, in both orders.
CUTS = [cut for _, cut in LAYOUTS.values()] + [(AXES, None), (AXES[::-1], None)]


@pytest.mark.parametrize("block", [40, 2**26])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_rows_move_bit_for_bit(dtype, cut, block):
    dtype = np.dtype(jax.numpy.dtype(dtype))
    rng = np.random.default_rng(0)
    raw = rng.bytes(16 * 6 * dtype.itemsize)  # NaN of every kind among them
    before = np.frombuffer(raw, dtype).reshape(16, 6)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]).reshape(2, 2), AXES)
    spec = jax.sharding.PartitionSpec(*cut)
    array = jax.device_put(before, jax.sharding.NamedSharding(mesh, spec))
    indices = rng.integers(-1, 16, 20)
    new = np.flatnonzero(indices == -1)
    rows = rng.normal(size=(len(new), 6)).astype(dtype)
    made = sharded.stacked(array, 0, len(new), lambda part, rest: rows[(part, *rest)])
    places = np.full(20, -1)
    places[new] = np.arange(len(new))
    start = sharded.merged(sharded.full(array, 0, 20, 0), made, places, 0, block)
    moved = sharded.merged(start, array, indices, 0, block)
    expected = before[indices]
    expected[new] = rows
    assert np.asarray(moved).tobytes() == expected.tobytes()
    assert moved.sharding.is_equivalent_to(array.sharding, 2)
    few = np.array([3, 15, 0])
    assert sharded.read_rows(array, 0, few).tobytes() == before[few].tobytes()
    assert np.asarray(sharded.taken(array, 0, few))[:3].tobytes() == before[few].tobytes()


def test_a_ring_of_shards_takes_less_memory_than_the_table():
    """No array of the compiled function, on any device, is as large as the table."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("model",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model", None))
    rows = 4096
    table = jax.device_put(np.ones((rows, 64), "float32"), sharding)
    places = jax.device_put(
        np.arange(rows, dtype="int32"),
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model")),
    )
    merge = sharded._merge(mesh, ("model", None), ("model", None), 0)
    memory = merge.lower(table + 0, places, table).compile().memory_analysis()
    # The table is used up for the result; what is needed besides: what passes by.
    assert memory.temp_size_in_bytes < table.nbytes


# --- from a previous run ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["archive", "weights", "live"])
def test_a_previous_run_comes_shard_by_shard(distributed, kind, tmp_path):
    new = REBUILDS["grown"]
    monday = trained()
    if kind == "archive":
        monday.save(tmp_path / "run.keras")
    elif kind == "weights":
        monday.save_weights(tmp_path / "run.weights.h5")
    tuesday = build(new)
    layouts = shardings(tuesday)[: len(tuesday.weights)]
    previous = {"live": monday, "archive": tmp_path / "run.keras"}
    warm_start(
        tuesday, previous=previous.get(kind, tmp_path / "run.weights.h5"), verbose=0
    )
    before = values(monday)
    warm_start(monday, new, verbose=0)
    assert_moved(before, tuesday, new)
    for ours, theirs in zip(values(tuesday), values(monday), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    for variable, layout in zip(tuesday.weights, layouts, strict=True):
        now = variable.value.sharding
        assert now.is_equivalent_to(layout, len(variable.shape)), variable.path
    for variable in tuesday.optimizer.variables:
        if "words" in variable.path:
            words = tuesday.get_layer("words").embeddings
            assert variable.value.sharding.is_equivalent_to(words.value.sharding, 2)


def test_a_file_of_one_device_comes_to_several(tmp_path):
    monday = trained()
    monday.save(tmp_path / "run.keras")
    with distribution("rows and width").scope():
        tuesday = build(REBUILDS["same size"])
        warm_start(tuesday, previous=tmp_path / "run.keras", verbose=0)
        assert not tuesday.get_layer("words").embeddings.value.is_fully_replicated
        assert_moved(values(monday), tuesday, REBUILDS["same size"])


def test_what_fails_halfway_is_taken_back_on_every_device(rows_sharded, tmp_path):
    trained().save(tmp_path / "run.keras")
    tuesday = build(REBUILDS["grown"])
    before = [v.tobytes() for v in values(tuesday)]
    plan = plan_warm_start(tuesday, previous=tmp_path / "run.keras", verbose=0)
    let_fail(plan.apply)
    assert [v.tobytes() for v in values(tuesday)] == before
    plan.apply()
