"""Heads over a vocabulary: kernels, biases, tied and untied projections, LoRA factors."""

import keras
import numpy as np
import pytest
from heads import (
    BASE,
    KEEP_THEIR_WIDTH,
    KINDS,
    LENGTH,
    OOV,
    REBUILDS,
    Scores,
    expected,
    ids_of,
    lookup,
)
from models import BACKEND, array, on_tensorflow

from warmstart_keras import (
    Binding,
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    plan_warm_start,
    warm_start,
)

TEXTS = [list("abce"), list("egab"), list("beag")]  # of words that all rebuilds keep
CASES = [
    (kind, rebuild)
    for kind in KINDS
    for rebuild in REBUILDS
    if rebuild == ("same size" if kind in KEEP_THEIR_WIDTH else "grown")
    or kind in ("untied", "dense with LoRA", "of the user's own")
]


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return {v.path: array(v).copy() for v in variables}


def trained(kind, source, steps=2, **kwargs):
    """A model of a kind that has learned something from the base's ids."""
    model = KINDS[kind].model(source, **kwargs)
    ids = ids_of(source, TEXTS)
    named = KINDS[kind].vocabularies(source)
    warm_start(model, named, base_vocabularies=named, verbose=0)
    for _ in range(steps):
        model.train_on_batch(ids, ids[:, ::-1])
    return model


@pytest.mark.parametrize(("kind", "rebuild"), CASES)
def test_every_entry_of_a_kept_word_is_bit_for_bit_what_it_was(kind, rebuild, tmp_path):
    source, new = lookup(), REBUILDS[rebuild]
    model = trained(kind, source)
    texts = [[t for t in text if t in new][:LENGTH] for text in TEXTS]
    texts = [(text * LENGTH)[:LENGTH] for text in texts]
    ids = ids_of(source, texts)
    before, logits = state(model), model.predict_on_batch(ids)
    source.set_vocabulary(new)
    report = warm_start(model, KINDS[kind].vocabularies(source), verbose=0)

    after = state(model)
    old, now = [OOV, *BASE], [OOV, *new]
    assert list(after) == list(before)
    moved = set()
    for path, value in after.items():
        axis = KINDS[kind].axis(path)
        if axis is not None:
            moved.add(path)
            assert value.shape[axis] == len(now)
        wanted = expected(before[path], axis, old, now, value)
        np.testing.assert_array_equal(value, wanted, path, strict=True)
    reported = [p for v in report.variables for p in (v.path, *v.slots)]
    assert sorted(reported) == sorted(moved)  # each exactly once

    kept = [t for t in old if t in now]
    ids = ids_of(source, texts)
    again = model.predict_on_batch(ids)
    if kind != "layer-normalised":  # which new words take part in
        np.testing.assert_allclose(
            again[..., [now.index(t) for t in kept]],
            logits[..., [old.index(t) for t in kept]],
            atol=1e-5,
        )
    assert_goes_on(model, ids, tmp_path)


