"""Model saving that never leaves an incomplete file."""

import os
from pathlib import Path

import keras

from warmstart_keras.errors import WarmStartError
from warmstart_keras.rows import written_atomically


def save_atomically(model: keras.Model, filepath: str | os.PathLike) -> Path:
    """Saves a model to a temporary file, then renames the file to its final name.

    `model.save` and `ModelCheckpoint` overwrite the old file in place. If the job is
    killed during the write, the old model is lost and the new file is incomplete. This
    function writes to another file in the same folder. The rename is one step of the
    file system, so the old file stays complete until the new one replaces it.

    Examples:
        >>> import keras, os, tempfile
        >>> from warmstart_keras import save_atomically
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> path = os.path.join(tempfile.mkdtemp(), "model.keras")
        >>> save_atomically(model, path).name
        'model.keras'

    Args:
        model: A `keras.Model`.
        filepath: Path on a local file system. The suffix `.keras` saves the whole model,
            `.weights.h5` saves weights and optimizer state. Only one process at a time
            may save to a path.

    Returns:
        A `pathlib.Path` of the saved file.

    Raises:
        WarmStartError: If `filepath` has another suffix. After this or any other error,
            an existing file at `filepath` is unchanged.
    """
    path = Path(filepath)
    if not path.name.endswith((".keras", ".weights.h5")):
        raise WarmStartError(
            "`filepath` must end in `.keras` or `.weights.h5`. "
            f"Received: filepath='{path}'. Pass for example "
            "`filepath='model.keras'`."
        )
    with written_atomically(path) as partial:
        if path.name.endswith(".keras"):
            model.save(partial)
        else:
            model.save_weights(partial, overwrite=True)
    return path
