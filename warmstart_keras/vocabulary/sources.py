"""Reading of a vocabulary from a layer, tokenizer, list, mapping or file."""

import codecs
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import Tensor
from warmstart_keras.errors import WarmStartError
from warmstart_keras.vocabulary.tokens import Token, Tokens, is_utf8, normalized


class HasVocabulary(Protocol):
    """Object that lists its tokens, such as a lookup layer or a `Vocabulary`."""

    def get_vocabulary(self) -> Sequence[Token]:
        """Returns the tokens in the order of their ids."""


class Tokenizer(Protocol):
    """Object that knows the token of each id, such as a KerasHub tokenizer."""

    def vocabulary_size(self) -> int:
        """Returns the number of ids."""

    def id_to_token(self, id: int) -> Token:
        """Returns the token of one id."""


VocabularySource: TypeAlias = (
    keras.Layer
    | HasVocabulary
    | Tokenizer
    | Mapping[Token, int]
    | Sequence[Token]
    | np.ndarray
    | Tensor
    | str
    | os.PathLike
)
"""Source of a vocabulary; see the argument `source` of `Vocabulary`."""

MASK_TOKEN = ""
OOV_TOKEN = "[UNK]"


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """Content of a `Vocabulary`."""

    # Entry `i` is the token of row `i`: text, bytes that are not text, or an integer.
    tokens: Tokens
    mask_row: int | None = None  # the row of the mask token, or None
    oov_rows: range = range(0)  # the rows of out-of-vocabulary (OOV) tokens
    # Hash method and salt that choose the OOV row of a token; None if unknown.
    hashing: str | None = None
    given_by_id: bool = False  # whether the source states the row of every token


def parts_of(source: VocabularySource) -> Parts:
    """Reads a tokenizer, list, tuple, array, tensor, mapping or file.

    A leading `""` is read as the mask row, and `[UNK]`s first or after it as OOV rows.
    """
    plain = is_plain(source)
    if hasattr(source, "id_to_token") and hasattr(source, "vocabulary_size"):
        source = [source.id_to_token(i) for i in range(source.vocabulary_size())]
    elif hasattr(source, "get_vocabulary"):
        source = source.get_vocabulary()
    if isinstance(source, Mapping):
        source = _in_order_of_rows(source)
    return _recognized(_entries(source), not plain)


def parts_with_special_rows(
    source: VocabularySource,
    mask: bool | str | bytes | int | None,
    oov: int | str | bytes | None,
    oov_at: str,
) -> Parts:
    """Reads a list, array, tensor or file; the caller states the special rows."""
    if not is_plain(source):
        raise WarmStartError(
            "`mask` and `oov` must be left out for a source that states its special "
            "rows (layer, tokenizer, mapping). "
            f"Received: source of type {type(source).__name__}, mask={mask!r}, "
            f"oov={oov!r}. Call `Vocabulary(source)`."
        )
    if isinstance(oov, int | np.integer) and oov < 0:
        raise WarmStartError(
            "`oov` must be a number of OOV rows, 0 or more, or the token of the only "
            f"OOV row. Received: oov={oov!r}. Pass `oov=1` for one OOV row."
        )
    entries = _entries(source)
    tokens = entries if isinstance(entries, Tokens) else Tokens.of(entries)
    masks: list[Token] = [] if mask is None or mask is False else [mask]
    if mask is True:
        masks = [0 if tokens.integers else MASK_TOKEN]
    if isinstance(oov, int | np.integer | None):
        oovs: list[Token] = [-1 if tokens.integers else OOV_TOKEN] * int(oov or 0)
    else:
        oovs = [oov]
    # Raises if these and the tokens are not all strings or all integers.
    *named, _ = normalized([*masks, *oovs, tokens[0]])
    masks, oovs = named[: len(masks)], named[len(masks) :]
    return with_special_rows(tokens, masks, oovs, oov_at == "end")


def is_plain(source: VocabularySource) -> bool:
    """Returns whether `source` is a list, tuple, array, tensor or file.

    Such a source has an order of tokens, but does not state ids or special rows.
    """
    named = hasattr(source, "get_vocabulary") or hasattr(source, "id_to_token")
    return not (named or isinstance(source, Mapping))


