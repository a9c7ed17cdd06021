"""Training after a warm start is that of a control model, built fresh at the new size.

The control has the weights, slots, iterations and weight-decay exclusions that the
warm-started model should have: worked out here token by token, by a loop over what the
model held before. Each model has two tables: `words`, a `WarmStartEmbedding`, and
`users`, a plain `Embedding`. Before the warm start both have as many rows as they are
wide, so that sizes tell nothing about which axis is which.
"""

import functools
import inspect

import keras
import models
import numpy as np
import pytest
from models import BACKEND, array, rows_by_token

from warmstart_keras import VocabularyWarmStart, WarmStartEmbedding, warm_start

WIDTH = 8
LAYERS = ("words", "users")
BASE = list("abcdefgh")
GROWN = list("hxcaeybzdgw")  # f left; w, x, y, z are new
SHRUNK = list("gxbae")  # c, d, f, h left; x is new
SHUFFLED = list("hgxbaycd")  # e, f left; x, y are new

# What `words` and `users` stand for after the rebuild: each grows, shrinks, and keeps its
# size once, so that new storage and plain assignment happen within one warm start.
REBUILDS = {
    "words-grow": {"words": GROWN, "users": SHUFFLED},
    "words-shrink": {"words": SHRUNK, "users": GROWN},
    "words-reshuffled": {"words": SHUFFLED, "users": SHRUNK},
}


# --- every optimizer of Keras ----------------------------------------------------------


def plain(name, **settings):
    def make(model, *, epsilon=None, **options):
        argument = "epsilon_1" if name == "Adafactor" else "epsilon"
        made = getattr(keras.optimizers, name, keras.optimizers.Optimizer)
        if epsilon is not None and argument in inspect.signature(made).parameters:
            options[argument] = epsilon
        return models.optimizer(name, **{"learning_rate": 0.01} | settings | options)

    return make


def without_decay_of_words(name):
    def make(model, **options):
        made = plain(name, weight_decay=0.5)(model, **options)
        made.exclude_from_weight_decay(var_list=[model.get_layer("words").embeddings])
        return made

    return make


def around_adam(model, **options):
    return keras.optimizers.LossScaleOptimizer(plain("Adam")(model, **options))


def one_for_words(model, **options):
    """A MultiOptimizer by `OptimizerMap`."""
    default = plain("SGD", momentum=0.9)(model, **options)
    chosen = models.optimizer("OptimizerMap", default)
    chosen["words/.*"] = plain("Adam")(model, **options)
    return models.optimizer("MultiOptimizer", chosen)


def one_for_users(model, **options):
    """A MultiOptimizer by a function of the variable."""
    adagrad = plain("Adagrad")(model, **options)
    adam = plain("Adam")(model, **options)
    return models.optimizer(
        "MultiOptimizer", lambda v: adagrad if "users" in v.path else adam
    )


OPTIMIZERS = {
    "Adadelta": plain("Adadelta", learning_rate=1.0),
    "Adafactor": plain("Adafactor"),
    "Adagrad": plain("Adagrad"),
    "Adam": plain("Adam"),
    "Adam, amsgrad": plain("Adam", amsgrad=True),
    "AdamW": plain("AdamW", weight_decay=0.5),
    "AdamW, words excluded": without_decay_of_words("AdamW"),
    "Adamax": plain("Adamax"),
    "Ftrl": plain("Ftrl", l1_regularization_strength=0.001),
    "Lamb": plain("Lamb"),
    "Lion": plain("Lion"),
    "LossScaleOptimizer": around_adam,
    "MultiOptimizer, OptimizerMap": one_for_words,
    "MultiOptimizer, callable": one_for_users,
    "Muon": plain("Muon"),
    "Muon, embeddings too": plain("Muon", exclude_embeddings=False),
    "Nadam": plain("Nadam"),
    "RMSprop": plain("RMSprop"),
    "RMSprop, centered": plain("RMSprop", centered=True, momentum=0.9),
    "SGD": plain("SGD"),
    "SGD, momentum": plain("SGD", momentum=0.9),
    "SGD, nesterov": plain("SGD", momentum=0.9, nesterov=True),
    "SGD, words excluded": without_decay_of_words("SGD"),
    "ScheduleFreeAdamW": plain("ScheduleFreeAdamW"),
}


