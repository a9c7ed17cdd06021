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

_TEXTS = 256  # texts that are vectorized at a time
_NUMBERS = 2**20  # numbers in the rows of the positions that are worked on at a time
_WORDS = 2**14  # words whose contexts are worked on at a time
_RIDGE = 1e-3
_NO_IDS = (
    "`vectorizer` must make ids, as `TextVectorization` does with "
    '`output_mode="int"`. Received: '
)


@keras.saving.register_keras_serializable(package="warmstart_keras")
class ContextRows(LearningMethod):
    """New rows from the words around them, by a linear map that fits the kept words.

    The context of a word is the mean of the old rows of the kept words among those up to
    `window` places before and after it. A matrix is found that best makes the kept
    words' rows of their mean contexts; a new row is what it makes of the new word's mean
    context. See Khodak et al., "A La Carte Embedding: Cheap but Effective Induction of
    Semantic Feature Vectors" (2018).

    With `u` a word's mean context, `v` its row, `d` their width and `n` how often it
    stood beside a kept word, the matrix `A` makes `sum(log(1 + n) * |u @ A - v| ** 2)`
    over the kept words least, plus `r * |A| ** 2` with the ridge
    `r = 0.001 / d * sum(log(1 + n) * |u| ** 2)`.

    The texts are read once, with a progress bar. What is held does not grow with them:
    two more copies of the kept words' rows (float32 at least) and two of the new words',
    on the host, of sharded tables too.

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
        texts: The new data: strings, or batches of them; a list, an array, a
            `tf.data.Dataset` (of tuples the first element), or anything that can be
            gone through. It is gone through once for each table.
        vectorizer: What makes ids of texts: a `TextVectorization`, or another callable
            with `get_vocabulary()`, that has the new vocabulary: a new word that it does
            not know is in no text.
        window: Integer, at least 1. How many places before and after a word count.
        verbose: 0 shows no progress bar, 1 one.

    Raises:
        WarmStartError: If an argument is none of these; and when it is used, if `texts`
            has no text, or the vectorizer does not make ids or knows no new word.
    """

    def __init__(
        self, texts: Iterable, vectorizer: Callable, *, window: int = 5, verbose: int = 1
    ) -> None:
        no_texts = isinstance(texts, str | bytes | Mapping) or hasattr(texts, "columns")
        if no_texts or not (texts is None or hasattr(texts, "__iter__")):
            raise WarmStartError(
                "`texts` must be a list, an array or a dataset of texts. "
                f"Received: {str(texts)[:60]!r} (of type {type(texts).__name__})"
            )
        is_one = callable(vectorizer) and hasattr(vectorizer, "get_vocabulary")
        if not (vectorizer is None or is_one):
            raise WarmStartError(
                "`vectorizer` must be a layer such as `TextVectorization`, which makes "
                "ids of texts and has `get_vocabulary()`. "
                f"Received: {vectorizer!r} (of type {type(vectorizer).__name__})"
            )
        if keras_internals.gives_vectors(vectorizer):
            raise WarmStartError(_NO_IDS + "a layer of another `output_mode`")
        if not isinstance(window, int | np.integer) or window < 1:
            raise WarmStartError(
                f"`window` must be a positive integer. Received: window={window!r}"
            )
        self.texts = texts
        self.vectorizer = vectorizer
        self.window = int(window)
        self.verbose = verbose

    def get_config(self) -> dict:
        """The arguments, without texts and vectorizer: data is not saved with a layer."""
        kept = {"window": self.window, "verbose": self.verbose}
        return {"texts": None, "vectorizer": None, **kept}

    def check(self) -> None:
        """Refuses to be used without texts: they are not saved with a layer."""
        if self.texts is None or self.vectorizer is None:
            raise WarmStartError(
                "`ContextRows` must have texts and a vectorizer, which are not saved "
                "with a layer. Received: none. Pass "
                "`new_embeddings_initializer=ContextRows(texts, vectorizer)`."
            )

    def fit(self, new: NewRows) -> Fitted:
        """Reads the texts, and finds the map from contexts to rows."""
        row_map, base = new.row_map, new.base
        kept = row_map.kept_words
        words = row_map.new_words
        # The table is read before anything of the user's is asked.
        mean = base.mean_of_words()
        rows = np.empty((len(kept), len(mean)), base.rows([]).dtype)
        for places in parts(np.arange(len(kept))):
            rows[places] = base.rows(row_map.indices[kept[places]])

        # A token that is there several times is one word: kept ones come first.
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

        return Fitted(made, without(words, seen, "never beside a kept word in the texts"))

    def _read_into(
        self, contexts: "_Contexts", number_of: dict[Token | None, int], new: set[Token]
    ) -> None:
        vocabulary = read(self.vectorizer)
        if new and new.isdisjoint(vocabulary.words):
            raise WarmStartError(
                "`vectorizer` must have the new vocabulary. Received: one that has none "
                f"of the {len(new)} new words. Adapt it to the new data first."
            )
        subject = np.array([number_of.get(token, NEW) for token in vocabulary], np.int64)
        subject[sorted(vocabulary.special_rows)] = NEW
        for ids in self._read():
            if ids.size and not 0 <= ids.min() <= ids.max() < len(subject):
                raise WarmStartError(
                    _NO_IDS + f"ids from {ids.min()} to {ids.max()}, where the "
                    f"vocabulary has {len(subject)} tokens"
                )
            contexts.add(subject[ids])

    def _read(self) -> Iterator[np.ndarray]:
        """The ids of some texts at a time, one row each."""
        total = None
        if isinstance(self.texts, list | tuple) and len(self.texts):
            total = len(self.texts) if isinstance(self.texts[0], str | bytes) else None
        bar = keras.utils.Progbar(total, verbose=self.verbose, unit_name="text")
        number, each = 0, _each(self.texts)
        while texts := list(islice(each, _TEXTS)):
            ids = self.vectorizer(np.array(texts, dtype=object))
            ids = ids.to_tensor() if hasattr(ids, "to_tensor") else ids  # ragged
            found = tensors.data_to_numpy(ids)
            if found.dtype.kind not in "iu" or len(found) != len(texts):
                raise WarmStartError(
                    _NO_IDS + f"dtype={found.dtype}, shape={found.shape} for "
                    f"{len(texts)} texts"
                )
            number += len(texts)
            bar.update(number, finalize=False)
            yield found.reshape(len(texts), -1)
        if not number:
            raise WarmStartError(
                "`texts` must have a text. Received: none. What can be gone through once "
                "alone, such as a generator, serves one table: pass a list or a dataset."
            )
        bar.update(number, finalize=True)


