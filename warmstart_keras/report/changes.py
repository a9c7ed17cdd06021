"""What became of one vocabulary and of one variable, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from warmstart_keras.vocabulary import RowMap, Token, Vocabulary

if TYPE_CHECKING:
    pass

_SHOWN = 10  # tokens named by rank; the counts are of all


@dataclass(frozen=True)
class VocabularyChange:
    """What became of the words of one layer's vocabulary; special rows not counted.

    Attributes:
        layer: Path of the layer.
        base_fingerprint: `Vocabulary.fingerprint` of the old rows.
        new_fingerprint: The same of the new rows.
        kept: Number of words in both.
        new: Number of words only in the new vocabulary.
        dropped: Number of words only in the old one.
        moved: Number of kept words whose row is another one.
        first_kept: The first few kept words, by their new rank.
        first_new: The first few new words, by rank.
        first_dropped: The first few dropped words, by their old rank.
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
        """The change that a row map without spare rows makes."""
        base, new = row_map.base, row_map.new
        words = new.word_rows
        sources = row_map.indices[words]
        kept, added = words[sources >= 0], words[sources < 0]
        gone = base.word_rows
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
    """What became of one variable of the model.

    Attributes:
        path: Path of the variable.
        axis: The axis that has the vocabulary.
        shape_before: Its shape before the warm start.
        shape_after: Its shape now.
        slots: Paths of the optimizer's variables that moved with it.
    """

    path: str
    axis: int
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    slots: list[str]


def _shown(vocabulary: Vocabulary, rows: np.ndarray) -> list[str | int]:
    return [printable(token) for token in vocabulary.some(rows[:_SHOWN])]


def printable(token: Token) -> str | int:
    """A token that JSON takes and no terminal obeys: what is not text is escaped."""
    if isinstance(token, int):
        return token
    text = escaped(str(token))
    return text if len(text) <= 40 else text[:39] + "…"


def escaped(text: str) -> str:
    """Text whose characters a terminal shows, and does not obey."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def words_table(changes: Sequence[VocabularyChange]) -> list[str]:
    """How many words were kept, moved, new and dropped, as lines of a table."""
    rows = [
        (
            change.layer,
            f"{change.kept:,}",
            f"{change.moved:,}",
            f"{change.new:,}",
            f"{change.dropped:,}",
            f"{change.base_fingerprint[:8]} -> {change.new_fingerprint[:8]}",
        )
        for change in changes
    ]
    return aligned([("layer", "kept", "moved", "new", "dropped", "fingerprint"), *rows])


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows as lines of a table, its first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (rows[0], rule, *rows[1:])
    ]
