"""Samples of rows right after a warm start, for the figures of a report."""

import math
import weakref
from collections.abc import Sequence

import keras
import numpy as np

from warmstart_keras.backend import read_rows
from warmstart_keras.layers import LayerAxis, recorded_vocabulary
from warmstart_keras.vocabulary import RowMap

_ROWS = 1000  # most kept words, and most new words, in the sample of one table
_NUMBERS = 2**22  # most numbers in the samples of all tables together


class RowSample:
    """Sample of kept and new words of one table: row numbers and row values.

    The words lie at equal distances along the new vocabulary. They are the same in every
    process and in every run.

    Attributes:
        layer: Same text as `VocabularyChange.layer`.
        variable: Path of the variable: the table of an embedding or the kernel of a head.
        kept: Row numbers of some kept words, as int64.
        kept_from: Row numbers of the same words before the warm start.
        new: Row numbers of some new words.
        values: Values of both kinds of rows right after the warm start, kept rows first.
            The shape is `(rows, width)`. None if this process cannot read them.
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
        # The references are weak, so that a report does not keep the model in memory.
        self._owners = weakref.ref(binding.variable), weakref.ref(layer_axis.layer)

    def __getstate__(self) -> dict:
        """Returns the state for pickle, without the references to the model."""
        return {**self.__dict__, "_owners": None}

    @property
    def norms(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Norms of the kept and the new rows right after the warm start."""
        return None if self.values is None else self._halves(_norms(self.values))

    def since(self) -> tuple[np.ndarray, np.ndarray] | str:
        """Returns how far kept and new rows have moved, or why that is unknown."""
        if self.values is None:
            return "its rows are sharded over several processes"
        variable, layer = (o() for o in self._owners) if self._owners else (None, None)
        if variable is None or layer is None:
            return "the model no longer exists"
        now = recorded_vocabulary(layer, self._side)
        if now is None or now.fingerprint != self._fingerprint:
            return "its rows now stand for another vocabulary"
        values = self._read(variable, self._axis)
        if values is None or values.shape != self.values.shape:
            return "its rows can no longer be compared"
        return self._halves(_norms(values, self.values))

    def _read(self, variable: keras.Variable, axis: int) -> np.ndarray | None:
        rows = read_rows(variable, axis, np.concatenate([self.kept, self.new]))
        return None if rows is None else rows.reshape(len(rows), -1)

    def _halves(self, both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return both[: len(self.kept)], both[len(self.kept) :]


def sampled(
    tables: Sequence[tuple[LayerAxis, RowMap]], numbers: int = _NUMBERS
) -> list[RowSample]:
    """Takes a sample of each table; all samples together have at most `numbers`."""
    width = 0
    for layer_axis, _ in tables:
        shape = list(map(int, layer_axis.bindings[0].variable.shape))
        del shape[layer_axis.bindings[0].axis]
        width += math.prod(shape)
    most = numbers // (2 * max(1, width))
    return [RowSample(*table, max(1, min(_ROWS, most))) for table in tables]


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """Selects some of the rows at equal distances, beginning with the first."""
    number = min(len(rows), most)
    return rows[np.arange(number) * len(rows) // max(1, number)]


def _norms(rows: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Computes the Euclidean norm of each row, or of its difference from another row."""
    values = rows.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # rows can have any values
        if others is not None:
            values -= others.astype(np.float64)
        return np.linalg.norm(values, axis=1)
