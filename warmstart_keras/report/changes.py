"""Changes of one vocabulary and of one variable, and tables of changes as text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmstart_keras.vocabulary import RowMap, Token, Vocabulary

_SHOWN = 10  # tokens that are listed; all tokens are counted


@dataclass(frozen=True)
class VocabularyChange:
    """Change of the words of one layer's vocabulary; special rows are not counted.

    Attributes:
        layer: Path of the layer.
        base_fingerprint: `Vocabulary.fingerprint` of the base rows.
        new_fingerprint: `Vocabulary.fingerprint` of the new rows.
        kept: Number of words in both vocabularies.
        new: Number of words only in the new vocabulary.
        dropped: Number of words only in the base.
        moved: Number of kept words that now have another row.
        first_kept: The first few kept words, in the order of the new vocabulary.
        first_new: The first few new words, in the order of the new vocabulary.
        first_dropped: The first few dropped words, in the order of the base.
    """

    layer: str
    base_fingerprint: str
    new_fingerprint: str
    kept: int
    new: int
    dropped: int
    moved: int
    first_kept: list[str | int]
    first_new: list[str | int]
    first_dropped: list[str | int]

    @classmethod
    def between(cls, layer: str, row_map: RowMap) -> "VocabularyChange":
        """Computes the change from a row map without spare rows."""
        base, new = row_map.base, row_map.new
        words, gone = new.word_rows, base.word_rows
        is_kept = row_map.indices[words] >= 0
        kept, added = words[is_kept], words[~is_kept]
        gone = gone[row_map.inverse()[gone] < 0]
        return cls(
            layer,
            base.fingerprint,
            new.fingerprint,
            len(kept),
            len(added),
            len(gone),
            int(np.count_nonzero(row_map.indices[kept] != kept)),
            _shown(new, kept),
            _shown(new, added),
            _shown(base, gone),
        )


@dataclass(frozen=True)
class VariableChange:
    """Change of one variable of the model.

    Attributes:
        path: Path of the variable.
        axis: The axis with one entry per token.
        shape_before: Shape before the warm start.
        shape_after: Shape after the warm start.
        slots: Paths of the optimizer's variables that moved together with it.
    """

    path: str
    axis: int
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    slots: list[str]


def _shown(vocabulary: Vocabulary, rows: np.ndarray) -> list[str | int]:
    return [printable(token) for token in vocabulary.some(rows[:_SHOWN])]


def printable(token: Token) -> str | int:
    """Converts a token for JSON and terminals: escapes control characters and bytes."""
    if isinstance(token, int):
        return token
    text = escaped(str(token))
    return text if len(text) <= 40 else text[:39] + "…"


def escaped(text: str) -> str:
    """Escapes control characters, so that a terminal does not execute them."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def words_table(changes: Sequence[VocabularyChange]) -> list[str]:
    """Returns the numbers of kept, moved, new and dropped words as lines of a table."""
    head = ("layer", "kept", "moved", "new", "dropped", "fingerprint")
    rows: list[tuple[str, ...]] = [head]
    for c in changes:
        counts = (f"{count:,}" for count in (c.kept, c.moved, c.new, c.dropped))
        prints = f"{c.base_fingerprint[:8]} -> {c.new_fingerprint[:8]}"
        rows.append((c.layer, *counts, prints))
    return aligned(rows)


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Returns rows as lines of a table: first column aligned left, the others right."""
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    rule = tuple("-" * width for width in (first, *others))
    lines = []
    for head, *cells in (rows[0], rule, *rows[1:]):
        right = [c.rjust(width) for c, width in zip(cells, others, strict=True)]
        lines.append("  ".join([head.ljust(first), *right]).rstrip())
    return lines
