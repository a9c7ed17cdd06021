"""`Vocabulary`: the ordered tokens that the rows of one axis stand for."""

import os
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError
from warmstart_keras.vocabulary import format
from warmstart_keras.vocabulary.sources import (
    Parts,
    VocabularySource,
    parts_of,
    parts_of_lookup,
    parts_with_special_rows,
)
from warmstart_keras.vocabulary.tokens import Token, Tokens


class Vocabulary:
    """The ordered tokens of one axis, with its special rows (mask, OOV).

    Entry `i` says what row `i` of an embedding stands for. A vocabulary is read once
    and never changes. It is kept as bytes end to end: ten million tokens need what a
    file of them needs, and 8 bytes each.

    Examples:
        >>> from warmstart_keras import Vocabulary
        >>> vocabulary = Vocabulary(["", "[UNK]", "the", "film"])
        >>> len(vocabulary), vocabulary.mask_row, list(vocabulary.oov_rows)
        (4, 0, [1])
        >>> vocabulary.words
        ['the', 'film']
        >>> Vocabulary(["the", "film"], oov=1, oov_at="end").tokens
        ['the', 'film', '[UNK]']

    Args:
        source: What to read. A `TextVectorization`, `StringLookup`, `IntegerLookup`
            or `WarmStartEmbedding` layer; a tokenizer with `id_to_token` and
            `vocabulary_size`; anything with `get_vocabulary()`; a list, tuple, 1D
            array or tensor of strings, bytes or integers; a mapping from token to
            row, whose rows are exactly `0..n-1`; the path of a UTF-8 file with one
            token a line; or a `Vocabulary`. `b"a"`, `"a"` and `np.str_("a")` are the
            same token. In lists, arrays, tensors and files a leading `""` is the
            mask row, and `"[UNK]"`s first or right after it are OOV rows, as
            `get_vocabulary()` of Keras writes them.
        mask: Whether there is a mask row (`True`, `False`), or the token of the mask
            row. Only for lists, arrays, tensors and files.
        oov: How many OOV rows there are (an integer), or the token of the one OOV
            row. Only for lists, arrays, tensors and files. Where `mask` or `oov` is
            given, the special rows are those said and no others: taken from `source`
            if it has exactly them in their place, else added, as `set_vocabulary`
            of Keras does.
        oov_at: `"start"` (after the mask row, as in Keras) or `"end"` (after the
            words, as in TF Transform).

    Raises:
        WarmStartError: If `source` is none of these, is empty, mixes integers with
            strings, or is a file that is missing, empty or not UTF-8; or if `mask`, `oov`
            or `oov_at` does not fit it.
    """

    def __init__(
        self,
        source: VocabularySource,
        *,
        mask: bool | str | bytes | int | None = None,
        oov: int | str | bytes | None = None,
        oov_at: str = "start",
    ) -> None:
        if oov_at not in ("start", "end"):
            raise WarmStartError(
                f'`oov_at` must be "start" or "end". Received: oov_at={oov_at!r}'
            )
        if oov_at == "end" and oov is None:
            raise WarmStartError(
                '`oov_at="end"` must come with `oov`, the number of OOV rows or their '
                "token. Received: oov=None"
            )
        if mask is None and oov is None:
            vars(self).update(vars(read(source)))  # its fingerprint too
        else:
            self._parts: Parts = parts_with_special_rows(source, mask, oov, oov_at)

    @classmethod
    def from_parts(
        cls,
        tokens: Tokens | list[Token],
        *,
        mask_row: int | None = None,
        oov_rows: range = range(0),
        hashing: str | None = None,
        given_by_id: bool = False,
    ) -> "Vocabulary":
        """A vocabulary of its parts: no special row is recognised, or added.

        Args:
            tokens: Entry `i` is what row `i` stands for.
            mask_row: The row of the mask token, or None.
            oov_rows: The rows of out-of-vocabulary tokens.
            hashing: Method and salt by which OOV rows are chosen; None if not known.
            given_by_id: Whether the source names a row for every token.
        """
        tokens = tokens if isinstance(tokens, Tokens) else Tokens.of(tokens)
        return cls._of(Parts(tokens, mask_row, oov_rows, hashing, given_by_id))

    @classmethod
    def _of(cls, parts: Parts) -> "Vocabulary":
        vocabulary = cls.__new__(cls)
        vocabulary._parts = parts
        return vocabulary

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike,
        *,
        mask: bool | str | bytes | int | None = None,
        oov: int | str | bytes | None = None,
        oov_at: str = "start",
    ) -> "Vocabulary":
        r"""Reads a UTF-8 file with one token a line.

        Only LF and CRLF end a line, so that tokens may contain U+2028 and its like;
        a byte-order mark is ignored.

        Examples:
            >>> from pathlib import Path
            >>> _ = Path("words.txt").write_text("the\nfilm\n")
            >>> Vocabulary.from_file("words.txt", mask=True, oov=1).tokens
            ['', '[UNK]', 'the', 'film']

        Args:
            path: The file.
            mask: As for the class.
            oov: As for the class.
            oov_at: As for the class.

        Returns:
            A `Vocabulary`.

        Raises:
            WarmStartError: If the file is missing, empty or not UTF-8, or `mask`, `oov`
                or `oov_at` does not fit it.
        """
        return cls(Path(path), mask=mask, oov=oov, oov_at=oov_at)

    @property
    def tokens(self) -> list[Token]:
        """All entries, special rows included, in the order of the rows.

        Bytes that are no UTF-8 stay `bytes`; an OOV row of a lookup with
        `oov_token=None` is None. The list is made each time it is asked for.
        """
        return list(self.compact)

    @property
    def compact(self) -> Tokens:
        """The same, with no Python object for each."""
        return self._parts.tokens

    @property
    def words(self) -> list[Token]:
        """The entries that are no special rows, in the order of the rows."""
        return self.compact.some(self.word_rows)

    @property
    def word_rows(self) -> np.ndarray:
        """All rows but the special ones: int64, ascending."""
        special = np.array(sorted(self.special_rows), dtype=np.int64)
        return np.delete(np.arange(len(self)), special)

    @property
    def mask_row(self) -> int | None:
        """The row of the mask token, or None."""
        return self._parts.mask_row

    @property
    def oov_rows(self) -> range:
        """The rows of out-of-vocabulary tokens; empty where there are none."""
        return self._parts.oov_rows

    @property
    def special_rows(self) -> set[int]:
        """The mask row and the OOV rows."""
        return {row for row in (self.mask_row, *self.oov_rows) if row is not None}

    @property
    def hashing(self) -> str | None:
        """Method and salt that choose among several OOV rows; None if not known."""
        return self._parts.hashing

    @property
    def given_by_id(self) -> bool:
        """Whether the source named a row for every token (mappings, tokenizers)."""
        return self._parts.given_by_id

    @property
    def has_words(self) -> bool:
        """Whether there is any entry besides the special rows."""
        return len(self.compact) > len(self.special_rows)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the ordered tokens and special rows.

        The same in every process: fit for the name of a cache that holds ids.
        """
        # Special rows are told by their place: their names carry no meaning.
        tokens = self.compact.blanked(sorted(self.special_rows))
        about: dict = {"mask_row": self.mask_row, "oov_rows": [*self.oov_rows]}
        if self._salt is not None:
            about["hashing"] = self._salt
        return format.digest(tokens, about)[:16]

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Token]:
        """The tokens as a list, under the name that Keras's lookup layers use.

        Args:
            include_special_tokens: Whether mask and OOV tokens are among them.

        Returns:
            List of tokens, in the order of the rows.
        """
        return self.tokens if include_special_tokens else self.words

    def oov_agrees(self, other: "Vocabulary") -> bool:
        """Whether OOV row k means the same in both: number, method and salt agree.

        Args:
            other: A `Vocabulary`.
        """
        number, ways = len(self.oov_rows), {self.hashing, other.hashing}
        alike = number < 2 or len(ways) == 1 or None in ways
        return number == len(other.oov_rows) and alike

    def same_rows(self, other: "Vocabulary") -> bool:
        """Whether every row stands for the same in both.

        Args:
            other: A `Vocabulary`.
        """
        return self is other or (self._same_tokens(other) and self.oov_agrees(other))

    def to_bytes(self) -> bytes:
        """The vocabulary in a form that no token can break, with a checksum."""
        return format.encode(
            self.compact,
            {
                "mask_row": self.mask_row,
                "oov_rows": [self.oov_rows.start, self.oov_rows.stop],
                "hashing": self.hashing,
                "given_by_id": self.given_by_id,
            },
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Vocabulary":
        """Reads what `to_bytes` wrote.

        Args:
            data: The bytes.

        Returns:
            A `Vocabulary`.

        Raises:
            WarmStartError: If a single bit of it was changed or lost, or if it is not
                what `to_bytes` writes.
        """
        tokens, header = format.decode(data)
        oov_rows = range(*header["oov_rows"])
        about = {name: header[name] for name in ("mask_row", "hashing", "given_by_id")}
        return cls._of(Parts(tokens, oov_rows=oov_rows, **about))

    def __len__(self) -> int:
        return len(self.compact)

    def __iter__(self) -> Iterator[Token]:
        return iter(self.compact)

    def __getitem__(self, row: int) -> Token:
        return self.compact[row]

    def some(self, rows: np.ndarray | Sequence[int]) -> list[Token]:
        """The entries of some rows.

        Args:
            rows: Integers: a list or an array.

        Returns:
            List of tokens.
        """
        return self.compact.some(rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self._same_tokens(other) and self._salt == other._salt

    @property
    def _salt(self) -> str | None:
        """How OOV rows are chosen, if not as Keras does by default: ids depend on it."""
        return None if self.hashing in ("farmhash", "floormod") else self.hashing

    def _same_tokens(self, other: "Vocabulary") -> bool:
        theirs = (other.mask_row, other.oov_rows, len(other))
        # The names of special rows carry no meaning.
        bounds = [-1, *sorted(self.special_rows), len(self)]
        return (self.mask_row, self.oov_rows, len(self)) == theirs and all(
            self.compact.part(before + 1, after) == other.compact.part(before + 1, after)
            for before, after in pairwise(bounds)
        )

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        shown = ", ".join(repr(token) for token in self.compact.part(0, 6))
        more = ", ..." if len(self) > 6 else ""
        return (
            f"<Vocabulary of {len(self)} tokens [{shown}{more}], "
            f"mask_row={self.mask_row}, oov_rows={list(self.oov_rows)}, "
            f"fingerprint={self.fingerprint}>"
        )


def read(source: VocabularySource) -> Vocabulary:
    """The vocabulary that `source` holds now. See `Vocabulary` for the sources."""
    if isinstance(source, Vocabulary):
        return source
    lookup = keras_internals.lookup_of(source)
    if lookup is not None:
        return _read_lookup(lookup)
    # A `WarmStartEmbedding`.
    if isinstance(source, keras.Layer) and hasattr(source, "row_vocabulary"):
        if source.row_vocabulary is not None:
            return source.row_vocabulary
        if source.vocabulary_source is not None:  # not built yet
            return read(source.vocabulary_source)
    return Vocabulary._of(parts_of(source))


# The vocabulary last read from each lookup layer, and the table that it was read from: a
# table never changes, since a rebuild makes another one. So no table is read twice.
_last_read: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _read_lookup(lookup: keras.Layer) -> Vocabulary:
    table = keras_internals.lookup_table(lookup)
    if lookup in _last_read:
        last_table, vocabulary = _last_read[lookup]
        if last_table() is table:
            return vocabulary
    return _read_anew(lookup, table)


@keras_internals.untraced
def _read_anew(lookup: keras.Layer, table: object) -> Vocabulary:
    vocabulary = Vocabulary._of(parts_of_lookup(lookup, table))
    _last_read[lookup] = (weakref.ref(table), vocabulary)
    return vocabulary
