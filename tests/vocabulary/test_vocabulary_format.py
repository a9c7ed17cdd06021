"""Stored vocabularies: every token comes back, and hostile bytes are refused."""

import hashlib
import re
import struct
import tracemalloc

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from models import BACKEND, benchmark

from warmstart_keras import Vocabulary, WarmStartError
from warmstart_keras.vocabulary.format import decode

if BACKEND != "torch":
    pytest.skip("bytes are the same on all backends", allow_module_level=True)


def everything(vocabulary):
    """All that a vocabulary says, types of tokens included."""
    return (
        [(type(token), token) for token in vocabulary],
        vocabulary.mask_row,
        vocabulary.oov_rows,
        vocabulary.hashing,
        vocabulary.given_by_id,
    )


def assert_survives(vocabulary):
    data = vocabulary.to_bytes()
    again = Vocabulary.from_bytes(data)
    assert everything(again) == everything(vocabulary)
    assert again.fingerprint == vocabulary.fingerprint
    assert again.to_bytes() == data


# --- the way there and back ---


@given(strategies.token_lists())
def test_any_vocabulary_survives_the_way_through_bytes(source):
    assert_survives(Vocabulary(source))


def pools():
    """Tokens to draw vocabularies from; integers of any size."""
    return strategies.token_pools() | st.lists(st.integers(), min_size=1, max_size=8)


@given(pools().flatmap(strategies.vocabularies), st.booleans(), st.none() | st.text())
def test_special_rows_and_all_else_survive_the_way_through_bytes(drawn, by_id, hashing):
    assert_survives(
        Vocabulary.from_parts(
            drawn.tokens,
            mask_row=drawn.mask_row,
            oov_rows=drawn.oov_rows,
            hashing=hashing,
            given_by_id=by_id,
        )
    )


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [""],
        ["a\nb", "\n"],
        ["a\u2028b", "\u2029"],
        ["a\x85b", "\x85"],
        ["\x00", "a\x00", ""],
        ["\ud800", "\udcff", "\ud83d\ude00", "\U0001f600"],
        ["", "", ""],
        ["é" * 2**20, "a"],
        [b"\xff", b"\xed\xa0\x80", "\ud800"],
        [b"\xc3\xa9", "é"],  # as a lookup with `encoding="ascii"` holds them
        [7, -3, 0, 2**64, -(2**64), 10**4299, -(10**4299)],
    ],
    ids=[
        "none at all",
        "an empty one",
        "newlines",
        "U+2028",
        "U+0085",
        "NUL",
        "lone surrogates",
        "empty ones",
        "two megabytes",
        "no UTF-8",
        "bytes that could be text",
        "integers",
    ],
)
def test_tokens_that_have_broken_formats_before_survive(tokens):
    assert_survives(Vocabulary.from_parts(tokens))


# What was written once is read for ever.
FIRST = b"warmstart_keras vocabulary 1\n"
TEXT = (
    b"\xcc8o\xc91\xa8Y\x99a[\xb2{c\x9e@\x1d\x1ep\xaf\xa5\x0cK\xcf>\x02$lLX\x85{p"
    b'{"kind": "text", "count": 5, "not_text": [3], "nameless": [1], "mask_row": 0, '
    b'"oov_rows": [1, 2], "hashing": null, "given_by_id": false}\n'
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    b"\x03\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"
    b"\x03\x00\x00\x00\x00\x00\x00\x00the\xff\xe2\x80\xa8"
)
INTEGERS = (
    b"=\xf3\xc4\x18\x1a\xab\x9b\xda\xa3Ni9F\x9b\x8e\xbf\x94\xcb\xe1\xdd\xe0\xda\nX\xf3&"
    b'\xf5V/\x8a\xc4u{"kind": "integer", "count": 5, "not_text": [], "nameless": [], '
    b'"mask_row": 0, "oov_rows": [3, 5], "hashing": "siphash[1, 2]", '
    b'"given_by_id": true}\n'
    b"\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"
    b"\x02\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"
    b"\x02\x00\x00\x00\x00\x00\x00\x0007-3-1-1"
)
WRITTEN = {
    FIRST + TEXT: Vocabulary.from_parts(
        ["", None, "the", b"\xff", "\u2028"], mask_row=0, oov_rows=range(1, 2)
    ),
    FIRST + INTEGERS: Vocabulary.from_parts(
        [0, 7, -3, -1, -1],
        mask_row=0,
        oov_rows=range(3, 5),
        hashing="siphash[1, 2]",
        given_by_id=True,
    ),
}


