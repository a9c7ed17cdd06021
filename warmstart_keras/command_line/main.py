"""The command line: what saved vocabularies are, how they differ, and a warm start."""

import argparse
import importlib
import io
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field

from warmstart_keras import __version__
from warmstart_keras.command_line.arguments import parser_for
from warmstart_keras.command_line.diff_files import differences
from warmstart_keras.command_line.inspect_file import reading
from warmstart_keras.command_line.remap_file import remap_file
from warmstart_keras.command_line.text import (
    content_text,
    differences_text,
    lines_of,
    one_line,
)
from warmstart_keras.errors import WarmStartError


@dataclass(frozen=True)
class _Answer:
    """What a command has to say: for people, for programs, and the exit status."""

    text: str
    data: dict
    status: int = 0
    warnings: list[str] = field(default_factory=list)


class _Progress:
    """One line on a terminal that says what is done now; nothing anywhere else."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._start = time.perf_counter()

    def __call__(self, stage: str) -> None:
        """Shows what is done next in the place of what was done before."""
        if self._is_shown:
            seconds = time.perf_counter() - self._start
            self._write(f"\r\x1b[K[{seconds:4.0f} s] {one_line(stage)} ...")

    def clear(self) -> None:
        """Takes the line away."""
        if self._is_shown:
            self._write("\r\x1b[K")

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: The arguments; None for those of the process.

    Returns:
        The exit status.

    Raises:
        SystemExit: By `argparse`, for `--help`, and for arguments that do not fit.
    """
    arguments = parser_for(__version__, _COMMANDS).parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of an encoding without them
    progress = _Progress()
    try:
        # Whatever Keras or a class of the user's prints is no answer.
        with redirect_stdout(sys.stderr), warnings.catch_warnings(action="ignore"):
            _import(arguments.imports)
            answer = arguments.run(arguments, progress)
    except (WarmStartError, OSError, MemoryError) as error:
        progress.clear()
        return _failed(str(error) or type(error).__name__)
    except KeyboardInterrupt:
        progress.clear()
        _failed("interrupted; nothing was written")
        return 130
    progress.clear()
    for warning in answer.warnings:
        print(f"warmstart_keras: warning: {_as_options(warning)}", file=sys.stderr)
    try:
        print(json.dumps(answer.data, indent=2) if arguments.json else answer.text)
        sys.stdout.flush()
    except OSError as error:
        # Python would try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # as of `| head`, which saw enough
            return _failed(f"the answer could not be written: {error}")
    return answer.status


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
    for words, others in (
        ("`min_kept=0`", "`--min-kept 0`"),
        ("`base_vocabularies`", "`--base-vocabulary`"),
        ("`vocabularies`", "`--vocabulary`"),
        (" To start from it, pass it as `previous=`.", ""),
        ("The previous run must be", "A saved model must be"),
    ):
        message = message.replace(words, others)
    return one_line(message)


def _import(modules: list[str]) -> None:
    """Imports modules of the user's, from the present folder too."""
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


def _inspect(arguments: argparse.Namespace, progress: _Progress) -> _Answer:
    progress(f"reading {arguments.file}")
    with reading(arguments.file) as content:
        return _Answer(content_text(content), content.to_dict())


def _diff(arguments: argparse.Namespace, progress: _Progress) -> _Answer:
    progress(f"reading {arguments.old}")
    with reading(arguments.old) as old:
        progress(f"reading {arguments.new}")
        with reading(arguments.new) as new:
            progress("comparing")
            found = differences(old, new)
    return _Answer(differences_text(found), found.to_dict(), 0 if found.same else 1)


def _remap(arguments: argparse.Namespace, progress: _Progress) -> _Answer:
    report, warned = remap_file(
        arguments.old,
        arguments.output,
        arguments.vocabulary,
        arguments.base_vocabulary,
        new_rows=arguments.new_rows,
        min_kept=arguments.min_kept,
        seed=arguments.seed,
        unsafe=arguments.unsafe,
        stage=progress,
    )
    written = f"Written: {arguments.output}"
    text = lines_of([*str(report).split("\n"), "", written])
    about = {"old": str(arguments.old), "output": str(arguments.output)}
    return _Answer(text, {**about, **report.to_dict()}, warnings=warned)


_COMMANDS = {"inspect": _inspect, "diff": _diff, "remap": _remap}
