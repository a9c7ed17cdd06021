"""What the rows of a layer stand for now, or stood for in a previous run."""

from typing import Any

import keras

from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import (
    LayerAxis,
    WarmStartEmbedding,
    adapted_values,
    has_moved,
    recorded_vocabulary,
    row_record,
)
from warmstart_keras.model.named_layers import NamedAxis
from warmstart_keras.model.vocabulary_axis import AxisSource, VocabularyAxis
from warmstart_keras.previous import as_given
from warmstart_keras.vocabulary import Vocabulary, read_as


def _given_base(
    one: AxisSource, bases: list[NamedAxis], sourced: list[AxisSource]
) -> Any:
    """What the user says that the rows of a side stand for; None if nothing."""
    of_layer = [other for other in sourced if other.side.layer is one.side.layer]
    for base in bases:
        if not base.is_for(one.side):
            continue
        # Of a layer with two vocabularies it is about the one that the user named.
        if base.side is None and not one.named and any(o.named for o in of_layer):
            continue
        return base.given
    return None


def _was_adapted_today(one: AxisSource, arrivals: Any) -> bool:
    """Whether a layer keeps what `adapt` made of today's vectors, and takes no other."""
    return arrivals is not None and arrivals.keeps_its_own(one.side)


def _check_adapted(tables: list[VocabularyAxis], arrivals: Any) -> None:
    """Refuses to leave what a `Normalization` learned of vectors of other words."""
    for table in tables:
        if not isinstance(table.layer, keras.layers.Normalization):
            continue
        alike = [t.base for t in tables if t.source is table.source and t is not table]
        changed = any(base and not base.same_rows(table.new) for base in alike)
        if arrivals is None and table.base is None and changed:
            raise WarmStartError(
                f"It must be known what the entries of layer '{table.side.path}' stand "
                "for. Received: a `Normalization` of which it is not known whether it "
                "was adapted to today's vectors. Adapt it and say so: "
                f"`base_vocabularies={{'{table.layer.name}': vectorizer}}`; or, if it "
                f"was adapted to those of before: `{{'{table.layer.name}': old_tokens}}`."
            )
        if table.stored and table.base and not table.base.same_rows(table.new):
            raise WarmStartError(
                f"Layer '{table.side.path}' must be adapted to today's vectors before "
                f"the model starts from {arrivals.previous.name}. Received: a "
                "`Normalization` that is not. Call its `adapt`."
            )


def _known_base(one: AxisSource, given: Any, arrivals: Any) -> Vocabulary | None:
    """What the rows of a side stand for now, or stood for in a previous run."""
    side = one.side
    if arrivals is not None and arrivals.has(side):
        return arrivals.vocabulary(side, given, one.source)
    known = recorded_vocabulary(side.layer, side.name)
    if given is not None and arrivals is None:
        return _named_base(side, known, given, one.source)
    if arrivals is not None and arrivals.previous.is_there and known is None:
        return read_as(one.source, None)  # as it was initialised, for today's tokens
    adapts = isinstance(side.layer, keras.layers.Normalization)
    if adapts and known is not None and _was_adapted_since(side):
        return read_as(one.source, known)  # on vectors of today
    return known


def _was_adapted_since(side: LayerAxis) -> bool:
    """Whether a layer was adapted since it was recorded what its entries stand for."""
    return row_record(side.layer, side.name).adapted != adapted_values(side.layer)


def _base_of_alike(
    one: AxisSource,
    own: Vocabulary | None,
    sourced: list[AxisSource],
    known: list[Vocabulary | None],
    arrivals: Any,
) -> Vocabulary | None:
    """What the rows of another side with the same source stand for, if these fit it.

    What was trained on the ids, or on the vectors, of one source stands for the same
    tokens. Not so if the rows of the other have moved alone in the meantime.
    """
    side = one.side
    arrives = arrivals is not None and arrivals.has(side)
    rows_of = arrivals.old_rows if arrives else lambda side: side.rows
    if isinstance(side.layer, WarmStartEmbedding | keras.layers.Normalization):
        return own if own is not None or not arrives else arrivals.refuse_unknown(side)
    for other, base in zip(sourced, known, strict=True):
        if other is one or other.source is not one.source or base is None:
            continue
        if arrives and not arrivals.has(other.side):
            continue
        layer = arrivals.layer_then(other.side) if arrives else other.side.layer
        # Weights that were loaded into an embedding brought what it stands for; those
        # of a plain layer came with them.
        loaded = not arrives and getattr(layer, "loaded_since", False)
        alone = layer is not None and has_moved(layer)
        if rows_of(side) in (len(base), rows_of(other.side)) and (
            loaded or (own is None and not alone)
        ):
            return base
    if arrives and own is None:
        arrivals.refuse_unknown(side)
    return own


def _named_base(
    side: LayerAxis, recorded: Vocabulary | None, given: Any, source: Any
) -> Vocabulary:
    """What the user says that the rows stand for, where that can be so."""
    base = as_given(given, source, side.rows, side.path)
    used = row_record(side.layer, side.name).named_base
    if recorded is not None and used == base.fingerprint and not recorded.same_rows(base):
        raise WarmStartError(
            f"`base_vocabularies` must say what the rows of layer '{side.path}' stand "
            "for now. Received: the vocabulary that they were moved from before; by now "
            f"they stand for {recorded!r}. Leave it out: it is needed only once."
        )
    return base
