"""The only module that touches private names of Keras, each with the reason why.

Nothing private is touched on import, and every private name is asked for by `private`,
which says what to do where a version of Keras has it no more. Everything here is small
and does one thing; what it is good for is decided elsewhere.
"""

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from warmstart_keras.errors import WarmStartError


def private(owner: Any, name: str) -> Any:
    """An attribute that Keras does not document; `owner` may be the path of a module.

    Raises:
        WarmStartError: If this version of Keras does not have it.
    """
    try:
        if isinstance(owner, str):
            owner = importlib.import_module(owner)
        return getattr(owner, name)
    except (AttributeError, ImportError) as error:
        where = owner if isinstance(owner, str) else type(owner).__name__
        raise WarmStartError(
            f"Keras must have `{name}` in {where}, which warmstart_keras needs. "
            f"Received: Keras {keras.__version__} on {keras.backend.backend()}, which "
            "has not. Report this message to the warmstart_keras authors, and use an "
            "earlier version of Keras until then. Nothing was changed."
        ) from error


# --- vocabulary layers -----------------------------------------------------------------


def lookup_of(layer: Any) -> Any | None:
    """The lookup that does the work of a vocabulary layer; None for anything else."""
    if isinstance(layer, keras.layers.TextVectorization):
        # Keras offers no public way to the `StringLookup` inside, which alone knows
        # the table, the number of OOV rows and the hashing.
        return private(layer, "_lookup_layer")
    if isinstance(layer, keras.layers.StringLookup | keras.layers.IntegerLookup):
        return layer
    return None


def gives_ids(layer: Any) -> bool:
    """Whether a vocabulary layer turns tokens into ids: not into vectors, nor back."""
    lookup = lookup_of(layer)
    return lookup is not None and lookup.output_mode == "int" and not lookup.invert


def lookup_table(lookup: Any) -> Any:
    """The table of a lookup: made anew by every rebuild, never changed in place (V1)."""
    # No leading underscore, but undocumented. `get_vocabulary()` is public, but takes
    # seconds at a million tokens and fails on bytes that are no UTF-8 (V5).
    return private(lookup, "lookup_table")


def table_entries(table: Any) -> tuple[np.ndarray, np.ndarray]:
    """Keys and values of a lookup's table, in no order; empty before `adapt`."""
    import tensorflow as tf

    with tf.init_scope():  # also readable while a `tf.function` is traced
        if int(table.size()) == 0:  # the table of an un-adapted layer has no content
            return np.empty(0, dtype=object), np.empty(0, dtype=np.int64)
        keys, values = table.export()
        return keys.numpy(), values.numpy()


def saved_vocabulary_size(layer: Any) -> int | None:
    """How many tokens a lookup had when its configuration was written, if known."""
    # A lookup made by `from_config` has no tokens before its assets are loaded; an
    # embedding that is built in between needs their number.
    lookup = lookup_of(layer)
    return None if lookup is None else private(lookup, "_frozen_vocab_size")


# --- layers and models -----------------------------------------------------------------


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
    return list(private(layer, "_layers"))


def feeding_lookups(layer: keras.Layer) -> list[keras.Layer]:
    """The vocabulary layers whose output is the layer's input in any graph."""
    # The graph of a Functional model is kept in these two attributes alone.
    operations = [
        getattr(tensor, "_keras_history", (None,))[0]
        for node in private(layer, "_inbound_nodes")
        for tensor in node.input_tensors
    ]
    lookups = {id(op): op for op in operations if lookup_of(op) is not None}
    return list(lookups.values())


def embeddings_variable(layer: keras.layers.Embedding) -> Any:
    """The table of an embedding layer."""
    # `layer.embeddings` is a sum of products where LoRA is enabled.
    return private(layer, "_embeddings")


def rebuilds_from_its_layers(layer: keras.Layer) -> bool:
    """Whether a model's configuration is that of its layers, and nothing of its own."""
    # `keras.Model(inputs, outputs)` is of a class that has no public name.
    functional = private("keras.src.models.functional", "Functional")
    return type(layer) in (keras.Sequential, functional)


def in_step(model: keras.Layer) -> bool:
    """Whether this runs inside a compiled function, or a step of training (L1c)."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            return True
    elif keras.backend.backend() == "jax":
        tracing = private("keras.src.utils.jax_utils", "is_in_jax_tracing_scope")
        if tracing() or any(map(_is_taken_away, model.variables)):
            return True
    else:
        import torch

        if torch.compiler.is_compiling():
            return True
    scope = "keras.src.backend.common.stateless_scope"
    return private(scope, "in_stateless_scope")()


def in_symbolic_call() -> bool:
    """Whether Keras only works out shapes, as `fit` does before its callbacks begin."""
    scope = "keras.src.backend.common.symbolic_scope"
    return private(scope, "in_symbolic_scope")()


def _is_taken_away(variable: Any) -> bool:
    """Whether a step on JAX holds a variable's value (L1c), or has used it up."""
    value, initializer = private(variable, "_value"), private(variable, "_initializer")
    if value is None:
        return initializer is None
    return getattr(value, "is_deleted", bool)()


