"""`RowMap`: which base row each new row continues."""

import keras
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from models import lookup

from warmstart_keras import RowMap, Vocabulary

IntegerLookup = keras.layers.IntegerLookup
StringLookup = keras.layers.StringLookup


# --- the rules, once more: slow and obvious ---


def buckets_agree(base, new):
    if len(base.oov_rows) != len(new.oov_rows):
        return False
    if len(base.oov_rows) == 1:
        return True  # whatever the method, all that is unknown falls into it
    unknown = base.hashing is None or new.hashing is None
    return unknown or base.hashing == new.hashing


def row_that_continues(row, base, new):
    """The base row that a new row continues, or -1."""
    if row == new.mask_row:
        return -1 if base.mask_row is None else base.mask_row
    if row in new.oov_rows:
        place = row - new.oov_rows.start
        return base.oov_rows.start + place if buckets_agree(base, new) else -1
    candidates = [
        base_row
        for base_row in range(len(base))
        if base_row != base.mask_row
        and base_row not in base.oov_rows
        and base[base_row] == new[row]
    ]
    if not candidates:
        return -1
    occurrence = 0
    for earlier in range(row):
        if earlier not in new.special_rows and new[earlier] == new[row]:
            occurrence += 1
    return candidates[min(occurrence, len(candidates) - 1)]


def averages(base, new):
    both = len(base.oov_rows) > 0 and len(new.oov_rows) > 0
    return both and not buckets_agree(base, new)


@settings(max_examples=300)
@given(strategies.vocabulary_pairs())
def test_rows_are_matched_as_a_slow_loop_matches_them(pair):
    base, new = pair
    expected = [row_that_continues(row, base, new) for row in range(len(new))]
    assert RowMap(base, new).indices.tolist() == expected


@given(strategies.vocabulary_pairs())
def test_oov_rows_are_averaged_just_where_buckets_mean_something_else(pair):
    base, new = pair
    row_map = RowMap(base, new)
    expected = [*new.oov_rows], [*base.oov_rows]
    found = [*row_map.averaged_rows], [*row_map.averaged_from]
    assert found == (expected if averages(base, new) else ([], []))


@given(strategies.vocabulary_pairs())
def test_every_row_is_continued_or_averaged_or_new(pair):
    row_map = RowMap(*pair)
    continued = np.flatnonzero(row_map.indices >= 0)
    rows = [*continued, *row_map.averaged_rows, *row_map.new_rows]
    assert sorted(rows) == [*range(len(row_map))]


@given(strategies.vocabulary_pairs())
def test_left_rows_are_those_that_no_row_continues(pair):
    row_map = RowMap(*pair)
    expected = set(range(row_map.base_rows)) - set(row_map.indices.tolist())
    assert row_map.left_rows.tolist() == sorted(expected)


@given(strategies.vocabulary_pairs())
def test_the_inverse_names_a_row_that_continues_each_base_row(pair):
    row_map = RowMap(*pair)
    for base_row, row in enumerate(row_map.inverse()):
        if row >= 0:
            assert row_map.indices[row] == base_row
        else:
            assert base_row not in row_map.indices


@given(strategies.list_pairs())
def test_entry_by_entry_no_row_is_special(pair):
    base, new = pair
    expected = RowMap(Vocabulary(base, oov=0), Vocabulary(new, oov=0))
    assert np.array_equal(RowMap.entry_by_entry(base, new).indices, expected.indices)


# --- the same by hand ---


@pytest.mark.parametrize(
    ("base", "new", "indices"),
    [
        (["a", "b", "c"], ["c", "a", "d"], [2, 0, -1]),
        (["unk", "a"], ["unk", "unk", "a"], [0, 0, 1]),
        (["a", "a", "b"], ["a", "a", "a", "b"], [0, 1, 1, 2]),
        (["a", "a", "a"], ["a", "b", "a"], [0, -1, 1]),
        (["a", "b"], ["c"], [-1]),
        ([7, 5], [5, 6], [1, -1]),
        ([b"a", "b"], ["b", "a"], [1, 0]),
    ],
    ids=str,
)
def test_words_continue_words_of_the_same_text(base, new, indices):
    assert RowMap(base, new).indices.tolist() == indices


@pytest.mark.parametrize(
    ("base", "new"),
    [
        ([1, 2], ["1", "2"]),
        (["\udcff"], [b"\xff"]),
        (["\ud800"], [b"\xed\xa0\x80"]),
        (["é"], ["e\u0301"]),
    ],
    ids=["integer", "surrogate", "surrogate as bytes", "composed"],
)
def test_tokens_that_only_look_alike_do_not_match(base, new):
    assert set(RowMap(base, new).indices) == {-1}
    assert set(RowMap(new, base).indices) == {-1}


