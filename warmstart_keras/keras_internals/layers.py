"""Private names of Keras's layers and models, and of how they are saved."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import keras

from warmstart_keras.keras_internals import access
from warmstart_keras.keras_internals.lookups import lookup_of


def walk(root: keras.Layer) -> Iterator[tuple[str, keras.Layer]]:
    """`root` and every layer inside it, each once, with its path of names below it."""
    # `_flatten_layers` does not say who owns whom; `_layers` is what it walks.
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
    """The layers that `layer` holds itself, not those inside them."""
    return list(access.private(layer, "_layers"))


def feeding_lookups(layer: keras.Layer) -> list[keras.Layer]:
    """The vocabulary layers whose output is the layer's input in any graph."""
    # The graph of a Functional model is kept in these two attributes alone.
    operations = [
        getattr(tensor, "_keras_history", (None,))[0]
        for node in access.private(layer, "_inbound_nodes")
        for tensor in node.input_tensors
    ]
    lookups = {id(op): op for op in operations if lookup_of(op) is not None}
    return list(lookups.values())


def embeddings_variable(layer: keras.layers.Embedding) -> keras.Variable:
    """The table of an embedding layer."""
    # `layer.embeddings` is a sum of products where LoRA is enabled.
    return access.private(layer, "_embeddings")


def kernel_variable(layer: keras.Layer) -> keras.Variable:
    """The kernel of a `Dense` or `EinsumDense`."""
    # `layer.kernel` is a sum of products where LoRA is enabled.
    return access.private(layer, "_kernel")


def rebuilds_from_its_layers(layer: keras.Layer) -> bool:
    """Whether a model's configuration is that of its layers, and nothing of its own."""
    # `keras.Model(inputs, outputs)` is of a class that has no public name.
    functional = access.private("keras.src.models.functional", "Functional")
    return type(layer) in (keras.Sequential, functional)


def in_step(model: keras.Layer) -> bool:
    """Whether this runs inside a compiled function, or a step of training."""
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
    """Whether Keras only works out shapes, as `fit` does before its callbacks begin."""
    scope = "keras.src.backend.common.symbolic_scope"
    return access.private(scope, "in_symbolic_scope")()


def _is_taken_away(variable: keras.Variable) -> bool:
    """Whether a step on JAX holds a variable's value, or has used it up."""
    value, initializer = (
        access.private(variable, "_value"),
        access.private(variable, "_initializer"),
    )
    if value is None:
        return initializer is None
    return getattr(value, "is_deleted", bool)()


COMPILED_FUNCTIONS = ("train_function", "test_function", "predict_function")


def renew_compiled_functions(model: keras.Model, undo: ExitStack) -> None:
    """Makes Keras compile a model's functions anew; leaves with `undo` the way back."""
    # No public method drops them. `fit` reads `train_function` afresh at every step,
    # but makes it only before `on_train_begin`.
    before = {name: getattr(model, name, None) for name in COMPILED_FUNCTIONS}
    for name, function in before.items():
        undo.callback(setattr, model, name, function)
        setattr(model, name, None)
    if before["train_function"] is not None:
        model.make_train_function()


def print_message(message: str) -> None:
    """Prints as Keras prints: to stdout, or to its log where the user chose so."""
    access.private("keras.src.utils.io_utils", "print_msg")(message)


@dataclass(frozen=True)
class Saved:
    """What a layer writes into a file; `values` by key, its variables as they are."""

    layer: keras.Layer
    name: str | None
    values: dict[str, Any]


def saved_state(model: keras.Layer) -> dict[str, Saved]:
    """What saving would write by the group of a weights file, without writing it.

    The optimizer's part is left out.
    """
    # How Keras names the groups of a file, only its own function knows. It insists on a
    # store of its own kind, and tells which layer it was at by what it has visited.
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
    """A class's name as Keras writes it into files and automatic names."""
    return access.private("keras.src.utils.naming", "to_snake_case")(name)
