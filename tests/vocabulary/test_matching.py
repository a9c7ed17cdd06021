"""Tokens kept end to end, and found again, are those that one by one they would be."""

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from models import BACKEND

from warmstart_keras import RowMap, Vocabulary
from warmstart_keras.backend import threads
from warmstart_keras.vocabulary import match_tokens, tokens
from warmstart_keras.vocabulary.match_tokens import match, match_by_dict, match_hashes
from warmstart_keras.vocabulary.tokens import Tokens, normalized

if BACKEND != "jax":
    pytest.skip("bytes are the same on all backends", allow_module_level=True)

# Longer than the eight bytes that are looked at together, and ends that look alike.
LONG = [
    "abcdefgh",
    "abcdefghi",
    "abcdefgh\x00",
    "abcdefghabcdefgh",
    "a" * 100,
    "\x00" * 9,
]
# Found by a search: the hash of each is the same.
SAME_HASH = ["abcdefghijklmnop", "avsjkapued5cadnX", "bpkzddvsnKhguMES"]


def some_tokens():
    longer = st.sampled_from(LONG) | st.text("ab\x00", max_size=20)
    return st.one_of(
        st.lists(strategies.tokens() | longer, max_size=12),
        st.lists(st.sampled_from(SAME_HASH) | longer, max_size=12),
        st.lists(st.integers(-3, 3) | strategies.integers(), max_size=12),
    )


def hashes():
    """Hashes that are shared, that differ in their low bits alone, or of any bits."""
    some = st.integers(0, 2) | st.integers(0, 15) | st.integers(0, 2**64 - 1)
    return st.lists(some, min_size=1, max_size=12)


def one_by_one(base, base_places, new, new_places):
    """What `match` says, in the slowest way."""
    used, found = [], []
    for place in new_places:
        before = sum(token == new[place] for token in used)
        same = [p for p in base_places if (type(base[p]), base[p]) == kind(new[place])]
        found.append(same[min(before, len(same) - 1)] if same else -1)
        used.append(new[place])
    return found


def kind(token):
    return type(token), token


# --- kept end to end -------------------------------------------------------------------


@given(some_tokens())
def test_tokens_are_what_they_were(given_tokens):
    kept, expected = Tokens.of(given_tokens), normalized(given_tokens)
    assert list(map(kind, kept)) == list(map(kind, expected))
    assert [kind(kept[i]) for i in range(-len(kept), 0)] == list(map(kind, expected))
    assert len(kept) == len(expected)


@given(some_tokens(), st.data())
def test_parts_are_those_of_the_list(given_tokens, data):
    kept, expected = Tokens.of(given_tokens), normalized(given_tokens)
    start, stop = data.draw(st.tuples(st.integers(0, 12), st.integers(0, 12)))
    assert list(kept.part(start, stop)) == expected[start:stop]
    assert kept.part(start, stop) == Tokens.of(expected[start:stop])
    together = Tokens.joined([kept.part(0, start), kept.part(start, len(kept))])
    assert together == kept
    places = data.draw(st.lists(st.integers(0, max(0, len(kept) - 1)), max_size=5))
    if expected:
        assert kept.some(places) == [expected[place] for place in places]


@given(st.lists(strategies.tokens(), max_size=8), st.sets(st.integers(0, 7)))
def test_some_can_be_nameless(given_tokens, nameless):
    expected = normalized(given_tokens)
    expected = [None if i in nameless else token for i, token in enumerate(expected)]
    kept = Tokens.of(expected)
    assert list(kept) == expected
    blank = Tokens.of(["" if token is None else token for token in expected])
    assert kept.blanked([i for i, t in enumerate(expected) if t is None]) == blank


@given(some_tokens().filter(len), st.integers(0, 12))
def test_pieces_are_put_together_again(given_tokens, in_first):
    """With a few of the tokens in the first piece, the others are in the second."""
    many = given_tokens[:1] * (tokens.CHUNK - in_first) + given_tokens
    assert list(Tokens.of(many)) == normalized(many)


@pytest.mark.parametrize("place", [3, -4])
def test_a_place_past_the_end_is_none(place):
    with pytest.raises(IndexError):
        Tokens.of(["a", "b", "c"])[place]


def test_what_looks_alike_in_bytes_is_not_equal():
    surrogate = Tokens.of(["\ud800"])
    bytes_of_it = Tokens.of([b"\xed\xa0\x80"])
    assert surrogate.blob == bytes_of_it.blob
    assert surrogate != bytes_of_it
    assert Tokens.of(["1"]) != Tokens.of([1])
    assert Tokens.of([""]) != Tokens.of([None])
    assert Tokens.of(["ab", "c"]) != Tokens.of(["a", "bc"])


