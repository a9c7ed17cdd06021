"""Methods that make the rows of new words from the base rows."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import keras
import numpy as np

from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows.base_rows import CopyOfBase, MeanOfBase, Start, parts
from warmstart_keras.new_rows.start import Fitted, NewRows, RowInitializer, derive_seed
from warmstart_keras.vocabulary import RowMap, Token, Vocabulary


class RowMethod(RowInitializer):
    """Base class of methods that make the rows of new words from the base rows."""

    def __repr__(self) -> str:
        about = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({about})"

    @classmethod
    def from_config(cls, config: dict) -> "RowMethod":
        """Creates a method from the result of `get_config`."""
        return cls(**config)

    def start(self, new: NewRows) -> Start:
        """Checks that the base has words and the method has data; returns the start."""
        if not new.row_map.base.has_words:
            raise WarmStartError(
                "`new_embeddings_initializer` must be a Keras initializer if the base "
                f"vocabulary has no words. Received: {self!r}, which makes new rows from "
                'the rows of base words. Pass `new_embeddings_initializer="uniform"`.'
            )
        self.check()
        return new

    def check(self) -> None:
        """Raises an error if the method has no data to learn from."""


class CopyingMethod(RowMethod, ABC):
    """Base class of methods that copy base rows, or their mean, and learn nothing."""

    def start(self, new: NewRows) -> Start:
        """Checks like `RowMethod.start`, and returns the base rows that are copied."""
        super().start(new)  # raises an error if the method cannot be used
        return self.copied(new.row_map)

    @abstractmethod
    def copied(self, row_map: RowMap) -> MeanOfBase | CopyOfBase:
        """Selects the base rows that the new rows start from."""


class LearningMethod(RowMethod, ABC):
    """Base class of methods that first learn from the base rows.

    Some new rows start from the mean of the base words: the rows of words about which
    the method learned nothing, and the rows that stand for no word.
    """

    learns = True

    @abstractmethod
    def fit(self, new: NewRows) -> Fitted:
        """Learns what it needs to make new rows."""


@keras.saving.register_keras_serializable(package="warmstart_keras")
class MeanRows(CopyingMethod):
    """New rows start from the mean of the base's word rows; `"mean"` by name.

    Hugging Face Transformers uses this start, too. See John Hewitt, "Initializing New
    Word Embeddings for Pretrained Language Models" (2021).

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

    def copied(self, row_map: RowMap) -> MeanOfBase:
        """Selects the rows of all base words."""
        return MeanOfBase(row_map.base.word_rows)


@keras.saving.register_keras_serializable(package="warmstart_keras")
class OOVRows(CopyingMethod):
    """New rows start as copies of the OOV row that served them before; `"oov"` by name.

    If the words of a text were kept, or only gained a row, the output of the model for
    this text stays the same: the embedding returns bit for bit the same rows.

    With several OOV rows, each word starts from the OOV row that the lookup layer had
    hashed it to. If the hash method is unknown, new words start from the mean of the OOV
    rows. Without an OOV row, they start from the mean of the words. New rows that stand
    for no word start as copies of the first OOV row.

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

    def copied(self, row_map: RowMap) -> MeanOfBase | CopyOfBase:
        """Selects the OOV row of each word."""
        base, words = row_map.base, row_map.new_words
        oov = np.asarray(base.oov_rows, np.int64)
        if len(oov) == 0:
            return MeanOfBase(
                base.word_rows,
                started(words, words, "the mean of the base words (there is no OOV row)"),
            )
        rows = np.repeat(oov[0], len(words))
        is_word = np.array([word is not None for word in words], bool)
        if len(oov) > 1 and is_word.any():
            buckets = _buckets([word for word in words if word is not None], base)
            if buckets is None:
                which = f"it is unknown which of {len(oov)} OOV rows served a word"
                remark = started(words, words, f"the mean of the OOV rows ({which})")
                return MeanOfBase(oov, remark)
            rows[is_word] = oov[buckets]
        return CopyOfBase(rows)


@keras.saving.register_keras_serializable(package="warmstart_keras")
class GaussianRows(LearningMethod):
    """New rows are drawn around the mean of the words' rows; `"gaussian"` by name.

    The distribution is normal, with the mean and the covariance of the base's word rows.
    If the covariance is singular, new rows are drawn within the span of the word rows.
    This is so if there are fewer words than numbers in a row. If the covariance is not
    finite, every new row is the mean. See John Hewitt, "Initializing New Word Embeddings
    for Pretrained Language Models" (2021).

    Examples:
        >>> import numpy as np
        >>> from warmstart_keras import RowMap, remap
        >>> row_map = RowMap(["a", "b"], ["a", "b", "new"])
        >>> matrix = np.array([[0.0, 3.0], [1.0, 3.0]])
        >>> remap(matrix, row_map, new_embeddings_initializer="gaussian")[2, 1]
        np.float64(3.0)
    """

    def fit(self, new: NewRows) -> Fitted:
        """Computes the mean and a square root of the covariance."""
        base, words = new.base, new.row_map.base.word_rows
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
    """Computes the symmetric square root of a matrix that may be singular.

    The result is 0 if the matrix is not finite.
    """
    if not np.isfinite(covariance).all():
        return np.zeros_like(covariance)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def _buckets(words: list[Token], base: Vocabulary) -> np.ndarray | None:
    """Finds the OOV row of each word as Keras's lookup layers do; None if unknown."""
    import tensorflow as tf

    number, hashing = len(base.oov_rows), base.hashing
    if hashing == "floormod":
        return np.array(words, np.int64) % number
    if hashing != "farmhash" and not (hashing or "").startswith("siphash["):
        return None
    # Keras passes tokens to TensorFlow as bytes, and integers as their digits.
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


def without(words: list[Token | None], found: np.ndarray, because: str) -> str | None:
    """Returns a remark on the words for which a method found nothing, or None."""
    lost = [word for word, is_found in zip(words, found, strict=True) if not is_found]
    return started(words, lost, f"the mean of the base words ({because})")


def started(
    words: Sequence[Token | None], some: Sequence[Token | None], where: str
) -> str | None:
    """Returns the remark on where some of the new words start; None if there are none."""
    all_, number = (sum(word is not None for word in each) for each in (words, some))
    if not number:
        return None
    return f"{number:,} of {all_:,} new words started from {where}."
