"""A private name that Keras has no more is an error that says so; the model untouched."""

import ast
import functools
from pathlib import Path

import keras
import models
import pytest
from models import BACKEND, MONDAY, TUESDAY, assert_refused

from warmstart_keras import keras_internals, warm_start
from warmstart_keras.keras_internals import access


def private_names():
    """Every private name of Keras that the package asks for."""
    files = Path(keras_internals.__file__).parent.glob("*.py")
    return {
        node.args[1].value
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", None) == "private"
        and isinstance(node.args[1], ast.Constant)
    }


def rebuilt():
    """A trained model, whose vocabulary has grown since."""
    optimizer = keras.optimizers.LossScaleOptimizer(models.adam(), 8.0)
    model, layer, _ = models.trained_in_model(optimizer=optimizer, run_eagerly=True)
    layer.adapt(MONDAY + TUESDAY)
    return model


@pytest.fixture(scope="module")
def grown():
    """Such a model, never changed by a test of this module."""
    return rebuilt()


@functools.cache
def asked_names():
    """Those private names that its warm start asks for on this backend."""
    model, asked, private = rebuilt(), set(), access.private

    def noted(owner, name):
        asked.add(name)
        return private(owner, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access, "private", noted)
        warm_start(model)
    return asked


def test_a_warm_start_needs_private_names_of_variables_and_optimizers():
    of_variables = {"_value", "_shape", "_path", "_embeddings"}
    of_optimizers = {"_trainable_variables", "_trainable_variables_indices", "_var_key"}
    assert of_variables | of_optimizers <= asked_names() <= private_names()


@pytest.mark.parametrize("name", sorted(private_names()))
def test_a_private_name_that_keras_has_no_more(grown, monkeypatch, name):
    needed, private = name in asked_names(), access.private
    monkeypatch.setattr(
        access,
        "private",
        lambda owner, asked: private(owner, asked + "_gone" * (asked == name)),
    )
    if needed:
        message = (
            rf"Keras {keras.__version__} on {BACKEND} has no `{name}_gone` in .*"
            r"Nothing was changed\. .*pip install .*report this message"
        )
        assert_refused(grown, message, lambda: warm_start(grown))
    else:
        assert warm_start(rebuilt()).changed