def assert_goes_on(model, ids, tmp_path):
    """Training, saving, loading, cloning and summing up agree with the new shapes."""
    widths = {model.output_shape[-1], model.outputs[0].shape[-1]}
    assert widths == {model.predict_on_batch(ids).shape[-1]}
    model.fit(ids, ids[:, ::-1], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    # A file has LoRA factors merged into their kernels.
    np.testing.assert_allclose(
        loaded.predict_on_batch(ids), model.predict_on_batch(ids), atol=1e-6
    )
    assert loaded.output_shape == model.output_shape
    if any(getattr(part, "lora_enabled", False) for part in model.layers):
        return  # a file has none, so another optimizer; and so has a clone
    loaded.train_on_batch(ids, ids[:, ::-1])
    clone = keras.models.clone_model(model)
    assert clone.output_shape == model.output_shape
    clone.set_weights(model.get_weights())


@on_tensorflow
@pytest.mark.parametrize("kind", ["tied", "dense", "nested"])
def test_an_exported_model_has_the_new_outputs(kind, tmp_path):
    import tensorflow as tf

    source = lookup()
    model = trained(kind, source)
    source.set_vocabulary(REBUILDS["grown"])
    warm_start(model, KINDS[kind].vocabularies(source), verbose=0)
    model.export(tmp_path / "served", verbose=False)
    ids = ids_of(source, TEXTS)
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    served = loaded.serve(ids.astype("int32"))
    np.testing.assert_allclose(array(served), model.predict_on_batch(ids), atol=1e-6)


def assert_moved(model, kind, before, new):
    """Every entry, of slots too, is that of its token, wherever that was kept."""
    old, now = [OOV, *BASE], [OOV, *new]
    for path, value in state(model).items():
        wanted = expected(before[path], KINDS[kind].axis(path), old, now, value)
        np.testing.assert_array_equal(value, wanted, path, strict=True)


@pytest.mark.devices
@pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution works on JAX alone")
@pytest.mark.parametrize(
    ("kind", "new"),
    [
        ("dense", list("hxcaeybgz")),
        ("untied", list("hxcaeybgz")),
        ("tied", list("gxbayce")),
    ],
)
def test_a_head_that_is_cut_into_shards(kind, new):
    from keras.distribution import DeviceMesh, LayoutMap, ModelParallel, TensorLayout

    devices = keras.distribution.list_devices()[:2]
    mesh = DeviceMesh((1, 2), ("batch", "model"), devices)
    layouts = LayoutMap(mesh)
    for end, axes in {
        "words/embeddings": ("model", None),
        "reverse_embeddings": (None, "model"),
        "head/kernel": (None, "model"),
        "head/bias": ("model",),
    }.items():
        layouts[f".*{end}"] = TensorLayout(axes, mesh)
    with ModelParallel(layout_map=layouts, batch_dim_name="batch").scope():
        source = lookup()
        model = trained(kind, source, eager=False)
        before = state(model)
        shardings = {v.path: v.value.sharding for v in model.variables}
        source.set_vocabulary(new)
        warm_start(model, KINDS[kind].vocabularies(source), verbose=0)
        assert_moved(model, kind, before, new)
        assert {v.path: v.value.sharding for v in model.variables} == shardings
        words = [v for v in model.variables if KINDS[kind].axis(v.path) is not None]
        assert any(not v.value.sharding.is_fully_replicated for v in words)
        if kind != "tied" and "x" in new:
            name = "head/kernel" if kind == "dense" else "reverse_embeddings"
            (path,) = [p for p in before if p.endswith(name) and "adam" not in p]
            mean = before[path][:, 1:].mean(axis=1)
            after = state(model)[path][:, 1 + new.index("x")]
            np.testing.assert_allclose(after, mean, rtol=1e-5, atol=1e-7)
        model.train_on_batch(*pairs_of(source))


@pytest.mark.devices
@on_tensorflow
@pytest.mark.parametrize(("kind", "rebuild"), [("dense", "grown"), ("tied", "same size")])
def test_a_head_that_is_mirrored(kind, rebuild):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"],
        # Collective operations allow one number of devices in a process.
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )
    source, new = lookup(), REBUILDS[rebuild]
    with strategy.scope():
        model = KINDS[kind].model(source, eager=False)
    named = KINDS[kind].vocabularies(source)
    warm_start(model, named, base_vocabularies=dict.fromkeys(named, source), verbose=0)
    model.train_on_batch(*map(twice, pairs_of(source)))
    before = state(model)
    source.set_vocabulary(new)
    warm_start(model, KINDS[kind].vocabularies(source), verbose=0)
    assert_moved(model, kind, before, new)
    for variable in model.trainable_variables:
        np.testing.assert_array_equal(*[part.numpy() for part in variable.value.values])
    model.train_on_batch(*map(twice, pairs_of(source)))


def twice(values):
    """A batch that two devices can share."""
    return np.concatenate([values, values])


