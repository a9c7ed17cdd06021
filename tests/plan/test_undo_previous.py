"""Whatever fails while a model starts from a previous run, it is what it was before."""

import random

import numpy as np
import pytest
from faults import interrupt, scope, storage
from models import BACKEND, array
from runs import NEW, Day, build, lookup, saved

from warmstart_keras import WarmStartError, plan_warm_start, warm_start
from warmstart_keras.backend import LazyArray

KINDS = ["archive", "live"]


def new_model(kind):
    """A model that gets values; from a live one, in a table that must change its size."""
    source = lookup(NEW if kind == "archive" else [*NEW, "one", "more"])
    model = build(source, made="AdamW")
    if kind == "live":
        source.set_vocabulary(NEW)
    return model


def state(model):
    """All that must be as before, named; compared with `==`."""
    words, optimizer = model.get_layer("words"), model.optimizer
    now = {
        "built": optimizer.built,
        "attributes": sorted(vars(optimizer)),
        "tokens": words.get_vocabulary(),
        "input_dim": words.input_dim,
        "train_function": id(model.train_function),
        "keys": dict(optimizer._trainable_variables_indices),
        "scope": scope(),
        "tracked": {k: set(v) for k, v in optimizer._tracker.stored_ids.items()},
    }
    for variable in [*model.variables, *optimizer.variables]:
        now[f"value of {variable.path}"] = array(variable).tobytes()
        now[f"shape of {variable.path}"] = tuple(variable.shape)
        now[f"storage of {variable.path}"] = storage(variable)
    return now


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    """The kind of a previous run, that run, and a model that has not started from it."""
    day = Day(made="AdamW")
    folder = tmp_path_factory.mktemp("run")
    previous = saved(day.model, request.param, folder)
    return request.param, previous, new_model(request.param)


@pytest.mark.faults
def test_an_interrupt_before_any_line_leaves_all_as_it_was(run):
    _, previous, model = run
    plan = plan_warm_start(model, previous=previous, verbose=0)
    before = state(model)
    visits = interrupt(plan.apply)
    assert state(model) == before
    assert not model.optimizer.built
    lines = sorted(visits)
    assert len(lines) > 150
    picked = random.Random(0).sample(lines, 40)
    for line in picked:
        interrupt(plan.apply, (line, visits[line]))
        assert state(model) == before, f"interrupted before {line}"


class BrokenError(Exception):
    pass


def test_a_file_that_breaks_while_it_is_read_leaves_all_as_it_was(run, monkeypatch):
    _, previous, model = run
    plan = plan_warm_start(model, previous=previous, verbose=0)
    before, calls = state(model), 0
    real = LazyArray.__getitem__

    def counted(self, place):
        nonlocal calls
        calls += 1
        if calls == fail_at:
            raise BrokenError
        return real(self, place)

    monkeypatch.setattr(LazyArray, "__getitem__", counted)
    for fail_at in range(1, 12):
        calls = 0
        with pytest.raises((BrokenError, WarmStartError)):
            plan.apply()
        assert state(model) == before, fail_at


def test_a_model_goes_on_as_if_nothing_had_been_tried(tmp_path):
    previous = saved(Day(made="AdamW").model, "weights", tmp_path)
    model = new_model("archive")
    plan = plan_warm_start(model, previous=previous, verbose=0)
    interrupt(plan.apply)
    twin = build(lookup(NEW), made="AdamW")
    twin.set_weights(model.get_weights())
    x, y = np.zeros((4, 3), "int32"), np.ones((4, 1))
    losses = [[float(m.train_on_batch(x, y)) for _ in range(3)] for m in (model, twin)]
    assert losses[0] == losses[1]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(
            tmp_path / "checkpoint"
        )
    warm_start(model, previous=previous, verbose=0)
    assert int(array(model.optimizer.iterations)) == 3
