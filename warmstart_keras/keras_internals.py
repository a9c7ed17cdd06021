"""The only module that touches private names of Keras, each with the reason why.

Nothing private is touched on import. Everything here is small and does one thing; what
it is good for is decided elsewhere.
"""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from typing import Any

import keras
import numpy as np

# --- vocabulary layers -----------------------------------------------------------------


def lookup_of(layer: Any) -> Any | None:
    """The lookup that does the work of a vocabulary layer; None for anything else."""
    if isinstance(layer, keras.layers.TextVectorization):
        # Keras offers no public way to the `StringLookup` inside, which alone knows
        # the table, the number of OOV rows and the hashing.
        return layer._lookup_layer
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
    return lookup.lookup_table


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
    return None if lookup is None else lookup._frozen_vocab_size


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
        for child in layer._layers:
            yield from visit(child, f"{path}/{child.name}" if path else child.name)

    yield from visit(root, "")


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """The layers that `layer` holds itself, not those inside them."""
    return list(layer._layers)


def feeding_lookups(layer: keras.Layer) -> list[keras.Layer]:
    """The vocabulary layers whose output is the layer's input in any graph."""
    # The graph of a Functional model is kept in these two attributes alone.
    operations = [
        getattr(tensor, "_keras_history", (None,))[0]
        for node in layer._inbound_nodes
        for tensor in node.input_tensors
    ]
    lookups = {id(op): op for op in operations if lookup_of(op) is not None}
    return list(lookups.values())


def embeddings_variable(layer: keras.layers.Embedding) -> Any:
    """The table of an embedding layer."""
    # `layer.embeddings` is a sum of products where LoRA is enabled.
    return layer._embeddings


def rebuilds_from_its_layers(layer: keras.Layer) -> bool:
    """Whether a model's configuration is that of its layers, and nothing of its own."""
    # `keras.Model(inputs, outputs)` is of a class that has no public name.
    from keras.src.models.functional import Functional

    return type(layer) in (keras.Sequential, Functional)


def in_step() -> bool:
    """Whether this runs inside a compiled function, or a stateless step (L1c)."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            return True
    from keras.src.backend.common.stateless_scope import in_stateless_scope

    return in_stateless_scope()


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
    from keras.src.utils import io_utils

    io_utils.print_msg(message)


def to_numpy(value: Any) -> np.ndarray:
    """A variable or tensor of any backend as a NumPy array."""
    # Nothing private, but `convert_to_numpy` of a variable makes NumPy 2 warn.
    if isinstance(value, keras.Variable):
        value = value.value
    if keras.backend.backend() == "tensorflow" and hasattr(value, "numpy"):
        return value.numpy()
    return keras.ops.convert_to_numpy(value)


# --- variables -------------------------------------------------------------------------


def replace_storage(variable: Any, value: np.ndarray, undo: ExitStack) -> None:
    """Gives a variable storage of another shape; leaves with `undo` the way back.

    The `keras.Variable` stays the same object, so everything that holds it stays valid:
    layers, models and the optimizer's lists (K2).
    """
    # `_initialize` changed its meaning several times: the public constructor makes the
    # storage, and only the two attributes that differ by shape are moved across.
    with _name_scope_of(variable):
        made = keras.Variable(
            value,
            dtype=variable.dtype,
            # Not `variable.trainable`: Keras freezes by a flag of its own.
            trainable=getattr(variable._value, "trainable", variable.trainable),
            aggregation=variable.aggregation,
            synchronization=variable.synchronization,
            layout=variable._layout,
            name=variable.name,
        )
    undo.callback(_set_storage, variable, (variable._value, variable._shape))
    _set_storage(variable, (made._value, made._shape))


def _set_storage(variable: Any, storage: tuple) -> None:
    variable._value, variable._shape = storage


def _name_scope_of(variable: Any) -> Any:
    """The scope that gives a `tf.Variable` the same name again.

    By that name an optimizer finds what `exclude_from_weight_decay(var_names=...)` means.
    """
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    scope, _, _ = variable.value.name.rpartition("/")
    return tf.name_scope(f"{scope}/") if scope else nullcontext()


def stand_in(variable: Any, value: np.ndarray) -> Any:
    """A variable of another shape that an optimizer treats as it treats `variable`."""
    made = keras.Variable(value, dtype=variable.dtype, name=variable.name)
    # Optimizers choose by path (Muon, MultiOptimizer) and by this flag (float8).
    made._path = variable.path
    made.overwrite_with_gradient = variable.overwrite_with_gradient
    return made


# --- optimizers ------------------------------------------------------------------------


def inner_optimizers(optimizer: Any) -> list:
    """The optimizer and all that it wraps (LossScaleOptimizer, MultiOptimizer, ...)."""
    found: list = []

    def visit(value: Any) -> None:
        if isinstance(value, keras.optimizers.Optimizer):
            if not any(value is known for known in found):
                found.append(value)
                for attribute in vars(value).values():
                    visit(attribute)
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            visit(list(value.values()))

    visit(optimizer)
    return found


def optimized_variables(optimizer: Any) -> list:
    """The model's variables that a built optimizer holds, in its order."""
    # The public `variables` are the optimizer's own: they do not say whose they are.
    return list(optimizer._trainable_variables)