@pytest.mark.parametrize(
    ("kind", "rebuild"),
    [
        ("tied", "grown"),
        ("untied", "shrunk"),
        ("dense", "grown"),
        ("of the user's own", "shrunk"),
    ],
)
def test_a_head_trains_on_as_one_that_was_built_so(kind, rebuild):
    """Step by step the losses of a model built fresh with the same values."""
    source = lookup()
    model = trained(kind, source, eager=False)
    source.set_vocabulary(REBUILDS[rebuild])
    warm_start(model, KINDS[kind].vocabularies(source), verbose=0)
    control = KINDS[kind].model(source, eager=False)
    control.optimizer.build(control.trainable_variables)
    pairs = [(control.variables, model.variables)]
    pairs += [(control.optimizer.variables, model.optimizer.variables)]
    for theirs, ours in pairs:
        for mine, yours in zip(theirs, ours, strict=True):
            mine.assign(array(yours))
    ids = ids_of(source, TEXTS)
    losses = [
        [one.train_on_batch(ids, ids[:, ::-1]) for _ in range(4)]
        for one in (model, control)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("kind", ["tied", "untied", "dense", "of the user's own"])
def test_a_new_word_is_neither_certain_nor_impossible(kind):
    """The loss on kept words rises by no more than log(1 + m / n) (Hewitt 2021)."""
    source, new = lookup(), [*reversed(BASE), "x", "y", "z"]
    model = trained(kind, source, steps=12)
    for variable in model.trainable_variables:  # logits far below 0, as of large models
        if variable.path.endswith(("bias", "prior")) and "hidden" not in variable.path:
            variable.assign(variable - 20.0)
    loss_before = model.evaluate(*pairs_of(source), verbose=0)
    source.set_vocabulary(new)
    warm_start(model, KINDS[kind].vocabularies(source), verbose=0)
    loss_after = model.evaluate(*pairs_of(source), verbose=0)
    assert loss_before - 1e-5 <= loss_after <= loss_before + np.log(1 + 3 / 7) + 1e-5
    logits = model.predict_on_batch(pairs_of(source)[0])
    probability = array(keras.ops.softmax(logits))[..., -3:]
    assert probability.min() > 1e-6
    assert probability.max() < 3 / 10


def pairs_of(source):
    ids = ids_of(source, TEXTS)
    return ids, ids[:, ::-1]


def test_new_outputs_are_the_mean_of_the_old_words():
    source = lookup()
    model = trained("dense", source)
    kernel, bias = (array(v).copy() for v in model.get_layer("head").weights)
    source.set_vocabulary([*BASE, "x"])
    warm_start(model, {"head": source}, verbose=0)
    head = model.get_layer("head")
    np.testing.assert_allclose(
        array(head.kernel)[:, -1], kernel[:, 1:].mean(1), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(array(head.bias)[-1], bias[1:].mean(), rtol=1e-5)


def test_slots_of_new_outputs_start_as_of_a_fresh_optimizer():
    source = lookup()
    model = KINDS["dense"].model(source, keras.optimizers.Adagrad(0.1, name="adam"))
    warm_start(model, {"head": source}, base_vocabularies={"head": source}, verbose=0)
    model.train_on_batch(*pairs_of(source))
    source.set_vocabulary([*BASE, "x"])
    warm_start(model, {"head": source}, verbose=0)
    slots = [v for v in model.optimizer.variables if "head" in v.path]
    assert len(slots) == 2
    for slot in slots:
        np.testing.assert_allclose(array(slot)[..., -1], 0.1)


@pytest.mark.parametrize("kind", ["dense", "nested", "of the user's own"])
def test_a_head_learns_in_fit_what_its_rows_stand_for(kind):
    source = lookup()
    model = trained(kind, source)
    kernel = next(v for v in model.variables if v.path.endswith(("head/kernel", "table")))
    before = array(kernel).copy()
    source.set_vocabulary(REBUILDS["same size"])
    callback = VocabularyWarmStart(KINDS[kind].vocabularies(source), verbose=0)
    model.optimizer.learning_rate = 0.0
    model.fit(*pairs_of(source), verbose=0, callbacks=[callback])
    old, now = [OOV, *BASE], [OOV, *REBUILDS["same size"]]
    wanted = expected(before, 1, old, now, array(kernel))
    np.testing.assert_array_equal(array(kernel), wanted)
    assert callback.report.changed


@pytest.mark.files
@pytest.mark.parametrize("kind", ["untied", "dense", "of the user's own"])
@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5", None])
def test_a_head_starts_from_a_previous_run(kind, file, tmp_path):
    """Bit for bit what the model itself would be after a warm start."""
    source, new = lookup(), lookup(REBUILDS["grown"])
    model = trained(kind, source)
    previous = model if file is None else tmp_path / file
    if file == "model.keras":
        model.save(previous)
    elif file is not None:
        model.save_weights(previous)
    vocabularies = KINDS[kind].vocabularies(new)
    fresh = KINDS[kind].model(new)
    # What a plain layer stood for is in no file; the head's base is that of the words.
    bases = {"words": source} if kind == "untied" else {}
    warm_start(fresh, vocabularies, previous, base_vocabularies=bases, verbose=0)

    source.set_vocabulary(REBUILDS["grown"])
    warm_start(model, KINDS[kind].vocabularies(source), verbose=0)
    now, wanted = state(fresh), state(model)
    assert list(now) == list(wanted)
    for path, value in now.items():
        np.testing.assert_array_equal(value, wanted[path], path, strict=True)
    fresh.train_on_batch(*pairs_of(source))


def test_labels_may_lack_the_special_rows_of_the_input():
    source = lookup()
    ids = keras.Input((LENGTH,), dtype="int32")
    words = keras.layers.Embedding(len(BASE) + 1, 3, name="words")(ids)
    hidden = keras.layers.Flatten()(words)
    model = keras.Model(ids, keras.layers.Dense(len(BASE), name="head")(hidden))
    before = [array(v).copy() for v in model.get_layer("head").weights]
    new = list("gxbayce")
    report = warm_start(
        model,
        {"words": lookup(new), "head": new},
        base_vocabularies={"words": source, "head": BASE},
        verbose=0,
    )
    assert [v.shape_after[v.axis] for v in report.variables] == [8, 7, 7]
    for value, variable, axis in zip(
        before, model.get_layer("head").weights, (1, 0), strict=True
    ):
        wanted = expected(value, axis, BASE, new, array(variable))
        np.testing.assert_array_equal(array(variable), wanted)


@pytest.mark.parametrize("kind", ["tied", "dense", "batch-normalised"])
def test_a_plan_lists_every_variable_and_changes_nothing(kind):
    source = lookup()
    model = trained(kind, source)
    source.set_vocabulary(REBUILDS["same size"])
    before = state(model)
    plan = plan_warm_start(model, KINDS[kind].vocabularies(source))
    text = str(plan)
    for path, axis in KINDS[kind].axes.items():
        (line,) = [
            line
            for line in text.split("what happens")[1].splitlines()
            if line.split() and line.split()[0].endswith(path)
        ]
        (variable,) = [v for v in model.variables if v.path.endswith(path)]
        assert f" {axis} " in line
        assert str(tuple(variable.shape)) in line
        assert f"layer '{source.name}'" in line
        assert line.endswith("moves")
    assert [(b.variable.path, b.axis) for b in plan.bindings] == [
        (v.path, v.axis) for v in plan.report().variables
    ]
    for path, value in state(model).items():
        np.testing.assert_array_equal(value, before[path])


def test_a_head_that_is_left_behind_is_warned_of():
    source = lookup()
    model = KINDS["dense"].model(source)
    model.fit(*pairs_of(source), verbose=0, callbacks=[VocabularyWarmStart(verbose=0)])
    source.set_vocabulary(REBUILDS["same size"])
    said = "layer 'head' has 8 outputs, as many as 'words' has tokens"
    with pytest.warns(UserWarning, match=said):
        report = warm_start(model, verbose=0)
    assert any(said in note for note in report.notes)
    # The words have moved alone: what the head stands for is not known by theirs.
    with pytest.raises(WarmStartError, match=r"layer 'head .*base_vocabularies=\{'head"):
        warm_start(model, {"head": source}, verbose=0)
    before = array(model.get_layer("head").bias).copy()
    warm_start(model, {"head": source}, base_vocabularies={"head": lookup()}, verbose=0)
    old, now = [OOV, *BASE], [OOV, *REBUILDS["same size"]]
    bias = array(model.get_layer("head").bias)
    np.testing.assert_array_equal(bias, expected(before, 0, old, now, bias))


def test_weights_that_were_loaded_bring_what_the_head_stands_for(tmp_path):
    source = lookup()
    model = trained("dense", source)
    model.save_weights(tmp_path / "old.weights.h5")
    wanted = state(model)
    source.set_vocabulary(REBUILDS["same size"])
    warm_start(model, {"head": source}, verbose=0)
    model.load_weights(tmp_path / "old.weights.h5")
    warm_start(model, {"head": source}, verbose=0)
    old, now = [OOV, *BASE], [OOV, *REBUILDS["same size"]]
    for path, value in state(model).items():
        axis = KINDS["dense"].axis(path)
        again = expected(wanted[path], axis, old, now, value)
        np.testing.assert_array_equal(value, again, path)


def test_a_head_that_the_previous_run_lacks_stays_as_it_was_initialised():
    source, new = lookup(), lookup(REBUILDS["grown"])
    model = trained("dense", source)
    made = keras.layers.Dense(len(REBUILDS["grown"]) + 1, name="another")
    fresh = KINDS["dense"].model(new)
    fresh = keras.Model(fresh.inputs, made(fresh.get_layer("hidden").output))
    fresh.compile("adam", "mse")
    before = [array(v).copy() for v in made.weights]
    report = warm_start(fresh, {"another": new}, model, verbose=0)
    for variable, value in zip(made.weights, before, strict=True):
        np.testing.assert_array_equal(array(variable), value)
    assert report.missing == ["another"]
    assert [v.layer for v in report.vocabularies] == ["words"]


@pytest.mark.parametrize("units", [8, 12])  # as many, or with room for more
def test_a_kernel_that_fits_along_both_axes(units):
    square = keras.layers.Dense(units, name="square")
    model = keras.Sequential([keras.Input((8,)), square])
    source = lookup()
    before = state_of(model)
    with pytest.raises(WarmStartError, match=r"along 2 axes\..*`Binding\(.*=0.*=1"):
        warm_start(model, {"square": source}, base_vocabularies={"square": source})
    assert state_of(model) == before


def state_of(model):
    values = [array(v).tobytes() for v in model.variables]
    return values, str(model.get_config()), model.output_shape


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (lambda: keras.layers.BatchNormalization(), "must stay 8 wide"),
        (lambda: keras.layers.Dense(3), "must stay 8 wide"),
        (lambda: keras.layers.Reshape((2, 4)), "'.*' must accept the input shapes"),
    ],
)
def test_what_is_behind_a_head_and_does_not_follow(after, message):
    head = keras.layers.Dense(8, name="head")
    model = keras.Sequential([keras.Input((5,)), head, after()])
    before = state_of(model)
    with pytest.raises(WarmStartError, match=message):
        warm_start(
            model, {"head": [*"abcdefghi"]}, base_vocabularies={"head": [*"abcdefgh"]}
        )
    assert state_of(model) == before


