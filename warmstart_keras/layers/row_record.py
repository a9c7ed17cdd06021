"""Vocabularies that the entries of layers stand for, as last recorded in this process.

A Keras layer has no attribute for the vocabulary of its rows. A `WarmStartEmbedding`
keeps its vocabulary itself. For all other layers it is kept here, by layer object.
"""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import keras

from warmstart_keras.backend import Transaction, tensors
from warmstart_keras.layers.embedding import WarmStartEmbedding
from warmstart_keras.vocabulary import Vocabulary


@dataclass(frozen=True)
class RowRecord:
    """Facts about one axis of a layer."""

    # Vocabulary that the entries stand for now. None if it is unknown, and for a
    # `WarmStartEmbedding`, which keeps its vocabulary itself.
    vocabulary: Vocabulary | None = None
    # Fingerprint of the base vocabulary that the user named at the last warm start. The
    # entries now stand for another vocabulary. To move them from the same base once more
    # would scramble them.
    named_base: str | None = None
    is_named: bool = False  # whether the user named its vocabulary
    has_moved: bool = False  # whether a warm start moved its entries
    # Variable values of a layer with `adapt`, at the time of this record.
    adapted: tuple[bytes, ...] | None = None


# The keys are the layer and the name of the axis.
_records: "weakref.WeakKeyDictionary[keras.Layer, Mapping[str, RowRecord]]"
_records = weakref.WeakKeyDictionary()


def records_of(layer: keras.Layer) -> Mapping[str, RowRecord]:
    """Returns all records of a layer, by the name of the axis."""
    return _records.get(layer, {})


def record_of(layer: keras.Layer, axis: str) -> RowRecord:
    """Returns the record of one axis of a layer, or an empty record."""
    return records_of(layer).get(axis, RowRecord())


def put_record(
    layer: keras.Layer, axis: str, record: RowRecord, transaction: Transaction
) -> None:
    """Stores the record of one axis; a rollback restores the previous records."""
    before = _records.get(layer)
    if before is None:
        transaction.on_rollback(_records.pop, layer, None)
    else:
        transaction.on_rollback(_records.__setitem__, layer, before)
    _records[layer] = {**records_of(layer), axis: record}


def recorded_vocabulary(layer: keras.Layer, axis: str = "rows") -> Vocabulary | None:
    """Returns the vocabulary that the entries along one axis stand for, or None."""
    if isinstance(layer, WarmStartEmbedding):
        return layer.row_vocabulary
    return record_of(layer, axis).vocabulary


def has_moved(layer: keras.Layer) -> bool:
    """Returns whether a warm start in this process has moved rows of a layer."""
    return any(record.has_moved for record in records_of(layer).values())


def adapted_values(layer: keras.Layer) -> tuple[bytes, ...]:
    """Returns the present values of the variables that `adapt` sets, as bytes."""
    return tuple(tensors.to_numpy(v).tobytes() for v in layer.variables)
