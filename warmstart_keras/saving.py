"""Saving a model so that a file is whole, or is not there."""

import os
from pathlib import Path

import keras

from warmstart_keras.errors import WarmStartError
from warmstart_keras.rows import written_atomically


def save_atomically(model: keras.Model, filepath: str | os.PathLike) -> Path:
    """Saves a model under its name only when the whole file is written.

    `model.save` and `ModelCheckpoint` write in place: a job that is killed meanwhile has
    lost the file of the day before, and left half of today's. This writes to a file
    beside it, and then renames that, as one step of the file system.

    Examples:
        >>> import keras, os, tempfile
        >>> from warmstart_keras import save_atomically
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> path = os.path.join(tempfile.mkdtemp(), "today.keras")
        >>> save_atomically(model, path).name
        'today.keras'

    Args:
        model: A `keras.Model`.
        filepath: Where it shall be: a path of a local file system that ends in `.keras`
            (all of the model) or `.weights.h5` (weights and optimizer state). Of several
            processes only one may save to it.

    Returns:
        The path.

    Raises:
        WarmStartError: If `filepath` has another ending. What is there stays as it is,
            whatever is raised.
    """
    path = Path(filepath)
    if not path.name.endswith((".keras", ".weights.h5")):
        raise WarmStartError(
            "`filepath` must end in `.keras` or `.weights.h5`. "
            f"Received: filepath='{path}'"
        )
    with written_atomically(path) as partial:
        if path.name.endswith(".keras"):
            model.save(partial)
        else:
            model.save_weights(partial, overwrite=True)
    return path
