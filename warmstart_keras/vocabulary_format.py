"""Tokens as bytes: for files, and for fingerprints."""

import hashlib
import json

import numpy as np

from warmstart_keras.errors import WarmStartError

# Text, bytes that are no UTF-8, an integer, or the name of an OOV row without one.
Token = str | bytes | int | None

_MAGIC = b"warmstart_keras vocabulary 1\n"
_DIGEST_SIZE = 32


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

    Raises:
        WarmStartError: If a single bit was changed or lost.
    """
    start = len(_MAGIC) + _DIGEST_SIZE
    body = data[start:]
    checksum = data[len(_MAGIC) : start]
    if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != checksum:
        raise WarmStartError(
            "A stored vocabulary must be whole, as `WarmStartEmbedding` wrote it. "
            f"Received: {len(data)} bytes whose checksum does not agree. Restore the "
            "file from a copy, or save the model again."
        )
    head, _, rest = body.partition(b"\n")
    header = json.loads(head)
    count = header["count"]
    lengths = np.frombuffer(rest, dtype="<i8", count=count)
    ends = np.cumsum(lengths).tolist()
    blob = rest[8 * count :]
    parts = [blob[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    tokens: list[Token]
    if header["kind"] == "integer":
        nameless = set(header["nameless"])
        tokens = [None if i in nameless else int(part) for i, part in enumerate(parts)]
    else:
        not_text = set(header["not_text"])
        tokens = [
            part if i in not_text else part.decode("utf-8", "surrogatepass")
            for i, part in enumerate(parts)
        ]
        for place in header["nameless"]:
            tokens[place] = None
    return tokens, header


def digest(tokens: list[Token], about: dict) -> str:
    """A SHA-256 of tokens and what is said about them, in hexadecimal digits."""
    return hashlib.sha256(_body(tokens, about)).hexdigest()


def _body(tokens: list[Token], about: dict) -> bytes:
    named = next((token for token in tokens if token not in (None, "")), "")
    header = {
        "kind": "integer" if isinstance(named, int) else "text",
        "count": len(tokens),
        # Bytes that are no UTF-8 could be taken for text with lone surrogates.
        "not_text": [i for i, token in enumerate(tokens) if isinstance(token, bytes)],
        "nameless": [i for i, token in enumerate(tokens) if token is None],
        **about,
    }
    parts = [_token_bytes(token) for token in tokens]
    lengths = np.fromiter(map(len, parts), dtype="<i8", count=len(parts))
    return b"".join([json.dumps(header).encode(), b"\n", lengths.tobytes(), *parts])


def _token_bytes(token: Token) -> bytes:
    if isinstance(token, bytes):
        return token
    # Text may hold lone surrogates, which UTF-8 proper refuses.
    return ("" if token is None else str(token)).encode("utf-8", "surrogatepass")
