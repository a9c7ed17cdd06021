"""Rows that move in blocks, by threads, from file to file, or where they live."""

import io
import resource
from contextlib import contextmanager, redirect_stdout

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
from warmstart_keras.new_rows import BaseRows, NewRows, initializers
from warmstart_keras.rows import move_rows
from warmstart_keras.rows.arrays import Steps
from warmstart_keras.rows.files import move_to_file

ROWS = 101
OLD = [f"w{i}" for i in range(ROWS)]
NEW = [f"w{i * 7 % ROWS}" for i in range(80)] + [f"x{i}" for i in range(40)]
ROW_MAP = RowMap(OLD, NEW)
TABLE = np.arange(ROWS * 6, dtype="float32").reshape(ROWS, 6)
# Many blocks, each of several pieces, of any small table here.
SMALL = {"block": 7 * 24, "piece": 2 * 24}


@pytest.fixture(params=[1, 3], ids=["one thread", "threads"])
def steps(request):
    return Steps(**SMALL, threads=request.param)


@pytest.fixture(scope="module")
def large():
    """A table whose rows are moved in two blocks, by threads if there are cores."""
    return np.arange(ROWS * 2**17, dtype="float32").reshape(ROWS, 2**17)


def slowly(table, row_map, fresh):
    """The rows of a table where they shall be, one by one."""
    fresh = iter(fresh)
    return np.stack([table[i] if i >= 0 else next(fresh) for i in row_map.indices])


def start_of(initializer, table, axis=0):
    """What new rows start from, if those of the base lie along an axis."""
    base = BaseRows(ROW_MAP.base, lambda: table)
    shape = len(ROW_MAP), *table.shape[1:]
    found = initializers.get(initializer)
    return found.start(NewRows(found, ROW_MAP, shape, table.dtype, base, (4,), axis))


# --- in blocks and by threads ----------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("start", ["uniform", "orthogonal", "mean", "oov", "gaussian"])
def test_pieces_make_the_same_as_the_whole(axis, start, steps):
    table = np.random.default_rng(0).normal(size=(ROWS, 3, 2)).astype("float32")
    if start == "orthogonal":
        table = table[:, :, 0]
        axis = min(axis, 1)
    along = np.moveaxis(table, 0, axis)
    start_along = start_of(start, table, axis)
    moved = move_rows(along, ROW_MAP, start_along, axis=axis, steps=steps)
    whole = move_rows(table, ROW_MAP, start_of(start, table))
    assert moved.tobytes() == np.ascontiguousarray(np.moveaxis(whole, 0, axis)).tobytes()
    assert np.array_equal(whole, slowly(table, ROW_MAP, whole[ROW_MAP.new_rows]))


def test_averaged_rows_lie_in_any_block(steps):
    base = Vocabulary(OLD, mask=True, oov=2)
    new = Vocabulary(NEW, mask=True, oov=30)
    table = np.random.default_rng(0).normal(size=(len(base), 6)).astype("float32")
    row_map = RowMap(base, new)
    moved = move_rows(table, row_map, 0, steps=steps)
    assert row_map.averaged_rows == range(1, 31)
    mean = table[1:3].astype("float64").mean(axis=0).astype("float32")
    for row, source in enumerate(row_map.indices):
        expected = table[source] if source >= 0 else np.zeros(6, "float32")
        expected = mean if 1 <= row < 31 else expected
        assert moved[row].tobytes() == expected.tobytes()


def test_the_core_function_moves_in_pieces_too(large):
    moved = array(warmstart_embedding_matrix(OLD, NEW, large, "uniform"))
    assert moved.nbytes > max(Steps().block, threads.ENOUGH)
    assert np.array_equal(moved, slowly(large, ROW_MAP, moved[ROW_MAP.new_rows]))
    assert np.all(np.abs(moved[ROW_MAP.new_rows]) <= 0.05)


