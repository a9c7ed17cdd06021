"""The texts of the package and of its pages stay plain: banned patterns, and readability."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest
import textstat
from models import BACKEND

import warmstart_keras

pytestmark = pytest.mark.skipif(
    BACKEND != "torch", reason="is about text; run on PyTorch, which starts quickest"
)

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

# Each is a habit that made texts of this package hard to read.
BANNED = {
    "a code of a document that readers do not have": r"\b[KVNLSUP]\d{1,2}[a-f]?\b",
    "an old or formal word": r"\b(shall|anew|lest|whence|thereof|whereof|mend(ed|s)?|"
    r"borne|bears?|likewise|whosoever|so as to|as said)\b",
    "a clause that starts with a preposition": r"\b(of|from|by|to) (which|whom|none|these)\b",
    "a vague quantity": r"\b(so many|all that|that which|no more than that|may well)\b",
    "an inverted sentence": r"(^|[.:;] )(Of|Nor|Neither|So is|So are|So do|So does)\b",
    "a phrase for 'custom'": r"\b(one's|your|their|its|my|an|users?'?s?) own (layer|loop|head|"
    r"optimizer|model)s?\b|\bof (your|one's|its|their) own\b|\bat hand\b",
}
VERB = re.compile(r"[A-Z][a-z]*s\b")  # "Finds", "Returns"
NO_VERB = {"This", "Its", "Is", "As", "Does", "Has", "Axis", "Was", "Rows", "Tokens"}
RIDDLES = {"Whether", "What", "Where", "Which", "How", "When", "That", "As", "If", "Of"}

# Grades of Flesch and Kincaid: school years that a reader needs. The pages of Keras's own
# guides lie between 7 and 11, which is what engineers who are no native speakers read.
HIGHEST_GRADE = 9.0


# --- the texts ---


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
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in parts:
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
    return " ".join(p if p.endswith((".", "!", "?")) else f"{p}." for p in paragraphs if p)


def banned(texts):
    """What of some texts is banned: the kind, and the words around it."""
    return [
        f"{kind}: ...{text[max(0, found.start() - 40) : found.end() + 30]!r}"
        for text in texts
        for kind, pattern in BANNED.items()
        for found in re.finditer(pattern, text, re.MULTILINE)
    ]


# --- the tests ---


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_no_banned_pattern(module):
    source = MODULES[module]
    texts = [without_code(text) for text in [*comments(source), *strings(source)]]
    assert not banned(texts)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_banned_pattern(page):
    assert not banned([without_code(PAGES[page])])


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_open_with_a_sentence(module):
    wrong = []
    for node, text in docstrings(MODULES[module]):
        first = " ".join(text.split("\n\n")[0].split())
        word = first.split()[0]
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_property = is_function and any(
            "property" in ast.unparse(one) for one in node.decorator_list
        )
        opens_with_verb = VERB.fullmatch(word.rstrip(":,.")) and word not in NO_VERB
        if (
            not first.endswith((".", ":"))
            or word in RIDDLES
            or (is_function and not is_property and not opens_with_verb)
        ):
            wrong.append(f"{getattr(node, 'name', 'module')}: {first}")
    assert not wrong


def test_the_pages_can_be_read(capsys):
    grades = {
        page: textstat.flesch_kincaid_grade(text)
        for page, text in ((page, prose(text)) for page, text in PAGES.items())
        if len(text.split()) > 100
    }
    with capsys.disabled():
        print("\n".join(f"\n{g:5.1f}  {page}" for page, g in grades.items()))
    assert not {page: g for page, g in grades.items() if g > HIGHEST_GRADE}


def test_the_docstrings_of_a_module_can_be_read():
    grades = {
        module: textstat.flesch_kincaid_grade(text)
        for module, source in MODULES.items()
        if len((text := " ".join(prose(t) for _, t in docstrings(source))).split()) > 60
    }
    assert not {module: g for module, g in grades.items() if g > HIGHEST_GRADE}
