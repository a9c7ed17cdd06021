"""Report as TensorBoard summaries, written by `tf.summary` on every backend."""

import os
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import keras
import numpy as np
from keras.optimizers import Optimizer

from warmstart_keras.backend import tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.report.report import WarmStartReport


def checked(log_dir: str | os.PathLike | None) -> str | None:
    """Returns the folder of the summaries as text, or None for no summaries."""
    if log_dir is None:
        return None
    if not isinstance(log_dir, str | os.PathLike):
        raise WarmStartError(
            "`log_dir` must be the path of a folder, or None. Received: "
            f"log_dir={log_dir!r} (of type {type(log_dir).__name__})."
        )
    if find_spec("tensorboard") is None:
        raise WarmStartError(
            "`log_dir` must be None if TensorBoard is not installed, because "
            f"`tf.summary` needs it. Received: log_dir='{os.fspath(log_dir)}'. "
            'Install it: `pip install "tensorboard>=2.18"`.'
        )
    return os.fspath(log_dir)


def write(folder: str | None, report: WarmStartReport, optimizer: Optimizer) -> None:
    """Writes the results of a warm start: counts, norms of rows, and the table as text.

    A failure only gives a warning, so that training results are not lost. If several
    processes train together, only the first process writes. The step of the summaries is
    the number of iterations of the optimizer.
    """
    _write(folder, optimizer, partial(_done, report))


def write_since(
    folder: str | None, report: WarmStartReport, optimizer: Optimizer
) -> None:
    """Writes how far rows have moved since the warm start, if known; see `write`."""
    _write(folder, optimizer, partial(_since, report))


def _write(
    folder: str | None, optimizer: Optimizer, summaries: Callable[[int], None]
) -> None:
    if folder is None or not _is_first_process():
        return
    import tensorflow as tf

    try:
        writer = tf.summary.create_file_writer(folder)
        with writer.as_default():
            summaries(int(tensors.to_numpy(optimizer.iterations)))
        writer.close()
    except tf.errors.OpError as error:
        warnings.warn(
            "`log_dir` must be a folder that can be written. Received: "
            f"log_dir='{folder}' ({error.message}). Training continues, but this "
            "summary is missing. Pass the path of a writable folder.",
            stacklevel=4,
        )


def _done(report: WarmStartReport, step: int) -> None:
    import tensorflow as tf

    tf.summary.scalar("warm_start/seconds", report.seconds, step)
    # TensorBoard shows Markdown: indented lines are shown as a code block.
    text = "\n".join(f"    {line}" for line in str(report).splitlines())
    tf.summary.text("warm_start/report", text, step)
    for change in report.vocabularies:
        for name in ("kept", "moved", "new", "dropped"):
            tag = f"warm_start/{change.layer}/{name}"
            tf.summary.scalar(tag, getattr(change, name), step)
    for sample in report.samples:
        tag = f"warm_start/{sample.layer}"
        _histogram(f"{tag}/rows_moved_by", sample.kept - sample.kept_from, step)
        if sample.norms is not None:
            _histograms(f"{tag}/norms", sample.norms, step)


def _since(report: WarmStartReport, step: int) -> None:
    for sample in report.samples:
        since = sample.since()
        if not isinstance(since, str):
            _histograms(f"warm_start/{sample.layer}/distance_since", since, step)


def _histograms(tag: str, both: tuple[np.ndarray, np.ndarray], step: int) -> None:
    for name, values in zip(("kept", "new"), both, strict=True):
        _histogram(f"{tag}_{name}", values, step)


def _histogram(tag: str, values: np.ndarray, step: int) -> None:
    import tensorflow as tf

    values = values[np.isfinite(values)]
    if len(values):
        tf.summary.histogram(tag, values.astype(np.float64), step)


def _is_first_process() -> bool:
    if keras.backend.backend() != "jax":  # on others, each process trains alone
        return True
    import jax

    return jax.process_index() == 0
