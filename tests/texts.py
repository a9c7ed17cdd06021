"""The texts of the package and of its pages, for tests about them."""

import ast
import io
import re
import tokenize
from pathlib import Path

import warmstart_keras

ROOT = Path(__file__).parent.parent
PACKAGE = Path(warmstart_keras.__file__).parent
MODULES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}


def docstrings(source):
    """Every docstring of a module: its node, and its text."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield node, text


def comments(source):
    """The comments of a module; those on consecutive lines together."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found, last = [], -2
    for token in tokens:
        if token.type == tokenize.COMMENT and not token.string.startswith("# type:"):
            text = token.string.lstrip("# ")
            if token.start[0] == last + 1:
                found[-1] += " " + text
            else:
                found.append(text)
            last = token.start[0]
    return found


def strings(source):
    """The literals of a module, `...` for what is put into them; docstrings too."""
    tree = ast.parse(source)
    parts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts.update(id(part) for part in ast.walk(node) if part is not node)
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "..."
                for part in node.values
            )
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in parts:
            yield node.value


def without_code(text):
    """The prose of a page or a docstring, one word in place of each name in backticks."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<(script|style|svg|div)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^ *(>>>|\.\.\.).*(\n(?! *(>>>|\.\.\.)).+)*", "", text, flags=re.M)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return text


def prose(text):
    """Sentences alone: no code, tables, headings or lists of names."""
    lines = [
        line
        for line in without_code(text).splitlines()
        if not re.match(r"\s*(\||#|:::|!!!)", line)
    ]
    text = re.sub(r"^\s*([-*]|\d+\.) +", "\n\n", "\n".join(lines), flags=re.MULTILINE)
    paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n", text)]
    return " ".join(
        p if p.endswith((".", "!", "?")) else f"{p}." for p in paragraphs if p
    )
