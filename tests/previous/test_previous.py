"""A model that starts from a previous run: from files, and from a model at hand."""

import hashlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from faults import let_fail
from models import JIT, array, on_tensorflow, optimizer, variables
from runs import (
    BASE,
    LENGTH,
    NEW,
    SOURCES,
    Day,
    bits,
    build,
    lookup,
    saved,
    told,
    train,
)

from warmstart_keras import (
    Vocabulary,
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    plan_warm_start,
    warm_start,
)

pytestmark = pytest.mark.files

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", SOURCES)
def test_a_new_model_goes_on_as_the_old_one_would(kind, tmp_path):
    monday = Day()
    previous = saved(monday.model, kind, tmp_path)
    tuesday = build(lookup(NEW))
    report = warm_start(tuesday, previous=previous, verbose=0, **told(kind))
    after, old_model = bits(tuesday), bits(monday.model)
    assert after == monday.go_on()
    assert kind == "live" or old_model != after
    if kind in ("archive", SOURCES[-1]):
        assert train(tuesday, 9, seed=1) == train(monday.model, 9, seed=1)
    assert report.changed
    assert report.notes == report.missing == report.left_out == []
    (change,) = report.vocabularies
    assert (change.kept, change.new, change.dropped) == (4, 4, 3)
    assert report.variables[0].shape_before == (8, 4)
    assert report.variables[0].shape_after == (9, 4)
    assert len(report.variables[0].slots) == 2


@pytest.mark.parametrize("made", ["SGD", "Adagrad", "Adafactor", "Ftrl", "RMSprop"])
def test_every_kind_of_slot_comes_over(made, tmp_path):
    monday = Day(made=made)
    for kind in ("weights", "archive"):
        tuesday = build(lookup(NEW), made=made)
        warm_start(tuesday, previous=saved(monday.model, kind, tmp_path), verbose=0)
        if kind == "weights":
            after = bits(tuesday)
    assert after == bits(tuesday) == monday.go_on()


@pytest.mark.parametrize("made", ["wrapped", "averaged", "accumulating"])
def test_optimizers_in_optimizers_and_averages_come_over(made, tmp_path):
    def compiled(model):
        chosen = {
            "wrapped": lambda: keras.optimizers.LossScaleOptimizer(
                keras.optimizers.Adam(0.01)
            ),
            "averaged": lambda: keras.optimizers.Adam(0.01, use_ema=True),
            "accumulating": lambda: keras.optimizers.Adam(
                0.01, gradient_accumulation_steps=2
            ),
        }[made]()
        model.compile(chosen, "mse", jit_compile=JIT)
        return model

    keras.utils.set_random_seed(0)
    source = lookup()
    monday = compiled(build(source))
    train(monday, 8)
    previous = saved(monday, "archive", tmp_path)
    for extra in (False, True):
        tuesday = compiled(build(lookup(NEW), extra=extra))
        warm_start(tuesday, previous=previous, verbose=0)
        assert int(tuesday.optimizer.iterations) == int(monday.optimizer.iterations)
        if not extra:
            same = bits(tuesday)
    source.set_vocabulary(NEW)
    warm_start(monday, verbose=0)
    assert same == bits(monday)


def test_in_fit_it_is_done_once(tmp_path):
    monday = Day()
    path = saved(monday.model, "archive", tmp_path)
    tuesday = build(lookup(NEW), eager=False)
    callback = VocabularyWarmStart(previous=path, verbose=0)
    x, y = np.zeros((4, LENGTH), "int32"), np.ones((4, 1))
    tuesday.fit(x, y, verbose=0, callbacks=[callback])
    expected = int(monday.model.optimizer.iterations) + 1
    assert int(tuesday.optimizer.iterations) == expected
    report = callback.report
    tuesday.fit(x, y, verbose=0, callbacks=[callback])
    assert int(tuesday.optimizer.iterations) == expected + 1
    assert callback.report is report


def test_a_second_rebuild_moves_what_came(tmp_path):
    monday = Day()
    source = lookup(NEW)
    tuesday = build(source)
    callback = VocabularyWarmStart(previous=saved(monday.model, "weights", tmp_path))
    x, y = np.zeros((4, LENGTH), "int32"), np.ones((4, 1))
    tuesday.fit(x, y, verbose=0, callbacks=[callback])
    rows = dict(zip(["[UNK]", *NEW], array(tuesday.layers[1].embeddings), strict=True))
    source.set_vocabulary(["words", "a", "later"])
    tuesday.optimizer.learning_rate = 0.0
    tuesday.fit(x, y, verbose=0, callbacks=[callback])
    after = array(tuesday.layers[1].embeddings)
    np.testing.assert_array_equal(after[1:3], [rows["words"], rows["a"]])


def test_a_first_day_without_a_file_is_a_normal_day(tmp_path, capsys):
    model = build(lookup())
    before = bits(model)
    report = warm_start(
        model,
        previous=tmp_path / "none.keras",
        missing_ok=True,
        base_vocabularies={"words": ["of", "the", "file"]},
    )
    assert not report.changed
    assert report.previous is None
    assert "there is no previous run at" in report.notes[0]
    assert "there is no previous run at" in capsys.readouterr().out
    assert bits(model) == before
    callback = VocabularyWarmStart(previous=tmp_path, missing_ok=True, verbose=0)
    model.fit(np.zeros((2, 3), "int32"), np.ones((2, 1)), verbose=0, callbacks=[callback])
    assert callback.report is None


