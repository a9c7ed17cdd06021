"""The command line: what saved vocabularies are, how they differ, and a warm start."""

import importlib
import io
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from warmstart_keras import __version__
from warmstart_keras.command_line.arguments import parser_for
from warmstart_keras.command_line.text import one_line
from warmstart_keras.errors import WarmStartError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: The arguments; None for those of the process.

    Returns:
        The exit status.

    Raises:
        SystemExit: By `argparse`, for `--help`, and for arguments that do not fit.
    """
    arguments = parser_for(__version__).parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # An encoding may lack characters of a token.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with (
            redirect_stdout(sys.stderr),  # what Keras and the user's classes print
            warnings.catch_warnings(action="ignore"),
            _progress() as stage,
        ):
            _import(arguments.imports)
            answer = arguments.run(arguments, stage)
    except (WarmStartError, OSError, MemoryError) as error:
        return _failed(str(error) or type(error).__name__)
    except KeyboardInterrupt:
        _failed("interrupted; nothing was written")
        return 130
    for warning in answer.warnings:
        print(f"warmstart_keras: warning: {_as_options(warning)}", file=sys.stderr)
    document = answer.document
    try:
        print(json.dumps(document, indent=2) if arguments.json else answer.text)
        sys.stdout.flush()
    except OSError as error:
        # Python would try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # as of `| head`, which saw enough
            return _failed(f"the answer could not be written: {error}")
    return 0 if document.get("same", True) else 1


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Gives a function that shows on a terminal, in one line, what is done now."""
    start = time.perf_counter()

    def show(line: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()

    def stage(text: str) -> None:
        show(f"[{time.perf_counter() - start:4.0f} s] {one_line(text)} ...")

    try:
        yield stage
    finally:
        show("")


def _failed(message: str) -> int:
    print(f"warmstart_keras: error: {_as_options(message)}", file=sys.stderr)
    return 2


def _as_options(message: str) -> str:
    """A message of the package in one line, its cures as options of the command line."""
    for argument, option, file in (
        ("base_vocabularies", "--base-vocabulary", "OLD.txt"),
        ("vocabularies", "--vocabulary", "NEW.txt"),
    ):
        pattern = rf"`{argument}=\{{'([^'`]*)': [^`]*\}}`"
        message = re.sub(pattern, rf"`{option} \1={file}`", message)
        message = message.replace(f"`{argument}`", f"`{option}`")
    for words, others in (
        ("`min_kept=0`", "`--min-kept 0`"),
        (" To start from it, pass it as `previous=`.", ""),
        ("The previous run must be", "A saved model must be"),
    ):
        message = message.replace(words, others)
    return one_line(message)


def _import(modules: list[str]) -> None:
    """Imports modules of the user's, also from the working directory."""
    if modules and "" not in sys.path:
        sys.path.insert(0, "")
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a module of the user's raises
            raise WarmStartError(
                f"`--import` must name a module. Received: {name!r}, which raised "
                f"{type(error).__name__}: {error}"
            ) from error
