"""A file that is whole under its name, or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Gives the path of a file beside `path`, which takes its place once it is written.

    Whatever is raised meanwhile, `path` stays as it is, and the other one goes.
    """
    # Always of the same name: what a killed job leaves there, the next one writes over.
    # `previous=` passes over hidden files in a directory.
    target = Path(os.path.realpath(path))  # where a symbolic link leads to
    partial = target.with_name(f".partial-{path.name}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # or a power failure may rename what is not written
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
