"""`Vocabulary`: what every kind of source is read as, and how it is kept."""

import os
import subprocess
import sys

import keras
import models
import numpy as np
import pytest
import strategies
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from warmstart_keras import Vocabulary, WarmStartEmbedding, WarmStartError
from warmstart_keras.vocabulary import read, read_as

IntegerLookup = keras.layers.IntegerLookup
StringLookup = keras.layers.StringLookup
TextVectorization = keras.layers.TextVectorization


def content(vocabulary):
    """All that a vocabulary says of its rows."""
    return vocabulary.tokens, vocabulary.mask_row, list(vocabulary.oov_rows)


def plain(tokens):
    """What `content` gives where no row is special."""
    return tokens, None, []


class HasVocabulary:
    """Not Keras's, but with a method of the same name."""

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary

    def get_vocabulary(self):
        return self.vocabulary


class Tokenizer(HasVocabulary):
    """As KerasHub's byte-pair tokenizer: the order of its rows is in its ids."""

    def __init__(self, tokens):
        super().__init__(tokens[::-1])
        self._tokens = tokens

    def vocabulary_size(self):
        return len(self._tokens)

    def id_to_token(self, i):
        return self._tokens[i]


# --- lists, tuples, arrays, tensors ---


@pytest.mark.parametrize(
    "source",
    [
        ["the", "é"],
        ("the", "é"),
        [b"the", "é".encode()],
        [b"the", "é"],
        [np.str_("the"), np.str_("é")],
        [np.bytes_(b"the"), "é"],
        np.array(["the", "é"]),
        np.array([b"the", "é".encode()]),
        np.array(["the", "é"], dtype=object),
        np.array([b"the", "é"], dtype=object),
        np.array(["the", "é"], dtype=np.dtypes.StringDType()),
        tf.constant(["the", "é"]),
        {"é": 1, "the": 0},
        {"é".encode(): np.int64(1), b"the": np.int32(0)},
        HasVocabulary(["the", "é"]),
        HasVocabulary(("the", "é".encode())),
        HasVocabulary({"é": 1, "the": 0}),
        HasVocabulary(tf.constant(["the", "é"])),
        Tokenizer(["the", "é"]),
        Vocabulary(["the", "é"]),
    ],
    ids=lambda source: type(source).__name__,
)
def test_text_is_the_same_token_in_every_kind_of_source(source):
    assert content(Vocabulary(source)) == plain(["the", "é"])


@pytest.mark.parametrize(
    "source",
    [
        [7, -3],
        (7, -3),
        [np.int64(7), -3],
        np.array([7, -3]),
        np.array([7, -3], dtype=np.int8),
        np.array([7, -3], dtype=object),
        tf.constant([7, -3]),
        keras.ops.convert_to_tensor([7, -3]),
        {-3: 1, 7: 0},
    ],
    ids=lambda source: type(source).__name__,
)
def test_integers_are_the_same_token_in_every_kind_of_source(source):
    tokens = Vocabulary(source).tokens
    assert tokens == [7, -3]
    assert {type(token) for token in tokens} == {int}


def test_tokens_of_a_numpy_array_become_plain_strings():
    tokens = Vocabulary(np.array(["the", "film"])).tokens
    assert {type(token) for token in tokens} == {str}


def test_bytes_that_are_not_utf8_stay_bytes():
    assert Vocabulary([b"\xff", b"a"]).tokens == [b"\xff", "a"]


def test_bytes_that_are_not_utf8_stay_bytes_in_a_tensor():
    assert Vocabulary(tf.constant([b"\xff", b"a"])).tokens == [b"\xff", "a"]


def test_a_lone_surrogate_is_not_the_bytes_that_it_could_stand_for():
    assert Vocabulary(["\udcff"]) != Vocabulary([b"\xff"])
    assert Vocabulary(["\ud800"]) != Vocabulary([b"\xed\xa0\x80"])


def test_integers_are_not_the_strings_that_they_print_as():
    assert Vocabulary([1, 2]) != Vocabulary(["1", "2"])


def test_repeated_entries_of_a_list_are_kept():
    assert content(Vocabulary(["b", "a", "b"])) == plain(["b", "a", "b"])


def test_a_list_that_is_changed_afterwards_does_not_change_the_vocabulary():
    source = ["a", "b"]
    vocabulary = Vocabulary(source)
    source[0] = "z"
    vocabulary.tokens.append("z")
    assert vocabulary.tokens == ["a", "b"]


@given(strategies.token_lists())
def test_any_list_keeps_its_length_and_its_text(source):
    def text(token):
        try:
            return token.decode() if isinstance(token, bytes) else token
        except UnicodeDecodeError:
            return token

    assert Vocabulary(source).tokens == [text(token) for token in source]


