"""Under `tf.distribute.MirroredStrategy` every replica is moved, and all stay equal."""

import keras
import numpy as np
import pytest
from faults import let_fail
from models import BACKEND, BASE, REBUILDS, WIDTH, rows_by_token, variables

from warmstart_keras import (
    VocabularyWarmStart,
    WarmStartEmbedding,
    plan_warm_start,
    warm_start,
)

if BACKEND != "tensorflow":
    pytest.skip("tf.distribute works on TensorFlow alone", allow_module_level=True)

import tensorflow as tf

pytestmark = pytest.mark.devices


@pytest.fixture
def strategy():
    return tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(3)],
        # Collective operations allow one number of devices in a process.
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def build(strategy, vocabulary, make=keras.optimizers.Adam):
    with strategy.scope():
        ids = keras.Input((3,), dtype="int32")
        words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=vocabulary, name="words")
        hidden = keras.layers.Flatten()(words(ids))
        model = keras.Model(ids, keras.layers.Dense(1, name="head")(hidden))
        model.compile(make(0.01), "mse", jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    return model


def fit(model, rows, seed, **how):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, rows, (30, 3)).astype("int32")
    y = rng.normal(size=(30, 1)).astype("float32")
    return model.fit(x, y, batch_size=6, shuffle=False, verbose=0, **how)


def replicas(variable):
    """The value on each device."""
    return [part.numpy() for part in variable.value.values]


def values(model):
    return [variable.numpy() for variable in variables(model)]


def assert_mirrored(model):
    for variable in variables(model):
        first, *others = replicas(variable)
        assert others, variable.path
        for other in others:
            assert first.tobytes() == other.tobytes(), variable.path


@pytest.mark.parametrize("rebuild", REBUILDS)
def test_rows_and_slots_move_on_every_device(strategy, rebuild):
    new = REBUILDS[rebuild]
    model = build(strategy, BASE)
    fit(model, len(BASE), seed=1)
    before, kinds = values(model), [type(v.value) for v in variables(model)]
    warm_start(model, new, verbose=0)
    assert_mirrored(model)
    assert [type(v.value) for v in variables(model)] == kinds
    for old, now in zip(before, values(model), strict=True):
        if old.shape == (len(BASE), WIDTH):
            old = rows_by_token(old, BASE, new, otherwise=now)
        np.testing.assert_array_equal(now, old)


@pytest.mark.parametrize(
    ("rebuild", "make"),
    [
        ("same size", keras.optimizers.Adam),
        ("grown", keras.optimizers.Adagrad),
        ("shrunk", keras.optimizers.Adam),
    ],
)
def test_fit_with_the_callback_goes_on_as_a_control(strategy, rebuild, make):
    words = keras.layers.StringLookup(vocabulary=BASE, num_oov_indices=0)
    new = REBUILDS[rebuild]
    model = build(strategy, words, make)
    fit(model, len(BASE), seed=1)
    words.set_vocabulary(new)
    control = build(strategy, new, make)

    class BringUpControl(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            for ours, theirs in zip(variables(control), variables(model), strict=True):
                ours.assign(theirs.numpy())

    callbacks = [VocabularyWarmStart(), BringUpControl()]
    losses = fit(model, len(new), 2, epochs=2, callbacks=callbacks).history["loss"]
    expected = fit(control, len(new), 2, epochs=2).history["loss"]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert_mirrored(model)
    for ours, theirs in zip(values(model), values(control), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_predictions_after_a_resize_are_those_of_the_new_rows(strategy):
    model = build(strategy, BASE)
    fit(model, len(BASE), seed=1)
    ids = np.array([[0, 1, 7]] * 6)
    before = model.predict(ids, verbose=0)
    new = REBUILDS["grown"]
    warm_start(model, new, verbose=0)
    moved = np.array([[new.index(BASE[i]) for i in row] for row in ids])
    np.testing.assert_allclose(model.predict(moved, verbose=0), before, rtol=1e-6)


@pytest.mark.parametrize("rebuild", REBUILDS)
def test_an_interrupt_leaves_every_device_as_it_was(strategy, rebuild):
    model = build(strategy, BASE)
    fit(model, len(BASE), seed=1)
    before = values(model)
    let_fail(plan_warm_start(model, REBUILDS[rebuild]).apply)
    assert_mirrored(model)
    for old, now in zip(before, values(model), strict=True):
        assert old.tobytes() == now.tobytes()
    fit(model, len(BASE), seed=1)


def test_a_saved_model_loads_without_the_strategy(strategy, tmp_path):
    model = build(strategy, BASE)
    fit(model, len(BASE), seed=1)
    warm_start(model, REBUILDS["grown"], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    ids = np.array([[0, 1, 10]] * 6)
    np.testing.assert_allclose(
        loaded.predict(ids, verbose=0), model.predict(ids, verbose=0), rtol=1e-6
    )


def test_a_previous_run_comes_to_every_device(strategy, tmp_path):
    new = REBUILDS["grown"]
    monday = build(strategy, BASE)
    fit(monday, len(BASE), seed=1)
    monday.save(tmp_path / "run.keras")
    tuesday = build(strategy, new)
    warm_start(tuesday, previous=tmp_path / "run.keras", verbose=0)
    assert_mirrored(tuesday)
    warm_start(monday, new, verbose=0)
    for ours, theirs in zip(values(tuesday), values(monday), strict=True):
        assert ours.tobytes() == theirs.tobytes()
