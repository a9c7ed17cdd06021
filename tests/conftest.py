"""What all tests share: settings, and models that are small and quick to make."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Several devices, of which tests that say nothing of them use the first.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)
# JAX compiles quickly, and what it has compiled once is shared by all tests, workers and
# later runs: most models of the tests have the same few shapes.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(Path(__file__).parents[1] / ".pytest_cache" / "d" / "jax"),
)
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import hypothesis
import keras
import pytest
from dealing import is_dealt_here

import warmstart_keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 3,
    )

hypothesis.settings.register_profile(
    "tests",
    deadline=None,  # the first call of anything in Keras is slow
    derandomize=True,  # the same examples at every run: a failure is a change of ours
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")


# Tests that take long, by kind: without `--all` only the others run, the fast tier.
SLOW_TIERS = {
    "compiling": "compiles for long",
    "devices": "trains on several devices",
    "docs": "is about texts, figures and pages, or runs the Python that a page shows",
    "examples": "runs an example or a benchmark",
    "faults": "injects a fault at each step or line of what it tests",
    "files": "writes and reads models, or fuzzes a file format",
    "processes": "starts other processes",
    "training": "compares the training of two models, for each optimizer of Keras",
}
FAST = f"not ({' or '.join(SLOW_TIERS)})"


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run all tiers of tests")
    parser.addoption(
        "--every-case",
        action="store_true",
        help="run also those cases that another backend takes",
    )


def names_files(config):
    """Whether files of tests, or tests, are named on the command line."""
    return any(Path(name.partition("::")[0]).is_file() for name in config.args)


def pytest_xdist_auto_num_workers(config):
    """Starts no workers for a few tests, which are over before workers are ready."""
    return 0 if names_files(config) else None


def pytest_configure(config):
    for name, text in SLOW_TIERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")
    config.addinivalue_line(
        "markers",
        "dealt: does not depend on the backend, or has cases enough that one backend "
        "each will do; each case is run by one of the three, and together they run all.",
    )
    is_narrowed = config.option.markexpr or names_files(config)
    if not is_narrowed and not config.getoption("--all"):
        config.option.markexpr = FAST


def pytest_report_header(config):
    folder = os.path.dirname(warmstart_keras.__file__)
    where = f"warmstart_keras of {folder} on {keras.backend.backend()}"
    is_fast = config.option.markexpr == FAST
    return [where, "the fast tier; `--all` runs all tests"] if is_fast else where


def pytest_collection_modifyitems(config, items):
    """Leaves those cases out that another backend takes."""
    if config.getoption("--every-case"):
        return
    mine, others = [], []
    for item in items:
        dealt = item.get_closest_marker("dealt")
        (mine if not dealt or is_dealt_here(item.name) else others).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = mine


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
