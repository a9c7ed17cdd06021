"""Report as HTML without scripts, for notebooks with light and dark themes.

Text and lines have the color of the surrounding text. Only the bars have fixed colors,
which are visible on white and on black.
"""

from collections.abc import Iterable, Sequence
from html import escape

from warmstart_keras.report.changes import VariableChange, VocabularyChange

# Colors that color-blind readers can distinguish (Okabe and Ito, "Color Universal
# Design", 2008). Each has a contrast of at least 3 to white and to #1e1e1e.
COLOURS = {"kept": "#0072B2", "new": "#009E73", "dropped": "#D55E00"}

# Sites that are made from Markdown change the style of tables without a class.
_TABLE = {"class": "ws-table"}

# Notebooks style all tables of an output by rules with two classes. The rules here have
# two classes, too, so that they take precedence.
_STYLE = """
& { font-size: 13px; line-height: 1.45; max-width: 60em; }
& p, & ul { margin: .4em 0; overflow-wrap: anywhere; }
& ul { padding-left: 1.3em; }
& table { width: 100%; margin: .8em 0; border-collapse: collapse;
  table-layout: auto; font-size: inherit; color: inherit; background: none; }
& caption { caption-side: top; padding: 0 0 .2em; color: inherit;
  text-align: left; overflow-wrap: anywhere; }
& tr, & tbody tr:nth-child(n), & tbody tr:hover { background: none; }
& th, & td { padding: .2em 1em .2em 0; border: 0;
  color: inherit; text-align: left; vertical-align: top; white-space: normal;
  max-width: none; }
& thead th { border-bottom: 1px solid currentColor; }
& tbody th { font-weight: normal; }
& .ws-number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
& .ws-wide { width: 100%; overflow-wrap: anywhere; }
& .ws-path { min-width: 12em; overflow-wrap: anywhere; }
& .ws-bar { height: .7em; margin: .35em 0 .2em; min-width: 2px;
  forced-color-adjust: none; print-color-adjust: exact; }
& .ws-scroll { overflow-x: auto; }
& bdi { white-space: pre-wrap; }
""".replace("&", ".warmstart-report.warmstart-report")


def html(
    title: str,
    vocabularies: Sequence[VocabularyChange],
    variables: Sequence[VariableChange],
    remarks: Iterable[str],
) -> str:
    """Returns the report as HTML, with the remarks in a list below it."""
    parts = [_tag("p", _tag("strong", escape(title)))]
    parts += [_words(change) for change in vocabularies]
    if vocabularies and variables:
        parts.append(_variables(variables))
    said = "".join(_tag("li", escape(remark)) for remark in remarks)
    parts += [_tag("ul", said)] if said else []
    style = _tag("style", _STYLE)
    return _tag("div", "\n".join([style, *parts]), {"class": "warmstart-report"})


def _words(change: VocabularyChange) -> str:
    """Returns a table of one layer's kept, new and dropped words, with bars."""
    arrow = f"{change.base_fingerprint[:8]} → {change.new_fingerprint[:8]}"
    caption = f"{_tag('strong', escape(change.layer))} {_tag('small', escape(arrow))}"
    most = max(change.kept, change.new, change.dropped, 1)
    rows = []
    for name, colour in COLOURS.items():
        number, tokens = getattr(change, name), getattr(change, f"first_{name}")
        style = f"width:{100 * number / most:.2f}%;background:{colour}"
        bar = {"class": "ws-bar", "style": style, "aria-hidden": "true"}
        shown = ", ".join(_tag("bdi", escape(str(token))) for token in tokens)
        shown += ", …" if number > len(tokens) else ""
        moved = f"{change.moved:,} of them moved. " if name == "kept" else ""
        about = (_tag("div", "", bar) if number else "") + moved
        about += f"First: {shown}" if shown else ""
        cells = _tag("th", name, {"scope": "row"}) + _number(f"{number:,}")
        rows.append(_tag("tr", cells + _tag("td", about, {"class": "ws-wide"})))
    body = _tag("tbody", "\n".join(rows))
    return _tag("table", _tag("caption", caption) + body, _TABLE)


def _variables(variables: Iterable[VariableChange]) -> str:
    """Returns a table of the moved variables, which scrolls if it is too wide."""
    named = {"scope": "col", "class": "ws-number"}
    others = (_tag("th", name, named) for name in ("axis", "before", "after", "slots"))
    head = _tag("th", "variable") + "".join(others)
    rows = []
    for change in variables:
        number = str(len(change.slots))
        if change.slots:
            listed = "".join(_tag("div", escape(path)) for path in change.slots)
            number = _tag("details", _tag("summary", number) + listed)
        about = (change.axis, change.shape_before, change.shape_after, number)
        path = _tag("th", escape(change.path), {"scope": "row", "class": "ws-path"})
        rows.append(_tag("tr", path + "".join(_number(str(cell)) for cell in about)))
    table = _tag("thead", _tag("tr", head)) + _tag("tbody", "\n".join(rows))
    region = {"class": "ws-scroll", "role": "region", "aria-label": "Variables"}
    region["tabindex"] = "0"  # the keyboard must reach a region that scrolls, too
    return _tag("div", _tag("table", table, _TABLE), region)


def _number(content: str) -> str:
    return _tag("td", content, {"class": "ws-number"})


def _tag(name: str, content: str, attributes: dict[str, str] | None = None) -> str:
    """Returns an element; its content must be HTML already."""
    said = "".join(f' {k}="{escape(v)}"' for k, v in (attributes or {}).items())
    return f"<{name}{said}>{content}</{name}>"
