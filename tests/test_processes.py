"""Two JAX processes that train one model together, over loopback."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from models import BACKEND

if BACKEND != "jax":
    pytest.skip("several processes train together on JAX alone", allow_module_level=True)

SCRIPT = Path(__file__).parent / "two_processes.py"


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
        assert process.returncode == 0, output[-3000:]
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(processes)]


@pytest.mark.parametrize("layout", ["data", "rows", "width"])
def test_two_processes_come_to_the_same_as_one(tmp_path, layout):
    ((alone,),) = run(tmp_path, 1, layout, "train")
    (one,), (other,) = run(tmp_path, 2, layout, "train")
    assert one == other
    np.testing.assert_allclose(one["losses"], alone["losses"], rtol=1e-5)
    np.testing.assert_allclose(one["table"], alone["table"], rtol=1e-5, atol=1e-6)


DIFFERENT = "All processes must come to the same.*"


@pytest.mark.parametrize(
    ("layout", "scenarios"),
    [
        (
            "rows",
            {
                "differ": [DIFFERENT + "layer 'words'"] * 2,
                "fail": ["an error in process 1", "Too few words of layer 'words'"],
                "ask": ["Across processes new rows.*row-wise"] * 2,
                "initializers": [DIFFERENT + "rows of 'words/embeddings'"] * 2,
                "broken_initializer": ["which raised", "an error in process 0"],
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