def test_every_optimizer_of_keras_is_compared():
    abstract = {keras.optimizers.Optimizer}
    known = {
        name
        for name, thing in vars(keras.optimizers).items()
        if isinstance(thing, type)
        and issubclass(thing, keras.optimizers.Optimizer)
        and thing not in abstract
    }
    compared = {name.partition(",")[0] for name in OPTIMIZERS}
    assert known == {name for name in compared if hasattr(keras.optimizers, name)}


# --- models, and how they are trained --------------------------------------------------


def build(vocabularies, make_optimizer, *, dtype=None, compiled=False, jit=False):
    words = keras.Input((3,), dtype="int32")
    users = keras.Input((1,), dtype="int32")
    rows = [
        WarmStartEmbedding(
            output_dim=WIDTH, vocabulary=vocabularies["words"], name="words", dtype=dtype
        )(words),
        keras.layers.Embedding(
            len(vocabularies["users"]), WIDTH, name="users", dtype=dtype
        )(users),
    ]
    both = keras.layers.Concatenate(axis=1, dtype=dtype)(rows)
    flat = keras.layers.Flatten(dtype=dtype)(both)
    head = keras.layers.Dense(1, name="head", dtype=dtype)
    model = keras.Model([words, users], head(flat))
    jit = jit or (compiled and BACKEND == "jax")  # where nothing else compiles a step
    # Eagerly unless asked for: for a few steps that is faster than to compile them.
    model.compile(make_optimizer(model), "mse", run_eagerly=not compiled, jit_compile=jit)
    if BACKEND == "jax" and not compiled:
        import jax

        # Else JAX compiles the branches of every `cond` anew at every step.
        update = model.optimizer.stateless_apply
        model.optimizer.stateless_apply = jax.disable_jit()(update)
    return model


def batches(vocabularies, number, seed):
    rng = np.random.default_rng(seed)
    sizes = [len(vocabularies[layer]) for layer in LAYERS]
    for _ in range(number):
        x = [rng.integers(0, n, (4, k)) for n, k in zip(sizes, (3, 1), strict=True)]
        yield x, rng.normal(size=(4, 1)).astype("float32")


def trained(model, data):
    """Trains the model, and gives the loss of each step."""
    losses = []
    for x, y in data:
        model.reset_metrics()
        losses.append(model.train_on_batch(x, y))
    return losses


def slots_of(optimizer):
    """The variables of an optimizer, all of them."""
    # Inside a LossScaleOptimizer, Keras does not list the product that Nadam keeps.
    inner = getattr(optimizer, "inner_optimizer", None)
    hidden = [inner._u_product] if isinstance(inner, keras.optimizers.Nadam) else []
    return [*optimizer.variables, *hidden]


def values(variables):
    return [array(variable) for variable in variables]


# --- the oracle ------------------------------------------------------------------------


def tables_of_slots(optimizer):
    """For each variable of an optimizer the layer that its rows belong to, or None."""
    # Adafactor names its factors after the variable: row and column of each table.
    factors = iter(["words", None, "users", None])
    for variable in slots_of(optimizer):
        if variable.path.endswith("/embeddings"):
            yield next(factors)
        else:
            yield next((n for n in LAYERS if f"/{n}_embeddings_" in variable.path), None)


def starts_at_its_row(slot):
    """Whether a slot of a new row starts at the row's own value."""
    of_schedule_free = "schedule_free" in slot.path and slot.path.endswith("_momentum")
    return slot.path.endswith("_average") or of_schedule_free