def test_what_is_declared_says_nothing_of_what_goes_in_or_comes_out():
    hidden = keras.Input((7,))
    norm = keras.layers.BatchNormalization(name="norm")(hidden)
    scores = Scores(7, name="scores")(norm)
    model = keras.Model(hidden, [scores, keras.layers.Dense(3, name="aux")(norm)])
    table = Binding("scores", "table", axis=1, size="items")
    report = warm_start(
        model, {table: [*"gfedcba"]}, base_vocabularies={table: BASE}, verbose=0
    )
    assert [v.path for v in report.variables] == ["scores/table"]


def test_a_wrapper_with_variables_of_its_own():
    head = keras.layers.Dense(8, name="head")
    around = keras.layers.SpectralNormalization(head, name="around")
    model = keras.Sequential([keras.Input((5,)), around])
    before = state_of(model)
    with pytest.raises(WarmStartError, match=r"'around' must not have var.*previous="):
        warm_start(
            model, {"head": [*"hbcdefga"]}, base_vocabularies={"head": [*"abcdefgh"]}
        )
    assert state_of(model) == before


@pytest.mark.parametrize(
    "between",
    [
        lambda x: keras.layers.Rescaling(0.5)(x),
        lambda x: x * 0.5,
        lambda x: keras.layers.Add()([x, x]),
        lambda x: keras.ops.leaky_relu(x),
        lambda x: keras.layers.TimeDistributed(keras.layers.Activation("tanh"))(x),
    ],
)
def test_what_changes_each_logit_by_itself_is_followed_through(between):
    inputs = keras.Input((3, 5))
    head = keras.layers.TimeDistributed(keras.layers.Dense(8, name="head"))
    after = keras.layers.LayerNormalization(name="after")
    model = keras.Model(inputs, after(between(head(inputs))))
    plan = plan_warm_start(
        model, {"head": [*"hbcdefga"]}, base_vocabularies={"head": [*"abcdefgh"]}
    )
    bound = [b.variable.name for b in plan.bindings]
    assert sorted(bound) == ["beta", "bias", "gamma", "kernel"]