@pytest.mark.parametrize("name", ["none.keras", "none.weights.h5", "."])
def test_a_file_that_is_not_there_is_an_error_unless_that_is_fine(name, tmp_path):
    with pytest.raises(WarmStartError, match=r"Received: .*does not exist .*missing_ok="):
        warm_start(build(lookup()), previous=tmp_path / name)


def test_the_newest_file_of_a_directory_counts(tmp_path):
    day = Day()
    for number, name in enumerate(["b.keras", "c.weights.h5", "a.keras"]):
        saved_as = tmp_path / name
        train(day.model, 8, steps=1)
        save = day.model.save_weights if name.endswith("h5") else day.model.save
        save(saved_as)
        os.utime(saved_as, (number, number))
    (tmp_path / ".half.keras").write_bytes(b"half")
    report = warm_start(build(lookup(NEW)), previous=tmp_path, verbose=0)
    assert report.previous == f"'{tmp_path / 'a.keras'}'"


def test_planning_reads_and_changes_nothing(tmp_path):
    monday = Day()
    path = saved(monday.model, "archive", tmp_path)
    content = Path(path).read_bytes()
    tuesday = build(lookup(NEW))
    before, chance = bits(tuesday), random.getstate()
    plan = plan_warm_start(tuesday, previous=path)
    assert random.getstate() == chance
    assert plan.changed
    assert "run.keras" in str(plan)
    assert bits(tuesday) == before
    assert not tuesday.optimizer.built
    assert Path(path).read_bytes() == content
    # What was planned is what was read, whatever becomes of the file.
    Path(path).unlink()
    plan.apply()
    assert bits(tuesday) == monday.go_on()
    with pytest.raises(WarmStartError, match="must be applied to the model that it was"):
        plan.apply()