def bring_up(control, warm, new, weights, slots):
    """Gives the control what a model should have that held `weights` and `slots`."""
    control.optimizer.build(control.trainable_variables)
    for ours, theirs, before in zip(control.weights, warm.weights, weights, strict=True):
        layer = ours.path.partition("/")[0]
        if layer in LAYERS:
            made = array(theirs)  # rows of new words are drawn at random
            before = rows_by_token(before, BASE, new[layer], otherwise=made)
        ours.assign(before)
    for slot, layer, before in zip(
        slots_of(control.optimizer),
        tables_of_slots(control.optimizer),
        slots,
        strict=True,
    ):
        if layer is not None:
            initial = array(slot)
            if starts_at_its_row(slot):
                initial = array(control.get_layer(layer).embeddings)
            before = rows_by_token(before, BASE, new[layer], otherwise=initial)
        slot.assign(before)


def warm_started_and_control(make_optimizer, new, **how):
    """A model after its warm start, and the control."""
    base = dict.fromkeys(LAYERS, BASE)
    warm = build(base, make_optimizer, **how)
    trained(warm, batches(base, 3, seed=1))  # an odd number: in mid-accumulation
    weights, slots = values(warm.weights), values(slots_of(warm.optimizer))
    warm_start(warm, new, base_vocabularies={"users": BASE}, verbose=0)
    control = build(new, make_optimizer, **how)
    bring_up(control, warm, new, weights, slots)
    return warm, control


def assert_same_state(warm, control, rtol=0.0, atol=0.0):
    """Compares all weights and optimizer variables; bit for bit without tolerances."""
    for ours, theirs in zip(
        [*warm.weights, *slots_of(warm.optimizer)],
        [*control.weights, *slots_of(control.optimizer)],
        strict=True,
    ):
        path, ours, theirs = ours.path, array(ours), array(theirs)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), path
        np.testing.assert_allclose(
            ours.astype("float64"), theirs.astype("float64"), rtol, atol, err_msg=path
        )
        assert rtol or atol or ours.tobytes() == theirs.tobytes(), path


def assert_trains_as_control(warm, control, new, rtol=1e-5, atol=1e-6):
    """Trains both for five steps, and compares all that they have."""
    assert_same_state(warm, control)
    start = values(control.weights)
    losses = trained(control, batches(new, 5, seed=2))
    np.testing.assert_allclose(trained(warm, batches(new, 5, seed=2)), losses, rtol, atol)
    assert_same_state(warm, control, rtol, atol)
    # Else there was nothing to compare.
    assert np.isfinite(losses).all()
    for variable, before in zip(control.weights, start, strict=True):
        assert not np.array_equal(array(variable), before), variable.path


# --- the tests -------------------------------------------------------------------------


@pytest.mark.training
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_as_that_of_a_control(optimizer):
    new = REBUILDS["words-shrink"]
    warm, control = warm_started_and_control(OPTIMIZERS[optimizer], new)
    assert_trains_as_control(warm, control, new)


@pytest.mark.training
@pytest.mark.dealt
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_with_moving_averages_goes_on_as_that_of_a_control(optimizer):
    def make(model):
        options = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}
        return OPTIMIZERS[optimizer](model, **options)

    new = REBUILDS["words-reshuffled"]
    warm, control = warm_started_and_control(make, new)
    assert_trains_as_control(warm, control, new)


@pytest.mark.training
@pytest.mark.dealt
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_accumulated_training_on_a_schedule_goes_on_as_that_of_a_control(optimizer):
    def make(model):
        schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5)
        options = {"learning_rate": schedule, "gradient_accumulation_steps": 2}
        return OPTIMIZERS[optimizer](model, **options)

    new = REBUILDS["words-grow"]
    warm, control = warm_started_and_control(make, new)
    assert_trains_as_control(warm, control, new)


@pytest.mark.training
@pytest.mark.dealt
@pytest.mark.parametrize("optimizer", [n for n in OPTIMIZERS if "Scale" not in n])
def test_training_with_a_scaled_loss_goes_on_as_that_of_a_control(optimizer):
    def make(model):
        inner = OPTIMIZERS[optimizer](model)
        return keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)

    new = REBUILDS["words-grow"]
    warm, control = warm_started_and_control(make, new)
    assert_trains_as_control(warm, control, new)