COMPILED_FUNCTIONS = ("train_function", "test_function", "predict_function")


def renew_compiled_functions(model: Any, undo: ExitStack) -> None:
    """Makes Keras compile a model's functions anew; leaves with `undo` the way back."""
    # No public method drops them. `fit` reads `train_function` afresh at every step,
    # but makes it only before `on_train_begin` (K6).
    before = {name: getattr(model, name, None) for name in COMPILED_FUNCTIONS}
    for name, function in before.items():
        undo.callback(setattr, model, name, function)
        setattr(model, name, None)
    if before["train_function"] is not None:
        model.make_train_function()


def print_message(message: str) -> None:
    """Prints as Keras prints: to stdout, or to its log where the user chose so."""
    private("keras.src.utils.io_utils", "print_msg")(message)


@dataclass(frozen=True)
class Saved:
    """What a layer writes into a file; `values` by key, its variables as they are."""

    layer: Any
    name: str | None
    values: dict[str, Any]


def saved_state(model: keras.Layer) -> dict[str, Saved]:
    """What saving would write by the group of a weights file, without writing it.

    The optimizer's part is left out.
    """
    # How Keras names the groups of a file, only its own function knows. It insists on a
    # store of its own kind, and tells which layer it was at by what it has visited.
    store = private("keras.src.saving.saving_lib", "H5IOStore")
    save = private("keras.src.saving.saving_lib", "_save_state")
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
    return private("keras.src.utils.naming", "to_snake_case")(name)


# --- variables -------------------------------------------------------------------------


