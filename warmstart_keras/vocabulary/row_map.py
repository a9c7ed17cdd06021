"""`RowMap`: for each new row, the base row that it continues, or none."""

from functools import cached_property

import numpy as np

from warmstart_keras.vocabulary.match_tokens import NO_MATCH, match
from warmstart_keras.vocabulary.reading import read_as, without_special_rows
from warmstart_keras.vocabulary.sources import OOV_TOKEN, VocabularySource
from warmstart_keras.vocabulary.tokens import Token
from warmstart_keras.vocabulary.vocabulary import Vocabulary, read

NEW = NO_MATCH  # the row continues no base row


class RowMap:
    """Where each row of a table comes from, when its vocabulary is rebuilt.

    Words continue words of the same text, the mask row continues the mask row, and OOV
    rows continue OOV rows by position where their number, method and salt agree. Where
    two numbers of OOV rows differ, every bucket means something else, and all start
    from the mean of the old ones. The k-th occurrence of a repeated token continues the
    k-th; where the base has fewer, its last one.

    Examples:
        >>> from warmstart_keras import RowMap
        >>> RowMap(["", "[UNK]", "the", "film"], ["", "[UNK]", "film", "plot"]).indices
        array([ 0,  1,  3, -1])

    Args:
        base: What the rows stand for now: a `Vocabulary`, or a source of one.
        new: What they shall stand for: a `Vocabulary`, or a source of one.

    Attributes:
        base: The `Vocabulary` of the old rows.
        new: The `Vocabulary` of the new rows; with the special rows of the base, if
            the source was a list, array, tensor or file that has none.
        indices: int64 array of shape `(new rows,)`: the base row that each new row
            continues, or -1.
        base_rows: Number of rows of the base.
        averaged_rows: New rows that start from the mean of `averaged_from`.
        averaged_from: Base rows; empty where nothing is averaged.

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
        """Every entry is a word: no special rows are recognised or added.

        Args:
            base: As for the class.
            new: As for the class.

        Returns:
            A `RowMap`.
        """
        return cls(without_special_rows(base), without_special_rows(new))

    def within_capacity(self, base_rows: int, new_rows: int) -> "RowMap":
        """The same for tables with more rows than the vocabularies have tokens.

        A spare row that stays spare, or becomes spare, stays as it is.

        Args:
            base_rows: Number of rows of the old table; at least as many as tokens.
            new_rows: Number of rows of the new one, likewise.

        Returns:
            A `RowMap` with `new_rows` indices.
        """
        if (base_rows, new_rows) == (self.base_rows, len(self)):
            return self
        if (base_rows, new_rows) not in self._padded:  # alike for a table and its slots
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
        """The same where no word has learned anything: every word's row is new."""
        indices = self.indices.copy()
        indices[self.new.word_rows] = NEW
        return self._with(indices, self.base_rows)

    def all_new(self, base_rows: int, new_rows: int) -> "RowMap":
        """The same vocabularies where no row continues any.

        Args:
            base_rows: Number of rows of the old table.
            new_rows: Number of rows of the new one.
        """
        return self._with(np.full(new_rows, NEW, np.int64), base_rows, averaged=False)

    def inverted(self) -> "RowMap":
        """The way back: `left_rows` are its new rows."""
        return self._with(self.inverse(), len(self), averaged=False)

    def _with(
        self, indices: np.ndarray, base_rows: int, averaged: bool = True
    ) -> "RowMap":
        """The same vocabularies with other rows."""
        other = type(self).__new__(type(self))  # without what is cached of the rows
        other.base, other.new = self.base, self.new
        other.indices, other.base_rows = indices, base_rows
        other.averaged_rows = self.averaged_rows if averaged else range(0)
        other.averaged_from = self.averaged_from if averaged else range(0)
        return other

    @cached_property
    def is_identity(self) -> bool:
        """Whether every row stays where it is."""
        return np.array_equal(self.indices, np.arange(self.base_rows))

    @cached_property
    def new_rows(self) -> np.ndarray:
        """The rows that start anew: they continue none and are no mean."""
        new = self.indices == NEW
        new[self.averaged_rows] = False
        return np.flatnonzero(new)

    @property
    def new_tokens(self) -> list[Token]:
        """The tokens of the new rows."""
        rows = self.new_rows[self.new_rows < len(self.new)]
        return [OOV_TOKEN if t is None else t for t in self.new.some(rows)]

    @property
    def new_words(self) -> list[Token | None]:
        """The word of each of the new rows; None for special and spare rows."""
        rows = self.new_rows
        words: list[Token | None] = [None] * len(rows)
        are_words = np.flatnonzero(np.isin(rows, self.new.word_rows))
        named = self.new.some(rows[are_words])
        for place, word in zip(are_words.tolist(), named, strict=True):
            words[place] = word
        return words

    @property
    def kept_words(self) -> np.ndarray:
        """The rows of words that continue a row of the base."""
        rows = self.new.word_rows
        rows = rows[rows < len(self)]
        return rows[self.indices[rows] != NEW]

    @cached_property
    def left_rows(self) -> np.ndarray:
        """The base rows that no new row continues."""
        return np.flatnonzero(self.inverse() == NEW)

    def inverse(self) -> np.ndarray:
        """For each base row a new row that continues it, or -1.

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
    """Indices of the base rows that new rows continue, and which are averaged."""
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