@pytest.mark.parametrize(
    ("data", "vocabulary"), WRITTEN.items(), ids=["text", "integers"]
)
def test_what_the_first_version_wrote_is_read_and_written_the_same(data, vocabulary):
    assert everything(Vocabulary.from_bytes(data)) == everything(vocabulary)
    assert vocabulary.to_bytes() == data


# --- damage ---

STORED = Vocabulary(["", "[UNK]", "the", b"\xff"]).to_bytes()
NOT_WHOLE = r"damaged.*checksum.*Received: \d+ bytes.*Restore the file from a copy"
NEWER = r"Received: format \d+; the newest.* 1\. .*upgrade warmstart_keras"
VERSION_AT = STORED.index(b"1\n")


def test_bytes_with_any_single_bit_flipped_are_refused():
    for place in range(len(STORED)):
        for bit in range(8):
            broken = bytearray(STORED)
            broken[place] ^= 1 << bit
            digit = place == VERSION_AT and chr(broken[place]) in "359"
            with pytest.raises(WarmStartError, match=NEWER if digit else NOT_WHOLE):
                Vocabulary.from_bytes(bytes(broken))


def test_bytes_of_which_the_end_is_missing_are_refused():
    for length in range(len(STORED)):
        with pytest.raises(WarmStartError, match=f"checksum.*Received: {length} bytes"):
            Vocabulary.from_bytes(STORED[:length])


def test_bytes_to_which_something_was_added_are_refused():
    with pytest.raises(WarmStartError, match=NOT_WHOLE):
        Vocabulary.from_bytes(STORED + b"\x00")


@pytest.mark.parametrize("version", ["2", "10", "999999999"])
def test_a_later_format_is_said_to_be_of_a_newer_version(version):
    later = f"warmstart_keras vocabulary {version}\n".encode() + b"whatever it holds"
    with pytest.raises(WarmStartError, match=f"Received: format {version}.*a newer"):
        Vocabulary.from_bytes(later)


@pytest.mark.parametrize("version", ["0", "-1", "01", "1.5", "", "9" * 5000])
def test_what_is_no_version_is_not_said_to_be_newer(version):
    data = STORED.replace(b" 1\n", f" {version}\n".encode(), 1)
    with pytest.raises(WarmStartError, match=NOT_WHOLE):
        Vocabulary.from_bytes(data)


# --- hostile bytes, whose checksum is right ---

HEADER = {
    "kind": '"text"',
    "count": "4",
    "not_text": "[]",
    "nameless": "[]",
    "mask_row": "0",
    "oov_rows": "[1, 3]",
    "hashing": "null",
    "given_by_id": "false",
}
TOKENS = [b"", b"[UNK]", b"[UNK]", b"the"]
NUMBERS = {"kind": '"integer"', "tokens": [b"0", b"-1", b"-1", b"7"]}


def in_json(fields):
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}\n"


def forged(tokens=TOKENS, lengths=None, head=None, **fields):
    """A stored vocabulary with a right checksum, fields given as JSON text."""
    head = in_json(HEADER | fields) if head is None else head
    lengths = [*map(len, tokens)] if lengths is None else lengths
    packed = struct.pack(f"<{len(lengths)}q", *lengths)
    body = head.encode() + packed + b"".join(tokens)
    checksum = hashlib.sha256(body).digest()
    return FIRST + checksum + body


def assert_refused(data, received):
    message = rf"stored vocabulary.*Received: {received}.* from a copy"
    with pytest.raises(WarmStartError, match=message) as caught:
        Vocabulary.from_bytes(data)
    assert len(str(caught.value)) < 500  # however much was received


