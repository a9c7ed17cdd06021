"""What the entries of a layer stand for, as last recorded in this process.

Keras has no place in a layer for what its rows stand for. A `WarmStartEmbedding` keeps
that itself; of all other layers it is kept here, beside the layer object.
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
    """What is known of one axis of a layer."""

    # What its entries stand for now; None where that is not known, and for a
    # `WarmStartEmbedding`, which keeps it itself.
    vocabulary: Vocabulary | None = None
    # Fingerprint of the base that the user named at the last warm start. The entries
    # stand for something else by now: to move them from that base once more would
    # scramble them.
    named_base: str | None = None
    is_named: bool = False  # whether the user has named its vocabulary
    has_moved: bool = False  # whether a warm start has moved its entries
    # The values of a layer with `adapt`, when this was recorded.
    adapted: tuple[bytes, ...] | None = None


# By layer, and by the name of the axis.
_records: "weakref.WeakKeyDictionary[keras.Layer, Mapping[str, RowRecord]]"
_records = weakref.WeakKeyDictionary()


def records_of(layer: keras.Layer) -> Mapping[str, RowRecord]:
    """All records of a layer, by the name of the axis."""
    return _records.get(layer, {})


def record_of(layer: keras.Layer, axis: str) -> RowRecord:
    """The record of one axis of a layer; an empty one if there is none."""
    return records_of(layer).get(axis, RowRecord())


def put_record(
    layer: keras.Layer, axis: str, record: RowRecord, transaction: Transaction
) -> None:
    """Records what is known of one axis."""
    before = _records.get(layer)
    if before is None:
        transaction.on_rollback(_records.pop, layer, None)
    else:
        transaction.on_rollback(_records.__setitem__, layer, before)
    _records[layer] = {**records_of(layer), axis: record}


def recorded_vocabulary(layer: keras.Layer, axis: str = "rows") -> Vocabulary | None:
    """What the entries along one axis stand for now, where that is known."""
    if isinstance(layer, WarmStartEmbedding):
        return layer.row_vocabulary
    return record_of(layer, axis).vocabulary


def has_moved(layer: keras.Layer) -> bool:
    """Whether a warm start in this process has moved rows of a layer."""
    return any(record.has_moved for record in records_of(layer).values())


def adapted_values(layer: keras.Layer) -> tuple[bytes, ...]:
    """What `adapt` has made of a layer's variables by now."""
    return tuple(tensors.to_numpy(v).tobytes() for v in layer.variables)