def moving_averages(optimizer: Any) -> list:
    """The EMA slots: they start at the value of their variable, though built as zeros."""
    return list(getattr(optimizer, "_model_variables_moving_average", []))


def variable_key(optimizer: Any, variable: Any) -> Any:
    """What an optimizer knows a variable by: on TensorFlow it changes with storage."""
    return optimizer._var_key(variable)


def stale_key(optimizer: Any, variable: Any) -> Any:
    """The key by which a built optimizer still knows a variable, maybe an old one."""
    for index, held in enumerate(optimized_variables(optimizer)):
        if held is variable:
            indices = optimizer._trainable_variables_indices
            return next(key for key, place in indices.items() if place == index)
    return variable_key(optimizer, variable)


def storage_key(variable: Any) -> Any:
    """What an optimizer that is not built knows a variable by (TensorFlow alone)."""
    return getattr(variable.value, "_unique_id", None)


def attributes_not_tracked() -> Any:
    """A scope in which Keras takes no attribute for a part of its object."""
    from keras.src.utils.tracking import DotNotTrackScope

    return DotNotTrackScope()


def replace_key(optimizer: Any, old: Any, new: Any, undo: ExitStack) -> None:
    """Puts `new` for `old` in all that is keyed by variable (K3).

    That is the index of each variable, the exclusions from weight decay and their
    cache, and the choice of a MultiOptimizer; an optimizer of the user's own may have
    more, so every container among the attributes is looked at. Leaves with `undo` the
    way back.
    """
    if old == new:
        return
    # Not by `setattr`: TensorFlow would track the container, and fail to export a
    # dictionary whose keys are no strings.
    attributes = vars(optimizer)
    for name, value in list(attributes.items()):
        renewed = _renamed(value, old, new)
        if renewed is not value:
            undo.callback(attributes.__setitem__, name, value)
            attributes[name] = renewed


def _renamed(value: Any, old: Any, new: Any) -> Any:
    """A container with `new` for `old`; the very same one if it does not hold it."""

    def rename(item: Any) -> Any:
        if isinstance(item, str | int):
            return new if item == old else item
        return _renamed(item, old, new)

    renewed: Any
    if isinstance(value, dict):
        renewed = {rename(key): rename(item) for key, item in value.items()}
        before, after = [*value, *value.values()], [*renewed, *renewed.values()]
    elif isinstance(value, list | set) or type(value) is tuple:
        renewed = [rename(item) for item in value]
        before, after = list(value), renewed
        renewed = renewed if isinstance(value, list) else type(value)(renewed)
    else:
        return value
    same = all(a is b for a, b in zip(before, after, strict=True))
    return value if same else renewed
