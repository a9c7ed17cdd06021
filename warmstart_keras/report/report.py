"""`WarmStartReport`: what a warm start did."""

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from warmstart_keras.errors import WarmStartError
from warmstart_keras.report import changes
from warmstart_keras.report.changes import VariableChange, VocabularyChange
from warmstart_keras.report.notebook import html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from warmstart_keras.report.samples import RowSample


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
        """Draws how the words changed, and how far rows have moved since.

        For each layer whose vocabulary changed: how many words were kept, are new and
        were dropped; the base row of kept words against their new one; the norms of kept
        and of new rows right after the warm start; and the distance of each of these
        rows from where it was then, so call it again after training. The rows are those
        of some thousand words at equal distances along the new vocabulary. A panel says
        why it is empty, as the last one does once the rows stand for another vocabulary.

        Args:
            layer: Path of one layer, as in `vocabularies`. None: the first eight.

        Returns:
            A `matplotlib.figure.Figure`, which a notebook shows, and which
            `figure.savefig(path)` writes. `pyplot` is not used.

        Raises:
            WarmStartError: If matplotlib is not installed, or no such layer has changed.
        """
        try:
            from warmstart_keras.report.plot import figure
        except ImportError as error:
            raise WarmStartError(
                "`report.plot()` must be able to import matplotlib. Received: "
                f'{error}. Install it: `pip install "matplotlib>=3.8"`.'
            ) from error
        return figure(self.vocabularies, self.samples, self.seconds, layer)

    def _repr_html_(self) -> str:
        return html(self._title, self.vocabularies, self.variables, self._remarks())

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
            Several lines, without a line end after the last.
        """
        if not self.changed or not self.vocabularies:
            first = title if self.changed else self.one_line()
            return "\n".join([first, *self._remarks()])
        lines = [title, "", *changes.words_table(self.vocabularies), ""]
        for change in self.vocabularies:
            for name in ("kept", "new", "dropped"):
                tokens = getattr(change, f"first_{name}")
                if tokens:
                    more = ", ..." if getattr(change, name) > len(tokens) else ""
                    shown = ", ".join(map(str, tokens))
                    lines.append(f"{change.layer}, first {name}: {shown}{more}")
        shapes = [("variable", "before", "after", "slots")] + [
            (v.path, str(v.shape_before), str(v.shape_after), str(len(v.slots)))
            for v in self.variables
        ]
        return "\n".join([*lines, "", *changes.aligned(shapes), *self._remarks()])

    def _remarks(self) -> list[str]:
        remarks = [] if self.previous is None else [f"From {self.previous}."]
        if self.missing:
            remarks.append(f"Not there, and as initialised: {', '.join(self.missing)}")
        if self.left_out:
            remarks.append(f"There, and left out: {', '.join(self.left_out)}")
        remarks += [f"Note: {note}" for note in self.notes]
        if self.unchecked:
            remarks.append(
                "Note: it could not be checked whether these can be loaded again; their "
                f"`get_config` must not hold the old vocabulary size: {self.unchecked}"
            )
        return remarks
