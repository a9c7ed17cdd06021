"""Private names of Keras layers and models, and of saving."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import keras

from warmstart_keras.keras_internals import access
from warmstart_keras.keras_internals.lookups import lookup_of


def walk(root: keras.Layer) -> Iterator[tuple[str, keras.Layer]]:
    """Yields `root` and every layer inside it, once each, with its path below `root`."""
    # `_flatten_layers` does not tell which layer owns which, so `_layers` is used.
    seen = set()

    def visit(layer: keras.Layer, path: str) -> Iterator[tuple[str, keras.Layer]]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        yield path, layer
        for child in sublayers(layer):
            yield from visit(child, f"{path}/{child.name}" if path else child.name)

    yield from visit(root, "")


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """Returns the layers that `layer` holds directly."""
    return list(access.private(layer, "_layers"))


def feeding_lookups(layer: keras.Layer) -> list[keras.Layer]:
    """Finds the lookup layers whose output is an input of the layer in any graph."""
    # Only these two attributes have the graph of a Functional model.
    operations = [
        getattr(tensor, "_keras_history", (None,))[0]
        for node in access.private(layer, "_inbound_nodes")
        for tensor in node.input_tensors
    ]
    lookups = {id(op): op for op in operations if lookup_of(op) is not None}
    return list(lookups.values())


def embeddings_variable(layer: keras.layers.Embedding) -> keras.Variable:
    """Returns the table of an embedding layer."""
    # With LoRA enabled, `layer.embeddings` is a computed tensor, not the variable.
    return access.private(layer, "_embeddings")


def kernel_variable(layer: keras.Layer) -> keras.Variable:
    """Returns the kernel of a `Dense` or `EinsumDense` layer."""
    # With LoRA enabled, `layer.kernel` is a computed tensor, not the variable.
    return access.private(layer, "_kernel")


def rebuilds_from_its_layers(layer: keras.Layer) -> bool:
    """Returns whether the configuration of a model consists only of its layers."""
    # The class of `keras.Model(inputs, outputs)` has no public name.
    functional = access.private("keras.src.models.functional", "Functional")
    return type(layer) in (keras.Sequential, functional)


def in_step(model: keras.Layer) -> bool:
    """Returns whether the caller runs in a compiled function or a training step."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            return True
    elif keras.backend.backend() == "jax":
        tracing = access.private("keras.src.utils.jax_utils", "is_in_jax_tracing_scope")
        if tracing() or any(map(_is_taken_away, model.variables)):
            return True
    else:
        import torch

        if torch.compiler.is_compiling():
            return True
    scope = "keras.src.backend.common.stateless_scope"
    return access.private(scope, "in_stateless_scope")()


def in_symbolic_call() -> bool:
    """Returns whether Keras only computes shapes, as `fit` does before its callbacks."""
    scope = "keras.src.backend.common.symbolic_scope"
    return access.private(scope, "in_symbolic_scope")()


def _is_taken_away(variable: keras.Variable) -> bool:
    """Returns whether a step on JAX holds or has deleted the value of a variable."""
    value, initializer = (
        access.private(variable, "_value"),
        access.private(variable, "_initializer"),
    )
    if value is None:
        return initializer is None
    return getattr(value, "is_deleted", bool)()


COMPILED_FUNCTIONS = ("train_function", "test_function", "predict_function")


def renew_compiled_functions(model: keras.Model, undo: ExitStack) -> None:
    """Makes Keras recompile a model's functions; adds the rollback to `undo`."""
    # No public method deletes these functions. `fit` reads `train_function` at every
    # step, but creates it only once, before `on_train_begin`.
    before = {name: getattr(model, name, None) for name in COMPILED_FUNCTIONS}
    for name, function in before.items():
        undo.callback(setattr, model, name, function)
        setattr(model, name, None)
    if before["train_function"] is not None:
        model.make_train_function()


def print_message(message: str) -> None:
    """Prints as Keras does: to stdout, or to its log if the user has set this."""
    access.private("keras.src.utils.io_utils", "print_msg")(message)


@dataclass(frozen=True)
class Saved:
    """Content that a layer saves: `values` by key, with variables that are not copied."""

    layer: keras.Layer
    name: str | None
    values: dict[str, Any]


def saved_state(model: keras.Layer) -> dict[str, Saved]:
    """Returns, without saving, what each group of a weights file would contain.

    The optimizer is left out.
    """
    # Only this private function knows how Keras names the groups of a file. It accepts
    # only a store of this class. The set of visited objects shows the current layer.
    store = access.private("keras.src.saving.saving_lib", "H5IOStore")
    save = access.private("keras.src.saving.saving_lib", "_save_state")
    layers = {id(layer): layer for _, layer in walk(model)}
    groups: list[tuple[str, str | None, dict]] = []
    saved: dict[str, Saved] = {}

    class Recorder(store):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            pass

        def __bool__(self) -> bool:
            return True

        def make(self, path: str, metadata: dict | None = None) -> dict:
            groups.append((path, (metadata or {}).get("name"), {}))
            return groups[-1][2]

    class Visited(set):
        def add(self, key: int) -> None:
            super().add(key)
            if key in layers:
                path, name, values = groups[-1]
                saved[path] = Saved(layers[key], name, values)

    visited = Visited()
    optimizer = getattr(model, "optimizer", None)
    set.add(visited, id(optimizer))
    save(model, Recorder(), None, inner_path="", visited_saveables=visited)
    return saved


def snake_case(name: str) -> str:
    """Converts a class name to the form in files and automatic names of Keras."""
    return access.private("keras.src.utils.naming", "to_snake_case")(name)
