"""`WarmStartReport`: what a warm start did, for people and for machines."""

import dataclasses
import json

import pytest
import strategies
from hypothesis import given

from warmstart_keras import RowMap, Vocabulary, WarmStartReport
from warmstart_keras.report import VariableChange, VocabularyChange

BASE = Vocabulary(["", "[UNK]", "the", "film", "plot", "end"])
NEW = Vocabulary(["", "[UNK]", "film", "the", "plot", "cast", "role"])
WORDS = VocabularyChange.between("model/words", RowMap(BASE, NEW))
TABLE = VariableChange(
    "model/words/embeddings", 0, (6, 8), (7, 8), ["adam/momentum", "adam/velocity"]
)
HEAD = VariableChange("model/head/kernel", 1, (8, 6), (8, 7), [])


def report(**changes):
    whole = WarmStartReport(True, [WORDS], [TABLE, HEAD], [], [], 0.25)
    return dataclasses.replace(whole, **changes)


# --- what became of the words ---


def test_words_are_counted_and_special_rows_are_not():
    assert (WORDS.kept, WORDS.moved, WORDS.new, WORDS.dropped) == (3, 2, 2, 1)


def test_words_are_named_by_rank():
    assert WORDS.first_kept == ["film", "the", "plot"]
    assert WORDS.first_new == ["cast", "role"]
    assert WORDS.first_dropped == ["end"]


def test_the_fingerprints_of_both_vocabularies_are_kept():
    found = WORDS.base_fingerprint, WORDS.new_fingerprint
    assert found == (BASE.fingerprint, NEW.fingerprint)


def test_the_first_ten_words_alone_are_named():
    base = [f"old{i}" for i in range(12)]
    change = VocabularyChange.between("words", RowMap(base, ["new"]))
    assert change.dropped == 12
    assert change.first_dropped == base[:10]


def test_averaged_oov_rows_are_no_words():
    row_map = RowMap(["[UNK]", "[UNK]", "a"], ["[UNK]", "a"])
    change = VocabularyChange.between("words", row_map)
    assert (change.kept, change.new, change.dropped) == (1, 0, 0)


def test_integers_are_named_as_integers():
    change = VocabularyChange.between("words", RowMap([7, 5], [5, 9]))
    assert (change.first_kept, change.first_new) == ([5], [9])


@given(strategies.vocabulary_pairs(unique=True))
def test_kept_and_new_words_are_all_of_the_new_kept_and_dropped_all_of_the_base(pair):
    base, new = pair
    change = VocabularyChange.between("words", RowMap(base, new))
    kept = set(base.words) & set(new.words)
    assert change.kept == len(kept)
    assert change.new == len(set(new.words) - kept)
    assert change.dropped == len(set(base.words) - kept)
    assert change.moved <= change.kept


# --- as a table ---


def test_a_report_prints_as_a_table():
    fingerprints = f"{BASE.fingerprint[:8]} -> {NEW.fingerprint[:8]}"
    assert (
        str(report())
        == f"""\
Warm start in 0.25 s

layer        kept  moved  new  dropped           fingerprint
-----------  ----  -----  ---  -------  --------------------
model/words     3      2    2        1  {fingerprints}

model/words, first kept: film, the, plot
model/words, first new: cast, role
model/words, first dropped: end

variable                before   after  slots
----------------------  ------  ------  -----
model/words/embeddings  (6, 8)  (7, 8)      2
model/head/kernel       (8, 6)  (8, 7)      0"""
    )


def test_notes_and_what_was_not_checked_stand_below_the_table():
    noted = report(notes=["Mind the gap.", "Again."], unchecked=["model/encoder"])
    assert str(noted) == (
        f"{report()}\n"
        "Note: Mind the gap.\n"
        "Note: Again.\n"
        "Note: no check of the configuration was possible for ['model/encoder']. "
        "If their `get_config` returns the size of the base vocabulary, the saved "
        "model will not load."
    )


def test_where_more_words_follow_the_table_says_so():
    base = [f"old{i}" for i in range(11)]
    change = VocabularyChange.between("words", RowMap(base, ["new"]))
    lines = str(report(vocabularies=[change])).splitlines()
    assert "words, first new: new" in lines
    assert f"words, first dropped: {', '.join(base[:10])}, ..." in lines


