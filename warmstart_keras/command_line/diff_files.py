"""How the vocabularies of two files differ."""

from dataclasses import asdict, dataclass

from warmstart_keras.command_line.inspect_file import (
    FileContent,
    Held,
    described,
    source_of,
    table_of,
)
from warmstart_keras.errors import WarmStartError
from warmstart_keras.previous import match
from warmstart_keras.report import VocabularyChange, printable
from warmstart_keras.vocabulary import RowMap, Vocabulary, read_as

_SHOWN_MOVED = 10  # as many as a report names


@dataclass(frozen=True)
class Difference:
    """How one vocabulary of two files differs.

    Attributes:
        words: What became of the words.
        first_moved: The first few kept words in other rows: token, old row, new row.
        old: The old vocabulary, as of `described`.
        new: The new one; with the special rows of the old one, if it is a file of tokens
            that has none.
        same: Whether every row stands for the same in both.
    """

    words: VocabularyChange
    first_moved: list[tuple[str | int, int, int]]
    old: dict
    new: dict
    same: bool

    @classmethod
    def between(cls, layer: str, old: Vocabulary, new: Vocabulary) -> "Difference":
        """How two vocabularies differ."""
        row_map = RowMap(old, new)
        kept = row_map.kept_words
        moved = kept[row_map.indices[kept] != kept][:_SHOWN_MOVED]
        named = [printable(token) for token in row_map.new.some(moved)]
        rows = row_map.indices[moved].tolist(), moved.tolist()
        old_said, new_said = described(row_map.base), described(row_map.new)
        assert old_said is not None
        assert new_said is not None
        return cls(
            VocabularyChange.between(layer, row_map),
            list(zip(named, *rows, strict=True)),
            old_said,
            new_said,
            row_map.base.same_rows(row_map.new),
        )

    def to_dict(self) -> dict:
        """The same as plain data that JSON takes."""
        moved = [
            dict(zip(("token", "from", "to"), m, strict=True)) for m in self.first_moved
        ]
        about = {
            "same": self.same,
            "old_vocabulary": self.old,
            "new_vocabulary": self.new,
        }
        return {**asdict(self.words), "first_moved": moved, **about}


@dataclass(frozen=True)
class Differences:
    """How the vocabularies of two files differ.

    Attributes:
        old: The old file.
        new: The new file.
        layers: A `Difference` for each layer with a vocabulary in both.
        only_in_old: Paths of layers with a vocabulary that are in the old one alone.
        only_in_new: The same of the new one.
    """

    old: str
    new: str
    layers: list[Difference]
    only_in_old: list[str]
    only_in_new: list[str]

    @property
    def same(self) -> bool:
        """Whether all is the same in both."""
        alike = all(one.same for one in self.layers)
        return alike and not self.only_in_old and not self.only_in_new

    def to_dict(self) -> dict:
        """The same as plain data that JSON takes."""
        return {
            "old": self.old,
            "new": self.new,
            "same": self.same,
            "layers": [one.to_dict() for one in self.layers],
            "only_in_old": self.only_in_old,
            "only_in_new": self.only_in_new,
        }


def differences(old: FileContent, new: FileContent) -> Differences:
    """How the vocabularies of two files differ, both of them open.

    A file of tokens is compared with every layer of a model, and gets its special rows
    where it has none, as a warm start would.

    Raises:
        WarmStartError: If one of them has no known vocabulary.
    """
    ours, theirs = _known(new), _known(old)
    pairs: list[tuple[Held, Held]]
    if old.is_model and new.is_model:
        pairs = _paired(old, theirs, new, ours)
    else:
        pairs = [(one, other) for one in theirs for other in ours]
    paired = {id(one) for pair in pairs for one in pair}
    return Differences(
        old.path,
        new.path,
        [_difference(old, one, new, other) for one, other in pairs],
        [str(one.layer) for one in theirs if id(one) not in paired],
        [str(one.layer) for one in ours if id(one) not in paired],
    )


def _difference(old: FileContent, one: Held, new: FileContent, other: Held) -> Difference:
    before, after = one.vocabulary, other.vocabulary
    assert before is not None
    assert after is not None
    if not new.is_model:
        after = read_as(source_of(new.path, before), before)
    elif not old.is_model:
        before = read_as(source_of(old.path, after), after)
    return Difference.between(other.layer or one.layer or "vocabulary", before, after)


def _known(content: FileContent) -> list[Held]:
    known = [one for one in content.held if one.vocabulary is not None]
    if not known:
        raise WarmStartError(
            "A model must say what the rows of an embedding stand for. Received: "
            f"'{content.path}', with {[one.layer for one in content.held]}, which does "
            "not. `WarmStartEmbedding` stores it, and a lookup layer in a `.keras` file."
        )
    return known


def _paired(
    old: FileContent, theirs: list[Held], new: FileContent, ours: list[Held]
) -> list[tuple[Held, Held]]:
    """The same layers of two models, found as a warm start finds them."""
    assert old.root is not None
    assert new.root is not None
    layers = [layer for root in (old.root, new.root) for layer in root.walk()]
    # Tables of any size, and of any width: no row is moved here.
    tables = filter(None, map(table_of, layers))
    axes = {id(table): frozenset({0, 1}) for table in tables}
    before = {id(one.saved): one for one in theirs}
    after = {id(one.saved): one for one in ours}
    return [
        (before[id(one)], after[id(other)])
        for one, other in match(old.root, new.root, axes)
        if id(one) in before and id(other) in after
    ]
