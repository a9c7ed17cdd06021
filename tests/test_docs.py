"""Every public name is documented, and every example that is shown runs, and prints what
is shown."""

import dataclasses
import doctest
import importlib
import inspect
import io
import json
import pkgutil
import re
import subprocess
import sys
from contextlib import redirect_stdout
from operator import attrgetter
from pathlib import Path

import keras
import pytest
import texts
from models import BACKEND

import warmstart_keras

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(warmstart_keras.__path__, "warmstart_keras.")
    if not module.name.endswith("__main__")
]
EXAMPLES = 142  # lines of examples in docstrings when this was written
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

pytestmark = pytest.mark.docs


# --- docstrings ---


@pytest.mark.dealt
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = re.findall(r"^ +>>> ", inspect.getsource(module), re.MULTILINE)
    assert doctest.testmod(module, optionflags=FLAGS) == (0, len(written))


@pytest.mark.dealt
def test_no_example_has_gone_when_modules_were_moved():
    folder = Path(warmstart_keras.__file__).parent
    sources = "".join(path.read_text("utf-8") for path in folder.rglob("*.py"))
    assert len(re.findall(r"^ +>>> ", sources, re.MULTILINE)) >= EXAMPLES


def own_methods(name):
    """The public methods of a class that are its own: Keras says what its hooks are."""
    cls = getattr(warmstart_keras, name)
    for method in vars(cls) if inspect.isclass(cls) else ():
        inherited = any(method in vars(base) for base in cls.__mro__[1:])
        is_hidden = inherited or method.startswith("_")
        value = getattr(cls, method)
        if not is_hidden and (inspect.isfunction(value) or inspect.ismethod(value)):
            yield f"{name}.{method}"


METHODS = [method for name in warmstart_keras.__all__ for method in own_methods(name)]
NAMES = [*warmstart_keras.__all__, *METHODS]


def public(name):
    return attrgetter(name)(warmstart_keras)


def section(name, title):
    """What a docstring has below a title, or None."""
    found = re.search(
        rf"^{title}:\n((?:    .*\n?|\n)+)", inspect.getdoc(public(name)), re.MULTILINE
    )
    return found and found[1]


def arguments(name):
    """The names that a function takes, or a class when it is made."""
    value = public(name)
    if inspect.isclass(value):
        value = value.__init__
        if value is object.__init__:
            return []
    return [
        "*" * (p.kind is p.VAR_KEYWORD) * 2 + p.name
        for p in inspect.signature(value).parameters.values()
        if p.name != "self" and p.kind is not p.VAR_POSITIONAL
    ]


@pytest.mark.dealt
@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_says_what_it_is(name):
    assert inspect.getdoc(public(name))


@pytest.mark.dealt
@pytest.mark.parametrize("name", warmstart_keras.__all__)
def test_every_public_name_shows_an_example_where_the_site_looks_for_it(name):
    assert ">>> " in section(name, "Examples")


# The one is any exception's; the other is made by `plan_warm_start`.
WITH_ARGUMENTS = [n for n in NAMES if n not in ("WarmStartError", "WarmStartPlan")]


@pytest.mark.dealt
@pytest.mark.parametrize("name", WITH_ARGUMENTS)
def test_every_argument_is_described_in_its_order(name):
    title = "Attributes" if dataclasses.is_dataclass(public(name)) else "Args"
    described = re.findall(r"^    ([*\w]+): ", section(name, title) or "", re.MULTILINE)
    assert described == arguments(name)


def raises(name):
    """Whether it raises by itself; a class outside of its public methods."""
    source = inspect.getsource(public(name))
    for method in METHODS:
        if method.startswith(f"{name}."):
            source = source.replace(inspect.getsource(public(method)), "")
    return "raise WarmStartError" in source


@pytest.mark.dealt
@pytest.mark.parametrize("name", [name for name in NAMES if raises(name)])
def test_what_raises_says_when(name):
    assert section(name, "Raises")


# --- the API pages ---

API = "".join(page.read_text("utf-8") for page in sorted((DOCS / "api").glob("*.md")))
DIRECTIVES = re.findall(
    r"^::: warmstart_keras\.(\S+)\n((?:    .*\n)*)", API, re.MULTILINE
)


@pytest.mark.dealt
def test_every_public_name_is_on_an_api_page_once():
    # `remap` bears the name of its module, and is asked for as `remap.remap`.
    shown = [name.rpartition(".")[2] for name, _ in DIRECTIVES]
    assert set(warmstart_keras.__all__) <= set(shown)
    assert len(set(shown)) == len(shown)


@pytest.mark.dealt
@pytest.mark.parametrize(("name", "options"), DIRECTIVES, ids=lambda value: value[:30])
def test_the_members_that_an_api_page_asks_for_are_there_and_described(name, options):
    for names in re.findall(r" members: \[(.*)\]", options):
        for member in filter(None, names.split(", ")):
            assert inspect.getdoc(getattr(public(name), member))


# --- Python on the pages ---

# A comment above a block names the backend that it is for. A `text` block below it is
# what it prints, with `...` where that depends on the time or the machine.
BLOCK = re.compile(
    r"(?:^<!-- (?P<backend>\w+) -->\n)?^```python\n(?P<code>.*?)^```\n"
    r"(?:\n*(?:<!-- output -->\n+)?```text\n(?P<shown>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
# Not those of `docs/examples`: they take minutes, and are made from scripts with tests of
# their own.
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text("utf-8")
    for page in [ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("api/*.md")]
}
WITH_PYTHON = sorted(page for page, text in PAGES.items() if "```python" in text)


