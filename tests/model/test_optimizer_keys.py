"""What an optimizer knows of a variable stays right when its table changes its size.

On TensorFlow an optimizer knows a variable by a key that new storage changes. Wherever
the old key stood the new one must stand, in optimizers inside others too, or a variable
is not found any more, or decays though it was excluded from that. On JAX and PyTorch
the key is the `keras.Variable`, which stays; so must all that is kept by it.
"""

import keras
import models
import numpy as np
import pytest
from models import BACKEND

from warmstart_keras import WarmStartEmbedding, WarmStartError, warm_start

WIDTH = 4
BASE = list("abcdef")
GROWN = list("fxeybacd")  # x and y are new
SHUFFLED = list("fxebac")
IDS = np.array([[0, 1, 2], [1, 2, 0]])  # rows past these are in no batch
LABELS = np.array([[0.0], [1.0]])


# --- optimizers of users' own ----------------------------------------------------------


class ByKey(keras.optimizers.Optimizer):
    """Has its slots in a dictionary, by variable."""

    def __init__(self, learning_rate=0.1, **kwargs):
        super().__init__(learning_rate, **kwargs)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.sums = {v.path: self.add_variable_from_reference(v) for v in variables}
        self.keep({self._var_key(v): self.sums[v.path] for v in variables})

    def keep(self, sums):
        self.by_key = sums

    def sum_of(self, key):
        return self.by_key[key]

    def update_step(self, gradient, variable, learning_rate):
        total = self.sum_of(self._var_key(variable))
        self.assign_add(total, gradient)
        self.assign_sub(variable, total * learning_rate)


class ByNestedKey(ByKey):
    """Has them in a dictionary inside another."""

    def keep(self, sums):
        self.slots = {"sum": sums}

    def sum_of(self, key):
        return self.slots["sum"][key]


class ByListedKey(ByKey):
    """Has them at their key's place in a list."""

    def keep(self, sums):
        self.keys, self.listed = list(sums), list(sums.values())

    def sum_of(self, key):
        return self.listed[self.keys.index(key)]


class Wrapper(keras.optimizers.Optimizer):
    """Has other optimizers in a dictionary: one for tables, one for all else."""

    def __init__(self, tables, others, **kwargs):
        super().__init__(0.0, **kwargs)
        self.parts = {"tables": tables, "others": others}

    @property
    def variables(self):
        return self._variables + [v for o in self.parts.values() for v in o.variables]

    def part_of(self, variable):
        return "tables" if "embeddings" in variable.path else "others"

    def build(self, variables):
        for name, part in self.parts.items():
            part.build([v for v in variables if self.part_of(v) == name])
        super().build(variables)

    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(trainable_variables)
        variables = trainable_variables or self._trainable_variables
        pairs = list(zip(grads, variables, strict=True))
        for name, part in self.parts.items():
            part.apply_gradients([p for p in pairs if self.part_of(p[1]) == name])
        self._iterations.assign_add(1)

    def get_config(self):
        parts = {
            name: keras.optimizers.serialize(part) for name, part in self.parts.items()
        }
        return {"name": self.name} | parts

    @classmethod
    def from_config(cls, config):
        parts = {
            name: keras.optimizers.deserialize(config.pop(name))
            for name in ("tables", "others")
        }
        return cls(**parts, **config)


def adamw():
    return keras.optimizers.AdamW(0.1, use_ema=True, gradient_accumulation_steps=2)


def scaled():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), 8.0)


def muon():
    return models.optimizer("Muon")


def by_map():
    chosen = models.optimizer("OptimizerMap", keras.optimizers.SGD(momentum=0.9))
    chosen["words/.*"] = keras.optimizers.Adam()
    return models.optimizer("MultiOptimizer", chosen)


def by_function():
    for_words, others = keras.optimizers.Adam(), keras.optimizers.Adagrad()
    return models.optimizer(
        "MultiOptimizer",
        lambda variable: for_words if "words" in variable.path else others,
    )


def by_map_scaled():
    return keras.optimizers.LossScaleOptimizer(by_map(), 8.0)


def by_parts():
    return Wrapper(keras.optimizers.Adam(), keras.optimizers.SGD(momentum=0.9))


OPTIMIZERS = [
    adamw,
    keras.optimizers.Adafactor,
    muon,
    scaled,
    by_map,
    by_function,
    by_map_scaled,
    ByKey,
    ByNestedKey,
    ByListedKey,
    by_parts,
]


# --- models, and views of them ---------------------------------------------------------


