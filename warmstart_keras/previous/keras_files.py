"""What files hold of a model: layers, optimizer and vocabularies, read when asked for.

Nothing is unpickled, no code of a file is run, and no data is read but what is needed.
The optimizer's part and the layers' are arrays in groups; which group is which layer, the
name says that Keras writes beside each.
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

# Gives the vocabulary file of a layer's group; None if it has none.
_Assets: TypeAlias = Callable[[str], bytes | None]

# An archive's weights are unpacked in memory up to this size, and on disk above it.
_IN_MEMORY = 2**24

# Data that says to be larger than this, and so many times what is stored of it, was not
# written by Keras: it is there to use up memory.
_SUSPECT_BYTES, _SUSPECT_RATIO = 2**20, 1000


def read_weights(path: Path, held: ExitStack) -> PreviousRun:
    """Reads a `.weights.h5` file; `held` closes it.

    HDF5 locks a file that it opens by its path: nobody could write it meanwhile.
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
        raise ValueError("it has no weights as Keras 3 writes them")
    optimizer = groups.pop("optimizer", None)
    layers = {g: layer for g, layer in groups.items() if not g.startswith("optimizer/")}
    run = PreviousRun(tree(layers))
    if optimizer is not None:
        values = [optimizer.values[key] for key in sorted(optimizer.values, key=int)]
        run.optimizer = SavedOptimizer(values, kind=optimizer_named(optimizer.path))
    return run


def optimizer_named(name: str) -> str | None:
    """The class of an optimizer with an automatic name; None if it has another."""
    known = {
        made.lower(): made
        for made, value in vars(keras.optimizers).items()
        if isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer)
    }
    return known.get(re.sub(r"_\d+$", "", name).replace("_", "").lower())


def _of_dataset(group: h5py.Group, key: str) -> LazyArray:
    """An array of an open file."""
    if group.get(key, getlink=True, getclass=True) is not h5py.HardLink:
        raise ValueError(f"'{group.name}/{key}' is a link to somewhere else")
    dataset = group[key]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"'{group.name}/{key}' is no array of this file")
    _check_size(dataset.nbytes, dataset.id.get_storage_size(), dataset.name)
    rounded = dataset.attrs.get("dtype") == "bfloat16"
    dtype = tensors.bfloat16() if rounded else dataset.dtype

    def read(place: Any) -> np.ndarray:
        array = np.asarray(dataset[place])
        return array.view(dtype) if rounded else array

    return LazyArray(tuple(dataset.shape), dtype, read)


def _check_size(size: int, stored: int, name: str) -> None:
    if size > _SUSPECT_BYTES and size > _SUSPECT_RATIO * stored:
        raise ValueError(f"'{name}' says to have {size} bytes, and stores {stored}")


def read_archive(path: str, held: ExitStack) -> PreviousRun:
    """Reads a `.keras` archive; `held` closes it, and what was unpacked of it."""
    archive = held.enter_context(zipfile.ZipFile(path))
    if _WEIGHTS not in archive.namelist():
        raise ValueError(f"it has no '{_WEIGHTS}'")
    unpacked = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115, held closes it
    held.enter_context(unpacked)
    with _member(archive, _WEIGHTS) as member:
        shutil.copyfileobj(member, unpacked, 2**24)  # to its end: the checksum is checked
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
    """Reads what `model.save(path, zipped=False)` has written."""

    def asset(group: str) -> bytes | None:
        file = path / _ASSETS / group / "vocabulary.txt"
        return file.read_bytes() if file.exists() else None

    config = json.loads((path / _CONFIG).read_bytes())
    return _with_config(read_weights(path / _WEIGHTS, held), config, asset)


def is_saved_model(path: Path) -> bool:
    """Whether a directory is what `model.save(path, zipped=False)` has written."""
    return (path / _WEIGHTS).exists() and (path / _CONFIG).exists()


def _with_config(run: PreviousRun, config: Any, asset: _Assets) -> PreviousRun:
    """Adds what the configuration tells: classes, the graph, the order of variables."""
    if not isinstance(config, dict) or "config" not in config:
        raise ValueError(f"its '{_CONFIG}' is not the configuration of a model")
    compiled = config.pop("compile_config", None)
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    if run.optimizer is not None and isinstance(optimizer, dict):
        run.optimizer.kind = optimizer.get("class_name")
    try:
        with shapes_alone():
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            state = keras_internals.saved_state(model)
            trainable = model.trainable_variables
    except Exception:  # of a class that is not known here, or unsafe: it is not needed
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
    """By path, the lookups that may have fed a layer, and their vocabularies.

    Those that feed it in the model's graph; if there are none, all that there are, unless
    `in_graph`.
    """
    found = layers.get(saved.group)
    feeding = keras_internals.feeding_lookups(found.layer) if found else []
    lookups = [
        layer
        for layer in layers.values()
        if keras_internals.gives_ids(layer.layer)
        and not layer.place.startswith("_")  # the one inside a TextVectorization
    ]
    fed = [layer for layer in lookups if any(layer.layer is f for f in feeding)]
    meant = fed if in_graph else fed or lookups
    return {layer.path: _read_lookup(layer, asset, rows) for layer in meant}


def _read_lookup(lookup: SavedLayer, asset: _Assets, rows: int) -> Vocabulary | None:
    data = asset(lookup.group)
    try:
        lines = None if data is None else data.decode().split("\n")
        return read_saved_lookup(lookup.layer, lines, rows)
    except ValueError:  # no UTF-8, or no numbers
        return None


def tree_of(state: dict[str, keras_internals.Saved]) -> SavedLayer:
    """A model at hand as a tree of layers, as saving would write it."""
    return tree(
        {
            group: SavedLayer(s.name or "", "", kind_of(s.layer), s.values, s.layer)
            for group, s in state.items()
        }
    )


def kind_of(layer: keras.Layer) -> str:
    """The class of a layer, as Keras writes it into files."""
    return keras_internals.snake_case(type(layer).__name__)