@pytest.mark.parametrize(
    ("base", "new"),
    [(StringLookup(vocabulary=["1"]), [1, 2]), (IntegerLookup(vocabulary=[1]), ["1"])],
    ids=["integers after strings", "strings after integers"],
)
def test_a_list_of_the_other_kind_than_the_lookup_continues_nothing(base, new):
    row_map = RowMap(base, new)
    assert set(row_map.indices) == {-1}
    assert len(row_map) == len(new)


def test_a_special_row_does_not_continue_a_word_of_its_name():
    base = Vocabulary(["", "[UNK]", "a"], mask=False, oov=0)
    assert RowMap(base, Vocabulary(["", "[UNK]", "a"])).indices.tolist() == [-1, -1, 2]


def test_a_word_does_not_continue_a_special_row_of_its_name():
    new = Vocabulary(["", "[UNK]", "a"], mask=False, oov=0)
    assert RowMap(["", "[UNK]", "a"], new).indices.tolist() == [-1, -1, 2]


def test_special_rows_continue_special_rows_of_other_names_and_places():
    base = StringLookup(vocabulary=["a"], mask_token="<pad>", oov_token=None)
    new = Vocabulary(["a", "b"], mask=True, oov=1, oov_at="end")
    assert RowMap(base, new).indices.tolist() == [0, 2, -1, 1]


def test_a_list_without_special_rows_is_given_those_of_the_base():
    row_map = RowMap(["", "[UNK]", "a"], ["b", "a"])
    assert row_map.new.tokens == ["", "[UNK]", "b", "a"]
    assert row_map.indices.tolist() == [0, 1, -1, 2]


def test_oov_rows_that_the_base_did_not_have_are_new_rows():
    row_map = RowMap(Vocabulary(["a"]), Vocabulary(["[UNK]", "[UNK]", "a"]))
    assert row_map.new_rows.tolist() == [0, 1]
    assert len(row_map.averaged_rows) == 0


def test_oov_rows_that_the_new_vocabulary_has_not_are_left():
    row_map = RowMap(Vocabulary(["[UNK]", "[UNK]", "a"]), Vocabulary(["a"]))
    assert row_map.left_rows.tolist() == [0, 1]
    assert len(row_map.averaged_rows) == 0


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
def test_another_number_of_oov_rows_starts_from_the_mean_of_the_old_ones(before, after):
    row_map = RowMap(
        StringLookup(vocabulary=["a"], num_oov_indices=before),
        StringLookup(vocabulary=["a"], num_oov_indices=after),
    )
    assert row_map.averaged_rows == range(after)
    assert row_map.averaged_from == range(before)
    assert row_map.indices.tolist() == [-1] * after + [before]
    assert row_map.new_rows.tolist() == []


@pytest.mark.parametrize(
    ("base", "new", "agree"),
    [
        ({}, {}, True),
        ({"salt": 3}, {"salt": [3, 3]}, True),
        ({"salt": 3}, {}, False),
        ({"salt": 3}, {"salt": 4}, False),
    ],
    ids=["the same", "the same salt", "salt and none", "two salts"],
)
def test_equally_many_oov_rows_of_strings_continue_where_the_salt_agrees(
    base, new, agree
):
    row_map = RowMap(
        lookup(StringLookup, vocabulary=["a"], num_oov_indices=2, **base),
        lookup(StringLookup, vocabulary=["a"], num_oov_indices=2, **new),
    )
    assert row_map.indices.tolist() == ([0, 1, 2] if agree else [-1, -1, 2])


@pytest.mark.parametrize(
    ("base", "new", "agree"),
    [("floormod", "floormod", True), ("floormod", "farmhash", False)],
)
def test_equally_many_oov_rows_of_integers_continue_where_the_method_agrees(
    base, new, agree
):
    row_map = RowMap(
        lookup(IntegerLookup, vocabulary=[7], num_oov_indices=2, oov_method=base),
        lookup(IntegerLookup, vocabulary=[7], num_oov_indices=2, oov_method=new),
    )
    assert row_map.indices.tolist() == ([0, 1, 2] if agree else [-1, -1, 2])


def test_one_oov_row_continues_one_whatever_the_salt():
    base = lookup(StringLookup, vocabulary=["a"], salt=3)
    new = lookup(StringLookup, vocabulary=["a"], salt=4)
    assert RowMap(base, new).is_identity


@pytest.mark.parametrize("salted", ["base", "new"])
def test_a_side_that_does_not_know_its_salt_agrees_with_any(salted):
    layer = lookup(StringLookup, vocabulary=["a"], num_oov_indices=2, salt=3)
    plain = ["[UNK]", "[UNK]", "a"]
    pair = (layer, plain) if salted == "base" else (plain, layer)
    assert RowMap(*pair).is_identity


@given(strategies.permuted_lists())
def test_the_inverse_of_a_permutation_is_the_way_back(pair):
    base, new = (Vocabulary(words, oov=0) for words in pair)
    back = RowMap(new, base)
    assert np.array_equal(RowMap(base, new).inverse(), back.indices)
    assert np.array_equal(RowMap(base, new).inverted().indices, back.indices)


