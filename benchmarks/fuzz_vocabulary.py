"""Hostile bytes for the reader of stored vocabularies.

    python benchmarks/fuzz_vocabulary.py [--inputs 100000] [--seed 0]

An input is a stored vocabulary whose fields, lengths, tokens and bytes were changed at
random, most with the checksum made right again. It must be refused with `WarmStartError`,
or be read as what a slow second reader finds, written from the format's description
alone, in memory that is linear in its length. Whatever else happens is a failure,
printed with the seed that makes this one input again (`--seed 123 --inputs 1`).
"""

import argparse
import hashlib
import json
import random
import re
import struct
import time
import tracemalloc
from collections import Counter

from warmstart_keras import Vocabulary, WarmStartError

MAGIC = b"warmstart_keras vocabulary 1\n"
SHOWN = 10  # failures
MEMORY_PER_BYTE, MEMORY = 40, 100_000  # how much of it, in bytes, may be used at once

# --- the second reader ---

NUMBER = rb"(?:0|[1-9][0-9]{0,17})"
ROWS = rb"\[((?:%b(?:, %b)*)?)\]" % (NUMBER, NUMBER)
STRING = rb'"(?:[ !#-\[\]-~]|\\["\\bfnrt]|\\u[0-9a-f]{4})*"'
FILE = re.compile(
    MAGIC + rb"(?s:(?P<checksum>.{32}))(?P<body>"
    rb'\{"kind": "(?P<kind>text|integer)", "count": (?P<count>%b), '
    rb'"not_text": (?P<not_text>%b), "nameless": (?P<nameless>%b), '
    rb'"mask_row": (?P<mask_row>null|%b), "oov_rows": \[(?P<first>%b), (?P<end>%b)\], '
    rb'"hashing": (?P<hashing>null|%b), "given_by_id": (?P<given_by_id>true|false)\}'
    rb"\n(?s:(?P<rest>.*)))" % (NUMBER, ROWS, ROWS, NUMBER, NUMBER, NUMBER, STRING)
)
INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,4299}")
# UTF-8 in which lone surrogates are written as any other character of three bytes.
TEXT = re.compile(
    rb"(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|[\xe1-\xef][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}"
    rb"|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*"
)


def second_reading(data):
    """What `data` says by the description of the format; None if it is nothing so."""
    found = FILE.fullmatch(data)
    if not found or hashlib.sha256(found["body"]).digest() != found["checksum"]:
        return None
    kind, count = found["kind"].decode(), int(found["count"])
    not_text, nameless = (
        [int(row) for row in re.findall(rb"[0-9]+", found[name])]
        for name in ("not_text", "nameless")
    )
    first, end = int(found["first"]), int(found["end"])
    mask_row = None if found["mask_row"] == b"null" else int(found["mask_row"])
    hashing = json.loads(found["hashing"])
    right = (
        first <= end <= count
        and (mask_row is None or (mask_row < count and not first <= mask_row < end))
        and all(rows == sorted(set(rows)) for rows in (not_text, nameless))
        and all(row < count for row in not_text)
        and all(first <= row < end for row in nameless)
        and not set(not_text) & set(nameless)
        and not (kind == "integer" and (not_text or len(nameless) == count))
        and json.dumps(hashing).encode() == found["hashing"]
        and 8 * count <= len(found["rest"])
    )
    if not right:
        return None
    rows, place = [], 8 * count
    for row in range(count):
        (length,) = struct.unpack_from("<q", found["rest"], 8 * row)
        token = found["rest"][place : place + max(length, 0)]
        place += length
        of = None if row in nameless else "bytes" if row in not_text else kind
        form = {"text": TEXT, "integer": INTEGER, None: re.compile(b"")}.get(of)
        if len(token) != length or (form and not form.fullmatch(token)):
            return None
        rows.append((of, token))
    if place != len(found["rest"]):
        return None
    return rows, mask_row, range(first, end), hashing, found["given_by_id"] == b"true"


def told_by(vocabulary):
    """All that a vocabulary says, as `second_reading` puts it."""
    kinds = {str: "text", bytes: "bytes", int: "integer", type(None): None}
    rows = []
    for token in vocabulary:
        data = b"" if token is None else token
        if not isinstance(data, bytes):
            data = str(token).encode("utf-8", "surrogatepass")
        rows.append((kinds[type(token)], data))
    special = vocabulary.mask_row, vocabulary.oov_rows
    return rows, *special, vocabulary.hashing, vocabulary.given_by_id