def build(optimizer, *, layer=None, **compile_args):
    """A model with a table of `BASE`, compiled; nothing is traced."""
    layer = layer or WarmStartEmbedding(output_dim=WIDTH, vocabulary=BASE, name="words")
    ids = keras.Input((3,), dtype="int32")
    hidden = keras.layers.Flatten()(layer(ids))
    model = keras.Model(ids, keras.layers.Dense(1, name="head")(hidden))
    compile_args = {"run_eagerly": True, "jit_compile": False} | compile_args
    model.compile(optimizer, "mse", **compile_args)
    return model


def train(model, steps=1):
    for _ in range(steps):
        model.train_on_batch(IDS, LABELS)


def words_of(model):
    return model.get_layer("words").embeddings


def inner_optimizers(optimizer):
    """The optimizer and those inside it, as this file's optimizers hold them."""
    yield optimizer
    inner = [
        getattr(optimizer, "inner_optimizer", None),
        *getattr(optimizer, "optimizers", []),
        *getattr(optimizer, "parts", {}).values(),
    ]
    for one in inner:
        if one is not None:
            yield from inner_optimizers(one)


def places_of(key, thing, path=""):
    """Where `key` stands among the attributes of an optimizer, however deep."""
    if isinstance(thing, keras.optimizers.Optimizer):
        for name, value in vars(thing).items():
            if not name.startswith("_self_"):  # TensorFlow's record of the same objects
                yield from places_of(key, value, f"{path}.{name}")
    elif isinstance(thing, dict):
        for name, value in thing.items():
            yield from places_of(key, name, f"{path} key")
            yield from places_of(key, value, f"{path} value")
    elif isinstance(thing, list | tuple | set | frozenset):
        for value in thing:
            yield from places_of(key, value, f"{path} item")
    elif isinstance(thing, str | int) and thing == key:
        yield path


def state(variables):
    return {
        f"{place} {v.path}": (tuple(v.shape), rows(v).tobytes())
        for place, v in enumerate(variables)
    }


def rows(variable):
    """The rows as they are now, whatever becomes of them."""
    return models.array(variable)


# --- keys ------------------------------------------------------------------------------


def assert_renamed(old, optimizer, table, before):
    """The old key is nowhere, and the new one where the old one was `before`."""
    new = optimizer._var_key(table)
    if BACKEND == "tensorflow":  # elsewhere the key is the variable, which stays
        assert list(places_of(old, optimizer)) == []
    else:
        assert new == old
    assert sorted(places_of(new, optimizer)) == before


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_where_the_old_key_stood_the_new_one_stands(make):
    model = build(make())
    train(model)
    table, optimizer = words_of(model), model.optimizer
    old = optimizer._var_key(table)
    before = sorted(places_of(old, optimizer))
    warm_start(model, GROWN, verbose=0)
    assert_renamed(old, optimizer, table, before)
    assert before  # else there was nothing to look for


def test_excluded_variables_have_their_new_key_everywhere():
    optimizer = keras.optimizers.AdamW(0.1)
    model = build(optimizer)
    optimizer.exclude_from_weight_decay([words_of(model)])
    train(model)
    old = optimizer._var_key(words_of(model))
    before = sorted(places_of(old, optimizer))
    warm_start(model, GROWN, verbose=0)
    assert_renamed(old, optimizer, words_of(model), before)
    assert "._exclude_from_weight_decay item" in before


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_training_goes_on_with_the_new_key(make):
    model = build(make())
    train(model)
    warm_start(model, GROWN, verbose=0)
    before = rows(words_of(model))
    train(model, 2)
    after = rows(words_of(model))
    used = np.unique(IDS)
    assert (before[used] != after[used]).any(axis=1).all()


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_order_number_and_paths_of_all_variables_stay(make):
    model = build(make())
    train(model)

    def paths():
        return [v.path for v in [*model.variables, *model.optimizer.variables]]

    def objects():
        return [id(v) for v in [*model.variables, *model.optimizer.variables]]

    before = paths(), objects()
    warm_start(model, GROWN, verbose=0)
    assert (paths(), objects()) == before


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_slots_of_all_inner_optimizers_have_the_new_number_of_rows(make):
    model = build(make())
    train(model)
    table = words_of(model)
    shape = tuple(table.shape)
    warm_start(model, GROWN, verbose=0)
    for optimizer in inner_optimizers(model.optimizer):
        for slot in optimizer.variables:
            assert tuple(slot.shape) != shape, slot.path
            assert slot.shape[:1] != (len(BASE),), slot.path


