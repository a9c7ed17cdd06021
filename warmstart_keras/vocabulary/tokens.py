"""Tokens (text, bytes or integers), and sequences that store them end to end."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from warmstart_keras.errors import WarmStartError

# Text, bytes that are not UTF-8, an integer, or None for an OOV row without a name.
Token = str | bytes | int | None
_NO_ROWS = np.empty(0, np.int64)
CHUNK = 2**13  # tokens converted at a time, to or from a list


@dataclass(eq=False, repr=False, slots=True)
class Tokens:
    """Immutable sequence of tokens that needs little more memory than their bytes."""

    # The tokens end to end. Text is UTF-8, with lone surrogates encoded as if they were
    # characters. Bytes that are not text are unchanged. Integers are decimal digits.
    blob: bytes
    # Place in `blob` after the last byte of each token: int64 array of shape `(tokens,)`.
    ends: np.ndarray
    _: KW_ONLY
    integers: bool = False  # whether the tokens are integers
    # The places of the tokens that are bytes, ascending.
    not_text: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    # The places of the tokens that are None, ascending.
    nameless: np.ndarray = field(default_factory=lambda: _NO_ROWS)

    def __post_init__(self) -> None:
        # If every token is None, the kind is undefined and unused.
        self.integers = self.integers and len(self.blob) > 0

    @classmethod
    def of(
        cls,
        tokens: Sequence,
        encoding: str = "utf-8",
        *,
        start: int = 0,
        nameless: bool = True,
    ) -> "Tokens":
        """Stores the tokens of a list, from `start` on.

        Strings, bytes and integers are accepted. None is accepted if `nameless` is true.
        Bytes are decoded from `encoding`; they stay bytes if this fails. All other types
        are refused, and integers mixed with strings.
        """
        kept = cls._of_one_kind(tokens, encoding, start)
        if kept is not None:
            return kept
        tokens = list(tokens[start:])
        if nameless and type(None) in set(map(type, tokens)):
            return cls._of_some_nameless(tokens, encoding)
        tokens = normalized(tokens, encoding)
        kept = cls._of_one_kind(tokens, encoding)
        if kept is not None:
            return kept
        blob, lengths = _end_to_end(tokens)
        not_text = [i for i, token in enumerate(tokens) if isinstance(token, bytes)]
        return cls(blob, lengths.cumsum(), not_text=np.array(not_text, np.int64))

    @classmethod
    def _of_one_kind(
        cls, tokens: Sequence, encoding: str, start: int = 0
    ) -> "Tokens | None":
        """Stores a list of only `str`, only UTF-8 bytes or only `int`; otherwise None."""
        found, blobs, sizes = None, [], [_NO_ROWS]
        for first in range(start, len(tokens), CHUNK):
            # A chunk of tokens stays in the CPU cache; each token is read several times.
            chunk = tokens[first : first + CHUNK]
            kind, joined = _joined(chunk)
            if kind is None or found not in (None, kind):
                return None
            if kind is bytes and not is_utf8(encoding):
                return None
            blob, lengths = _apart(joined, chunk)
            found = kind
            blobs.append(blob)
            sizes.append(lengths)
        blob, lengths = b"".join(blobs), np.concatenate(sizes)
        if found is bytes:
            return cls.of_bytes(blob, lengths)
        return cls(blob, lengths.cumsum(), integers=found is int)

    @classmethod
    def of_bytes(cls, blob: bytes, lengths: np.ndarray) -> "Tokens":
        """Stores tokens that lie end to end in `blob`; UTF-8 becomes text."""
        tokens = cls(blob, lengths.cumsum())
        if tokens.is_text("strict"):
            return tokens
        bounds = zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)
        wrong = [i for i, (a, b) in enumerate(bounds) if not _is_text(blob[a:b])]
        tokens.not_text = np.array(wrong, np.int64)
        return tokens

    @classmethod
    def joined(cls, parts: "Sequence[Tokens]") -> "Tokens":
        """Concatenates several sequences of tokens."""
        rows = np.cumsum([0, *map(len, parts)])
        sizes = np.cumsum([0, *(len(part.blob) for part in parts)])

        def moved(arrays: list[np.ndarray], by: np.ndarray) -> np.ndarray:
            found = [array + n for array, n in zip(arrays, by[:-1], strict=True)]
            return np.concatenate([_NO_ROWS, *found])

        return cls(
            b"".join(part.blob for part in parts),
            moved([part.ends for part in parts], sizes),
            integers=any(part.integers for part in parts),
            not_text=moved([part.not_text for part in parts], rows),
            nameless=moved([part.nameless for part in parts], rows),
        )

    @property
    def starts(self) -> np.ndarray:
        """Place in `blob` of the first byte of each token."""
        return np.concatenate([_NO_ROWS, [0], self.ends])[: len(self)]

    @property
    def lengths(self) -> np.ndarray:
        """Number of bytes of each token."""
        return np.diff(self.ends, prepend=0)

    def is_text(self, errors: str) -> bool:
        """Returns whether each token is UTF-8, with the error handler `errors`."""
        if self.blob.isascii():
            return True
        starts = self.starts[self.lengths > 0]
        first = np.frombuffer(self.blob, np.uint8)[starts]
        return bool(np.all(first & 0xC0 != 0x80)) and _is_text(self.blob, errors)

    def part(self, start: int, stop: int) -> "Tokens":
        """Returns the tokens from place `start` to `stop - 1`."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        first = int(self.ends[start - 1]) if start else 0
        last = int(self.ends[stop - 1]) if stop else 0

        def within(places: np.ndarray) -> np.ndarray:
            low, high = np.searchsorted(places, [start, stop])
            return places[low:high] - start

        return Tokens(
            self.blob[first:last],
            self.ends[start:stop] - first,
            integers=self.integers,
            not_text=within(self.not_text),
            nameless=within(self.nameless),
        )

    def blanked(self, places: Sequence[int]) -> "Tokens":
        """Returns a copy with empty text at some places, which must ascend."""
        if not len(places):
            return self
        lengths = self.lengths
        last = self.ends[places]
        first = last - lengths[places]
        lengths[places] = 0
        kept = zip([0, *last.tolist()], [*first.tolist(), len(self.blob)], strict=True)
        return Tokens(
            b"".join(self.blob[start:stop] for start, stop in kept),
            lengths.cumsum(),
            integers=self.integers,
            not_text=np.setdiff1d(self.not_text, places),
            nameless=np.setdiff1d(self.nameless, places),
        )

    def some(self, places: np.ndarray | Sequence[int]) -> list[Token]:
        """Returns the tokens at some places, as a list."""
        places = np.asarray(places, np.int64)
        ends = self.ends[places].tolist()
        starts = np.where(places > 0, self.ends[places - 1], 0).tolist()
        parts = [self.blob[a:b] for a, b in zip(starts, ends, strict=True)]
        if self.integers:
            named: list[Token] = [int(part or 0) for part in parts]
        else:
            named = [*parts]
            texts = np.flatnonzero(np.isin(places, self.not_text, invert=True))
            for i in texts.tolist():
                named[i] = parts[i].decode("utf-8", "surrogatepass")
        for i in np.flatnonzero(np.isin(places, self.nameless)).tolist():
            named[i] = None
        return named

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> Token:
        return self.some(np.array([range(len(self))[place]]))[0]

    def __iter__(self) -> Iterator[Token]:
        for start in range(0, len(self), CHUNK):
            part = self.part(start, start + CHUNK)
            yield from part.some(np.arange(len(part)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokens):
            return NotImplemented
        arrays = ("ends", "not_text", "nameless")
        return self is other or (
            (self.integers, self.blob) == (other.integers, other.blob)
            and all(np.array_equal(getattr(self, n), getattr(other, n)) for n in arrays)
        )

    @classmethod
    def _of_some_nameless(cls, tokens: Sequence, encoding: str) -> "Tokens":
        nameless = np.array([i for i, t in enumerate(tokens) if t is None], np.int64)
        others = np.delete(np.arange(len(tokens)), nameless)
        named = cls.of([token for token in tokens if token is not None], encoding)
        lengths = np.zeros(len(tokens), np.int64)
        lengths[others] = named.lengths
        return cls(
            named.blob,
            lengths.cumsum(),
            integers=named.integers,
            not_text=others[named.not_text],
            nameless=nameless,
        )


def normalized(tokens: list, encoding: str = "utf-8") -> list[Token]:
    """Converts tokens to `str` or `int`; bytes that are not text stay `bytes`."""
    kinds = set(map(type, tokens))
    if kinds <= {str} or kinds <= {int}:
        return tokens
    right = str | bytes | int | np.integer
    wrong = {k for k in kinds if issubclass(k, bool) or not issubclass(k, right)}
    if wrong:
        token = next(token for token in tokens if type(token) in wrong)
        raise WarmStartError(
            "The tokens of a vocabulary must be strings, bytes or integers. "
            f"Received: {token!r} (of type {type(token).__name__}). Convert it, for "
            "example with `str(token)`."
        )
    integers = [issubclass(kind, int | np.integer) for kind in kinds]
    if all(integers):
        return [int(token) for token in tokens]
    if any(integers):
        raise WarmStartError(
            "The tokens of a vocabulary must be all strings or all integers. "
            f"Received: both, {str(tokens[:6])[:-1]}, ...]. Convert the integers with "
            "`str(token)`."
        )
    return [
        _decoded(token, encoding) if isinstance(token, bytes) else str(token)
        for token in tokens
    ]


def _end_to_end(tokens: Sequence) -> tuple[bytes, np.ndarray]:
    """Encodes tokens end to end; returns the bytes and the token lengths."""
    # Text can contain lone surrogates, which strict UTF-8 refuses.
    parts = [
        t if isinstance(t, bytes) else str(t).encode("utf-8", "surrogatepass")
        for t in tokens
    ]
    return b"".join(parts), np.fromiter(map(len, parts), np.int64, len(parts))


def _joined(tokens: Sequence) -> tuple[type | None, bytes]:
    """Joins tokens with line breaks; returns their type, or None, and the bytes."""
    try:
        # To try this is faster than to check the type of each token.
        return str, "\n".join(tokens).encode("utf-8", "surrogatepass")
    except TypeError:
        kinds = set(map(type, tokens))
    if kinds == {int}:
        return int, "\n".join(map(str, tokens)).encode()
    if all(issubclass(kind, bytes) for kind in kinds):
        return bytes, b"\n".join(tokens)
    return None, b""


def _apart(joined: bytes, tokens: Sequence) -> tuple[bytes, np.ndarray]:
    """Removes the line breaks of `_joined`; returns the bytes, and token lengths."""
    # To find the line breaks is faster than to take the length of each token.
    between = np.flatnonzero(np.frombuffer(joined, np.uint8) == ord("\n"))
    if len(between) == len(tokens) - 1:
        lengths = np.diff(between, prepend=-1, append=len(joined)) - 1
        return joined.translate(None, b"\n"), lengths
    return _end_to_end(tokens)  # some tokens contain a line break


def is_utf8(encoding: str) -> bool:
    """Returns whether `encoding` is a name of UTF-8."""
    return codecs.lookup(encoding).name == "utf-8"


def _is_text(token: bytes, errors: str = "strict") -> bool:
    try:
        token.decode("utf-8", errors)
    except UnicodeDecodeError:
        return False
    return True


def _decoded(token: bytes, encoding: str) -> str | bytes:
    try:
        return token.decode(encoding)
    except UnicodeDecodeError:
        return bytes(token)