# --- inputs ---

TOKENS = {
    kind: [token.encode("utf-8", "surrogatepass") for token in tokens.split("|")]
    for kind, tokens in {
        "text": "|the|[UNK]|a\nb|\u2028|\x85|\x00|\ud800|\ud83d\ude00|\U0001f600|\ufeff",
        "integer": "0|7|-3|9223372036854775807|-123456789012345678901234567890",
        # As integers they are none; as text they are.
        "odd": f"+1| 1|1 |1_000|01|-0|-|1.0|0x1|\u0663|{'9' * 4301}|{'9' * 9000}",
    }.items()
}
TOKENS["long"] = [b"9" * 4300, b"-" + b"9" * 4300, b"a" * 9000]
TOKENS["broken"] = [b"\xff", b"\xc0\x80", b"\xed\xa0", b"\xf4\x90\x80\x80"]
ODD_LENGTHS = [-1, -8, 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -(2**63)]
ODD_VALUES = (
    "null|true|false|0|1|2|-1|-0|01|+1| 1|1_000|0.0|1.0|1e0|1e400|NaN|Infinity|-Infinity"
    f"|1000000000|{2**31}|{2**61}|{2**63}|{2**64}|{10**30}|{'9' * 5000}||}}|{{}}"
    r'|""|"text"|"integer"|"bytes"|"1"|"\ud800"|"\u0061"|"a\/"|{"0": 1}|["0"]|[[0]]'
    "|[]|[0]|[1]|[2]|[0, 1]|[1, 0]|[0, 0]|[1, 1]|[1,2]|[0, 1, 2]|[-1]|[1.0]|[null]"
    f"|[true]|[false, true]|[0, 1000000000000]|[0, {10**30}]"
    f"|{'[' * 9000}{']' * 9000}|{'[' * 9000}|[{'[],' * 1000}0]"
).split("|")
KEYS = ["kind", "count", "not_text", "nameless"]
KEYS += ["mask_row", "oov_rows", "hashing", "given_by_id"]


class Draft:
    """The pieces of a stored vocabulary, in which every one can be made wrong."""

    def __init__(self, rng):
        kind = rng.choice(["text", "integer"])
        mask, oov, words = rng.randrange(2), rng.randrange(4), rng.randrange(6)
        count = mask + oov + words
        first = rng.choice([mask, mask + words])
        nameless = [*range(first, first + oov)] if words and rng.random() < 0.2 else []
        others = [row for row in range(count) if row not in nameless]
        not_text = [row for row in others if kind == "text" and rng.random() < 0.1]
        self.tokens = rng.choices(TOKENS[kind], k=count)
        for row in nameless + not_text:
            self.tokens[row] = b"" if row in nameless else rng.choice(TOKENS["broken"])
        values = [kind, count, not_text, nameless]
        values += [0 if mask else None, [first, first + oov]]
        values += [rng.choice([None, "farmhash", "siphash[1, 2]"]), rng.random() < 0.5]
        pairs = zip(KEYS, values, strict=True)
        self.header = [[json.dumps(key), json.dumps(value)] for key, value in pairs]
        self.comma, self.colon, self.end = ", ", ": ", "\n"
        self.lengths = [len(token) for token in self.tokens]
        self.more = b""

    def body(self):
        fields = self.comma.join(self.colon.join(pair) for pair in self.header)
        lengths = struct.pack(f"<{len(self.lengths)}q", *self.lengths)
        head = ("{" + fields + "}" + self.end).encode()
        return head + lengths + b"".join(self.tokens) + self.more

    # Each changes one thing.

    def odd_value(self, rng):
        rng.choice(self.header)[1] = rng.choice(ODD_VALUES)

    def another_row(self, rng):
        rows = [str(row) for row in rng.choices(range(8), k=rng.randrange(4))]
        text = rng.choice([rows[0] if rows else "null", f"[{', '.join(rows)}]"])
        self.header[rng.randrange(1, 6)][1] = text

    def other_fields(self, rng):
        i = rng.randrange(len(self.header))
        one, unknown = self.header[i], ['"version"', "1"]
        self.header[i : i + 1] = rng.choice([[], [one, one], [unknown, one]])

    def fields_in_another_order(self, rng):
        rng.shuffle(self.header)

    def blanks(self, rng):
        self.comma, self.colon = rng.choice([", ", ",", ",\t"]), rng.choice([": ", ":"])

    def end_of_header(self, rng):
        self.end = rng.choice(["", " \n", "\r\n", "\n\n"])

    def odd_length(self, rng):
        if self.lengths:
            self.lengths[rng.randrange(len(self.lengths))] = rng.choice(ODD_LENGTHS)

    def bytes_of_another_token(self, rng):
        if self.lengths:
            give, take = rng.choices(range(len(self.lengths)), k=2)
            moved = rng.choice([1, self.lengths[give], 2**62])
            self.lengths[give] = max(self.lengths[give] - moved, -(2**63))
            self.lengths[take] = min(self.lengths[take] + moved, 2**63 - 1)

    def length_more_or_less(self, rng):
        self.lengths = [*self.lengths, 0] if rng.random() < 0.5 else self.lengths[:-1]

    def another_token(self, rng):
        if self.tokens and len(self.tokens) == len(self.lengths):
            row = rng.randrange(len(self.tokens))
            self.tokens[row] = rng.choice(TOKENS[rng.choice([*TOKENS])])
            self.lengths[row] = len(self.tokens[row])

    def trailing_bytes(self, rng):
        self.more += rng.randbytes(rng.choice([1, 8, 9]))


