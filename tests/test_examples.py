"""The examples and short benchmarks run, from a folder that is not theirs; notebooks and
pages of the examples are as their scripts.
"""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from models import BACKEND

pytestmark = pytest.mark.examples

EXAMPLES = Path(__file__).parent.parent / "examples"
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
DOCS = Path(__file__).parent.parent / "docs"


def run(script, *arguments, folder):
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


on_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="takes a minute: run on one backend"
)
on_torch = pytest.mark.skipif(
    BACKEND != "torch", reason="takes long: run on the backend that starts fastest"
)


@on_tensorflow
def test_daily_retraining_ends_with_its_table_and_figure(tmp_path):
    done = run("daily_retraining.py", "--quick", "--days", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    header = "day            warm start       scrambled rows             day only"
    assert header in done.stdout
    assert (tmp_path / "daily_retraining.png").stat().st_size > 10_000


@on_torch
def test_daily_retraining_says_which_days_there_are(tmp_path):
    done = run("daily_retraining.py", "--days", "0", folder=tmp_path)
    assert done.returncode == 1
    assert "`--days` must be from 1 to 47. Received: 0" in done.stderr


@on_torch
def test_each_process_finds_the_file_of_the_one_before(tmp_path):
    done = run("across_processes.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith(("Warm", "Day"))]
    assert "there is no previous run at 'daily_job/model.keras'" in said[0]
    for line in said[2], said[4]:
        assert re.match(r"Warm start: from 'daily_job/model.keras'; words: kept 2,", line)
    steps = [int(re.search(r"(\d+) steps so far", said[i])[1]) for i in (1, 3, 5)]
    assert steps == [189, 378, 567]


@on_tensorflow
def test_the_language_model_keeps_what_it_knows_of_kept_words(tmp_path):
    done = run("language_model.py", "--quick", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    before, after = (
        float(re.search(rf"{when} +([\d,.]+)", done.stdout)[1].replace(",", ""))
        for when in ("before the rebuild", "right after the warm start")
    )
    said = done.stdout.replace(",", "")
    new, all_ = map(int, re.search(r"(\d+) of (\d+) are new", said).groups())
    assert after <= before * (1 + new / (all_ - new)) * 1.01
    assert (tmp_path / "language_model.png").stat().st_size > 10_000


@on_torch
def test_the_recommender_does_best_with_its_head_warm_started(tmp_path):
    done = run("recommender.py", "--quick", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("mean of 2-")]
    warm, left_behind, _ = map(float, line.split()[-3:])
    assert warm > left_behind
    assert "next_item (outputs)" in done.stdout


needs_notebooks = pytest.mark.skipif(
    find_spec("nbconvert") is None, reason="needs the extra `notebooks`"
)


@on_torch
@needs_notebooks
def test_notebooks_and_pages_are_as_the_scripts(tmp_path):
    done = run(DOCS / "make_examples.py", "--check", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@on_torch
@pytest.mark.parametrize(
    "notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda notebook: notebook.stem
)
def test_the_code_of_a_notebook_compiles_and_has_no_output(notebook):
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 3
    for cell in code:
        compile("".join(cell["source"]), notebook.name, "exec")
        assert cell["outputs"] == []


# Folders of a machine, progress bars, and the lines that TensorFlow logs.
NOT_FOR_A_PAGE = re.compile(r"/(?:home|root|tmp|Users)/|it/s\]|^[IWE]0000 ", re.MULTILINE)


@on_torch
@pytest.mark.parametrize(
    "page", sorted((DOCS / "examples").glob("*.md")), ids=lambda page: page.stem
)
def test_a_page_shows_what_the_example_says_and_nothing_of_the_machine(page):
    text = page.read_text("utf-8")
    assert "<!-- output -->" in text
    assert not NOT_FOR_A_PAGE.search(text)


@pytest.fixture
def copied(tmp_path):
    """A copy of the examples, that may be changed."""
    for folder in EXAMPLES, DOCS:
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path


def make_examples(copied, *arguments):
    return run(copied / "docs" / "make_examples.py", *arguments, folder=copied)


def change(file, old, new):
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


@on_torch
@needs_notebooks
def test_what_has_drifted_from_its_script_is_named(copied):
    change(copied / "examples" / "recommender.py", "COME_AND_GO, PERIODS", "GO, PERIODS")
    change(copied / "docs" / "examples" / "across_processes.md", "several", "many")
    (copied / "docs" / "examples" / "language_model_99_0.png").touch()
    done = make_examples(copied, "--check")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "docs/examples/language_model.md has not the figures that it shows.",
        "examples/recommender.ipynb is not as recommender.py.",
        "docs/examples/recommender.md is not as recommender.py.",
        "docs/examples/across_processes.md is not as across_processes.py.",
        "Run: python docs/make_examples.py",
    ]


@on_torch
@needs_notebooks
def test_new_text_is_put_around_the_output_there_is_but_new_code_is_not(copied):
    script = copied / "examples" / "recommender.py"
    page = copied / "docs" / "examples" / "recommender.md"
    before = page.read_text("utf-8")
    change(script, "A shop's model", "The model of a shop")
    done = make_examples(copied, "--keep-output", "recommender")
    assert done.returncode == 0, done.stderr
    assert page.read_text("utf-8") == before.replace(
        "A shop's model", "The model of a shop"
    )
    assert make_examples(copied, "--check").returncode == 0

    change(script, "300, 40, 8, 3000", "300, 40, 9, 3000")
    done = make_examples(copied, "--keep-output", "recommender")
    assert done.returncode == 1
    assert "The code of recommender has changed." in done.stderr


@on_torch
def test_the_training_benchmark_ends_with_its_tables_and_curves(tmp_path):
    script = BENCHMARKS / "training.py"
    where = ("--output", "results", "--json", "seen.json")
    done = run(script, "--quick", *where, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    tables = (tmp_path / "results" / "tables.md").read_text()
    for line in ("uniform", "mean", "full retraining", "scrambled", "Adam, carried"):
        assert f"| {line} |" in tables
    assert (tmp_path / "results" / "training_incidents.png").stat().st_size > 10_000

    numbers = tmp_path / "results" / "training.csv"
    where = ("--output", "again", "--json", "again.json")
    again = run(script, "--from-csv", numbers, *where, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "tables.md").read_text() == tables
    seen = (tmp_path / "seen.json").read_text()
    assert '"KERAS_BACKEND=torch python benchmarks/training.py --quick"' in seen
    assert (tmp_path / "again.json").read_text() == seen


@on_torch
def test_the_benchmark_of_subword_rows_prints_seconds_and_memory(tmp_path):
    script = BENCHMARKS / "subword.py"
    sizes = ("--kept", "2000", "--new", "200")
    done = run(script, *sizes, "--json", "seen.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"subword +\d+\.\d s, peak [\d,]+ -> [\d,]+ MiB", done.stdout)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["command"].endswith("python benchmarks/subword.py --kept 2000 --new 200")
    assert seen["machine"]["cores"] > 0
    assert seen["results"]["methods"]["subword"]["seconds"] > 0


@on_tensorflow
def test_the_benchmark_of_remapping_checks_every_way_and_compares_two_runs(tmp_path):
    script = BENCHMARKS / "remap.py"
    done = run(script, "--quick", "--json", "seen.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for way in ("ours", "tf_keras", "TF1 ops", "one core", "recipe", "same table"):
        assert f"| {way} |" in done.stdout
    both = ("--compare", "seen.json", "seen.json")
    again = run(script, *both, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert re.search(r"\| lists, ours \| 1,000 x 8 \|.*\| 1 \|", again.stdout)
