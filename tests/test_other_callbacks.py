"""Keras's own callbacks in the same `fit` as the warm start, before it and after it."""

import functools

import keras
import models
import numpy as np
import pytest
from models import BACKEND, LABELS, MONDAY, RESHUFFLED, TUESDAY, WIDTH, texts

from warmstart_keras import (
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    plan_warm_start,
)

pytestmark = pytest.mark.files

in_both_orders = pytest.mark.parametrize("order", ["ours first", "ours last"])
after_rebuilds = pytest.mark.parametrize(
    "new_texts",
    [
        pytest.param(tuple(RESHUFFLED), id="as many rows"),
        pytest.param(tuple(TUESDAY), id="more rows"),
    ],
)


def beside(order, *others):
    """The warm start and other callbacks; new words start from zeros."""
    ours = VocabularyWarmStart(new_embeddings_initializer="zeros")
    return [ours, *others] if order == "ours first" else [*others, ours]


def averaging_adam():
    return keras.optimizers.Adam(name="adam", use_ema=True, ema_momentum=0.5)


def scorer(layer, optimizer=models.adam, capacity=None):
    """A new model for the tokens of a vocabulary layer; its embedding."""
    words = WarmStartEmbedding(capacity, WIDTH, vocabulary=layer, name="words")
    model = models.in_model(layer, words, optimizer(), run_eagerly=models.EAGER)
    model.optimizer.build(model.trainable_variables)
    return model, words


def fit(model, values, callbacks=(), **kwargs):
    """Fits in one order of examples, so that equal models stay equal bit for bit."""
    settings = {"epochs": 3, "batch_size": 1, "shuffle": False, "verbose": 0, **kwargs}
    return model.fit(texts(values), LABELS, callbacks=list(callbacks), **settings)


