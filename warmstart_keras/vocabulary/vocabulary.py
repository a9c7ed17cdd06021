"""`Vocabulary`: the ordered tokens that the rows of an axis stand for."""

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
    """The ordered tokens of an axis, with its special rows (mask, OOV).

    Row `i` of an embedding stands for entry `i` of its vocabulary. A vocabulary is read
    once and never changes. It stores the tokens as bytes, end to end. It needs as much
    memory as a file of the tokens, plus 8 bytes per token.

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
        source: Where the vocabulary is read from. A `TextVectorization`,
            `StringLookup`, `IntegerLookup` or `WarmStartEmbedding` layer; a tokenizer
            with `id_to_token` and `vocabulary_size`; an object with
            `get_vocabulary()`; a list, tuple, 1D array or tensor of strings, bytes or
            integers; a mapping from token to row, with exactly the rows `0..n-1`; the
            path of a UTF-8 file with one token per line; or a `Vocabulary`. `b"a"`,
            `"a"` and `np.str_("a")` are the same token. In lists, arrays, tensors and
            files, a leading `""` is the mask row. Each `"[UNK]"` that comes first or
            directly after it is an OOV row. Keras writes `get_vocabulary()` like this.
        mask: `True` if there is a mask row, `False` if not, or the token of the mask
            row. Only for lists, arrays, tensors and files.
        oov: The number of OOV rows, or the token of the only OOV row. Only for lists,
            arrays, tensors and files. If `mask` or `oov` is given, the vocabulary has
            exactly these special rows. They are added, as in `set_vocabulary` of Keras,
            unless `source` has all of them in their place.
        oov_at: `"start"` (after the mask row, as in Keras) or `"end"` (after the
            words, as in TF Transform).

    Raises:
        WarmStartError: If `source` has another type, is empty, or mixes integers with
            strings. If a file is missing, empty or not UTF-8. If `mask`, `oov` or
            `oov_at` does not fit `source`.
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
                'token. Received: oov=None. Pass `oov=1, oov_at="end"` for one OOV row.'
            )
        if mask is None and oov is None:
            vars(self).update(vars(read(source)))  # a cached fingerprint, too
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
        """Creates a vocabulary from its parts; special rows are only those given.

        Args:
            tokens: Entry `i` is the token of row `i`.
            mask_row: The row of the mask token, or None.
            oov_rows: The rows of out-of-vocabulary (OOV) tokens.
            hashing: Hash method and salt that choose the OOV row of a token; None if
                unknown.
            given_by_id: Whether the source states the row of every token.

        Returns:
            A `Vocabulary`.
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
        r"""Reads a UTF-8 file with one token per line.

        Only LF and CRLF end a line, so tokens can contain other line separators, such
        as U+2028. A byte-order mark is ignored.

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
            WarmStartError: If the file is missing, empty or not UTF-8, or if `mask`,
                `oov` or `oov_at` does not fit the file.
        """
        return cls(Path(path), mask=mask, oov=oov, oov_at=oov_at)

    @property
    def tokens(self) -> list[Token]:
        """All tokens in the order of the rows, special rows included.

        Bytes that are not UTF-8 stay `bytes`. An OOV row of a lookup with
        `oov_token=None` is None. Each access creates a new list.
        """
        return list(self.compact)

    @property
    def compact(self) -> Tokens:
        """All tokens in compact form, without a Python object per token."""
        return self._parts.tokens

    @property
    def words(self) -> list[Token]:
        """The tokens of all rows that are not special, in the order of the rows."""
        return self.compact.some(self.word_rows)

    @property
    def word_rows(self) -> np.ndarray:
        """All rows except the special rows, as an ascending int64 array."""
        special = np.array(sorted(self.special_rows), dtype=np.int64)
        return np.delete(np.arange(len(self)), special)

    @property
    def mask_row(self) -> int | None:
        """The row of the mask token, or None."""
        return self._parts.mask_row

    @property
    def oov_rows(self) -> range:
        """The rows of out-of-vocabulary (OOV) tokens; empty if there are none."""
        return self._parts.oov_rows

    @property
    def special_rows(self) -> set[int]:
        """The mask row and the OOV rows."""
        return {row for row in (self.mask_row, *self.oov_rows) if row is not None}

    @property
    def hashing(self) -> str | None:
        """Hash method and salt that choose the OOV row of a token; None if unknown."""
        return self._parts.hashing

    @property
    def given_by_id(self) -> bool:
        """True if the source states the row of every token (mappings, tokenizers)."""
        return self._parts.given_by_id

    @property
    def has_words(self) -> bool:
        """True if the vocabulary has at least one word."""
        return len(self.compact) > len(self.special_rows)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the ordered tokens and special rows: 16 hexadecimal digits.

        Equal vocabularies have the same fingerprint in every process. Use it in the name
        of a cache that stores ids.
        """
        # Special rows count by their place. Their names have no meaning.
        tokens = self.compact.blanked(sorted(self.special_rows))
        about: dict = {"mask_row": self.mask_row, "oov_rows": [*self.oov_rows]}
        if self._salt is not None:
            about["hashing"] = self._salt
        return format.digest(tokens, about)[:16]

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Token]:
        """Returns the tokens as a list, as lookup layers of Keras do.

        Args:
            include_special_tokens: Whether the list includes mask and OOV tokens.

        Returns:
            List of tokens, in the order of the rows.
        """
        return self.tokens if include_special_tokens else self.words

    def oov_agrees(self, other: "Vocabulary") -> bool:
        """Returns whether OOV row `k` is the same bucket in both, for every `k`.

        The number of OOV rows, the hash method and the salt must agree. An unknown
        method agrees with every other.

        Args:
            other: A `Vocabulary`.

        Returns:
            True or False.
        """
        number, ways = len(self.oov_rows), {self.hashing, other.hashing}
        alike = number < 2 or len(ways) == 1 or None in ways
        return number == len(other.oov_rows) and alike

    def same_rows(self, other: "Vocabulary") -> bool:
        """Returns whether every row stands for the same token in both vocabularies.

        Args:
            other: A `Vocabulary`.

        Returns:
            True or False.
        """
        return self is other or (self._same_tokens(other) and self.oov_agrees(other))

    def to_bytes(self) -> bytes:
        """Encodes the vocabulary with a checksum; no token can break the format."""
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
        """Reads a vocabulary from the bytes that `to_bytes` wrote.

        Args:
            data: The bytes.

        Returns:
            A `Vocabulary`.

        Raises:
            WarmStartError: If a bit of `data` was changed or lost, or if `to_bytes`
                would not have written `data`.
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
        """Returns the tokens of some rows.

        Args:
            rows: List or array of integers.

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
        """Hash method and salt of the OOV rows; None for the defaults of Keras."""
        return None if self.hashing in ("farmhash", "floormod") else self.hashing

    def _same_tokens(self, other: "Vocabulary") -> bool:
        theirs = (other.mask_row, other.oov_rows, len(other))
        # The names of special rows have no meaning.
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
    """Reads the present vocabulary of `source`; `Vocabulary` lists the sources."""
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


# The vocabulary last read from each lookup layer, and the table that it was read from.
# Keras never changes a table, but creates another one, so no table is read twice.
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