def test_the_checksum_of_the_forger_is_right():
    vocabulary = Vocabulary(["", "[UNK]", "[UNK]", "the"])
    assert forged() == vocabulary.to_bytes()
    assert Vocabulary.from_bytes(forged(**NUMBERS)).tokens == [0, -1, -1, 7]


@pytest.mark.parametrize(
    "head",
    [
        "",
        "\n",
        "{\n",
        "no JSON\n",
        "\ufeff{}\n",
        "é\n",
        "[" * 100_000 + "\n",
        "[" * 100_000 + "]" * 100_000 + "\n",
        '{"a":' * 100_000 + "\n",
        in_json(HEADER | {"count": "9" * 5000}),
        in_json(HEADER | {"count": "01"}),
        in_json(HEADER | {"count": "+4"}),
        in_json(HEADER | {"count": "4_0"}),
        in_json(HEADER | {"count": "٤"}),
        in_json(HEADER | {"mask_row": ""}),
        in_json(HEADER).replace("{", "{{"),
    ],
    ids=lambda head: repr(head[:12]),
)
def test_a_header_that_is_no_json_is_refused(head):
    assert_refused(forged(head=head), "a header that is not JSON")


@pytest.mark.parametrize(
    "head",
    [
        "null\n",
        "[]\n",
        '"kind"\n',
        "NaN\n",
        "{}\n",
        *(in_json({k: v for k, v in HEADER.items() if k != lost}) for lost in HEADER),
        in_json(HEADER | {"version": "2"}),
        in_json(dict(reversed(HEADER.items()))),
        in_json({"Kind" if k == "kind" else k: v for k, v in HEADER.items()}),
    ],
    ids=lambda head: head[:40],
)
def test_a_header_with_other_fields_is_refused(head):
    assert_refused(forged(head=head), "a header with other fields")


ROWS = ["true", "1.0", "NaN", "1e400", '"1"', "-1", "4", str(2**63), str(10**30), "[1]"]
NO_FIELD = {
    "kind": ["null", "1", '"bytes"', '""', '["text"]', "{}"],
    "count": [*ROWS[:6], "null", "1e1", str(2**61), str(2**64), str(10**30), "[4]"],
    "not_text": ["null", "1", '"1"', "{}", '{"1": 1}', *(f"[{row}]" for row in ROWS)],
    "nameless": ["null", "1", '"1"', "{}", "[0]", "[3]", *(f"[{row}]" for row in ROWS)],
    "mask_row": [*ROWS, "false", '""', "{}", "1", "2"],
    "oov_rows": [
        *["null", "3", "[]", "[1]", "[1, 2, 3]", "[3, 1]", "[1, 5]", "{}", '"13"'],
        *(f"[1, {row}]" for row in ["true", "3.0", "null", "-1", str(10**30)]),
        "[-1, 3]",
    ],
    "hashing": ["1", "true", "false", "[]", "{}", "NaN", "0.5"],
    "given_by_id": ["null", "0", "1", '"true"', "[]", "1.0"],
}


@pytest.mark.parametrize(
    ("field", "text"), [(field, text) for field in NO_FIELD for text in NO_FIELD[field]]
)
def test_a_field_that_no_vocabulary_has_is_refused_by_its_name(field, text):
    assert_refused(forged(**{field: text}), f"{field}=.* in the header")


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (forged(head="x" * 9999 + "\n"), "a header that is not JSON"),
        (forged(head=f'["{"x" * 9999}"]\n'), "a header with other fields"),
        (forged(kind=f'"{"x" * 9999}"'), "kind="),
        (forged(given_by_id="[" + "0, " * 9999 + "0]"), "given_by_id="),
        (forged(given_by_id="[" * 500 + "]" * 500), "given_by_id="),
    ],
    ids=["no JSON", "other fields", "text", "list", "nested lists"],
)
def test_of_what_was_received_only_the_beginning_is_shown(data, received):
    assert_refused(data, received)  # which looks at the length of the message