def test_no_table_is_allocated_only_to_look_at_it(tmp_path, monkeypatch):
    """Neither when a file is read, nor later, when Keras makes what it remembers."""
    monday, tuesday = Day(), build(lookup(NEW))
    path = saved(monday.model, "archive", tmp_path)
    made, build_layer = [], WarmStartEmbedding.build

    def noted(layer, *args):
        made.append(layer)
        return build_layer(layer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(WarmStartEmbedding, "build", noted)
        plan_warm_start(tuesday, previous=path)
    (looked_at,) = made
    x, y = np.zeros((4, LENGTH), "int32"), np.ones((4, 1))
    build(lookup()).fit(x, y, verbose=0)  # Keras ends a stateless scope of its own
    assert looked_at._embeddings._value is None


def test_a_file_that_is_written_again_after_planning_is_an_error(tmp_path):
    monday = Day()
    path = saved(monday.model, "weights", tmp_path)
    tuesday = build(lookup(NEW))
    plan = plan_warm_start(tuesday, previous=path)
    train(monday.model, 8)
    saved(monday.model, "weights", tmp_path)
    with pytest.raises(WarmStartError, match=r"previous run. have changed since"):
        plan.apply()


def test_a_live_model_goes_on_serving(tmp_path):
    monday = Day()
    ids = np.arange(6).reshape(2, 3)
    served = monday.model.predict(ids, verbose=0)
    function, before = monday.model.predict_function, bits(monday.model)
    warm_start(build(lookup(NEW)), previous=monday.model, verbose=0)
    assert monday.model.predict_function is function
    assert bits(monday.model) == before
    np.testing.assert_array_equal(monday.model.predict(ids, verbose=0), served)


def test_a_live_model_must_share_nothing():
    day = Day()
    with pytest.raises(WarmStartError, match=r"must not share layers.*layer 'norm'"):
        warm_start(day.model, previous=day.model)


# --- layers that are not the same ---


def test_other_layers_are_left_and_named(tmp_path):
    monday = Day()
    before = bits(monday.model)
    for kind in ("archive", "live"):
        previous = saved(monday.model, kind, tmp_path)
        larger = build(lookup(), extra=True)
        fresh = array(larger.get_layer("one more").kernel)
        report = warm_start(larger, previous=previous, verbose=0)
        assert report.missing == ["one more", "and another"]
        assert report.left_out == report.notes == []
        assert (
            "Not in the previous run, kept as initialized: one more, and another"
            in str(report)
        )
        np.testing.assert_array_equal(array(larger.get_layer("one more").kernel), fresh)
        same = {v.name if "adam" in v.path else v.path: v for v in variables(larger)}
        for variable, (_, value) in zip(variables(monday.model), before, strict=True):
            name = variable.name if "adam" in variable.path else variable.path
            assert array(same[name]).tobytes() == value
        smaller = build(lookup())
        report = warm_start(smaller, previous=saved(larger, kind, tmp_path), verbose=0)
        assert report.left_out == ["one more", "and another"]
        assert report.missing == report.notes == []
        assert "Only in the previous run, left out: one more, and another" in str(report)
        assert [value for _, value in bits(smaller)] == [value for _, value in before]


def test_weights_without_a_configuration_bring_slots_where_that_is_certain(tmp_path):
    monday = Day()
    path = saved(monday.model, "weights", tmp_path)
    larger = build(lookup(), extra=True)
    report = warm_start(larger, previous=path, verbose=0)
    assert report.notes == []  # all layers of the file are there: one order is possible
    assert int(larger.optimizer.iterations) == 3
    smaller = build(lookup())
    train(smaller, 8)
    path = saved(larger, "weights", tmp_path)
    report = warm_start(smaller, previous=path, verbose=0)
    assert "the file does not show which model variable" in report.notes[0]
    for variable in smaller.optimizer.variables[2:]:
        assert not array(variable).any()


def test_another_optimizer_starts_anew(tmp_path):
    monday = Day(made="Adam")
    other = build(lookup(NEW), made="Nadam")
    previous = saved(monday.model, "archive", tmp_path)
    report = warm_start(other, previous=previous, verbose=0)
    assert "is Nadam, that of the previous run is Adam" in report.notes[0]
    assert int(other.optimizer.iterations) == 0
    other = build(lookup(NEW), made="SGD")
    previous = saved(monday.model, "weights", tmp_path)
    report = warm_start(other, previous=previous, verbose=0)
    assert "is SGD, that of the previous run is Adam" in report.notes[0]
    monday = Day(made="SGD")
    monday.model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", jit_compile=JIT)
    train(monday.model, 8)
    previous = saved(monday.model, "weights", tmp_path)
    report = warm_start(build(lookup(NEW), made="SGD"), previous=previous, verbose=0)
    assert "has 2 variables, that of the previous run has 9" in report.notes[0]


def test_the_learning_rate_is_part_of_the_state_and_is_told(tmp_path):
    monday = Day()
    monday.model.optimizer.learning_rate = 0.25
    tuesday = build(lookup(NEW))
    report = warm_start(
        tuesday, previous=saved(monday.model, "archive", tmp_path), verbose=0
    )
    assert float(tuesday.optimizer.learning_rate) == 0.25
    assert "learning rate is restored" in report.notes[0]
    assert "0.25 instead of 0.01" in report.notes[0]


@pytest.mark.parametrize("frozen", ["then", "now", "both"])
@pytest.mark.parametrize("kind", ["archive", "weights"])
def test_layers_that_are_frozen_on_one_day_have_slots_on_the_other(
    kind, frozen, tmp_path
):
    """Slots come over whose they are for certain; none comes to another variable."""
    keras.utils.set_random_seed(0)
    monday, tuesday = build(lookup()), build(lookup(NEW))
    for model, when in ((monday, "then"), (tuesday, "now")):
        if frozen in (when, "both"):
            model.get_layer("first").trainable = False
            model.compile(optimizer("Adam", 0.01), "mse", jit_compile=JIT)
    train(monday, 8)
    report = warm_start(tuesday, previous=saved(monday, kind, tmp_path), verbose=0)
    before, after = (
        {v.name: array(v) for v in model.optimizer.variables[2:]}
        for model in (monday, tuesday)
    )
    if kind == "weights" and frozen != "both":
        assert "starts with fresh slots" in report.notes[0]
        assert not any(value.any() for value in after.values())
        return
    assert report.notes == []
    for name in after.keys() & before.keys():
        if "words" not in name:
            np.testing.assert_array_equal(after[name], before[name])
    for name in after.keys() - before.keys():
        assert "first" in name
        assert not after[name].any()


@pytest.mark.parametrize("built", [False, True])
def test_a_table_that_the_run_has_not_follows_its_own_words_meanwhile(built, tmp_path):
    def made(sources):
        ids = keras.Input((LENGTH,), dtype="int32")
        rows = [
            WarmStartEmbedding(output_dim=4, vocabulary=source, name=name)(ids)
            for name, source in sources.items()
        ]
        joined = rows[0] if len(rows) == 1 else keras.layers.Concatenate()(rows)
        hidden = keras.layers.GlobalMaxPooling1D()(joined)
        outputs = keras.layers.Dense(1, name=f"last_of_{len(rows)}")(hidden)
        model = keras.Model(ids, outputs)
        model.compile(optimizer("Adam", 0.01), "mse", jit_compile=JIT)
        return model

    monday = made({"words": lookup()})
    train(monday, 8)
    tags = lookup()
    tuesday = made({"words": lookup(NEW), "tags": tags})
    if built:
        tuesday.optimizer.build(tuesday.trainable_variables)
    before = array(tuesday.get_layer("tags").embeddings)
    tags.set_vocabulary(NEW)
    plan = plan_warm_start(
        tuesday, previous=saved(monday, "archive", tmp_path), verbose=0
    )
    let_fail(plan.apply)
    report = plan.apply()
    assert sorted(report.missing) == ["last_of_2", "tags"]
    assert [len(variable.slots) for variable in report.variables] == [2, 2]
    after = array(tuesday.get_layer("tags").embeddings)
    assert after[1].tobytes() == before[7].tobytes()  # "g"
    assert int(tuesday.optimizer.iterations) == 3
    train(tuesday, 9)


@pytest.mark.parametrize("kind", ["archive", "weights", "live"])
def test_another_width_is_an_error_that_says_both(kind, tmp_path):
    monday = Day(width=4)
    other = build(lookup(NEW), width=6)
    before = bits(other)
    with pytest.raises(WarmStartError, match="width 6 now, width 4 there"):
        warm_start(other, previous=saved(monday.model, kind, tmp_path))
    assert bits(other) == before


def test_another_shape_is_an_error_that_says_both(tmp_path):
    def made(units):
        ids = keras.Input((1,), dtype="int32")
        hidden = keras.layers.Embedding(3, 2, name="words")(ids)
        return keras.Model(ids, keras.layers.Dense(units, name="last")(hidden))

    path = saved(made(4), "archive", tmp_path)
    with pytest.raises(
        WarmStartError, match=r"Layer 'last'.*\(2, 5\) now, \(2, 4\) there"
    ):
        plan_warm_start(made(5), previous=path)


def automatic(units, *, first=None):
    """A model whose layers bear automatic names."""
    ids = keras.Input((LENGTH,), dtype="int32")
    hidden = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(ids))
    if first is not None:
        hidden = keras.layers.Dense(first)(hidden)
    for number in units:
        hidden = keras.layers.Dense(number)(hidden)
    model = keras.Model(ids, hidden)
    model.compile("adam", "mse", jit_compile=JIT)
    return model


