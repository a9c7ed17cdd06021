"""The examples and short benchmarks run, from a folder that is not theirs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from models import BACKEND

EXAMPLES = Path(__file__).parent.parent / "examples"
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


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
    assert "there is no previous run at 'daily_job/model.keras' yet" in said[0]
    for line in said[2], said[4]:
        assert re.match(r"Warm start: from 'daily_job/model.keras'; words: kept 2,", line)
    steps = [int(re.search(r"(\d+) steps in all", said[i])[1]) for i in (1, 3, 5)]
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


@on_torch
def test_the_training_benchmark_ends_with_its_tables_and_curves(tmp_path):
    script = BENCHMARKS / "training.py"
    done = run(script, "--quick", "--output", tmp_path / "results", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    tables = (tmp_path / "results" / "tables.md").read_text()
    for line in ("uniform", "mean", "full retraining", "scrambled", "Adam, carried"):
        assert f"| {line} |" in tables
    assert (tmp_path / "results" / "training_incidents.png").stat().st_size > 10_000

    numbers = tmp_path / "results" / "training.csv"
    again = run(script, "--from-csv", numbers, "--output", "again", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "tables.md").read_text() == tables


@on_torch
def test_the_benchmark_of_subword_rows_prints_seconds_and_memory(tmp_path):
    script = BENCHMARKS / "subword.py"
    done = run(script, "--kept", "2000", "--new", "200", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"subword +\d+\.\d s, peak [\d,]+ -> [\d,]+ MiB", done.stdout)


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