class StateAtEachEpoch(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.states = []

    def on_epoch_end(self, epoch, logs=None):
        self.states.append(models.state(self.model))


def after_the_first_day(optimizer=models.adam):
    """A model that has learned Monday's texts, the same each time; its vocabulary."""
    keras.utils.set_random_seed(0)
    layer = models.vectorizer()
    model, words = scorer(layer, optimizer)
    fit(model, MONDAY)
    return model, words, layer


def moved_by_hand(before, old_tokens, layer, *settings):
    """A new model for today's tokens, each with its row of before, or with zeros."""
    model, _ = scorer(layer, *settings)
    for variable in models.variables(model):
        value = before[variable.path]
        if "words" in variable.path:
            zeros = np.zeros(variable.shape, value.dtype)
            tokens = layer.get_vocabulary()
            value = models.rows_by_token(value, old_tokens, tokens, zeros)
        variable.assign(value)
    return model


@functools.cache
def expected(new_texts):
    """The second day with rows moved by hand: losses, states at the epochs' ends."""
    model, _, layer = after_the_first_day()
    before, old_tokens = models.state(model), layer.get_vocabulary()
    layer.adapt(list(new_texts))
    seen = StateAtEachEpoch()
    reference = moved_by_hand(before, old_tokens, layer)
    losses = fit(reference, TUESDAY, [seen]).history["loss"]
    assert losses[0] == max(losses)  # `mode="max"` makes the first epoch the best
    return losses, seen.states


# --- EarlyStopping, SwapEMAWeights ---


@in_both_orders
@after_rebuilds
def test_early_stopping_brings_back_the_best_rows_of_todays_tokens(new_texts, order):
    losses, states = expected(new_texts)
    model, words, layer = after_the_first_day()
    layer.adapt(list(new_texts))
    stopping = keras.callbacks.EarlyStopping(
        "loss", mode="max", patience=1, restore_best_weights=True
    )
    history = fit(model, TUESDAY, beside(order, stopping))
    assert history.history["loss"] == losses[:2]
    weights = {weight.path: models.array(weight) for weight in model.weights}
    models.assert_same_state({path: states[0][path] for path in weights}, weights)
    assert words.get_vocabulary() == layer.get_vocabulary()


@in_both_orders
@after_rebuilds
def test_averaged_weights_are_swapped_by_token(new_texts, order):
    """For validation, and at the ends of epochs."""

    def fitted(model, layer, *others):
        seen = StateAtEachEpoch()
        data = texts(TUESDAY) if BACKEND == "tensorflow" else models.ids(layer, TUESDAY)
        history = fit(model, TUESDAY, [*others, seen], validation_data=(data, LABELS))
        return history.history, [*seen.states, models.state(model)]

    model, words, layer = after_the_first_day(averaging_adam)
    before, old_tokens = models.state(model), layer.get_vocabulary()
    layer.adapt(list(new_texts))
    reference = moved_by_hand(before, old_tokens, layer, averaging_adam)
    swap = keras.callbacks.SwapEMAWeights
    alone, right = fitted(reference, layer, swap(swap_on_epoch=True))
    history, states = fitted(model, layer, *beside(order, swap(swap_on_epoch=True)))
    assert history == alone
    for one, other in zip(right, states, strict=True):
        models.assert_same_state(one, other)
    assert words.get_vocabulary() == layer.get_vocabulary()


# --- ModelCheckpoint ---


@in_both_orders
@after_rebuilds
def test_checkpoints_hold_todays_rows_and_tokens(new_texts, order, tmp_path):
    _, states = expected(new_texts)
    model, _, layer = after_the_first_day()
    layer.adapt(list(new_texts))
    others = [
        keras.callbacks.ModelCheckpoint(
            tmp_path / f"{which}{ending}",
            monitor="loss",
            mode="max",
            save_best_only=which == "best",
            save_weights_only=ending == ".weights.h5",
        )
        for which in ("best", "last")
        for ending in (".keras", ".weights.h5")
    ]
    fit(model, TUESDAY, beside(order, *others))
    tokens = layer.get_vocabulary()
    other_order = models.vectorizer(None)
    other_order.set_vocabulary(tokens[:1:-1])
    for which, state in [("best", states[0]), ("last", states[-1])]:
        whole = keras.models.load_model(tmp_path / f"{which}.keras")
        assert whole.get_layer("words").get_vocabulary() == tokens
        assert not plan_warm_start(whole, models.named(layer)).changed
        models.assert_same_state(state, models.state(whole))

        weights, words = scorer(other_order)
        assert words.get_vocabulary() != tokens
        weights.load_weights(tmp_path / f"{which}.weights.h5")
        assert words.get_vocabulary() == tokens
        models.assert_same_state(state, models.state(weights))


# --- OrbaxCheckpoint ---


@in_both_orders
@after_rebuilds
@pytest.mark.filterwarnings("ignore:Sharding info not provided:UserWarning")
def test_an_orbax_checkpoint_holds_todays_rows_and_tokens(new_texts, order, tmp_path):
    if not hasattr(keras.callbacks, "OrbaxCheckpoint"):
        pytest.skip(f"Keras {keras.__version__} has no OrbaxCheckpoint")
    pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed")
    _, states = expected(new_texts)
    model, _, layer = after_the_first_day()
    layer.adapt(list(new_texts))
    orbax = keras.callbacks.OrbaxCheckpoint(str(tmp_path / "day"))
    fit(model, TUESDAY, beside(order, orbax))
    loaded = keras.models.load_model(str(tmp_path / "day"))
    assert loaded.get_layer("words").get_vocabulary() == layer.get_vocabulary()
    models.assert_same_state(states[-1], models.state(loaded))


# --- BackupAndRestore ---


class BrokenOffError(Exception):
    pass


class BreakOffInSecondEpoch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1:
            raise BrokenOffError


def broken_off(model, values, *callbacks):
    with pytest.raises(BrokenOffError):
        fit(model, values, [*callbacks, BreakOffInSecondEpoch()])


@in_both_orders
@pytest.mark.parametrize(
    ("again_with", "new_texts"),
    [
        pytest.param("a new model", tuple(RESHUFFLED), id="as many rows"),
        pytest.param("a new model", tuple(TUESDAY), id="more rows"),
        pytest.param("the same model", tuple(TUESDAY), id="the same model"),
    ],
)
def test_training_that_broke_off_goes_on_with_todays_rows(
    again_with, new_texts, order, tmp_path
):
    losses, states = expected(new_texts)
    model, words, layer = after_the_first_day()
    layer.adapt(list(new_texts))
    backup = functools.partial(keras.callbacks.BackupAndRestore, tmp_path / "backup")
    broken_off(model, TUESDAY, *beside(order, backup()))
    if again_with == "a new model":
        model, words = scorer(layer)
    history = fit(model, TUESDAY, beside(order, backup()))
    assert history.epoch == [1, 2]
    assert history.history["loss"] == losses[1:]
    models.assert_same_state(states[-1], models.state(model))
    assert words.get_vocabulary() == layer.get_vocabulary()


@after_rebuilds
def test_yesterdays_file_is_moved_before_it_takes_todays_backup(new_texts, tmp_path):
    losses, states = expected(new_texts)
    model, _, layer = after_the_first_day()
    model.save(tmp_path / "monday.keras")
    layer.adapt(list(new_texts))
    backup = functools.partial(keras.callbacks.BackupAndRestore, tmp_path / "backup")
    broken_off(model, TUESDAY, *beside("ours first", backup()))
    loaded = keras.models.load_model(tmp_path / "monday.keras")
    if BACKEND == "tensorflow":
        layer = loaded.layers[1]
        layer.adapt(list(new_texts))
    ours = VocabularyWarmStart(models.named(layer), new_embeddings_initializer="zeros")
    history = fit(models.mapped(loaded, layer), TUESDAY, [ours, backup()])
    assert history.history["loss"] == losses[1:]
    models.assert_same_state(states[-1], models.state(loaded))
    assert loaded.get_layer("words").get_vocabulary() == layer.get_vocabulary()


def backed_up_on_monday(directory, epochs, *settings):
    """The state and the tokens of a backup after one epoch, or after all three."""
    layer = models.vectorizer()
    model, _ = scorer(layer, *settings)
    seen = StateAtEachEpoch()
    backup = keras.callbacks.BackupAndRestore(directory, delete_checkpoint=False)
    if epochs == 1:
        broken_off(model, MONDAY, seen, backup)
    else:
        fit(model, MONDAY, [seen, backup])
    return seen.states[-1], layer.get_vocabulary()


@in_both_orders
@pytest.mark.parametrize(
    ("capacity", "new_texts"),
    [
        pytest.param(None, RESHUFFLED, id="as many tokens"),
        pytest.param(10, TUESDAY, id="a fixed capacity"),
    ],
)
def test_a_backup_of_an_older_vocabulary_does_not_stay_in_older_order(
    capacity, new_texts, order, tmp_path
):
    settings = (models.adam, capacity)
    before, old_tokens = backed_up_on_monday(tmp_path / "backup", 1, *settings)
    layer = models.vectorizer(new_texts)
    reference = moved_by_hand(before, old_tokens, layer, *settings)
    alone = fit(reference, TUESDAY, initial_epoch=1)
    model, words = scorer(layer, *settings)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    try:
        history = fit(model, TUESDAY, beside(order, backup))
    except WarmStartError:
        assert order == "ours first"
        return
    assert words.get_vocabulary() == layer.get_vocabulary()
    assert (history.epoch, history.history) == (alone.epoch, alone.history)
    models.assert_same_state(models.state(reference), models.state(model))


@in_both_orders
def test_nor_does_one_of_a_training_that_was_over(order, tmp_path):
    """No epoch is left, so that none begins."""
    before, old_tokens = backed_up_on_monday(tmp_path / "backup", epochs=3)
    layer = models.vectorizer(RESHUFFLED)
    model, words = scorer(layer)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    try:
        assert fit(model, TUESDAY, beside(order, backup)).epoch == []
    except WarmStartError:
        assert order == "ours first"
        return
    assert words.get_vocabulary() == layer.get_vocabulary()
    reference = moved_by_hand(before, old_tokens, layer)
    models.assert_same_state(models.state(reference), models.state(model))


@in_both_orders
@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")
def test_a_backup_with_another_number_of_rows_is_refused(order, tmp_path):
    backed_up_on_monday(tmp_path / "backup", epochs=1)
    layer = models.vectorizer(TUESDAY)
    model, words = scorer(layer)
    rows = models.array(words.embeddings)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    seen = StateAtEachEpoch()
    with pytest.raises(ValueError, match=r"Layer 'words'.* 9 rows"):
        fit(model, TUESDAY, [*beside(order, backup), seen])
    np.testing.assert_array_equal(models.array(words.embeddings), rows)
    assert words.get_vocabulary() == layer.get_vocabulary()
    assert (tmp_path / "backup" / "latest.weights.h5").exists()
