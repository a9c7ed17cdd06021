"""A plan for people to read: every variable with a vocabulary, and notes."""

import os
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from enum import Enum

import keras

from warmstart_keras.layers import LayerAxis
from warmstart_keras.model import ModelAxes, VocabularyAxis
from warmstart_keras.plan.axis_plan import AxisPlan
from warmstart_keras.report import aligned
from warmstart_keras.vocabulary import Vocabulary, VocabularySource


class Level(Enum):
    """Where a note is said."""

    DETAIL = "in the report"
    INFO = "in the report, and printed"
    WARNING = "in the report, and as a warning"


@dataclass(frozen=True)
class Note:
    """What the user should know about a warm start: one sentence."""

    text: str
    level: Level


def listing(axes: list[VocabularyAxis], plans: Sequence[AxisPlan]) -> str:
    """All variables with a vocabulary, each with axis, shapes and source, as a table."""
    changed = [plan.axis for plan in plans]
    rows = [("variable", "axis", "shape", "vocabulary", "what happens")]
    for axis in axes:
        how = "named" if axis.named else "in the model"
        for binding in axis.layer_axis.bindings:
            shape = tuple(map(int, binding.variable.shape))
            rows.append(
                (
                    binding.variable.path,
                    str(binding.axis),
                    _shapes(shape, binding.axis, axis.rows),
                    f"{_source(axis.source)}, {how}",
                    _happens(axis, changed),
                )
            )
    return "\n".join(aligned(rows))


def left_behind(heads: list[LayerAxis], plans: Sequence[AxisPlan]) -> list[str]:
    """A note on each head as wide as a vocabulary that moves, which nobody named.

    It is not guessed that the head follows it; but to move an embedding and leave its
    head in place breaks a model without an error.
    """
    notes = []
    for head in heads:
        for plan in plans:
            if (
                plan.axis.layer_axis.name == "rows"
                and len(plan.row_map.base) == head.rows
            ):
                notes.append(
                    f"layer '{head.path}' has {head.rows} outputs, as many as "
                    f"'{plan.name}' has tokens, and stays as it is. If they stand for "
                    "the same tokens, name it: "
                    f"`vocabularies={{'{head.layer.name}': ...}}`."
                )
                break
    return notes


def not_watched(found: ModelAxes, model: keras.Layer) -> list[str]:
    """A note on each layer, or on the model, whose vocabulary source is not known."""
    notes = [
        f"layer '{path}': it is not known where its vocabulary comes from, so a "
        "rebuild of it is not seen. Name the source: "
        f"`vocabularies={{'{path.rpartition('/')[2]}': vectorizer}}`."
        for path in found.sources.sourceless
    ]
    if found.is_in_vain:
        plain = found.sources.plain
        notes.append(
            f"nothing of model '{model.name}' is known to follow a vocabulary, "
            f"so a rebuild is not seen. It has embeddings: {plain}. Name the source "
            f"of each that does: `vocabularies={{'{plain[0].rpartition('/')[2]}': "
            "vectorizer}`, or make it a `WarmStartEmbedding`."
        )
    return notes


def adopted(axis: VocabularyAxis) -> str:
    """A note on rows that are taken to stand for today's vocabulary."""
    return (
        f"layer '{axis.layer_axis.title}': nothing was known about its rows; today's "
        f"{len(axis.new):,} tokens are taken as what they stand for. If they were "
        "trained on another vocabulary, name it: "
        f"`base_vocabularies={{'{axis.layer.name}': old_tokens}}`."
    )


def not_held(
    plan: AxisPlan, held: set[int], optimizers: Sequence[keras.optimizers.Optimizer]
) -> list[str]:
    """Notes on what does not follow a new number of rows by itself.

    `held` has the `id`s of all variables that a built optimizer holds.
    """
    notes = []
    unheld = any(
        b.variable.trainable and id(b.variable) not in held for b in plan.bindings
    )
    if plan.axis.resizes:
        notes.append(
            "its number of rows changes; make functions that you compiled "
            "yourself anew, and name other models over this layer in `also=`."
        )
    if unheld and (plan.axis.resizes or not optimizers):
        notes.append(
            "no built optimizer is known that holds its variable. If a training "
            "loop of your own has one, pass `optimizer=`."
        )
    return notes


def _shapes(shape: tuple[int, ...], axis: int, rows: int) -> str:
    after = (*shape[:axis], rows, *shape[axis + 1 :])
    return str(shape) if after == shape else f"{shape} -> {after}"


def _happens(axis: VocabularyAxis, changed: list[VocabularyAxis]) -> str:
    if any(axis is one for one in changed):
        return "comes over" if axis.stored else "moves"
    return "is not known yet" if axis.base is None else "stays"


def _source(source: VocabularySource) -> str:
    """What a vocabulary was read from."""
    if isinstance(source, keras.Layer):
        return f"layer '{source.name}'"
    if isinstance(source, str | os.PathLike):
        return f"file '{os.fspath(source)}'"
    kind = type(source).__name__
    if isinstance(source, Vocabulary) or not isinstance(source, Sized):
        return kind
    return f"{kind} of {len(source)} tokens"
