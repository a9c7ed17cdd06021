"""What a plan refuses, before anything moves."""

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
    """Refuses a vocabulary that keeps too few words of the base to be a rebuild of it."""
    base, new = row_map.base, row_map.new
    if not base.has_words:
        return
    if not new.has_words:
        raise WarmStartError(
            f"The new vocabulary of layer '{layer}' must have words. Received: "
            f"{len(new)} special rows and no word: a lookup that is not adapted, or was "
            "emptied by a clone. Adapt or load it first."
        )
    words = base.word_rows
    kept = int(np.count_nonzero(row_map.inverse()[words] != NEW))
    total = len(words)
    if (kept == 0) if min_kept is None else (kept < min_kept * total):
        asked = "at least one" if min_kept is None else f"{min_kept:.0%} of them"
        raise WarmStartError(
            f"Too few words of layer '{layer}' are in the new vocabulary. Received: "
            f"{kept} of {total} words kept, where `min_kept` asks for {asked}. Check how "
            "the vocabulary was built (standardisation, n-grams, kind of tokens), or "
            "pass `min_kept=0` if this is what you want."
        )


def check_other_variables(axis: VocabularyAxis, moved: set[int]) -> list[str]:
    """Refuses a layer of Keras with further variables of the vocabulary's size.

    `moved` has the `id`s of all variables with a vocabulary. Returns a note on such
    variables in a layer of the user's whose size stays.
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
            f"it has other variables of the vocabulary's size, which stay as they are: "
            f"{others}. Declare each that has an entry for each token."
        ]
    raise WarmStartError(
        f"Layer '{path}' must have no variable of the vocabulary's size besides "
        f"those that are known. Received: {others}. Declare each that "
        "has an entry for each token, as a further key in `vocabularies`: "
        f"`Binding('{layer.name}', 'variable', axis=0)`."
    )


def check_sharding(axis: VocabularyAxis) -> None:
    """Refuses a number of rows that cannot be cut into equal shards."""
    layer_axis, rows = axis.layer_axis, axis.rows
    parts = math.lcm(
        *(sharded.shards_along(b.variable, b.axis) for b in layer_axis.bindings)
    )
    if rows % parts:
        raise WarmStartError(
            f"The rows of layer '{layer_axis.title}' are sharded into {parts} parts, "
            f"which must be equal. Received: {rows} rows for the new vocabulary, where "
            f"it had {layer_axis.rows}. Limit the vocabulary to a multiple of {parts} "
            "tokens (`max_tokens`); or build a model whose layer has a capacity that "
            "leaves room to grow: "
            f"`input_dim={sharded.rounded_up(rows, parts)}` or more. Rows past the "
            "vocabulary are spare."
        )