ARRAYS = {
    "array": np.array,
    "tf.constant": tf.constant,
    "tensor of the backend": keras.ops.convert_to_tensor,
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_an_array_of_rank_2_is_refused(make):
    with pytest.raises(WarmStartError, match=r"must have rank 1.*shape=\(1, 2\)"):
        Vocabulary(make([[7, 5]]))


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_an_array_of_rank_0_is_refused(make):
    with pytest.raises(WarmStartError, match=r"must have rank 1.*shape=\(\)"):
        Vocabulary(make(7))


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_an_array_of_floats_is_refused(make):
    with pytest.raises(WarmStartError, match=r"Received: 1\.5 \(of type float\)"):
        Vocabulary(make([1.5, 2.5]))


@pytest.mark.parametrize("source", [None, 3, object(), {"a", "b"}])
def test_what_holds_no_tokens_is_refused_with_the_kinds_of_sources(source):
    message = r"must be a lookup layer, a tokenizer, .*Received: .* \(of type "
    with pytest.raises(WarmStartError, match=message):
        Vocabulary(source)


@pytest.mark.parametrize(
    "source",
    [
        [],
        (),
        np.array([], dtype=str),
        {},
        HasVocabulary([]),
        HasVocabulary({}),
        Tokenizer([]),
    ],
    ids=["list", "tuple", "array", "mapping", "get_list", "get_mapping", "tokenizer"],
)
def test_a_source_without_any_token_is_refused(source):
    with pytest.raises(WarmStartError, match="must have at least one token"):
        Vocabulary(source)


@pytest.mark.parametrize(
    ("source", "received"),
    [
        ([1.5, 2.5], r"1\.5 \(of type float\)"),
        (["a", None], r"None \(of type NoneType\)"),
        ([True, False], r"True \(of type bool\)"),
        ([np.True_], r"np\.True_ \(of type bool"),
        ([["a"], ["b"]], r"\['a'\] \(of type list\)"),
        ([np.array(["a", "b"])], r"array\(.* \(of type ndarray\)"),
    ],
    ids=["float", "None", "bool", "NumPy bool", "list", "array"],
)
def test_tokens_that_are_neither_text_nor_integers_are_refused(source, received):
    message = f"must be strings, bytes or integers. Received: {received}"
    with pytest.raises(WarmStartError, match=message):
        Vocabulary(source)


@pytest.mark.parametrize(
    "source", [["a", 1], [b"a", 1], {"a": 0, 1: 1}, ["[UNK]", 1], ["", "[UNK]", 1, 2]]
)
def test_a_source_that_mixes_integers_and_strings_is_refused(source):
    message = "must be all strings or all integers. Received: both"
    with pytest.raises(WarmStartError, match=message):
        Vocabulary(source)


@pytest.mark.parametrize(
    ("source", "special"),
    [([1, 2], {"mask": ""}), ([1, 2], {"oov": "[UNK]"}), (["a", "b"], {"mask": 0})],
)
def test_special_tokens_of_another_kind_than_the_words_are_refused(source, special):
    message = "must be all strings or all integers. Received: both"
    with pytest.raises(WarmStartError, match=message):
        Vocabulary(source, **special)


# --- mappings and tokenizers ---


def test_a_mapping_is_read_in_the_order_of_its_rows():
    assert Vocabulary({"c": 2, "a": 0, "b": 1}).tokens == ["a", "b", "c"]


@pytest.mark.parametrize(
    "mapping",
    [{"a": 1, "b": 2}, {"a": 0, "b": 2}, {"a": 0, "b": 0}, {"a": "0"}, {"a": 0.0}],
    ids=["from 1", "gap", "twice", "text", "float"],
)
def test_a_mapping_must_number_its_rows_from_0_without_gaps(mapping):
    message = r"must have exactly the rows 0\.\.n-1, each once.*Number the tokens"
    with pytest.raises(WarmStartError, match=message):
        Vocabulary(mapping)


def test_the_ids_of_a_tokenizer_say_its_order_not_get_vocabulary():
    tokenizer = Tokenizer(["<s>", "a", "b"])
    assert tokenizer.get_vocabulary() == ["b", "a", "<s>"]
    assert Vocabulary(tokenizer).tokens == ["<s>", "a", "b"]


@pytest.mark.parametrize(
    ("source", "by_id"),
    [
        (Tokenizer(["a"]), True),
        ({"a": 0}, True),
        (HasVocabulary(["a"]), True),
        (["a"], False),
        (np.array(["a"]), False),
        (StringLookup(vocabulary=["a"]), False),
    ],
    ids=["tokenizer", "mapping", "get_vocabulary", "list", "array", "lookup"],
)
def test_given_by_id_tells_sources_that_name_a_row_for_each_token(source, by_id):
    assert Vocabulary(source).given_by_id is by_id


# --- files ---


@pytest.mark.parametrize(
    "data",
    [
        b"the\nfilm\n",
        b"the\nfilm",
        b"the\r\nfilm\r\n",
        b"the\r\nfilm",
        b"\xef\xbb\xbfthe\nfilm\n",
        b"\xef\xbb\xbfthe\r\nfilm\r\n",
    ],
    ids=["LF", "LF, not at the end", "CRLF", "CRLF, not at the end", "BOM", "BOM, CRLF"],
)
def test_a_file_has_one_token_a_line(tmp_path, data):
    path = tmp_path / "words.txt"
    path.write_bytes(data)
    expected = plain(["the", "film"])
    assert content(Vocabulary(path)) == expected
    assert content(Vocabulary(str(path))) == expected
    assert content(Vocabulary.from_file(path)) == expected


@pytest.mark.parametrize(
    "token",
    ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb", "a\x0cb", "a\x1cb", "a\x1db", "a\rb"],
)
def test_nothing_but_lf_and_crlf_ends_a_line(tmp_path, token):
    path = tmp_path / "words.txt"
    path.write_bytes(f"first\n{token}\nlast\n".encode())
    assert Vocabulary(path).tokens == ["first", token, "last"]


def test_a_carriage_return_at_the_end_of_a_file_ends_no_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"the\nfilm\r")
    assert Vocabulary(path).tokens == ["the", "film\r"]


