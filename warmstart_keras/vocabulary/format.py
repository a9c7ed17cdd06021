"""Tokens as bytes: for files, and for fingerprints."""

import hashlib
import json
import re
import reprlib

import numpy as np

from warmstart_keras.errors import WarmStartError
from warmstart_keras.vocabulary.tokens import Tokens

_MAGIC = b"warmstart_keras vocabulary 1\n"
_DIGEST_SIZE = 32

# The header's keys, in their order: those of this module, then those of `to_bytes`.
_OWN_KEYS = ["kind", "count", "not_text", "nameless"]
_KEYS = [*_OWN_KEYS, "mask_row", "oov_rows", "hashing", "given_by_id"]


def encode(tokens: Tokens, about: dict) -> bytes:
    """Writes tokens in a form that no token can break, with a checksum.

    A line that names the format; the SHA-256 of all that follows; a header of one line
    of JSON, with `about`; the length of every token in bytes (int64, little endian); the
    tokens, end to end.
    """
    body = _body(tokens, about)
    return b"".join([_MAGIC, _sha256(body).digest(), *body])


def decode(data: bytes) -> tuple[Tokens, dict]:
    """The tokens, and what was said about them.

    A file may come from anyone, with a checksum that agrees: whatever `encode` would
    not have written, byte for byte, is refused.
    """
    body = _body_of(data)
    head = body[: body.find(b"\n") + 1]
    rest = body[len(head) :]
    header = _checked_header(head, len(rest) // 8)
    count = header["count"]
    lengths = np.frombuffer(rest, dtype="<i8", count=count).astype(np.int64)
    blob = rest[8 * count :]
    # No length is above the whole, so that the sum cannot overflow.
    too_long = np.any((lengths < 0) | (lengths > len(blob)))
    if too_long or lengths.sum() != len(blob):
        received = f"tokens of {len(blob)} bytes in all, whose lengths say otherwise"
        raise _not_as_written(received)
    tokens = Tokens(
        blob,
        lengths.cumsum(),
        integers=header["kind"] == "integer",
        not_text=np.unique(np.array(header["not_text"], np.int64)),
        nameless=np.unique(np.array(header["nameless"], np.int64)),
    )
    if not _are_of_their_kind(tokens):
        raise _not_as_written(f'a token that is not of the kind "{header["kind"]}"')
    # What is left: names of the nameless, rows told twice, blanks, ...
    about = {key: header[key] for key in _KEYS if key not in _OWN_KEYS}
    if _head(tokens, about) != head or not _are_as_written(tokens):
        raise _not_as_written("the same content, written in another way")
    return tokens, header


def digest(tokens: Tokens, about: dict) -> str:
    """A SHA-256 of tokens and what is said about them, in hexadecimal digits."""
    return _sha256(_body(tokens, about)).hexdigest()


def _sha256(parts: list[bytes]) -> "hashlib._Hash":
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest


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
    if not _are_rows([count], 0, most + 1):
        return "count"
    if not _are_rows(oov_rows, 0, count + 1) or len(oov_rows) != 2:
        return "oov_rows"
    oov = range(*oov_rows)
    masks = [] if mask_row is None else [mask_row]
    is_right = {
        "kind": header["kind"] in ("text", "integer"),
        "not_text": _are_rows(header["not_text"], 0, count),
        "oov_rows": oov.start <= oov.stop,
        "nameless": _are_rows(header["nameless"], oov.start, oov.stop),
        "mask_row": _are_rows(masks, 0, count) and mask_row not in oov,
        "hashing": isinstance(header["hashing"], str | None),
        "given_by_id": isinstance(header["given_by_id"], bool),
    }
    return next((name for name, right in is_right.items() if not right), None)


def _are_rows(value: object, start: int, stop: int) -> bool:
    """Whether `value` is a list of integers from `start` to `stop - 1`."""
    return isinstance(value, list) and all(
        type(row) is int and start <= row < stop  # True is an `int` too
        for row in value
    )


def _are_of_their_kind(tokens: Tokens) -> bool:
    if not tokens.integers:
        return tokens.blanked(tokens.not_text.tolist()).is_text("surrogatepass")
    try:
        list(tokens)
    except ValueError:
        return False
    return bool(np.isin(np.flatnonzero(tokens.lengths == 0), tokens.nameless).all())


def _are_as_written(tokens: Tokens) -> bool:
    """Whether there is no other way to write these tokens."""
    if np.any(tokens.lengths[tokens.nameless]):
        return False
    if tokens.integers:
        return Tokens.of(list(tokens)) == tokens  # not "+1" for 1
    return not np.isin(tokens.not_text, tokens.nameless).any()


def _not_as_written(received: str) -> WarmStartError:
    return WarmStartError(
        "A stored vocabulary must be as `WarmStartEmbedding` wrote it. "
        f"Received: {received}. Something else made or changed it: restore the file "
        "from a copy, or save the model again."
    )


def _body(tokens: Tokens, about: dict) -> list[bytes]:
    lengths = tokens.lengths.astype("<i8", copy=False)
    return [_head(tokens, about), lengths.tobytes(), tokens.blob]


def _head(tokens: Tokens, about: dict) -> bytes:
    header = {
        "kind": "integer" if tokens.integers else "text",
        "count": len(tokens),
        # Bytes that are no UTF-8 could be taken for text with lone surrogates.
        "not_text": tokens.not_text.tolist(),
        "nameless": tokens.nameless.tolist(),
        **about,
    }
    return json.dumps(header).encode() + b"\n"
