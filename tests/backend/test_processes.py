"""Two JAX processes that train one model together, over loopback."""

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

SCRIPT = Path(__file__).parents[1] / "two_processes.py"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(folder, processes, layout, *scenarios):
    """What each process has found in each scenario."""
    port = str(free_port())
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    started = [
        subprocess.Popen(
            [
                sys.executable,
                SCRIPT,
                folder,
                port,
                f"{processes}",
                f"{i}",
                layout,
                *scenarios,
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(processes)
    ]
    try:
        said = [process.communicate(timeout=240)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for process, output in zip(started, said, strict=True):
        assert process.returncode == 0, output[-9000:]
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(processes)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds; how its four devices share the work makes no difference."""
    (found,) = run(tmp_path_factory.mktemp("alone"), 1, "data", "train", "methods")
    return found


@pytest.mark.parametrize("layout", ["data", "rows", "width"])
def test_two_processes_come_to_the_same_as_one(tmp_path, alone, layout):
    one, other = run(tmp_path, 2, layout, "train", "methods")
    assert one == other
    (trained, made), (trained_alone, made_alone) = one, alone
    np.testing.assert_allclose(trained["losses"], trained_alone["losses"], rtol=1e-5)
    np.testing.assert_allclose(
        trained["table"], trained_alone["table"], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(made["tables"], made_alone["tables"], rtol=1e-5, atol=1e-6)


DIFFERENT = "The processes disagree.*"


@pytest.mark.parametrize(
    ("layout", "scenarios"),
    [
        (
            "rows",
            {
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
            },
        ),
        (
            "data",
            {
                "differ": [DIFFERENT + "layer 'words'"] * 2,
                "random_rows": [DIFFERENT + "new rows"] * 2,
                "initializers": [DIFFERENT + "rows of 'words/embeddings'"] * 2,
                "late": ["no more disk", "finish a warm"],
                "alone": ["", ""],
            },
        ),
    ],
)
def test_what_differs_between_processes_is_an_error_in_both(tmp_path, layout, scenarios):
    found = run(tmp_path, 2, layout, *scenarios)
    for messages, one, other in zip(scenarios.values(), *found, strict=True):
        for result, message in zip((one, other), messages, strict=True):
            assert re.search(message, result["message"]), result["message"]
        assert one["losses"] == other["losses"]  # training goes on


def test_two_processes_start_from_a_file_of_one(tmp_path):
    words = [f"w{i}" for i in range(16)]
    ids = keras.Input((3,), dtype="int32")
    table = WarmStartEmbedding(output_dim=4, vocabulary=words, name="words")
    hidden = keras.layers.Flatten()(table(ids))
    model = keras.Model(ids, keras.layers.Dense(1, name="head")(hidden))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    for name in ("other", "run"):
        model.train_on_batch(np.ones((2, 3), "int32"), np.ones((2, 1)))
        model.save(tmp_path / f"{name}.keras")
    tables = [v for v in variables(model) if v.shape == (16, 4)]
    np.savez(tmp_path / "run.npz", *[array(v) for v in tables])
    scenarios = ["from_file", "no_file", "other_file"]
    found = run(tmp_path, 2, "rows", *scenarios)
    for one, other in zip(*found, strict=True):
        assert one["losses"] == other["losses"]
    (_, one, third), (_, other, fourth) = found
    assert "an error in process 1" in one["message"]
    assert "which does not exist" in other["message"]
    for differing in (third, fourth):
        assert re.search(DIFFERENT + "value of '", differing["message"])
