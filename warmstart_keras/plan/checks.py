"""Checks that refuse a plan before any row moves."""

import math

import numpy as np

from warmstart_keras.backend import sharded
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import (
    check_quantized,
    has_layer_axes,
    layer_axes_of,
    variables_of,
)
from warmstart_keras.model import VocabularyAxis
from warmstart_keras.vocabulary import NEW, RowMap


def check_kept(layer: str, row_map: RowMap, min_kept: float | None) -> None:
    """Refuses a new vocabulary that keeps too few words of the base."""
    base, new = row_map.base, row_map.new
    if not base.has_words:
        return
    if not new.has_words:
        raise WarmStartError(
            f"The new vocabulary of layer '{layer}' must have words. Received: "
            f"{len(new)} special rows and no words, as from a lookup layer that is not "
            "adapted yet, or that was emptied by `clone_model`. Call "
            "`lookup.adapt(data)`, or `lookup.set_vocabulary(tokens)`, first."
        )
    words = base.word_rows
    kept = int(np.count_nonzero(row_map.inverse()[words] != NEW))
    total = len(words)
    if (kept == 0) if min_kept is None else (kept < min_kept * total):
        asked = "at least one" if min_kept is None else f"{min_kept:.0%} of them"
        raise WarmStartError(
            f"Too few words of layer '{layer}' are in the new vocabulary. Received: "
            f"{kept} of {total} words kept, but `min_kept` requires {asked}. Check "
            "how the vocabulary was built (standardization, n-grams, type of tokens). "
            "If the words have really changed, pass `min_kept=0`."
        )


def check_other_variables(axis: VocabularyAxis, moved: set[int]) -> list[str]:
    """Refuses a layer with undeclared variables of the vocabulary's size.

    In a custom layer whose number of rows stays, these variables are allowed, since they
    may have the same size by chance.

    Args:
        axis: The axis of the layer.
        moved: The `id`s of all variables that follow a vocabulary.

    Returns:
        A list of notes about variables that are allowed.
    """
    rows, path, layer = axis.layer_axis.rows, axis.layer_axis.path, axis.layer
    check_quantized(layer, path)
    known = moved | variables_of(layer_axes_of(layer, path))
    others = [
        f"{variable.path} {tuple(variable.shape)}"
        for variable in layer.weights
        if id(variable) not in known and rows in variable.shape
    ]
    if not others:
        return []
    if not has_layer_axes(layer) and not axis.resizes:
        return [
            f"it has other variables of the vocabulary's size, which are not changed: "
            f"{others}. Declare each that has one entry per token, as a further key in "
            f"`vocabularies`: `Binding('{layer.name}', 'variable', axis=0)`."
        ]
    raise WarmStartError(
        f"Layer '{path}' must have no variable of the vocabulary's size besides the "
        f"declared ones, since its entries would not be moved. Received: {others}. "
        "Declare each that has one entry per token, as a further key in `vocabularies`: "
        f"`Binding('{layer.name}', 'variable', axis=0)`."
    )


def check_sharding(axis: VocabularyAxis) -> None:
    """Refuses a number of rows that cannot be split into equal shards."""
    layer_axis, rows = axis.layer_axis, axis.rows
    parts = math.lcm(
        *(sharded.shards_along(b.variable, b.axis) for b in layer_axis.bindings)
    )
    if rows % parts:
        raise WarmStartError(
            f"The rows of layer '{layer_axis.title}' are sharded into {parts} parts, "
            f"which must be equal. Received: {rows} rows for the new vocabulary, instead "
            f"of {layer_axis.rows}. Limit the vocabulary to a multiple of {parts} tokens "
            "with `max_tokens`, or build a model whose layer has spare rows: "
            f"`input_dim={sharded.rounded_up(rows, parts)}` or more."
        )
