"""A saved model, warm-started for another vocabulary and saved again; not trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from warmstart_keras.command_line.inspect_file import check_exists
from warmstart_keras.command_line.set_lookups import (
    layer_named,
    no_warnings,
    with_new_lookups,
)
from warmstart_keras.errors import WarmStartError
from warmstart_keras.plan import plan_warm_start
from warmstart_keras.previous import open_previous
from warmstart_keras.report import WarmStartReport
from warmstart_keras.saving import save_atomically


def remap_file(
    old: Path,
    new: Path,
    files: list[tuple[str | None, Path]],
    base_files: list[tuple[str | None, Path]],
    *,
    new_rows: str | None = None,
    min_kept: float | None = None,
    seed: int | None = None,
    unsafe: bool = False,
    stage: Callable[[str], None] = lambda _: None,
) -> tuple[WarmStartReport, list[str]]:
    """Warm starts a saved model for other vocabularies, and saves it under another name.

    Lookup layers in the model come to their new vocabulary too.

    Args:
        old: A `.keras` file.
        new: The file to write, `.keras` too: whole, or not at all. It may be `old`.
        files: The name of a layer, or None for the model's only vocabulary, and the file
            of its new tokens.
        base_files: The same for what rows stand for now, where the file does not say it.
        new_rows: Name of an initializer or method, as of `warm_start`.
        min_kept: As of `warm_start`.
        seed: As of `warm_start`.
        unsafe: Whether code in `old` may be run: Keras's safe mode is then off.
        stage: Called with what is done next.

    Returns:
        A report, and what the user is warned of.

    Raises:
        WarmStartError: If it cannot be done; then nothing is written.
    """
    _check(old, new, files, base_files)
    stage(f"checking {old}")
    has_slots = _has_slots(old)
    stage(f"loading {old}")
    model = _loaded(old, unsafe, has_slots)
    stage("setting lookup layers")
    sources = with_new_lookups(model, files, base_files)
    bases: Any = {layer_named(model, name): path for name, path in base_files if name}
    bases = bases or next((path for _, path in base_files), None)
    stage("planning the warm start")
    with no_warnings() as warned:
        plan = plan_warm_start(
            model,
            sources.vocabularies or None,
            base_vocabularies=bases,
            new_embeddings_initializer=new_rows,
            min_kept=min_kept,
            seed=seed,
            verbose=0,
        )
        if sources.lookups and not plan.changed:
            raise WarmStartError(
                "A layer whose rows follow the lookup layer must be known. Received: "
                f"{[lookup.name for lookup in sources.lookups]}, which feed none that is "
                "known in the model's graph. Name it, and what its rows stand for: "
                "`--vocabulary LAYER=NEW.txt --base-vocabulary LAYER=OLD.txt`."
            )
        stage("moving rows")
        report = plan.apply()
    # Layers that were not named stay; and nothing else holds this model.
    notes = [n for n in report.notes if n not in plan.unwatched and "`also=`" not in n]
    report = replace(report, notes=notes)
    said = [note.removeprefix("Warm start: ") for note in map(str, warned)]
    stage(f"writing {new}")
    _save(model, new)
    return report, [note for note in said if note in report.notes]


def _check(old: Path, new: Path, files: list, base_files: list) -> None:
    """Refuses paths and combinations that cannot be meant."""
    for path in [old, *(file for _, file in [*files, *base_files])]:
        check_exists(path)
    if old.suffix != ".keras" or not old.is_file():
        raise WarmStartError(
            "A file to remap must be a `.keras` archive, which holds the whole model. "
            f"Received: '{old}'. Weights alone do not say of what model they are: build "
            "that in Python, and call `warm_start(model, previous=path)`."
        )
    if new.suffix != ".keras" or not new.absolute().parent.is_dir():
        raise WarmStartError(
            "`--output` must end in `.keras`, in a folder that is there. "
            f"Received: '{new}'"
        )
    for option, given in (("--vocabulary", files), ("--base-vocabulary", base_files)):
        names = [name for name, _ in given]
        if len(set(names)) < len(names) or (None in names and len(names) > 1):
            raise WarmStartError(
                f"`{option}` must name each layer once, as LAYER=FILE, or be given once "
                f"without a layer. Received: {[str(path) for _, path in given]} for "
                f"{names}"
            )


def _has_slots(path: Path) -> bool:
    """Whether a file has the slots of an optimizer; a broken one is refused."""
    previous = open_previous(path)
    optimizer = previous.optimizer
    previous.close()
    return optimizer is not None and any(stored.shape for stored in optimizer.values)


def _loaded(path: Path, unsafe: bool, has_slots: bool) -> Any:
    """The model of a file, with its optimizer."""
    try:
        with no_warnings() as warned:
            model = keras.models.load_model(path, safe_mode=not unsafe)
    except Exception as error:  # what the classes of a configuration raise
        cure = (
            "If it has classes of your own, pass `--import MODULE`, which registers them."
        )
        if "safe_mode" in str(error):
            cure = "If you trust who made it, pass `--unsafe`: its code is then run."
        raise WarmStartError(
            f"A model to remap must be one that Keras loads. Received: '{path}', with "
            f"{type(error).__name__}: {str(error)[:300]}. {cure}"
        ) from error
    for note in map(str, warned):
        # A part of the model would be lost; but one that was never trained has no slots.
        if note.startswith("Skipping") and (has_slots or "for optimizer" not in note):
            raise WarmStartError(
                "A model to remap must load as a whole, its optimizer included. "
                f"Received: '{path}', of which Keras says: {note[:300]}"
            )
    return model


def _save(model: Any, path: Path) -> None:
    try:
        with no_warnings():
            save_atomically(model, path)
    except Exception as error:  # HDF5 and `get_config`s raise what they like
        raise WarmStartError(
            f"The remapped model must be written to '{path}'. Received: "
            f"{type(error).__name__}: {str(error)[:300]}. What was there is still there."
        ) from error
