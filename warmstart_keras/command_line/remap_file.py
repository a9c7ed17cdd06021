"""Command `remap`, which warm-starts a saved model for a new vocabulary."""

import argparse
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import keras

from warmstart_keras.command_line.inspect_file import check_exists
from warmstart_keras.command_line.set_lookups import NamedFile, layer_named, set_lookups
from warmstart_keras.command_line.text import Answer, lines_of
from warmstart_keras.errors import WarmStartError
from warmstart_keras.plan import plan_warm_start
from warmstart_keras.previous import open_previous
from warmstart_keras.saving import save_atomically


def remap(arguments: argparse.Namespace, stage: Callable[[str], None]) -> Answer:
    """Loads a model, moves its rows to the new vocabularies, and saves it.

    Lookup layers in the model get their new vocabulary too. The output file is written
    completely or not at all. It may be the input file.

    Raises:
        WarmStartError: If the model cannot be loaded, remapped or saved. No file is
            written.
    """
    old, output = arguments.old, arguments.output
    files, base_files = arguments.vocabulary, arguments.base_vocabulary
    _check(old, output, files, base_files)
    stage(f"checking {old}")
    has_slots = _has_slots(old)
    stage(f"loading {old}")
    model = _loaded(old, arguments.unsafe, has_slots)
    stage("setting lookup layers")
    vocabularies, lookups = set_lookups(model, files, base_files)
    bases: dict[keras.Layer | str, Path] | Path | None
    bases = {layer_named(model, name): path for name, path in base_files if name}
    if not bases:  # at most one, without a name
        bases = next((path for _, path in base_files), None)
    stage("planning the warm start")
    with warnings.catch_warnings(record=True, action="always") as caught:
        plan = plan_warm_start(
            model,
            vocabularies,
            base_vocabularies=bases,
            new_embeddings_initializer=arguments.new_rows,
            min_kept=arguments.min_kept,
            seed=arguments.seed,
            verbose=0,
        )
        if lookups and not plan.changed:
            raise WarmStartError(
                "No layer was found whose rows follow the lookup layers "
                f"{[lookup.name for lookup in lookups]}, so their new ids would reach "
                "old rows. Name the layer, and the tokens that its rows stand for now: "
                "`--vocabulary LAYER=NEW.txt --base-vocabulary LAYER=OLD.txt`."
            )
        stage("moving rows")
        report = plan.apply()
    # Notes about unnamed layers and about `also=` do not apply on the command line: the
    # other layers stay, and no other model shares them.
    notes = [n for n in report.notes if n not in plan.unwatched and "`also=`" not in n]
    report = replace(report, notes=notes)
    warned = [str(each.message).removeprefix("Warm start: ") for each in caught]
    stage(f"writing {output}")
    try:
        save_atomically(model, output)
    except Exception as error:  # HDF5 and `get_config` may raise anything
        raise WarmStartError(
            f"The remapped model could not be written to '{output}'. Received: "
            f"{type(error).__name__}: {str(error)[:300]}. An existing file is unchanged."
        ) from error
    return Answer(
        {"old": str(old), "output": str(output), **report.to_dict()},
        lines_of([*str(report).split("\n"), "", f"Written: {output}"]),
        [note for note in warned if note in notes],
    )


def _check(
    old: Path, output: Path, files: list[NamedFile], base_files: list[NamedFile]
) -> None:
    """Refuses invalid paths and combinations of options."""
    for path in [old, *(file for _, file in [*files, *base_files])]:
        check_exists(path)
    if old.suffix != ".keras" or not old.is_file():
        raise WarmStartError(
            "A file to remap must be a `.keras` archive, which holds the whole model. "
            f"Received: '{old}'. A weights file does not contain the layers of the "
            "model. Build the model in Python, and call "
            "`warm_start(model, previous=path)`."
        )
    if output.suffix != ".keras" or not output.absolute().parent.is_dir():
        raise WarmStartError(
            "`--output` must be a path that ends in `.keras`, in a folder that exists. "
            f"Received: '{output}'. Pass for example `--output today.keras`."
        )
    for option, given in (("--vocabulary", files), ("--base-vocabulary", base_files)):
        names = [name for name, _ in given]
        if len(set(names)) < len(names) or (None in names and len(names) > 1):
            raise WarmStartError(
                f"`{option}` must name each layer once, as `{option} LAYER=FILE`, or "
                f"appear once without a layer. Received: "
                f"{[str(path) for _, path in given]} for the layers {names}"
            )


def _has_slots(path: Path) -> bool:
    """Returns whether a file has optimizer slots. It refuses a broken file."""
    with closing(open_previous(path)) as previous:
        optimizer = previous.optimizer
    return optimizer is not None and any(stored.shape for stored in optimizer.values)


def _loaded(path: Path, unsafe: bool, has_slots: bool) -> keras.Model:
    """Loads a model with its optimizer."""
    try:
        with warnings.catch_warnings(record=True, action="always") as caught:
            model = keras.models.load_model(path, safe_mode=not unsafe)
    except Exception as error:  # the classes of a configuration may raise anything
        cure = (
            "If the model has custom classes, pass `--import MODULE` with the module "
            "that registers them."
        )
        if "safe_mode" in str(error):
            cure = (
                "If you trust the source of the file, pass `--unsafe`, which runs the "
                "code in it."
            )
        raise WarmStartError(
            f"Keras could not load the model to remap. Received: '{path}', with "
            f"{type(error).__name__}: {str(error)[:300]}. {cure}"
        ) from error
    for note in (str(each.message) for each in caught):
        # Keras warns and skips what it cannot load, so a part of the model would be lost.
        # For the optimizer this is an error only if the file has slots, since the
        # optimizer of an untrained model has none.
        if note.startswith("Skipping") and (has_slots or "for optimizer" not in note):
            raise WarmStartError(
                "A model to remap must load completely, including its optimizer. "
                f"Received: '{path}', for which Keras reports: {note[:300]}"
            )
    return model