def run_blocks(blocks, page):
    """Runs blocks one after the other, and compares what they print."""
    namespace = {}
    for block in blocks:
        line = block.string.count("\n", 0, block.start("code"))
        code = compile("\n" * line + block["code"], page, "exec")
        with redirect_stdout(io.StringIO()) as printed:
            exec(code, namespace)
        if block["shown"] is not None:
            example = doctest.Example(block["code"], block["shown"])
            checker, got = doctest.OutputChecker(), printed.getvalue()
            is_shown = checker.check_output(example.want, got, FLAGS)
            difference = checker.output_difference(example, got, FLAGS)
            assert is_shown, f"{page}:{line}\n{difference}"


def where(page):
    """Marks a page for the backends that it names, or else for one of all."""
    named = {block["backend"] for block in BLOCK.finditer(PAGES[page])} - {None}
    if 'dtype="string"' in PAGES[page]:  # strings enter a model there alone
        named = {"tensorflow"}
    if not named:
        return pytest.param(page, marks=pytest.mark.dealt)
    skip = pytest.mark.skipif(BACKEND not in named, reason="is for other backends")
    return pytest.param(page, marks=skip)


@pytest.mark.parametrize("page", [where(page) for page in WITH_PYTHON])
def test_the_python_blocks_of_a_page_run_and_print_what_is_shown(
    page, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    keras.utils.clear_session(free_memory=False)  # names count from the beginning
    keras.utils.set_random_seed(0)
    blocks = list(BLOCK.finditer(PAGES[page]))
    assert len(blocks) == PAGES[page].count("```python")
    run_blocks([b for b in blocks if b["backend"] in (None, BACKEND)], page)


@pytest.mark.dealt
def test_a_page_that_shows_what_is_not_printed_fails():
    page = "```python\nprint('a', 1.5)\n```\n\n```text\na {}\n```\n"
    run_blocks(BLOCK.finditer(page.format("...")), "page.md")
    with pytest.raises(AssertionError, match=r"page\.md:1\n +Expected:\n +a 2\n"):
        run_blocks(BLOCK.finditer(page.format("2")), "page.md")


@pytest.mark.dealt
def test_the_report_shows_itself_in_a_notebook_as_its_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.clear_session(free_memory=False)
    page, namespace = PAGES["docs/report.md"], {}
    exec(BLOCK.search(page)["code"], namespace)
    shown = re.search(r'^<div class="warmstart-report">.*?</div>\n$', page, re.M | re.S)
    seconds = re.compile(r"in \d+\.\d\d s")
    made = namespace["report"]._repr_html_() + "\n"
    assert seconds.sub("", shown[0]) == seconds.sub("", made)


# --- figures of benchmarks ---


@pytest.mark.dealt
def test_the_figures_on_the_pages_come_from_the_files_of_the_benchmarks():
    pages = ["README.md", *(f"docs/{page.name}" for page in sorted(DOCS.glob("*.md")))]
    command = [sys.executable, "-m", "cogapp", "--check", "--diff", "--verbosity=1"]
    command += ["-P", "-I", "docs", "-p", "import figures", *pages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.dealt
@pytest.mark.parametrize(
    "file", sorted(DOCS.glob("figures/*.json")), ids=lambda f: f.stem
)
def test_a_file_of_figures_comes_from_a_whole_run(file):
    run = json.loads(file.read_text("utf-8"))
    command = run.get("command", "")  # those of examples have none
    assert "--quick" not in command
    assert not re.search(r"/(?:home|root|tmp|work|Users)/", command)


# --- links, of what the site's strict build does not see too ---


def without_blocks(page):
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)


def anchors(text):
    """What the headings and the API entries of a page can be reached by."""
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings]
    return {
        *("-".join(heading.split(" ")) for heading in plain),
        *re.findall(r"^::: (\S+)$", text, re.MULTILINE),
    }


@pytest.mark.dealt
@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *DOCS.rglob("*.md")], ids=lambda page: page.stem
)
def test_every_link_of_a_page_leads_somewhere(page):
    text = re.sub(r"`[^`\n]*`", "", without_blocks(page))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if not re.match(r"\w+:", link):
            target = page.parent / path if path else page
            assert target.exists(), link
            # The theme shows an image with one of these on light or dark pages only.
            if target.suffix == ".svg" and anchor in ("only-light", "only-dark"):
                continue
            assert not anchor or anchor in anchors(without_blocks(target)), link


ROOMS = [
    module.__name__.rpartition(".")[2]
    for module in MODULES
    if hasattr(module, "__path__")
]


@pytest.mark.dealt
@pytest.mark.parametrize("room", ROOMS)
def test_the_page_on_how_it_works_has_every_room(room):
    page = (DOCS / "how_it_works.md").read_text("utf-8")
    assert f" {room}/ " in page


MESSAGES = [text for source in texts.MODULES.values() for text in texts.strings(source)]
QUOTES = re.findall(r"^> (.*)$", PAGES["docs/troubleshooting.md"], re.MULTILINE)


@pytest.mark.dealt
@pytest.mark.parametrize("quote", QUOTES)
def test_a_message_that_the_page_on_troubleshooting_quotes_is_one_of_the_package(quote):
    pattern = ".*".join(re.escape(part) for part in quote.split("..."))
    assert any(re.search(pattern, message, re.DOTALL) for message in MESSAGES)