# --- weight decay ----------------------------------------------------------------------


def exclude(how, optimizer, model):
    if how == "var_list":
        optimizer.exclude_from_weight_decay(var_list=[words_of(model)])
    elif how == "var_names, layer":
        optimizer.exclude_from_weight_decay(var_names=["words"])
    elif how == "var_names, variable":
        optimizer.exclude_from_weight_decay(var_names=["embeddings"])


STAGES = ["not built", "built", "trained"]
HOWS = ["var_list", "var_names, variable", "var_names, layer"]


def bring_to(stage, model):
    if stage == "built":
        model.optimizer.build(model.trainable_variables)
    if stage == "trained":
        train(model)


def excluded(how):
    """A model whose optimizer does not let `words` decay."""
    optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
    model = build(optimizer)
    exclude(how, optimizer, model)
    return model


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", HOWS)
def test_excluded_variables_do_not_decay_after_a_resize(how, stage):
    if how == "var_names, layer":
        alone = excluded(how)
        before = rows(words_of(alone))
        train(alone)
        if not np.array_equal(rows(words_of(alone))[3:], before[3:]):
            pytest.skip("here Keras does not look for the names of layers")
    model = excluded(how)
    bring_to(stage, model)
    warm_start(model, GROWN, verbose=0)
    before = rows(words_of(model))
    train(model)
    np.testing.assert_array_equal(rows(words_of(model))[3:], before[3:])


@pytest.mark.parametrize("stage", STAGES)
def test_variables_that_are_not_excluded_decay_after_a_resize(stage):
    optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
    model = build(optimizer)
    optimizer.exclude_from_weight_decay(var_names=["head"])
    bring_to(stage, model)
    warm_start(model, GROWN, verbose=0)
    before = rows(words_of(model))
    train(model)
    np.testing.assert_allclose(rows(words_of(model))[3:], before[3:] * 0.95, rtol=1e-6)


def test_an_exclusion_in_an_inner_optimizer_is_kept():
    inner = keras.optimizers.SGD(0.1, weight_decay=0.5)
    model = build(keras.optimizers.LossScaleOptimizer(inner, 8.0))
    inner.exclude_from_weight_decay([words_of(model)])
    warm_start(model, GROWN, verbose=0)
    before = rows(words_of(model))
    train(model)
    np.testing.assert_array_equal(rows(words_of(model))[3:], before[3:])


@pytest.mark.parametrize("stage", STAGES)
def test_an_exclusion_is_kept_where_a_larger_matrix_was_assigned_first(stage):
    optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
    lookup = keras.layers.StringLookup(vocabulary=BASE, num_oov_indices=0)
    layer = WarmStartEmbedding(output_dim=WIDTH, vocabulary=lookup, name="words")
    model = build(optimizer, layer=layer)
    optimizer.exclude_from_weight_decay([layer.embeddings])
    bring_to(stage, model)
    lookup.set_vocabulary(GROWN)
    layer.embeddings = np.ones((len(GROWN), WIDTH))
    warm_start(model, verbose=0)
    train(model)
    np.testing.assert_array_equal(rows(layer.embeddings)[3:], 1.0)


# --- what is written from the optimizer ------------------------------------------------


def exported(model, folder):
    """The model's predictions of `IDS`, by what was exported from it."""
    if BACKEND == "torch":
        import torch

        model.export(folder / "model.pt2", format="torch", verbose=False)
        served = torch.export.load(folder / "model.pt2").module()
        batches = torch.tensor(IDS, dtype=torch.int32).split(1)  # it serves one by one
        return np.concatenate([models.array(served(batch)) for batch in batches])
    import tensorflow as tf

    model.export(folder, verbose=False)
    served = tf.saved_model.load(folder)
    return served.serve(tf.constant(IDS, "int32")).numpy()


@pytest.mark.filterwarnings("ignore:.*native_serialization:DeprecationWarning")  # of JAX
def test_a_model_can_be_exported_after_a_resize(tmp_path):
    optimizer = keras.optimizers.AdamW(0.1)
    model = build(optimizer, run_eagerly=False)
    optimizer.exclude_from_weight_decay([words_of(model)])
    train(model)
    warm_start(model, GROWN, verbose=0)
    np.testing.assert_allclose(
        exported(model, tmp_path), model.predict_on_batch(IDS), rtol=1e-6
    )


