"""Entry point of the command line."""

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
        argv: Sequence of strings, the arguments. Defaults to `None`: the arguments of
            the process.

    Returns:
        The exit status as an integer.

    Raises:
        SystemExit: By `argparse`, for `--help`, `--version` and invalid arguments.
    """
    arguments = parser_for(__version__).parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The encoding of the terminal may lack characters of a token.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with (
            redirect_stdout(sys.stderr),  # for prints of Keras and of custom classes
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
        # Python flushes stdout again when the process ends, so point it to a null file.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A broken pipe, as of `| head`, is no error.
        if not isinstance(error, BrokenPipeError):
            return _failed(f"the answer could not be written: {error}")
    return 0 if document.get("same", True) else 1


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Yields a function that shows the present step in one line of the terminal."""
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
    """Rewrites a message in one line, with the options of the command line as cures."""
    for argument, option, file in (
        ("base_vocabularies", "--base-vocabulary", "OLD.txt"),
        ("vocabularies", "--vocabulary", "NEW.txt"),
    ):
        pattern = rf"`{argument}=\{{'([^'`]*)': [^`]*\}}`"
        message = re.sub(pattern, rf"`{option} \1={file}`", message)
        message = message.replace(f"`{argument}`", f"`{option}`")
    for words, others in (
        ("`min_kept=0`", "`--min-kept 0`"),
        (" To warm-start from this model, pass it as `previous`.", ""),
        (" Pass an older file as `previous`, or save the file again.", ""),
        ("`previous` must be", "A saved model must be"),
    ):
        message = message.replace(words, others)
    return one_line(message)


def _import(modules: list[str]) -> None:
    """Imports the modules of `--import`, also from the working directory."""
    if modules and "" not in sys.path:
        sys.path.insert(0, "")
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # an imported module may raise anything
            raise WarmStartError(
                f"`--import` must name a module. Received: {name!r}, which raised "
                f"{type(error).__name__}: {error}"
            ) from error
