"""What all tests share: settings, and models that are small and quick to make."""

import collections
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Several devices, of which tests that say nothing of them use the first.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)

import hypothesis
import keras
import pytest
from models import TURN

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


def pytest_report_header():
    folder = os.path.dirname(warmstart_keras.__file__)
    return f"warmstart_keras of {folder} on {keras.backend.backend()}"


def pytest_addoption(parser):
    parser.addoption(
        "--every-case",
        action="store_true",
        help="run also those cases that another backend takes",
    )


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "dealt: its cases are dealt out among the three backends, one each in turn; "
        "together they take all. A test without cases runs on each.",
    )


def pytest_collection_modifyitems(config, items):
    """Leaves those cases out that another backend takes."""
    if config.getoption("--every-case"):
        return
    seen = collections.Counter()
    mine, others = [], []
    for item in items:
        dealt = item.get_closest_marker("dealt") and hasattr(item, "callspec")
        test = (item.path, item.originalname)
        is_mine = not dealt or seen[test] % 3 == TURN
        seen[test] += 1
        (mine if is_mine else others).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = mine


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
