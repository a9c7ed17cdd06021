"""`SubwordRows`: rows of new words from the n-grams that they share with kept words."""

import keras
import numpy as np

from warmstart_keras.new_rows.base_rows import BaseRows, parts, runs
from warmstart_keras.new_rows.methods import LearningMethod, without
from warmstart_keras.new_rows.start import Fitted, NewRows
from warmstart_keras.vocabulary import Token

_LENGTHS = range(2, 6)  # of n-grams in code points; both ends of a word count
_MOST = 256  # occurrences in kept words that an n-gram is learned from
_PART = 2**14  # words per step: the rows of their n-grams take about 100 MB
_OF_OWNER = np.uint64(_PART - 1)  # low bits: they hold the word's number, not the hash
_HALF = np.uint64(32)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@keras.saving.register_keras_serializable(package="warmstart_keras")
class SubwordRows(LearningMethod):
    """New rows from the n-grams shared with kept words; `"subword"` by name.

    A word is treated as a bag of n-grams of 2 to 5 characters. The begin and the end of
    the word count as characters. Characters are code points of any script: two Chinese
    or Hangul characters tell as much as four letters.

    The vector of an n-gram is an average over the kept words that contain it: the
    average difference between their rows and the mean of all words. A new row is that
    mean plus the weighted average of the vectors of its n-grams. Rare n-grams have more
    weight.

    The bag of subwords follows Zhao, Mudgal and Liang, "Generalizing Word Embeddings
    using Bag of Subwords" (2018), and fastText (Bojanowski et al. 2017). They learn the
    vectors of the n-grams by regression. This class does only the first step of it.

    As a formula: `n(g)` is the number of times that n-gram `g` occurs in kept words.
    `v(g)` is the mean of `row - mean` over the first 256 occurrences. If the vocabulary
    is ordered by frequency, these are in the most frequent words. The new row is
    `row = mean + sum(w * v * n / (n + 1)) / sum(w)`, over the n-grams of the word with
    `n > 0`, where `w = n ** -0.5`.

    Examples:
        >>> import numpy as np
        >>> from warmstart_keras import RowMap, remap
        >>> row_map = RowMap(["films", "plots"], ["films", "plots", "film", "xyz"])
        >>> matrix = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> remap(matrix, row_map, new_embeddings_initializer="subword")[2:]
        array([[0.75, 0.25],
               [0.5 , 0.5 ]])
    """

    def fit(self, new: NewRows) -> Fitted:
        """Learns the vectors of the n-grams that occur in new words."""
        return learn(new)


def learn(new: NewRows, most: int = _MOST, part: int = _PART) -> Fitted:
    """Learns the vectors of n-grams, and returns how new rows are made from them.

    An n-gram is learned from its first `most` occurrences in kept words. `part` is the
    number of words per step, at most the default.
    """
    row_map, base = new.row_map, new.base
    words = row_map.new_words
    owners, hashes = _ngrams(words)
    grams, gram_of = np.unique(hashes, return_inverse=True)
    mean = base.mean_of_words()
    learned = _Learned(grams, mean, base.rows([]).dtype, most)
    for rows in parts(row_map.kept_words, part):
        learned.add(row_map.new.some(rows), base, row_map.indices[rows])
    counts, vectors = learned.counts, learned.vectors()

    known = counts[gram_of] > 0
    gram_of, owners = gram_of[known], owners[known]
    firsts = np.searchsorted(owners, np.arange(len(words) + 1))
    weights = 1 / np.sqrt(np.maximum(counts, 1), dtype=vectors.dtype)

    def made(start: int, stop: int, seed: tuple) -> np.ndarray:
        rows = np.tile(mean.astype(vectors.dtype), (stop - start, 1))
        for place in parts(np.arange(start, stop), part):
            first, last = firsts[place[0]], firsts[place[-1] + 1]
            used = gram_of[first:last]
            if len(used):
                has, cuts = runs(owners[first:last])
                weight = weights[used, None]
                total = np.add.reduceat(vectors[used] * weight, cuts)
                rows[has - start] += total / np.add.reduceat(weight, cuts)
        return rows

    found = np.diff(firsts) > 0
    because = "they share no n-gram with a kept word"
    return Fitted(made, without(words, found, because))