@contextmanager
def variables_without_value() -> Iterator[None]:
    """A scope in which variables that are made have a shape, and never get a value."""
    # Keras remembers them, and gives all a value when the next stateless scope ends: of
    # a table as large as the model's own, in the middle of `fit`.
    state = "keras.src.backend.common.global_state"
    name = "uninitialized_variables"
    before = list(private(state, "get_global_attribute")(name) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        private(state, "set_global_attribute")(name, before)


def replace_storage(variable: Any, value: Any, undo: ExitStack) -> None:
    """Gives a variable storage of another shape; leaves with `undo` the way back.

    The `keras.Variable` stays the same object, so everything that holds it stays valid:
    layers, models and the optimizer's lists (K2). It stays where it was: on the same
    devices, sharded or mirrored in the same way.
    """
    old = private(variable, "_value")
    # `_initialize` changed its meaning several times: the public constructor makes the
    # storage, and only the two attributes that differ by shape are moved across.
    with _scope_of(variable):
        made = keras.Variable(
            value,
            dtype=variable.dtype,
            # Not `variable.trainable`: Keras freezes by a flag of its own.
            trainable=getattr(old, "trainable", variable.trainable),
            aggregation=variable.aggregation,
            synchronization=variable.synchronization,
            # Not `variable._layout`, which a variable made before
            # `keras.distribution.set_distribution` does not have.
            layout=getattr(old, "sharding", None),
            name=variable.name,
        )
    shape = private(variable, "_shape")
    if keras.backend.backend() == "torch":
        undo.callback(_set_parameter, variable, old.data, shape, old.grad)
        _set_parameter(variable, made.value.data.to(old.device), made.shape, None)
    else:
        undo.callback(_set_storage, variable, old, shape)
        _set_storage(variable, private(made, "_value"), private(made, "_shape"))


def _set_storage(variable: Any, value: Any, shape: Any) -> None:
    variable._value, variable._shape = value, shape


def _set_parameter(variable: Any, data: Any, shape: Any, gradient: Any) -> None:
    # On PyTorch layers and users hold the `Parameter` (K2b): that object stays too.
    import torch

    parameter = private(variable, "_value")
    # Between, another dtype: only that makes PyTorch forget the node that accumulates
    # gradients of the old shape, which any tensor computed from it may keep alive.
    other = torch.float32 if data.dtype == torch.float64 else torch.float64
    parameter.data = torch.empty(0, dtype=other, device=data.device)
    parameter.data = data
    parameter.grad = gradient
    variable._shape = shape


def storage_is_held() -> bool:
    """Whether others than a `keras.Variable` itself hold its storage, by identity."""
    # Compiled functions of TensorFlow do; those of JAX are given it at every call, and
    # on PyTorch the `Parameter` stays.
    return keras.backend.backend() == "tensorflow"


def clear_gradient(variable: Any, undo: ExitStack) -> None:
    """Forgets a gradient that PyTorch keeps for rows which have moved (K2b)."""
    gradient = getattr(variable.value, "grad", None)
    if keras.backend.backend() == "torch" and gradient is not None:
        undo.callback(setattr, variable.value, "grad", gradient)
        variable.value.grad = None


@contextmanager
def _scope_of(variable: Any) -> Iterator[None]:
    """What a `tf.Variable` must be made in to be like another one.

    The strategy that it is mirrored by (K4), or its device, and the scope of its name: by
    that name an optimizer finds what `exclude_from_weight_decay(var_names=...)` means.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    with ExitStack() as scopes:
        value = private(variable, "_value")
        if isinstance(value, tf.distribute.DistributedValues):
            scopes.enter_context(value.distribute_strategy.scope())
        else:
            scopes.enter_context(tf.device(value.device))
        scope, _, _ = value.name.rpartition("/")
        if scope:
            scopes.enter_context(tf.name_scope(f"{scope}/"))
        yield


def stand_in(variable: Any, value: np.ndarray) -> Any:
    """A variable of another shape that an optimizer treats as it treats `variable`."""
    made = keras.Variable(value, dtype=variable.dtype, name=variable.name)
    # Optimizers choose by path (Muon, MultiOptimizer) and by this flag (float8).
    private(made, "_path")
    made._path = variable.path
    made.overwrite_with_gradient = variable.overwrite_with_gradient
    return made


# --- optimizers ------------------------------------------------------------------------


def optimized_variables(optimizer: Any) -> list:
    """The model's variables that a built optimizer holds, in its order."""
    # The public `variables` are the optimizer's own: they do not say whose they are.
    return list(private(optimizer, "_trainable_variables"))


def forget_build(optimizer: Any, undo: ExitStack) -> None:
    """Leaves with `undo` what makes an optimizer unbuilt again that is built next."""
    # Nothing of Keras takes a build back.
    tracker = private(optimizer, "_tracker")
    known = {name: set(ids) for name, ids in tracker.stored_ids.items()}
    undo.callback(tracker.stored_ids.update, known)
    _restore_later(optimizer, undo)


def _restore_later(owner: Any, undo: ExitStack) -> None:
    """Leaves with `undo` the attributes of an object, and what their containers hold."""
    attributes, before = vars(owner), dict(vars(owner))
    for value in before.values():
        # The containers are held by others too: they must stay the same objects. By the
        # methods of the plain classes, since those of Keras and TensorFlow would take
        # this for one more change to track.
        if isinstance(value, dict):
            undo.callback(dict.update, value, dict(value))
            undo.callback(dict.clear, value)
        elif isinstance(value, list):
            undo.callback(list.__setitem__, value, slice(None), list(value))
        if isinstance(value, dict | list) and hasattr(value, "__dict__"):
            _restore_later(value, undo)
    undo.callback(attributes.update, before)
    undo.callback(attributes.clear)


def moving_averages(optimizer: Any) -> list:
    """The EMA slots: they start at the value of their variable, though built as zeros."""
    averages = getattr(optimizer, "_model_variables_moving_average", [])
    return [average for average in averages if average is not None]


def separate_averages(optimizer: Any) -> None:
    """Gives each average of weights a buffer of its own.

    At the end of `fit` Keras puts the averages in the place of the weights. On JAX both
    are one buffer then, which the next `fit` fails to donate twice (K11).
    """
    if keras.backend.backend() != "jax":
        return
    averages = {id(average.value) for average in moving_averages(optimizer)}
    for variable in optimized_variables(optimizer) if averages else []:
        if id(variable.value) in averages:
            variable.assign(keras.ops.copy(variable.value))


def variable_key(optimizer: Any, variable: Any) -> Any:
    """What an optimizer knows a variable by: on TensorFlow it changes with storage."""
    return private(optimizer, "_var_key")(variable)


def stale_key(optimizer: Any, variable: Any) -> Any:
    """The key by which a built optimizer still knows a variable, maybe an old one."""
    for index, held in enumerate(optimized_variables(optimizer)):
        if held is variable:
            indices = private(optimizer, "_trainable_variables_indices")
            return next(key for key, place in indices.items() if place == index)
    return variable_key(optimizer, variable)


def stored_name(variable: Any) -> str:
    """What `tf.train.Checkpoint` calls a variable."""
    # In a subclassed model TensorFlow's name has no part for the layer; `path` has.
    if keras.backend.backend() != "tensorflow":
        return variable.path
    return variable.value.name.removesuffix(":0")


def storage_key(variable: Any) -> Any:
    """What an optimizer that is not built knows a variable by (TensorFlow alone)."""
    return getattr(variable.value, "_unique_id", None)


def attributes_not_tracked() -> Any:
    """A scope in which Keras takes no attribute for a part of its object."""
    return private("keras.src.utils.tracking", "DotNotTrackScope")()