def _in_order_of_rows(mapping: Mapping) -> list:
    rows = list(mapping.values())
    are_integers = all(isinstance(row, int | np.integer) for row in rows)
    if not are_integers or sorted(rows) != list(range(len(rows))):
        raise WarmStartError(
            "A mapping from token to row must have exactly the rows 0..n-1, each once. "
            f"Received: {len(rows)} tokens with rows {sorted(rows, key=str)[:8]}. "
            "Number the tokens without gaps, or pass a list in the order of the rows."
        )
    return sorted(mapping, key=mapping.__getitem__)


def _entries(source: VocabularySource) -> list | tuple | Tokens:
    """Returns the entries of a list, tuple, array, tensor or file, unchanged."""
    if isinstance(source, str | os.PathLike):
        return _lines(Path(source))
    entries = source
    if hasattr(source, "__array__"):
        array = np.asarray(source)
        if array.ndim != 1:
            raise WarmStartError(
                "A vocabulary given as array or tensor must have rank 1. "
                f"Received: shape={array.shape}. Pass `numpy.ravel(array)`."
            )
        entries = array.tolist()
    if not isinstance(entries, list | tuple):
        raise WarmStartError(
            "A vocabulary must be a lookup layer, a tokenizer, an object with "
            "`get_vocabulary()`, a list, tuple, 1D array or tensor of tokens, a mapping "
            "from token to row, the path of a file, or a `Vocabulary`. "
            f"Received: {source!r} (of type {type(source).__name__})"
        )
    if not len(entries):
        raise WarmStartError(
            "A vocabulary must have at least one token. "
            f"Received: an empty {type(source).__name__}"
        )
    return entries


