"""What rows of new words start from: each method against a slow and obvious one."""

import gzip
import math
from collections import defaultdict

import keras
import numpy as np
import pytest
import strategies
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from models import LENGTH, array, lookup, on_ids

from warmstart_keras import (
    ContextRows,
    GaussianRows,
    MeanRows,
    OOVRows,
    PretrainedRows,
    RowMap,
    SubwordRows,
    Vocabulary,
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    plan_warm_start,
    remap,
    warm_start,
)
from warmstart_keras.new_rows import BaseRows, NewRows, context, pretrained, subword

BASE = ["", "[UNK]", "film", "films", "plot", "bad"]
NEW = ["", "[UNK]", "plot", "filmed", "bad", "xyz", "film"]
MATRIX = np.random.default_rng(0).normal(size=(len(BASE), 3))
TEXTS = ["a bad filmed plot", "filmed film", "plot plot filmed bad film", "nothing"]
VECTORS = {
    "film": [1, 0, 0.1],
    "plot": [0, 1, 0],
    "filmed": [1, 0.2, 0],
    "bad": [0, 0, 1],
}


def vectorizer(vocabulary=NEW, **kwargs):
    return keras.layers.TextVectorization(vocabulary=vocabulary[2:], **kwargs)


def mean_of_words(matrix=MATRIX, base=BASE):
    rows = [matrix[i] for i, token in enumerate(base) if token not in ("", "[UNK]")]
    return sum(rows) / len(rows)


# Made when they are used: a layer belongs to its test.
METHODS = {
    "mean": lambda: "mean",
    "gaussian": lambda: "gaussian",
    "oov": lambda: "oov",
    "subword": lambda: "subword",
    "context": lambda: ContextRows(TEXTS, vectorizer(), verbose=0),
    "pretrained": lambda: PretrainedRows(VECTORS),
    "pretrained, direct": lambda: PretrainedRows(VECTORS, direct=True),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def new_rows(method, base=BASE, new=NEW, matrix=MATRIX, **kwargs):
    """The rows of new words by their token."""
    row_map = RowMap(base, new)
    moved = remap(matrix, row_map, new_embeddings_initializer=method, **kwargs)
    return {new[row]: moved[row] for row in row_map.new_rows}


# --- all methods ---


@each_method
@pytest.mark.parametrize("axis", [0, 1])
def test_kept_rows_stay_and_new_ones_have_the_dtype(method, axis):
    base = np.moveaxis(MATRIX.astype("float32"), 0, axis)
    row_map = RowMap(BASE, NEW)
    moved = remap(base, row_map, axis=axis, new_embeddings_initializer=method())
    assert moved.dtype == np.float32
    moved, base = np.moveaxis(moved, axis, 0), np.moveaxis(base, axis, 0)
    for row, old in enumerate(row_map.indices):
        if old >= 0:
            assert moved[row].tobytes() == base[old].tobytes()
    wanted = new_rows(method())
    np.testing.assert_allclose(moved[3], wanted["filmed"], atol=1e-5)
    np.testing.assert_allclose(moved[5], wanted["xyz"], atol=1e-5)


@each_method
@pytest.mark.parametrize("shape", [(), (2, 2)])
def test_rows_of_any_shape(method, shape):
    if shape == () and method is METHODS["pretrained, direct"]:
        pytest.skip("a vector has more than one number")
    matrix = np.random.default_rng(1).normal(size=(len(BASE), *shape))
    flat = matrix.reshape(len(BASE), -1)
    if method is METHODS["pretrained, direct"]:
        vectors = {word: [*vector, 5] for word, vector in VECTORS.items()}
        method = lambda: PretrainedRows(vectors, direct=True)  # noqa: E731
    found = new_rows(method(), matrix=matrix)
    for word, row in new_rows(method(), matrix=flat).items():
        np.testing.assert_allclose(found[word], row.reshape(shape), rtol=1e-6)


@each_method
def test_where_no_word_is_new_nothing_is_asked(method):
    row_map = RowMap(BASE, [*BASE[:2], *BASE[:1:-1]])
    moved = remap(MATRIX, row_map, new_embeddings_initializer=method())
    assert moved.shape == MATRIX.shape
    # Nor is it where a row is new that is no word's.
    row_map = RowMap(BASE[1:], [*BASE[:2], *BASE[:1:-1]])
    moved = remap(MATRIX[1:], row_map, new_embeddings_initializer=method())
    assert np.isfinite(moved).all()


@each_method
def test_where_no_word_stayed_rows_are_finite(method):
    rows = new_rows(method(), new=["", "[UNK]", "filmed", "xyz"])
    assert np.isfinite([*rows.values()]).all()


@each_method
def test_a_base_without_words_gives_no_rows(method):
    with pytest.raises(
        WarmStartError, match=r"`new_embeddings_initializer`.*no words.*Received.*uniform"
    ):
        remap(MATRIX[:2], RowMap(BASE[:2], NEW), new_embeddings_initializer=method())


@each_method
def test_a_spare_row_and_a_special_one_are_no_words(method):
    row_map = RowMap(["film", "films"], Vocabulary(["", "film", "xyz"], mask=True, oov=0))
    moved = remap(
        MATRIX[2:4],
        row_map.within_capacity(2, 5),
        new_embeddings_initializer=method(),
    )
    assert np.isfinite(moved).all()
    if method not in (METHODS["gaussian"],):
        np.testing.assert_allclose(moved[0], MATRIX[2:4].mean(axis=0))
        np.testing.assert_allclose(moved[4], MATRIX[2:4].mean(axis=0))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mean", MeanRows),
        ("gaussian", GaussianRows),
        ("oov", OOVRows),
        ("subword", SubwordRows),
    ],
)
def test_a_name_a_class_and_an_instance_are_the_same(name, kind):
    wanted = new_rows(name, seed=1)
    for one in (kind, kind(), keras.saving.serialize_keras_object(kind())):
        given = (
            keras.saving.deserialize_keras_object(one) if isinstance(one, dict) else one
        )
        found = new_rows(given, seed=1)
        assert {w: r.tobytes() for w, r in found.items()} == {
            w: r.tobytes() for w, r in wanted.items()
        }


