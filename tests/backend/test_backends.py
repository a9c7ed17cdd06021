"""What is the same on every backend, and what each has of its own."""

import hashlib

import keras
import numpy as np
import pytest
from models import (
    BACKEND,
    BASE,
    JIT,
    REBUILDS,
    WIDTH,
    array,
    own_step,
    rows_by_token,
    variables,
)

from warmstart_keras import VocabularyWarmStart, WarmStartEmbedding, warm_start
from warmstart_keras.backend import tensors

on_torch = pytest.mark.skipif(BACKEND != "torch", reason="is about PyTorch itself")


def build(vocabulary, make=keras.Model, words=None, **compile_args):
    ids = keras.Input((3,), dtype="int32")
    words = words or WarmStartEmbedding(
        output_dim=WIDTH, vocabulary=vocabulary, name="words"
    )
    hidden = keras.layers.Flatten()(words(ids))
    model = make(ids, keras.layers.Dense(1, name="head")(hidden))
    model.compile(
        keras.optimizers.Adam(0.01, name="adam"),
        "mse",
        **{"jit_compile": JIT} | compile_args,
    )
    return model


def data(rows, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, rows, (20, 3)).astype("int32")
    return x, rng.normal(size=(20, 1)).astype("float32")


def fit(model, rows, seed=1, **how):
    x, y = data(rows, seed)
    how = {"batch_size": 4, "shuffle": False, "verbose": 0} | how
    return model.fit(x, y, **how).history["loss"]


# --- the same on every backend ---------------------------------------------------------

# Of the kept rows of the table and of both slots, from the values below.
DIGESTS = {"same size": "3110896b", "grown": "c12d5be5", "shrunk": "5b223884"}


@pytest.mark.parametrize("rebuild", REBUILDS)
def test_from_equal_values_kept_rows_and_slots_are_equal_on_all_backends(rebuild):
    new = REBUILDS[rebuild]
    model = build(BASE)
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    before = {}
    for variable in variables(model):
        if variable.shape[1:] == (WIDTH,):
            raw = rng.integers(2**32, size=variable.shape, dtype="uint32")
            before[variable.path] = raw.view("float32")  # NaN of many kinds among them
            variable.assign(before[variable.path])
    assert len(before) == 3
    warm_start(model, new, verbose=0)
    digest = hashlib.sha256()
    for variable in variables(model):
        if variable.path in before:
            after = array(variable)
            expected = rows_by_token(before[variable.path], BASE, new, otherwise=after)
            assert after.tobytes() == expected.tobytes()
            kept = [row for row, token in enumerate(new) if token in BASE]
            digest.update(after[kept].tobytes())
    assert digest.hexdigest()[:8] == DIGESTS[rebuild]


@pytest.mark.parametrize("rebuild", REBUILDS)
def test_short_floats_move_bit_for_bit(rebuild):
    new = REBUILDS[rebuild]
    words = WarmStartEmbedding(output_dim=512, vocabulary=BASE, dtype="bfloat16")
    words.build()
    raw = np.random.default_rng(0).integers(2**16, size=(8, 512), dtype="uint16")
    before = raw.view(array(words.embeddings).dtype)
    words.embeddings.assign(tensors.to_tensor(before))
    warm_start(words, new, verbose=0)
    after = array(words.embeddings)
    expected = rows_by_token(before, BASE, new, otherwise=after)
    assert after.tobytes() == expected.tobytes()


class OwnStep(keras.Model):
    """A model with a `train_step` of its own, as each backend has it."""

    steps = 0

    def train_step(self, *args):
        if BACKEND == "jax":
            return self._jax_step(*args)
        x, y = args[0]
        own_step(
            self.optimizer,
            self.trainable_variables,
            lambda: keras.ops.mean((self(x, training=True) - y) ** 2),
        )
        return {"loss": keras.ops.mean((self(x) - y) ** 2)}

    def _jax_step(self, state, batch):
        import jax

        trainable, fixed, slots, metrics = state
        x, y = batch

        def loss(trainable):
            predicted, _ = self.stateless_call(trainable, fixed, x)
            return keras.ops.mean((predicted - y) ** 2)

        value, gradients = jax.value_and_grad(loss)(trainable)
        trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        return {"loss": value}, (trainable, fixed, slots, metrics)


