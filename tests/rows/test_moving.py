"""Rows that move in blocks, by threads, from file to file, or where they live."""

import io
from contextlib import redirect_stdout

import h5py
import keras
import numpy as np
import pytest
from models import BASE, REBUILDS, array, rows_by_token

from warmstart_keras import (
    RowMap,
    Vocabulary,
    WarmStartEmbedding,
    WarmStartError,
    remap,
    warm_start,
    warmstart_embedding_matrix,
)
from warmstart_keras.backend import tensors, threads
from warmstart_keras.report import samples
from warmstart_keras.rows import arrays, files

ROWS = 101
OLD = [f"w{i}" for i in range(ROWS)]
NEW = [f"w{i * 7 % ROWS}" for i in range(80)] + [f"x{i}" for i in range(40)]
ROW_MAP = RowMap(OLD, NEW)
TABLE = np.arange(ROWS * 6, dtype="float32").reshape(ROWS, 6)


@pytest.fixture(params=["one thread", "threads"])
def in_pieces(request, monkeypatch):
    """Blocks and pieces so small that there are many."""
    monkeypatch.setattr(arrays, "_BLOCK", 7 * 24)
    monkeypatch.setattr(arrays, "_PIECE", 2 * 24)
    monkeypatch.setattr(threads, "_ENOUGH", 0)
    count = 1 if request.param == "one thread" else 3
    monkeypatch.setattr(threads, "cores", lambda: count)


def slowly(table, row_map, fresh):
    """The rows of a table where they shall be, one by one."""
    fresh = iter(fresh)
    return np.stack([table[i] if i >= 0 else next(fresh) for i in row_map.indices])


# --- in blocks and by threads ----------------------------------------------------------


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("start", ["uniform", "orthogonal", "mean", "oov", "gaussian"])
def test_pieces_make_the_same_as_the_whole(axis, start, request):
    table = np.random.default_rng(0).normal(size=(ROWS, 3, 2)).astype("float32")
    if start == "orthogonal":
        table = table[:, :, 0]
        axis = min(axis, 1)
    moved = remap(
        np.moveaxis(table, 0, axis),
        ROW_MAP,
        axis=axis,
        new_embeddings_initializer=start,
        seed=4,
    )
    request.getfixturevalue("monkeypatch").undo()
    whole = remap(table, ROW_MAP, new_embeddings_initializer=start, seed=4)
    assert moved.tobytes() == np.ascontiguousarray(np.moveaxis(whole, 0, axis)).tobytes()
    assert np.array_equal(whole, slowly(table, ROW_MAP, whole[ROW_MAP.new_rows]))


@pytest.mark.usefixtures("in_pieces")
def test_averaged_rows_lie_in_any_block():
    base = Vocabulary(OLD, mask=True, oov=2)
    new = Vocabulary(NEW, mask=True, oov=30)
    table = np.random.default_rng(0).normal(size=(len(base), 6)).astype("float32")
    row_map = RowMap(base, new)
    moved = remap(table, row_map, new_embeddings_initializer="zeros")
    assert row_map.averaged_rows == range(1, 31)
    mean = table[1:3].astype("float64").mean(axis=0).astype("float32")
    for row, source in enumerate(row_map.indices):
        expected = table[source] if source >= 0 else np.zeros(6, "float32")
        expected = mean if 1 <= row < 31 else expected
        assert moved[row].tobytes() == expected.tobytes()


@pytest.mark.usefixtures("in_pieces")
def test_the_core_function_moves_in_pieces_too():
    moved = array(warmstart_embedding_matrix(OLD, NEW, TABLE, "uniform"))
    assert np.array_equal(moved, slowly(TABLE, ROW_MAP, moved[ROW_MAP.new_rows]))
    assert np.all(np.abs(moved[ROW_MAP.new_rows]) <= 0.05)


def test_no_more_threads_than_the_process_may_use(monkeypatch):
    assert 1 <= threads.cores() <= (threads.os.cpu_count() or 1)
    monkeypatch.delattr(threads.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: None)
    assert threads.cores() == 1


# --- from file to file -----------------------------------------------------------------


@pytest.fixture(params=["path", "memmap", "h5py"])
def source(request, tmp_path):
    np.save(tmp_path / "old.npy", TABLE)
    if request.param == "path":
        yield tmp_path / "old.npy"
    elif request.param == "memmap":
        yield np.load(tmp_path / "old.npy", mmap_mode="r")
    else:
        with h5py.File(tmp_path / "old.h5", "w") as file:
            yield file.create_dataset("table", data=TABLE)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("out", ["path", "memmap", "h5py"])