# --- found again -----------------------------------------------------------------------


@settings(max_examples=400)
@given(some_tokens(), some_tokens(), st.data())
def test_every_token_is_found_where_it_is(base, new, data):
    new = [*new, *data.draw(st.lists(st.sampled_from(base), max_size=5))] if base else new
    try:
        normalized(new)
    except ValueError:
        new = []  # strings and integers
    kept_base, kept_new = Tokens.of(base), Tokens.of(new)
    base, new = normalized(base), normalized(new)
    places = [
        np.array([i for i in range(len(some)) if data.draw(st.booleans())], np.int64)
        for some in (base, new)
    ]
    expected = one_by_one(base, places[0], new, places[1])
    arguments = kept_base, places[0], kept_new, places[1]
    assert match(*arguments).tolist() == expected
    assert match_by_dict(*arguments).tolist() == expected


@given(hashes(), hashes())
def test_each_hash_is_found_where_it_is(base, new):
    base, new = np.array(base, np.uint64), np.array(new, np.uint64)
    places, is_repeated = match_hashes(base, new)
    for place, value in zip(places, new, strict=True):
        same = np.flatnonzero(base == value)
        assert place in same if len(same) else place == -1
        assert (is_repeated[same] == (len(same) > 1)).all()


def test_many_tokens_are_found_in_pieces_and_by_threads():
    rng, number = np.random.default_rng(0), 2 * match_tokens.CHUNK + 1000
    base = [f"w{'x' * (i % 300)}{i}" for i in rng.permutation(number)]
    new = [base[i] for i in rng.integers(0, number, number - 500)] + ["new", "é" * 20]
    assert sum(map(len, base + new)) > threads.ENOUGH  # threads, if there are cores
    rows = {token: row for row, token in enumerate(base)}
    row_map = RowMap(Vocabulary(base, oov=0), Vocabulary(new, oov=0))
    assert row_map.indices.tolist() == [rows.get(token, -1) for token in new]


def test_repeated_tokens_among_many_are_found_in_pieces():
    rng, number = np.random.default_rng(0), match_tokens.CHUNK
    base = Tokens.of([f"w{i}" for i in rng.integers(0, number, 3 * number // 2)])
    new = Tokens.of([f"w{i}" for i in rng.integers(0, 2 * number, 2 * number + 10)])
    arguments = base, np.arange(3, len(base)), new, np.arange(len(new))
    expected = match_by_dict(*arguments)
    assert match(*arguments).tolist() == expected.tolist()
    assert (expected >= 3).any()
    assert (expected < 0).any()


@pytest.mark.parametrize("others", [1, match_tokens.CHUNK])
def test_tokens_that_share_a_hash_are_told_apart_by_their_bytes(others):
    same = match_tokens.Bytes.of(Tokens.of(SAME_HASH))
    assert len(set(match_tokens.hashes(same, np.arange(3)))) == 1
    (a, b, c), others = SAME_HASH, list(map(str, range(others)))
    one = RowMap([*others, a], [*others, b])
    assert one.indices.tolist() == [*range(len(others)), -1]
    two = RowMap([*others, a, b], [*others, c, b])
    assert two.indices[-2:].tolist() == [-1, len(others) + 1]


def test_very_long_tokens_are_matched_without_hashing_them(monkeypatch):
    monkeypatch.setattr(match_tokens, "hashes", None)
    base, new = ["a" * 2**17, "b"], ["b", "a" * 2**17, "a" * (2**17 - 1)]
    assert RowMap(base, new).indices.tolist() == [1, 0, -1]


# --- of lookups, files and lists alike -------------------------------------------------


@given(st.lists(strategies.words(), min_size=1, max_size=8))
def test_lines_of_a_file_are_those_of_the_slow_way(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    try:
        text = "\n".join(lines).encode()
    except UnicodeEncodeError:
        return
    path.write_bytes(text)
    expected = text.decode("utf-8-sig").split("\n")
    if expected[-1] == "":
        expected.pop()
    if not expected:
        return
    ended = len(expected) if text.endswith(b"\n") else len(expected) - 1
    whole = [
        line.removesuffix("\r") if i < ended else line for i, line in enumerate(expected)
    ]
    assert Vocabulary.from_file(path, oov=0).tokens == whole
