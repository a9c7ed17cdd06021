"""Two JAX processes that train one model together, over loopback."""

import functools
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from models import BACKEND, array, variables

from warmstart_keras import WarmStartEmbedding

if BACKEND != "jax":
    pytest.skip("several processes train together on JAX alone", allow_module_level=True)

pytestmark = pytest.mark.processes

SCRIPT = Path(__file__).parents[1] / "two_processes.py"
DIFFERENT = "The processes disagree.*"
# What the error says in each of two processes.
REFUSED = {
    "rows": {
        "differ": [DIFFERENT + "layer 'words'"] * 2,
        "fail": ["an error in process 1", "Too few words of layer 'words'"],
        "ask": ["across processes.*row-wise.*Received: .*Pass `new_emb"] * 2,
        "initializers": [DIFFERENT + "rows of 'words/embeddings'"] * 2,
        "broken_initializer": ["which raised", "an error in process 0"],
        "broken_vectors": ["vectors of one length", "an error in process 0"],
        "late": [
            "no more disk and no more disk",
            "finish a warm.*process 0.* and .*finish a warm.*process 0",
        ],
        "no_file": ["an error in process 1", "which does not exist"],
        "other_file": [DIFFERENT + "value of '"] * 2,
    },
    "data": {
        "differ": [DIFFERENT + "layer 'words'"] * 2,
        "random_rows": [DIFFERENT + "new rows"] * 2,
        "initializers": [DIFFERENT + "rows of 'words/embeddings'"] * 2,
        "late": ["no more disk", "finish a warm"],
        "alone": ["", ""],
    },
}
BOTH = ["train", "methods"]
SCENARIOS = {
    "data": [*BOTH, *REFUSED["data"]],
    "rows": [*BOTH, *REFUSED["rows"], "from_file"],
    "width": BOTH,
}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(folder, processes, scenarios):
    """What each process has found in each layout and scenario."""
    arguments = [SCRIPT, folder, str(free_port()), str(processes)]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    started = [
        subprocess.Popen(
            [sys.executable, *arguments, str(process), json.dumps(scenarios)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(processes)
    ]
    try:
        said = [process.communicate(timeout=400)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for process, output in zip(started, said, strict=True):
        assert process.returncode == 0, output[-9000:]
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(processes)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds; how its four devices share the work makes no difference."""
    (found,) = run(tmp_path_factory.mktemp("alone"), 1, {"data": BOTH})
    return found["data"]


def save_runs(folder):
    """Writes the files of two days, and the tables of the second one."""
    words = [f"w{i}" for i in range(16)]
    ids = keras.Input((3,), dtype="int32")
    table = WarmStartEmbedding(output_dim=4, vocabulary=words, name="words")
    hidden = keras.layers.Flatten()(table(ids))
    model = keras.Model(ids, keras.layers.Dense(1, name="head")(hidden))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    for name in ("other", "run"):
        model.train_on_batch(np.ones((2, 3), "int32"), np.ones((2, 1)))
        model.save(folder / f"{name}.keras")
    tables = [v for v in variables(model) if v.shape == (16, 4)]
    np.savez(folder / "run.npz", *[array(v) for v in tables])


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of two processes finds."""
    folder = tmp_path_factory.mktemp("together")
    save_runs(folder)
    return run(folder, 2, SCENARIOS)


@pytest.mark.parametrize("layout", SCENARIOS)
def test_two_processes_come_to_the_same_as_one(together, alone, layout):
    one, other = (found[layout] for found in together)
    for name in BOTH:
        assert one[name] == other[name]
    same = functools.partial(np.testing.assert_allclose, rtol=1e-5)
    same(one["train"]["losses"], alone["train"]["losses"])
    same(one["train"]["table"], alone["train"]["table"], atol=1e-6)
    same(one["methods"]["tables"], alone["methods"]["tables"], atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "scenario"),
    [(layout, scenario) for layout in REFUSED for scenario in REFUSED[layout]],
)
def test_what_differs_between_processes_is_an_error_in_both(together, layout, scenario):
    messages = REFUSED[layout][scenario]
    results = [found[layout][scenario] for found in together]
    for result, message in zip(results, messages, strict=True):
        assert re.search(message, result["message"]), result["message"]
    assert results[0]["losses"] == results[1]["losses"]  # training goes on


def test_two_processes_start_from_a_file_of_one(together):
    one, other = (found["rows"]["from_file"] for found in together)
    assert one["losses"] == other["losses"]
    assert len(one["losses"]) > 0