def test_a_table_goes_from_file_to_file(source, out, tmp_path):
    expected = remap(TABLE, ROW_MAP, seed=1)
    path = tmp_path / "new.npy"
    how = {"seed": 1, "verbose": 0}
    if out == "path":
        moved = remap(source, ROW_MAP, out=path, **how)
        assert np.load(path).tobytes() == expected.tobytes()
        assert not moved.flags.writeable
    elif out == "memmap":
        file = np.lib.format.open_memmap(path, "w+", "float32", expected.shape)
        moved = remap(source, ROW_MAP, out=file, **how)
        assert moved is file
    else:
        with h5py.File(tmp_path / "new.h5", "w") as file:
            dataset = file.create_dataset("table", expected.shape, "float32")
            moved = remap(source, ROW_MAP, out=dataset, **how)[...]
    assert moved.tobytes() == expected.tobytes()


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "complex64"])
def test_a_file_has_the_dtype_and_the_axis(tmp_path, axis, dtype):
    table = TABLE.astype(tensors.bfloat16() if dtype == "bfloat16" else dtype)
    table = np.moveaxis(table, 0, axis)
    how = {"axis": axis, "new_embeddings_initializer": "ones"}
    moved = remap(table, ROW_MAP, out=tmp_path / "new.npy", **how, verbose=0)
    assert moved.dtype == table.dtype
    assert moved.tobytes() == remap(table, ROW_MAP, **how).tobytes()


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("call", [0, 1, -1])
def test_a_full_disk_leaves_no_half_of_a_file(tmp_path, monkeypatch, call):
    own, calls, failing = files.NpyRows._write, [], []

    def write(self, rows):
        calls.append(len(calls))
        if calls[-1:] == failing:
            raise OSError(28, "No space left on device")
        own(self, rows)

    monkeypatch.setattr(files.NpyRows, "_write", write)
    remap(TABLE, ROW_MAP, out=tmp_path / "whole.npy", verbose=0)
    assert len(calls) > 3
    failing.append(calls[call])
    calls.clear()
    with pytest.raises(OSError, match="No space left"):
        remap(TABLE, ROW_MAP, out=tmp_path / "new.npy", verbose=0)
    assert [file.name for file in tmp_path.iterdir()] == ["whole.npy"]


def test_a_file_may_be_written_over_by_what_is_made_of_it(tmp_path):
    path = tmp_path / "table.npy"
    np.save(path, TABLE)
    moved = remap(path, ROW_MAP, new_embeddings_initializer="zeros", out=str(path))
    assert np.array_equal(moved, slowly(TABLE, ROW_MAP, np.zeros((40, 6))))


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_interrupted_leaves_no_half_of_a_file(tmp_path, monkeypatch, error):
    path = tmp_path / "new.npy"
    np.save(path, TABLE[:2])
    calls = []

    def fail_in_the_middle(self, done, *args, **kwargs):
        calls.append(done)
        if done > len(NEW) // 2:
            raise error

    monkeypatch.setattr(keras.utils.Progbar, "update", fail_in_the_middle)
    with pytest.raises(error):
        remap(TABLE, ROW_MAP, out=path)
    assert len(calls) > 2
    assert calls[-1] < len(NEW)
    assert np.load(path).tobytes() == TABLE[:2].tobytes()
    assert [file.name for file in tmp_path.iterdir()] == ["new.npy"]


@pytest.mark.parametrize(
    ("verbose", "out", "shown"),
    [("auto", True, True), ("auto", False, False), (0, True, False), (1, False, True)],
)
def test_a_bar_shows_how_far_it_is(tmp_path, verbose, out, shown):
    printed = io.StringIO()
    with redirect_stdout(printed):
        remap(TABLE, ROW_MAP, out=tmp_path / "new.npy" if out else None, verbose=verbose)
    assert ("120/120" in printed.getvalue()) is shown


