"""Every public name is documented, and every example that is shown runs."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from models import BACKEND

import warmstart_keras

ROOT = Path(__file__).parent.parent
MODULES = [
    importlib.import_module(f"warmstart_keras.{module.name}")
    for module in pkgutil.iter_modules(warmstart_keras.__path__)
]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(module, optionflags=FLAGS).failed == 0


@pytest.mark.parametrize("name", warmstart_keras.__all__)
def test_every_public_name_says_what_it_is(name):
    assert inspect.getdoc(getattr(warmstart_keras, name))


WITH_EXAMPLE = [
    name
    for name in warmstart_keras.__all__
    if name not in ("Binding", "WarmStartError", "WarmStartPlan", "WarmStartReport")
]


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_every_name_that_users_call_shows_an_example(name):
    assert ">>> " in inspect.getdoc(getattr(warmstart_keras, name))


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A comment above a block names the backend that it is for.
BLOCK = re.compile(r"(?:<!-- (\w+) -->\n)?```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_blocks_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text("utf-8"))
    assert blocks
    blocks = [block for backend, block in blocks if backend in ("", BACKEND)]
    if not blocks:
        pytest.skip(f"has no block for {BACKEND}")
    if BACKEND != "tensorflow" and any('dtype="string"' in block for block in blocks):
        pytest.skip("strings enter a model on the TensorFlow backend alone")
    namespace = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), namespace)
