"""Texts of the package and of its pages: no banned patterns, and a readability limit."""

import ast
import re

import pytest
import textstat
from texts import MODULES, PAGES, comments, docstrings, prose, strings, without_code

pytestmark = [pytest.mark.docs, pytest.mark.dealt]

# Each is a habit that made texts of this package hard to read.
OWN = r"(one's|your|their|its|my|an|user's|users') own"
THINGS = r"(layer|loop|head|optimizer|model)s?"
BANNED = {
    "a code of a document that readers do not have": r"\b[KVNLSUP]\d{1,2}[a-f]?\b",
    "an old or formal word": r"\b(shall|anew|lest|whence|thereof|whereof|mend(ed|s)?|"
    r"borne|bears?|likewise|whosoever|so as to|as said)\b",
    "a preposition before a relative pronoun": r"\b(of|from|by|to) (which|whom)\b",
    "a preposition before a vague pronoun": r"\b(of|from|by|to) (none|these)\b",
    "a vague quantity": r"\b(so many|all that|that which|no more than that|may well)\b",
    "an inverted sentence": r"(^|[.:;] )(Of|Nor|Neither|So (is|are|do|does))\b",
    "a phrase for 'custom'": rf"\b{OWN} {THINGS}\b|\bof (your|one's|its|their) own\b",
    "a phrase for 'in memory' or 'present'": r"\bat hand\b",
}
VERB = re.compile(r"[A-Z][a-z]*s\b")  # "Finds", "Returns"
NO_VERB = {"This", "Its", "Is", "As", "Does", "Has", "Axis", "Was", "Rows", "Tokens"}
RIDDLES = {"Whether", "What", "Where", "Which", "How", "When", "That", "As", "If", "Of"}

# Grades of Flesch and Kincaid: school years that a reader needs. The limit catches
# long sentences only: the texts before they were rewritten had grades from 4 to 9, too.
HIGHEST_GRADE = 9.0


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