@pytest.mark.parametrize("kind", SOURCES)
def test_automatic_names_are_matched_by_order(kind, tmp_path):
    monday = automatic([4, 4, 4])
    monday.train_on_batch(np.zeros((2, LENGTH), "int32"), np.ones((2, 4)))
    tuesday = automatic([4, 4, 4])
    with pytest.warns(UserWarning, match="no vocabulary was found for any .* of model"):
        report = warm_start(tuesday, previous=saved(monday, kind, tmp_path), verbose=0)
    assert bits(tuesday) == bits(monday)
    assert report.missing == report.left_out == []
    note, _ = report.notes
    assert "copied in their old order. If the rows follow a vocabulary, pass" in note


@pytest.mark.filterwarnings("ignore:Warm start. no vocabulary was found")
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("other", [[4, 4], [4, 4, 4, 4], [4, 5, 4]])
def test_never_a_layer_into_another_by_accident_of_position(kind, other, tmp_path):
    monday, tuesday = automatic([4, 4, 4]), automatic(other)
    fresh = bits(tuesday)
    report = warm_start(tuesday, previous=saved(monday, kind, tmp_path), verbose=0)
    assert bits(tuesday)[0] != fresh[0]  # the embedding is the same
    assert bits(tuesday)[1 : 2 * len(other) + 1] == fresh[1:-2]
    assert len(report.missing) == len(other)
    assert len(report.left_out) == 3


class Towers(keras.Model):
    """A subclassed model: its layers are held by attributes, and bear automatic names."""

    def __init__(self, source, blocks=2, **kwargs):
        super().__init__(**kwargs)
        self.words = WarmStartEmbedding(output_dim=4, vocabulary=source)
        self.blocks = [keras.layers.Dense(4) for _ in range(blocks)]
        self.last = keras.layers.Dense(1)

    def call(self, ids):
        hidden = keras.ops.mean(self.words(ids), axis=1)
        for block in self.blocks:
            hidden = block(hidden)
        return self.last(hidden)


def towers(source):
    model = Towers(source)
    model.compile("adam", "mse", jit_compile=JIT)
    model(np.zeros((1, LENGTH), "int32"))
    return model


@pytest.mark.parametrize("kind", ["weights", "live"])
def test_a_subclassed_model_starts_from_a_file_too(kind, tmp_path):
    source = lookup()
    monday = towers(source)
    train(monday, 8)
    tuesday = towers(lookup(NEW))
    report = warm_start(tuesday, previous=saved(monday, kind, tmp_path), verbose=0)
    assert report.notes == report.missing == report.left_out == []
    after = bits(tuesday)
    source.set_vocabulary(NEW)
    warm_start(monday, verbose=0)
    assert after == bits(monday)


@on_tensorflow
def test_layers_that_a_checkpoint_does_not_tell_apart_are_an_error(tmp_path):
    previous = saved(towers(lookup()), "tensorflow checkpoint", tmp_path)
    with pytest.raises(
        WarmStartError, match=r"Received: .* twice\. .*lists.* Save the model with"
    ):
        warm_start(towers(lookup(NEW)), previous=previous)


@on_tensorflow
def test_a_subclassed_model_of_different_layers_starts_from_a_checkpoint(tmp_path):
    class Model(keras.Model):
        def __init__(self, source):
            super().__init__(name="model")
            self.words = WarmStartEmbedding(output_dim=4, vocabulary=source, name="words")
            self.last = keras.layers.Dense(1)

        def call(self, ids):
            return self.last(keras.ops.mean(self.words(ids), axis=1))

    models = []
    for words in (BASE, NEW):
        model = Model(lookup(words))
        model.compile("adam", "mse", jit_compile=JIT)
        model(np.zeros((1, LENGTH), "int32"))
        models.append(model)
    monday, tuesday = models
    train(monday, 8)
    previous = saved(monday, "tensorflow checkpoint", tmp_path)
    base = {tuesday.words: ["[UNK]", *BASE]}
    warm_start(tuesday, previous=previous, base_vocabularies=base, verbose=0)
    monday.words.vocabulary_source.set_vocabulary(NEW)
    warm_start(monday, verbose=0)
    assert bits(tuesday) == bits(monday)


