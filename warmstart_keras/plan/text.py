"""Texts of a plan: the table of variables that follow a vocabulary, and notes."""

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
    """Output channels of a note."""

    DETAIL = "in the report"
    INFO = "in the report, and printed"
    WARNING = "in the report, and as a warning"


@dataclass(frozen=True)
class Note:
    """Message to the user about a warm start."""

    text: str
    level: Level


def listing(axes: list[VocabularyAxis], plans: Sequence[AxisPlan]) -> str:
    """Formats a table of all variables with a vocabulary, with axis, shape and source."""
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
    """Writes a note on each unnamed head that is as wide as a vocabulary that moves.

    The same width does not prove that the head follows the vocabulary, so the head is not
    moved. But if it does, the model gives wrong outputs without an error.
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
                    f"'{plan.name}' has tokens, but its outputs are not moved. If they "
                    "stand for the same tokens, the model will predict wrong tokens. "
                    "Then name the layer, with the tokens that its outputs stand for "
                    f"now: `vocabularies={{'{head.layer.name}': vectorizer}}` and "
                    f"`base_vocabularies={{'{head.layer.name}': old_tokens}}`."
                )
                break
    return notes


def not_watched(found: ModelAxes, model: keras.Layer) -> list[str]:
    """Writes a note on each layer, or the model, whose vocabulary source is unknown."""
    notes = [
        f"layer '{path}': its vocabulary source is unknown, so a rebuild would go "
        "unnoticed and its rows would stand for wrong tokens. Pass the source: "
        f"`vocabularies={{'{path.rpartition('/')[2]}': vectorizer}}`."
        for path in found.sources.sourceless
    ]
    if found.is_in_vain:
        plain = found.sources.plain
        notes.append(
            f"no vocabulary was found for any embedding of model '{model.name}', so a "
            f"rebuild would go unnoticed. The model has the embeddings {plain}. Pass "
            "the source of each that follows a vocabulary: "
            f"`vocabularies={{'{plain[0].rpartition('/')[2]}': vectorizer}}`. Or "
            "replace it by a `WarmStartEmbedding`."
        )
    return notes


def adopted(axis: VocabularyAxis) -> str:
    """Writes a note on rows that are assumed to stand for the new vocabulary."""
    return (
        f"layer '{axis.layer_axis.title}': its base vocabulary is unknown. No row "
        f"moves, and its rows are assumed to stand for the {len(axis.new):,} tokens of "
        "the new vocabulary. If they were trained on another vocabulary, they will "
        "stand for wrong tokens. Then pass "
        f"`base_vocabularies={{'{axis.layer.name}': old_tokens}}`."
    )


def not_held(
    plan: AxisPlan, held: set[int], optimizers: Sequence[keras.optimizers.Optimizer]
) -> list[str]:
    """Writes notes on functions and optimizers that cannot be updated automatically.

    Args:
        plan: The plan of an axis.
        held: The `id`s of all variables that a built optimizer holds.
        optimizers: All optimizers that are known.
    """
    notes = []
    unheld = any(
        b.variable.trainable and id(b.variable) not in held for b in plan.bindings
    )
    if plan.axis.resizes:
        notes.append(
            "its number of rows changes. Recompile functions that you have compiled "
            "yourself, and pass other models that share this layer in `also=`."
        )
    if unheld and (plan.axis.resizes or not optimizers):
        notes.append(
            "no built optimizer is known that holds its variable, so no slots move "
            "with its rows. If a custom training loop has one, pass `optimizer=`."
        )
    return notes


def _shapes(shape: tuple[int, ...], axis: int, rows: int) -> str:
    after = (*shape[:axis], rows, *shape[axis + 1 :])
    return str(shape) if after == shape else f"{shape} -> {after}"


def _happens(axis: VocabularyAxis, changed: list[VocabularyAxis]) -> str:
    if any(axis is one for one in changed):
        return "is copied" if axis.stored else "moves"
    return "has no base yet" if axis.base is None else "stays"


def _source(source: VocabularySource) -> str:
    """Describes a vocabulary source in a few words."""
    if isinstance(source, keras.Layer):
        return f"layer '{source.name}'"
    if isinstance(source, str | os.PathLike):
        return f"file '{os.fspath(source)}'"
    kind = type(source).__name__
    if isinstance(source, Vocabulary) or not isinstance(source, Sized):
        return kind
    return f"{kind} of {len(source)} tokens"
