"""`ContextRows`: rows of new words from the words around them in the new data."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

import keras
import numpy as np

from warmstart_keras import keras_internals
from warmstart_keras.backend import tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows.base_rows import parts, runs
from warmstart_keras.new_rows.methods import LearningMethod, without
from warmstart_keras.new_rows.start import Fitted, NewRows
from warmstart_keras.vocabulary import NEW, Token, read

TEXTS = 256  # texts that are vectorized at a time
NUMBERS = 2**20  # numbers in the rows that are processed at a time
_WORDS = 2**14  # words whose contexts are processed at a time
_RIDGE = 1e-3
_NO_IDS = (
    "`vectorizer` must return ids, like a `TextVectorization` with "
    '`output_mode="int"`. Received: '
)


@keras.saving.register_keras_serializable(package="warmstart_keras")
class ContextRows(LearningMethod):
    """New rows from the words around them, by a linear map that fits the kept words.

    The context of a word is the mean of the base rows of the kept words around it, up
    to `window` places before and after. A matrix is fitted that converts the mean
    contexts of the kept words to their rows. A new row is the mean context of the new
    word times this matrix. See Khodak et al., "A La Carte Embedding: Cheap but Effective
    Induction of Semantic Feature Vectors" (2018).

    As a formula: `u` is the mean context of a word, `v` is its row, `d` is their width,
    and `n` counts how often the word stood beside a kept word. The matrix `A` minimizes
    `sum(log(1 + n) * |u @ A - v| ** 2) + r * |A| ** 2`, with sums over the kept words
    and the ridge `r = 0.001 / d * sum(log(1 + n) * |u| ** 2)`.

    The texts are read once, with a progress bar. The memory use does not depend on their
    number. It is two more copies of the rows of the kept words, and two of the rows of
    the new words, on the host and at least in float32. This is also true for a sharded
    table.

    Examples:
        >>> import keras
        >>> from warmstart_keras import ContextRows, WarmStartEmbedding, warm_start
        >>> vectorizer = keras.layers.TextVectorization()
        >>> vectorizer.adapt(["a good film", "a bad film"])
        >>> layer = WarmStartEmbedding(output_dim=2, vocabulary=vectorizer)
        >>> layer.build()
        >>> texts = ["a good film", "a bad film", "a fine film"]
        >>> vectorizer.adapt(texts)
        >>> rows = ContextRows(texts, vectorizer, verbose=0)
        >>> warm_start(layer, new_embeddings_initializer=rows, verbose=0).changed
        True

    Args:
        texts: The new data: strings or batches of strings, in a list, an array, a
            `tf.data.Dataset` or another iterable. If items are tuples, the first
            element is used. The texts are iterated once for each table.
        vectorizer: Layer that converts texts to ids: a `TextVectorization`, or another
            callable with `get_vocabulary()`. It must have the new vocabulary. A new word
            that it does not know is not found in any text.
        window: Integer, at least 1. Number of places before and after a word that belong
            to its context.
        verbose: 0 shows no progress bar, 1 shows one.

    Raises:
        WarmStartError: If an argument has the wrong type or value. When new rows are
            made: if `texts` is empty, or the vectorizer does not return ids or knows no
            new word.
    """

    def __init__(
        self, texts: Iterable, vectorizer: Callable, *, window: int = 5, verbose: int = 1
    ) -> None:
        no_texts = isinstance(texts, str | bytes | Mapping) or hasattr(texts, "columns")
        if no_texts or not (texts is None or hasattr(texts, "__iter__")):
            raise WarmStartError(
                "`texts` must be a list, an array or a dataset of texts. "
                f"Received: {str(texts)[:60]!r} (of type {type(texts).__name__})."
            )
        is_one = callable(vectorizer) and hasattr(vectorizer, "get_vocabulary")
        if not (vectorizer is None or is_one):
            raise WarmStartError(
                "`vectorizer` must be a layer such as `TextVectorization` that converts "
                "texts to ids and has `get_vocabulary()`. "
                f"Received: {vectorizer!r} (of type {type(vectorizer).__name__})."
            )
        if keras_internals.gives_vectors(vectorizer):
            raise WarmStartError(_NO_IDS + "a layer with another `output_mode`.")
        if not isinstance(window, int | np.integer) or window < 1:
            raise WarmStartError(
                f"`window` must be a positive integer. Received: window={window!r}."
            )
        self.texts = texts
        self.vectorizer = vectorizer
        self.window = int(window)
        self.verbose = verbose

    def get_config(self) -> dict:
        """Returns the arguments without the data, which is not saved with a layer."""
        kept = {"window": self.window, "verbose": self.verbose}
        return {"texts": None, "vectorizer": None, **kept}

    def check(self) -> None:
        """Raises an error if there are no texts: they are not saved with a layer."""
        if self.texts is None or self.vectorizer is None:
            raise WarmStartError(
                "`texts` and `vectorizer` of `ContextRows` must be given again after "
                "loading: they are not saved with a layer. Received: None. Pass "
                "`new_embeddings_initializer=ContextRows(texts, vectorizer)`."
            )

    def fit(self, new: NewRows) -> Fitted:
        """Reads the texts, and fits the map from contexts to rows."""
        row_map, base = new.row_map, new.base
        kept = row_map.kept_words
        words = row_map.new_words
        # The table is read before the user's data. All processes must read a sharded
        # table together, and an error in the data could stop one of them.
        mean = base.mean_of_words()
        rows = np.empty((len(kept), len(mean)), base.rows([]).dtype)
        for places in parts(np.arange(len(kept))):
            rows[places] = base.rows(row_map.indices[kept[places]])

        # A repeated token is one word. Kept words have the first numbers.
        number_of: dict[Token | None, int] = {}
        for number, token in enumerate([*row_map.new.some(kept), *words]):
            number_of.setdefault(token, number)
        number_of.pop(None, None)
        place = np.array([number_of.get(word, NEW) for word in words], np.int64)
        contexts = _Contexts(rows, len(words), self.window)
        self._read_into(contexts, number_of, {word for word in words if word is not None})

        map_ = _map_of(contexts, rows)
        seen = (place != NEW) & (contexts.counts[place] > 0) & (map_ is not None)

        def made(start: int, stop: int, seed: tuple) -> np.ndarray:
            rows = np.tile(mean, (stop - start, 1))
            some = np.flatnonzero(seen[start:stop])
            if map_ is not None:
                rows[some] = contexts.means(place[start:stop][some]) @ map_
            return rows

        return Fitted(
            made, without(words, seen, "no kept word is near them in the texts")
        )

    def _read_into(
        self, contexts: "_Contexts", number_of: dict[Token | None, int], new: set[Token]
    ) -> None:
        vocabulary = read(self.vectorizer)
        if new and new.isdisjoint(vocabulary.words):
            raise WarmStartError(
                "`vectorizer` must have the new vocabulary. Received: a vectorizer with "
                f"none of the {len(new)} new words. Adapt it to the new data first: "
                "`vectorizer.adapt(texts)`."
            )
        subject = np.array([number_of.get(token, NEW) for token in vocabulary], np.int64)
        subject[sorted(vocabulary.special_rows)] = NEW
        for ids in self._read():
            if ids.size and not 0 <= ids.min() <= ids.max() < len(subject):
                raise WarmStartError(
                    _NO_IDS + f"ids from {ids.min()} to {ids.max()}, but the "
                    f"vocabulary has {len(subject)} tokens."
                )
            contexts.add(subject[ids])

    def _read(self) -> Iterator[np.ndarray]:
        """Yields the ids of some texts at a time, one row per text."""
        total = None
        if isinstance(self.texts, list | tuple) and len(self.texts):
            total = len(self.texts) if isinstance(self.texts[0], str | bytes) else None
        bar = keras.utils.Progbar(total, verbose=self.verbose, unit_name="text")
        number, each = 0, _each(self.texts)
        while texts := list(islice(each, TEXTS)):
            ids = self.vectorizer(np.array(texts, dtype=object))
            ids = ids.to_tensor() if hasattr(ids, "to_tensor") else ids  # ragged
            found = tensors.data_to_numpy(ids)
            if found.dtype.kind not in "iu" or len(found) != len(texts):
                raise WarmStartError(
                    _NO_IDS + f"dtype={found.dtype}, shape={found.shape} for "
                    f"{len(texts)} texts."
                )
            number += len(texts)
            bar.update(number, finalize=False)
            yield found.reshape(len(texts), -1)
        if not number:
            raise WarmStartError(
                "`texts` must have at least one text. Received: none. A generator can be "
                "read only once, for one table. Pass a list or a dataset instead."
            )
        bar.update(number, finalize=True)


class _Contexts:
    """Sums of the contexts of words: first the kept words, then the new words."""

    def __init__(self, rows: np.ndarray, new: int, window: int) -> None:
        self._rows, self._window = rows, window
        self._totals = np.zeros((len(rows) + new, rows.shape[1]), rows.dtype)
        self.counts = np.zeros(len(rows) + new, np.int64)

    def add(self, words: np.ndarray) -> None:
        """Adds the contexts of all places in some texts; -1 stands for any other word."""
        numbers = words.shape[1] * self._rows.shape[1]
        for places in parts(np.arange(len(words)), max(1, NUMBERS // max(1, numbers))):
            self._add(words[places])

    def _add(self, words: np.ndarray) -> None:
        is_kept = (words != NEW) & (words < len(self._rows))
        rows = np.zeros((*words.shape, self._rows.shape[1]))
        rows[is_kept] = self._rows[words[is_kept]]
        around = self._around(rows) - rows
        number = self._around(is_kept[..., None].astype(np.int64))[..., 0] - is_kept

        here = (words != NEW) & (number > 0)
        subject, contexts = words[here], around[here] / number[here][:, None]
        order = np.argsort(subject, kind="stable")
        found, firsts = runs(subject[order])
        if len(found):
            self._totals[found] += np.add.reduceat(contexts[order], firsts, axis=0)
            self.counts[found] += np.diff(firsts, append=len(subject))

    def _around(self, values: np.ndarray) -> np.ndarray:
        """Sums values over the window around each place, with the place itself."""
        length = values.shape[1]
        sums = np.cumsum(np.pad(values, ((0, 0), (1, 0), (0, 0))), axis=1)
        places = np.arange(length)
        ends = np.minimum(places + self._window + 1, length)
        return sums[:, ends] - sums[:, np.maximum(places - self._window, 0)]

    def means(self, words: np.ndarray) -> np.ndarray:
        """Returns the mean contexts of some words."""
        return self._totals[words] / np.maximum(self.counts[words], 1.0)[:, None]


def _map_of(contexts: _Contexts, rows: np.ndarray) -> np.ndarray | None:
    """Fits the matrix that converts contexts to rows.

    Returns None if there is no context to learn from, or if values are not finite.
    """
    width = rows.shape[1]
    left, right = np.zeros((width, width)), np.zeros((width, width))
    for places in parts(np.arange(len(rows)), _WORDS):
        some = contexts.means(places)
        weighted = some * np.log1p(contexts.counts[places])[:, None]
        left += weighted.T @ some
        right += weighted.T @ rows[places]
    ridge = _RIDGE * np.trace(left) / width
    if not (np.isfinite(left).all() and np.isfinite(right).all()) or ridge == 0:
        return None
    return np.linalg.solve(left + ridge * np.eye(width), right)


def _each(texts: Iterable) -> Iterator[str | bytes]:
    """Yields the texts one by one."""
    for item in texts:
        found = item[0] if isinstance(item, tuple) else item
        is_text = isinstance(found, str | bytes)
        more = [found] if is_text else tensors.data_to_numpy(found).ravel().tolist()
        if not all(isinstance(text, str | bytes) for text in more):
            raise WarmStartError(
                "`texts` must be strings, or batches of strings. "
                f"Received: {str(found)[:60]!r} (of type {type(found).__name__})."
            )
        yield from more