def test_a_class_that_needs_arguments_is_refused():
    message = r"must be an instance.*Received: .*ContextRows .*texts.*Pass `ContextRows\("
    with pytest.raises(WarmStartError, match=message):
        new_rows(ContextRows)
    with pytest.raises(WarmStartError, match=message):
        WarmStartEmbedding(4, 2, new_embeddings_initializer=ContextRows)


def test_a_method_says_what_it_is():
    assert repr(MeanRows()) == "MeanRows()"
    assert repr(PretrainedRows(VECTORS)) == "PretrainedRows(vectors=None, direct=False)"


def test_a_callable_makes_rows_of_tokens_where_others_become_spare():
    row_map = RowMap(["a"], ["a", "b"]).within_capacity(1, 4)
    moved = remap(
        np.ones((1, 2)),
        row_map,
        new_embeddings_initializer=lambda tokens, base: np.full((len(tokens), 2), 7),
    )
    assert moved.tolist() == [[1, 1], [7, 7], [0, 0], [0, 0]]


def test_a_callable_cannot_write_to_the_array_that_was_given():
    def writes(tokens, base):
        base.matrix[:] = 0

    matrix = MATRIX.copy()
    with pytest.raises(ValueError, match="read-only"):
        new_rows(writes, matrix=matrix)
    np.testing.assert_array_equal(matrix, MATRIX)


# --- "mean" and "gaussian" ---


def test_the_mean_is_that_of_the_words():
    for row in new_rows("mean").values():
        np.testing.assert_allclose(row, mean_of_words())


def test_draws_have_the_mean_and_the_covariance_of_the_words():
    random = np.random.default_rng(0)
    matrix = random.normal(size=(50, 3)) @ random.normal(size=(3, 3)) + [1, 2, 3]
    base = [f"word{i}" for i in range(50)]
    new = [*base, *(f"new{i}" for i in range(150_000))]  # drawn in parts
    rows = np.array([*new_rows("gaussian", base, new, matrix).values()])
    np.testing.assert_allclose(rows.mean(axis=0), matrix.mean(axis=0), atol=0.02)
    wanted = np.cov(matrix.T, bias=True)
    np.testing.assert_allclose(np.cov(rows.T), wanted, atol=0.02 * wanted.max())
    assert len(np.unique(rows[:, 0])) == len(rows)


def test_draws_depend_on_seed_and_vocabularies():
    rows = new_rows("gaussian", seed=1)
    assert new_rows("gaussian", seed=1)["xyz"].tobytes() == rows["xyz"].tobytes()
    assert new_rows("gaussian", seed=2)["xyz"].tobytes() != rows["xyz"].tobytes()
    other = new_rows("gaussian", new=[*NEW, "more"], seed=1)
    assert other["xyz"].tobytes() != rows["xyz"].tobytes()


def test_draws_stay_within_the_span_where_the_covariance_is_singular():
    matrix = np.array([[1.0, 2, 3, 4], [2, 2, 5, 4], [0, 2, 1, 4]])  # along a line
    rows = new_rows("gaussian", ["a", "b", "c"], ["a", "b", "c", "d", "e"], matrix)
    for row in rows.values():
        along = row - [1, 2, 3, 4]
        assert abs(along[0]) > 1e-3
        np.testing.assert_allclose(along, along[0] * np.array([1, 0, 2, 0]), atol=1e-9)


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[np.inf, 2.0], [1.0, 2.0]]])
def test_draws_are_the_mean_where_there_is_no_covariance(rows):
    base = ["a", "b"][: len(rows)]
    with np.errstate(invalid="ignore"):
        found = new_rows("gaussian", base, [*base, "new"], np.array(rows))
    np.testing.assert_array_equal(found["new"], np.mean(rows, axis=0))


# --- "oov" ---


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_outputs_are_bit_for_bit_what_they_were_for_words_that_gained_rows(dtype):
    lookup = keras.layers.StringLookup(vocabulary=["film", "plot"])
    words = WarmStartEmbedding(
        output_dim=3, vocabulary=lookup, dtype=dtype, new_embeddings_initializer="oov"
    )
    model = on_ids(words)
    texts = [["film", "twist", "plot", "film", "a"], ["zebra", "film", "twist", "b", "b"]]
    model.train_on_batch(array(lookup(texts)), np.ones((2, 1)))
    embedded = array(words(lookup(texts)))
    predicted = model.predict_on_batch(array(lookup(texts)))

    lookup.set_vocabulary(["zebra", "plot", "twist", "film"])
    warm_start(model, verbose=0)
    assert array(words(lookup(texts))).tobytes() == embedded.tobytes()
    after = model.predict_on_batch(array(lookup(texts)))
    np.testing.assert_allclose(after, predicted, atol=1e-6)


