"""A plan for people to read: every variable with a vocabulary, changed or not."""

import os
from typing import Any

import keras

from warmstart_keras.layers import LayerAxis
from warmstart_keras.model import VocabularyAxis
from warmstart_keras.plan.axis_plan import AxisPlan
from warmstart_keras.report import aligned
from warmstart_keras.vocabulary import Vocabulary


def listing(tables: list[VocabularyAxis], changed: list[VocabularyAxis]) -> str:
    """All variables of some tables, each with axis, shapes and vocabulary, as a table."""
    rows = [("variable", "axis", "shape", "vocabulary", "what happens")]
    for table in tables:
        for binding in table.side.bindings:
            shape = tuple(map(int, binding.variable.shape))
            rows.append(
                (
                    binding.variable.path,
                    str(binding.axis),
                    _shapes(shape, binding.axis, table.rows),
                    _described(table),
                    _happens(table, changed),
                )
            )
    return "\n".join(aligned(rows))


def left_behind(heads: list[LayerAxis], changes: list[AxisPlan]) -> list[str]:
    """Of each head that may well have one of the vocabularies and was not named, a note.

    A guess is not made; but to move an embedding and leave the head where it is breaks
    a model, and says nothing.
    """
    notes = []
    for side in heads:
        for change in changes:
            base = change.row_map.base
            if change.table.side.name == "rows" and len(base) == side.rows:
                notes.append(
                    f"layer '{side.path}' has {side.rows} outputs, as many as "
                    f"'{change.name}' has tokens, and stays as it is. If they stand for "
                    "the same tokens, name it: "
                    f"`vocabularies={{'{side.layer.name}': ...}}`."
                )
                break
    return notes


def _shapes(shape: tuple[int, ...], axis: int, rows: int) -> str:
    after = (*shape[:axis], rows, *shape[axis + 1 :])
    return str(shape) if after == shape else f"{shape} -> {after}"


def _happens(table: VocabularyAxis, changed: list[VocabularyAxis]) -> str:
    if any(table is one for one in changed):
        return "comes over" if table.stored else "moves"
    return "is not known yet" if table.base is None else "stays"


def _described(table: VocabularyAxis) -> str:
    how = "named" if table.named else "in the model"
    return f"{_source(table.source)}, {how}"


def _source(source: Any) -> str:
    """What a vocabulary was read from."""
    if isinstance(source, keras.Layer):
        return f"layer '{source.name}'"
    if isinstance(source, str | os.PathLike):
        return f"file '{os.fspath(source)}'"
    kind = type(source).__name__
    if isinstance(source, Vocabulary) or not hasattr(source, "__len__"):
        return kind
    return f"{kind} of {len(source)} tokens"