def test_empty_lines_of_a_file_are_tokens(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"\n[UNK]\na\n\n")
    assert content(Vocabulary(path)) == (["", "[UNK]", "a", ""], 0, [1])


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1)
)
def test_a_file_gives_back_what_was_written_line_by_line(tmp_path_factory, tokens):
    path = tmp_path_factory.getbasetemp() / "words.txt"
    path.write_bytes("".join(f"{token}\n" for token in tokens).encode())
    # A byte-order mark before the first token is none of its characters.
    expected = [tokens[0].removeprefix("\ufeff"), *tokens[1:]]
    assert Vocabulary(path, mask=False, oov=0).tokens == expected


def test_a_file_that_is_missing_is_named(tmp_path):
    message = r"must exist and be readable.*gone\.txt.*No such file"
    with pytest.raises(WarmStartError, match=message):
        Vocabulary.from_file(tmp_path / "gone.txt")


def test_a_file_that_is_not_utf8_is_named_with_the_place(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"a\nbc\xff\n")
    message = r"must be UTF-8.*words\.txt.*\\xff.* at byte 4.*encoding='utf-8'"
    with pytest.raises(WarmStartError, match=message):
        Vocabulary(path)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path, data):
    path = tmp_path / "words.txt"
    path.write_bytes(data)
    with pytest.raises(WarmStartError, match=r"at least one token.*which is empty"):
        Vocabulary(path)


# --- layers ---


def adapted(layer, *tokens):
    """`layer`, adapted to tokens of which the first is the most frequent."""
    often = [t for i, t in enumerate(tokens) for _ in range(len(tokens) - i)]
    layer.adapt(np.array(often, dtype=object))
    return layer


LOOKUPS = {
    "TextVectorization": (
        lambda: TextVectorization(vocabulary=["b", "a"]),
        (["", "[UNK]", "b", "a"], 0, [1]),
    ),
    "adapted TextVectorization": (
        lambda: adapted(TextVectorization(), "b", "a"),
        (["", "[UNK]", "b", "a"], 0, [1]),
    ),
    "TextVectorization of counts": (
        lambda: TextVectorization(vocabulary=["b", "a"], output_mode="count"),
        (["[UNK]", "b", "a"], None, [0]),
    ),
    "TextVectorization of TF-IDF": (
        lambda: TextVectorization(
            vocabulary=["b", "a"], idf_weights=[1.0, 2.0], output_mode="tf_idf"
        ),
        (["[UNK]", "b", "a"], None, [0]),
    ),
    "StringLookup": (
        lambda: StringLookup(vocabulary=["b", "a"]),
        (["[UNK]", "b", "a"], None, [0]),
    ),
    "adapted StringLookup": (
        lambda: adapted(StringLookup(), "b", "a"),
        (["[UNK]", "b", "a"], None, [0]),
    ),
    "StringLookup with mask": (
        lambda: StringLookup(vocabulary=["b", "a"], mask_token=""),
        (["", "[UNK]", "b", "a"], 0, [1]),
    ),
    "StringLookup with names of its own": (
        lambda: StringLookup(vocabulary=["b"], mask_token="<pad>", oov_token="<unk>"),
        (["<pad>", "<unk>", "b"], 0, [1]),
    ),
    "StringLookup with [UNK] as a word": (
        lambda: StringLookup(vocabulary=["[UNK]", "a"], oov_token="<unk>"),
        (["<unk>", "[UNK]", "a"], None, [0]),
    ),
    "StringLookup with an empty word": (
        lambda: StringLookup(vocabulary=["", "a"]),
        (["[UNK]", "", "a"], None, [0]),
    ),
    "StringLookup with three OOV rows": (
        lambda: StringLookup(vocabulary=["b", "a"], num_oov_indices=3, mask_token=""),
        (["", "[UNK]", "[UNK]", "[UNK]", "b", "a"], 0, [1, 2, 3]),
    ),
    "StringLookup without OOV row": (
        lambda: StringLookup(vocabulary=["b", "a"], num_oov_indices=0),
        (["b", "a"], None, []),
    ),
    "StringLookup with oov_token=None": (
        lambda: StringLookup(vocabulary=["b", "a"], oov_token=None),
        ([None, "b", "a"], None, [0]),
    ),
    "StringLookup with oov_token=None, twice": (
        lambda: StringLookup(
            vocabulary=["b"], oov_token=None, num_oov_indices=2, mask_token=""
        ),
        (["", None, None, "b"], 0, [1, 2]),
    ),
    "inverted StringLookup": (
        lambda: StringLookup(vocabulary=["b", "a"], invert=True, mask_token=""),
        (["", "[UNK]", "b", "a"], 0, [1]),
    ),
    "StringLookup of multi-hot": (
        lambda: StringLookup(
            vocabulary=["b", "a"], mask_token="", output_mode="multi_hot"
        ),
        (["[UNK]", "b", "a"], None, [0]),
    ),
    "StringLookup of one-hot": (
        lambda: StringLookup(vocabulary=["b", "a"], output_mode="one_hot"),
        (["[UNK]", "b", "a"], None, [0]),
    ),
    "IntegerLookup": (
        lambda: IntegerLookup(vocabulary=[7, 5]),
        ([-1, 7, 5], None, [0]),
    ),
    "adapted IntegerLookup": (
        lambda: adapted(IntegerLookup(), 7, 5),
        ([-1, 7, 5], None, [0]),
    ),
    "IntegerLookup with mask and two OOV rows": (
        lambda: IntegerLookup(vocabulary=[7, 5], mask_token=0, num_oov_indices=2),
        ([0, -1, -1, 7, 5], 0, [1, 2]),
    ),
    "inverted IntegerLookup": (
        lambda: IntegerLookup(vocabulary=[7, 5], invert=True),
        ([-1, 7, 5], None, [0]),
    ),
    "un-adapted TextVectorization": (TextVectorization, (["", "[UNK]"], 0, [1])),
    "un-adapted StringLookup": (StringLookup, (["[UNK]"], None, [0])),
    "un-adapted StringLookup without OOV row": (
        lambda: StringLookup(num_oov_indices=0),
        ([], None, []),
    ),
    "un-adapted IntegerLookup": (IntegerLookup, ([-1], None, [0])),
}