@pytest.mark.parametrize(
    ("made", "more"),
    [
        (keras.layers.StringLookup, {}),
        (keras.layers.StringLookup, {"oov_method": "farmhash", "salt": [3, 5]}),
        (keras.layers.IntegerLookup, {}),
        (keras.layers.IntegerLookup, {"oov_method": "farmhash"}),
        (keras.layers.IntegerLookup, {"oov_method": "farmhash", "salt": [7, 7]}),
    ],
)
def test_of_several_oov_rows_each_word_takes_its_own(made, more):
    strings = made is keras.layers.StringLookup
    kept = ["a", "b"] if strings else [1, 2]
    fresh = ["é", "x y", "日本", "q"] if strings else [-7, 0, 10**12, 12]
    before = lookup(made, vocabulary=kept, num_oov_indices=5, **more)
    after = lookup(made, vocabulary=[*fresh, *kept], num_oov_indices=5, **more)
    matrix = np.arange(7.0)[:, None]
    moved = remap(matrix, RowMap(before, after), new_embeddings_initializer="oov")
    tokens = np.array([*kept, *fresh])
    np.testing.assert_array_equal(
        moved[array(after(tokens))], matrix[array(before(tokens))]
    )


def test_of_several_oov_rows_that_are_not_known_the_mean_is_taken():
    base = ["[UNK]", "[UNK]", "a"]
    words = WarmStartEmbedding(output_dim=1, vocabulary=base, name="words")
    words.build()
    words.set_weights([np.array([[1], [2], [9]], "float32")])
    report = warm_start(
        words, [*base, "new"], new_embeddings_initializer="oov", verbose=0
    )
    assert array(words.embeddings)[3] == 1.5
    assert any("unknown which of 2 OOV rows" in n for n in report.notes)


def test_oov_rows_are_known_where_rows_become_spare_and_special_too():
    before = lookup(keras.layers.StringLookup, vocabulary=["a"], num_oov_indices=3)
    after = keras.layers.StringLookup(
        vocabulary=["b", "a", "c"], num_oov_indices=3, mask_token=""
    )
    row_map = RowMap(before, after).within_capacity(4, 9)
    matrix = np.arange(4.0)[:, None]
    moved = remap(matrix, row_map, new_embeddings_initializer="oov").ravel()
    assert moved[[0, 7, 8]].tolist() == [0, 0, 0]  # no word's: the first OOV row
    assert moved[[4, 6]].tolist() == array(before(["b", "c"])).tolist()


def test_oov_rows_of_text_in_another_encoding_are_not_known():
    before, after = (
        keras.layers.StringLookup(vocabulary=v, num_oov_indices=5, encoding="latin-1")
        for v in (["a"], ["a", "é"])
    )
    moved = remap(
        np.arange(6.0)[:, None], RowMap(before, after), new_embeddings_initializer="oov"
    )
    assert moved[-1] == 2  # the mean of them


def test_a_copied_row_is_copied_in_the_factors_of_lora_too():
    words = WarmStartEmbedding(output_dim=5, vocabulary=BASE, name="words")
    words.build()
    words.enable_lora(2)
    random = np.random.default_rng(0)
    for factor in (words.lora_embeddings_a, words.lora_embeddings_b):
        factor.assign(random.normal(size=factor.shape))
    before = array(words(np.array([1])))
    warm_start(words, NEW, new_embeddings_initializer="oov", verbose=0)
    assert array(words(np.array([3]))).tobytes() == before.tobytes()


def test_what_is_not_there_is_not_remarked_where_nothing_is_new():
    words = WarmStartEmbedding(output_dim=1, vocabulary=["a", "b"], name="words")
    words.build()
    report = warm_start(words, ["b", "a"], new_embeddings_initializer="oov", verbose=0)
    assert not any("OOV" in note for note in report.notes)


def test_without_an_oov_row_the_mean_of_the_words_is_taken():
    words = WarmStartEmbedding(output_dim=1, vocabulary=["a", "b"], name="words")
    words.build()
    words.set_weights([np.array([[1], [2]], "float32")])
    report = warm_start(words, ["b", "new"], new_embeddings_initializer="oov", verbose=0)
    assert array(words.embeddings).ravel().tolist() == [2, 1.5]
    assert any("there is no OOV row" in note for note in report.notes)


# --- "subword" ---


def slow_subword(base, new, matrix, most=256):
    """The formula in the documentation of `SubwordRows`, n-gram by n-gram."""

    def grams(word):
        if isinstance(word, bytes):
            word = word.decode("utf-8", "surrogateescape")
        if not isinstance(word, str):
            return []
        letters = ["begin", *word, "end"]
        return [
            tuple(letters[i : i + n])
            for n in (2, 3, 4, 5)
            for i in range(len(letters) - n + 1)
        ]

    is_word = [token not in ("", "[UNK]") for token in base]
    mean = matrix[is_word].mean(axis=0)
    seen = defaultdict(list)
    for token in new:
        if token in base and is_word[base.index(token)]:
            for gram in grams(token):
                seen[gram].append(matrix[base.index(token)] - mean)
    rows = {}
    for token in new:
        if token not in base:
            total, weight = 0, 0
            for gram in grams(token):
                if n := len(seen[gram]):
                    vector = np.mean(seen[gram][:most], axis=0) * n / (n + 1)
                    total, weight = total + vector / math.sqrt(n), weight + n**-0.5
            rows[token] = mean + total / weight if weight else mean
    return rows


def test_a_word_takes_what_is_particular_to_those_that_share_its_parts():
    # By hand: of "ab" the n-grams "<a", "ab", "<ab" are shared with "abc", none twice,
    # and none with "xyz"; of each half the way from the mean counts.
    base, new = ["abc", "xyz"], ["abc", "xyz", "ab"]
    (row,) = new_rows("subword", base, new, np.array([[4.0], [0.0]])).values()
    assert row == 2 + (4 - 2) / 2