@pytest.mark.parametrize(
    ("behind", "message"),
    [
        (
            lambda x: x + np.arange(8.0),
            r"a constant with one entry .*\.output.*previous=this_m",
        ),
        (
            lambda x: keras.layers.Rescaling(1.0, offset=list(range(8)))(x),
            r"a constant with one entry per token.*the part of it.*previous=this_model",
        ),
        (
            lambda x: keras.layers.Dense(2)(x[:, 1:]),
            r"rearranges vectors .*Received: layer 'dense.*`Dense`",
        ),
        (
            lambda x: keras.layers.Dense(2)(
                keras.layers.Flatten()(keras.layers.RepeatVector(2)(x))
            ),
            r"rearranges vectors .*Received: layer 'dense.*`Dense`",
        ),
    ],
)
def test_constants_and_other_places_behind_a_head(behind, message):
    inputs = keras.Input((5,))
    logits = keras.layers.Dense(8, name="head")(inputs)
    model = keras.Model(inputs, behind(logits))
    before = state_of(model)
    named, bases = {"head": [*"hbcdefga"]}, {"head": [*"abcdefgh"]}
    with pytest.raises(WarmStartError, match=message):
        warm_start(model, named, base_vocabularies=bases)
    assert state_of(model) == before


def test_what_attention_projects_is_no_head_that_was_left_behind():
    source = lookup()
    ids = keras.Input((LENGTH,), dtype="int32")
    words = WarmStartEmbedding(output_dim=8, vocabulary=source, name="words")(ids)
    heard = keras.layers.MultiHeadAttention(2, 8, name="attention")(words, words)
    model = keras.Model(ids, keras.layers.LayerNormalization()(words + heard))
    source.set_vocabulary(REBUILDS["same size"])
    report = warm_start(model, verbose=0)
    assert not any("as many as 'words'" in note for note in report.notes)
    assert len(report.variables) == 1