def test_large_numbers_are_grouped_by_thousands():
    change = dataclasses.replace(WORDS, kept=1234567, moved=1000)
    assert "  1,234,567  1,000  " in str(report(vocabularies=[change]))


def test_a_long_word_is_cut():
    change = VocabularyChange.between("words", RowMap(["a"], ["a", "x" * 41, "y" * 40]))
    assert change.first_new == ["x" * 39 + "…", "y" * 40]


def test_a_report_that_nothing_changed_says_so_in_one_line():
    unchanged = WarmStartReport(changed=False)
    assert str(unchanged) == "Warm start: no vocabulary changed."
    assert unchanged.one_line() == str(unchanged)


def test_a_report_that_nothing_changed_shows_its_notes():
    unchanged = WarmStartReport(changed=False, notes=["Mind the gap."])
    assert str(unchanged).splitlines()[1:] == ["Note: Mind the gap."]


@pytest.mark.parametrize("token", ["a\nb", "a\u2028b", "a\x1b[31mb"])
def test_a_word_cannot_break_the_table(token):
    change = VocabularyChange.between("words", RowMap(["a"], ["a", token]))
    assert change.first_new[0].isprintable()


# --- in one line ---


def test_one_line_counts_words_variables_and_slots():
    assert report().one_line() == (
        "Warm start: model/words: kept 3 words (2 moved), 2 new, 1 dropped; "
        "variables: 2, optimizer slots: 2, in 0.25 s."
    )


def test_one_line_names_every_layer():
    tags = dataclasses.replace(WORDS, layer="tags", kept=1000)
    line = report(vocabularies=[WORDS, tags]).one_line()
    assert "; tags: kept 1,000 words (2 moved), 2 new, 1 dropped; variables: 2" in line


# --- as plain data ---


def test_to_dict_is_plain_data_with_every_field():
    assert report(notes=["Mind the gap."], unchecked=["encoder"]).to_dict() == {
        "changed": True,
        "vocabularies": [
            {
                "layer": "model/words",
                "base_fingerprint": BASE.fingerprint,
                "new_fingerprint": NEW.fingerprint,
                "kept": 3,
                "new": 2,
                "dropped": 1,
                "moved": 2,
                "first_kept": ["film", "the", "plot"],
                "first_new": ["cast", "role"],
                "first_dropped": ["end"],
            }
        ],
        "variables": [
            {
                "path": "model/words/embeddings",
                "axis": 0,
                "shape_before": [6, 8],
                "shape_after": [7, 8],
                "slots": ["adam/momentum", "adam/velocity"],
            },
            {
                "path": "model/head/kernel",
                "axis": 1,
                "shape_before": [8, 6],
                "shape_after": [8, 7],
                "slots": [],
            },
        ],
        "notes": ["Mind the gap."],
        "unchecked": ["encoder"],
        "seconds": 0.25,
        "previous": None,
        "missing": [],
        "left_out": [],
    }


def test_to_dict_survives_the_way_through_json():
    plain = report().to_dict()
    assert json.loads(json.dumps(plain)) == plain


@given(strategies.vocabulary_pairs())
def test_a_report_of_any_tokens_can_be_written_as_utf8_json(pair):
    change = VocabularyChange.between("words", RowMap(*pair))
    plain = report(vocabularies=[change]).to_dict()
    written = json.dumps(plain, ensure_ascii=False).encode("utf-8")
    assert json.loads(written) == plain


@given(strategies.vocabulary_pairs())
def test_a_report_of_any_tokens_can_be_printed(pair):
    change = VocabularyChange.between("words", RowMap(*pair))
    assert str(report(vocabularies=[change])).encode("utf-8")


def test_bytes_and_lone_surrogates_are_escaped_and_told_apart():
    row_map = RowMap(["a"], ["a", b"\xff", "\udcff"])
    change = VocabularyChange.between("words", row_map)
    assert change.first_new == ["b'\\xff'", "\\udcff"]


def test_a_report_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        report().changed = False
