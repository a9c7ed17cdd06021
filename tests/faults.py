"""Faults at the steps of a transaction, and interrupts at any line of the package."""

import linecache
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from models import BACKEND

import warmstart_keras
from warmstart_keras.backend import Transaction

PACKAGE = Path(warmstart_keras.__file__).parent
COMMIT = "commit"


def storage(variable):
    """What must be the same object; on JAX every assignment makes another."""
    return None if BACKEND == "jax" else id(variable.value)


def scope():
    """The scope in which TensorFlow names a new variable."""
    if BACKEND != "tensorflow":
        return ""
    import tensorflow as tf

    return tf.Variable(0.0, name="new").name


@contextmanager
def fault(at=None, error=KeyboardInterrupt):
    """Raises at a step of the transactions in its block.

    A step is the moment before a change is registered, the moment after that, when the
    change is still to be made, and the one before all changes are kept.

    Args:
        at: The number of the step, from 1, or `COMMIT`. None: at no step.
        error: What to raise.

    Yields:
        A list that gets the name of each step.
    """
    taken = []

    def take(name):
        taken.append(name)
        if at in (len(taken), name):
            raise error

    register, commit = Transaction.callback, Transaction.commit

    def faulty_register(self, function, *args, **kwargs):
        take("before a change is registered")
        registered = register(self, function, *args, **kwargs)
        take("after a change is registered")
        return registered

    def faulty_commit(self):
        take(COMMIT)
        commit(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transaction, "callback", faulty_register)
        patch.setattr(Transaction, "commit", faulty_commit)
        yield taken


def let_fail(function, at=COMMIT, error=KeyboardInterrupt):
    """Calls a function that must fail at a step; returns the names of the steps."""
    with fault(at, error) as steps, pytest.raises(error):
        function()
    return steps


def interrupt(function, at=None):
    """Calls `function`, and interrupts it before a line of the package.

    Args:
        function: What to call.
        at: The line's file and number, and which visit to it. None: where all has been
            done, but could still be taken back.

    Returns:
        For each line that was run, the number of visits; in order of the last ones.
    """
    visits = {}

    def trace(frame, event, _):
        is_ours = frame.f_code.co_filename.startswith(str(PACKAGE))
        if not is_ours or COMMIT in steps:  # what follows takes changes back
            return None
        line = (frame.f_code.co_filename, frame.f_lineno)
        # At the end of its block, Python traces the line of a `with` once more before it
        # leaves the context. It never looks for an interrupt there.
        if event == "line" and not linecache.getline(*line).lstrip().startswith("with "):
            visits[line] = visits.pop(line, 0) + 1
            if at == (line, visits[line]):
                raise KeyboardInterrupt
        return trace

    def traced():
        outer = sys.gettrace()
        sys.settrace(trace)
        try:
            function()
        finally:
            sys.settrace(outer)

    with fault(COMMIT) as steps, pytest.raises(KeyboardInterrupt):
        traced()
    return visits