@pytest.mark.parametrize(("make", "expected"), LOOKUPS.values(), ids=LOOKUPS)
def test_a_lookup_layer_is_read_with_the_special_rows_of_its_configuration(
    make, expected
):
    assert content(Vocabulary(make())) == expected


@pytest.mark.parametrize(("make", "expected"), LOOKUPS.values(), ids=LOOKUPS)
def test_the_rows_of_a_lookup_layer_are_those_that_keras_lists(make, expected):
    assert make().get_vocabulary() == expected[0]


@pytest.mark.parametrize(
    "make", [TextVectorization, StringLookup, IntegerLookup], ids=lambda m: m.__name__
)
def test_a_lookup_that_was_never_adapted_has_no_words(make):
    vocabulary = Vocabulary(make())
    assert not vocabulary.has_words
    assert vocabulary.words == []


def test_a_lookup_of_tokens_that_are_not_utf8_keeps_the_bytes():
    lookup = adapted(StringLookup(), b"\xff", b"a", b"\xc3")
    assert content(Vocabulary(lookup)) == (["[UNK]", b"\xff", "a", b"\xc3"], None, [0])


def test_a_lookup_of_another_encoding_is_read_in_that_encoding():
    lookup = adapted(StringLookup(encoding="latin-1"), b"caf\xe9", b"th\xe9")
    assert Vocabulary(lookup).words == ["café", "thé"]


def test_a_lookup_that_was_made_from_a_file_has_the_tokens_of_the_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("b\na\n")
    lookup = StringLookup(vocabulary=str(path), num_oov_indices=2)
    expected = ["[UNK]", "[UNK]", "b", "a"], None, [0, 1]
    assert content(Vocabulary(lookup)) == expected


def test_special_tokens_of_an_integer_lookup_may_be_numpy_integers():
    lookup = IntegerLookup(vocabulary=[7], mask_token=np.int64(0), oov_token=np.int64(-1))
    own = Vocabulary(lookup)
    same = Vocabulary(IntegerLookup(vocabulary=[7], mask_token=0))
    assert (own.tokens, own.fingerprint) == (same.tokens, same.fingerprint)


def test_special_tokens_of_a_string_lookup_may_be_bytes():
    lookup = StringLookup(vocabulary=["a"], mask_token=b"", oov_token=b"[UNK]")
    assert content(Vocabulary(lookup)) == (["", "[UNK]", "a"], 0, [1])


@pytest.mark.parametrize(
    ("arguments", "hashing"),
    [
        ({}, None),
        ({"num_oov_indices": 2}, "farmhash"),
        ({"num_oov_indices": 2, "salt": [1, 2]}, "siphash[1, 2]"),
        ({"num_oov_indices": 2, "salt": 3}, "siphash[3, 3]"),
    ],
    ids=["one row", "two rows", "salt", "one number as salt"],
)
def test_hashing_names_what_chooses_among_oov_rows_of_strings(arguments, hashing):
    layer = models.lookup(StringLookup, vocabulary=["a"], **arguments)
    assert Vocabulary(layer).hashing == hashing


@pytest.mark.parametrize(
    ("arguments", "hashing"),
    [
        ({}, "floormod"),
        ({"oov_method": "farmhash"}, "farmhash"),
        ({"oov_method": "farmhash", "salt": 3}, "siphash[3, 3]"),
    ],
    ids=["default", "farmhash", "salt"],
)
def test_hashing_names_what_chooses_among_oov_rows_of_integers(arguments, hashing):
    lookup = models.lookup(IntegerLookup, vocabulary=[1], num_oov_indices=2, **arguments)
    assert Vocabulary(lookup).hashing == hashing


def test_a_warm_start_embedding_that_is_not_built_says_what_its_source_says():
    lookup = TextVectorization(vocabulary=["b", "a"])
    embedding = WarmStartEmbedding(output_dim=2, vocabulary=lookup)
    assert Vocabulary(embedding) == Vocabulary(lookup)


def test_a_built_warm_start_embedding_says_what_its_rows_stand_for():
    lookup = TextVectorization(vocabulary=["b", "a"])
    embedding = WarmStartEmbedding(output_dim=2, vocabulary=lookup)
    embedding.build()
    lookup.set_vocabulary(["c"])
    assert content(Vocabulary(embedding)) == (["", "[UNK]", "b", "a"], 0, [1])


# --- lookups are read once ---


@pytest.mark.parametrize("make", [TextVectorization, StringLookup, IntegerLookup])
def test_a_lookup_that_was_not_rebuilt_gives_the_same_object(make):
    lookup = make(vocabulary=[7] if make is IntegerLookup else ["a"])
    assert read(lookup) is read(lookup)