@pytest.mark.parametrize(
    ("tokens", "lengths"),
    [
        (TOKENS, [0, 5, 5, -3]),
        (TOKENS, [5, 5, 6, -3]),
        (TOKENS, [-(2**63), 0, 0, 13]),
        (TOKENS, [0, 5, 5, 4]),
        (TOKENS, [0, 5, 5, 2]),
        (TOKENS, [0, 5, 5, 2**63 - 1]),
        # In 64 bits they add up to 13.
        (TOKENS, [2**62, 2**62, 2**63 - 1, 14]),
        ([*TOKENS, b"\x00"], [0, 5, 5, 3]),
        (TOKENS, [0, 5, 5, 3, 0]),
        (TOKENS, [0, 5, 5]),
    ],
    ids=[
        "negative",
        "negative, with the right sum",
        "the most negative",
        "too long",
        "too short",
        "the longest",
        "overflow",
        "trailing byte",
        "one too many",
        "one too few",
    ],
)
def test_lengths_that_are_not_those_of_the_tokens_are_refused(tokens, lengths):
    assert_refused(forged(tokens, lengths), r"\d+ bytes of tokens, but token lengths")


@pytest.mark.parametrize("count", [5, 6, 1000, 2**40, 2**60, 2**61 + 4, 2**63, 10**30])
def test_more_tokens_than_there_are_bytes_for_are_refused(count):
    assert_refused(forged([], [0, 0, 0, 0], count=str(count)), "count=")


@pytest.mark.parametrize(
    "token",
    [b"", b"-", b"+", b"seven", b"1.0", b"1e3", b"0x1", b"\xff", b"1__0", b"9" * 5000],
    ids=lambda token: repr(token[:9]),
)
def test_integers_that_are_none_are_refused(token):
    data = forged(kind='"integer"', tokens=[b"0", b"-1", b"-1", token])
    assert_refused(data, 'a token that is not of the kind "integer"')


@pytest.mark.parametrize(
    "token", [b"\xff", b"\xc0\x80", b"\xed\xa0", b"\xf4\x90\x80\x80"]
)
def test_text_that_is_none_is_refused(token):
    data = forged([b"", b"[UNK]", b"[UNK]", token])
    assert_refused(data, 'a token that is not of the kind "text"')


@pytest.mark.parametrize(
    "data",
    [
        *(
            forged(kind='"integer"', tokens=[b"0", b"-1", b"-1", number])
            for number in [b"+1", b" 1", b"1 ", b"1\n", b"1_000", b"01", b"-0", b"-01"]
        ),
        forged(kind='"integer"', tokens=[b"0", b"-1", b"-1", "\u0663".encode()]),
        forged(**NUMBERS, not_text="[3]"),
        forged(**NUMBERS, nameless="[1]"),
        forged(
            [b"", b""],
            kind='"integer"',
            count="2",
            mask_row="null",
            oov_rows="[0, 2]",
            nameless="[0, 1]",
        ),
        forged([], kind='"integer"', count="0", mask_row="null", oov_rows="[0, 0]"),
        forged(nameless="[1]"),
        forged([b"", b"", b"", b"the"], nameless="[2, 1]"),
        forged([b"", b"", b"", b"the"], nameless="[1, 1]"),
        forged([b"", b"", b"", b"the"], nameless="[1]", not_text="[1]"),
        forged(not_text="[3, 2]"),
        forged(not_text="[3, 3]"),
        forged(mask_row="-0"),
        forged(hashing='"\\u0061"'),
        forged(hashing='"\\/"'),
        forged(head=in_json(HEADER).replace(", ", ",")),
        forged(head=in_json(HEADER).replace("}", " }")),
        forged(head=in_json(HEADER).replace("\n", "\r\n")),
        forged(head=in_json(HEADER).replace("{", '{"kind": "text", ')),
        forged(head=in_json(HEADER).replace("}", ', "count": 4}')),
    ],
    ids=[
        *[
            "+1",
            "blank before",
            "blank after",
            "newline after",
            "1_000",
            "01",
            "-0",
            "-01",
        ],
        *["digit of another script", "integer that is no text", "named and nameless"],
        *["integers, all nameless", "integers, none at all", "named and nameless text"],
        *["nameless out of order", "nameless twice", "nameless and no text"],
        *[
            "not_text out of order",
            "not_text twice",
            "-0 in the header",
            "escaped letter",
        ],
        *["escaped slash", "no blanks", "blank too many", "carriage return"],
        *["field twice, before", "field twice, after"],
    ],
)
def test_what_could_be_read_but_is_not_written_so_is_refused(data):
    assert_refused(
        data, r'(the same content in another notation|.* not of the kind "integer")'
    )


