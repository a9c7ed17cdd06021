"""Private names of Keras lookup layers."""

from typing import Any

import keras
import numpy as np

from warmstart_keras.keras_internals import access


def lookup_of(layer: keras.Layer) -> keras.Layer | None:
    """Returns the lookup of a lookup layer or `TextVectorization`; otherwise None."""
    if isinstance(layer, keras.layers.TextVectorization):
        # Keras has no public access to the inner `StringLookup`. Only this layer has the
        # table, the number of OOV rows and the hash method.
        return access.private(layer, "_lookup_layer")
    if isinstance(layer, keras.layers.StringLookup | keras.layers.IntegerLookup):
        return layer
    return None


def gives_ids(layer: keras.Layer) -> bool:
    """Returns whether a lookup layer maps tokens to ids (not to vectors, not back)."""
    lookup = lookup_of(layer)
    return lookup is not None and lookup.output_mode == "int" and not lookup.invert


def gives_vectors(layer: keras.Layer) -> bool:
    """Returns whether a lookup layer outputs vectors with one entry per token."""
    lookup = lookup_of(layer)
    return lookup is not None and lookup.output_mode != "int"


def lookup_table(lookup: keras.Layer) -> Any:
    """Returns the hash table of a lookup; a rebuild creates a new table."""
    # `lookup_table` has no leading underscore, but is undocumented. `get_vocabulary()` is
    # public, but takes seconds at a million tokens and fails on bytes that are not UTF-8.
    return access.private(lookup, "lookup_table")


def table_entries(table: Any, invert: bool) -> tuple[bytes, np.ndarray, bool]:
    """Reads the tokens of a lookup's table in the order of their rows.

    No Python object is created per token. Before `adapt` there are no tokens.

    Returns:
        The bytes of the tokens, end to end, with integers as decimal digits; int64 array
        of the number of bytes of each token; and whether the tokens are integers.
    """
    import tensorflow as tf

    with tf.init_scope():  # works while a `tf.function` is traced, too
        if int(table.size()) == 0:  # before `adapt` the table is not initialized
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
    """Returns the order that sorts rows; does not sort if the rows have no gap."""
    first = int(rows.min())
    if int(rows.max()) - first == len(rows) - 1:
        places = np.full(len(rows), -1)
        places[rows - first] = np.arange(len(rows))
        if places.min() == 0:
            return places
    return np.argsort(rows)


def saved_vocabulary_size(layer: keras.Layer) -> int | None:
    """Returns how many tokens a lookup had when its configuration was saved, or None."""
    # A lookup from `from_config` has no tokens until its assets are loaded. An embedding
    # that is built before that needs their number.
    lookup = lookup_of(layer)
    return None if lookup is None else access.private(lookup, "_frozen_vocab_size")


def is_saved_as_lines(layer: keras.Layer) -> bool:
    """Returns whether a lookup layer is saved as lines, which some tokens break."""
    # A vocabulary passed to the constructor is saved in the configuration instead.
    return access.private(lookup_of(layer), "input_vocabulary") is None


def replace_vocabulary(layer: keras.Layer, words: list) -> None:
    """Sets the words of a lookup layer, also in the configuration that is saved."""
    lookup: keras.Layer = lookup_of(layer)
    is_text = lookup.vocabulary_dtype == "string"
    # Keras would convert a list to an array that reserves the length of the longest token
    # for every token.
    layer.set_vocabulary(np.array(words, object if is_text else np.int64))
    # The configuration is written from this private name. `set_vocabulary` leaves the
    # vocabulary that was passed to the constructor in place.
    if not is_saved_as_lines(layer):
        lookup.input_vocabulary = words