@pytest.mark.parametrize("base", ["path", "memmap", "view"])
def test_a_file_is_not_written_over_while_its_rows_are_needed(tmp_path, base):
    path = tmp_path / "old.npy"
    np.save(path, TABLE)
    file = np.load(path, mmap_mode="r")
    given = {"path": path, "memmap": file, "view": np.asarray(file)}[base]
    same_size = RowMap(OLD, OLD[::-1])
    with pytest.raises(WarmStartError, match=r"shares memory or a file with `array`"):
        remap(given, same_size, out=np.load(path, mmap_mode="r+"))
    assert np.array_equal(np.load(path), TABLE)
    # Next to it in the same file there is room.
    with path.open("ab") as longer:
        longer.write(bytes(TABLE.nbytes))
    out = np.memmap(path, "float32", "r+", file.offset + TABLE.nbytes, TABLE.shape)
    assert np.array_equal(remap(given, same_size, out=out), TABLE[::-1])
    assert np.array_equal(file, TABLE)


def test_what_cannot_be_written_to_is_refused(tmp_path):
    np.save(tmp_path / "out.npy", np.zeros((len(NEW), 6), "float32"))
    with pytest.raises(
        WarmStartError, match=r"and writeable.* Received: out of type mem"
    ):
        remap(TABLE, ROW_MAP, out=np.load(tmp_path / "out.npy", mmap_mode="r"))
    with pytest.raises(WarmStartError, match="`out` must be in a folder that exists"):
        remap(TABLE, ROW_MAP, out=tmp_path / "nowhere" / "new.npy")


def test_a_row_map_must_be_one():
    with pytest.raises(WarmStartError, match=r"`row_map` must be.*Pass `RowMap\("):
        remap(TABLE, (OLD, NEW))


def test_another_ending_than_npy_is_refused(tmp_path):
    with pytest.raises(
        WarmStartError, match=r"`out` must be the path of a `\.npy` file\. "
    ):
        remap(TABLE, ROW_MAP, out=tmp_path / "new.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"no array"])
def test_a_file_without_an_array_is_refused(tmp_path, content):
    path = tmp_path / "old.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        WarmStartError, match=r"`array` must be .*`\.npy` file.*Received: .*numpy\.save"
    ):
        remap(path, ROW_MAP)


def test_a_dataset_that_does_not_fit_is_refused(tmp_path):
    with h5py.File(tmp_path / "new.h5", "w") as file:
        dataset = file.create_dataset("table", (len(NEW), 5), "float32")
        with pytest.raises(WarmStartError, match=r"`out` must be a NumPy array of shape"):
            remap(TABLE, ROW_MAP, out=dataset)
        with pytest.raises(WarmStartError, match=r"`out` must be a NumPy array of shape"):
            remap(TABLE.T, ROW_MAP, axis=1, out=dataset)


# --- on an accelerator -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rebuild", REBUILDS)
def test_on_an_accelerator_rows_move_where_they_live(rebuild, dtype, monkeypatch):
    read = []
    monkeypatch.setattr(tensors, "is_on_host", lambda variable: False)
    monkeypatch.setattr(samples, "_ROWS", 2)  # that a report samples
    to_numpy = tensors.to_numpy
    monkeypatch.setattr(tensors, "to_numpy", lambda v: read.append(v) or to_numpy(v))
    words = WarmStartEmbedding(output_dim=512, vocabulary=BASE, dtype=dtype)
    words.build()
    raw = np.random.default_rng(0).integers(2**16, size=(8, 1024), dtype="uint16")
    before = raw.view(array(words.embeddings).dtype)[:, :512]
    words.embeddings.assign(tensors.to_tensor(np.ascontiguousarray(before)))
    read.clear()
    warm_start(words, REBUILDS[rebuild], verbose=0)
    assert not any(len(v.shape) and v.shape[0] == len(BASE) for v in read)
    after = array(words.embeddings)
    expected = rows_by_token(before, BASE, REBUILDS[rebuild], otherwise=after)
    assert after.tobytes() == expected.tobytes()


def test_on_an_accelerator_columns_and_means_move_too(monkeypatch):
    dense = keras.layers.Dense(9, name="head")
    dense.build((None, 4))
    kernel = np.random.default_rng(0).normal(size=(4, 9)).astype("float32")
    dense.kernel.assign(kernel)
    base = Vocabulary(list("abcdef"), mask=True, oov=2)
    new = Vocabulary(list("fedxy"), mask=True, oov=3)
    monkeypatch.setattr(tensors, "is_on_host", lambda variable: False)
    warm_start(
        dense,
        {"head": new},
        base_vocabularies={"head": base},
        verbose=0,
    )
    row_map = RowMap(base, new)
    expected = remap(kernel, row_map, axis=1, new_embeddings_initializer="mean")
    assert array(dense.kernel).tobytes() == expected.tobytes()
    assert len(array(dense.bias)) == len(new)
