"""Reads files of `tf.train.Checkpoint`, which store arrays by variable name."""

from typing import Any

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import LazyArray
from warmstart_keras.errors import WarmStartError
from warmstart_keras.previous.keras_files import kind_of, optimizer_named
from warmstart_keras.previous.previous_run import PreviousRun, SavedOptimizer
from warmstart_keras.previous.saved_layers import SavedLayer, Value, tree

_VARIABLE = "VARIABLE_VALUE"  # the name that TensorFlow gives a variable's value


def read_tensorflow(prefix: str) -> PreviousRun:
    """Reads the files that `tf.train.Checkpoint` wrote under a prefix."""
    import tensorflow as tf
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    reader = tf.train.load_checkpoint(prefix)
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    shapes = reader.get_variable_to_shape_map()
    dtypes = reader.get_variable_to_dtype_map()
    stored: dict[int, tuple[str, LazyArray]] = {}
    for number, node in enumerate(graph.nodes):
        for attribute in node.attributes:
            key = attribute.checkpoint_key
            if attribute.name == _VARIABLE and key in shapes:

                def read(place: Any, key: str = key) -> np.ndarray:
                    return np.asarray(reader.get_tensor(key))[place]

                dtype = np.dtype(dtypes[key].as_numpy_dtype)
                array = LazyArray(tuple(shapes[key]), dtype, read)
                stored[number] = (attribute.full_name, array)
    inside = [{c.local_name: c.node_id for c in node.children} for node in graph.nodes]
    optimizers = {
        number
        for number, children in enumerate(inside)
        if {"_variables", "_trainable_variables", "_iterations"} <= children.keys()
    }

    def listed(number: int, name: str) -> list[int]:
        items = inside[inside[number][name]].items()
        return [node for _, node in sorted(items, key=lambda item: int(item[0]))]

    def variables(number: int) -> list[int]:
        inner = inside[number].get("inner_optimizer")
        return listed(number, "_variables") + ([] if inner is None else variables(inner))

    own = {v for number in optimizers for v in listed(number, "_variables")}
    layers: dict[str, SavedLayer] = {}
    for number, (name, array) in stored.items():
        if number not in own and "/" in name:
            _add(_at(layers, name, {}), name, array)
    if not layers:
        raise ValueError("the checkpoint does not have variables of a Keras model")
    run = PreviousRun(tree(layers), by_variable_path=True)
    inner = {inside[number].get("inner_optimizer") for number in optimizers}
    outer = sorted(optimizers - inner)
    if len(outer) == 1:
        name = stored[inside[outer[0]]["_iterations"]][0]
        run.optimizer = SavedOptimizer(
            [stored[v][1] for v in variables(outer[0])],
            [stored[v][1] for v in listed(outer[0], "_trainable_variables")],
            optimizer_named(name.partition("/")[0]),
        )
    return run


def tree_by_variable_path(state: dict[str, keras_internals.Saved]) -> SavedLayer:
    """Returns a model as a tree of layers, placed by the paths of their variables."""
    kinds = {saved.layer.name: kind_of(saved.layer) for saved in state.values()}
    layers: dict[str, SavedLayer] = {}
    for saved in state.values():
        for value in saved.values.values():
            if isinstance(value, keras.Variable):
                path = keras_internals.stored_name(value)
                node = _at(layers, path, kinds)
                _add(node, path, value)
                node.layer = saved.layer
    return tree(layers)


def _at(layers: dict[str, SavedLayer], path: str, kinds: dict[str, str]) -> SavedLayer:
    """Returns the layer of a variable, and creates it and its parents if needed."""
    parts = path.split("/")[:-1]
    for end in range(len(parts) + 1):
        name = parts[end - 1] if end else ""
        group = "/".join(parts[:end])
        layers.setdefault(group, SavedLayer(name, "", kinds.get(name, ""), {}))
    return layers["/".join(parts)]


def _add(layer: SavedLayer, path: str, value: Value) -> None:
    name = path.rpartition("/")[2]
    if name in layer.values:
        raise WarmStartError(
            "A TensorFlow checkpoint must store each layer under a unique name. "
            f"Received: '{path}' twice. This happens for layers in lists of a subclassed "
            "model, for layers inside several models, and for several models in one "
            "checkpoint. Save the model with `model.save('model.keras')` and pass that "
            "file as `previous`."
        )
    layer.values[name] = value
