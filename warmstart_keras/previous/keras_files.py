"""Reads layers, optimizer and vocabularies from files of Keras, on demand.

Files are not unpickled, code in a file is not run, and only the data that is needed is
read. A file has the arrays of the optimizer and of each layer in groups. Keras stores the
name of the layer with each group.
"""

import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import h5py
import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray, tensors
from warmstart_keras.keras_internals import shapes_alone
from warmstart_keras.previous.previous_run import PreviousRun, SavedOptimizer
from warmstart_keras.previous.saved_layers import SavedLayer, tree
from warmstart_keras.vocabulary import Vocabulary, read_saved_lookup

_WEIGHTS, _CONFIG, _ASSETS = "model.weights.h5", "config.json", "assets"

# Reads the vocabulary file of a layer's group; returns None if the file does not exist.
_Assets: TypeAlias = Callable[[str], bytes | None]

# The weights of an archive are unpacked in memory up to this size, and on disk above it.
_IN_MEMORY = 2**24

# Data with a declared size above the first limit, and more than this ratio above its
# stored size, was not written by Keras. Unpacking it would exhaust the memory.
_SUSPECT_BYTES, _SUSPECT_RATIO = 2**20, 1000


def read_weights(path: Path, held: ExitStack) -> PreviousRun:
    """Reads a `.weights.h5` file; closing `held` closes the file.

    The file is opened here, because HDF5 locks a file that it opens by its path. Other
    processes could not write the file until it is closed.
    """
    file = held.enter_context(path.open("rb"))

    def state() -> tuple[int, int]:
        now = os.fstat(file.fileno())
        return now.st_size, now.st_mtime_ns

    run, before = _read_h5(file, held), state()
    run.is_unchanged = lambda: state() == before
    return run


def _read_h5(opened: IO[bytes], held: ExitStack) -> PreviousRun:
    file = held.enter_context(h5py.File(opened, "r"))
    groups: dict[str, SavedLayer] = {}

    def visit(name: str, group: h5py.Group | h5py.Dataset) -> None:
        above, _, last = name.rpartition("/")
        if last != "vars" or not isinstance(group, h5py.Group):
            return
        label = group.attrs.get("name", above.rpartition("/")[2])
        values = {key: _of_dataset(group, key) for key in group}
        groups[above] = SavedLayer(str(label), "", "", values)

    file.visititems(visit)
    if not groups:
        raise ValueError("the file does not have weights in the format of Keras 3")
    optimizer = groups.pop("optimizer", None)
    layers = {g: layer for g, layer in groups.items() if not g.startswith("optimizer/")}
    run = PreviousRun(tree(layers))
    if optimizer is not None:
        values = [optimizer.values[key] for key in sorted(optimizer.values, key=int)]
        run.optimizer = SavedOptimizer(values, kind=optimizer_named(optimizer.path))
    return run


def optimizer_named(name: str) -> str | None:
    """Returns the class of an optimizer with an automatic name, or otherwise None."""
    known = {
        made.lower(): made
        for made, value in vars(keras.optimizers).items()
        if isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer)
    }
    return known.get(re.sub(r"_\d+$", "", name).replace("_", "").lower())


def _of_dataset(group: h5py.Group, key: str) -> LazyArray:
    """Returns an array of an open file, which is read on demand."""
    if group.get(key, getlink=True, getclass=True) is not h5py.HardLink:
        raise ValueError(f"'{group.name}/{key}' is a link instead of an array")
    dataset = group[key]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"'{group.name}/{key}' is not an array stored in this file")
    _check_size(dataset.nbytes, dataset.id.get_storage_size(), dataset.name)
    rounded = dataset.attrs.get("dtype") == "bfloat16"
    dtype = tensors.bfloat16() if rounded else dataset.dtype

    def read(place: Any) -> np.ndarray:
        array = np.asarray(dataset[place])
        return array.view(dtype) if rounded else array

    return LazyArray(tuple(dataset.shape), dtype, read)


def _check_size(size: int, stored: int, name: str) -> None:
    if size > _SUSPECT_BYTES and size > _SUSPECT_RATIO * stored:
        raise ValueError(f"'{name}' declares {size} bytes, but stores {stored}")


