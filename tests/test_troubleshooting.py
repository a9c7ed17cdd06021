"""The page on troubleshooting has every message that the package raises or warns with."""

import ast
from pathlib import Path

import pytest
from models import BACKEND

import warmstart_keras

pytestmark = pytest.mark.skipif(
    BACKEND != "torch", reason="is about text; run on PyTorch, which starts quickest"
)

PACKAGE = Path(warmstart_keras.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "troubleshooting.md"
# A message is known by so many of its first words. What it says of the case at hand is
# `...` on the page.
WORDS = 12
RECEIVED = ". Received: "


class Messages(ast.NodeVisitor):
    """What some code may raise or warn with.

    That is every literal that `WarmStartError` or `warn` is called with, and every one
    that says what was received: some are made in one place and raised in another.
    """

    def __init__(self, source):
        self.beginnings = set()
        self.visit(ast.parse(source))

    def visit_Call(self, node):
        name = ast.unparse(node.func).rpartition(".")[2]
        if node.args and name in ("WarmStartError", "warn"):
            self._add(node.args[0], always=True)
        self.generic_visit(node)

    def visit_Expr(self, node):
        if not isinstance(node.value, ast.Constant):  # which is a docstring
            self.generic_visit(node)

    def visit_Constant(self, node):
        self._add(node)

    def visit_JoinedStr(self, node):
        self._add(node)  # and not its parts

    def _add(self, node, always=False):
        text = _text(node)
        if text is not None and (always or RECEIVED in text):
            self.beginnings.add(" ".join(text.partition(RECEIVED)[0].split()[:WORDS]))


def _text(node):
    """The text of a literal, with `...` for what is put into it; None if it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "..." for part in node.values)
    return None


FILES = sorted(PACKAGE.rglob("*.py"))
FOUND = sorted(set().union(*(Messages(f.read_text("utf-8")).beginnings for f in FILES)))


def test_messages_are_found_however_they_are_made():
    source = """
raise WarmStartError(f"Layer '{name}' must be {what}. Received: {it}. Do it.")
problem = "All that is asked for must be there. " f"Received: {it}"
raise WarmStartError(problem)
warnings.warn("Rows and ids do not agree, as far as we can see.")
print("This is no message. Received is another word.")
"""
    assert Messages(source).beginnings == {
        "Layer '...' must be ...",
        "All that is asked for must be there",
        "Rows and ids do not agree, as far as we can see.",
    }


def test_the_package_has_more_than_a_hundred_messages():
    assert len(FOUND) > 100


@pytest.mark.parametrize("message", FOUND)
def test_the_page_has_the_beginning_of_every_message(message):
    assert message in " ".join(PAGE.read_text("utf-8").split())
