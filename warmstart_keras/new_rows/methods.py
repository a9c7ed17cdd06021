"""Ways to the rows of new words that look at the rows that there are."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from warmstart_keras.new_rows.base_rows import BaseRows, CopyOfBase, MeanOfBase, parts
from warmstart_keras.vocabulary import RowMap, Token, Vocabulary


@dataclass(frozen=True, eq=False)
class Fitted:
    """A way to new rows that has learned all that it needs.

    Attributes:
        rows: Called `(start, stop, seed)`; gives the new rows from `start` to `stop`,
            with all numbers of a row along one axis. `seed` is that of this part.
        remark: What the user should know about it.
    """

    rows: Callable[[int, int, tuple], np.ndarray]
    remark: str | None = None


class RowMethod:
    """How rows of new words are worked out from the rows that there are."""

    def __repr__(self) -> str:
        about = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({about})"

    def get_config(self) -> dict:
        """The arguments of the class, as Keras saves them with a layer."""
        return {}

    @classmethod
    def from_config(cls, config: dict) -> "RowMethod":
        """What `get_config` describes."""
        return cls(**config)


class CopyingMethod(RowMethod, ABC):
    """A method that takes old rows, or their mean, and learns nothing."""

    @abstractmethod
    def start(self, row_map: RowMap) -> MeanOfBase | CopyOfBase:
        """Which old rows the new ones start from."""


class LearningMethod(RowMethod, ABC):
    """A method that first learns something from the old rows.

    Words about which it learns nothing, and rows that are no word's, start from the mean
    of the base's words.
    """

    def check(self) -> None:
        """Refuses to be used without the data that it learns from."""

    @abstractmethod
    def fit(self, row_map: RowMap, base: BaseRows) -> Fitted:
        """Learns what new rows are made of."""


@keras.saving.register_keras_serializable(package="warmstart_keras")
class MeanRows(CopyingMethod):
    """New rows start from the mean of the base's word rows; `"mean"` by name.

    What Hugging Face Transformers does. See John Hewitt, "Initializing New Word
    Embeddings for Pretrained Language Models" (2021).

    Examples:
        >>> import numpy as np
        >>> from warmstart_keras import RowMap, remap
        >>> row_map = RowMap(["[UNK]", "a", "b"], ["[UNK]", "b", "new"])
        >>> matrix = np.array([[9.0], [1.0], [2.0]])
        >>> remap(matrix, row_map, new_embeddings_initializer="mean")
        array([[9. ],
               [2. ],
               [1.5]])
    """

    def start(self, row_map: RowMap) -> MeanOfBase:
        """The rows of all words."""
        return MeanOfBase(row_map.base.word_rows)


@keras.saving.register_keras_serializable(package="warmstart_keras")
class OOVRows(CopyingMethod):
    """New rows start as copies of the OOV row that served them before; `"oov"` by name.

    So what a model makes of a text whose words only gained rows stays as it was: bit for
    bit what the embedding gives, and all that follows from it. Of several OOV rows each
    word takes the one that the lookup layer had hashed it to; where it is not known how
    they were chosen, their mean. Where there was no OOV row, the mean of the words. New
    rows that are no word's start as the first OOV row.

    Examples:
        >>> import numpy as np
        >>> from warmstart_keras import RowMap, remap
        >>> row_map = RowMap(["[UNK]", "a"], ["[UNK]", "a", "new"])
        >>> matrix = np.array([[9.0], [1.0]])
        >>> remap(matrix, row_map, new_embeddings_initializer="oov")
        array([[9.],
               [1.],
               [9.]])
    """

    def start(self, row_map: RowMap) -> MeanOfBase | CopyOfBase:
        """The OOV row of each word."""
        base, words = row_map.base, row_map.new_words
        oov = np.asarray(base.oov_rows, np.int64)
        if len(oov) == 0:
            return MeanOfBase(
                base.word_rows,
                started(words, words, "the mean of the words (there was no OOV row)"),
            )
        rows = np.repeat(oov[0], len(words))
        is_word = np.array([word is not None for word in words], bool)
        if len(oov) > 1 and is_word.any():
            buckets = _buckets([word for word in words if word is not None], base)
            if buckets is None:
                which = f"it is not known which of {len(oov)} served which word"
                remark = started(words, words, f"the mean of the OOV rows ({which})")
                return MeanOfBase(oov, remark)
            rows[is_word] = oov[buckets]
        return CopyOfBase(rows)


@keras.saving.register_keras_serializable(package="warmstart_keras")
class GaussianRows(LearningMethod):
    """New rows are drawn around the mean of the words' rows; `"gaussian"` by name.

    From the normal distribution that has the mean and the covariance of the base's word
    rows. Where the covariance is singular, as with fewer words than a row has numbers,
    they are drawn within the span of the rows; where it is not finite, they are the
    mean. See John Hewitt, "Initializing New Word Embeddings for Pretrained Language
    Models" (2021).

    Examples:
        >>> import numpy as np
        >>> from warmstart_keras import RowMap, remap
        >>> row_map = RowMap(["a", "b"], ["a", "b", "new"])
        >>> matrix = np.array([[0.0, 3.0], [1.0, 3.0]])
        >>> remap(matrix, row_map, new_embeddings_initializer="gaussian")[2, 1]
        np.float64(3.0)
    """

    def fit(self, row_map: RowMap, base: BaseRows) -> Fitted:
        """Works out the mean and a root of the covariance."""
        words = row_map.base.word_rows
        mean = base.mean_of_words()
        covariance = np.zeros((len(mean), len(mean)))
        for places in parts(words):
            centred = base.rows(places) - mean
            covariance += centred.T @ centred
        root = _root(covariance / len(words))

        def rows(start: int, stop: int, seed: tuple) -> np.ndarray:
            draws = np.random.default_rng(derive_seed(*seed))
            return mean + draws.standard_normal((stop - start, len(mean))) @ root

        return Fitted(rows)


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric root of a matrix that may be singular."""
    if not np.isfinite(covariance).all():
        return np.zeros_like(covariance)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def _buckets(words: list[Token], base: Vocabulary) -> np.ndarray | None:
    """Which OOV row served each word, as Keras's lookup layers choose it (V6, V16)."""
    import tensorflow as tf

    number, hashing = len(base.oov_rows), base.hashing
    if hashing == "floormod":
        return np.array(words, np.int64) % number
    if hashing != "farmhash" and not (hashing or "").startswith("siphash["):
        return None
    # Keras gives the tokens to TensorFlow as bytes, integers by their digits.
    texts = [
        w if isinstance(w, bytes) else str(w).encode("utf-8", "surrogatepass")
        for w in words
    ]
    tensor = tf.constant(texts, tf.string, shape=(len(texts),))
    if hashing == "farmhash":
        return tf.strings.to_hash_bucket_fast(tensor, number).numpy()
    assert hashing is not None
    salt = [int(part) for part in hashing.removeprefix("siphash").strip("[]").split(",")]
    return tf.strings.to_hash_bucket_strong(tensor, number, salt).numpy()


def without(words: list[Token | None], found: Any, because: str) -> str | None:
    """The remark about words of which a method knows nothing, if there are any.

    Args:
        words: The word of each new row; None for what is no word's.
        found: Whether the method knows something, for each of them.
        because: What the others have not.
    """
    lost = [word for word, is_found in zip(words, found, strict=True) if not is_found]
    return started(words, lost, f"the mean of the words ({because})")


def started(words: list, some: list, where: str) -> str | None:
    """The remark about where some of the new words start, if there are any."""
    all_, number = (sum(word is not None for word in each) for each in (words, some))
    if not number:
        return None
    return f"of its new words ({all_:,}), {number:,} started from {where}."


def derive_seed(*parts: Any) -> int:
    """A seed from plain values, the same in every process."""
    digest = hashlib.sha256(json.dumps(parts, default=int).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
