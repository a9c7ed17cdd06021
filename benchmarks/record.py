"""The JSON file of a benchmark's results, which pages of the documentation show.

`docs/figures/` makes tables and sentences from these files (`docs/figures/*.json`).
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("warmstart-keras", "keras", "tensorflow", "tf_keras", "numpy")
# A list of numbers, which `json` writes with one number a line.
NUMBERS = re.compile(r"\[\s+([-\d.e]+(?:,\s+[-\d.e]+)*)\s+\]")


def add_option(parser):
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the results to this file"
    )


def about_this_run(*packages):
    """Returns the command, the date and the machine; call it before the measurements.

    `packages` are those whose versions matter besides `PACKAGES`.
    """
    known = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    names = [name for name in (*PACKAGES, *packages) if name in known]
    return {
        "command": _command(sys.argv),
        "date": datetime.date.today().isoformat(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "memory_gb": _memory_gb(),
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in names},
        },
    }


def write(path, about, results):
    """Writes `{"command", "date", "machine", "results"}`; nothing if `path` is None."""
    if path is not None:
        text = json.dumps({**about, "results": results}, indent=1, ensure_ascii=False)
        text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
        path.write_text(text + "\n", encoding="utf-8")


def _command(arguments):
    """The command as a page shows it: from the top folder, without output files."""
    script, *words = arguments
    script = Path(script).resolve()
    if script.is_relative_to(ROOT):
        script = script.relative_to(ROOT)
    for option in ("--json", "--output"):
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
    backend = os.environ.get("KERAS_BACKEND")
    command = shlex.join(["python", str(script), *words])
    return f"KERAS_BACKEND={backend} {command}" if backend else command


def _memory_gb():
    try:
        pages = os.sysconf("SC_PHYS_PAGES")
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None
