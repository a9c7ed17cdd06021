"""Check that a dataset yields the ids of the present vocabulary."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from warmstart_keras.backend import tensors
from warmstart_keras.errors import WarmStartError

_CURE = (
    "A mapped dataset and a cache on disk keep the ids of the vocabulary that they were "
    "made with. Map the dataset again, `dataset = texts.map(vectorizer)`, after each "
    "rebuild, and put `Vocabulary(vectorizer).fingerprint` into the file name of a cache."
)


def check_pipeline(dataset: Any, vectorizer: Any, texts: Any) -> None:
    """Checks that a dataset yields the ids of the vectorizer's present vocabulary.

    A dataset made by `dataset.map(vectorizer)` before a rebuild keeps the old ids, and so
    does a file written by `.cache(path)`. No error is raised, but the model trains on
    ids that stand for other words.

    Examples:
        >>> import keras, tensorflow as tf
        >>> from warmstart_keras import check_pipeline
        >>> texts = ["a good film", "a bad film"]
        >>> vectorizer = keras.layers.TextVectorization()
        >>> vectorizer.adapt(texts)
        >>> dataset = tf.data.Dataset.from_tensor_slices(texts).batch(2).map(vectorizer)
        >>> check_pipeline(dataset, vectorizer, texts)

    Args:
        dataset: The dataset that `fit` gets, not shuffled. It yields batches or single
            rows of ids, or tuples that have the ids as their first element.
        vectorizer: The layer that maps texts to ids.
        texts: List, array or tensor with the texts of the first rows of `dataset`.

    Raises:
        WarmStartError: If the ids of a text differ, if the dataset yields no ids or
            fewer rows than `texts` has, or if `texts` is empty. Zeros at the end of a
            row are ignored, since they are padding.
    """
    if isinstance(texts, str | bytes) or not len(texts):
        raise WarmStartError(
            "`texts` must be a list, array or tensor of at least one text. "
            f"Received: {texts!r}"
        )
    texts = (
        list(texts)
        if isinstance(texts, list | tuple)
        else tensors.data_to_numpy(texts).tolist()
    )
    expected = _rows(vectorizer(np.array(texts, dtype=object)), None)
    rank = expected[0].ndim
    found = list(islice(_dataset_rows(dataset, rank), len(texts)))
    for text, ours, theirs in zip(texts, expected, found, strict=False):
        if not np.array_equal(_unpadded(ours), _unpadded(theirs)):
            raise WarmStartError(
                "`dataset` must yield the ids that `vectorizer` gives now. "
                f"Received: for the text {_shown(text)} the ids "
                f"{_unpadded(theirs).tolist()}, but the vectorizer gives "
                f"{_unpadded(ours).tolist()}. {_CURE}"
            )
    if len(found) < len(texts):
        raise WarmStartError(
            f"`dataset` must yield a row for each of the {len(texts)} texts. "
            f"Received: {len(found)} rows. Pass only the texts of rows that the dataset "
            "yields."
        )


def _dataset_rows(dataset: Any, rank: int) -> Iterator[np.ndarray]:
    for element in dataset:
        while isinstance(element, list | tuple):
            element = element[0]
        if isinstance(element, dict):
            raise WarmStartError(
                "`dataset` must yield ids, or tuples that have the ids as their first "
                f"element. Received: dictionaries with the keys {sorted(element)}. Pass "
                "one entry: `dataset.map(lambda features, *_: features[key])`."
            )
        yield from _rows(element, rank)


def _rows(ids: Any, rank: int | None) -> list[np.ndarray]:
    """Splits a batch into its rows; a single row, recognized by its rank, stays whole."""
    if hasattr(ids, "to_list"):  # tf.RaggedTensor
        return [np.asarray(row) for row in ids.to_list()]
    array = tensors.data_to_numpy(ids)
    return [array] if array.ndim == rank else list(array)


def _shown(text: Any) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return repr(text[:60] if isinstance(text, str) else text)


def _unpadded(row: np.ndarray) -> np.ndarray:
    """Removes the zeros at the end of a row, since batches have different padding."""
    if row.ndim != 1:
        return row
    filled = np.flatnonzero(row)
    return row[: filled[-1] + 1 if len(filled) else 0]