def test_nothing_in_common_is_an_error(tmp_path):
    monday = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="other")])
    with pytest.raises(WarmStartError, match=r"a layer in common.*'other'"):
        warm_start(build(lookup()), previous=saved(monday, "archive", tmp_path))


class Encoder(keras.layers.Layer):
    """A layer of the user's own around an embedding."""

    def __init__(self, source, **kwargs):
        super().__init__(**kwargs)
        self.rows = WarmStartEmbedding(output_dim=2, vocabulary=source, name="rows")

    def build(self, shape):
        self.rows.build()

    def call(self, ids):
        return keras.ops.mean(self.rows(ids), axis=1)


@pytest.mark.parametrize("kind", ["weights", "live"])
def test_an_embedding_in_layers_of_ones_own_is_found(kind, tmp_path):
    class Model(keras.Model):
        def __init__(self, source):
            super().__init__()
            self.one, self.two = Encoder(source), Encoder(source)  # after "layers"
            self.also = Encoder(source)  # before it

        def call(self, ids):
            return self.one(ids) + self.two(ids) * self.also(ids)

    source = lookup()
    models = []
    for given in (source, lookup(NEW)):
        models.append(Model(given))
        models[-1].compile("adam", "mse", jit_compile=JIT)
        models[-1](np.zeros((1, LENGTH), "int32"))
    monday, tuesday = models
    monday.train_on_batch(np.ones((4, LENGTH), "int32"), np.ones((4, 2)))
    report = warm_start(tuesday, previous=saved(monday, kind, tmp_path), verbose=0)
    assert report.missing == report.left_out == []
    (note,) = report.notes
    assert "were matched by their order" in note
    assert "automatic names: encoder" in note
    after = [array(v)[0].tobytes() for v in variables(tuesday) if v.shape == (9, 2)]
    before = [array(v)[0].tobytes() for v in variables(monday) if v.shape == (8, 2)]
    assert after == before
    assert len(after) == 9


def test_a_model_without_variables_yet_is_an_error(tmp_path):
    monday = towers(lookup())
    path = saved(monday, "weights", tmp_path)
    unbuilt = Towers(lookup(NEW))
    with pytest.raises(WarmStartError, match=r"must be built. Received: .*embed"):
        warm_start(unbuilt, previous=path)


def test_layers_inside_models_inside_models_are_found(tmp_path):
    def made(source):
        tower = keras.Sequential(
            [
                keras.Input((LENGTH,), dtype="int32"),
                WarmStartEmbedding(output_dim=2, vocabulary=source, name="words"),
                keras.layers.LSTM(3),
                keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(2)]),
            ]
        )
        ids = keras.Input((LENGTH,), dtype="int32")
        model = keras.Model(ids, keras.layers.Dense(1)(tower(ids)))
        model.compile("adam", "mse", jit_compile=JIT)
        return model

    source = lookup()
    monday = made(source)
    train(monday, 8)
    after = []
    for kind in ("archive", "weights", "live"):
        tuesday = made(lookup(NEW))
        warm_start(tuesday, previous=saved(monday, kind, tmp_path), verbose=0)
        after.append(bits(tuesday))
    source.set_vocabulary(NEW)
    warm_start(monday, verbose=0)
    assert after == [bits(monday)] * 3


# --- what the rows stood for ---


@pytest.mark.parametrize("kind", [k for k in SOURCES if k != "live"])
def test_a_plain_embedding_becomes_one_of_ours(kind, tmp_path):
    keras.utils.set_random_seed(0)
    monday = build(lookup(), keras.layers.Embedding)
    train(monday, 8)
    before = array(monday.layers[1].embeddings)
    tuesday = build(lookup(NEW))
    previous = saved(monday, kind, tmp_path)
    with pytest.raises(WarmStartError, match=r"Received: .* 8 rows.*base_vocabularies="):
        warm_start(tuesday, previous=previous)
    report = warm_start(
        tuesday,
        previous=previous,
        base_vocabularies={"words": ["[UNK]", *BASE]},
        verbose=0,
    )
    assert report.notes == []
    after = array(tuesday.layers[1].embeddings)
    for row, word in enumerate(["[UNK]", *NEW]):
        if word in ["[UNK]", *BASE]:
            old = ["[UNK]", *BASE].index(word)
            assert after[row].tobytes() == before[old].tobytes()
    assert int(tuesday.optimizer.iterations) == 3
    assert tuesday.layers[1].get_vocabulary() == ["[UNK]", *NEW]


def test_words_without_their_special_rows_are_an_error(tmp_path):
    path = saved(build(lookup(), keras.layers.Embedding), "archive", tmp_path)
    with pytest.raises(WarmStartError, match=r"'words' must include the mask and OOV"):
        warm_start(build(lookup(NEW)), previous=path, base_vocabularies={"words": BASE})


