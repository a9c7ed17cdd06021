"""Encoding of tokens as bytes, for files and for fingerprints."""

import hashlib
import json
import re
import reprlib

import numpy as np

from warmstart_keras.errors import WarmStartError
from warmstart_keras.vocabulary.tokens import Tokens

_MAGIC = b"warmstart_keras vocabulary 1\n"
_DIGEST_SIZE = 32

# The keys of the header, in order. This module adds `_OWN_KEYS`; the others come from
# `Vocabulary.to_bytes`.
_OWN_KEYS = ["kind", "count", "not_text", "nameless"]
_KEYS = [*_OWN_KEYS, "mask_row", "oov_rows", "hashing", "given_by_id"]


def encode(tokens: Tokens, about: dict) -> bytes:
    """Encodes tokens as bytes, with a checksum; no token can break the format.

    The bytes are, in this order:

    - a line that names the format;
    - the SHA-256 of everything after it;
    - the header: one line of JSON, which includes `about`;
    - the length of every token in bytes (int64, little endian);
    - the tokens, end to end.
    """
    body = _body(tokens, about)
    return b"".join([_MAGIC, _sha256(body).digest(), *body])


def decode(data: bytes) -> tuple[Tokens, dict]:
    """Decodes the tokens and the header from bytes that `encode` wrote.

    A file can come from anyone, and a forged file can have a valid checksum. Bytes that
    differ in any way from what `encode` writes are therefore refused.
    """
    body = _body_of(data)
    head = body[: body.find(b"\n") + 1]
    rest = body[len(head) :]
    header = _checked_header(head, len(rest) // 8)
    count = header["count"]
    lengths = np.frombuffer(rest, dtype="<i8", count=count).astype(np.int64)
    blob = rest[8 * count :]
    # The sum is computed only if no length exceeds the blob, so it cannot overflow.
    too_long = np.any((lengths < 0) | (lengths > len(blob)))
    if too_long or lengths.sum() != len(blob):
        received = f"{len(blob)} bytes of tokens, but token lengths with another sum"
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
    # Other differences: a name of a nameless token, a row listed twice, blanks, ...
    about = {key: header[key] for key in _KEYS if key not in _OWN_KEYS}
    if _head(tokens, about) != head or not _are_as_written(tokens):
        raise _not_as_written("the same content in another notation")
    return tokens, header


def digest(tokens: Tokens, about: dict) -> str:
    """Computes the SHA-256 of tokens and `about`, in hexadecimal digits."""
    return _sha256(_body(tokens, about)).hexdigest()


def _sha256(parts: list[bytes]) -> "hashlib._Hash":
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest


def _body_of(data: bytes) -> bytes:
    """Returns everything after the checksum, if the checksum matches."""
    found = re.match(rb"warmstart_keras vocabulary ([1-9][0-9]{0,8})\n", data)
    if found and found[0] != _MAGIC:
        raise WarmStartError(
            "The stored vocabulary is in a format that this version of warmstart_keras "
            f"cannot read. Received: format {int(found[1])}; the newest known format is "
            "1. If the file is not damaged, a newer version wrote it: upgrade "
            "warmstart_keras, or save the model again with this version."
        )
    start = len(_MAGIC) + _DIGEST_SIZE
    body = data[start:]
    checksum = data[len(_MAGIC) : start]
    if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != checksum:
        raise WarmStartError(
            "The stored vocabulary is damaged: its checksum does not match. Received: "
            f"{len(data)} bytes. Restore the file from a copy, or save the model again."
        )
    return body


def _checked_header(head: bytes, most: int) -> dict:
    """Parses the header and checks every field; it can count `most` tokens at most."""
    try:
        header = json.loads(str(head, "ascii"))
    except (ValueError, RecursionError) as error:
        raise _not_as_written(f"a header that is not JSON, {head[:60]!r}") from error
    if not isinstance(header, dict) or list(header) != _KEYS:
        raise _not_as_written(f"a header with other fields, {reprlib.repr(header)}")
    wrong = _wrong_field(header, most)
    if wrong is not None:
        raise _not_as_written(f"{wrong}={reprlib.repr(header[wrong])} in the header")
    return header


def _wrong_field(header: dict, most: int) -> str | None:
    """Returns the name of the first field with an impossible value, or None."""
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
    """Returns whether `value` is a list of integers from `start` to `stop - 1`."""
    return isinstance(value, list) and all(
        type(row) is int and start <= row < stop  # `True` is an `int` too
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
    """Returns whether the tokens have exactly the form that `encode` writes."""
    if np.any(tokens.lengths[tokens.nameless]):
        return False
    if tokens.integers:
        return Tokens.of(list(tokens)) == tokens  # "+1" would also be read as 1
    return not np.isin(tokens.not_text, tokens.nameless).any()


def _not_as_written(received: str) -> WarmStartError:
    return WarmStartError(
        "The stored vocabulary is not in the form that `WarmStartEmbedding` writes. "
        f"Received: {received}. Another program wrote or changed the file. Restore it "
        "from a copy, or save the model again."
    )


def _body(tokens: Tokens, about: dict) -> list[bytes]:
    lengths = tokens.lengths.astype("<i8", copy=False)
    return [_head(tokens, about), lengths.tobytes(), tokens.blob]


def _head(tokens: Tokens, about: dict) -> bytes:
    header = {
        "kind": "integer" if tokens.integers else "text",
        "count": len(tokens),
        # Without this list, bytes that are not UTF-8 could be read as text with lone
        # surrogates.
        "not_text": tokens.not_text.tolist(),
        "nameless": tokens.nameless.tolist(),
        **about,
    }
    return json.dumps(header).encode() + b"\n"