@pytest.mark.parametrize("make", [TextVectorization, StringLookup, IntegerLookup])
def test_get_vocabulary_of_keras_is_never_called(make, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("get_vocabulary takes seconds at a million tokens")

    monkeypatch.setattr(make, "get_vocabulary", refuse)
    lookup = make(vocabulary=[7] if make is IntegerLookup else ["a"])
    assert len(Vocabulary(lookup).words) == 1


@pytest.mark.parametrize(
    "rebuild",
    [
        lambda lookup: lookup.adapt(["c", "c", "d"]),
        lambda lookup: lookup.set_vocabulary(["c", "d"]),
    ],
    ids=["adapt", "set_vocabulary"],
)
@pytest.mark.parametrize("make", [TextVectorization, StringLookup])
def test_a_lookup_that_was_rebuilt_is_read_anew(make, rebuild):
    lookup = adapted(make(), "a", "b")
    before = read(lookup)
    rebuild(lookup)
    assert read(lookup).words == ["c", "d"]
    assert before.words == ["a", "b"]


def test_a_lookup_that_was_given_the_same_tokens_again_is_equal():
    lookup = StringLookup(vocabulary=["a", "b"])
    before = read(lookup)
    lookup.set_vocabulary(["a", "b"])
    assert read(lookup).same_rows(before)


# --- which rows of a plain list are special ---


@pytest.mark.parametrize(
    ("tokens", "mask_row", "oov_rows"),
    [
        (["a", "b"], None, []),
        (["", "a"], 0, []),
        (["[UNK]", "a"], None, [0]),
        (["", "[UNK]", "a"], 0, [1]),
        (["", "[UNK]", "[UNK]", "a"], 0, [1, 2]),
        (["[UNK]", "[UNK]", "a"], None, [0, 1]),
        (["a", ""], None, []),
        (["a", "[UNK]"], None, []),
        (["", "a", "[UNK]"], 0, []),
        (["[UNK]", ""], None, [0]),
        (["", "", "a"], 0, []),
        (["", "[UNK]", "a", "[UNK]", ""], 0, [1]),
        ([""], 0, []),
        (["[UNK]"], None, [0]),
        (["[unk]", "<pad>"], None, []),
        ([-1, 7], None, []),
        ([0, -1, 7], None, []),
        ([None, "a"], None, [0]),
        (["", None, None, "a"], 0, [1, 2]),
        ([None, 7], None, [0]),
    ],
    ids=str,
)
def test_a_plain_list_is_read_as_get_vocabulary_of_keras_writes(
    tokens, mask_row, oov_rows
):
    assert content(Vocabulary(tokens)) == (tokens, mask_row, oov_rows)


@pytest.mark.parametrize(
    "source",
    [
        [b"", b"[UNK]", b"a"],
        np.array(["", "[UNK]", "a"]),
        np.array([b"", b"[UNK]", b"a"]),
        tf.constant(["", "[UNK]", "a"]),
        {"": 0, "[UNK]": 1, "a": 2},
        HasVocabulary(["", "[UNK]", "a"]),
        Tokenizer(["", "[UNK]", "a"]),
    ],
    ids=lambda source: type(source).__name__,
)
def test_special_rows_are_recognised_in_every_kind_of_source(source):
    assert content(Vocabulary(source)) == (["", "[UNK]", "a"], 0, [1])


# Lists cannot tell special rows whose names are not the usual ones, or words that bear
# the usual names.
USUAL = {
    name: (make, expected)
    for name, (make, expected) in LOOKUPS.items()
    if expected[2]
    and "Integer" not in name
    and "with [UNK] as a word" not in name
    and "names of its own" not in name
}


@pytest.mark.parametrize(("make", "expected"), USUAL.values(), ids=USUAL)
def test_what_keras_lists_is_read_as_the_layer_itself(make, expected):
    assert content(Vocabulary(make().get_vocabulary())) == expected


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"mask": True}, (["", "a", "b"], 0, [])),
        ({"mask": False}, (["a", "b"], None, [])),
        ({"oov": 0}, (["a", "b"], None, [])),
        ({"oov": 1}, (["[UNK]", "a", "b"], None, [0])),
        ({"mask": True, "oov": 2}, (["", "[UNK]", "[UNK]", "a", "b"], 0, [1, 2])),
        ({"oov": 2, "oov_at": "end"}, (["a", "b", "[UNK]", "[UNK]"], None, [2, 3])),
        (
            {"mask": True, "oov": 1, "oov_at": "end"},
            (["", "a", "b", "[UNK]"], 0, [3]),
        ),
        ({"mask": "<pad>"}, (["<pad>", "a", "b"], 0, [])),
        ({"oov": "<unk>"}, (["<unk>", "a", "b"], None, [0])),
        ({"mask": b"<pad>", "oov": b"<unk>"}, (["<pad>", "<unk>", "a", "b"], 0, [1])),
        ({"mask": "a"}, (["a", "b"], 0, [])),
        ({"mask": "a", "oov": "b"}, (["a", "b"], 0, [1])),
        ({"oov": "b", "oov_at": "end"}, (["a", "b"], None, [1])),
        ({"oov": np.int64(1)}, (["[UNK]", "a", "b"], None, [0])),
    ],
    ids=str,
)
def test_keywords_say_outright_which_rows_are_special(keywords, expected, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb\n")
    assert content(Vocabulary(["a", "b"], **keywords)) == expected
    assert content(Vocabulary.from_file(path, **keywords)) == expected


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"mask": True, "oov": 1}, (["", "[UNK]", "a"], 0, [1])),
        ({"mask": True}, (["", "[UNK]", "a"], 0, [])),
        ({"mask": False, "oov": 0}, (["", "[UNK]", "a"], None, [])),
    ],
    ids=str,
)
def test_keywords_overrule_what_would_be_recognised(keywords, expected):
    assert content(Vocabulary(["", "[UNK]", "a"], **keywords)) == expected


