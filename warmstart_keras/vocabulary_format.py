"""Tokens as bytes: for files, and for fingerprints."""

import hashlib
import json
import re
import reprlib
from itertools import accumulate
from typing import Any

import numpy as np

from warmstart_keras.errors import WarmStartError

# Text, bytes that are no UTF-8, an integer, or the name of an OOV row without one.
Token = str | bytes | int | None

_MAGIC = b"warmstart_keras vocabulary 1\n"
_DIGEST_SIZE = 32
# The header's keys, in their order: those of this module, then those of `to_bytes`.
_OWN_KEYS = ["kind", "count", "not_text", "nameless"]
_KEYS = [*_OWN_KEYS, "mask_row", "oov_rows", "hashing", "given_by_id"]


def encode(tokens: list[Token], about: dict) -> bytes:
    """Tokens in a form that no token can break (V4), with a checksum.

    A line that names the format; the SHA-256 of all that follows; a header of one line
    of JSON, with `about`; the length of every token in bytes (int64, little endian); the
    tokens, end to end.
    """
    body = _body(tokens, about)
    return _MAGIC + hashlib.sha256(body).digest() + body


def decode(data: bytes) -> tuple[list[Token], dict]:
    """The tokens, and what was said about them.

    A file may come from anyone, with a checksum that agrees: whatever `encode` would
    not have written, byte for byte, is refused.

    Raises:
        WarmStartError: If a single bit was changed or lost, a newer version of this
            package wrote it, or none did.
    """
    body = _body_of(data)
    head = body[: body.find(b"\n") + 1]
    rest = body[len(head) :]
    header = _checked_header(head, len(rest) // 8)
    count = header["count"]
    lengths = np.frombuffer(rest, dtype="<i8", count=count).tolist()
    blob = rest[8 * count :]
    # As Python's integers, whose sum cannot overflow.
    if min(lengths, default=0) < 0 or sum(lengths) != len(blob):
        raise _not_as_written(
            f"tokens of {len(blob)} bytes in all, whose lengths say otherwise"
        )
    ends = list(accumulate(lengths))
    parts = [blob[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    try:
        tokens = _tokens(parts, header)
    except ValueError as error:
        raise _not_as_written(
            f'a token that is not of the kind "{header["kind"]}"'
        ) from error
    # What is left: "+1" for 1, names of the nameless, rows told twice, blanks, ...
    about = {key: header[key] for key in _KEYS if key not in _OWN_KEYS}
    if _head(tokens, about) != head or list(map(_token_bytes, tokens)) != parts:
        raise _not_as_written("the same content, written in another way")
    return tokens, header


def digest(tokens: list[Token], about: dict) -> str:
    """A SHA-256 of tokens and what is said about them, in hexadecimal digits."""
    return hashlib.sha256(_body(tokens, about)).hexdigest()


def _body_of(data: bytes) -> bytes:
    """All that follows the checksum, if it agrees."""
    found = re.match(rb"warmstart_keras vocabulary ([1-9][0-9]{0,8})\n", data)
    if found and found[0] != _MAGIC:
        raise WarmStartError(
            "A stored vocabulary must be of format 1, the newest that this "
            f"warmstart_keras reads. Received: format {int(found[1])}. If the file is "
            "whole, a newer warmstart_keras wrote it: upgrade warmstart_keras, or save "
            "the model again with this one."
        )
    start = len(_MAGIC) + _DIGEST_SIZE
    body = data[start:]
    checksum = data[len(_MAGIC) : start]
    if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != checksum:
        raise WarmStartError(
            "A stored vocabulary must be whole, as `WarmStartEmbedding` wrote it. "
            f"Received: {len(data)} bytes whose checksum does not agree. Restore the "
            "file from a copy, or save the model again."
        )
    return body


def _checked_header(head: bytes, most: int) -> dict:
    """The header, every field of the right type and in range; `most` tokens at most."""
    try:
        header = json.loads(str(head, "ascii"))
    except (ValueError, RecursionError) as error:
        raise _not_as_written(f"a header that is no JSON, {head[:60]!r}") from error
    if not isinstance(header, dict) or list(header) != _KEYS:
        raise _not_as_written(f"a header with other fields, {reprlib.repr(header)}")
    wrong = _wrong_field(header, most)
    if wrong is not None:
        raise _not_as_written(f"{wrong}={reprlib.repr(header[wrong])} in the header")
    return header


def _wrong_field(header: dict, most: int) -> str | None:
    """The first field with a value that no vocabulary has, or None."""
    count, mask_row, oov_rows = (header[k] for k in ("count", "mask_row", "oov_rows"))
    if header["kind"] not in ("text", "integer"):
        return "kind"
    if not _are_rows([count], 0, most + 1):
        return "count"
    if not _are_rows(header["not_text"], 0, count):
        return "not_text"
    if not _are_rows(oov_rows, 0, count + 1) or len(oov_rows) != 2:
        return "oov_rows"
    oov = range(*oov_rows)
    if oov.start > oov.stop:
        return "oov_rows"
    if not _are_rows(header["nameless"], oov.start, oov.stop):
        return "nameless"
    if mask_row is not None and (not _are_rows([mask_row], 0, count) or mask_row in oov):
        return "mask_row"
    if not isinstance(header["hashing"], str | None):
        return "hashing"
    return None if isinstance(header["given_by_id"], bool) else "given_by_id"


def _are_rows(value: Any, start: int, stop: int) -> bool:
    """Whether `value` is a list of integers from `start` to `stop - 1`."""
    return isinstance(value, list) and all(
        type(row) is int and start <= row < stop  # True is an `int` too
        for row in value
    )


def _tokens(parts: list[bytes], header: dict) -> list[Token]:
    nameless = set(header["nameless"])
    if header["kind"] == "integer":
        return [None if i in nameless else int(part) for i, part in enumerate(parts)]
    not_text = set(header["not_text"])
    tokens: list[Token] = [
        part if i in not_text else part.decode("utf-8", "surrogatepass")
        for i, part in enumerate(parts)
    ]
    for place in nameless:
        tokens[place] = None
    return tokens


def _not_as_written(received: str) -> WarmStartError:
    return WarmStartError(
        "A stored vocabulary must be as `WarmStartEmbedding` wrote it. "
        f"Received: {received}. Something else made or changed it: restore the file "
        "from a copy, or save the model again."
    )


def _body(tokens: list[Token], about: dict) -> bytes:
    parts = [_token_bytes(token) for token in tokens]
    lengths = np.fromiter(map(len, parts), dtype="<i8", count=len(parts))
    return b"".join([_head(tokens, about), lengths.tobytes(), *parts])


def _head(tokens: list[Token], about: dict) -> bytes:
    named = next((token for token in tokens if token not in (None, "")), "")
    header = {
        "kind": "integer" if isinstance(named, int) else "text",
        "count": len(tokens),
        # Bytes that are no UTF-8 could be taken for text with lone surrogates.
        "not_text": [i for i, token in enumerate(tokens) if isinstance(token, bytes)],
        "nameless": [i for i, token in enumerate(tokens) if token is None],
        **about,
    }
    return json.dumps(header).encode() + b"\n"


def _token_bytes(token: Token) -> bytes:
    if isinstance(token, str):
        # Text may hold lone surrogates, which UTF-8 proper refuses.
        return token.encode("utf-8", "surrogatepass")
    if isinstance(token, bytes):
        return token
    return b"" if token is None else str(token).encode()
