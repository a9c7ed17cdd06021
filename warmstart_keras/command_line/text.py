"""What the command line shows: tables for people, with nothing that a terminal obeys."""

from typing import Any

from warmstart_keras.command_line.diff_files import Difference, Differences
from warmstart_keras.command_line.inspect_file import FileContent
from warmstart_keras.report import aligned, escaped, words_table


def lines_of(lines: list[str]) -> str:
    """Lines one below the other, each escaped: no name in a file makes another line."""
    return "\n".join(map(escaped, lines))


def one_line(text: str) -> str:
    """Text in one line."""
    return escaped(" ".join(text.split()))


def content_text(content: FileContent) -> str:
    """The vocabularies of a file, as a table and the ends of each."""
    plain = content.to_dict()
    listed = [(one, "") for one in plain["layers"]]
    listed += [(one, " (lookup)") for one in plain["lookups"]]
    if not listed:
        return escaped(f"{content.path} has no embedding and no lookup layer.")
    titles = ("layer", "rows", "width", "tokens", "special rows", "fingerprint")
    rows: list[tuple[str, ...]] = [titles]
    rows += [_row(one, kind) for one, kind in listed]
    lines = [content.path, "", *aligned(rows)]
    ends = [line for one, kind in listed for line in _ends(one, kind)]
    return lines_of([*lines, *([""] if ends else []), *ends])


def _row(one: dict, kind: str) -> tuple[str, ...]:
    name = _name(one) + kind
    shape = [f"{one[key]:,}" if key in one else "-" for key in ("rows", "width")]
    said = one["vocabulary"]
    if said is None:
        return (name, *shape, "-", "-", "not known")
    return (name, *shape, f"{said['tokens']:,}", _special(said), said["fingerprint"])


def _name(one: dict) -> str:
    return "(tokens)" if one["layer"] is None else one["layer"] or "(the model)"


def _special(said: dict) -> str:
    parts = [] if said["mask_row"] is None else [f"mask {said['mask_row']}"]
    if said["oov_rows"]:
        first, last = said["oov_rows"][0], said["oov_rows"][-1]
        parts.append(f"OOV {first}" if first == last else f"OOV {first}-{last}")
    return ", ".join(parts) or "none"


def _ends(one: dict, kind: str) -> list[str]:
    said = one["vocabulary"]
    if said is None:
        return []
    first, last = said["first"], said["last"]
    left = said["tokens"] - len(first)
    tokens = [*first, *(["..."] if left > len(last) else []), *last[-left:]]
    return [f"{_name(one)}{kind}: {_listed(tokens if left else first)}"]


def _listed(tokens: list[Any]) -> str:
    return ", ".join("''" if token == "" else str(token) for token in tokens)


def differences_text(found: Differences) -> str:
    """How the vocabularies of two files differ, as a table and the first few words."""
    lines = [f"{found.old} -> {found.new}"]
    if found.layers:
        lines += ["", *words_table([one.words for one in found.layers])]
    named = [line for one in found.layers for line in _firsts(one)]
    lines += [*([""] if named else []), *named]
    for name, paths in ((found.old, found.only_in_old), (found.new, found.only_in_new)):
        if paths:
            lines += ["", f"With a vocabulary in {name} alone: {', '.join(paths)}"]
    if found.same:
        lines += ["", "Every row stands for the same in both."]
    return lines_of(lines)


def _firsts(one: Difference) -> list[str]:
    words = one.words
    moved = [f"{token} {old} -> {new}" for token, old, new in one.first_moved]
    firsts = (
        ("kept", words.first_kept, words.kept),
        ("moved", moved, words.moved),
        ("new", words.first_new, words.new),
        ("dropped", words.first_dropped, words.dropped),
    )
    lines = [
        f"{words.layer}, first {name}: {_listed([*tokens])}"
        f"{', ...' if count > len(tokens) else ''}"
        for name, tokens, count in firsts
        if tokens and not one.same
    ]
    special = _special(one.old), _special(one.new)
    if special[0] != special[1]:
        lines.append(f"{words.layer}, special rows: {special[0]} -> {special[1]}")
    return lines
