"""Draws the picture of README and start page: rows without and with a warm start.

Run it in a checkout:

    pip install -e ".[plot]"
    python docs/make_picture.py    # writes docs/rows_light.svg and docs/rows_dark.svg
"""

import argparse
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle

from warmstart_keras import RowMap

BASE = ["film", "good", "plot", "bad"]
NEW = ["bad", "twist", "film", "good"]
CELLS = 5  # numbers of a row that are drawn

# Okabe and Ito's colors, which people with color blindness can tell apart.
COLORS = {"film": "#0072B2", "good": "#E69F00", "plot": "#CC79A7", "bad": "#009E73"}
THEMES = {
    "light": {"ink": "#1f2328", "quiet": "#6e7781", "wrong": "#c62828"},
    "dark": {"ink": "#e6edf3", "quiet": "#8b949e", "wrong": "#ff7b72"},
}


SHADES = (0.95, 0.5, 0.75, 0.35, 0.85)  # of the cells of the first row


def draw_row(axes: Axes, x: float, place: int, word: str | None, quiet: str) -> None:
    """Draws the row of a word, in its color; a new row as an outline."""
    for cell in range(CELLS):
        style = {"facecolor": "none", "edgecolor": quiet, "linestyle": ":"}
        if word is not None:
            shade = SHADES[(cell + BASE.index(word)) % CELLS]
            style = {"facecolor": COLORS[word], "edgecolor": "none", "alpha": shade}
        corner = (x + cell * 0.22, -place - 0.36)
        axes.add_patch(Rectangle(corner, 0.2, 0.72, **style))


def draw(theme: dict[str, str]) -> Figure:
    """Draws the rows before a rebuild, and after it without and with this package."""
    ink, quiet, wrong = theme["ink"], theme["quiet"], theme["wrong"]
    figure = Figure(figsize=(8.4, 3.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 8.4), ylim=(-4.25, 1.65))
    axes.axis("off")
    text = {"fontsize": 14.5, "va": "center", "color": ink}
    small = text | {"fontsize": 13}
    left, middle, right = 1.0, 3.85, 5.95

    for x, title, below, color in (
        (left + 0.3, "Without", "rows stay, tokens move", wrong),
        (middle + 0.3, "Before", "the rebuild", ink),
        (right + 0.85, "With warmstart_keras", "each row follows its token", ink),
    ):
        axes.text(x, 1.35, title, ha="center", fontweight="bold", **text)
        axes.text(x, 0.85, below, ha="center", **small | {"color": color})

    arrow = {"arrowstyle": "->", "color": quiet, "lw": 1.3, "mutation_scale": 11}
    row_map = RowMap(BASE, NEW)
    for place, (word, base_row) in enumerate(zip(NEW, row_map.indices, strict=True)):
        draw_row(axes, middle, place, BASE[place], quiet)
        axes.text(middle - 0.1, -place, BASE[place], ha="right", **text)
        # Without a warm start, the row in each place stays where it is.
        draw_row(axes, left, place, BASE[place], quiet)
        axes.text(left - 0.1, -place, word, ha="right", **text | {"color": wrong})
        ends = ((middle - 0.78, -place), (left + 1.2, -place))
        axes.add_patch(ConnectionPatch(*ends, "data", **arrow))
        # With it, the row of each kept word moves to its new place.
        is_kept = base_row >= 0
        draw_row(axes, right, place, word if is_kept else None, quiet)
        label = word if is_kept else f"{word} (new)"
        axes.text(right + 1.2, -place, label, ha="left", **text)
        if is_kept:
            ends = ((middle + 1.14, -base_row), (right - 0.06, -place))
            axes.add_patch(ConnectionPatch(*ends, "data", **arrow))
    for x, line, color in (
        (left + 0.75, "“bad” reads the row of “film”", wrong),
        (right + 0.85, "optimizer slots too", ink),
    ):
        axes.text(x, -3.95, line, ha="center", **small | {"color": color})
    return figure


def main() -> None:
    """Writes the picture for light and for dark pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().output
    matplotlib.rcParams["svg.hashsalt"] = "warmstart_keras"  # the same file at each run
    for name, theme in THEMES.items():
        path = folder / f"rows_{name}.svg"
        draw(theme).savefig(path, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