@pytest.mark.parametrize("make", [adamw, by_map, scaled])
def test_a_saved_model_has_the_new_slots(make, tmp_path):
    model = build(make())
    train(model)
    warm_start(model, GROWN, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [(tuple(v.shape), rows(v).tobytes()) for v in loaded.optimizer.variables] == [
        (tuple(v.shape), rows(v).tobytes()) for v in model.optimizer.variables
    ]


# --- refusals --------------------------------------------------------------------------


class Lookahead(keras.optimizers.Optimizer):
    """Wraps an optimizer, and has slots of its own."""

    def __init__(self, inner, **kwargs):
        super().__init__(0.1, **kwargs)
        self.inner = inner

    @property
    def variables(self):
        return self._variables + self.inner.variables

    def build(self, variables):
        self.inner.build(variables)
        self.slow = self.add_optimizer_variables(variables, "slow")
        super().build(variables)

    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(trainable_variables)
        self.inner.apply(grads, trainable_variables)


class WithoutConfig(ByKey):
    """Cannot be made from its configuration: an argument is missing there."""

    def __init__(self, rate):
        super().__init__(rate)


class ConfigRaises(ByKey):
    def get_config(self):
        raise NotImplementedError("no configuration")


class OtherConfig(ByKey):
    """Is made from its configuration as one with more slots."""

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"use_ema": True})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lookahead(keras.optimizers.Adam()), "additional slots.* Received: 'loo"),
        (lambda: WithoutConfig(0.1), r"its configuration.* `WithoutConfig.get_config`"),
        (ConfigRaises, r"its configuration.* `ConfigRaises.get_config`"),
        (OtherConfig, "must have the same number of variables"),
    ],
    ids=["wrapper with slots", "missing argument", "no configuration", "other slots"],
)
@pytest.mark.parametrize("new", [GROWN, SHUFFLED], ids=["grown", "shuffled"])
def test_an_optimizer_that_cannot_be_carried_is_refused(make, message, new):
    model = build(make())
    train(model)
    variables = [*model.variables, *model.optimizer.variables]
    before = state(variables)
    with pytest.raises(WarmStartError, match=message):
        warm_start(model, new, verbose=0)
    assert state(variables) == before
    assert model.get_layer("words").get_vocabulary() == BASE
    train(model)


@pytest.mark.parametrize(
    "rate",
    [keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), lambda: 0.1],
    ids=["schedule", "callable"],
)
def test_an_optimizer_whose_learning_rate_is_no_number_is_carried(rate):
    model = build(keras.optimizers.Adam(rate))
    train(model)
    slot = slot_of(model.optimizer)
    before = rows(slot)
    warm_start(model, GROWN, verbose=0)
    assert_carried(before, rows(slot))


# --- optimizers that the model does not hold -------------------------------------------


def assert_carried(before, after):
    """Slots follow their tokens, and new ones start at 0: from `BASE` to `GROWN`."""
    assert after.shape == (len(GROWN), *before.shape[1:])
    for place, token in enumerate(GROWN):
        was = before[BASE.index(token)] if token in BASE else 0.0
        np.testing.assert_array_equal(after[place], was, err_msg=token)
    assert before.any()


def slot_of(optimizer, name="momentum"):
    (slot,) = (v for v in optimizer.variables if v.path.endswith(f"embeddings_{name}"))
    return slot


def step(model, optimizer):
    """A step of a training loop of one's own."""
    models.own_step(
        optimizer, model.trainable_variables, lambda: keras.ops.sum(model(IDS) ** 2)
    )


@pytest.mark.parametrize("as_list", [False, True])
def test_the_optimizer_of_a_loop_of_ones_own_is_carried(as_list):
    model = build("sgd")
    optimizer = keras.optimizers.Adam(0.1)
    step(model, optimizer)
    before = rows(slot_of(optimizer))
    given = [optimizer] if as_list else optimizer
    warm_start(model, GROWN, optimizer=given, verbose=0)
    assert_carried(before, rows(slot_of(optimizer)))
    step(model, optimizer)


def test_the_optimizer_of_a_layer_alone_is_carried():
    layer = WarmStartEmbedding(output_dim=WIDTH, vocabulary=BASE)
    layer.build()
    optimizer = keras.optimizers.Adam(0.1)
    step(layer, optimizer)
    before = rows(slot_of(optimizer))
    warm_start(layer, GROWN, optimizer=optimizer, verbose=0)
    assert_carried(before, rows(slot_of(optimizer)))
    step(layer, optimizer)