def test_a_header_without_its_end_is_refused():
    none = {"count": "0", "mask_row": "null", "oov_rows": "[0, 0]"}
    whole = in_json(HEADER | none)
    assert Vocabulary.from_bytes(forged([], head=whole)).tokens == []
    assert_refused(forged([], head=whole.removesuffix("\n")), "a header that is not JSON")


# --- memory ---


def peak_of_reading(data):
    tracemalloc.start()
    try:
        Vocabulary.from_bytes(data)
    except WarmStartError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    "data",
    [
        forged([], [0] * 100, count=str(10**9)),
        forged(lengths=[2**40, 0, 0, 0]),
        forged(oov_rows="[0, 1000000000000]"),
        forged(nameless="[" + "[]," * 100_000 + "0]"),
        forged(head='{"a":' + "[[],[]]," * 100_000),
        forged([b"xy"] * 20_000, count="20000"),
        forged([b""] * 20_000, count="20000"),
        forged([b"10"] * 20_000, count="20000", kind='"integer"'),
        forged([b"\xff", *[b"a"] * 19_999], count="20000"),
    ],
    ids=[
        *["count", "length", "OOV rows", "lists in a list", "lists, no JSON", "tokens"],
        *["empty tokens", "integers", "no text"],
    ],
)
def test_memory_is_linear_in_what_is_read(data):
    peak_of_reading(data)  # what is made once
    assert peak_of_reading(data) < 40 * len(data) + 50_000


# --- many more: the benchmark that makes hostile bytes ---


@pytest.fixture(scope="module")
def fuzzer():
    return benchmark("fuzz_vocabulary")


def test_hostile_bytes_at_random_are_refused_or_read_for_what_they_say(fuzzer):
    decoded, refused, failures = fuzzer.fuzz(2000, seed=0)
    assert failures == []
    assert decoded > 100
    assert refused > 1000


def scrambling(data):
    tokens, header = decode(data)
    return Vocabulary.from_parts(list(tokens)[::-1], mask_row=header["mask_row"])


def trusting(data):
    raise KeyError("count")


def strict(data):
    raise WarmStartError("never")


def greedy(data):
    bytearray(10**7)
    return Vocabulary.from_bytes(data)


def unchecked(data):
    """A reader that does not look at the checksum."""
    start = len(FIRST) + 32
    body = data[start:]
    return Vocabulary.from_bytes(
        data[: start - 32] + hashlib.sha256(body).digest() + body
    )


@pytest.mark.parametrize(
    ("reader", "why"),
    [
        (scrambling, "rows, or what is said about them, are not those of the bytes"),
        (trusting, "KeyError: 'count'"),
        (strict, "what is right was refused: never"),
        (greedy, "bytes of memory for"),
        (unchecked, "a checksum that does not hold was taken for right"),
    ],
    ids=["wrong rows", "another error", "too strict", "memory", "no checksum"],
)
def test_the_fuzzer_finds_what_is_wrong_with_a_reader(fuzzer, capsys, reader, why):
    with pytest.raises(SystemExit) as caught:
        fuzzer.main(["--inputs", "300", "--seed", "5"], reader)
    assert caught.value.code == 1
    printed = capsys.readouterr().out
    seed = int(re.search(rf"seed (\d+): .*{re.escape(why)}", printed)[1])
    _, _, [(again, found, _)] = fuzzer.fuzz(1, seed, reader)
    assert again == seed
    assert why in found


def test_the_fuzzer_says_how_many_of_each_there_were(fuzzer, capsys):
    with pytest.raises(SystemExit) as caught:
        fuzzer.main(["--inputs", "50", "--seed", "1000"])
    assert caught.value.code == 0
    counts = r"50 inputs from seed 1000: \d+ decoded, \d+ refused, 0 failures; .* seconds"
    assert re.fullmatch(counts, capsys.readouterr().out.strip())
