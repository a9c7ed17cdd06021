"""`check_pipeline`: whether a dataset yields the ids of today's vocabulary."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from warmstart_keras.backend import tensors
from warmstart_keras.errors import WarmStartError

_CURE = (
    "A dataset mapped with a vectorizer keeps the ids of that moment, and so does a "
    "cache on disk. Map the dataset again after the vocabulary was rebuilt, and put "
    "`Vocabulary(vectorizer).fingerprint` into the name of a cache."
)


def check_pipeline(dataset: Any, vectorizer: Any, texts: Any) -> None:
    """Checks that a dataset yields the ids that the vectorizer gives today.

    A `dataset.map(vectorizer)` made before the vocabulary was rebuilt keeps the old ids
    for ever, and a `.cache(path)` keeps yesterday's: no error anywhere, and every word
    is taken for another.

    Examples:
        >>> import keras, tensorflow as tf
        >>> from warmstart_keras import check_pipeline
        >>> texts = ["a good film", "a bad film"]
        >>> vectorizer = keras.layers.TextVectorization()
        >>> vectorizer.adapt(texts)
        >>> dataset = tf.data.Dataset.from_tensor_slices(texts).batch(2).map(vectorizer)
        >>> check_pipeline(dataset, vectorizer, texts)

    Args:
        dataset: What is given to `fit`, unshuffled: batches or single rows of ids, or
            tuples whose first element they are.
        vectorizer: The layer that maps texts to ids.
        texts: The texts of the first rows of `dataset`: a list, array or tensor.

    Raises:
        WarmStartError: If the ids of a text differ, or the dataset yields fewer rows
            than there are texts, or no ids; or if `texts` has none. Rows that differ in
            trailing padding are equal.
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
                "The dataset must yield the ids that the vectorizer gives today. "
                f"Received: for the text {_shown(text)} the ids "
                f"{_unpadded(theirs).tolist()}, where the vectorizer gives "
                f"{_unpadded(ours).tolist()}. {_CURE}"
            )
    if len(found) < len(texts):
        raise WarmStartError(
            f"The dataset must yield a row for each of the {len(texts)} texts. "
            f"Received: {len(found)} rows"
        )


def _dataset_rows(dataset: Any, rank: int) -> Iterator[np.ndarray]:
    for element in dataset:
        while isinstance(element, list | tuple):
            element = element[0]
        if isinstance(element, dict):
            raise WarmStartError(
                "The dataset must yield ids, or tuples whose first element they are. "
                f"Received: dictionaries with the keys {sorted(element)}. Pick one: "
                "`dataset.map(lambda features, *_: features[key])`."
            )
        yield from _rows(element, rank)


def _rows(ids: Any, rank: int | None) -> list[np.ndarray]:
    """The rows of a batch, which may be ragged; or the one row, if of that rank."""
    if hasattr(ids, "to_list"):  # tf.RaggedTensor
        return [np.asarray(row) for row in ids.to_list()]
    array = tensors.data_to_numpy(ids)
    return [array] if array.ndim == rank else list(array)


def _shown(text: Any) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return repr(text[:60] if isinstance(text, str) else text)


def _unpadded(row: np.ndarray) -> np.ndarray:
    """A row without the zeros at its end: batches are padded to different lengths."""
    if row.ndim != 1:
        return row
    filled = np.flatnonzero(row)
    return row[: filled[-1] + 1 if len(filled) else 0]
