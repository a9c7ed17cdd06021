"""Reading of the JSON files, and numbers and sentences as Markdown."""

import functools
import json
import re
import textwrap
from pathlib import Path

FOLDER = Path(__file__).parent


@functools.cache
def load(name):
    """Returns the content of a JSON file in this folder."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def results(name):
    """Returns what a benchmark measured."""
    return load(name)["results"]


def table(header, rows, right=True):
    """Returns a Markdown table; `right` aligns all columns but the first to the right."""
    rule = ["---"] + ["---:" if right else "---"] * (len(header) - 1)
    lines = "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])
    return f"\n{lines}\n"


def paragraph(text):
    """Returns a paragraph whose lines are filled anew."""
    return f"\n{_filled(text)}\n"


def bullets(*texts):
    """Returns a list with one item per text."""
    return "\n" + "\n".join(_filled(text, "- ", "  ") for text in texts) + "\n"


def _filled(text, first="", others=""):
    text = " ".join(text.split())
    # Spaces in code and before units are hidden, so that no line ends there.
    text = re.sub(r"`[^`]+`|\d (%|(s|ms|MB|MiB|GB)\b)", _hidden, text)
    lines = textwrap.fill(
        text,
        100,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace("\0", " ")


def _hidden(found):
    return found[0].replace(" ", "\0")


def listed(items):
    """Returns `a, b and c`."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def digits(value, number=2):
    """Returns a value with two significant digits: 0.43, 4.3, 43, 430."""
    return f"{float(f'{value:.{number}g}'):,g}"


def duration(seconds):
    """Returns `8.5 ms` or `0.43 s`."""
    return f"{digits(seconds * 1e3)} ms" if seconds < 0.1 else f"{digits(seconds)} s"


def gigabytes(value):
    """Returns a number of bytes as `2.56 GB`."""
    return f"{digits(value / 1e9, 3)} GB"


def percent(value):
    """Returns a share as `1.8 %` or `39 %`."""
    return f"{100 * value:.0f} %" if value > 0.0995 else f"{digits(100 * value)} %"


def points(value, sign=""):
    """Returns a difference of accuracies in percentage points, as `3.4`."""
    return f"{round(100 * value, 1) + 0.0:{sign}.1f}"


def size(rows, width):
    """Returns the size of a table as `1,000,000 x 64`."""
    return f"{rows:,} x {width}"


def commands(*names):
    """Returns the commands that wrote some files, as a block of shell code."""
    lines = dict.fromkeys(load(name)["command"] for name in names)
    return "\n```sh\n" + "\n".join(lines) + "\n```\n"


def machine(*names):
    """Returns what the latest of some runs ran on, and its date."""
    run = max((load(name) for name in names), key=lambda run: run["date"])
    facts = run["machine"]
    packages = {"Python": facts["python"], **facts["versions"]}
    names = {"Python": "Python", "keras": "Keras", "tensorflow": "TensorFlow"}
    versions = ", ".join(f"{names[name]} {packages[name]}" for name in names)
    memory = f"{facts['memory_gb']:.0f} GB of memory"
    return f"{facts['cores']} cores and {memory}, {versions}, {run['date']}"
