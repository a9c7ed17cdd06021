"""Interrupts at any line of the package, for tests that nothing is left half done."""

import sys
from pathlib import Path

import pytest
from models import BACKEND

import warmstart_keras


def storage(variable):
    """What must be the same object; on JAX every assignment makes another."""
    return None if BACKEND == "jax" else id(variable.value)


def interrupt(function, at=None):
    """Calls `function`, and interrupts it before a line of the package.

    Args:
        function: What to call.
        at: The line's file and number, and which visit to it. None: where all has been
            done, but could still be taken back.

    Returns:
        For each line that was run, the number of visits; in order of the last ones.
    """
    package = str(Path(warmstart_keras.__file__).parent)
    visits = {}

    def trace(frame, event, _):
        if event == "call" and frame.f_code.co_name == "pop_all":
            raise KeyboardInterrupt
        if not frame.f_code.co_filename.startswith(package):
            return None
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno)
            visits[line] = visits.pop(line, 0) + 1
            if at == (line, visits[line]):
                raise KeyboardInterrupt
        return trace

    outer = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(KeyboardInterrupt):
            function()
    finally:
        sys.settrace(outer)
    return visits