def test_a_plain_embedding_stays_plain(tmp_path):
    source = lookup(NEW)
    monday = build(lookup(), keras.layers.Embedding)
    path = saved(monday, "weights", tmp_path)
    tuesday = build(source, keras.layers.Embedding)
    warm_start(
        tuesday,
        {"words": source},
        path,
        base_vocabularies={"words": ["[UNK]", *BASE]},
        verbose=0,
    )
    before, after = (array(m.layers[1].embeddings) for m in (monday, tuesday))
    assert after[1].tobytes() == before[7].tobytes()
    # What its rows stand for is recorded: a rebuild moves them.
    source.set_vocabulary(["words", "g"])
    warm_start(tuesday, {"words": source}, verbose=0)
    assert array(tuesday.layers[1].embeddings)[2].tobytes() == after[1].tobytes()


def test_a_vocabulary_of_the_file_is_not_overruled(tmp_path):
    monday = Day()
    path = saved(monday.model, "archive", tmp_path)
    other = {"words": ["[UNK]", *BASE[::-1]]}
    with pytest.raises(WarmStartError, match=r"`base_vocabularies`.*Received.*Remove"):
        warm_start(build(lookup(NEW)), previous=path, base_vocabularies=other)
    same = {"words": ["[UNK]", *BASE]}
    warm_start(build(lookup(NEW)), previous=path, base_vocabularies=same, verbose=0)


def test_rows_of_another_number_than_words_are_an_error(tmp_path):
    monday = build(lookup(), keras.layers.Embedding)
    path = saved(monday, "archive", tmp_path)
    with pytest.raises(WarmStartError, match=r"each of its 8 rows. Received: 10 tokens"):
        warm_start(
            build(lookup(NEW)),
            previous=path,
            base_vocabularies={"words": ["[UNK]", *BASE, "h", "i"]},
        )


def test_today_must_say_what_rows_with_a_vocabulary_stand_for(tmp_path):
    monday = Day()
    path = saved(monday.model, "archive", tmp_path)
    today = build(lookup(), keras.layers.Embedding)
    with pytest.raises(WarmStartError, match=r"'words'.*Received.*`vocabularies=\{'wo"):
        warm_start(today, previous=path)
    warm_start(today, {"words": lookup()}, path, verbose=0)
    assert bits(today)[0] == bits(monday.model)[0]


def test_spare_rows_come_over(tmp_path):
    def made(words):
        ids = keras.Input((LENGTH,), dtype="int32")
        layer = WarmStartEmbedding(12, 2, vocabulary=words, name="words")
        return keras.Model(ids, layer(ids))

    source = lookup()
    monday, tuesday = made(source), made(lookup(NEW))
    path = saved(monday, "archive", tmp_path)
    warm_start(tuesday, previous=path, verbose=0)
    after = bits_of_weights(tuesday)
    source.set_vocabulary(NEW)
    warm_start(monday, verbose=0)
    assert after == bits_of_weights(monday)


def bits_of_weights(model):
    return [array(variable).tobytes() for variable in model.weights]


@on_tensorflow
@pytest.mark.parametrize("given", ["adapted", "in the configuration"])
def test_a_lookup_in_the_archive_says_what_rows_stood_for(given, tmp_path):
    def made(texts):
        layer = keras.layers.TextVectorization(
            output_sequence_length=4, name="vectorizer"
        )
        if given == "adapted":
            layer.adapt([" ".join(texts)])
        else:
            layer = keras.layers.StringLookup(vocabulary=texts, name="lookup")
        inputs = keras.Input((1,), dtype="string")
        rows = keras.layers.Embedding(layer.vocabulary_size(), 4, name="words")
        return keras.Model(inputs, rows(layer(inputs))), layer

    monday, old = made(["plot", "film", "film", "end"] if given == "adapted" else BASE)
    tuesday, new = made(["twist", "film", "twist"] if given == "adapted" else NEW)
    before = dict(zip(old.get_vocabulary(), array(monday.weights[-1]), strict=True))
    warm_start(tuesday, previous=saved(monday, "archive", tmp_path), verbose=0)
    after = dict(zip(new.get_vocabulary(), array(tuesday.weights[-1]), strict=True))
    kept = before.keys() & after.keys()
    assert len(kept) > 2
    for word in kept:
        assert after[word].tobytes() == before[word].tobytes()
    # A weights file has no configuration.
    with pytest.raises(WarmStartError, match=r"Pass `base_vocabularies=\{'words'"):
        warm_start(made(NEW)[0], previous=saved(monday, "weights", tmp_path))


