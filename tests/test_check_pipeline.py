"""`check_pipeline`: a dataset that was mapped before a rebuild is found out."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import BACKEND, array

from warmstart_keras import WarmStartError, check_pipeline

TEXTS = ["the film", "a good long film", "the end"]
YESTERDAY = ["the", "film", "end"]  # "the" has the id 2, as after mask and OOV
TODAY = ["film", "the", "good"]  # here 3

Dataset = tf.data.Dataset


@pytest.fixture
def vectorizer():
    return keras.layers.TextVectorization(vocabulary=TODAY)


def mapped(vectorizer, texts=TEXTS, batch=2):
    return Dataset.from_tensor_slices(texts).batch(batch).map(vectorizer)


# --- what passes ---


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda texts, vectorizer: texts.batch(3).map(vectorizer),
        lambda texts, vectorizer: texts.batch(2).map(vectorizer),
        lambda texts, vectorizer: texts.batch(1).map(vectorizer),
        lambda texts, vectorizer: texts.map(vectorizer),
        lambda texts, vectorizer: texts.map(vectorizer).padded_batch(2),
        lambda texts, vectorizer: texts.map(vectorizer).padded_batch(3, 10),
        lambda texts, vectorizer: texts.map(vectorizer).ragged_batch(2),
        lambda texts, vectorizer: texts.batch(2).map(lambda x: (vectorizer(x), 0)),
        lambda texts, vectorizer: texts.map(lambda x: (vectorizer(x), 0)),
        lambda texts, vectorizer: texts.batch(2).map(lambda x: ((vectorizer(x), 1), 0)),
        lambda texts, vectorizer: texts.batch(2).map(vectorizer).prefetch(1),
        lambda texts, vectorizer: texts.batch(2).map(vectorizer).repeat(),
    ],
    ids=[
        "one batch",
        "batches padded each by itself",
        "batches of one",
        "single rows",
        "rows padded to batches",
        "rows padded further",
        "ragged batches",
        "tuples",
        "tuples of single rows",
        "tuples in tuples",
        "prefetch",
        "without end",
    ],
)
def test_a_dataset_that_was_mapped_today_passes(vectorizer, pipeline):
    dataset = pipeline(Dataset.from_tensor_slices(TEXTS), vectorizer)
    assert check_pipeline(dataset, vectorizer, TEXTS) is None


@pytest.mark.parametrize(
    "texts",
    [
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array([text.encode() for text in TEXTS]),
        [text.encode() for text in TEXTS],
        tf.constant(TEXTS),
    ],
    ids=["tuple", "array", "objects", "array of bytes", "list of bytes", "tensor"],
)
def test_texts_may_be_given_in_any_form(vectorizer, texts):
    assert check_pipeline(mapped(vectorizer), vectorizer, texts) is None


def test_the_first_texts_alone_may_be_given(vectorizer):
    assert check_pipeline(mapped(vectorizer), vectorizer, TEXTS[:1]) is None


def test_a_generator_of_numpy_arrays_passes(vectorizer):
    batches = (np.asarray(vectorizer(TEXTS[i : i + 2])) for i in (0, 2))
    assert check_pipeline(batches, vectorizer, TEXTS) is None


def test_a_list_of_pairs_of_numpy_arrays_passes(vectorizer):
    batches = [(np.asarray(vectorizer(TEXTS)), np.zeros(3))]
    assert check_pipeline(batches, vectorizer, TEXTS) is None


@pytest.mark.parametrize("wrap", [keras.ops.convert_to_tensor, tf.constant])
def test_a_generator_of_tensors_passes(vectorizer, wrap):
    batches = (wrap(np.asarray(vectorizer(TEXTS[i : i + 2]))) for i in (0, 2))
    assert check_pipeline(batches, vectorizer, TEXTS) is None


def test_a_data_loader_of_pytorch_passes(vectorizer):
    data = pytest.importorskip("torch.utils.data")
    rows = [(array(vectorizer(text)), 0) for text in TEXTS[:2]]
    loader = data.DataLoader(rows, batch_size=1)
    assert check_pipeline(loader, vectorizer, TEXTS[:2]) is None


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="Keras gives ragged ids on TensorFlow alone"
)
def test_ragged_ids_pass():
    vectorizer = keras.layers.TextVectorization(vocabulary=TODAY, ragged=True)
    assert check_pipeline(mapped(vectorizer), vectorizer, TEXTS) is None


def test_a_text_without_words_passes(vectorizer):
    texts = ["", *TEXTS]
    assert check_pipeline(mapped(vectorizer, texts), vectorizer, texts) is None


def test_bags_of_words_pass():
    vectorizer = keras.layers.TextVectorization(vocabulary=TODAY, output_mode="multi_hot")
    assert check_pipeline(mapped(vectorizer), vectorizer, TEXTS) is None


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_one_id_for_each_text_passes(batch):
    lookup = keras.layers.StringLookup(vocabulary=TODAY)
    words = ["film", "end", "the"]
    assert check_pipeline(mapped(lookup, words, batch), lookup, words) is None


def test_one_id_for_each_element_passes():
    lookup = keras.layers.StringLookup(vocabulary=TODAY)
    words = ["film", "end", "the"]
    dataset = Dataset.from_tensor_slices(words).map(lookup)
    assert check_pipeline(dataset, lookup, words) is None


def test_integers_are_texts_of_an_integer_lookup():
    lookup = keras.layers.IntegerLookup(vocabulary=[7, 5])
    assert check_pipeline(mapped(lookup, [5, 6, 7]), lookup, [5, 6, 7]) is None


@pytest.mark.parametrize("wrap", [list, tf.constant], ids=["list", "tensor"])
def test_texts_that_are_not_utf8_keep_their_ids(wrap):
    lookup = keras.layers.StringLookup()
    lookup.adapt(tf.constant([b"\xff", b"\xfe"]))
    texts = [b"\xff", b"\xfe", b"a"]
    assert check_pipeline(mapped(lookup, texts), lookup, wrap(texts)) is None


# --- what is found out ---


def test_a_dataset_that_was_mapped_before_the_rebuild_fails(vectorizer):
    vectorizer.set_vocabulary(YESTERDAY)
    dataset = mapped(vectorizer)
    vectorizer.set_vocabulary(TODAY)
    message = (
        r"`dataset` must yield the ids that `vectorizer` gives.* "
        r"Received: for the text 'the film' the ids \[2, 3\], .* "
        r"gives \[3, 2\]\. .*Map the dataset again.*Vocabulary\(vectorizer\)\.fingerprint"
    )
    with pytest.raises(WarmStartError, match=message):
        check_pipeline(dataset, vectorizer, TEXTS)


def test_a_dataset_that_was_mapped_before_a_new_adapt_fails():
    vectorizer = keras.layers.TextVectorization()
    vectorizer.adapt(["b b a"])
    dataset = mapped(vectorizer, ["a b"])
    vectorizer.adapt(["a a b"])
    message = r"'a b' the ids \[3, 2\], .* gives \[2, 3\]"
    with pytest.raises(WarmStartError, match=message):
        check_pipeline(dataset, vectorizer, ["a b"])


def test_the_first_text_that_differs_is_named(vectorizer):
    vectorizer.set_vocabulary(["the", "film", "end"])
    dataset = mapped(vectorizer)
    vectorizer.set_vocabulary(["the", "film", "good"])
    message = r"'a good long film' the ids \[1, 1, 1, 3\], .* gives \[1, 4, 1, 3\]"
    with pytest.raises(WarmStartError, match=message):
        check_pipeline(dataset, vectorizer, TEXTS)


def test_texts_after_those_that_are_given_are_not_looked_at(vectorizer):
    vectorizer.set_vocabulary(["the", "film", "end"])
    dataset = mapped(vectorizer)
    vectorizer.set_vocabulary(["the", "film", "good"])
    assert check_pipeline(dataset, vectorizer, TEXTS[:1]) is None


def test_yesterdays_cache_on_disk_fails(vectorizer, tmp_path):
    def pipeline(vectorizer):
        return mapped(vectorizer).cache(str(tmp_path / "ids"))

    yesterday = keras.layers.TextVectorization(vocabulary=YESTERDAY)
    for _ in pipeline(yesterday):
        pass
    message = r"'the film' the ids \[2, 3\], .* \[3, 2\]\. .*a cache on disk"
    with pytest.raises(WarmStartError, match=message):
        check_pipeline(pipeline(vectorizer), vectorizer, TEXTS)


@pytest.mark.parametrize("wrap", [keras.ops.convert_to_tensor, tf.constant])
def test_tensors_that_were_made_before_the_rebuild_fail(vectorizer, wrap):
    vectorizer.set_vocabulary(YESTERDAY)
    batches = [(wrap(np.asarray(vectorizer(TEXTS))), np.zeros(3))]
    vectorizer.set_vocabulary(TODAY)
    message = r"'the film' the ids \[2, 3\], .* gives \[3, 2\]"
    with pytest.raises(WarmStartError, match=message):
        check_pipeline(batches, vectorizer, TEXTS)


def test_one_id_that_is_another_fails():
    lookup = keras.layers.StringLookup(vocabulary=YESTERDAY)
    dataset = mapped(lookup, ["film", "the"])
    lookup.set_vocabulary(TODAY)
    message = r"for the text 'film' the ids 2, .* gives 1"
    with pytest.raises(WarmStartError, match=message):
        check_pipeline(dataset, lookup, ["film", "the"])


def test_a_row_that_is_cut_off_fails(vectorizer):
    dataset = mapped(vectorizer).map(lambda ids: ids[:, :1])
    with pytest.raises(WarmStartError, match=r"the ids \[3\], .* gives \[3, 2\]"):
        check_pipeline(dataset, vectorizer, TEXTS)


def test_long_texts_are_cut_in_the_message(vectorizer):
    with pytest.raises(WarmStartError, match=f"'{'x' * 60}' the ids"):
        check_pipeline([np.array([[5]])], vectorizer, ["x" * 100])


def test_a_dataset_with_fewer_rows_than_texts_fails(vectorizer):
    message = r"a row for each of the 3 texts\. Received: 2 rows"
    with pytest.raises(WarmStartError, match=message):
        check_pipeline(mapped(vectorizer, TEXTS[:2]), vectorizer, TEXTS)


@pytest.mark.parametrize("texts", [[], "the film"])
def test_without_a_list_of_texts_nothing_can_be_compared(vectorizer, texts):
    message = r"`texts` must be a list, array or tensor of at least one text\. Received: "
    with pytest.raises(WarmStartError, match=message):
        check_pipeline(mapped(vectorizer), vectorizer, texts)


def test_features_by_name_are_refused_with_the_cure(vectorizer):
    message = r"dictionaries with the keys \['text'\]\. .*`dataset\.map\(lambda features"
    with pytest.raises(WarmStartError, match=message):
        check_pipeline([{"text": np.zeros((1, 2))}], vectorizer, ["film"])
