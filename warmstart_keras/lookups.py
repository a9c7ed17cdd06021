"""Reading the vocabulary of a lookup layer: at hand, or saved."""

import codecs
import weakref
from typing import Any

import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.tokens import Token, Tokens, is_utf8, normalized
from warmstart_keras.vocabulary import Vocabulary

# What was last read from a lookup layer, and the table that it was read from: a table
# never changes, a rebuild makes another one. So nothing is read twice.
_last_read: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def read_lookup(lookup: Any) -> Vocabulary:
    """The vocabulary that a lookup holds now; nothing is read twice."""
    table = keras_internals.lookup_table(lookup)
    if lookup in _last_read:
        last_table, vocabulary = _last_read[lookup]
        if last_table() is table:
            return vocabulary
    return _read_anew(lookup, table)


@keras_internals.untraced
def _read_anew(lookup: Any, table: Any) -> Vocabulary:
    vocabulary = _with_words(lookup, _special_tokens(lookup), _words_of(lookup, table))
    _last_read[lookup] = (weakref.ref(table), vocabulary)
    return vocabulary


def _words_of(lookup: Any, table: Any) -> Tokens:
    """The tokens in a table of a lookup's, in the order of their rows."""
    blob, lengths, are_integers = keras_internals.table_entries(table, lookup.invert)
    if are_integers:
        return Tokens(blob, lengths.cumsum(), integers=True)
    encoding = getattr(lookup, "encoding", None) or "utf-8"
    if is_utf8(encoding):
        return Tokens.of_bytes(blob, lengths)
    ends = lengths.cumsum()
    bounds = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    return Tokens.of([blob[a:b] for a, b in bounds], encoding)


def read_saved_lookup(
    layer: Any, lines: list[str] | None, rows: int
) -> Vocabulary | None:
    """The vocabulary that a saved lookup layer had, if that is certain.

    Args:
        layer: A layer made of its configuration; it has the tokens only if that has.
        lines: The lines of its own file, special tokens included, if it had one. A token
            that holds a line break makes more of them than there were tokens (V4).
        rows: How many tokens there must be where the configuration does not tell.
    """
    lookup: Any = keras_internals.lookup_of(layer)
    if lines is None:
        vocabulary = read_lookup(lookup)
        return vocabulary if vocabulary.has_words else None
    if len(lines) != (keras_internals.saved_vocabulary_size(layer) or rows):
        return None
    special = _special_tokens(lookup)
    words: list[Any] = lines[len(special) :]
    if lookup.vocabulary_dtype != "string":
        words = [int(str(word)) for word in words]
    return _with_words(lookup, special, Tokens.of(words))


def _special_tokens(lookup: Any) -> list[Token]:
    """The names of a lookup's special rows; None for one that no token could have."""
    has_mask = lookup.mask_token is not None and lookup.output_mode == "int"
    special = [lookup.mask_token] * has_mask + [lookup.oov_token] * lookup.num_oov_indices
    kind: Any = str | bytes if lookup.vocabulary_dtype == "string" else int | np.integer
    return [normalized([t])[0] if isinstance(t, kind) else None for t in special]


def _with_words(lookup: Any, special: list[Token], words: Tokens) -> Vocabulary:
    has_mask = len(special) > lookup.num_oov_indices
    return Vocabulary.from_parts(
        Tokens.joined([Tokens.of(special), words]),
        mask_row=0 if has_mask else None,
        oov_rows=range(int(has_mask), len(special)),
        hashing=_hashing(lookup) if lookup.num_oov_indices > 1 else None,
    )


def _hashing(lookup: Any) -> str:
    """How `lookup` chooses among its OOV rows (V6, V16)."""
    # `oov_method` and `salt` came to Keras in 2026; strings were always hashed.
    method = getattr(lookup, "oov_method", "floormod")
    salt = getattr(lookup, "salt", None)
    hashes_text = lookup.vocabulary_dtype == "string"
    if salt is None:
        hashing = "farmhash" if hashes_text else method
    else:
        hashing = f"siphash{list(salt)}"
    # Text is hashed as the bytes that it is in.
    encoding = codecs.lookup(getattr(lookup, "encoding", None) or "utf-8").name
    return hashing if encoding == "utf-8" or not hashes_text else f"{encoding} {hashing}"
