"""Whatever fails while a plan is applied, the model is exactly what it was before."""

import copy
import dataclasses
import functools
import inspect
import warnings
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest
from dealing import is_dealt_here
from faults import COMMIT, PACKAGE, fault, interrupt, let_fail, scope, storage
from keras.src.backend.common.global_state import set_global_attribute
from keras.src.utils.tracking import is_tracking_enabled
from models import BACKEND, JIT, array

from warmstart_keras import (
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    plan_warm_start,
    warm_start,
)
from warmstart_keras.backend import tensors
from warmstart_keras.layers import recorded_vocabulary
from warmstart_keras.rows import MoveRows

WIDTH = 6
LAYERS = ("words", "users", "items")
BASE = list("abcdef")
REBUILDS = {
    "same size": {
        "words": list("fxebac"),
        "users": list("fedxba"),
        "items": list("abcxyz"),
    },
    "resized": {
        "words": list("fxeybacd"),  # grows
        "users": list("fbx"),  # shrinks
        "items": list("fedxba"),  # stays as large as it was
    },
}


@contextmanager
def rebuilds_unnoticed():
    """Keeps `words` from warning, rightly, that its source was rebuilt."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*was rebuilt")
        yield


def gradient(variable):
    """The gradient that PyTorch keeps with a parameter."""
    found = variable.value.grad if BACKEND == "torch" else None
    return None if found is None else array(found).tobytes()


class Subject:
    """A compiled and trained model with three tables, and a rebuild of all three.

    `words` has a source that it watches; of `users` it was recorded what the rows stand
    for, of `items` it was not.
    """

    def __init__(self, rebuild, *, eager=False):
        self.rebuild, new = rebuild, REBUILDS[rebuild]
        keras.utils.set_random_seed(1)
        self.lookup = keras.layers.StringLookup(vocabulary=BASE, num_oov_indices=0)
        self.ids = np.array([[0, 1], [2, 5], [1, 2]])
        self.tables = [
            WarmStartEmbedding(output_dim=WIDTH, vocabulary=self.lookup, name="words"),
            keras.layers.Embedding(len(BASE), WIDTH, name="users"),
            keras.layers.Embedding(len(BASE), WIDTH, name="items"),
        ]
        self.model = self.make_model(eager)
        warm_start(self.model, {"users": BASE}, base_vocabularies={"users": BASE})
        self.train(2)
        self.model.test_on_batch([self.ids] * 3, np.zeros((3, 1)))
        self.predictions()
        self.new = {name: new[name] for name in ("users", "items")}
        self.lookup.set_vocabulary(new["words"])
        self.remember()

    def make_model(self, eager):
        inputs = [keras.Input((2,), dtype="int32") for _ in LAYERS]
        rows = [layer(ids) for layer, ids in zip(self.tables, inputs, strict=True)]
        hidden = keras.layers.Flatten()(keras.layers.Concatenate()(rows))
        model = keras.Model(inputs, keras.layers.Dense(1, name="head")(hidden))
        optimizer = keras.optimizers.AdamW(
            0.1, weight_decay=0.1, use_ema=True, ema_overwrite_frequency=2
        )
        optimizer.exclude_from_weight_decay([t.embeddings for t in self.tables[:2]])
        jit = JIT and not eager
        model.compile(optimizer, "mse", jit_compile=jit, run_eagerly=eager)
        return model

    def plan(self, **options):
        return plan_warm_start(
            self.model, self.new, base_vocabularies={"items": BASE}, seed=3, **options
        )

    def train(self, steps):
        x, y = [self.ids] * 3, np.array([[0.0], [1.0], [2.0]])
        with rebuilds_unnoticed():
            return [self.model.train_on_batch(x, y) for _ in range(steps)]

    def predictions(self):
        with rebuilds_unnoticed():
            return self.model.predict_on_batch([self.ids] * 3).tobytes()

    def remember(self):
        """From now on this is how the model was before."""
        self.predicted, self.before = self.predictions(), self.state()

    def state(self):
        """All that must be as before, named; compared with `==`."""
        model, words = self.model, self.tables[0]
        state = {}
        for variable in model.variables + model.optimizer.variables:
            state[f"value of {variable.path}"] = array(variable).tobytes()
            state[f"shape of {variable.path}"] = tuple(variable.shape)
            state[f"storage of {variable.path}"] = storage(variable)
            state[f"gradient of {variable.path}"] = gradient(variable)
        for layer in self.tables:
            state[f"input_dim of {layer.name}"] = layer.input_dim
            known = recorded_vocabulary(layer)
            state[f"what {layer.name} stand for"] = known and known.fingerprint
        state["get_vocabulary()"] = words.get_vocabulary()
        state["source"] = id(words.vocabulary_source)
        state["Keras tracks attributes"] = is_tracking_enabled()
        state["scope"] = scope()
        for name in ("train_function", "test_function", "predict_function"):
            state[name] = id(getattr(model, name))
        for name, value in vars(model.optimizer).items():
            if isinstance(value, dict | set) and not name.startswith("_self_"):
                state[f"optimizer.{name}"] = value.copy()
        return state

    def changed(self):
        """The names of what is not as it was before."""
        after = self.state()
        names = [*self.before, *(after.keys() - self.before.keys())]
        changed = [n for n in names if after.get(n, n) != self.before.get(n, n)]
        # Asked last: with tables of another size, looking up rows may fail.
        if not changed and self.predictions() != self.predicted:
            changed = ["predictions"]
        return changed


@pytest.fixture(autouse=True)
def _keras_tracks_attributes():
    yield
    set_global_attribute("tracking_on", True)  # or no later test could make a model


_unchanged = {}


@pytest.fixture(params=REBUILDS)
def subject(request):
    """A model that the test must leave as it is: the next test takes it again."""
    found = _unchanged.pop(request.param, None) or Subject(request.param)
    yield found
    if not found.changed():
        _unchanged[request.param] = found


# --- faults ----------------------------------------------------------------------------


@functools.cache
def steps_of(rebuild):
    """The names of the steps when a plan is applied and nothing fails."""
    planned = Subject(rebuild, eager=True).plan()
    with fault() as steps:
        planned.apply()
    return steps


def numbers_of_steps(rebuild):
    return range(1, len(steps_of(rebuild)) + 1)


@pytest.mark.parametrize("rebuild", REBUILDS)
def test_a_fault_is_injected_around_each_change(rebuild):
    subject = Subject(rebuild, eager=True)
    subject.plan().apply()
    values = [name for name in subject.changed() if name.startswith("value of")]
    *steps, last = steps_of(rebuild)
    assert last == COMMIT
    assert len(steps) % 2 == 0
    assert set(steps[::2]) == {"before a change is registered"}
    assert set(steps[1::2]) == {"after a change is registered"}
    # At least one change for each value, vocabulary and size, and for each function.
    assert len(steps) / 2 > len(values) + len(LAYERS) + 3


def test_a_plan_is_a_value_that_applying_it_does_not_change():
    planned = Subject("resized", eager=True).plan(verbose=0)
    before = dict(vars(planned))
    planned.apply()
    assert vars(planned).keys() == before.keys()
    assert all(vars(planned)[name] is value for name, value in before.items())
    with pytest.raises(dataclasses.FrozenInstanceError):
        planned.model = None


@pytest.mark.parametrize("rebuild", REBUILDS)
def test_what_a_warm_start_changes_is_seen(rebuild):
    subject = Subject(rebuild, eager=True)
    subject.plan(verbose=0).apply()
    seen = {name.removesuffix(" words/embeddings") for name in subject.changed()}
    expected = {"value of", "what words stand for", "get_vocabulary()", "train_function"}
    if BACKEND == "torch":
        expected |= {"gradient of"}
    if rebuild == "resized":
        expected |= {"shape of", "input_dim of words"}
    if rebuild == "resized" and BACKEND == "tensorflow":
        expected |= {"storage of", "optimizer._trainable_variables_indices"}
    assert expected <= seen


@pytest.mark.faults
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_fault_at_any_step_leaves_all_as_it_was(subject, error):
    planned = subject.plan()
    for step in numbers_of_steps(subject.rebuild):
        let_fail(planned.apply, step, error)
        assert subject.changed() == [], f"at step {step}"


@pytest.mark.parametrize("when", [1, 2, -2, -1])
def test_a_fault_at_the_first_or_last_steps_leaves_all_as_it_was(subject, when):
    step = numbers_of_steps(subject.rebuild)[when]
    let_fail(subject.plan().apply, step)
    assert subject.changed() == []


@pytest.mark.faults
@pytest.mark.parametrize("rebuild", REBUILDS)
def test_on_an_accelerator_a_fault_leaves_all_as_it_was(rebuild, monkeypatch):
    monkeypatch.setattr(tensors, "is_on_host", lambda variable: False)
    subject = Subject(rebuild, eager=True)
    planned = subject.plan()
    for step in range(1, len(let_fail(planned.apply)) + 1):
        let_fail(planned.apply, step)
        assert subject.changed() == [], f"at step {step}"


# Their lines are not the same on each backend.
OF_BACKENDS = ("backend/", "keras_internals/", "rows/")


@pytest.mark.faults
def test_an_interrupt_at_any_line_leaves_all_as_it_was(subject):
    planned = subject.plan()
    interrupt(planned.apply)  # from now on all vocabularies have been read
    visits = interrupt(planned.apply)
    assert subject.changed() == []
    files = [file for file, _ in visits]
    first = files.index(inspect.getfile(MoveRows))
    for (file, line), visit in list(visits.items())[first:]:
        name = Path(file).relative_to(PACKAGE).as_posix()
        if name.startswith(OF_BACKENDS) or is_dealt_here(f"{name}:{line}"):
            interrupt(planned.apply, ((file, line), visit))
            assert subject.changed() == [], f"interrupted at {file}:{line}"


@pytest.mark.faults
@pytest.mark.parametrize("rebuild", REBUILDS)
def test_after_faults_a_warm_start_succeeds_and_trains_as_if_none_had_been(rebuild):
    failed, other = Subject(rebuild), Subject(rebuild)
    for step in numbers_of_steps(rebuild)[::5]:
        let_fail(failed.plan().apply, step)
    results = []
    for subject in (failed, other):
        subject.plan().apply()
        subject.ids %= 3
        losses = subject.train(3)
        values = [array(v).tobytes() for v in subject.model.variables]
        values += [array(v).tobytes() for v in subject.model.optimizer.variables]
        results.append([losses, values, subject.predictions()])
    assert results[0] == results[1]


@pytest.mark.faults
@pytest.mark.parametrize("rebuild", REBUILDS)
def test_a_fault_leaves_other_models_and_optimizers_as_they_were(rebuild):
    subject = Subject(rebuild, eager=True)
    other = copy.copy(subject)
    other.model = other.make_model(eager=True)  # another over the same tables
    other.train(1)
    subject.remember()
    other.remember()
    planned = subject.plan(also=other.model)
    for step in numbers_of_steps(rebuild)[::3]:
        let_fail(planned.apply, step)
        assert subject.changed() == [], step
        assert other.changed() == [], step


# --- what users pass, and when ---------------------------------------------------------


def raising(tokens, base):
    raise RuntimeError("no rows today")


def too_narrow(tokens, base):
    return np.zeros((len(tokens), WIDTH - 1))


def text(tokens, base):
    return np.full((len(tokens), WIDTH), "row")


@pytest.mark.dealt
@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("bad", [raising, too_narrow, text])
def test_a_bad_callable_for_new_rows_leaves_all_as_it_was(subject, bad, call):
    calls = 0

    def new_rows(tokens, base):
        nonlocal calls
        calls += 1
        good = np.ones((len(tokens), WIDTH))
        return bad(tokens, base) if calls == call else good

    planned = subject.plan(new_embeddings_initializer=new_rows)
    with pytest.raises((RuntimeError, ValueError)):
        planned.apply()
    assert calls == call
    assert subject.changed() == []


def test_a_warning_that_is_an_error_leaves_all_as_it_was(subject):
    new = {"items": subject.new["items"]}  # and no source for `users`, which had one
    with pytest.raises(UserWarning, match=r"layer 'users': .* source is unknown"):
        warm_start(subject.model, new, base_vocabularies={"items": BASE}, verbose=0)
    assert subject.changed() == []


def vocabulary_rebuilt(subject):
    subject.lookup.set_vocabulary(list("fedcba"))


def optimizer_replaced(subject):
    subject.model.compile(keras.optimizers.AdamW(0.1), "mse")


def table_assigned(subject):
    subject.tables[0].embeddings = np.ones((len(BASE), WIDTH))


def plain_layer_recorded(subject):
    bases = {"items": list("fedcba")}
    new = {"users": BASE, "items": BASE}
    warm_start(subject.model, new, base_vocabularies=bases, verbose=0)


def another_plan_applied(subject):
    subject.plan(verbose=0).apply()


@pytest.mark.parametrize(
    "event",
    [
        vocabulary_rebuilt,
        optimizer_replaced,
        table_assigned,
        plain_layer_recorded,
        another_plan_applied,
    ],
)
def test_an_outdated_plan_is_refused_and_leaves_all_as_it_is(event):
    subject = Subject("same size", eager=True)
    planned = subject.plan()
    event(subject)
    subject.remember()
    with pytest.raises(WarmStartError, match="must be applied to the model that it was"):
        planned.apply()
    assert subject.changed() == []


def test_a_failed_fit_leaves_all_as_it_was(subject):
    callback = VocabularyWarmStart(
        subject.new,
        base_vocabularies={"items": BASE},
        new_embeddings_initializer=raising,
    )
    with pytest.raises(RuntimeError, match="no rows today"):
        subject.model.fit(
            [subject.ids] * 3, np.zeros((3, 1)), verbose=0, callbacks=[callback]
        )
    assert subject.changed() == []
    assert callback.report is None


def test_a_callback_that_failed_once_works_the_next_time():
    subject = Subject("resized", eager=True)
    calls = 0

    def new_rows(tokens, base):
        nonlocal calls
        calls += 1
        return raising(tokens, base) if calls == 1 else np.ones((len(tokens), WIDTH))

    callback = VocabularyWarmStart(
        subject.new,
        base_vocabularies={"items": BASE},
        new_embeddings_initializer=new_rows,
    )
    subject.ids %= 3
    data = [subject.ids] * 3, np.zeros((3, 1))
    with pytest.raises(RuntimeError, match="no rows today"):
        subject.model.fit(*data, verbose=0, callbacks=[callback])
    subject.model.fit(*data, verbose=0, callbacks=[callback])
    assert [change.layer for change in callback.report.vocabularies] == list(LAYERS)
