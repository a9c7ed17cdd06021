"""`WarmStartReport`: what a warm start did."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from warmstart_keras.errors import WarmStartError
from warmstart_keras.report_html import html
from warmstart_keras.row_map import RowMap
from warmstart_keras.tokens import Token
from warmstart_keras.vocabulary import Vocabulary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from warmstart_keras.report_rows import RowSample

_SHOWN = 10  # tokens named by rank; the counts are of all


@dataclass(frozen=True)
class VocabularyChange:
    """What became of the words of one layer's vocabulary; special rows not counted.

    Attributes:
        layer: Path of the layer.
        base_fingerprint: `Vocabulary.fingerprint` of the old rows.
        new_fingerprint: The same of the new rows.
        kept: Number of words in both.
        new: Number of words only in the new vocabulary.
        dropped: Number of words only in the old one.
        moved: Number of kept words whose row is another one.
        first_kept: The first few kept words, by their new rank.
        first_new: The first few new words, by rank.
        first_dropped: The first few dropped words, by their old rank.
    """

    layer: str
    base_fingerprint: str
    new_fingerprint: str
    kept: int
    new: int
    dropped: int
    moved: int
    first_kept: list[str | int]
    first_new: list[str | int]
    first_dropped: list[str | int]

    @classmethod
    def between(cls, layer: str, row_map: RowMap) -> "VocabularyChange":
        """The change that a row map without spare rows makes."""
        base, new = row_map.base, row_map.new
        words = new.word_rows
        sources = row_map.indices[words]
        kept, added = words[sources >= 0], words[sources < 0]
        gone = base.word_rows
        gone = gone[row_map.inverse()[gone] < 0]
        return cls(
            layer,
            base.fingerprint,
            new.fingerprint,
            len(kept),
            len(added),
            len(gone),
            int(np.count_nonzero(row_map.indices[kept] != kept)),
            _shown(new, kept),
            _shown(new, added),
            _shown(base, gone),
        )


@dataclass(frozen=True)
class VariableChange:
    """What became of one variable of the model.

    Attributes:
        path: Path of the variable.
        axis: The axis that has the vocabulary.
        shape_before: Its shape before the warm start.
        shape_after: Its shape now.
        slots: Paths of the optimizer's variables that moved with it.
    """

    path: str
    axis: int
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    slots: list[str]


@dataclass(frozen=True)
class WarmStartReport:
    """What a warm start did. `str(report)` is a table, `report.to_dict()` plain data.

    In a notebook it shows itself; `report.plot()` is a figure.

    Examples:
        >>> from warmstart_keras import WarmStartEmbedding, warm_start
        >>> layer = WarmStartEmbedding(output_dim=2, vocabulary=["a", "b"], name="words")
        >>> layer.build()
        >>> report = warm_start(layer, ["b", "c", "d"], verbose=0)
        >>> report.changed
        True
        >>> words = report.vocabularies[0]
        >>> words.kept, words.first_new
        (1, ['c', 'd'])
        >>> report.variables[0].shape_after
        (3, 2)
        >>> print(report)
        Warm start in ... s
        <BLANKLINE>
        layer  kept  moved  new  dropped           fingerprint
        -----  ----  -----  ---  -------  --------------------
        words     1      1    2        1  84d36221 -> f5504ac4
        ...

    Attributes:
        changed: Whether any row moved.
        vocabularies: A `VocabularyChange` for each layer whose vocabulary changed.
        variables: A `VariableChange` for each variable that was moved.
        notes: What the user should know besides, one sentence each.
        unchecked: Paths of layers whose configuration could not be checked.
        seconds: The time it took.
        previous: The previous run that the values came from; None if the model's own.
        missing: Paths of layers that the previous run has not: they stay as initialised.
        left_out: Paths of layers of the previous run that the model has not.
        samples: Of each layer in `vocabularies`, a few rows as they were right after the
            warm start; they are for `plot`, and no part of `to_dict`.
    """

    changed: bool
    vocabularies: list[VocabularyChange] = field(default_factory=list)
    variables: list[VariableChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    seconds: float = 0.0
    previous: str | None = None
    missing: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    samples: "list[RowSample]" = field(default_factory=list, repr=False, compare=False)

    def to_dict(self) -> dict:
        """The report as plain data that JSON takes.

        Returns:
            Dictionary with the attributes as keys, of dictionaries, lists, strings,
            numbers and None.
        """
        plain = asdict(replace(self, samples=[]))
        del plain["samples"]
        for variable in plain["variables"]:
            for key in ("shape_before", "shape_after"):
                variable[key] = list(variable[key])
        return plain

    def one_line(self) -> str:
        """The report in one line."""
        if not self.changed:
            return "Warm start: no vocabulary changed."
        parts = [
            f"{v.layer}: kept {v.kept:,} words ({v.moved:,} moved), {v.new:,} new, "
            f"{v.dropped:,} dropped"
            for v in self.vocabularies
        ]
        if self.previous is not None:
            parts.insert(0, f"from {self.previous}")
        if self.missing:
            parts.append(f"not there: {len(self.missing)} layers")
        slots = sum(len(variable.slots) for variable in self.variables)
        notes = f" Notes in the report: {len(self.notes)}." if self.notes else ""
        return (
            f"Warm start: {'; '.join(parts)}; variables: {len(self.variables)}, "
            f"optimizer slots: {slots}, in {self.seconds:.2f} s.{notes}"
        )

    def plot(self, layer: str | None = None) -> "Figure":
        """Draws what became of the words, and how far rows have moved since.

        Of each layer whose vocabulary changed: how many words were kept, are new and
        were dropped; the old row of kept words against their new one; the norms of kept
        and of new rows right after the warm start; and the distance between each of
        these rows now and then, so call it again after training. Rows are those of some
        thousand words at equal distances along the new vocabulary. What is not known any
        more, as the last one once the rows have moved to another vocabulary, is said in
        its place.

        Args:
            layer: Path of one layer, as in `vocabularies`. None: the first eight.

        Returns:
            A `matplotlib.figure.Figure`, which a notebook shows, and which
            `figure.savefig(path)` writes. `pyplot` plays no part.

        Raises:
            WarmStartError: If matplotlib is not there, or no such layer has changed.
        """
        try:
            from warmstart_keras.report_plot import figure
        except ImportError as error:
            raise WarmStartError(
                "`report.plot()` must be able to import matplotlib. Received: "
                f'{error}. Install it: `pip install "matplotlib>=3.8"`.'
            ) from error
        return figure(self, layer)

    def _repr_html_(self) -> str:
        return html(self, self._title, self._remarks())

    def __str__(self) -> str:
        return self.text(self._title)

    @property
    def _title(self) -> str:
        done = f"Warm start in {self.seconds:.2f} s"
        return done if self.changed else self.one_line()

    def text(self, title: str) -> str:
        """The report as a table under a title.

        Args:
            title: The first line.

        Returns:
            Several lines, without an end of line behind the last.
        """
        if not self.changed:
            return "\n".join([self.one_line(), *self._remarks()])
        shapes = [("variable", "before", "after", "slots")] + [
            (v.path, str(v.shape_before), str(v.shape_after), str(len(v.slots)))
            for v in self.variables
        ]
        lines = [title, "", *words_table(self.vocabularies), ""]
        for change in self.vocabularies:
            for name in ("kept", "new", "dropped"):
                tokens = getattr(change, f"first_{name}")
                if tokens:
                    more = ", ..." if getattr(change, name) > len(tokens) else ""
                    shown = ", ".join(map(str, tokens))
                    lines.append(f"{change.layer}, first {name}: {shown}{more}")
        if not self.vocabularies:
            return "\n".join([title, *self._remarks()])
        return "\n".join([*lines, "", *aligned(shapes), *self._remarks()])

    def _remarks(self) -> list[str]:
        remarks = [] if self.previous is None else [f"From {self.previous}."]
        remarks += [
            f"{said}: {', '.join(paths)}"
            for said, paths in (
                ("Not there, and as initialised", self.missing),
                ("There, and left out", self.left_out),
            )
            if paths
        ]
        remarks += [f"Note: {note}" for note in self.notes]
        if self.unchecked:
            remarks.append(
                "Note: it could not be checked whether these can be loaded again; their "
                f"`get_config` must not hold the old vocabulary size: {self.unchecked}"
            )
        return remarks


def _shown(vocabulary: Vocabulary, rows: np.ndarray) -> list[str | int]:
    return [printable(token) for token in vocabulary.some(rows[:_SHOWN])]


def printable(token: Token) -> str | int:
    """A token that JSON takes and no terminal obeys: what is not text is escaped."""
    if isinstance(token, int):
        return token
    text = escaped(str(token))
    return text if len(text) <= 40 else text[:39] + "…"


def escaped(text: str) -> str:
    """Text whose characters a terminal shows, and does not obey."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def words_table(changes: Sequence[VocabularyChange]) -> list[str]:
    """How many words were kept, moved, new and dropped, as lines of a table."""
    rows = [
        (
            change.layer,
            f"{change.kept:,}",
            f"{change.moved:,}",
            f"{change.new:,}",
            f"{change.dropped:,}",
            f"{change.base_fingerprint[:8]} -> {change.new_fingerprint[:8]}",
        )
        for change in changes
    ]
    return aligned([("layer", "kept", "moved", "new", "dropped", "fingerprint"), *rows])


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows as lines of a table, its first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (rows[0], rule, *rows[1:])
    ]
