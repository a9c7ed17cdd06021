"""Private names of Keras's vocabulary layers."""

from typing import Any

import keras
import numpy as np

from warmstart_keras.keras_internals import access


def lookup_of(layer: keras.Layer) -> keras.Layer | None:
    """The lookup that does the work of a vocabulary layer; None for anything else."""
    if isinstance(layer, keras.layers.TextVectorization):
        # Keras offers no public way to the `StringLookup` inside, which alone knows
        # the table, the number of OOV rows and the hashing.
        return access.private(layer, "_lookup_layer")
    if isinstance(layer, keras.layers.StringLookup | keras.layers.IntegerLookup):
        return layer
    return None


def gives_ids(layer: keras.Layer) -> bool:
    """Whether a vocabulary layer turns tokens into ids: not into vectors, nor back."""
    lookup = lookup_of(layer)
    return lookup is not None and lookup.output_mode == "int" and not lookup.invert


def gives_vectors(layer: keras.Layer) -> bool:
    """Whether a vocabulary layer gives vectors with one number for each token."""
    lookup = lookup_of(layer)
    return lookup is not None and lookup.output_mode != "int"


def lookup_table(lookup: keras.Layer) -> Any:
    """The table of a lookup: made anew by every rebuild, never changed in place."""
    # No leading underscore, but undocumented. `get_vocabulary()` is public, but takes
    # seconds at a million tokens and fails on bytes that are no UTF-8.
    return access.private(lookup, "lookup_table")


def table_entries(table: Any, invert: bool) -> tuple[bytes, np.ndarray, bool]:
    """The tokens of a lookup's table, in the order of their rows; none before `adapt`.

    No Python object is made for a token.

    Returns:
        Their bytes, end to end, integers in digits; int64 array of how many bytes each
        one has; and whether they are integers.
    """
    import tensorflow as tf

    with tf.init_scope():  # also readable while a `tf.function` is traced
        if int(table.size()) == 0:  # the table of an un-adapted layer has no content
            return b"", np.empty(0, np.int64), False
        tokens, rows = table.export()
        if invert:
            tokens, rows = rows, tokens
        tokens = tf.gather(tokens, _ascending(rows.numpy()))
        are_integers = tokens.dtype != tf.string
        if are_integers:
            tokens = tf.strings.as_string(tokens)
        lengths = tf.strings.length(tokens).numpy().astype(np.int64)
        return tf.strings.reduce_join(tokens).numpy(), lengths, are_integers


def _ascending(rows: np.ndarray) -> np.ndarray:
    """The places of rows as they ascend; without sorting where they have no gap."""
    first = int(rows.min())
    if int(rows.max()) - first == len(rows) - 1:
        places = np.full(len(rows), -1)
        places[rows - first] = np.arange(len(rows))
        if places.min() == 0:
            return places
    return np.argsort(rows)


def saved_vocabulary_size(layer: keras.Layer) -> int | None:
    """How many tokens a lookup had when its configuration was written, if known."""
    # A lookup made by `from_config` has no tokens before its assets are loaded; an
    # embedding that is built in between needs their number.
    lookup = lookup_of(layer)
    return None if lookup is None else access.private(lookup, "_frozen_vocab_size")


def is_saved_as_lines(layer: keras.Layer) -> bool:
    """Whether a vocabulary layer is saved as a file of lines, which some tokens break."""
    # What its constructor was given goes into the configuration instead.
    return access.private(lookup_of(layer), "input_vocabulary") is None


def replace_vocabulary(layer: keras.Layer, words: list) -> None:
    """Sets the words of a vocabulary layer, and what of them is saved."""
    lookup: keras.Layer = lookup_of(layer)
    is_text = lookup.vocabulary_dtype == "string"
    # Of a list Keras makes an array in which every token is as long as the longest.
    layer.set_vocabulary(np.array(words, object if is_text else np.int64))
    # Only this private name says what goes into the configuration: `set_vocabulary`
    # leaves there what the constructor was given.
    if not is_saved_as_lines(layer):
        lookup.input_vocabulary = words