def test_two_heads_named_by_equal_lists():
    inputs = keras.Input((8,))
    norm = keras.layers.BatchNormalization(name="norm")(inputs)
    heads = [keras.layers.Dense(2, name=name)(norm) for name in ("one", "other")]
    model = keras.Model(inputs, heads)
    report = warm_start(
        model,
        {"one": [*"hbcdefga"], "other": [*"hbcdefga"]},
        base_vocabularies={"one": [*"abcdefgh"], "other": [*"abcdefgh"]},
        verbose=0,
    )
    moved = [v.path for v in report.variables]
    assert len(moved) == len(set(moved)) == 6


def test_what_is_not_known_on_the_way_is_asked_about():
    inputs = keras.Input((5,))
    logits = keras.layers.Dense(8, name="head")(inputs)
    odd = keras.layers.Lambda(lambda x: keras.ops.flip(x, -1), name="odd")(logits)
    model = keras.Model(inputs, keras.layers.LayerNormalization(name="after")(odd))
    before = state_of(model)
    named = {"head": [*"hbcdefga"]}
    with pytest.raises(WarmStartError, match=r"`vocabularies` must .*'after'.*'odd'"):
        warm_start(model, named, base_vocabularies={"head": [*"abcdefgh"]})
    assert state_of(model) == before
    both = {"head": [*"abcdefgh"], "after": [*"abcdefgh"]}
    named["after"] = named["head"]
    warm_start(model, named, base_vocabularies=both, verbose=0)


def test_a_layer_behind_a_head_whose_variables_are_not_known():
    class Own(keras.layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(shape=(input_shape[-1],), name="scale")

        def call(self, inputs):
            return inputs * self.scale

    head = keras.layers.Dense(8, name="head")
    model = keras.Sequential([keras.Input((5,)), head, Own(name="own")])
    before = state_of(model)
    with pytest.raises(WarmStartError, match=r"layer 'own'.*Binding\('own', 'variable'"):
        warm_start(
            model, {"head": [*"hbcdefga"]}, base_vocabularies={"head": [*"abcdefgh"]}
        )
    assert state_of(model) == before