@pytest.mark.training
@pytest.mark.dealt
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_in_float16_goes_on_as_that_of_a_control(optimizer):
    def make(model):
        # Keras's own are too small for float16: its optimizers would divide by 0.
        return OPTIMIZERS[optimizer](model, epsilon=1e-3)

    new = REBUILDS["words-shrink"]
    warm, control = warm_started_and_control(make, new, dtype="float16")
    assert_trains_as_control(warm, control, new, 1e-2, 1e-2)


@pytest.fixture
def _mixed_float16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.training
@pytest.mark.usefixtures("_mixed_float16")
@pytest.mark.parametrize("optimizer", ["Adam", "Adafactor", "Nadam", "SGD, momentum"])
def test_training_in_mixed_float16_goes_on_as_that_of_a_control(optimizer):
    new = REBUILDS["words-grow"]
    warm, control = warm_started_and_control(OPTIMIZERS[optimizer], new)
    assert isinstance(warm.optimizer, keras.optimizers.LossScaleOptimizer)
    assert_trains_as_control(warm, control, new, 1e-2, 1e-2)


@pytest.mark.compiling
@pytest.mark.parametrize("rebuild", REBUILDS)
def test_compiled_training_goes_on_as_that_of_a_control(rebuild):
    new = REBUILDS[rebuild]
    make = OPTIMIZERS["AdamW, words excluded"]
    warm, control = warm_started_and_control(make, new, compiled=True)
    assert_trains_as_control(warm, control, new)


@pytest.mark.compiling
@pytest.mark.parametrize(
    "optimizer",
    [
        "Adafactor",
        "LossScaleOptimizer",
        "MultiOptimizer, OptimizerMap",
        "MultiOptimizer, callable",
        "Muon, embeddings too",
        "ScheduleFreeAdamW",
    ],
)
def test_compiled_training_with_more_involved_optimizers_goes_on(optimizer):
    new = REBUILDS["words-grow"]
    warm, control = warm_started_and_control(OPTIMIZERS[optimizer], new, compiled=True)
    assert_trains_as_control(warm, control, new)


@pytest.fixture
def _traced_by_torch(monkeypatch):
    if BACKEND == "torch":
        import torch

        # All but the C++ compiler, which takes a minute and knows nothing of variables.
        traced = functools.partial(torch.compile, backend="eager")
        monkeypatch.setattr(torch, "compile", traced)


# What PyTorch warns of while it traces, as an error, makes `torch.compile` fail.
@pytest.mark.compiling
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_traced_by_torch")
def test_training_compiled_by_xla_goes_on_as_that_of_a_control():
    new = REBUILDS["words-grow"]
    make = OPTIMIZERS["Adam"]
    warm, control = warm_started_and_control(make, new, compiled=True, jit=True)
    assert_trains_as_control(warm, control, new)


@pytest.mark.compiling
def test_fit_with_the_callback_goes_on_as_that_of_a_control():
    def make(model):
        return OPTIMIZERS["Adam"](model, use_ema=True, ema_overwrite_frequency=2)

    base, new = dict.fromkeys(LAYERS, BASE), REBUILDS["words-grow"]
    warm = build(base, make, compiled=True)
    trained(warm, batches(base, 3, seed=1))
    weights, slots = values(warm.weights), values(slots_of(warm.optimizer))
    control = build(new, make, compiled=True)

    class BringUpControl(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            bring_up(control, warm, new, weights, slots)
            assert_same_state(warm, control)

    ((x, y),) = batches(new, 1, seed=2)
    warm_start = VocabularyWarmStart(new, base_vocabularies={"users": BASE})
    losses = [
        model.fit(x, y, epochs=5, verbose=0, callbacks=callbacks).history["loss"]
        for model, callbacks in (
            (warm, [warm_start, BringUpControl()]),
            (control, []),
        )
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5, atol=1e-6)
    assert_same_state(warm, control, rtol=1e-5, atol=1e-6)