def read_archive(path: str, held: ExitStack) -> PreviousRun:
    """Reads a `.keras` archive; closing `held` closes it and its unpacked weights."""
    archive = held.enter_context(zipfile.ZipFile(path))
    if _WEIGHTS not in archive.namelist():
        raise ValueError(f"the archive does not have '{_WEIGHTS}'")
    unpacked = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115, held closes it
    held.enter_context(unpacked)
    with _member(archive, _WEIGHTS) as member:
        # Reading the member to its end makes `zipfile` check the checksum.
        shutil.copyfileobj(member, unpacked, 2**24)
    unpacked.seek(0)

    def asset(group: str) -> bytes | None:
        name = f"{_ASSETS}/{group}/vocabulary.txt"
        if name not in archive.namelist():
            return None
        with _member(archive, name) as member:
            return member.read()

    with _member(archive, _CONFIG) as member:
        config = json.loads(member.read())
    return _with_config(_read_h5(unpacked, held), config, asset)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    info = archive.getinfo(name)
    _check_size(info.file_size, info.compress_size, name)
    return archive.open(info)


def read_directory(path: Path, held: ExitStack) -> PreviousRun:
    """Reads a directory that `model.save(path, zipped=False)` wrote."""

    def asset(group: str) -> bytes | None:
        file = path / _ASSETS / group / "vocabulary.txt"
        return file.read_bytes() if file.exists() else None

    config = json.loads((path / _CONFIG).read_bytes())
    return _with_config(read_weights(path / _WEIGHTS, held), config, asset)


def is_saved_model(path: Path) -> bool:
    """Returns whether `model.save(path, zipped=False)` wrote a directory."""
    return (path / _WEIGHTS).exists() and (path / _CONFIG).exists()


def _with_config(run: PreviousRun, config: Any, asset: _Assets) -> PreviousRun:
    """Adds classes, the graph and the order of variables, from the configuration."""
    if not isinstance(config, dict) or "config" not in config:
        raise ValueError(f"'{_CONFIG}' is not the configuration of a model")
    compiled = config.pop("compile_config", None)
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    if run.optimizer is not None and isinstance(optimizer, dict):
        run.optimizer.kind = optimizer.get("class_name")
    try:
        with shapes_alone():
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            state = keras_internals.saved_state(model)
            trainable = model.trainable_variables
    except Exception:
        # The configuration has an unknown class or unsafe code. The run is read without.
        return run
    layers = {layer.group: layer for layer in tree_of(state).walk()}
    arrays: dict[int, LazyArray] = {}
    for saved in run.root.walk():
        if saved.group in layers:
            layer = layers[saved.group]
            saved.kind = layer.kind
            for key in layer.values.keys() & saved.values.keys():
                arrays[id(layer.values[key])] = saved.values[key]
    if run.optimizer is not None and all(id(v) in arrays for v in trainable):
        run.optimizer.trained = [arrays[id(v)] for v in trainable]
    run.lookups = partial(_lookups, layers, asset)
    return run


def _lookups(
    layers: dict[str, SavedLayer],
    asset: _Assets,
    saved: SavedLayer,
    rows: int,
    in_graph: bool = False,
) -> dict[str, Vocabulary | None]:
    """Returns the vocabularies of the lookup layers that may have fed a layer, by path.

    These are the lookup layers that feed the layer in the model's graph. If the graph
    does not have any, all lookup layers of the model are returned, unless `in_graph`.
    """
    found = layers.get(saved.group)
    feeding = keras_internals.feeding_lookups(found.layer) if found else []
    lookups = [
        layer
        for layer in layers.values()
        if keras_internals.gives_ids(layer.layer)
        and not layer.place.startswith("_")  # the lookup inside a `TextVectorization`
    ]
    fed = [layer for layer in lookups if any(layer.layer is f for f in feeding)]
    meant = fed if in_graph else fed or lookups
    return {layer.path: _read_lookup(layer, asset, rows) for layer in meant}


def _read_lookup(lookup: SavedLayer, asset: _Assets, rows: int) -> Vocabulary | None:
    data = asset(lookup.group)
    try:
        lines = None if data is None else data.decode().split("\n")
        return read_saved_lookup(lookup.layer, lines, rows)
    except ValueError:  # the tokens are not UTF-8, or not numbers
        return None


def tree_of(state: dict[str, keras_internals.Saved]) -> SavedLayer:
    """Returns a live model as a tree of layers, in the form that saving would write."""
    return tree(
        {
            group: SavedLayer(s.name or "", "", kind_of(s.layer), s.values, s.layer)
            for group, s in state.items()
        }
    )


def kind_of(layer: keras.Layer) -> str:
    """Returns the class of a layer in the form that Keras writes into files."""
    return keras_internals.snake_case(type(layer).__name__)