def test_several_optimizers_that_hold_one_table_are_all_carried():
    model = build(keras.optimizers.Adam(0.1))
    train(model)
    others = [keras.optimizers.Adam(0.1), keras.optimizers.Lion(0.1)]
    for optimizer in others:
        step(model, optimizer)
    slots = [slot_of(optimizer) for optimizer in (model.optimizer, *others)]
    before = [rows(slot) for slot in slots]
    warm_start(model, GROWN, optimizer=others, verbose=0)
    for slot, was in zip(slots, before, strict=True):
        assert_carried(was, rows(slot))


def test_an_optimizer_that_is_named_twice_is_carried_once():
    model = build(keras.optimizers.Adam(0.1))
    train(model)
    slot = slot_of(model.optimizer)
    before = rows(slot)
    warm_start(model, GROWN, optimizer=model.optimizer, also=model, verbose=0)
    assert_carried(before, rows(slot))


def test_the_report_names_optimizer_where_none_holds_a_resized_table():
    model = build("sgd")
    report = warm_start(model, GROWN, verbose=0)
    assert [note for note in report.notes if "pass `optimizer=`" in note]


def test_the_report_does_not_ask_for_an_optimizer_that_is_known():
    model = build("sgd")
    train(model)
    report = warm_start(model, GROWN, verbose=0)
    assert not [note for note in report.notes if "`optimizer=`" in note]


# --- other models ----------------------------------------------------------------------


def by_hand(model):
    """What the model should predict, from its weights."""
    kernel, bias = model.get_layer("head").get_weights()
    return rows(words_of(model))[IDS].reshape(len(IDS), -1) @ kernel + bias


def other_over(model, optimizer):
    return build(optimizer, layer=model.get_layer("words"), run_eagerly=False)


@pytest.mark.parametrize("as_list", [False, True])
def test_the_optimizer_of_another_model_is_carried(as_list):
    model = build("sgd")
    other = other_over(model, keras.optimizers.Adam(0.1))
    train(other)
    before = rows(slot_of(other.optimizer))
    warm_start(model, GROWN, also=[other] if as_list else other, verbose=0)
    assert_carried(before, rows(slot_of(other.optimizer)))


@pytest.mark.parametrize("new", [GROWN, SHUFFLED], ids=["grown", "shuffled"])
def test_another_model_predicts_and_trains_with_the_new_rows(new):
    model = build("sgd")
    other = other_over(model, keras.optimizers.Adam(0.1))
    train(other)
    other.predict_on_batch(IDS)
    warm_start(model, new, also=other, verbose=0)
    np.testing.assert_allclose(other.predict_on_batch(IDS), by_hand(other), rtol=1e-5)
    before = rows(words_of(model))
    train(other)
    assert (rows(words_of(model))[:3] != before[:3]).all()
    np.testing.assert_allclose(other.predict_on_batch(IDS), by_hand(other), rtol=1e-5)


# --- reset -----------------------------------------------------------------------------


@pytest.mark.parametrize("new", [GROWN, SHUFFLED], ids=["grown", "shuffled"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.Adagrad(0.1),
        lambda: keras.optimizers.Adafactor(0.1),
        lambda: keras.optimizers.Adam(0.1, gradient_accumulation_steps=2),
        lambda: models.optimizer("ScheduleFreeAdamW", 0.1),
        scaled,
        by_map,
        ByKey,
    ],
    ids=["Adagrad", "Adafactor", "Adam", "ScheduleFree", "scaled", "by_map", "ByKey"],
)
def test_reset_slots_are_as_freshly_built_and_others_untouched(make, new):
    model = build(make())
    train(model, 3)
    before = [rows(v) for v in model.optimizer.variables]
    warm_start(model, new, optimizer_state="reset", verbose=0)
    fresh = make()
    fresh.build(model.trainable_variables)
    reset = 0
    for slot, was, start in zip(
        model.optimizer.variables, before, fresh.variables, strict=True
    ):
        # Adafactor names the factors of the table after it, the head's after `kernel`.
        of_table = "embeddings" in slot.path
        expected = rows(start) if of_table else was
        np.testing.assert_array_equal(rows(slot), expected, err_msg=slot.path)
        reset += of_table
    assert reset


def test_a_reset_average_starts_at_the_values_of_its_rows():
    model = build(keras.optimizers.SGD(0.1, use_ema=True))
    train(model, 3)
    warm_start(model, GROWN, optimizer_state="reset", verbose=0)
    average = slot_of(model.optimizer, "average")
    np.testing.assert_array_equal(rows(average), rows(words_of(model)))
