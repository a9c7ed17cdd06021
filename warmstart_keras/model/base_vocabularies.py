"""Base vocabulary of an axis: the tokens that its rows stand for before a warm start."""

import keras

from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import (
    WarmStartEmbedding,
    adapted_values,
    has_moved,
    record_of,
)
from warmstart_keras.model.named_layers import NamedAxis
from warmstart_keras.model.vocabulary_axis import AxisSource
from warmstart_keras.previous import MatchedRun
from warmstart_keras.vocabulary import (
    Vocabulary,
    VocabularySource,
    is_plain,
    read,
    read_as,
)


def named_base(
    one: AxisSource, bases: list[NamedAxis], sources: list[AxisSource]
) -> VocabularySource | None:
    """Returns the base vocabulary that the user named for an axis, or None."""
    of_layer = [o for o in sources if o.layer_axis.layer is one.layer_axis.layer]
    for base in bases:
        if not base.is_for(one.layer_axis):
            continue
        # If a layer has two vocabularies, the base is for the axis that the user named.
        if base.axis is None and not one.named and any(o.named for o in of_layer):
            continue
        return base.source
    return None


def known_base(
    one: AxisSource, named: VocabularySource | None, run: MatchedRun | None
) -> Vocabulary | None:
    """Returns the base vocabulary of an axis, in the model or in a previous run.

    Args:
        one: The axis and its source.
        named: The base vocabulary that the user named, or None.
        run: The previous run, or None.

    Raises:
        WarmStartError: If `named` contradicts what is recorded.
    """
    axis, known = one.layer_axis, one.origin.vocabulary
    if one.origin.run is not None:
        return _base_in_run(one, named, one.origin.run)
    if named is not None and run is None:
        return _named_now(one, named)
    if run is not None and run.previous.is_there and known is None:
        # The layer is not in the run: its fresh rows stand for the new vocabulary.
        return read_as(one.source, None)
    if known is not None and isinstance(axis.layer, keras.layers.Normalization):
        adapted = record_of(axis.layer, axis.name).adapted
        if adapted != adapted_values(axis.layer):  # `adapt` was called since the record
            return read_as(one.source, known)
    return known


def _base_in_run(
    one: AxisSource, named: VocabularySource | None, run: MatchedRun
) -> Vocabulary | None:
    origin, known = one.origin, one.origin.vocabulary
    if named is None:
        asks = known is None and one.layer_axis.name == "rows"
        return run.lookup_vocabulary(origin, one.source) if asks else known
    base = _as_given(named, one.source, origin.rows, origin.path)
    if known is not None and not known.same_rows(base):
        raise WarmStartError(
            f"`base_vocabularies` must agree with the vocabulary that "
            f"{run.previous.name} records for layer '{origin.path}'. Received: {base!r}, "
            f"but the previous run records {known!r}. Remove the layer from "
            "`base_vocabularies`: it is needed only if the previous run does not record "
            "a vocabulary."
        )
    return base


def spare_rows(one: AxisSource, base: Vocabulary | None) -> list[str]:
    """Returns a note if a run has more rows than the base that the user named."""
    origin = one.origin
    if base is None or not origin.run or len(base) >= origin.rows:
        return []
    return [
        f"layer '{origin.path}' had {origin.rows} rows, but `base_vocabularies` has only "
        f"{len(base)} tokens; the rows after them are treated as spare rows."
    ]


def base_of_alike(
    one: AxisSource,
    own: Vocabulary | None,
    others: list[tuple[AxisSource, Vocabulary | None]],
) -> Vocabulary | None:
    """Returns the base of another axis with the same source, if it fits this axis.

    Layers that were trained on the ids or vectors of one source follow the same
    vocabulary. This no longer holds if a warm start has moved only the rows of the other
    layer.

    Args:
        one: The axis and its source.
        own: The base vocabulary that is recorded for this axis, or None.
        others: All axes, each with its recorded base vocabulary.

    Raises:
        WarmStartError: If the rows come from a previous run and no base is found.
    """
    in_run, rows = one.origin.run is not None, one.origin.rows
    if isinstance(one.layer_axis.layer, WarmStartEmbedding | keras.layers.Normalization):
        others = []
    for other, base in others:
        if other is one or other.source is not one.source or base is None:
            continue
        if in_run and other.origin.run is None:
            continue
        layer = other.origin.layer if in_run else other.layer_axis.layer
        # Loading weights into a `WarmStartEmbedding` restores its vocabulary. A plain
        # layer was loaded with it, so it follows the same vocabulary.
        loaded = not in_run and getattr(layer, "loaded_since", False)
        alone = layer is not None and has_moved(layer)
        other_rows = other.origin.rows if in_run else other.layer_axis.rows
        if rows in (len(base), other_rows) and (loaded or (own is None and not alone)):
            return base
    if one.origin.run is not None and own is None:
        raise WarmStartError(
            f"No base vocabulary was found for layer '{one.origin.path}'. Received: "
            f"{one.origin.run.previous.name}, which does not record a vocabulary for the "
            f"{rows} rows of this layer. Pass "
            f"`base_vocabularies={{'{one.layer_axis.layer.name}': old_tokens}}`."
        )
    return own


def _named_now(one: AxisSource, named: VocabularySource) -> Vocabulary:
    """Returns the base that the user named for rows of the model, after a check.

    Raises:
        WarmStartError: If the rows were moved from this base already.
    """
    axis, recorded = one.layer_axis, one.origin.vocabulary
    base = _as_given(named, one.source, axis.rows, axis.path)
    used = record_of(axis.layer, axis.name).named_base
    if recorded is not None and used == base.fingerprint and not recorded.same_rows(base):
        raise WarmStartError(
            f"`base_vocabularies` must have the tokens that the rows of layer "
            f"'{axis.path}' stand for now. Received: the old vocabulary, although a warm "
            "start has already moved these rows. The rows now stand for "
            f"{recorded!r}. Remove the layer from `base_vocabularies`: it is needed only "
            "once."
        )
    return base


def _as_given(
    given: VocabularySource, source: VocabularySource, rows: int, path: str
) -> Vocabulary:
    """Reads a base vocabulary that the user named, and completes its special rows.

    Raises:
        WarmStartError: If the number of special rows is ambiguous.
    """
    base = read(given)
    if not is_plain(given):
        return base
    specials = read(source).special_rows
    if base.special_rows and (
        len(base) >= rows or len(base.special_rows) >= len(specials)
    ):
        return base
    if not base.special_rows:
        # Special rows may have other names than "" and "[UNK]". Only the source has them.
        named = read_as(given, read(source))
        if len(named) == len(base):
            return named
    if len(base) < rows:
        raise WarmStartError(
            f"The base vocabulary of layer '{path}' must include the mask and OOV rows. "
            f"Received: `base_vocabularies` with {len(base)} tokens, of them "
            f"{len(base.special_rows)} special rows, for a table of {rows} rows. The new "
            f"vocabulary has {len(specials)} special rows. Pass all entries that "
            "`get_vocabulary()` returned, or `Vocabulary(tokens, mask=..., oov=...)`."
        )
    return base
