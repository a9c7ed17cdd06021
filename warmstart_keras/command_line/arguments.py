"""The arguments of the command line, and its help."""

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
A model is a .keras or .weights.h5 file, or a folder that model.save(path, zipped=False)
wrote. Anything else is a vocabulary: a UTF-8 text file with one token a line. A leading
empty line is the mask row, and lines [UNK] first or right after it are OOV rows; a file
without any gets those of the vocabulary that it is compared with, or put in the place of.
"""
_STATUS = """\
exit status:
  0  done (diff: the same)
  1  diff: there is a difference
  2  an error, said in one line
"""


def _named_file(text: str) -> NamedFile:
    """Reads `FILE` or `LAYER=FILE`; what exists as a whole is a file."""
    name, equals, file = text.partition("=")
    if not equals or os.path.exists(text):
        return None, Path(text)
    if not name or not file:
        raise argparse.ArgumentTypeError(f"must be FILE or LAYER=FILE, not {text!r}")
    return name, Path(file)


def parser_for(version: str) -> argparse.ArgumentParser:
    """Builds the parser; `arguments.run` is then the function of the command."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="""\
Vocabularies of saved Keras models: what they are, how two differ, and a warm start of a
saved model for a rebuilt vocabulary, without training.""",
        epilog=f"""\
examples:
  {_PROGRAM} inspect yesterday.keras
  {_PROGRAM} diff yesterday.keras today.txt
  {_PROGRAM} remap yesterday.keras --vocabulary today.txt -o today.keras

`{_PROGRAM} COMMAND --help` says more of each.
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
    """Adds a command with the options that all have; gives what adds arguments to it."""
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
        help="one JSON document on stdout, and nothing else there",
    )
    command.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module of yours, which registers the classes of your layers",
    )
    return command.add_argument


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    add = _add(
        commands,
        inspect,
        "what the embeddings in a file stand for",
        """\
Says of each embedding in a saved model what its rows stand for: rows, width, number of
tokens, special rows, fingerprint, and the first and last tokens. The model is not loaded.
""",
        "yesterday.keras",
        "yesterday.weights.h5 --json",
    )
    add("file", metavar="FILE", type=Path, help="model or vocabulary")


def _add_diff(commands: argparse._SubParsersAction) -> None:
    add = _add(
        commands,
        diff,
        "how the vocabularies of two files differ",
        """\
Says which words two vocabularies both have, which are new, dropped, or have moved to
another row. Of two models each layer with a vocabulary in both is compared; layers are
matched by name, as in a warm start. No model is loaded.
""",
        "yesterday.txt today.txt",
        "yesterday.keras today.keras",
        "yesterday.keras today.txt  # what remap would do",
    )
    add("old", metavar="OLD", type=Path, help="model or vocabulary")
    add("new", metavar="NEW", type=Path, help="model or vocabulary")


def _add_remap(commands: argparse._SubParsersAction) -> None:
    add = _add(
        commands,
        remap,
        "warm start a saved model for another vocabulary",
        """\
Loads a model, moves every row and its optimizer state to its token's place in another
vocabulary, and saves it; nothing is trained. Lookup layers in the model (StringLookup,
IntegerLookup, TextVectorization) get the new vocabulary too. The output is written whole
or not at all; it may be the input.
""",
        "yesterday.keras --vocabulary today.txt -o today.keras",
        "shop.keras --vocabulary users=users.txt \\\n"
        "      --vocabulary items=items.txt -o shop.keras",
        "plain.keras --vocabulary today.txt \\\n"
        "      --base-vocabulary yesterday.txt -o today.keras",
    )
    add("old", metavar="OLD.keras", type=Path, help="the model")
    add(
        "--vocabulary",
        metavar="[LAYER=]FILE",
        type=_named_file,
        action="append",
        required=True,
        help="what the rows shall stand for; with LAYER, embedding, lookup or head, "
        "several times",
    )
    add(
        "-o",
        "--output",
        metavar="NEW.keras",
        type=Path,
        required=True,
        help="the file to write; what is there is replaced",
    )
    add(
        "--base-vocabulary",
        metavar="[LAYER=]FILE",
        type=_named_file,
        action="append",
        default=[],
        help="what the rows stand for now, where the model does not say it",
    )
    add(
        "--new-rows",
        metavar="NAME",
        help="what new words start from: mean, gaussian, oov, subword, or the name of an "
        "initializer of Keras (default: what each layer says)",
    )
    add(
        "--min-kept",
        metavar="SHARE",
        type=float,
        help="the least share of the old words that must be kept, from 0 to 1 "
        "(default: one word)",
    )
    add("--seed", type=int, help="new rows depend on it")
    add(
        "--unsafe",
        action="store_true",
        help="run code that the file holds, such as Lambda layers: only if you trust who "
        "made it",
    )