class _Learned:
    """Vectors of some n-grams, learned from kept words in parts."""

    def __init__(
        self, grams: np.ndarray, mean: np.ndarray, dtype: np.dtype, most: int
    ) -> None:
        self.counts = np.zeros(len(grams), np.int64)  # all occurrences
        self._grams, self._mean, self._most = grams, mean, most  # hashes, ascending
        self._totals = np.zeros((len(grams), len(mean)), dtype)

    def add(self, words: list[Token], base: BaseRows, rows: np.ndarray) -> None:
        """Learns from some words and their base rows."""
        if not len(self._grams):
            return
        owners, hashes = _ngrams(words)
        # `np.sort` is much faster than `np.argsort`. So the word goes into the low bits.
        together = np.sort(hashes | owners.astype(np.uint64))
        hashes = together & ~_OF_OWNER
        owners = (together & _OF_OWNER).astype(np.int64)
        gram = np.searchsorted(self._grams, hashes)
        known = self._grams.take(gram, mode="clip") == hashes
        gram, owners = gram[known], owners[known]

        grams, firsts = runs(gram)
        sizes = np.diff(firsts, append=len(gram))
        turn = np.arange(len(gram)) - np.repeat(firsts, sizes)
        # Occurrences beyond the first ones are counted, but not learned from.
        learned = np.flatnonzero(turn + self.counts[gram] < self._most)
        self.counts[grams] += sizes
        if not len(learned):
            return
        # All first occurrences are added in one step, all second ones in the next step.
        # NumPy's `+=` would add only one of two occurrences in the same step.
        old, turn = base.rows(rows), turn[learned]
        learned = learned[np.argsort(turn.astype(np.uint16), kind="stable")]
        for places in np.split(learned, np.cumsum(np.bincount(turn))[:-1]):
            self._totals[gram[places]] += old[owners[places]]

    def vectors(self) -> np.ndarray:
        """Returns the average difference from the mean, reduced for rare n-grams."""
        counts, totals = self.counts[:, None], self._totals
        totals /= np.clip(counts, 1, self._most).astype(totals.dtype)
        totals -= self._mean.astype(totals.dtype)
        totals *= (counts / (counts + 1)).astype(totals.dtype)
        return totals


def _ngrams(words: list[Token | None]) -> tuple[np.ndarray, np.ndarray]:
    """Finds the n-grams of words: the number of the word (ascending), and the hash.

    Words that are not text have no n-grams: the digits of an integer have no meaning.
    """
    texts = [_text(word) for word in words]
    sizes = np.fromiter(map(len, texts), np.int64, len(texts)) + 2
    sizes[[not isinstance(word, str | bytes) for word in words]] = 0
    ends = np.cumsum(sizes)
    codes = np.frombuffer(
        "".join(
            f"<{t}>" for t, size in zip(texts, sizes.tolist(), strict=True) if size
        ).encode("utf-32-le", "surrogatepass"),
        "<u4",
    ).astype(np.uint64)
    # Codes of begin and end. They are above all code points, so no character has them.
    codes[(ends - sizes)[sizes > 0]] = 0x110000
    codes[(ends - 1)[sizes > 0]] = 0x110001
    owner = np.repeat(np.arange(len(words)), sizes)
    left = np.repeat(ends, sizes) - np.arange(len(codes))  # characters up to the end

    hashes = np.empty((len(codes), len(_LENGTHS)), np.uint64)
    hash_ = np.zeros(len(codes), np.uint64)
    for length in range(1, _LENGTHS.stop):
        # N-grams that run past the end of their word are removed below.
        hash_ = hash_ * _MULTIPLIER + np.roll(codes, 1 - length) + np.uint64(1)
        if length in _LENGTHS:
            # The last character is only in the low bits: mix it into the high bits.
            hashes[:, length - _LENGTHS.start] = (hash_ ^ hash_ >> _HALF) * _MULTIPLIER
    whole = left[:, None] >= np.array(_LENGTHS)
    owners = np.repeat(owner, np.count_nonzero(whole, axis=1))
    return owners, hashes[whole] & ~_OF_OWNER


def _text(word: Token | None) -> str:
    if isinstance(word, bytes):
        return word.decode("utf-8", "surrogateescape")
    return word if isinstance(word, str) else ""