def test_special_rows_of_integers_are_named_as_integer_lookup_names_them():
    vocabulary = Vocabulary([7, 5], mask=True, oov=2)
    assert content(vocabulary) == ([0, -1, -1, 7, 5], 0, [1, 2])


@pytest.mark.parametrize(
    "source",
    [StringLookup(vocabulary=["a"]), Tokenizer(["a"]), {"a": 0}, Vocabulary(["a"])],
    ids=lambda source: type(source).__name__,
)
def test_keywords_are_refused_where_the_source_knows_its_special_rows(source):
    message = r"`mask` and `oov` must be left out.*mask=True, oov=None.*`Vocabulary\("
    with pytest.raises(WarmStartError, match=message):
        Vocabulary(source, mask=True)


@pytest.mark.parametrize("oov", [-1, np.int64(-1)], ids=["int", "NumPy int"])
def test_a_negative_number_of_oov_rows_is_refused(oov):
    with pytest.raises(WarmStartError, match=r"`oov` must be a number of OOV rows.*-1"):
        Vocabulary(["a"], oov=oov)


def test_oov_rows_are_at_the_start_or_at_the_end():
    message = r'`oov_at` must be "start" or "end"\. Received: oov_at=\'middle\''
    with pytest.raises(WarmStartError, match=message):
        Vocabulary(["a"], oov=1, oov_at="middle")


# --- what a list is given from the base, and when it is taken literally ---


def text_base(**arguments):
    return Vocabulary(models.lookup(StringLookup, vocabulary=["a", "b"], **arguments))


@pytest.mark.parametrize(
    ("base", "new", "expected"),
    [
        (text_base(mask_token=""), ["b", "c"], (["", "[UNK]", "b", "c"], 0, [1])),
        (text_base(), ["b", "c"], (["[UNK]", "b", "c"], None, [0])),
        (
            text_base(num_oov_indices=2),
            ["b", "c"],
            (["[UNK]", "[UNK]", "b", "c"], None, [0, 1]),
        ),
        (text_base(oov_token=None), ["b", "c"], ([None, "b", "c"], None, [0])),
        (text_base(num_oov_indices=0), ["b", "c"], plain(["b", "c"])),
        (
            text_base(mask_token="<pad>", oov_token="<unk>"),
            ["b", "c"],
            (["<pad>", "<unk>", "b", "c"], 0, [1]),
        ),
        (Vocabulary(["", "[UNK]", "a"]), ["b"], (["", "[UNK]", "b"], 0, [1])),
        (Vocabulary(["", "a"]), ["b"], (["", "b"], 0, [])),
        (Vocabulary(["a"]), ["b"], plain(["b"])),
        (
            Vocabulary(["a"], oov=1, oov_at="end"),
            ["b"],
            (["b", "[UNK]"], None, [1]),
        ),
        (Vocabulary(IntegerLookup(vocabulary=[7])), [5, 7], ([-1, 5, 7], None, [0])),
        (text_base(), ["b", "[UNK]"], (["[UNK]", "b", "[UNK]"], None, [0])),
    ],
    ids=str,
)
def test_a_list_without_special_rows_is_given_those_of_the_base(base, new, expected):
    assert content(read_as(new, base)) == expected


@pytest.mark.parametrize(
    ("base", "new", "expected"),
    [
        (text_base(mask_token=""), ["", "[UNK]", "b"], (["", "[UNK]", "b"], 0, [1])),
        (
            text_base(mask_token="<pad>", oov_token="<unk>"),
            ["<pad>", "<unk>", "b"],
            (["<pad>", "<unk>", "b"], 0, [1]),
        ),
        (Vocabulary(IntegerLookup(vocabulary=[7])), [-1, 5], ([-1, 5], None, [0])),
        (
            Vocabulary(["a"], oov=1, oov_at="end"),
            ["b", "[UNK]"],
            (["b", "[UNK]"], None, [1]),
        ),
    ],
    ids=str,
)
def test_a_list_with_all_special_rows_of_the_base_is_given_no_more(base, new, expected):
    assert content(read_as(new, base)) == expected


@pytest.mark.parametrize(
    ("base", "new", "expected"),
    [
        (text_base(mask_token=""), ["[UNK]", "b"], (["[UNK]", "b"], None, [0])),
        (text_base(mask_token=""), ["", "b"], (["", "b"], 0, [])),
        (text_base(num_oov_indices=2), ["[UNK]", "b"], (["[UNK]", "b"], None, [0])),
        (
            text_base(mask_token="<pad>", oov_token="<unk>"),
            ["<pad>", "b"],
            plain(["<pad>", "b"]),
        ),
        (
            text_base(mask_token="<pad>", oov_token="<unk>"),
            ["<unk>", "b"],
            plain(["<unk>", "b"]),
        ),
        (
            text_base(mask_token="<pad>", oov_token="<unk>"),
            ["", "[UNK]", "b"],
            (["", "[UNK]", "b"], 0, [1]),
        ),
        (text_base(), ["", "b"], (["", "b"], 0, [])),
        (text_base(), ["", "[UNK]", "b"], (["", "[UNK]", "b"], 0, [1])),
    ],
    ids=str,
)
def test_a_list_with_some_special_rows_or_others_is_taken_literally(base, new, expected):
    assert content(read_as(new, base)) == expected


