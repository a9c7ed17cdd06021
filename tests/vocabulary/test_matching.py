"""Tokens kept end to end, and found again, are those that one by one they would be."""

import numpy as np
import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import BACKEND

from warmstart_keras import RowMap, Vocabulary
from warmstart_keras.backend import threads
from warmstart_keras.vocabulary import match_tokens, tokens
from warmstart_keras.vocabulary.match_tokens import match, match_by_dict
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


# What a fixture changes stays so for all examples.
with_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def some_tokens():
    longer = st.sampled_from(LONG) | st.text("ab\x00", max_size=20)
    return st.one_of(
        st.lists(strategies.tokens() | longer, max_size=12),
        st.lists(st.integers(-3, 3) | strategies.integers(), max_size=12),
    )


@pytest.fixture
def small_chunks(monkeypatch):
    """Pieces of work so small that there are several, and threads for them."""
    monkeypatch.setattr(tokens, "_CHUNK", 2)
    monkeypatch.setattr(match_tokens, "_CHUNK", 2)
    monkeypatch.setattr(threads, "_ENOUGH", 0)
    monkeypatch.setattr(threads, "cores", lambda: 2)


@pytest.fixture(params=["as they are", "all equal", "few", "in the low bits"])
def hashes(request, monkeypatch):
    """Hashes that many tokens share, or that differ in their low bits alone."""
    own = match_tokens.hashes

    def changed(some, places):
        found = own(some, places)
        return {
            "as they are": found,
            "all equal": found * np.uint64(0),
            "few": found % np.uint64(3),
            "in the low bits": found % np.uint64(16),
        }[request.param]

    monkeypatch.setattr(match_tokens, "hashes", changed)


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


@pytest.mark.usefixtures("small_chunks")
@with_fixtures
@given(some_tokens())
def test_pieces_are_put_together_again(given_tokens):
    assert list(Tokens.of(given_tokens)) == normalized(given_tokens)


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


@pytest.mark.usefixtures("hashes")
@with_fixtures
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


@pytest.mark.usefixtures("small_chunks")
def test_many_tokens_are_found_in_pieces_and_by_threads():
    rng = np.random.default_rng(0)
    base = [f"w{'x' * (i % 30)}{i}" for i in rng.permutation(3000)]
    new = [base[i] for i in rng.integers(0, 3000, 2500)] + ["new", "é" * 20]
    rows = {token: row for row, token in enumerate(base)}
    row_map = RowMap(Vocabulary(base, oov=0), Vocabulary(new, oov=0))
    assert row_map.indices.tolist() == [rows.get(token, -1) for token in new]


@pytest.mark.usefixtures("small_chunks")
def test_repeated_tokens_among_many_are_found_in_pieces_and_by_threads():
    rng = np.random.default_rng(0)
    base = Tokens.of([f"w{i}" for i in rng.integers(0, 1000, 1500)])
    new = Tokens.of([f"w{i}" for i in rng.integers(0, 1200, 2000)])
    arguments = base, np.arange(3, 1500), new, np.arange(2000)
    expected = match_by_dict(*arguments)
    assert match(*arguments).tolist() == expected.tolist()
    assert (expected >= 3).any()
    assert (expected < 0).any()


def test_tokens_that_share_a_hash_are_told_apart_by_their_bytes(monkeypatch):
    asked = []
    slowly = match_tokens.match_by_dict
    monkeypatch.setattr(match_tokens, "hashes", lambda _, p: np.zeros(len(p), np.uint64))
    monkeypatch.setattr(
        match_tokens, "match_by_dict", lambda *args: asked.append(1) or slowly(*args)
    )
    assert RowMap(["a", "b", "c"], ["c", "x", "a"]).indices.tolist() == [2, -1, 0]
    assert asked


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
