"""A few rows of each table as a warm start left them, for the figures of a report."""

import math
import weakref
from collections.abc import Sequence

import keras
import numpy as np

from warmstart_keras.backend import read_rows
from warmstart_keras.layers import LayerAxis, recorded_vocabulary
from warmstart_keras.vocabulary import RowMap

_ROWS = 1000  # of kept words, and as many of new ones, are drawn of each table
_NUMBERS = 2**22  # are held for all tables together


class RowSample:
    """Some kept and some new words of one table: their places and their rows.

    Words are taken at equal distances along the new vocabulary: the same ones in every
    process and at every run.

    Attributes:
        layer: What `VocabularyChange.layer` says.
        variable: Path of the variable: an embedding's table, a head's kernel.
        kept: Rows of some kept words, as int64.
        kept_from: The rows that they had before.
        new: Rows of some new words.
        values: Both right after the warm start, kept ones first, of shape
            `(rows, width)`; None where this process does not hold them.
    """

    def __init__(self, layer_axis: LayerAxis, row_map: RowMap, most: int = _ROWS) -> None:
        binding = layer_axis.bindings[0]
        words = row_map.new.word_rows
        is_kept = row_map.indices[words] >= 0
        self.layer = layer_axis.title
        self.variable = str(binding.variable.path)
        self.kept = _some(words[is_kept], most)
        self.kept_from = row_map.indices[self.kept]
        self.new = _some(words[~is_kept], most)
        self.values = self._read(binding.variable, binding.axis)
        self._axis, self._side = binding.axis, layer_axis.name
        self._fingerprint = row_map.new.fingerprint
        # Only weak references to the model: a report may be kept for long.
        self._owners = weakref.ref(binding.variable), weakref.ref(layer_axis.layer)

    def __getstate__(self) -> dict:
        """What is pickled: all but the references to the model."""
        return {**self.__dict__, "_owners": None}

    @property
    def norms(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Norms of the kept and of the new rows right after the warm start."""
        return None if self.values is None else self._halves(_norms(self.values))

    def since(self) -> tuple[np.ndarray, np.ndarray] | str:
        """How far the kept and the new rows have moved since, or why it is unknown."""
        if self.values is None:
            return "its rows are cut over several processes"
        variable, layer = (o() for o in self._owners) if self._owners else (None, None)
        if variable is None or layer is None:
            return "the model is not there any more"
        now = recorded_vocabulary(layer, self._side)
        if now is None or now.fingerprint != self._fingerprint:
            return "its rows stand for another vocabulary by now"
        values = self._read(variable, self._axis)
        if values is None or values.shape != self.values.shape:
            return "its rows lie elsewhere by now"
        return self._halves(_norms(values, self.values))

    def _read(self, variable: keras.Variable, axis: int) -> np.ndarray | None:
        rows = read_rows(variable, axis, np.concatenate([self.kept, self.new]))
        return None if rows is None else rows.reshape(len(rows), -1)

    def _halves(self, both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return both[: len(self.kept)], both[len(self.kept) :]


def sampled(tables: Sequence[tuple[LayerAxis, RowMap]]) -> list[RowSample]:
    """A sample of each table, small enough to be held with all the others."""
    width = 0
    for layer_axis, _ in tables:
        shape = list(map(int, layer_axis.bindings[0].variable.shape))
        del shape[layer_axis.bindings[0].axis]
        width += math.prod(shape)
    most = _NUMBERS // (2 * max(1, width))
    return [RowSample(*table, max(1, min(_ROWS, most))) for table in tables]


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """Some of the rows, at equal distances, the first one included."""
    number = min(len(rows), most)
    return rows[np.arange(number) * len(rows) // max(1, number)]


def _norms(rows: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """The Euclidean norm of each row, or of its difference from another one."""
    values = rows.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # rows may be of any values
        if others is not None:
            values -= others.astype(np.float64)
        return np.linalg.norm(values, axis=1)