@given(
    st.lists(strategies.tokens(), min_size=2, max_size=12, unique=True), st.integers(1, 3)
)
def test_subword_rows_are_those_of_the_slow_way(tokens, most):
    words = [t for t in tokens if t not in ("", "[UNK]", b"", b"[UNK]")]
    words = list(Vocabulary(words, mask=False, oov=0))
    base, new = words[: len(words) // 2 + 1], words[::-1]
    if len(set(words)) < len(words) or len(base) == len(new):
        return
    matrix = np.random.default_rng(len(words)).normal(size=(len(base), 2))
    row_map = RowMap.entry_by_entry(base, new)
    of_base = BaseRows(row_map.base, lambda: matrix)
    shape, number = (len(new), 2), len(row_map.new_rows)
    asked = NewRows(SubwordRows(), row_map, shape, matrix.dtype, of_base, seed=())
    learned = subword.learn(asked, most=most, part=2)
    wanted = slow_subword(base, new, matrix, most)
    for row, made in zip(row_map.new_rows, learned.rows(0, number, ()), strict=True):
        np.testing.assert_allclose(made, wanted[new[row]], atol=1e-9)


def test_subword_rows_of_many_words():
    words = [f"{i * 7919 % 9973:x}{i:o}" for i in range(3000)]
    base = ["", "[UNK]", *words[:2000]]
    new = ["", "[UNK]", *words[:500:-1]]
    matrix = np.random.default_rng(0).normal(size=(len(base), 4))
    found = new_rows("subword", base, new, matrix)
    wanted = slow_subword(base, new, matrix)
    np.testing.assert_allclose([*found.values()], [wanted[word] for word in found])


@pytest.mark.parametrize(
    ("kept", "others", "new"),
    [
        ("日本", ["中国", "アメ"], "日本語"),
        ("한국", ["중국", "일본"], "한국어"),
        ("москва", ["париж", "рим"], "москвы"),
        ("🙂🙃", ["🚗", "🚕"], "🙂"),
    ],
)
def test_words_of_any_script_are_known_by_their_parts(kept, others, new):
    base = [kept, *others]
    (row,) = new_rows("subword", base, [*base, new], np.eye(3)).values()
    assert row.argmax() == 0
    assert row[0] > 0.5


def test_words_that_share_nothing_start_from_the_mean_and_are_counted():
    words = WarmStartEmbedding(output_dim=3, vocabulary=BASE, name="words")
    words.build()
    report = warm_start(words, NEW, new_embeddings_initializer="subword", verbose=0)
    said = "layer 'words': 1 of 2 new words started from the mean of the base words (they"
    assert any(said in note for note in report.notes)
    rows = array(words.embeddings)
    np.testing.assert_allclose(rows[5], rows[[2, 4, 6]].mean(axis=0), atol=0.1)


def test_words_about_which_nothing_is_known_are_told_at_once(capsys):
    words = WarmStartEmbedding(output_dim=3, vocabulary=BASE, name="words")
    words.build()
    warm_start(words, NEW, new_embeddings_initializer="subword", verbose=1)
    said = "Warm start: layer 'words': 1 of 2 new words started from the mean"
    assert said in capsys.readouterr().out


def test_integers_have_no_parts():
    rows = new_rows("subword", [11, 12], [11, 12, 112], np.array([[1.0], [2.0]]))
    assert rows[112] == 1.5


# --- `ContextRows` ---


def slow_context(texts, new, window, base=BASE, matrix=MATRIX):
    """What the documentation of `ContextRows` says, place by place."""
    is_word = [token not in ("", "[UNK]") for token in new]
    kept = {t for t, is_one in zip(new, is_word, strict=True) if is_one and t in base}
    contexts = defaultdict(list)
    for text in texts:
        words = text.split()
        for i, word in enumerate(words):
            around = words[max(0, i - window) : i] + words[i + 1 : i + 1 + window]
            rows = [matrix[base.index(other)] for other in around if other in kept]
            if rows:
                contexts[word].append(np.mean(rows, axis=0))
    seen = [word for word in kept if contexts[word]]
    u = np.array([np.mean(contexts[word], axis=0) for word in seen])
    v = np.array([matrix[base.index(word)] for word in seen])
    n = np.diag([math.log1p(len(contexts[word])) for word in seen])
    ridge = 1e-3 * np.trace(u.T @ n @ u) / u.shape[1]
    map_ = np.linalg.inv(u.T @ n @ u + ridge * np.eye(u.shape[1])) @ u.T @ n @ v
    return {
        word: np.mean(contexts[word], axis=0) @ map_
        for word in new
        if word not in base and contexts[word]
    }


SENTENCES = [
    "film the plot filmed bad xyz film",
    "filmed bad",
    "films film filmed film plot plot plot plot plot xyz",
    "the the xyz the",
    "bad plot film",
]


# More texts than are read at a time. The one at the end is so long that it is processed
# alone if rows have 128 numbers, and so are those that are read with it.
LONG_TEXT = " ".join(["film the xyz bad filmed"] * (context.NUMBERS // 128 // 5 + 1))
MANY = [*SENTENCES * (context.TEXTS // len(SENTENCES) + 1), LONG_TEXT]


@pytest.mark.parametrize("window", [1, 2, 9])
@pytest.mark.parametrize("texts", [SENTENCES, MANY], ids=["few", "many"])
def test_context_rows_are_those_of_the_slow_way(window, texts):
    matrix = np.random.default_rng(0).normal(size=(len(BASE), 128))
    method = ContextRows(texts, vectorizer(), window=window, verbose=0)
    found = new_rows(method, matrix=matrix)
    wanted = slow_context(texts, NEW, window, matrix=matrix)
    assert set(wanted) == {"filmed", "xyz"}
    for word, row in wanted.items():
        np.testing.assert_allclose(found[word], row, atol=1e-8)


def test_a_word_in_the_place_of_another_gets_its_row():
    # By hand: each word's context is one other word's row, and the map turns one into
    # the other; "new" stands where "b" does, beside "a".
    base, new = ["a", "b"], ["a", "b", "new"]
    matrix = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = new_rows(
        ContextRows(["a b"] * 5 + ["a new"], vectorizer(["", "[UNK]", *new]), verbose=0),
        base,
        new,
        matrix,
    )
    np.testing.assert_allclose(found["new"], [0, 1], atol=2e-3)


@pytest.mark.parametrize(
    "texts",
    [
        np.array(SENTENCES),
        (text for text in SENTENCES),
        tf.data.Dataset.from_tensor_slices(SENTENCES),
        tf.data.Dataset.from_tensor_slices((SENTENCES, [0] * 5)).batch(2),
        [SENTENCES[:2], SENTENCES[2:]],
        [text.encode() for text in SENTENCES],
    ],
    ids=["array", "generator", "dataset", "batches of pairs", "lists", "bytes"],
)
def test_texts_come_in_many_forms(texts):
    wanted = slow_context(SENTENCES, NEW, 5)
    found = new_rows(ContextRows(texts, vectorizer(), verbose=0))
    np.testing.assert_allclose(found["xyz"], wanted["xyz"], atol=1e-8)


def test_ids_may_be_ragged_and_of_another_vocabulary():
    other = keras.layers.TextVectorization(
        vocabulary=["other", *NEW[:1:-1]], ragged=keras.backend.backend() == "tensorflow"
    )
    wanted = slow_context(SENTENCES, NEW, 5)
    found = new_rows(ContextRows(SENTENCES, other, verbose=0))
    np.testing.assert_allclose(found["xyz"], wanted["xyz"], atol=1e-8)


def test_words_that_are_not_in_the_texts_start_from_the_mean():
    found = new_rows(ContextRows(["film plot filmed"], vectorizer(), verbose=0))
    np.testing.assert_allclose(found["xyz"], mean_of_words())
    # Nothing is learned where no two kept words stand together.
    found = new_rows(ContextRows(["film xyz"], vectorizer(), verbose=0))
    np.testing.assert_allclose(found["xyz"], mean_of_words())


def test_a_progress_bar_counts_the_texts(capsys):
    new_rows(ContextRows(SENTENCES, vectorizer()))
    assert "5/5" in capsys.readouterr().out
    new_rows(ContextRows([SENTENCES * 100] * 2, vectorizer()))
    said = capsys.readouterr().out
    assert "1000" in said
    assert len(said) < 1000
    new_rows(ContextRows(SENTENCES, vectorizer(), verbose=0))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("text", vectorizer), "`texts` must be a list.*Received: 'text'"),
        ((3, vectorizer), "`texts` must be a list.*of type int"),
        (({"text": TEXTS}, vectorizer), "`texts` must be a list.*of type dict"),
        ((TEXTS, lambda: str.split), "`vectorizer` must be a layer.*Received: .*str"),
        ((TEXTS, lambda: 3), "`vectorizer` must be a layer.*Received: 3"),
    ],
)
def test_context_rows_need_texts_and_a_vectorizer(arguments, message):
    texts, make = arguments
    with pytest.raises(WarmStartError, match=message):
        ContextRows(texts, make())


@pytest.mark.parametrize("window", [0, -1, 2.5, None])
def test_the_window_is_a_positive_integer(window):
    message = rf"`window` must be a positive integer. Received: window={window}"
    with pytest.raises(WarmStartError, match=message):
        ContextRows(TEXTS, vectorizer(), window=window)


def test_texts_that_can_be_read_once_serve_one_table():
    method = ContextRows((text for text in TEXTS), vectorizer(), verbose=0)
    new_rows(method)
    with pytest.raises(WarmStartError, match=r"`texts` .*Received: none.*a list"):
        new_rows(method)


def test_texts_must_be_strings():
    message = r"`texts` must be strings.* Received: '\[1, 2\]'"
    with pytest.raises(WarmStartError, match=message):
        new_rows(ContextRows([[1, 2]], vectorizer(), verbose=0))


def test_the_vectorizer_must_make_ids():
    message = r'`vectorizer` must .* ids.*output_mode="int".*Received: .*'
    with pytest.raises(WarmStartError, match=message + "another `output_mode`"):
        ContextRows(TEXTS, vectorizer(output_mode="count"))

    class Odd(keras.layers.TextVectorization):
        def call(self, texts):
            return np.ones((len(texts), 3))

    with pytest.raises(WarmStartError, match=message + "dtype=float"):
        new_rows(ContextRows(TEXTS, Odd(vocabulary=NEW[2:]), verbose=0))
    for id_ in (-1, 99):
        Odd.call = lambda self, texts, id_=id_: np.full((len(texts), 3), id_)
        with pytest.raises(WarmStartError, match=f"Received: ids from {id_} to {id_}"):
            new_rows(ContextRows(TEXTS, Odd(vocabulary=NEW[2:]), verbose=0))
    Odd.call = lambda self, texts: np.ones((1, 3), int)
    with pytest.raises(WarmStartError, match=r"shape=\(1, 3\) for 4 texts"):
        new_rows(ContextRows(TEXTS, Odd(vocabulary=NEW[2:]), verbose=0))


@pytest.mark.parametrize("vocabulary", [BASE, NEW[:2]])
def test_the_vectorizer_must_know_the_new_words(vocabulary):
    stale = keras.layers.TextVectorization(vocabulary=vocabulary[2:] or None)
    message = r"`vectorizer` must have .*Received: .* none of the 2 new.*adapt\(texts\)"
    with pytest.raises(WarmStartError, match=message):
        new_rows(ContextRows(TEXTS, stale, verbose=0))


def test_a_repeated_new_word_has_one_context():
    new = ["filmed", "film", "filmed", "plot", "bad"]
    rows = remap(
        MATRIX[2:],
        RowMap(BASE[2:], new),
        new_embeddings_initializer=ContextRows(
            ["film filmed plot bad"], vectorizer(), verbose=0
        ),
    )
    assert rows[0].tobytes() == rows[2].tobytes()
    assert not np.allclose(rows[0], mean_of_words())


# --- `PretrainedRows` ---


def slow_sparsemax(values):
    """The threshold by bisection: what is above it adds up to 1."""
    low, high = min(values) - 1, max(values)
    for _ in range(200):
        middle = (low + high) / 2
        total = sum(max(value - middle, 0) for value in values)
        low, high = (middle, high) if total > 1 else (low, middle)
    return np.array([max(value - low, 0) for value in values])


@given(
    st.lists(
        st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_sparsemax_is_that_of_the_slow_way(rows):
    found = pretrained.sparsemax(np.array(rows, "float32"))
    np.testing.assert_allclose(found, [*map(slow_sparsemax, rows)], atol=1e-6)


def test_sparsemax_by_hand():
    values = np.array([[0.5, 0.5, 0.0], [2.0, 0.0, 0.0], [0.6, 0.2, -0.2]])
    wanted = [[0.5, 0.5, 0], [1, 0, 0], [0.7, 0.3, 0]]
    np.testing.assert_allclose(pretrained.sparsemax(values), wanted, atol=1e-12)


def slow_pretrained(vectors, base, new, matrix):
    kept = [token for token in new if token in base and token in vectors]
    rows = {}
    for token in new:
        if token not in base and token in vectors:
            a = np.array(vectors[token], float)
            cosines = [
                a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                for b in (np.array(vectors[other], float) for other in kept)
            ]
            weights = slow_sparsemax(cosines)
            rows[token] = weights @ [matrix[base.index(other)] for other in kept]
    return rows


@pytest.mark.parametrize("nearest", [1, 2, 7, 256])
def test_mixtures_are_those_of_the_slow_way(nearest):
    random = np.random.default_rng(0)
    vectors, others = random.normal(size=(30, 6)), random.normal(size=(40, 6))
    for each in (vectors, others):
        each /= np.linalg.norm(each, axis=1, keepdims=True)
    used, weights = pretrained.mixtures(vectors, others, nearest)
    found = np.zeros((30, 40))
    found[:, used] = weights
    wanted = [slow_sparsemax(cosines) for cosines in vectors @ others.T]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_pretrained_rows_are_those_of_the_slow_way():
    random = np.random.default_rng(0)
    base = ["[UNK]", *(f"kept{i}" for i in range(40))]
    new = ["[UNK]", *base[:5:-1], *(f"new{i}" for i in range(30))]
    matrix = random.normal(size=(len(base), 3))
    vectors = {
        word: random.normal(size=6)
        for word in [*base, *new]
        if word not in ("[UNK]", "kept9")
    }
    found = new_rows(PretrainedRows(vectors), base, new, matrix)
    for word, row in slow_pretrained(vectors, base, new, matrix).items():
        np.testing.assert_allclose(found[word], row, atol=1e-5)
    some = list(found.values())
    lowest, highest = matrix[6:].min(axis=0), matrix[6:].max(axis=0)
    assert (some >= lowest - 1e-6).all()  # a convex combination
    assert (some <= highest + 1e-6).all()


@pytest.mark.parametrize("size", [1, 2, 7, 256])
def test_words_with_a_vector_get_a_row_and_all_others_the_mean(size):
    random = np.random.default_rng(0)
    place, matrix = random.integers(-1, 9, 30), random.normal(size=(9, 3))
    mean = matrix.mean(axis=0)
    made = pretrained.filled(mean, place, lambda places: matrix[places], size)
    wanted = [mean if row == -1 else matrix[row] for row in place[4:27]]
    np.testing.assert_array_equal(made(4, 27, ()), wanted)


def test_the_nearest_word_alone_counts_where_no_other_is_near():
    vectors = {"film": [3, 0], "bad": [-1, 0], "plot": [0, 2], "xyz": [5, 0]}
    rows = new_rows(PretrainedRows(vectors))
    np.testing.assert_allclose(rows["xyz"], MATRIX[2], atol=1e-6)


def test_words_without_a_vector_start_from_the_mean_and_are_counted():
    vectors = {**VECTORS, "xyz": [0, 0, 0]}  # of no direction
    words = WarmStartEmbedding(output_dim=3, vocabulary=BASE, name="words")
    words.build()
    words.set_weights([MATRIX])
    report = warm_start(
        words, NEW, new_embeddings_initializer=PretrainedRows(vectors), verbose=0
    )
    np.testing.assert_allclose(array(words.embeddings)[5], mean_of_words(), atol=1e-6)
    assert any("1 of 2 new words started from the mean" in note for note in report.notes)


class KeyedVectors:
    """The part of gensim's class of this name that is used."""

    def __init__(self, vectors):
        self.key_to_index = {word: row for row, word in enumerate(vectors)}
        self.vectors = np.array([*vectors.values()], "float32")


def written(path, vectors, header=False, opened=open):
    with opened(path, "wt", encoding="utf-8") as file:
        if header:
            file.write(f"{len(vectors)} 3\n")
        for word, vector in vectors.items():
            file.write(f"{word} {' '.join(map(str, vector))}\n")
    return path


@pytest.mark.parametrize(
    "form", ["bytes", "KeyedVectors", "GloVe", "word2vec", "gzip", "path as text"]
)
@pytest.mark.parametrize("direct", [False, True])
def test_vectors_come_in_many_forms(form, direct, tmp_path):
    vectors = {"unused": [1, 1, 1], "of two words": [9, 9, 9], **VECTORS}
    path = tmp_path / ("vectors.txt.gz" if form == "gzip" else "vectors.txt")
    made = {
        "bytes": lambda: {word.encode(): v for word, v in vectors.items()},
        "KeyedVectors": lambda: KeyedVectors(vectors),
        "GloVe": lambda: written(path, vectors),
        "word2vec": lambda: written(path, vectors, header=True),
        "gzip": lambda: written(path, vectors, opened=gzip.open),
        "path as text": lambda: str(written(path, vectors)),
    }[form]()
    found = new_rows(PretrainedRows(made, direct=direct))
    wanted = new_rows(PretrainedRows(vectors, direct=direct))
    np.testing.assert_allclose(found["filmed"], wanted["filmed"], atol=1e-7)


def test_words_with_spaces_in_a_file(tmp_path):
    path = written(tmp_path / "vectors.txt", {"film": [1, 2, 3], "a b": [4, 5, 6]})
    rows = new_rows(
        PretrainedRows(path, direct=True), ["film"], ["film", "a b"], np.ones((1, 3))
    )
    assert rows["a b"].tolist() == [4, 5, 6]


def test_a_vector_is_the_row_itself_where_the_user_says_so():
    rows = new_rows(PretrainedRows(VECTORS, direct=True))
    np.testing.assert_allclose(rows["filmed"], VECTORS["filmed"])
    np.testing.assert_allclose(rows["xyz"], mean_of_words())


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (3, "`vectors` must be .*Received: .*of type int"),
        ([1, 2], "`vectors` must be .*Received: .*of type list"),
        ("no/such/file.txt", "`vectors` must be .*Received: 'no/such/file.txt'"),
    ],
)
def test_what_gives_no_vectors_is_refused_at_once(vectors, message):
    with pytest.raises(WarmStartError, match=message):
        PretrainedRows(vectors)


@pytest.mark.parametrize(
    ("vectors", "direct", "message"),
    [
        (
            {"film": [1, 2], "bad": [1]},
            False,
            r"`vectors` must .*one length.*\(1,\), \(2,\)",
        ),
        ({"film": 1.0}, False, r"`vectors` must .*one length.*\(\)"),
        ({"film": ["a"]}, False, "`vectors` must .* numbers .*Received: .*could"),
        (
            {"xyz": [1, 2]},
            True,
            "`vectors` must .*: 3. Received: vectors of length 2.*without `direct`",
        ),
    ],
)
def test_vectors_must_be_numbers_of_one_length(vectors, direct, message):
    with pytest.raises(WarmStartError, match=message):
        new_rows(PretrainedRows(vectors, direct=direct))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"film 1 2 3\nplot 1 two 3\n", "line 2 of .*plot 1 two 3"),
        (b"film 1 2 3\nplot 1 2\n", "line 2 of .*plot 1 2"),
        (b"film,1,2\nplot,1,2\n", "line 1 of .*film,1,2"),
        (b"2 3\nfilm 1 2\n", "line 2 of .*film 1 2"),
        (b"2 3\nfilm \x01\x02\xff\n", "line 2 of"),
    ],
)
def test_a_file_must_have_a_word_and_numbers_in_each_line(content, line, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(WarmStartError, match=f"`binary=False`.* Received: {line}"):
        new_rows(PretrainedRows(path))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbffilmed 1 2 3\n",
        b"\nfilmed 1 2 3\r\n\r\n",
        b"film\t3\t3\t3\nfilmed\t1\t2\t3\n",
    ],
    ids=["byte-order mark", "blank lines and CRLF", "tabs"],
)
def test_files_of_other_hands(content, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    rows = new_rows(PretrainedRows(path, direct=True))
    assert rows["filmed"].tolist() == [1, 2, 3]


def test_a_file_that_cannot_be_read_is_an_error_of_ours(tmp_path):
    path = tmp_path / "vectors.gz"
    path.write_bytes(b"film 1 2 3\n")
    with pytest.raises(WarmStartError, match="raised BadGzipFile: Not a gzipped file"):
        new_rows(PretrainedRows(path))


@pytest.mark.parametrize("direct", [False, True])
def test_vectors_that_are_not_finite_are_none(direct):
    vectors = {**VECTORS, "filmed": [np.nan, 1, 1], "xyz": [np.inf, 0, 0]}
    for row in new_rows(PretrainedRows(vectors, direct=direct)).values():
        np.testing.assert_allclose(row, mean_of_words())


# --- through models ---


@each_method
@pytest.mark.parametrize("how", ["layer", "argument", "callback"])
def test_each_way_to_give_a_method_gives_the_same_rows(method, how):
    def built(initializer=None):
        words = WarmStartEmbedding(
            output_dim=3,
            vocabulary=BASE,
            name="words",
            new_embeddings_initializer=initializer,
        )
        model = on_ids(words)
        words.set_weights([MATRIX])
        return model, words

    model, words = built(method() if how == "layer" else None)
    if how == "callback":
        callback = VocabularyWarmStart(
            NEW, new_embeddings_initializer=method(), verbose=0
        )
        model.optimizer.learning_rate = 0.0
        model.fit(np.ones((2, LENGTH)), np.ones((2, 1)), verbose=0, callbacks=[callback])
    else:
        given = method() if how == "argument" else None
        warm_start(model, NEW, new_embeddings_initializer=given, verbose=0)
    if method is METHODS["gaussian"]:  # which depends on the layer's name
        assert not np.allclose(array(words.embeddings)[3], mean_of_words())
        return
    for word, row in new_rows(method()).items():
        np.testing.assert_allclose(
            array(words.embeddings)[NEW.index(word)], row, atol=1e-5
        )


@each_method
def test_a_layer_is_saved_with_its_method(method, tmp_path):
    words = WarmStartEmbedding(
        output_dim=3, vocabulary=BASE, name="words", new_embeddings_initializer=method()
    )
    keras.Sequential([keras.Input((3,)), words]).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    if method in (
        METHODS["context"],
        METHODS["pretrained"],
        METHODS["pretrained, direct"],
    ):
        message = "Received: .*Pass `new_embeddings_initializer="
        with pytest.raises(WarmStartError, match=message):
            plan_warm_start(loaded, NEW)
        warm_start(loaded, NEW, new_embeddings_initializer=method(), verbose=0)
    else:
        warm_start(loaded, NEW, verbose=0)
    assert loaded.get_layer("words").get_vocabulary() == NEW


@pytest.mark.parametrize("counts", ["count", "multi_hot"])
def test_rows_of_a_bag_of_words_kernel_start_from_its_oov_row(counts):
    how = {"output_mode": counts, "max_tokens": 6, "pad_to_max_tokens": True}
    before = vectorizer(["", "[UNK]", "film", "plot"], **how)
    after = vectorizer(["", "[UNK]", "twist", "plot", "film"], **how)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, name="dense")])
    texts = ["film twist", "plot zebra film"]
    predicted = model(array(before(texts)))
    warm_start(
        model,
        {"dense": after},
        base_vocabularies={"dense": before},
        new_embeddings_initializer="oov",
        verbose=0,
    )
    np.testing.assert_allclose(
        array(model(array(after(texts)))), array(predicted), atol=1e-6
    )


