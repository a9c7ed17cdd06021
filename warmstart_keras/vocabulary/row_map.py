"""`RowMap`: the base row that each new row continues, or -1."""

from functools import cached_property

import numpy as np

from warmstart_keras.vocabulary.match_tokens import NO_MATCH, match
from warmstart_keras.vocabulary.reading import read_as, without_special_rows
from warmstart_keras.vocabulary.sources import OOV_TOKEN, VocabularySource
from warmstart_keras.vocabulary.tokens import Token
from warmstart_keras.vocabulary.vocabulary import Vocabulary, read

NEW = NO_MATCH  # index of a row that continues no base row


class RowMap:
    """Map from the new rows of a table to the base rows that they continue.

    A word continues the word with the same text. The mask row continues the mask row.
    OOV rows continue OOV rows by position if their number, hash method and salt agree.
    If these differ, each OOV row collects other tokens than before, so all new OOV rows
    start from the mean of the base OOV rows. If a token repeats, its k-th occurrence
    continues the k-th occurrence in the base. If the base has fewer occurrences, it
    continues the last one.

    Examples:
        >>> from warmstart_keras import RowMap
        >>> RowMap(["", "[UNK]", "the", "film"], ["", "[UNK]", "film", "plot"]).indices
        array([ 0,  1,  3, -1])

    Args:
        base: Vocabulary that the rows follow now: a `Vocabulary`, or a source.
        new: Vocabulary that the rows will follow: a `Vocabulary`, or a source.

    Attributes:
        base: The `Vocabulary` of the base rows.
        new: The `Vocabulary` of the new rows. If the source was a list, array, tensor
            or file without special rows, it has the special rows of the base.
        indices: int64 array of shape `(new rows,)`: the base row that each new row
            continues, or -1.
        base_rows: Number of base rows.
        averaged_rows: New rows that start from the mean of the rows `averaged_from`.
        averaged_from: Base rows to average; empty if no row is averaged.

    Raises:
        WarmStartError: If `base` or `new` cannot be read; see `Vocabulary`.
    """

    def __init__(self, base: VocabularySource, new: VocabularySource) -> None:
        self.base: Vocabulary = read(base)
        self.new: Vocabulary = read_as(new, self.base)
        self.base_rows: int = len(self.base)
        self.indices, self.averaged_rows, self.averaged_from = _match(self.base, self.new)

    @classmethod
    def entry_by_entry(cls, base: VocabularySource, new: VocabularySource) -> "RowMap":
        """Creates a `RowMap` in which every entry is a word, without special rows.

        Args:
            base: As for the class.
            new: As for the class.

        Returns:
            A `RowMap`.
        """
        return cls(without_special_rows(base), without_special_rows(new))

    def within_capacity(self, base_rows: int, new_rows: int) -> "RowMap":
        """Returns a map for tables with more rows than the vocabularies have tokens.

        A row that is spare afterwards keeps the value of the base row in its place.

        Args:
            base_rows: Number of rows of the base table, at least its number of tokens.
            new_rows: Number of rows of the new table, at least its number of tokens.

        Returns:
            A `RowMap` with `new_rows` indices.
        """
        if (base_rows, new_rows) == (self.base_rows, len(self)):
            return self
        if (base_rows, new_rows) not in self._padded:  # a table and its slots share it
            indices = np.full(new_rows, NEW, dtype=np.int64)
            spare = np.arange(len(self.indices), min(base_rows, new_rows))
            indices[: len(self.indices)] = self.indices
            indices[spare] = spare
            self._padded[base_rows, new_rows] = self._with(indices, base_rows)
        return self._padded[base_rows, new_rows]

    @cached_property
    def _padded(self) -> dict[tuple[int, int], "RowMap"]:
        return {}

    def without_past(self) -> "RowMap":
        """Returns a map in which every word has a new row; special rows stay."""
        indices = self.indices.copy()
        indices[self.new.word_rows] = NEW
        return self._with(indices, self.base_rows)

    def all_new(self, base_rows: int, new_rows: int) -> "RowMap":
        """Returns a map of the same vocabularies in which every row is new.

        Args:
            base_rows: Number of rows of the base table.
            new_rows: Number of rows of the new table.

        Returns:
            A `RowMap` with `new_rows` indices.
        """
        return self._with(np.full(new_rows, NEW, np.int64), base_rows, averaged=False)

    def inverted(self) -> "RowMap":
        """Returns the map from the new rows back to the base rows."""
        return self._with(self.inverse(), len(self), averaged=False)

    def _with(
        self, indices: np.ndarray, base_rows: int, averaged: bool = True
    ) -> "RowMap":
        """Returns a map of the same vocabularies with other indices."""
        other = type(self).__new__(type(self))  # without the cached properties
        other.base, other.new = self.base, self.new
        other.indices, other.base_rows = indices, base_rows
        other.averaged_rows = self.averaged_rows if averaged else range(0)
        other.averaged_from = self.averaged_from if averaged else range(0)
        return other

    @cached_property
    def is_identity(self) -> bool:
        """True if every row stays in its place."""
        return np.array_equal(self.indices, np.arange(self.base_rows))

    @cached_property
    def new_rows(self) -> np.ndarray:
        """Rows that continue no base row and are not averaged."""
        new = self.indices == NEW
        new[self.averaged_rows] = False
        return np.flatnonzero(new)

    @property
    def new_tokens(self) -> list[Token]:
        """Tokens of the new rows, without spare rows."""
        rows = self.new_rows[self.new_rows < len(self.new)]
        return [OOV_TOKEN if t is None else t for t in self.new.some(rows)]

    @property
    def new_words(self) -> list[Token | None]:
        """Word of each new row; None for special and spare rows."""
        rows = self.new_rows
        words: list[Token | None] = [None] * len(rows)
        are_words = np.flatnonzero(np.isin(rows, self.new.word_rows))
        named = self.new.some(rows[are_words])
        for place, word in zip(are_words.tolist(), named, strict=True):
            words[place] = word
        return words

    @property
    def kept_words(self) -> np.ndarray:
        """Rows of the words that continue a base row."""
        rows = self.new.word_rows
        rows = rows[rows < len(self)]
        return rows[self.indices[rows] != NEW]

    @cached_property
    def left_rows(self) -> np.ndarray:
        """Base rows that no new row continues."""
        return np.flatnonzero(self.inverse() == NEW)

    def inverse(self) -> np.ndarray:
        """Returns, for each base row, a new row that continues it, or -1.

        Returns:
            int64 array of shape `(base_rows,)`.
        """
        return self._inverse

    @cached_property
    def _inverse(self) -> np.ndarray:
        inverse = np.full(self.base_rows, NEW, dtype=np.int64)
        kept = np.flatnonzero(self.indices != NEW)
        inverse[self.indices[kept]] = kept
        return inverse

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        kept = int(np.count_nonzero(self.indices != NEW))
        return (
            f"<RowMap from {self.base_rows} rows to {len(self)}: {kept} continued, "
            f"{len(self.averaged_rows)} averaged, {len(self.new_rows)} new>"
        )


def _match(base: Vocabulary, new: Vocabulary) -> tuple[np.ndarray, range, range]:
    """Finds the base row of each new row, and the rows to average."""
    indices = np.full(len(new), NEW, dtype=np.int64)
    words = new.word_rows
    indices[words] = match(base.compact, base.word_rows, new.compact, words)
    if new.mask_row is not None and base.mask_row is not None:
        indices[new.mask_row] = base.mask_row
    if base.oov_rows and new.oov_rows and not base.oov_agrees(new):
        return indices, new.oov_rows, base.oov_rows
    if base.oov_rows and new.oov_rows:
        indices[new.oov_rows] = base.oov_rows
    return indices, range(0), range(0)
