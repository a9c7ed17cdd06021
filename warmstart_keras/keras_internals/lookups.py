"""Private names of Keras's vocabulary layers."""

from typing import Any

import keras
import numpy as np

from warmstart_keras.keras_internals import access


def lookup_of(layer: Any) -> Any | None:
    """The lookup that does the work of a vocabulary layer; None for anything else."""
    if isinstance(layer, keras.layers.TextVectorization):
        # Keras offers no public way to the `StringLookup` inside, which alone knows
        # the table, the number of OOV rows and the hashing.
        return access.private(layer, "_lookup_layer")
    if isinstance(layer, keras.layers.StringLookup | keras.layers.IntegerLookup):
        return layer
    return None


def gives_ids(layer: Any) -> bool:
    """Whether a vocabulary layer turns tokens into ids: not into vectors, nor back."""
    lookup = lookup_of(layer)
    return lookup is not None and lookup.output_mode == "int" and not lookup.invert


def gives_vectors(layer: Any) -> bool:
    """Whether a vocabulary layer gives vectors with one number for each token."""
    lookup = lookup_of(layer)
    return lookup is not None and lookup.output_mode != "int"


def lookup_table(lookup: Any) -> Any:
    """The table of a lookup: made anew by every rebuild, never changed in place (V1)."""
    # No leading underscore, but undocumented. `get_vocabulary()` is public, but takes
    # seconds at a million tokens and fails on bytes that are no UTF-8 (V5).
    return access.private(lookup, "lookup_table")


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
    return None if lookup is None else access.private(lookup, "_frozen_vocab_size")