class _Contexts:
    """The sums of the contexts of words, kept ones first and then new ones."""

    def __init__(self, rows: np.ndarray, new: int, window: int) -> None:
        self._rows, self._window = rows, window
        self._totals = np.zeros((len(rows) + new, rows.shape[1]), rows.dtype)
        self.counts = np.zeros(len(rows) + new, np.int64)

    def add(self, words: np.ndarray) -> None:
        """Adds the contexts of all places in some texts; -1 is no word to look at."""
        numbers = words.shape[1] * self._rows.shape[1]
        for places in parts(np.arange(len(words)), max(1, _NUMBERS // max(1, numbers))):
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
        """The sum over the window around each place, that place included."""
        length = values.shape[1]
        sums = np.cumsum(np.pad(values, ((0, 0), (1, 0), (0, 0))), axis=1)
        places = np.arange(length)
        ends = np.minimum(places + self._window + 1, length)
        return sums[:, ends] - sums[:, np.maximum(places - self._window, 0)]

    def means(self, words: np.ndarray) -> np.ndarray:
        """The mean contexts of some of the words."""
        return self._totals[words] / np.maximum(self.counts[words], 1.0)[:, None]


def _map_of(contexts: _Contexts, rows: np.ndarray) -> np.ndarray | None:
    """The matrix that best makes rows of contexts; None where there is none."""
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
    """The texts one by one."""
    for item in texts:
        found = item[0] if isinstance(item, tuple) else item
        is_text = isinstance(found, str | bytes)
        more = [found] if is_text else tensors.data_to_numpy(found).ravel().tolist()
        if not all(isinstance(text, str | bytes) for text in more):
            raise WarmStartError(
                "`texts` must be strings, or batches of them. "
                f"Received: {str(found)[:60]!r} (of type {type(found).__name__})"
            )
        yield from more
