"""Tokens (text, bytes or integers), and sequences of them kept as bytes end to end."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from warmstart_keras.errors import WarmStartError

# Text, bytes that are no UTF-8, an integer, or the name of an OOV row without one.
Token = str | bytes | int | None
_NO_ROWS = np.empty(0, np.int64)
_CHUNK = 2**13  # tokens that are made of a list, or into one, at a time


@dataclass(eq=False, repr=False, slots=True)
class Tokens:
    """An immutable sequence of tokens, in hardly more memory than their bytes."""

    # The tokens end to end: text as UTF-8 (lone surrogates as if they were characters),
    # bytes that are no text as they are, integers in digits.
    blob: bytes
    ends: np.ndarray  # int64 array of shape `(tokens,)`: where in `blob` each one ends
    _: KW_ONLY
    integers: bool = False  # whether they are integers
    # The places of those that are bytes, ascending.
    not_text: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    # The places of those that are None, ascending.
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
        """Those of a list from `start` on: strings, bytes, integers or None.

        Bytes are text in `encoding`. None is refused unless `nameless`; integers beside
        strings, and anything else, always.
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
        """Those of a list of strings, of UTF-8, or of integers alone; else None."""
        found, blobs, sizes = None, [], [_NO_ROWS]
        for first in range(start, len(tokens), _CHUNK):
            # Each token is looked at several times: a chunk of them stays in the cache.
            chunk = tokens[first : first + _CHUNK]
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
        """Those of bytes that lie end to end: text where they are UTF-8."""
        tokens = cls(blob, lengths.cumsum())
        if tokens.is_text("strict"):
            return tokens
        bounds = zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)
        wrong = [i for i, (a, b) in enumerate(bounds) if not _is_text(blob[a:b])]
        tokens.not_text = np.array(wrong, np.int64)
        return tokens

    @classmethod
    def joined(cls, parts: "Sequence[Tokens]") -> "Tokens":
        """Those of several, one after the other."""
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
        """Where in `blob` each one begins."""
        return np.concatenate([_NO_ROWS, [0], self.ends])[: len(self)]

    @property
    def lengths(self) -> np.ndarray:
        """How many bytes each one has."""
        return np.diff(self.ends, prepend=0)

    def is_text(self, errors: str) -> bool:
        """Whether each one alone is UTF-8, read with the error handler `errors`."""
        if self.blob.isascii():
            return True
        starts = self.starts[self.lengths > 0]
        first = np.frombuffer(self.blob, np.uint8)[starts]
        return bool(np.all(first & 0xC0 != 0x80)) and _is_text(self.blob, errors)

    def part(self, start: int, stop: int) -> "Tokens":
        """Those from place `start` up to `stop`."""
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
        """The same with an empty text in some places, which ascend."""
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
        """Those in some places, as a list."""
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
        for start in range(0, len(self), _CHUNK):
            part = self.part(start, start + _CHUNK)
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
    """Tokens as `str`, as `bytes` where they are no text, or as `int`."""
    kinds = set(map(type, tokens))
    if kinds <= {str} or kinds <= {int}:
        return tokens
    right = str | bytes | int | np.integer
    wrong = {k for k in kinds if issubclass(k, bool) or not issubclass(k, right)}
    if wrong:
        token = next(token for token in tokens if type(token) in wrong)
        raise WarmStartError(
            "The tokens of a vocabulary must be strings, bytes or integers. "
            f"Received: {token!r} (of type {type(token).__name__})"
        )
    integers = [issubclass(kind, int | np.integer) for kind in kinds]
    if all(integers):
        return [int(token) for token in tokens]
    if any(integers):
        raise WarmStartError(
            "The tokens of a vocabulary must be all strings or all integers. "
            f"Received: both, {str(tokens[:6])[:-1]}, ...]"
        )
    return [
        _decoded(token, encoding) if isinstance(token, bytes) else str(token)
        for token in tokens
    ]


def _end_to_end(tokens: Sequence) -> tuple[bytes, np.ndarray]:
    """The blob of tokens that are not None, and how many bytes each has."""
    # Text may hold lone surrogates, which UTF-8 proper refuses.
    parts = [
        t if isinstance(t, bytes) else str(t).encode("utf-8", "surrogatepass")
        for t in tokens
    ]
    return b"".join(parts), np.fromiter(map(len, parts), np.int64, len(parts))


def _joined(tokens: Sequence) -> tuple[type | None, bytes]:
    """Which of `str`, `bytes` and `int` all tokens are, or None; and them as lines."""
    try:
        # It is faster to try than to look at the type of each one.
        return str, "\n".join(tokens).encode("utf-8", "surrogatepass")
    except TypeError:
        kinds = set(map(type, tokens))
    if kinds == {int}:
        return int, "\n".join(map(str, tokens)).encode()
    if all(issubclass(kind, bytes) for kind in kinds):
        return bytes, b"\n".join(tokens)
    return None, b""


def _apart(joined: bytes, tokens: Sequence) -> tuple[bytes, np.ndarray]:
    """Tokens end to end, and how many bytes each has, of what `_joined` gave."""
    # It is faster to look for the line ends than to ask each token for its length.
    between = np.flatnonzero(np.frombuffer(joined, np.uint8) == ord("\n"))
    if len(between) == len(tokens) - 1:
        lengths = np.diff(between, prepend=-1, append=len(joined)) - 1
        return joined.translate(None, b"\n"), lengths
    return _end_to_end(tokens)  # some have a line's end in them


def is_utf8(encoding: str) -> bool:
    """Whether `encoding` is a name of UTF-8."""
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