@on_tensorflow
@pytest.mark.parametrize("strange", ["a\u2028b", "a\x85b", "a\nb", "a\x0bb", " "])
def test_a_lookup_that_keras_reads_wrongly_is_read_rightly_or_refused(strange, tmp_path):
    words = ["one", strange, "two"]

    def made(words):
        layer = keras.layers.StringLookup(name="lookup")
        layer.set_vocabulary(words)
        inputs = keras.Input((1,), dtype="string")
        rows = keras.layers.Embedding(9, 2, name="words")
        return keras.Model(inputs, rows(layer(inputs)))

    monday, tuesday = made(words), made(["two", "one"])
    path = saved(monday, "archive", tmp_path)
    if "\n" in strange:
        with pytest.raises(WarmStartError, match=r"Pass `base_vocabularies=\{'words'"):
            warm_start(tuesday, previous=path)
        return
    warm_start(tuesday, previous=path, verbose=0)
    before, after = (array(model.weights[-1]) for model in (monday, tuesday))
    assert after[1].tobytes() == before[3].tobytes()
    assert after[2].tobytes() == before[1].tobytes()


# --- what stays today's ---


@on_tensorflow
def test_what_adapt_made_today_stays(tmp_path):
    def made(texts, numbers):
        layer = keras.layers.TextVectorization(output_mode="tf_idf", name="texts")
        layer.adapt(texts)
        scale = keras.layers.Normalization(axis=None, name="scale")
        scale.adapt(numbers)
        cut = keras.layers.Discretization(num_bins=2, name="cut", output_mode="one_hot")
        cut.adapt(numbers)
        inputs = [keras.Input((), dtype="string"), keras.Input((1,))]
        parts = [layer(inputs[0]), scale(inputs[1]), cut(inputs[1])]
        joined = keras.layers.Concatenate()(parts)
        model = keras.Model(inputs, keras.layers.Dense(1, name="last")(joined))
        model.compile("sgd", "mse", jit_compile=JIT)
        return model

    monday = made(["a film", "a plot"], np.array([1.0, 2.0, 3.0, 4.0]))
    tuesday = made(["a film", "film"], np.array([10.0, 20.0, 30.0, 41.0]))
    sample = [np.array(["a film"], object), np.array([[3.0]])]
    inside = keras.Model(tuesday.inputs, tuesday.get_layer("last").input)
    sample = [keras.ops.convert_to_tensor(part) for part in sample]
    before = array(inside(sample))
    with pytest.raises(WarmStartError, match="Layer 'last'"):
        warm_start(tuesday, previous=saved(monday, "archive", tmp_path))
    tuesday = made(["b c", "b"], np.array([10.0, 20.0, 30.0, 41.0]))
    monday = made(["b a", "a"], np.array([1.0, 2.0, 3.0, 4.0]))
    inside = keras.Model(tuesday.inputs, tuesday.get_layer("last").input)
    before = array(inside(sample))
    for kind in ("archive", "weights", "live"):
        report = warm_start(tuesday, previous=saved(monday, kind, tmp_path), verbose=0)
        np.testing.assert_array_equal(array(inside(sample)), before)
        kernels = [array(m.get_layer("last").kernel) for m in (monday, tuesday)]
        np.testing.assert_array_equal(*kernels)
        assert "values from `adapt` keep these values" in report.notes[0]


def test_a_normalization_that_was_not_adapted_today_is_yesterdays(tmp_path):
    def made(adapt):
        scale = keras.layers.Normalization(axis=None, name="scale")
        scale.adapt(np.array([1.0, 2.0, 6.0])) if adapt else scale.build((None, 2))
        inputs = keras.Input((2,))
        return keras.Model(inputs, keras.layers.Dense(1, name="last")(scale(inputs)))

    monday, tuesday = made(True), made(False)
    report = warm_start(tuesday, previous=saved(monday, "weights", tmp_path), verbose=0)
    x = np.array([[3.0, 4.0]])
    np.testing.assert_array_equal(array(monday(x)), array(tuesday(x)))
    assert report.notes == []


@pytest.mark.parametrize("kind", SOURCES)
def test_a_normalization_that_was_adapted_today_stays(kind, tmp_path):
    def made(numbers):
        scale = keras.layers.Normalization(axis=None, name="scale")
        scale.adapt(np.array(numbers))
        inputs = keras.Input((2,))
        model = keras.Model(inputs, keras.layers.Dense(1, name="last")(scale(inputs)))
        model.compile("adam", "mse", jit_compile=JIT)
        return model

    monday, tuesday = made([1.0, 2.0, 3.0]), made([10.0, 20.0, 40.0])
    monday.train_on_batch(np.ones((2, 2)), np.ones((2, 1)))
    before = [array(v).tobytes() for v in tuesday.get_layer("scale").variables]
    report = warm_start(tuesday, previous=saved(monday, kind, tmp_path), verbose=0)
    after = [array(v).tobytes() for v in tuesday.get_layer("scale").variables]
    assert after == before
    kernels = [array(model.get_layer("last").kernel) for model in (monday, tuesday)]
    np.testing.assert_array_equal(*kernels)
    (note,) = report.notes
    assert note.startswith("layers with values from `adapt` keep these values")
    assert note.endswith(": scale.")


def test_only_what_the_user_named_is_reset(tmp_path):
    monday = Day()
    path = saved(monday.model, "archive", tmp_path)
    tuesday = build(lookup(NEW))
    warm_start(tuesday, previous=path, optimizer_state="reset", verbose=0)
    slots = {v.path: array(v) for v in tuesday.optimizer.variables}
    mine = [v for path, v in slots.items() if "words_embeddings" in path]
    others = [v for path, v in slots.items() if "first_kernel" in path]
    assert len(mine) == len(others) == 2
    assert not any(value.any() for value in mine)
    assert all(value.any() for value in others)


