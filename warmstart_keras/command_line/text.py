"""Tables that show the JSON document of a command, with control characters escaped."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from warmstart_keras.report import VocabularyChange, aligned, escaped, words_table


@dataclass(frozen=True)
class Answer:
    """Result of a command: its JSON document, the same as text, and warnings."""

    document: dict
    text: str
    warnings: Sequence[str] = ()


def lines_of(lines: Sequence[str]) -> str:
    """Escapes and joins lines, so that a name in a file cannot start a new line."""
    return "\n".join(map(escaped, lines))


def one_line(text: str) -> str:
    """Joins text into one line, and escapes it."""
    return escaped(" ".join(text.split()))


def content_text(document: dict) -> str:
    """Formats the vocabularies of a file as a table, with first and last tokens."""
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
    """Formats the differences of two files as a table, with the first few words."""
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
            lines += ["", f"Layers with a vocabulary only in {file}: {', '.join(paths)}"]
    if document["same"]:
        lines += ["", "Each row stands for the same token in both files."]
    return lines_of(lines)


def _words(layer: dict) -> list[str]:
    """Lists the first few words of each kind, and special rows if they differ."""
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