@pytest.mark.parametrize("rebuild", REBUILDS)
def test_a_train_step_of_ones_own_trains_the_moved_rows(rebuild):
    words = keras.layers.StringLookup(vocabulary=BASE, num_oov_indices=0)
    new = REBUILDS[rebuild]
    model = build(words, OwnStep)
    fit(model, len(BASE))
    before = {v.path: array(v) for v in variables(model)}
    words.set_vocabulary(new)
    control = build(new, OwnStep)
    control.optimizer.build(control.trainable_variables)

    class BringUpControl(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            for ours, theirs in zip(variables(control), variables(model), strict=True):
                now, old = array(theirs), before[theirs.path]
                if old.shape == (len(BASE), WIDTH):
                    old = rows_by_token(old, BASE, new, otherwise=now)
                np.testing.assert_array_equal(now, old)
                ours.assign(now)

    callbacks = [VocabularyWarmStart(), BringUpControl()]
    losses = fit(model, len(new), 2, callbacks=callbacks, epochs=2)
    expected = fit(control, len(new), 2, epochs=2)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for ours, theirs in zip(variables(model), variables(control), strict=True):
        np.testing.assert_allclose(array(ours), array(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.compiling
@pytest.mark.parametrize("rebuild", REBUILDS)
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_two_models_over_one_table_are_both_right_with_also(rebuild, run_eagerly):
    new = REBUILDS[rebuild]
    model = build(BASE, run_eagerly=run_eagerly)
    words = model.get_layer("words")
    other = build(BASE, words=words, run_eagerly=run_eagerly)
    for one in (model, other):
        fit(one, len(BASE))
    ids, moved = (
        np.array([[tokens.index(word) for word in row] for row in ("abg", "gba")])
        for tokens in (BASE, new)
    )
    before = [one.predict(ids, verbose=0) for one in (model, other)]
    slots = {v.path: array(v) for v in other.optimizer.variables}
    warm_start(model, new, also=other, verbose=0)
    for one, expected in zip((model, other), before, strict=True):
        np.testing.assert_allclose(one.predict(moved, verbose=0), expected, rtol=1e-6)
    for variable in other.optimizer.variables:
        now, old = array(variable), slots[variable.path]
        if old.shape == (len(BASE), WIDTH):
            old = rows_by_token(old, BASE, new, otherwise=now)
        np.testing.assert_array_equal(now, old)
    table = array(words.embeddings)
    fit(other, len(new), seed=2)
    assert not np.array_equal(array(words.embeddings), table)


def test_a_second_fit_after_averages_of_weights_took_their_place():
    """Keras alone fails there on JAX: it gives one buffer to two variables."""
    words = keras.layers.StringLookup(vocabulary=BASE, num_oov_indices=0)
    model = build(words)
    model.compile(keras.optimizers.Adam(0.01, use_ema=True), "mse")
    fit(model, len(BASE))
    words.set_vocabulary(REBUILDS["grown"])
    losses = fit(model, 11, callbacks=[VocabularyWarmStart()])
    assert np.isfinite(losses).all()


# --- PyTorch ---------------------------------------------------------------------------


@on_torch
@pytest.mark.parametrize("rebuild", REBUILDS)
def test_the_parameter_stays_and_its_gradient_is_cleared(rebuild):
    new = REBUILDS[rebuild]
    model = build(BASE)
    fit(model, len(BASE))
    variable = model.get_layer("words").embeddings
    parameter = variable.value
    assert parameter.grad is not None
    warm_start(model, new, verbose=0)
    assert variable.value is parameter
    assert parameter.grad is None
    assert any(p is parameter for p in model.parameters())
    shape = (len(new), WIDTH)
    for owner in (model, model.get_layer("words")):
        found = [
            tuple(value.shape)
            for name, value in owner.state_dict().items()
            if "embeddings" in name
        ]
        assert found
        assert set(found) == {shape}


@on_torch
def test_gradients_of_a_resized_table_are_those_of_each_step_alone():
    import torch

    model = build(BASE)
    fit(model, len(BASE))
    warm_start(model, REBUILDS["grown"], verbose=0)
    parameter = model.get_layer("words").embeddings.value
    seen = []

    class Gradients(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(float(parameter.grad.abs().sum()))

    x, y = np.zeros((4, 3), "int32"), np.zeros((4, 1), "float32")
    model.optimizer.learning_rate = 0.0
    model.fit(
        np.repeat(x, 4, 0), np.repeat(y, 4, 0), 4, verbose=0, callbacks=[Gradients()]
    )
    assert len(seen) == 4
    assert seen[0] > 0
    np.testing.assert_allclose(seen, seen[0], rtol=1e-6)
    assert isinstance(parameter, torch.nn.Parameter)


@on_torch
def test_a_graph_of_before_that_is_still_alive_is_no_obstacle():
    model = build(BASE)
    fit(model, len(BASE))
    ids = np.array([[0, 1, 2]], "int32")
    alive = model(ids).sum()
    warm_start(model, REBUILDS["grown"], verbose=0)
    model(np.array([[8, 9, 10]], "int32")).sum().backward()
    gradient = model.get_layer("words").embeddings.value.grad
    assert tuple(gradient.shape) == (11, WIDTH)
    assert alive.grad_fn is not None


@on_torch
def test_a_float64_table_can_be_resized():
    ids = keras.Input((3,), dtype="int32")
    words = WarmStartEmbedding(
        output_dim=WIDTH, vocabulary=BASE, name="words", dtype="float64"
    )
    model = keras.Model(ids, keras.layers.Dense(1, dtype="float64")(words(ids)))
    before = array(words.embeddings)
    warm_start(model, ["x", *BASE], verbose=0)
    after = array(words.embeddings)
    assert after.dtype == np.float64
    np.testing.assert_array_equal(after[1:], before)


@pytest.mark.compiling
@on_torch
def test_a_model_compiled_by_torch_sees_the_new_rows():
    import torch

    model = build(BASE)
    compiled = torch.compile(model, backend="eager")
    ids = torch.tensor([[0, 1, 6]])
    before = compiled(ids).detach().numpy()
    new = REBUILDS["grown"]
    warm_start(model, new, verbose=0)
    moved = torch.tensor([[new.index(BASE[i]) for i in (0, 1, 6)]])
    np.testing.assert_allclose(compiled(moved).detach().numpy(), before, rtol=1e-6)