@pytest.mark.parametrize(
    "new",
    [
        {"b": 0, "c": 1},
        Tokenizer(["b", "c"]),
        HasVocabulary(["b", "c"]),
        StringLookup(vocabulary=["b", "c"], num_oov_indices=0),
        Vocabulary(["b", "c"]),
    ],
    ids=lambda source: type(source).__name__,
)
def test_what_knows_its_rows_by_itself_is_taken_literally(new):
    assert content(read_as(new, text_base())) == plain(["b", "c"])


@pytest.mark.parametrize(
    "base",
    [Vocabulary({"": 0, "[UNK]": 1, "a": 2}), Vocabulary(Tokenizer(["", "[UNK]"]))],
    ids=["mapping", "tokenizer"],
)
def test_special_rows_of_a_mapping_or_tokenizer_are_not_added_to_a_list(base):
    assert content(read_as(["b"], base)) == plain(["b"])


@pytest.mark.parametrize(
    "make",
    [tuple, np.array, lambda tokens: np.array(tokens, dtype=object), tf.constant],
    ids=["tuple", "array", "object array", "tensor"],
)
def test_every_plain_source_is_given_the_special_rows_of_the_base(make):
    new = make(["b", "c"])
    assert content(read_as(new, text_base())) == (["[UNK]", "b", "c"], None, [0])


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_integers_in_an_array_are_given_the_special_rows_of_the_base(make):
    base = Vocabulary(IntegerLookup(vocabulary=[7], mask_token=0))
    assert content(read_as(make([5, 7]), base)) == ([0, -1, 5, 7], 0, [1])
    assert content(read_as(make([0, -1, 5]), base)) == ([0, -1, 5], 0, [1])


def test_a_file_is_given_the_special_rows_of_the_base(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("b\nc\n")
    assert content(read_as(path, text_base())) == (["[UNK]", "b", "c"], None, [0])


def test_without_a_base_nothing_is_added():
    assert content(read_as(["b"], None)) == plain(["b"])


def test_oov_rows_that_a_list_is_given_hash_as_those_of_the_base():
    base = text_base(num_oov_indices=2, salt=3)
    assert read_as(["b"], base).hashing == "siphash[3, 3]"


@pytest.mark.parametrize(
    ("base", "new"),
    [(text_base(), [1, 2]), (Vocabulary(IntegerLookup(vocabulary=[1])), ["a", "b"])],
    ids=["integers after strings", "strings after integers"],
)
def test_a_list_is_not_given_special_rows_of_another_kind_than_its_words(base, new):
    kinds = {type(token) for token in read_as(new, base)}
    assert len(kinds) == 1


# --- fingerprint ---

# Caches carry fingerprints in their names, reports and logs keep them: neither these nor
# the way to them may change.
PINNED = {
    "01eb736363463c1a": ["", "[UNK]", "the", "film"],
    "e1b5d57867318338": [7, -3],
    "7eedb4629cc17f1c": ["a\u2028b", b"\xff", "a\u2028b"],
}


def test_the_fingerprint_has_16_hexadecimal_digits():
    fingerprint = Vocabulary(["a"]).fingerprint
    assert len(fingerprint) == 16
    assert set(fingerprint) <= set("0123456789abcdef")


@pytest.mark.parametrize(("fingerprint", "tokens"), PINNED.items())
def test_the_fingerprint_of_these_tokens_stays_for_ever(fingerprint, tokens):
    assert Vocabulary(tokens).fingerprint == fingerprint


@pytest.mark.processes
@pytest.mark.dealt
def test_the_fingerprint_is_the_same_in_a_process_of_another_hash_seed():
    code = (
        "import ast, sys\n"
        "from warmstart_keras import Vocabulary\n"
        "for tokens in ast.literal_eval(sys.argv[1]):\n"
        "    print(Vocabulary(tokens).fingerprint)"
    )
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    process = subprocess.run(
        [sys.executable, "-c", code, ascii([*PINNED.values()])],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.split() == [*PINNED]


@pytest.mark.parametrize(
    "source",
    [
        lambda tokens, path: TextVectorization(vocabulary=tokens),
        lambda tokens, path: StringLookup(vocabulary=tokens, mask_token=""),
        lambda tokens, path: ["", "[UNK]", *tokens],
        lambda tokens, path: np.array(["", "[UNK]", *tokens]),
        lambda tokens, path: tf.constant(["", "[UNK]", *tokens]),
        lambda tokens, path: Tokenizer(["", "[UNK]", *tokens]),
        lambda tokens, path: Vocabulary(tokens, mask=True, oov=1),
        lambda tokens, path: path,
    ],
    ids=[
        "TextVectorization",
        "StringLookup",
        "list",
        "array",
        "tensor",
        "tokenizer",
        "keywords",
        "file",
    ],
)
def test_the_fingerprint_is_that_of_the_content_whatever_the_source(source, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n[UNK]\nthe\nfilm\n")
    vocabulary = Vocabulary(source(["the", "film"], path))
    assert vocabulary.fingerprint == Vocabulary(["", "[UNK]", "the", "film"]).fingerprint


@pytest.mark.parametrize("make", [list, *ARRAYS.values()], ids=["list", *ARRAYS])
def test_the_fingerprint_of_integers_is_that_of_the_content(make):
    assert PINNED[Vocabulary(make([7, -3])).fingerprint] == [7, -3]


@pytest.mark.parametrize(
    "other",
    [
        Vocabulary(["", "[UNK]", "b", "a"]),
        Vocabulary(["", "[UNK]", "a"]),
        Vocabulary(["", "[UNK]", "a", "b", "c"]),
        Vocabulary(["", "[UNK]", "ab", ""]),
        Vocabulary(["", "[UNK]", "", "ab"]),
        Vocabulary(["", "[UNK]", "a", "b"], mask=False, oov=0),
        Vocabulary(["", "[UNK]", "a", "b"], mask=True, oov=0),
        Vocabulary(["[UNK]", "[UNK]", "a", "b"]),
        Vocabulary(["", "[UNK]", "[UNK]", "a", "b"]),
        Vocabulary(["", "a", "b"], oov=1, oov_at="end"),
        Vocabulary(["a", "b"]),
    ],
    ids=repr,
)
def test_the_fingerprint_differs_where_any_row_does(other):
    assert other.fingerprint != Vocabulary(["", "[UNK]", "a", "b"]).fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], ["1", "2"]),
        (["\udcff"], [b"\xff"]),
        (["\ud800"], [b"\xed\xa0\x80"]),
        (["é"], ["e\u0301"]),
        (["a\x00"], ["a"]),
    ],
    ids=["integers", "surrogate", "surrogate as bytes", "composed", "NUL"],
)
def test_the_fingerprint_differs_where_tokens_only_look_alike(one, other):
    assert Vocabulary(one).fingerprint != Vocabulary(other).fingerprint