# --- what can be asked of a row map ---


def test_left_rows_by_hand():
    assert RowMap(["a", "b", "c", "d"], ["c", "e", "a"]).left_rows.tolist() == [1, 3]


def test_new_tokens_are_those_of_the_new_rows():
    row_map = RowMap(["a", "b"], ["x", "b", 'y"\u2028'])
    assert row_map.new_rows.tolist() == [0, 2]
    assert row_map.new_tokens == ["x", 'y"\u2028']


def test_a_new_oov_row_without_name_is_given_the_usual_one():
    new = StringLookup(vocabulary=["a"], oov_token=None, mask_token="")
    assert RowMap(["a"], new).new_tokens == ["", "[UNK]"]


def test_indices_are_int64():
    assert RowMap(["a"], ["b"]).indices.dtype == np.int64


@pytest.mark.parametrize(
    ("base", "new", "identity"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["b", "a"], False),
        (["a", "b"], ["a"], False),
        (["a"], ["a", "b"], False),
        (["[UNK]", "[UNK]"], ["[UNK]"], False),
    ],
    ids=str,
)
def test_is_identity_tells_whether_every_row_stays_where_it_is(base, new, identity):
    assert RowMap(base, new).is_identity is identity


def test_repr_counts_rows():
    row_map = RowMap(["[UNK]", "[UNK]", "a", "b"], ["[UNK]", "b", "c", "d"])
    assert repr(row_map) == ("<RowMap from 4 rows to 4: 1 continued, 1 averaged, 2 new>")


# --- other row maps made from one ---

capacities = st.tuples(st.integers(0, 4), st.integers(0, 4))


@given(strategies.vocabulary_pairs(), capacities)
def test_within_capacity_spare_rows_stay_as_they_are(pair, spare):
    row_map = RowMap(*pair)
    base_rows, new_rows = row_map.base_rows + spare[0], len(row_map) + spare[1]
    expected = []
    for row in range(new_rows):
        if row < len(row_map):
            expected.append(row_map.indices[row])
        else:
            expected.append(row if row < base_rows else -1)
    padded = row_map.within_capacity(base_rows, new_rows)
    assert padded.indices.tolist() == expected
    assert padded.base_rows == base_rows


def test_within_capacity_a_spare_row_that_a_word_takes_is_new():
    row_map = RowMap(["a", "b"], ["a", "b", "c"]).within_capacity(4, 4)
    assert row_map.indices.tolist() == [0, 1, -1, 3]
    assert row_map.new_tokens == ["c"]


def test_within_capacity_the_row_of_a_word_that_left_becomes_spare_as_it_is():
    row_map = RowMap(["a", "b", "c"], ["c", "a"]).within_capacity(4, 4)
    assert row_map.indices.tolist() == [2, 0, 2, 3]


def test_within_capacity_averaged_rows_are_still_averaged():
    row_map = RowMap(["[UNK]", "[UNK]", "a"], ["[UNK]", "a"]).within_capacity(4, 4)
    assert row_map.averaged_rows == range(1)
    assert row_map.new_rows.tolist() == []


def test_within_capacity_leaves_the_row_map_that_it_was_made_from_alone():
    row_map = RowMap(["a", "b"], ["b", "a"])
    row_map.within_capacity(3, 3)
    assert (row_map.indices.tolist(), row_map.base_rows) == ([1, 0], 2)


@given(strategies.vocabulary_pairs())
def test_without_past_every_word_is_new_and_special_rows_are_as_before(pair):
    row_map = RowMap(*pair)
    special = row_map.new.special_rows
    expected = [
        int(index) if row in special else -1 for row, index in enumerate(row_map.indices)
    ]
    fresh = row_map.without_past()
    assert fresh.indices.tolist() == expected
    assert fresh.averaged_rows == row_map.averaged_rows


def test_without_past_leaves_the_row_map_that_it_was_made_from_alone():
    row_map = RowMap(["a"], ["a"])
    row_map.without_past()
    assert row_map.indices.tolist() == [0]


@given(strategies.vocabulary_pairs())
def test_inverted_has_a_new_row_for_each_row_that_left(pair):
    row_map = RowMap(*pair)
    back = row_map.inverted()
    assert back.new_rows.tolist() == row_map.left_rows.tolist()
    assert (len(back), back.base_rows) == (row_map.base_rows, len(row_map))


@given(strategies.vocabulary_pairs(), capacities)
def test_all_new_continues_and_averages_nothing(pair, rows):
    base_rows, new_rows = rows
    row_map = RowMap(*pair).all_new(base_rows, new_rows)
    assert row_map.new_rows.tolist() == [*range(new_rows)]
    assert row_map.base_rows == base_rows
    assert len(row_map.averaged_rows) == len(row_map.averaged_from) == 0
