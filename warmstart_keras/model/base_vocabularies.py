"""What the rows of an axis stand for before the warm start: its base vocabulary."""

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
    """What the user says that the rows of an axis stand for; None if nothing."""
    of_layer = [o for o in sources if o.layer_axis.layer is one.layer_axis.layer]
    for base in bases:
        if not base.is_for(one.layer_axis):
            continue
        # Of a layer with two vocabularies it is about the one that the user named.
        if base.axis is None and not one.named and any(o.named for o in of_layer):
            continue
        return base.source
    return None


def known_base(
    one: AxisSource, named: VocabularySource | None, run: MatchedRun | None
) -> Vocabulary | None:
    """What the rows of an axis stand for now, or stood for in a previous run.

    `named` is what the user says of that; an error says so, if it cannot be.
    """
    axis, known = one.layer_axis, one.origin.vocabulary
    if one.origin.run is not None:
        return _base_in_run(one, named, one.origin.run)
    if named is not None and run is None:
        return _named_now(one, named)
    if run is not None and run.previous.is_there and known is None:
        return read_as(one.source, None)  # as it was initialised, for today's tokens
    if known is not None and isinstance(axis.layer, keras.layers.Normalization):
        adapted = record_of(axis.layer, axis.name).adapted
        if adapted != adapted_values(axis.layer):  # adapted again since
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
            f"`base_vocabularies` must say what the rows of layer '{origin.path}' "
            f"stood for in {run.previous.name}. Received: {base!r}, where that "
            f"says itself: {known!r}. Leave it out: it is needed only where the "
            "previous run does not know."
        )
    return base


def spare_rows(one: AxisSource, base: Vocabulary | None) -> list[str]:
    """A note, where a run has more rows than the base that the user named."""
    origin = one.origin
    if base is None or not origin.run or len(base) >= origin.rows:
        return []
    return [
        f"layer '{origin.path}' had {origin.rows} rows, and `base_vocabularies` has "
        f"a token for the first {len(base)}; the others are taken as spare."
    ]


def base_of_alike(
    one: AxisSource,
    own: Vocabulary | None,
    others: list[tuple[AxisSource, Vocabulary | None]],
) -> Vocabulary | None:
    """What the rows of another axis with the same source stand for, if these fit it.

    What was trained on the ids, or on the vectors, of one source stands for the same
    tokens. Not so if the rows of the other have moved alone in the meantime. Of a
    previous run, something must be known.
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
        # Weights that were loaded into an embedding brought what it stands for; those
        # of a plain layer came with them.
        loaded = not in_run and getattr(layer, "loaded_since", False)
        alone = layer is not None and has_moved(layer)
        other_rows = other.origin.rows if in_run else other.layer_axis.rows
        if rows in (len(base), other_rows) and (loaded or (own is None and not alone)):
            return base
    if one.origin.run is not None and own is None:
        raise WarmStartError(
            f"It must be known what the rows of layer '{one.origin.path}' stood for in "
            f"the previous run. Received: {one.origin.run.previous.name}, which does not "
            f"say it for its {rows} rows. Say it: "
            f"`base_vocabularies={{'{one.layer_axis.layer.name}': old_tokens}}`."
        )
    return own


def _named_now(one: AxisSource, named: VocabularySource) -> Vocabulary:
    """What the user says that the rows stand for, where that can be so."""
    axis, recorded = one.layer_axis, one.origin.vocabulary
    base = _as_given(named, one.source, axis.rows, axis.path)
    used = record_of(axis.layer, axis.name).named_base
    if recorded is not None and used == base.fingerprint and not recorded.same_rows(base):
        raise WarmStartError(
            f"`base_vocabularies` must say what the rows of layer '{axis.path}' stand "
            "for now. Received: the vocabulary that they were moved from before; by now "
            f"they stand for {recorded!r}. Leave it out: it is needed only once."
        )
    return base


def _as_given(
    given: VocabularySource, source: VocabularySource, rows: int, path: str
) -> Vocabulary:
    """What the user says that `rows` rows stand for, special rows included."""
    base = read(given)
    if not is_plain(given):
        return base
    specials = read(source).special_rows
    if base.special_rows and (
        len(base) >= rows or len(base.special_rows) >= len(specials)
    ):
        return base
    if not base.special_rows:
        # Names of special rows other than "" and "[UNK]" are known to the source alone.
        named = read_as(given, read(source))
        if len(named) == len(base):
            return named
    if len(base) < rows:
        raise WarmStartError(
            f"The base vocabulary of layer '{path}' must say whether its rows begin with "
            f"mask and OOV rows. Received: {len(base)} tokens, {len(base.special_rows)} "
            f"of them special, for {rows} rows, where the new vocabulary has "
            f"{len(specials)} special ones. Pass all entries, "
            "as `get_vocabulary()` gives them, or `Vocabulary(tokens, mask=..., "
            "oov=...)`."
        )
    return base
