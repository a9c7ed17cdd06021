"""`WarmStartReport`: the results of a warm start."""

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
    """Results of a warm start: how vocabularies and variables changed.

    `str(report)` is a table, `report.to_dict()` is plain data, and `report.plot()` is a
    figure. A notebook shows the report as HTML.

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
        notes: Other facts that the user should know, one sentence each.
        unchecked: Paths of layers whose configuration could not be checked.
        seconds: Duration in seconds.
        previous: The previous run that the values came from. None: they are the model's
            own values.
        missing: Paths of layers that the previous run does not have. They stay as
            initialized.
        left_out: Paths of layers of the previous run that the model does not have.
        samples: A few rows of each layer in `vocabularies`, as they were right after the
            warm start. They are for `plot`, and not part of `to_dict`.
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
        """Converts the report to plain data that can be written as JSON.

        Returns:
            Dictionary with the attributes as keys. The values are dictionaries, lists,
            strings, numbers and None.
        """
        plain = asdict(replace(self, samples=[]))
        del plain["samples"]
        for variable in plain["variables"]:
            for key in ("shape_before", "shape_after"):
                variable[key] = list(variable[key])
        return plain

    def one_line(self) -> str:
        """Returns the report in one line."""
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
            parts.append(f"missing in the previous run: {len(self.missing)} layers")
        slots = sum(len(variable.slots) for variable in self.variables)
        notes = f" Notes in the report: {len(self.notes)}." if self.notes else ""
        return (
            f"Warm start: {'; '.join(parts)}; variables: {len(self.variables)}, "
            f"optimizer slots: {slots}, in {self.seconds:.2f} s.{notes}"
        )

    def plot(self, layer: str | None = None) -> "Figure":
        """Draws how the words changed, and how far rows have moved since then.

        There are four panels for each layer whose vocabulary changed:

        - the numbers of kept, new and dropped words;
        - the base row and the new row of each kept word;
        - the norms of kept and new rows right after the warm start;
        - the distance that rows have moved since then. Call `plot` again after training
          to see it.

        The figure shows up to 1000 kept and 1000 new words of each layer, at equal
        distances along the new vocabulary. An empty panel tells why it is empty. For
        example, the last panel is empty once the rows stand for another vocabulary.

        Args:
            layer: Path of one layer, as in `vocabularies`. None: the first eight layers.

        Returns:
            A `matplotlib.figure.Figure`. A notebook shows it, and `figure.savefig(path)`
            writes it to a file. `pyplot` is not used.

        Raises:
            WarmStartError: If matplotlib is not installed, or if the vocabulary of
                `layer` did not change.
        """
        try:
            from warmstart_keras.report.plot import figure
        except ImportError as error:
            raise WarmStartError(
                "`report.plot()` cannot import matplotlib, which draws the figure "
                f'({error}). Install it: `pip install "matplotlib>=3.8"`.'
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
        """Returns the report as a table under a title.

        Args:
            title: The first line.

        Returns:
            Text of several lines. The last line has no newline character.
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
            remarks.append(
                f"Not in the previous run, kept as initialized: {', '.join(self.missing)}"
            )
        if self.left_out:
            remarks.append(
                f"Only in the previous run, left out: {', '.join(self.left_out)}"
            )
        remarks += [f"Note: {note}" for note in self.notes]
        if self.unchecked:
            remarks.append(
                f"Note: no check of the configuration was possible for {self.unchecked}. "
                "If their `get_config` returns the size of the base vocabulary, the "
                "saved model will not load."
            )
        return remarks
