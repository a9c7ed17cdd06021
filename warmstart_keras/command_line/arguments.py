"""Arguments and help texts of the command line."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from warmstart_keras.command_line.diff_files import diff
from warmstart_keras.command_line.inspect_file import inspect
from warmstart_keras.command_line.remap_file import remap
from warmstart_keras.command_line.set_lookups import NamedFile
from warmstart_keras.command_line.text import Answer

_PROGRAM = "python -m warmstart_keras"
_FILES = """\
A model is a .keras or .weights.h5 file, or a folder written by
model.save(path, zipped=False). Any other file is a vocabulary: a UTF-8 text file with one
token per line. An empty first line is the mask row. [UNK] on the first line, or after the
mask row, is an OOV row. A vocabulary file without special rows takes over the special
rows of the vocabulary that it is compared with or replaces.
"""
_STATUS = """\
exit status:
  0  success (diff: the vocabularies are equal)
  1  diff: the vocabularies differ
  2  error, with a message of one line on stderr
"""


def _named_file(text: str) -> NamedFile:
    """Parses `FILE` or `LAYER=FILE`; a path that exists is taken as a file."""
    name, equals, file = text.partition("=")
    if not equals or os.path.exists(text):
        return None, Path(text)
    if not name or not file:
        raise argparse.ArgumentTypeError(
            f"must be FILE or LAYER=FILE, such as words=today.txt. Received: {text!r}"
        )
    return name, Path(file)


def parser_for(version: str) -> argparse.ArgumentParser:
    """Builds the parser; it stores the function of the command in `arguments.run`."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="""\
Inspect the vocabularies of saved Keras models, compare two of them, and warm-start a
saved model for a rebuilt vocabulary without training.""",
        epilog=f"""\
examples:
  {_PROGRAM} inspect yesterday.keras
  {_PROGRAM} diff yesterday.keras today.txt
  {_PROGRAM} remap yesterday.keras --vocabulary today.txt -o today.keras

Run `{_PROGRAM} COMMAND --help` for the options of a command.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_inspect(commands)
    _add_diff(commands)
    _add_remap(commands)
    return parser


def _add(
    commands: argparse._SubParsersAction,
    run: Callable[..., Answer],
    about: str,
    description: str,
    *examples: str,
) -> Callable[..., argparse.Action]:
    """Adds a command with the common options, and returns its `add_argument`."""
    name = run.__name__
    shown = "".join(f"  {_PROGRAM} {name} {example}\n" for example in examples)
    command = commands.add_parser(
        name,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help=about,
        description=f"{description}\n{_FILES}",
        epilog=f"examples:\n{shown}\n{_STATUS}",
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document on stdout and nothing else",
    )
    command.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a Python module that registers custom layers; may be repeated",
    )
    return command.add_argument


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    add = _add(
        commands,
        inspect,
        "show the vocabularies of the embeddings in a file",
        """\
Show the vocabulary of each embedding in a saved model: rows, width, number of tokens,
special rows, fingerprint, and the first and last tokens. The model is not loaded.
""",
        "yesterday.keras",
        "yesterday.weights.h5 --json",
    )
    add("file", metavar="FILE", type=Path, help="model or vocabulary")


def _add_diff(commands: argparse._SubParsersAction) -> None:
    add = _add(
        commands,
        diff,
        "compare the vocabularies of two files",
        """\
Show which words of two vocabularies are kept, moved to another row, new, or dropped. For
two models, each layer with a vocabulary in both models is compared. Layers are matched by
name, as in a warm start. No model is loaded.
""",
        "yesterday.txt today.txt",
        "yesterday.keras today.keras",
        "yesterday.keras today.txt  # shows what remap would do",
    )
    add("old", metavar="OLD", type=Path, help="model or vocabulary")
    add("new", metavar="NEW", type=Path, help="model or vocabulary")


def _add_remap(commands: argparse._SubParsersAction) -> None:
    add = _add(
        commands,
        remap,
        "warm-start a saved model for a new vocabulary",
        """\
Load a model, move each row and its optimizer slots to the index of its token in the new
vocabulary, and save the model. Nothing is trained. Lookup layers in the model
(StringLookup, IntegerLookup, TextVectorization) get the new vocabulary too. The output
file is written completely or not at all. It may be the input file.
""",
        "yesterday.keras --vocabulary today.txt -o today.keras",
        "shop.keras --vocabulary users=users.txt \\\n"
        "      --vocabulary items=items.txt -o shop.keras",
        "plain.keras --vocabulary today.txt \\\n"
        "      --base-vocabulary yesterday.txt -o today.keras",
    )
    add("old", metavar="OLD.keras", type=Path, help="model to warm-start")
    add(
        "--vocabulary",
        metavar="[LAYER=]FILE",
        type=_named_file,
        action="append",
        required=True,
        help="file of the new tokens; LAYER is the name of an embedding, lookup layer or "
        "head, and the option may be repeated for other layers",
    )
    add(
        "-o",
        "--output",
        metavar="NEW.keras",
        type=Path,
        required=True,
        help="file to write; an existing file is replaced",
    )
    add(
        "--base-vocabulary",
        metavar="[LAYER=]FILE",
        type=_named_file,
        action="append",
        default=[],
        help="file of the tokens that the rows stand for now, if the model does not "
        "store them",
    )
    add(
        "--new-rows",
        metavar="NAME",
        help="initializer of the rows of new words: mean, gaussian, oov, subword, or the "
        "name of a Keras initializer (default: each layer's own initializer)",
    )
    add(
        "--min-kept",
        metavar="SHARE",
        type=float,
        help="smallest share of the old words that the new vocabulary must contain, from "
        "0 to 1 (default: at least one word)",
    )
    add("--seed", type=int, help="integer seed of the new rows")
    add(
        "--unsafe",
        action="store_true",
        help="allow code in the file to run, as in Lambda layers; use this only for "
        "files from a source that you trust",
    )
