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
    """A method of ours, which makes the rows of new words from the base rows."""

    def __repr__(self) -> str:
        about = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({about})"

    @classmethod
    def from_config(cls, config: dict) -> "RowMethod":
        """What `get_config` describes."""
        return cls(**config)

    def start(self, new: NewRows) -> Start:
        """Checks that the base has a word, and that the data to learn from is there."""
        if not new.row_map.base.has_words:
            raise WarmStartError(
                "New rows can only be made of the rows of old words where there are "
                f"some. Received: {self!r}, and a base vocabulary without any word. Pass "
                'an initializer of Keras, such as "uniform".'
            )
        self.check()
        return new

    def check(self) -> None:
        """Refuses to be used without the data that it learns from."""


class CopyingMethod(RowMethod, ABC):
    """A method that takes base rows, or their mean, and learns nothing."""

    def start(self, new: NewRows) -> Start:
        """What new rows start from, as of `RowMethod`."""
        super().start(new)  # raises if it cannot be used
        return self.copied(new.row_map)

    @abstractmethod
    def copied(self, row_map: RowMap) -> MeanOfBase | CopyOfBase:
        """Which base rows the new ones start from."""


class LearningMethod(RowMethod, ABC):
    """A method that first learns something from the base rows.

    Words about which it learns nothing, and rows that are no word's, start from the mean
    of the base's words.
    """

    learns = True

    @abstractmethod
    def fit(self, new: NewRows) -> Fitted:
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

    def copied(self, row_map: RowMap) -> MeanOfBase:
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

    def copied(self, row_map: RowMap) -> MeanOfBase | CopyOfBase:
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

    def fit(self, new: NewRows) -> Fitted:
        """Works out the mean and a root of the covariance."""
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
    """The symmetric root of a matrix that may be singular."""
    if not np.isfinite(covariance).all():
        return np.zeros_like(covariance)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def _buckets(words: list[Token], base: Vocabulary) -> np.ndarray | None:
    """Which OOV row served each word, as Keras's lookup layers choose it."""
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


def without(words: list[Token | None], found: np.ndarray, because: str) -> str | None:
    """A remark on words for which a method found nothing; None if there are none."""
    lost = [word for word, is_found in zip(words, found, strict=True) if not is_found]
    return started(words, lost, f"the mean of the words ({because})")


def started(
    words: Sequence[Token | None], some: Sequence[Token | None], where: str
) -> str | None:
    """The remark about where some of the new words start, if there are any."""
    all_, number = (sum(word is not None for word in each) for each in (words, some))
    if not number:
        return None
    return f"of its new words ({all_:,}), {number:,} started from {where}."
