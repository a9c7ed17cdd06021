"""Report as a matplotlib figure; only this module imports matplotlib."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from warmstart_keras.errors import WarmStartError
from warmstart_keras.report.changes import VocabularyChange
from warmstart_keras.report.notebook import COLOURS
from warmstart_keras.report.samples import RowSample

_MOST = 8  # layers in one figure
_BINS = 30
_PANELS = (
    "Words",
    "Kept words: old and new row",
    "Norms right after the warm start",
    "Distance moved since then",
)

# Kept and new rows look different in black and white, too.
_LINES: dict[str, dict] = {
    "kept": {"fill": True, "alpha": 0.5, "color": COLOURS["kept"]},
    "new": {"color": COLOURS["new"], "linestyle": "--", "linewidth": 1.8},
}


class ReportFigure(Figure):
    """Figure that a notebook shows automatically, even if `pyplot` is not imported."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def figure(
    vocabularies: Sequence[VocabularyChange],
    samples: Sequence[RowSample],
    seconds: float,
    layer: str | None = None,
) -> Figure:
    """Draws the figure of `WarmStartReport.plot`."""
    paths = [change.layer for change in vocabularies]
    if layer is not None and layer not in paths:
        raise WarmStartError(
            "`layer` must be the path of a layer whose vocabulary changed. Received: "
            f"layer={layer!r}. The paths are: {paths}."
        )
    chosen = [c for c in vocabularies if layer in (None, c.layer)]
    shown = chosen[:_MOST]
    number = max(1, len(shown))
    drawn = ReportFigure(figsize=(15, 0.6 + 3.4 * number), layout="constrained")
    title = f"Warm start in {seconds:.2f} s"
    if len(shown) < len(chosen):
        title += f" (first {number} of {len(chosen)} layers; pass `layer=` for others)"
    if not shown:
        title = "Warm start: no vocabulary changed"
    drawn.suptitle(title, parse_math=False)  # names are not formulas
    by_layer = {sample.layer: sample for sample in samples}
    parts = drawn.subfigures(number, 1, squeeze=False)[:, 0]
    style = {"weight": "bold", "fontsize": "medium", "parse_math": False}
    for part, change in zip(parts, shown, strict=False):
        part.suptitle(_cut(change.layer), **style)
        for axes, panel in zip(part.subplots(1, len(_PANELS)), _PANELS, strict=True):
            axes.set_title(panel, fontsize="small")
            axes.tick_params(labelsize="small")
            _draw(axes, panel, change, by_layer.get(change.layer))
    return drawn


def _draw(
    axes: Axes, panel: str, change: VocabularyChange, sample: RowSample | None
) -> None:
    if panel == _PANELS[0]:
        _draw_words(axes, change)
    elif sample is None:
        _say(axes, "this report has no sample of rows")
    elif panel == _PANELS[1]:
        _draw_places(axes, change, sample)
    elif panel == _PANELS[2]:
        norms = sample.norms
        if norms is None:
            _say(axes, "its rows are sharded over several processes")
        else:
            _draw_shares(axes, norms, "norm of a row")
    else:
        since = sample.since()
        if isinstance(since, str):
            _say(axes, since)
        elif not any(distances.any() for distances in since):
            _say(axes, "no row has moved yet: train first")
        else:
            _draw_shares(axes, since, "norm of the difference")


def _draw_words(axes: Axes, change: VocabularyChange) -> None:
    numbers = [getattr(change, name) for name in COLOURS]
    bars = axes.barh(list(COLOURS), numbers, color=list(COLOURS.values()))
    axes.bar_label(bars, [f"{number:,}" for number in numbers], padding=3)
    axes.set_xlim(0, 1.35 * max(*numbers, 1))  # leaves room for the numbers
    axes.invert_yaxis()
    _count_along(axes.xaxis)
    axes.set_xlabel("words", fontsize="small")


def _draw_places(axes: Axes, change: VocabularyChange, sample: RowSample) -> None:
    if not len(sample.kept):
        _say(axes, "no word was kept")
        return
    before, now = sample.kept_from, sample.kept
    axes.scatter(before, now, s=9, color=COLOURS["kept"], edgecolors="none")
    last = max(before.max(), now.max())
    axes.plot([0, last], [0, last], color="black", linestyle=":", linewidth=1)
    far = np.median(np.abs(now - before))
    said = (
        f"old row\n{change.moved:,} of {change.kept:,} words moved,\n"
        f"median distance of {_drawn(now)}: {far:,.0f}"
    )
    for axis, name in ((axes.xaxis, said), (axes.yaxis, "new row")):
        _count_along(axis)
        axis.set_label_text(name, fontsize="small")


def _draw_shares(axes: Axes, both: Sequence[np.ndarray], unit: str) -> None:
    """Draws histograms of kept and new rows, each in percent of all rows of its kind."""
    finite = [values[np.isfinite(values)] for values in both]
    edges = _edges(np.concatenate(finite))
    for (name, style), values, all_ in zip(_LINES.items(), finite, both, strict=True):
        if not len(all_):
            continue
        label = f"{name}: {_drawn(all_)}"
        if len(values):
            counts, _ = np.histogram(values, edges)
            label += f", median {np.median(values):.3g}"
            style = {**style, "label": label}
            axes.stairs(100 * counts / len(all_), edges, **style)
        if len(values) < len(all_):
            axes.plot([], [], " ", label=f"{name}: {len(all_) - len(values)} not finite")
    axes.set_xlabel(unit, fontsize="small")
    axes.set_ylabel("% of rows", fontsize="small")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if any(len(all_) for all_ in both):
        below: dict = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
        axes.legend(fontsize="small", frameon=False, **below)


def _edges(values: np.ndarray) -> np.ndarray:
    """Computes the edges of the bins; a bin has a width even if all values are equal."""
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    if high - low <= 1e-6 * abs(high):
        margin = 0.05 * abs(high) or 0.5
        low, high = low - margin, high + margin
    return np.linspace(low, high, _BINS + 1)


def _drawn(rows: np.ndarray) -> str:
    return f"{len(rows):,} row{'s' * (len(rows) != 1)}"


def _count_along(axis: Axis) -> None:
    """Formats an axis with a few whole numbers."""
    axis.set_major_locator(MaxNLocator(4, integer=True))
    axis.set_major_formatter(EngFormatter(sep=""))


def _cut(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:30]}…{path[-69:]}"


def _say(axes: Axes, text: str) -> None:
    """Writes in a panel why it is empty."""
    axes.set(xticks=[], yticks=[])
    place: dict = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, text, wrap=True, **place)