def test_no_more_threads_than_the_process_may_use(monkeypatch):
    assert 1 <= threads.cores() <= (threads.os.cpu_count() or 1)
    monkeypatch.delattr(threads.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: None)
    assert threads.cores() == 1


# --- from file to file -----------------------------------------------------------------


@pytest.fixture(params=["path", "memmap", "h5py"])
def source(request, tmp_path, large):
    np.save(tmp_path / "old.npy", large)
    if request.param == "path":
        yield tmp_path / "old.npy"
    elif request.param == "memmap":
        yield np.load(tmp_path / "old.npy", mmap_mode="r")
    else:
        with h5py.File(tmp_path / "old.h5", "w") as file:
            yield file.create_dataset("table", data=large)


@pytest.mark.files
@pytest.mark.parametrize("out", ["path", "memmap", "h5py"])
def test_a_table_goes_from_file_to_file(source, out, large, tmp_path):
    expected = remap(large, ROW_MAP, seed=1)
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


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "complex64"])
def test_a_file_has_the_dtype_and_the_axis(tmp_path, axis, dtype, steps):
    table = TABLE.astype(tensors.bfloat16() if dtype == "bfloat16" else dtype)
    table = np.moveaxis(table, 0, axis)
    moved = move_to_file(tmp_path / "new.npy", table, ROW_MAP, 1, axis, steps)
    assert moved.dtype == table.dtype
    how = {"axis": axis, "new_embeddings_initializer": "ones"}
    assert moved.tobytes() == remap(table, ROW_MAP, **how).tobytes()


@contextmanager
def room_for(size):
    """A disk on which a file can have no more bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_full_disk_leaves_no_half_of_a_file(tmp_path, large, share):
    path, table, calls = tmp_path / "new.npy", large[:, : 2**13], []
    steps = Steps(block=2**18, after_block=calls.append)  # above the buffer of a file
    size = move_to_file(path, table, ROW_MAP, 0, 0, steps).nbytes
    assert len(calls) > 3
    path.unlink()
    with room_for(int(share * size)), pytest.raises(OSError, match="File too large"):
        move_to_file(path, table, ROW_MAP, 0, 0, steps)
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_be_written_over_by_what_is_made_of_it(tmp_path):
    path = tmp_path / "table.npy"
    np.save(path, TABLE)
    moved = remap(path, ROW_MAP, new_embeddings_initializer="zeros", out=str(path))
    assert np.array_equal(moved, slowly(TABLE, ROW_MAP, np.zeros((40, 6))))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_interrupted_leaves_no_half_of_a_file(tmp_path, error):
    path = tmp_path / "new.npy"
    np.save(path, TABLE[:2])
    calls = []

    def fail_in_the_middle(done):
        calls.append(done)
        if done > len(NEW) // 2:
            raise error

    steps = Steps(**SMALL, after_block=fail_in_the_middle)
    with pytest.raises(error):
        move_to_file(path, TABLE, ROW_MAP, 0, 0, steps)
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
    to_numpy = tensors.to_numpy
    monkeypatch.setattr(tensors, "to_numpy", lambda v: read.append(v) or to_numpy(v))
    more = [f"w{i}" for i in range(1100)]  # more words than a report samples
    base, new = BASE + more, REBUILDS[rebuild] + more
    words = WarmStartEmbedding(output_dim=512, vocabulary=base, dtype=dtype)
    words.build()
    size = len(base), 1024
    raw = np.random.default_rng(0).integers(2**16, size=size, dtype="uint16")
    before = raw.view(array(words.embeddings).dtype)[:, :512]
    words.embeddings.assign(tensors.to_tensor(np.ascontiguousarray(before)))
    read.clear()
    warm_start(words, new, verbose=0)
    assert not any(len(v.shape) and v.shape[0] == len(base) for v in read)
    after = array(words.embeddings)
    expected = rows_by_token(before, base, new, otherwise=after)
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