# --- the optimizer's slots of new rows ---


@pytest.mark.parametrize("where", ["model", "previous"])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("Adam", {}),
        ("SGD", {"momentum": 0.9}),
        ("Adagrad", {}),
        ("Ftrl", {}),
        ("Adam", {"use_ema": True}),
    ],
)
def test_slots_of_new_rows_start_as_a_fresh_optimizers(name, how, where):
    def built(vocabulary):
        words = WarmStartEmbedding(output_dim=3, vocabulary=vocabulary, name="words")
        return on_ids(words, getattr(keras.optimizers, name)(name="slots", **how))

    def slots(model):
        found = {}
        for variable in model.optimizer.variables:
            if len(variable.shape) == 2 and variable.shape[1] == 3:
                found[variable.path] = array(variable)
        return found

    model = built(BASE)
    ids = np.random.default_rng(0).integers(0, len(BASE), (8, LENGTH))
    model.train_on_batch(ids, np.ones((8, 1)))
    before, other = slots(model), built(NEW)
    other.optimizer.build(other.trainable_variables)
    fresh = slots(other)
    assert before
    if where == "previous":
        previous, model = model, built(NEW)
        warm_start(model, previous=previous, verbose=0)
    else:
        warm_start(model, NEW, verbose=0)
    for path, slot in slots(model).items():
        kept = before[path][[4, 5, 2]]  # of "plot", "bad", "film"
        wanted = fresh[path][3]
        if "average" in path:
            wanted = array(model.get_layer("words").embeddings)[3]
        assert slot[3].tobytes() == wanted.tobytes(), path
        assert slot[[2, 4, 6]].tobytes() == kept.tobytes(), path


