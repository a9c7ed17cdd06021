"""Broken and hostile files: a clear error or a right result, and the model untouched."""

import json
import random
import shutil
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from models import array, on_tensorflow
from runs import BASE, KEY, NEW, Day, bits, build, lookup, rewritten, saved

from warmstart_keras import Vocabulary, WarmStartEmbedding, WarmStartError, warm_start
from warmstart_keras.previous import open_previous

pytestmark = pytest.mark.files

AWKWARD = ["a\nb", "\r\n", "a\u2028b", "a\x85b", "\x00", "\ud800", "", " ", "x" * 2**20]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run as an archive and as weights."""
    folder = tmp_path_factory.mktemp("run")
    day = Day()
    saved(day.model, "archive", folder)
    saved(day.model, "weights", folder)
    return folder


@pytest.fixture(scope="module")
def model():
    """A model that no broken file may change."""
    return build(lookup(NEW))


@pytest.fixture(autouse=True)
def _never_changed(model):
    before = bits(model)
    yield
    assert bits(model) == before
    assert model.get_layer("words").get_vocabulary() == ["[UNK]", *NEW]


def refused(model, path, match="cannot be read"):
    with pytest.raises(WarmStartError, match=match) as info:
        warm_start(model, previous=path, verbose=0)
    assert Path(path).name in str(info.value)


def with_vocabulary(folder, tmp_path, data):
    """A copy of the weights with other bytes as the stored vocabulary."""
    path = shutil.copy(folder / "run.weights.h5", tmp_path)
    with h5py.File(path, "a") as file:
        del file[KEY]
        file[KEY] = np.frombuffer(data, np.uint8)
    return path


@pytest.mark.parametrize("name", ["run.keras", "run.weights.h5"])
def test_a_truncated_file_is_refused(name, folder, model, tmp_path):
    whole = (folder / name).read_bytes()
    sizes = [0, 1, 7, 8, 100, 1000, len(whole) - 1]
    sizes += random.Random(0).sample(range(len(whole)), 30)
    for size in sizes:
        (tmp_path / name).write_bytes(whole[:size])
        refused(model, tmp_path / name)


def test_any_bit_of_a_stored_vocabulary_that_is_flipped_is_seen(folder, model, tmp_path):
    with h5py.File(folder / "run.weights.h5") as file:
        data = file[KEY][()].tobytes()
    for place in random.Random(0).sample(range(8 * len(data)), 40):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        path = with_vocabulary(folder, tmp_path, bytes(flipped))
        refused(model, path, r"'words'.*stored vocabulary")


def test_any_bit_of_an_archive_that_is_flipped_harms_no_row(folder, model, tmp_path):
    """The checksums of an archive are checked: it is refused, or all is as it was."""
    whole = (folder / "run.keras").read_bytes()
    twin = build(lookup(NEW))
    warm_start(twin, previous=folder / "run.keras", verbose=0)
    right, path = bits(twin), tmp_path / "run.keras"
    for place in random.Random(1).sample(range(8 * len(whole)), 25):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            warm_start(twin, previous=path, verbose=0)
        except WarmStartError:
            continue
        assert bits(twin) == right, place


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([*BASE, "h"], r"each of its 8 rows. Received: 9 tokens"),
        ([*BASE, *"hijklmn"], r"each of its 8 rows. Received: 15 tokens"),
    ],
)
def test_more_stored_tokens_than_rows_are_refused(words, match, folder, model, tmp_path):
    data = Vocabulary(["[UNK]", *words]).to_bytes()
    with pytest.raises(WarmStartError, match=match):
        warm_start(model, previous=with_vocabulary(folder, tmp_path, data))


def test_a_vocabulary_larger_than_memory_is_refused(folder, model, tmp_path):
    path = shutil.copy(folder / "run.weights.h5", tmp_path)
    with h5py.File(path, "a") as file:
        del file[KEY]
        file.create_dataset(KEY, (2**50,), "uint8", chunks=(2**20,), compression="gzip")
    refused(model, path, r"declares 1125899906842624 bytes")
    twin = build(lookup())
    with (
        pytest.raises((ValueError, MemoryError)),
        warnings.catch_warnings(action="ignore"),
    ):
        twin.load_weights(path)
    assert twin.get_layer("words").get_vocabulary() == ["[UNK]", *BASE]


def test_arrays_elsewhere_are_not_followed(folder, model, tmp_path):
    name = "layers/dense/vars/0"
    for link in (h5py.SoftLink("/layers/dense/vars/1"), h5py.ExternalLink("x.h5", "/x")):
        path = shutil.copy(folder / "run.weights.h5", tmp_path)
        with h5py.File(path, "a") as file:
            del file[name]
            file[name] = link
        refused(model, path, "is a link instead of an array")
    path = shutil.copy(folder / "run.weights.h5", tmp_path)
    with h5py.File(path, "a") as file:
        shape = file[name].shape
        del file[name]
        outside = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(name, shape, "float32", external=outside)
    refused(model, path, "is not an array stored in this file")


def test_an_archive_without_its_parts_is_refused(folder, model, tmp_path):
    for member in ("model.weights.h5", "config.json"):
        path = rewritten(folder / "run.keras", tmp_path / "no.keras", member, None)
        refused(model, path)
    for content in (b"", b"{", b"[]", b'"x"', b"[" * 100_000, b"\xff"):
        path = tmp_path / "config.keras"
        refused(model, rewritten(folder / "run.keras", path, "config.json", content))


def test_a_bomb_in_an_archive_is_refused(folder, model, tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(2**24))
    refused(model, path, "declares 16777216 bytes")


class Spy:
    ran = False


@pytest.mark.parametrize("asks_by", ["a lambda", "a class that is not registered"])
def test_code_in_an_archive_is_not_run(asks_by, folder, model, tmp_path):
    with zipfile.ZipFile(folder / "run.keras") as archive:
        config = json.loads(archive.read("config.json"))
    layer = next(
        made for made in config["config"]["layers"] if made["class_name"] == "Flatten"
    )
    if asks_by == "a lambda":
        made = keras.layers.Lambda(lambda x: exec("raise SystemExit") or x)
        layer |= {"class_name": "Lambda", "config": made.get_config()}
    else:
        layer |= {"module": "test_broken_files", "class_name": "Spy", "config": {}}
    path = rewritten(
        folder / "run.keras", tmp_path / "x.keras", "config.json", json.dumps(config)
    )
    # The arrays are read all the same: nothing of the configuration is needed for that.
    twin, right = build(lookup(NEW)), build(lookup(NEW))
    warm_start(twin, previous=path, verbose=0)
    warm_start(right, previous=folder / "run.keras", verbose=0)
    assert bits(twin) == bits(right)
    assert not Spy.ran


@pytest.mark.parametrize("kind", ["archive", "weights"])
def test_tokens_that_break_lines_or_encodings_keep_their_rows(kind, tmp_path):
    def made(words):
        ids = keras.Input((1,), dtype="int32")
        layer = WarmStartEmbedding(output_dim=2, vocabulary=words, name="words")
        return keras.Model(ids, layer(ids))

    monday = made(["[UNK]", *AWKWARD, b"\xff"])
    tuesday = made(["[UNK]", b"\xff", *reversed(AWKWARD)])
    warm_start(tuesday, previous=saved(monday, kind, tmp_path), verbose=0)
    before, after = (array(model.weights[0]) for model in (monday, tuesday))
    np.testing.assert_array_equal(after, before[[0, *range(len(before) - 1, 0, -1)]])


@on_tensorflow
def test_a_broken_checkpoint_of_tensorflow_is_refused(model, tmp_path):
    prefix = Path(saved(Day().model, "tensorflow checkpoint", tmp_path))
    base = {"base_vocabularies": {"words": ["[UNK]", *BASE]}}
    index = prefix.with_name(f"{prefix.name}.index")
    data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    whole = index.read_bytes()
    index.write_bytes(whole[: len(whole) // 2])
    refused(model, prefix)
    index.write_bytes(whole)
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WarmStartError, match="cannot be read"):
        warm_start(model, previous=prefix, verbose=0, **base)
    data.unlink()
    with pytest.raises(WarmStartError, match="cannot be read"):
        warm_start(model, previous=prefix, verbose=0, **base)


@pytest.mark.parametrize("path", [".", ".."])
def test_a_directory_without_a_name_of_its_own_is_looked_into(
    path, tmp_path, monkeypatch
):
    inside = tmp_path / "empty" / "empty"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    with pytest.raises(WarmStartError, match=r"`previous` must name .*`missing_ok=True`"):
        open_previous(path)
