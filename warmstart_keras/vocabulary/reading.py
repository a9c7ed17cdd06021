"""Reading of a vocabulary with the help of a base, or from a saved lookup layer."""

from dataclasses import replace

import keras

from warmstart_keras.vocabulary.sources import (
    OOV_TOKEN,
    VocabularySource,
    is_plain,
    parts_of_saved_lookup,
    with_special_rows,
)
from warmstart_keras.vocabulary.tokens import Tokens
from warmstart_keras.vocabulary.vocabulary import Vocabulary, read


def read_as(source: VocabularySource, base: Vocabulary | None) -> Vocabulary:
    """Reads the new vocabulary of rows that stand for `base` now.

    A list, array, tensor or file without special rows gets the special rows of `base`,
    as Keras adds them in `set_vocabulary`.
    """
    vocabulary = read(source)
    if base is None or not is_plain(source) or not base.special_rows:
        return vocabulary
    if base.given_by_id or vocabulary.special_rows:
        return vocabulary
    if base.compact.integers != vocabulary.compact.integers:
        return vocabulary  # integers and strings never match, and cannot be mixed
    mask = [] if base.mask_row is None else [base[base.mask_row]]
    oov = [base[row] for row in base.oov_rows]
    at_end = bool(oov) and base.oov_rows.start > len(mask)
    parts = with_special_rows(vocabulary.compact, mask, oov, at_end)
    ends = {vocabulary[0], vocabulary[-1] if at_end else vocabulary[0]}
    if len(parts.tokens) > len(vocabulary) and ends & {*mask, *oov} - {None}:
        return vocabulary  # has some of the special rows: read literally
    return Vocabulary._of(replace(parts, hashing=base.hashing))


def without_special_rows(source: VocabularySource) -> Vocabulary:
    """Reads every entry of `source` as a word, without special rows."""
    tokens = read(source).compact
    if len(tokens.nameless) and not tokens.integers:
        tokens = Tokens.of([OOV_TOKEN if t is None else t for t in tokens])
    return Vocabulary.from_parts(tokens)


def read_saved_lookup(
    layer: keras.Layer, lines: list[str] | None, rows: int
) -> Vocabulary | None:
    """Reads the vocabulary of a saved lookup layer; None if it is not certain.

    Args:
        layer: The layer, built from its saved configuration.
        lines: Lines of the layer's vocabulary file; None if it has no such file.
        rows: Number of tokens, in case the configuration does not have it.
    """
    if lines is None:
        vocabulary = read(layer)
        return vocabulary if vocabulary.has_words else None
    parts = parts_of_saved_lookup(layer, lines, rows)
    return None if parts is None else Vocabulary._of(parts)