CHANGES = [f for name, f in vars(Draft).items() if callable(f) and "__" not in name]
CHANGES.remove(Draft.body)


def changed_bytes(data, other, rng):
    """`data` with a piece flipped, lost, told twice, put in, or taken from `other`."""
    a, b = sorted(rng.choices(range(len(data) + 1), k=2))
    way = rng.randrange(6)
    if way == 0:
        flipped = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 9])):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    middle = [b"", data[a:b] * 2, rng.randbytes(rng.randrange(1, 9)), other[a:b]]
    return data[:a] + (middle[way - 1] + data[b:] if way < 5 else b"")


def sealed(body):
    return MAGIC + hashlib.sha256(body).digest() + body


def make(seed):
    """An input; if its checksum was left as it was, also the two that it came from."""
    rng = random.Random(seed)
    draft = Draft(rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        rng.choice(CHANGES)(draft, rng)
    body, other = draft.body(), Draft(rng).body()
    way = rng.random()
    if way < 0.3:
        wholes = sealed(body), sealed(other)
        return changed_bytes(*wholes, rng), wholes
    if way < 0.5:
        body = changed_bytes(body, other, rng)
    return sealed(body), ()


# --- the check ---


def fault(data, wholes, read):
    """How `data` was taken: "decoded", "refused", or else what is wrong with that."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        vocabulary = read(data)
    except WarmStartError as error:
        vocabulary, message = None, str(error)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    peak = tracemalloc.get_traced_memory()[1] - before
    if peak > MEMORY + MEMORY_PER_BYTE * len(data):
        return f"{peak:,} bytes of memory for {len(data):,}"
    expected = second_reading(data)
    if vocabulary is None:
        if expected is not None:
            return f"what is right was refused: {message[:200]}"
        return "refused" if len(message) < 1000 else "a message without end"
    if wholes and data not in wholes:
        return "a checksum that does not hold was taken for right"
    if expected is None:
        return "what is wrong was decoded"
    if told_by(vocabulary) != expected:
        return "rows, or what is said about them, are not those of the bytes"
    if vocabulary.to_bytes() != data:
        return "written again, it is not the same"
    return "decoded"


def fuzz(inputs, seed, read=Vocabulary.from_bytes, progress=iter):
    """Counts of what was decoded and refused, and the failures: seed, fault, input."""
    counts, failures = Counter(), []
    tracemalloc.start()
    try:
        for one in progress(range(seed, seed + inputs)):
            data, wholes = make(one)
            taken = fault(data, wholes, read)
            counts[taken] += 1
            if taken not in ("decoded", "refused"):
                failures.append((one, taken, data))
    finally:
        tracemalloc.stop()
    return counts["decoded"], counts["refused"], failures


def main(arguments=None, read=Vocabulary.from_bytes):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(arguments)
    try:
        from tqdm import tqdm as progress
    except ImportError:
        progress = iter
    start = time.perf_counter()
    decoded, refused, failures = fuzz(arguments.inputs, arguments.seed, read, progress)
    for seed, why, data in failures[:SHOWN]:
        print(f"seed {seed}: {why}\n    {data[:1000]!r}")
    print(
        f"{arguments.inputs:,} inputs from seed {arguments.seed}: {decoded:,} decoded, "
        f"{refused:,} refused, {len(failures):,} failures; "
        f"{time.perf_counter() - start:.1f} seconds"
    )
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