@pytest.mark.parametrize("how", [{"optimizer_state": "reset"}, {"min_kept": 0}])
@pytest.mark.parametrize("name", ["Adam", "Adafactor"])
def test_slots_start_as_fresh_ones_where_none_is_kept(how, name):
    words = WarmStartEmbedding(output_dim=3, vocabulary=BASE, name="words")
    model = on_ids(words, getattr(keras.optimizers, name)())
    model.train_on_batch(np.ones((8, LENGTH)), np.ones((8, 1)))
    new = ["", "[UNK]", "none", "of", "these", "stayed"] if "min_kept" in how else NEW
    warm_start(model, new, verbose=0, **how)
    for variable in model.optimizer.variables:
        if variable.shape == (len(new), 3):
            assert not array(variable)[2:].any()


def test_gradients_that_wait_to_be_applied_stay_with_their_words():
    adam = keras.optimizers.Adam(gradient_accumulation_steps=3)
    model = on_ids(WarmStartEmbedding(output_dim=3, vocabulary=BASE, name="words"), adam)
    model.train_on_batch(np.arange(10).reshape(2, LENGTH) % 6, np.ones((2, 1)))
    warm_start(model, NEW, verbose=0)
    pending = [v for v in adam.variables if "accumul" in v.path and v.shape == (7, 3)]
    assert pending
    for variable in pending:
        assert array(variable)[[2, 4, 6]].any()
        assert not array(variable)[[3, 5]].any()
