"""What all tests share: settings, and models that are small and quick to make."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import hypothesis
import keras
import pytest

hypothesis.settings.register_profile(
    "tests",
    deadline=None,  # the first call of anything in Keras is slow
    derandomize=True,  # the same examples at every run: a failure is a change of ours
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
