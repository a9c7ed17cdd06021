"""Command `diff`, which compares the vocabularies of two files."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from itertools import product
from pathlib import Path

from warmstart_keras.command_line.inspect_file import (
    FileContent,
    FileVocabulary,
    described,
    read_file,
    source_of,
    table_of,
)
from warmstart_keras.command_line.text import Answer, differences_text
from warmstart_keras.errors import WarmStartError
from warmstart_keras.previous import SavedLayer, match
from warmstart_keras.report import VocabularyChange, printable
from warmstart_keras.vocabulary import RowMap, Vocabulary, read_as

_SHOWN_MOVED = 10  # the number of words that a report lists


def diff(arguments: argparse.Namespace, stage: Callable[[str], None]) -> Answer:
    """Compares the vocabularies of two files.

    A file of tokens is compared with each layer of a model. If the file has no special
    rows, it takes over those of the layer, as in a warm start.
    """
    stage(f"reading {arguments.old}")
    old = read_file(arguments.old)
    stage(f"reading {arguments.new}")
    new = read_file(arguments.new)
    stage("comparing")
    after, before = _known(new), _known(old)
    if old.root is not None and new.root is not None:
        pairs = _matched(old.root, [*before], new.root, [*after])
    else:
        pairs = list(product(before, after))
    layers = []
    for one, other in pairs:
        base, today = before[one], after[other]
        if new.root is None:
            today = read_as(source_of(Path(new.path), base), base)
        elif old.root is None:
            base = read_as(source_of(Path(old.path), today), today)
        name = other.layer or one.layer or "vocabulary"
        layers.append(_difference(name, RowMap(base, today)))
    paired = {each for pair in pairs for each in pair}
    only_in_old, only_in_new = (
        [str(each.layer) for each in known if each not in paired]
        for known in (before, after)
    )
    same = all(layer["same"] for layer in layers) and not only_in_old and not only_in_new
    document = {
        "old": old.path,
        "new": new.path,
        "same": same,
        "layers": layers,
        "only_in_old": only_in_old,
        "only_in_new": only_in_new,
    }
    return Answer(document, differences_text(document))


def _difference(layer: str, row_map: RowMap) -> dict:
    """Describes the kept, moved, new and dropped words of one layer as plain data."""
    base, new, sources = row_map.base, row_map.new, row_map.indices
    kept = row_map.kept_words
    moved = kept[sources[kept] != kept][:_SHOWN_MOVED]
    rows = zip(new.some(moved), sources[moved].tolist(), moved.tolist(), strict=True)
    return {
        **asdict(VocabularyChange.between(layer, row_map)),
        "first_moved": [{"token": printable(t), "from": a, "to": b} for t, a, b in rows],
        "same": base.same_rows(new),
        "old_vocabulary": described(base),
        "new_vocabulary": described(new),
    }


def _known(content: FileContent) -> dict[FileVocabulary, Vocabulary]:
    listed = content.vocabularies
    known = {each: each.vocabulary for each in listed if each.vocabulary is not None}
    if not known:
        raise WarmStartError(
            "A model must say what the rows of an embedding stand for. Received: "
            f"'{content.path}', with {[each.layer for each in listed]}, which stores no "
            "vocabulary. Save the model with a `WarmStartEmbedding`, or as a `.keras` "
            "file with its lookup layer."
        )
    return known


def _matched(
    old_root: SavedLayer,
    old: list[FileVocabulary],
    new_root: SavedLayer,
    new: list[FileVocabulary],
) -> list[tuple[FileVocabulary, FileVocabulary]]:
    """Pairs the layers of two models, as in a warm start."""
    layers = [layer for root in (old_root, new_root) for layer in root.walk()]
    # Tables may differ in both dimensions, since no row is moved here.
    tables = filter(None, map(table_of, layers))
    axes = {id(table): frozenset({0, 1}) for table in tables}
    before, after = ({each.saved: each for each in listed} for listed in (old, new))
    return [
        (before[one], after[other])
        for one, other in match(old_root, new_root, axes)
        if one in before and other in after
    ]