def test_a_model_that_was_trained_already_starts_from_the_file_alone(tmp_path):
    monday = Day()
    path = saved(monday.model, "archive", tmp_path)
    tuesday = build(lookup(NEW))
    train(tuesday, 9, steps=7, seed=5)
    warm_start(tuesday, previous=path, verbose=0)
    assert bits(tuesday) == monday.go_on()


def test_a_loop_of_ones_own_gets_the_state_too(tmp_path):
    monday = Day()
    path = saved(monday.model, "archive", tmp_path)
    tuesday = build(lookup(NEW))
    own, tuesday.optimizer = tuesday.optimizer, None
    warm_start(tuesday, previous=path, optimizer=own, verbose=0)
    tuesday.optimizer = own
    assert bits(tuesday) == monday.go_on()


def test_a_model_that_is_not_compiled_gets_its_weights(tmp_path):
    monday = Day()
    path = saved(monday.model, "weights", tmp_path)
    tuesday = build(lookup(NEW))
    tuesday.optimizer = None
    report = warm_start(tuesday, previous=path, verbose=0)
    assert "the model is not compiled" in report.notes[0]
    monday.go_on()
    assert bits_of_weights(tuesday) == bits_of_weights(monday.model)


def test_a_source_that_is_no_run_is_an_error(tmp_path):
    model = build(lookup())
    with pytest.raises(WarmStartError, match=r"`previous` must be the path .*type int"):
        warm_start(model, previous=3)
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(
        WarmStartError, match=r"`previous` .*Received: .*model.h5.*load_model"
    ):
        warm_start(model, previous=tmp_path / "model.h5")


def test_lora_factors_are_merged_and_cleared(tmp_path):
    def made():
        inputs = keras.Input((3,))
        return keras.Model(inputs, keras.layers.Dense(4, name="last")(inputs))

    monday, tuesday = made(), made()
    tuesday.get_layer("last").enable_lora(2)
    tuesday.get_layer("last").lora_kernel_b.assign(np.ones((2, 4)))
    warm_start(tuesday, previous=saved(monday, "archive", tmp_path), verbose=0)
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(array(monday(x)), array(tuesday(x)))


JOB = """
import sys
import numpy as np
sys.path[:0] = [sys.argv[1]]
import hashlib, keras
from runs import BASE, NEW, bits, build, lookup, told, train
from warmstart_keras import warm_start
keras.utils.set_random_seed(1)
model = build(lookup(NEW))
warm_start(model, previous=sys.argv[2], verbose=0, **told(sys.argv[3]))
digest = hashlib.sha256(repr(bits(model)).encode()).hexdigest()
print("state", digest, train(model, 9, seed=1))
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("archive", marks=pytest.mark.dealt),
        pytest.param("weights", marks=pytest.mark.dealt),
        pytest.param("tensorflow directory", marks=on_tensorflow),
    ],
)
def test_another_process_comes_to_the_same(kind, tmp_path):
    monday = Day()
    previous = saved(monday.model, kind, tmp_path)
    said = subprocess.run(
        [sys.executable, "-c", JOB, str(TESTS), str(previous), kind],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("state")]
    digest = hashlib.sha256(repr(monday.go_on()).encode()).hexdigest()
    assert line == f"state {digest} {train(monday.model, 9, seed=1)}"


# --- files of earlier versions ---


@pytest.mark.parametrize("name", ["0.1.0.keras", "0.1.0.weights.h5"])
def test_files_of_earlier_versions_are_read(name):
    path = TESTS / "data" / name
    model = build(lookup(NEW))
    report = warm_start(model, previous=path, verbose=0)
    assert report.notes == report.missing == report.left_out == []
    expected = np.load(TESTS / "data" / "0.1.0.npz")
    rows = dict(zip(["[UNK]", *NEW], array(model.layers[1].embeddings), strict=True))
    for word, row in zip(expected["words"], expected["rows"], strict=True):
        if word in rows:
            assert rows[word].tobytes() == row.tobytes()
    assert int(model.optimizer.iterations) == 3
    assert Vocabulary(list(expected["words"])).fingerprint == str(expected["fingerprint"])
    assert report.vocabularies[0].base_fingerprint == str(expected["fingerprint"])


def test_an_archive_that_names_a_module_that_is_gone_is_loaded():
    path = TESTS / "data" / "0.1.0.keras"
    with zipfile.ZipFile(path) as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    (config,) = [layer for layer in layers if layer["config"]["name"] == "words"]
    assert config["module"] == "warmstart_keras.embedding"
    assert importlib.util.find_spec(config["module"]) is None
    words = keras.models.load_model(path).get_layer("words")
    assert type(words) is WarmStartEmbedding
    expected = np.load(TESTS / "data" / "0.1.0.npz")
    assert words.get_vocabulary() == list(expected["words"])
    assert array(words.embeddings).tobytes() == expected["rows"].tobytes()
