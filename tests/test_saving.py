"""Saving: under its name there is a whole file, whatever happens meanwhile."""

import os

import keras
import numpy as np
import pytest
from models import EAGER, JIT, array, benchmark, variables

from warmstart_keras import (
    WarmStartEmbedding,
    WarmStartError,
    save_atomically,
    warm_start,
)

pytestmark = pytest.mark.files

WORDS = ["[UNK]", *"abcdef"]
both_endings = pytest.mark.parametrize("name", ["today.keras", "today.weights.h5"])


def build():
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            WarmStartEmbedding(output_dim=4, vocabulary=WORDS, name="words"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, name="last"),
        ]
    )
    model.compile("adam", "mse", jit_compile=JIT, run_eagerly=EAGER)
    return model


def train(model):
    ids = np.arange(12, dtype="int32").reshape(4, 3) % len(WORDS)
    model.train_on_batch(ids, np.ones((4, 1), "float32"))
    return model


def values(model):
    return [array(variable) for variable in variables(model)]


def assert_same(model, expected):
    for value, other in zip(values(model), expected, strict=True):
        np.testing.assert_array_equal(value, other)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@both_endings
def test_all_of_a_model_is_in_the_file(name, tmp_path):
    model = train(build())
    assert save_atomically(model, str(tmp_path / name)) == tmp_path / name
    assert names(tmp_path) == [name]
    new = build()
    warm_start(new, previous=tmp_path / name, verbose=0)
    assert_same(new, values(model))


def test_keras_loads_the_file(tmp_path):
    model = train(build())
    path = save_atomically(model, tmp_path / "today.keras")
    loaded = keras.models.load_model(path)
    assert_same(loaded, values(model))
    assert loaded.get_layer("words").get_vocabulary() == WORDS
    other = train(build())
    other.load_weights(save_atomically(model, tmp_path / "today.weights.h5"))
    assert_same(other, values(model))


@both_endings
def test_the_file_of_the_day_before_is_replaced(name, tmp_path):
    model = train(build())
    path = save_atomically(model, tmp_path / name)
    yesterday = path.stat().st_ino
    save_atomically(train(model), path)
    assert path.stat().st_ino != yesterday  # who still reads that one, reads all of it
    assert names(tmp_path) == [name]
    new = build()
    warm_start(new, previous=path, verbose=0)
    assert_same(new, values(model))


@pytest.mark.parametrize("error", [OSError("no more disk"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ["half way", "at the end"])
@both_endings
def test_a_save_that_fails_leaves_the_old_file(name, at, error, tmp_path, monkeypatch):
    model = train(build())
    path = save_atomically(model, tmp_path / name)
    before, seen = path.read_bytes(), []

    def fail(*_):
        seen.extend(names(tmp_path))
        raise error

    train(model)
    if at == "half way":
        monkeypatch.setattr(model.get_layer("last"), "save_own_variables", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)) as info:
        save_atomically(model, path)
    assert info.value is error
    assert seen == [f".partial-{name}", name]  # it had begun
    assert path.read_bytes() == before
    assert names(tmp_path) == [name]
    monkeypatch.undo()
    save_atomically(model, path)  # the model can be saved once the cause is gone
    new = build()
    warm_start(new, previous=path, verbose=0)
    assert_same(new, values(model))


@both_endings
def test_a_first_save_that_fails_leaves_nothing(name, tmp_path, monkeypatch):
    model = train(build())

    def fail(*_):
        raise OSError("no more disk")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no more disk"):
        save_atomically(model, tmp_path / name)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["today", "today.h5", "today.keras.zip", "today.index"])
def test_another_ending_is_an_error(name, tmp_path):
    (tmp_path / name).write_bytes(b"yesterday")
    with pytest.raises(
        WarmStartError,
        match=rf"must end in `.keras` or `.weights.h5`. Received: filepath='.*{name}'",
    ):
        save_atomically(build(), tmp_path / name)
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"yesterday"


def test_a_link_leads_to_the_new_file(tmp_path):
    (tmp_path / "days").mkdir()
    (tmp_path / "latest.keras").symlink_to(tmp_path / "days" / "monday.keras")
    model = train(build())
    save_atomically(model, tmp_path / "latest.keras")
    assert (tmp_path / "latest.keras").is_symlink()
    assert names(tmp_path / "days") == ["monday.keras"]
    assert_same(
        keras.models.load_model(tmp_path / "days" / "monday.keras"), values(model)
    )


@both_endings
def test_what_a_killed_job_left_is_written_over(name, tmp_path):
    model = train(build())
    whole = save_atomically(model, tmp_path / name).read_bytes()
    left = tmp_path / f".partial-{name}"
    for content in (b"", whole[: len(whole) // 2], whole + bytes(2**20)):
        left.write_bytes(content)
        path = save_atomically(model, tmp_path / name)
        assert names(tmp_path) == [name]
        assert abs(path.stat().st_size - len(whole)) < 100  # there is the time in it
    new = build()
    warm_start(new, previous=path, verbose=0)
    assert_same(new, values(model))


@both_endings
def test_what_a_killed_job_left_is_no_previous_run(name, tmp_path):
    model, new = train(build()), build()
    path = save_atomically(model, tmp_path / name)
    left = tmp_path / f".partial-{name}"
    left.write_bytes(path.read_bytes()[:1000])
    os.utime(left, (2**32, 2**32))  # the newest of all
    warm_start(new, previous=tmp_path, verbose=0)
    assert_same(new, values(model))
    path.unlink()
    with pytest.raises(WarmStartError, match=r"`previous` must name .*`missing_ok=True`"):
        warm_start(new, previous=tmp_path, verbose=0)
    warm_start(new, previous=tmp_path, missing_ok=True, verbose=0)  # as on a first day
    assert_same(new, values(model))


# --- jobs that are killed ---


@pytest.fixture(scope="module")
def kills():
    return benchmark("kills")


@pytest.mark.processes
@pytest.mark.dealt
def test_a_job_that_is_killed_goes_on_from_a_whole_file(kills, tmp_path):
    counts, failures = kills.kills(tmp_path, 3, seed=0)
    assert failures == []
    assert counts["no file"] + counts["whole file"] == 4  # one after each, and the first


@both_endings
def test_a_start_that_is_not_right_would_be_seen(kills, name, tmp_path):
    path = tmp_path / name
    model = kills.build(50)

    def how():
        how, day, _ = kills.start(kills.build(50), tmp_path, path)
        return how, day

    assert how() == ("no file", 0)
    path = save_atomically(model, path)
    assert how() == ("HALF FILE", 0)
    kills.write(tmp_path, "saving", 1, "another")
    assert how() == ("HALF FILE", 0)
    kills.write(tmp_path, "saving", 2, kills.digest(model))
    assert how() == ("whole file", 2)
    kills.write(tmp_path, "saved", 2, kills.digest(model))
    kills.write(tmp_path, "saving", 3, "another")
    assert how() == ("whole file", 2)
    kills.write(tmp_path, "saved", 3, "another")
    assert how() == ("LOST DAY", 0)
    path.write_bytes(path.read_bytes()[:1000])
    assert how() == ("broken file", 0)
    path.unlink()
    assert how() == ("LOST FILE", 0)
    kills.write(tmp_path, "removed")
    assert how() == ("no file", 0)
