"""Prints the JSON document of a command as tables, with nothing that a terminal obeys."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from warmstart_keras.report import VocabularyChange, aligned, escaped, words_table


@dataclass(frozen=True)
class Answer:
    """What a command says: its JSON document, the same as text, and warnings."""

    document: dict
    text: str
    warnings: Sequence[str] = ()


def lines_of(lines: Sequence[str]) -> str:
    """Joins lines; each is escaped, so that no name in a file makes another line."""
    return "\n".join(map(escaped, lines))


def one_line(text: str) -> str:
    """Puts text into one line, and escapes it."""
    return escaped(" ".join(text.split()))


def content_text(document: dict) -> str:
    """Prints the vocabularies of a file as a table, with the ends of each."""
    listed = [
        (f"{_name(layer['layer'])}{kind}", layer)
        for key, kind in (("layers", ""), ("lookups", " (lookup)"))
        for layer in document[key]
    ]
    if not listed:
        return escaped(f"{document['file']} has no embedding and no lookup layer.")
    titles = ("layer", "rows", "width", "tokens", "special rows", "fingerprint")
    rows = [_row(name, layer) for name, layer in listed]
    known = [(name, layer["vocabulary"]) for name, layer in listed if layer["vocabulary"]]
    ends = [f"{name}: {_ends(vocabulary)}" for name, vocabulary in known]
    lines = [document["file"], "", *aligned([titles, *rows])]
    return lines_of([*lines, *([""] if ends else []), *ends])


def _name(path: str | None) -> str:
    return "(tokens)" if path is None else path or "(the model)"


def _row(name: str, layer: dict) -> tuple[str, ...]:
    shape = [f"{layer[key]:,}" if key in layer else "-" for key in ("rows", "width")]
    vocabulary = layer["vocabulary"]
    if vocabulary is None:
        return (name, *shape, "-", "-", "not known")
    tokens, special = f"{vocabulary['tokens']:,}", _special_rows(vocabulary)
    return (name, *shape, tokens, special, vocabulary["fingerprint"])


def _special_rows(vocabulary: dict) -> str:
    mask, oov = vocabulary["mask_row"], vocabulary["oov_rows"]
    parts = [] if mask is None else [f"mask {mask}"]
    if oov:
        parts.append(f"OOV {oov[0]}" if len(oov) == 1 else f"OOV {oov[0]}-{oov[-1]}")
    return ", ".join(parts) or "none"


def _ends(vocabulary: dict) -> str:
    first, last = vocabulary["first"], vocabulary["last"]
    left = vocabulary["tokens"] - len(first)
    gap = ["..."] if left > len(last) else []
    return _listed([*first, *gap, *last[max(len(last) - left, 0) :]])


def _listed(tokens: Sequence[str | int]) -> str:
    return ", ".join("''" if token == "" else str(token) for token in tokens)


def differences_text(document: dict) -> str:
    """Prints how two vocabularies differ as a table, with the first few words."""
    old, new, layers = document["old"], document["new"], document["layers"]
    lines = [f"{old} -> {new}"]
    if layers:
        names = [field.name for field in fields(VocabularyChange)]
        changes = [VocabularyChange(**{n: layer[n] for n in names}) for layer in layers]
        lines += ["", *words_table(changes)]
    words = [line for layer in layers for line in _words(layer)]
    lines += [*([""] if words else []), *words]
    for file, paths in ((old, document["only_in_old"]), (new, document["only_in_new"])):
        if paths:
            lines += ["", f"With a vocabulary in {file} alone: {', '.join(paths)}"]
    if document["same"]:
        lines += ["", "Every row stands for the same in both."]
    return lines_of(lines)


def _words(layer: dict) -> list[str]:
    """The first few words of each kind, and special rows where they differ."""
    moved = [f"{m['token']} {m['from']} -> {m['to']}" for m in layer["first_moved"]]
    lines = []
    for kind in ("kept", "moved", "new", "dropped"):
        tokens = moved if kind == "moved" else layer[f"first_{kind}"]
        more = ", ..." if layer[kind] > len(tokens) else ""
        if tokens and not layer["same"]:
            lines.append(f"{layer['layer']}, first {kind}: {_listed(tokens)}{more}")
    old, new = (_special_rows(layer[f"{side}_vocabulary"]) for side in ("old", "new"))
    if old != new:
        lines.append(f"{layer['layer']}, special rows: {old} -> {new}")
    return lines