@given(strategies.vocabulary_pairs())
def test_fingerprints_are_equal_just_where_vocabularies_are(pair):
    one, other = pair
    assert (one.fingerprint == other.fingerprint) == (one == other)


# --- equality, parts, representation ---


def test_vocabularies_of_the_same_rows_are_equal_whatever_the_source():
    from_list = Vocabulary(["", "[UNK]", "a"])
    from_layer = Vocabulary(TextVectorization(vocabulary=["a"]))
    assert from_list == from_layer
    assert hash(from_list) == hash(from_layer)


def test_names_of_special_rows_do_not_matter():
    lookup = StringLookup(vocabulary=["a"], mask_token="<pad>", oov_token=None)
    assert Vocabulary(lookup) == Vocabulary(["", "[UNK]", "a"])


def test_a_word_is_not_a_special_row_of_the_same_name():
    assert Vocabulary(["[UNK]", "a"]) != Vocabulary(["[UNK]", "a"], oov=0)


def test_a_vocabulary_is_not_equal_to_a_list():
    assert Vocabulary(["a"]) != ["a"]


@given(strategies.vocabulary_pairs())
def test_equal_vocabularies_have_equal_hashes(pair):
    one, other = pair
    if one == other:
        assert hash(one) == hash(other)


def test_equal_vocabularies_of_special_rows_alone_have_equal_hashes():
    text, integer = Vocabulary(StringLookup()), Vocabulary(IntegerLookup())
    assert text != integer or hash(text) == hash(integer)


def test_oov_rows_chosen_another_way_are_not_the_same_rows():
    plain_hash = Vocabulary(StringLookup(vocabulary=["a"], num_oov_indices=2))
    salted = Vocabulary(
        models.lookup(StringLookup, vocabulary=["a"], num_oov_indices=2, salt=3)
    )
    assert plain_hash.tokens == salted.tokens
    assert not plain_hash.same_rows(salted)


def test_a_vocabulary_can_be_walked_and_indexed_like_its_tokens():
    vocabulary = Vocabulary(["", "[UNK]", "a"])
    assert (len(vocabulary), vocabulary[2], [*vocabulary]) == (3, "a", ["", "[UNK]", "a"])


def test_words_are_the_entries_that_are_no_special_rows():
    vocabulary = Vocabulary(["", "[UNK]", "a", "[UNK]"])
    assert vocabulary.words == ["a", "[UNK]"]
    assert vocabulary.special_rows == {0, 1}
    assert vocabulary.has_words


def test_get_vocabulary_can_leave_special_rows_out_as_in_keras():
    vocabulary = Vocabulary(["", "[UNK]", "a"])
    assert vocabulary.get_vocabulary() == ["", "[UNK]", "a"]
    assert vocabulary.get_vocabulary(include_special_tokens=False) == ["a"]


def test_repr_shows_the_first_six_tokens():
    vocabulary = Vocabulary(["", "[UNK]", "a", "b", "c", "d", "e"])
    assert repr(vocabulary) == (
        "<Vocabulary of 7 tokens ['', '[UNK]', 'a', 'b', 'c', 'd', ...], "
        f"mask_row=0, oov_rows=[1], fingerprint={vocabulary.fingerprint}>"
    )


def test_a_salt_changes_the_ids_and_so_the_fingerprint():
    words = {"vocabulary": ["a", "b"], "num_oov_indices": 2}
    plain = StringLookup(**words)
    salted = models.lookup(StringLookup, **words, salt=3)
    assert Vocabulary(plain) != Vocabulary(salted)
    assert Vocabulary(plain).fingerprint != Vocabulary(salted).fingerprint
    listed = Vocabulary(plain.get_vocabulary())
    assert listed.fingerprint == Vocabulary(plain).fingerprint


def test_oov_at_the_end_needs_to_know_how_many():
    with pytest.raises(WarmStartError, match=r'`oov_at="end"` must come with `oov`'):
        Vocabulary(["a", "[UNK]"], oov_at="end")
