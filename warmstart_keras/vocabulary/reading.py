"""Reading a vocabulary beside what is known already: a base, or a saved lookup layer."""

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
    """Reads what the rows will stand for, where they stand for `base` now.

    A list, array, tensor or file without special rows gets those of `base`, as
    Keras's own `set_vocabulary` adds them.
    """
    vocabulary = read(source)
    if base is None or not is_plain(source) or not base.special_rows:
        return vocabulary
    if base.given_by_id or vocabulary.special_rows:
        return vocabulary
    if base.compact.integers != vocabulary.compact.integers:
        return vocabulary  # integers and strings never match, nor stand together
    mask = [] if base.mask_row is None else [base[base.mask_row]]
    oov = [base[row] for row in base.oov_rows]
    at_end = bool(oov) and base.oov_rows.start > len(mask)
    parts = with_special_rows(vocabulary.compact, mask, oov, at_end)
    ends = {vocabulary[0], vocabulary[-1] if at_end else vocabulary[0]}
    if len(parts.tokens) > len(vocabulary) and ends & {*mask, *oov} - {None}:
        return vocabulary  # some of them, but not all: taken literally
    return Vocabulary._of(replace(parts, hashing=base.hashing))


def without_special_rows(source: VocabularySource) -> Vocabulary:
    """The entries of `source` one by one, none of them special."""
    tokens = read(source).compact
    if len(tokens.nameless) and not tokens.integers:
        tokens = Tokens.of([OOV_TOKEN if t is None else t for t in tokens])
    return Vocabulary.from_parts(tokens)


def read_saved_lookup(
    layer: keras.Layer, lines: list[str] | None, rows: int
) -> Vocabulary | None:
    """The vocabulary that a saved lookup layer had, if that is certain.

    `layer` is made of its configuration, `lines` are those of its own file, if it had
    one, and `rows` is the number of tokens where the configuration does not tell.
    """
    if lines is None:
        vocabulary = read(layer)
        return vocabulary if vocabulary.has_words else None
    parts = parts_of_saved_lookup(layer, lines, rows)
    return None if parts is None else Vocabulary._of(parts)