def _lines(path: Path) -> Tokens:
    if path.suffix in (".keras", ".h5"):
        raise WarmStartError(
            "A vocabulary file must be a text file with one token per line. "
            f"Received: {str(path)!r}, a saved model. To warm-start from this model, "
            "pass it as `previous`."
        )
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        data.decode()
    except UnicodeDecodeError as error:
        raise WarmStartError(
            "A vocabulary file must be UTF-8. "
            f"Received: {str(path)!r}, with {error.object[error.start :][:4]!r} at byte "
            f"{error.start}. Write the file again with `encoding='utf-8'`."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise WarmStartError(
            "A vocabulary file must exist and be readable. "
            f"Received: {str(path)!r} ({getattr(error, 'strerror', None) or error})"
        ) from error
    if not data:
        raise WarmStartError(
            "A vocabulary file must have at least one token, one per line. "
            f"Received: {str(path)!r}, which is empty"
        )
    # `str.splitlines` would also end a line at other characters, such as U+2028.
    content = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(content == ord("\n"))
    ends = breaks if data.endswith(b"\n") else np.append(breaks, len(data))
    starts = np.append(0, breaks + 1)[: len(ends)]
    after_return = content[breaks - 1] == ord("\r")
    by_crlf = breaks[after_return & (np.diff(breaks, prepend=-1) > 1)]
    kept = content != ord("\n")
    kept[by_crlf - 1] = False
    lengths = ends - starts
    lengths[np.searchsorted(breaks, by_crlf)] -= 1
    return Tokens(content[kept].tobytes(), lengths.cumsum())


def _is_one_of(token: object, *names: Token) -> bool:
    # Other objects are not compared: with an array, `==` does not give a bool.
    return isinstance(token, str | bytes | None) and token in names


def _recognized(entries: list | tuple | Tokens, given_by_id: bool) -> Parts:
    """Reads entries, with a leading `""` and leading `[UNK]`s as special rows."""
    # A lookup with `oov_token=None` lists its OOV rows as None.
    first = 1 if _is_one_of(entries[0], MASK_TOKEN, MASK_TOKEN.encode()) else 0
    end = first
    names = OOV_TOKEN, OOV_TOKEN.encode(), None
    while end < len(entries) and _is_one_of(entries[end], *names):
        end += 1
    if isinstance(entries, Tokens):
        tokens = entries
    else:
        normalized([t for t in entries[: end + 1] if t is not None])  # raises if mixed
        words = Tokens.of(entries, start=end, nameless=False)
        oov: list[Token] = [None if t is None else OOV_TOKEN for t in entries[first:end]]
        tokens = Tokens.joined([Tokens.of([MASK_TOKEN] * first + oov), words])
    mask_row = 0 if first else None
    return Parts(tokens, mask_row, range(first, end), given_by_id=given_by_id)


def with_special_rows(
    tokens: Tokens, mask: list[Token], oov: list[Token], at_end: bool
) -> Parts:
    """Adds special rows to tokens, unless the tokens have all of them already."""
    before, after = (mask, oov) if at_end else ([*mask, *oov], [])
    whole = (
        len(tokens) >= len(before) + len(after)
        and list(tokens.part(0, len(before))) == before
        and list(tokens.part(len(tokens) - len(after), len(tokens))) == after
    )
    if not whole:
        tokens = Tokens.joined([Tokens.of(before), tokens, Tokens.of(after)])
    first = len(tokens) - len(oov) if at_end else len(mask)
    return Parts(tokens, 0 if mask else None, range(first, first + len(oov)))


def _words_of(lookup: keras.Layer, table: object) -> Tokens:
    """Reads the tokens in the table of a lookup, in the order of their rows."""
    blob, lengths, are_integers = keras_internals.table_entries(table, lookup.invert)
    if are_integers:
        return Tokens(blob, lengths.cumsum(), integers=True)
    encoding = getattr(lookup, "encoding", None) or "utf-8"
    if is_utf8(encoding):
        return Tokens.of_bytes(blob, lengths)
    ends = lengths.cumsum()
    bounds = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    return Tokens.of([blob[a:b] for a, b in bounds], encoding)


def parts_of_lookup(lookup: keras.Layer, table: object) -> Parts:
    """Reads a lookup layer whose words are in `table`."""
    return _with_words(lookup, _special_tokens(lookup), _words_of(lookup, table))


def parts_of_saved_lookup(
    layer: keras.Layer, lines: list[str], rows: int
) -> Parts | None:
    """Reads the lines of a saved lookup layer; None if the tokens are not certain."""
    # If a token contains a line break, there are more lines than tokens.
    if len(lines) != (keras_internals.saved_vocabulary_size(layer) or rows):
        return None
    lookup: keras.Layer = keras_internals.lookup_of(layer)
    special = _special_tokens(lookup)
    words: list = lines[len(special) :]
    if lookup.vocabulary_dtype != "string":
        words = [int(str(word)) for word in words]
    return _with_words(lookup, special, Tokens.of(words))


def _special_tokens(lookup: keras.Layer) -> list[Token]:
    """Returns the names of a lookup's special rows; None if no token can have it."""
    has_mask = lookup.mask_token is not None and lookup.output_mode == "int"
    special = [lookup.mask_token] * has_mask + [lookup.oov_token] * lookup.num_oov_indices
    kind: Any = str | bytes if lookup.vocabulary_dtype == "string" else int | np.integer
    return [normalized([t])[0] if isinstance(t, kind) else None for t in special]


def _with_words(lookup: keras.Layer, special: list[Token], words: Tokens) -> Parts:
    masks = len(special) - lookup.num_oov_indices
    return Parts(
        Tokens.joined([Tokens.of(special), words]),
        mask_row=0 if masks else None,
        oov_rows=range(masks, len(special)),
        hashing=_hashing(lookup) if lookup.num_oov_indices > 1 else None,
    )


def _hashing(lookup: keras.Layer) -> str:
    """Returns the hash method and salt that choose the OOV row of a token."""
    # Keras has had `oov_method` and `salt` since 2026. Strings were hashed before, too.
    method = getattr(lookup, "oov_method", "floormod")
    salt = getattr(lookup, "salt", None)
    hashes_text = lookup.vocabulary_dtype == "string"
    hashing = "farmhash" if hashes_text else method
    if salt is not None:
        hashing = f"siphash{list(salt)}"
    # Encoded text is hashed, so the encoding changes the OOV row of a token.
    encoding = codecs.lookup(getattr(lookup, "encoding", None) or "utf-8").name
    return hashing if encoding == "utf-8" or not hashes_text else f"{encoding} {hashing}"
