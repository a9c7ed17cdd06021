r"""Turns the examples into notebooks, and into pages with what they print and draw.

An example is a script in the style of Keras's own: a header with its title, then strings
of Markdown and code in turn, to be read from top to bottom. Each string becomes a cell of
text, and what stands between two of them a cell of code. The notebooks in `examples/`
have no output; the pages in `docs/examples/` have it, between two comments.

    pip install -e ".[notebooks]"
    python docs/make_examples.py                  # all: eight minutes on two cores
    python docs/make_examples.py recommender      # one of them
    python docs/make_examples.py --keep-output    # new text around the output there is
    python docs/make_examples.py --check          # fails where one is not as its script

The last two run nothing.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor
    from nbformat import v4
except ImportError as error:
    raise SystemExit(
        f"Notebooks need a package that is not installed ({error.name}). "
        'Install it with: pip install -e ".[notebooks]"'
    ) from error

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS, PAGES = ROOT / "examples", ROOT / "docs" / "examples"
NOTEBOOKS = ("daily_retraining", "language_model", "recommender")
PROCESSES = ("across_processes",)  # is about several of them, a notebook is but one
EXAMPLES = (*NOTEBOOKS, *PROCESSES)
CURE = "Run: python docs/make_examples.py"

PAGE = r"""
{%- for cell in nb.cells -%}
{%- if not loop.first -%}{{ '\n' }}{%- endif -%}
{%- if cell.cell_type == 'markdown' -%}
{{ cell.source + '\n' }}
{%- else -%}
{{ '```python\n' + cell.source + '\n```\n' }}
{%- if cell.outputs -%}
{{ '\n<!-- output -->\n' }}
{%- for output in cell.outputs -%}
{%- if 'image/png' in output.data -%}
{{ '\n![What it draws](' + output.metadata.filenames['image/png'] + ')\n' }}
{%- else -%}
{%- set text = output.text or output.data['text/plain'] -%}
{{ '\n```text\n' + text.strip('\n') + '\n```\n' }}
{%- endif -%}
{%- endfor -%}
{{ '\n<!-- end of output -->\n' }}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
"""
CODE = re.compile(r"^```python\n.*?^```\n", re.DOTALL | re.MULTILINE)
OUTPUT = re.compile(r"\n<!-- output -->\n.*?\n<!-- end of output -->\n", re.DOTALL)


def make_notebook(name: str) -> nbformat.NotebookNode:
    """The cells of an example's script, without output."""
    script = (SCRIPTS / f"{name}.py").read_text("utf-8")
    lines = script.splitlines(keepends=True)
    header, *statements = ast.parse(script).body
    fields = dict(line.split(": ", 1) for line in header.value.value.strip().splitlines())
    made_from = f"`examples/{name}.py`"
    if name in NOTEBOOKS:
        made_from += f", a script that opens as a notebook too (`examples/{name}.ipynb`)"
    first = f"# {fields['Title']}\n\n{fields['Description']}\n\nThis is {made_from}."
    cells, end = [v4.new_markdown_cell(first)], header.end_lineno
    texts = [s for s in statements if isinstance(s, ast.Expr) and is_text(s.value)]
    for text in [*texts, None]:
        code = "".join(lines[end : text.lineno - 1 if text else None]).strip()
        if code:
            cells.append(v4.new_code_cell(code))
        if text:
            cells.append(v4.new_markdown_cell(text.value.value.strip()))
            end = text.end_lineno
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same at every run
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return v4.new_notebook(cells=cells, metadata=metadata)


def is_text(value: ast.expr) -> bool:
    """Whether it is a string, and nothing else."""
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def execute(name: str, notebook: nbformat.NotebookNode) -> None:
    """Runs an example in a folder of its own, and puts its output into the cells."""
    paths = (str(SCRIPTS), os.environ.get("PYTHONPATH"))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with tempfile.TemporaryDirectory() as folder:
        if name in PROCESSES:
            command = [sys.executable, SCRIPTS / f"{name}.py"]
            said = subprocess.check_output(
                command, cwd=folder, env=environment, encoding="utf-8"
            )
            notebook.cells[-1].outputs = [v4.new_output("stream", text=said)]
            return
        client = NotebookClient(
            notebook, timeout=None, resources={"metadata": {"path": folder}}
        )
        client.execute(env=environment)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # On stderr are progress bars and logs.
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]


def make_page(name: str, notebook: nbformat.NotebookNode) -> tuple[str, dict[str, bytes]]:
    """The page of a notebook, and the figures that it shows."""
    exporter = MarkdownExporter(
        raw_template=PAGE, preprocessors=[CoalesceStreamsPreprocessor]
    )
    page, resources = exporter.from_notebook_node(notebook, {"unique_key": name})
    return re.sub(r"[ \t]+$", "", page, flags=re.MULTILINE), resources["outputs"]


def with_output_of(old: str, new: str) -> str | None:
    """A page without output, with that of an old one; None if its code is another."""
    with_output = re.compile(f"({CODE.pattern})({OUTPUT.pattern})?", CODE.flags)
    pieces = with_output.findall(old)
    if [code for code, _ in pieces] != CODE.findall(new):
        return None
    left = iter(pieces)
    return CODE.sub(lambda _: "".join(next(left)), new)


def make(name: str, keep_output: bool) -> None:
    """Writes an example's notebook, page and figures."""
    notebook, page = make_notebook(name), PAGES / f"{name}.md"
    text, _ = make_page(name, notebook)
    if keep_output:
        text = with_output_of(page.read_text("utf-8") if page.exists() else "", text)
        if text is None:
            raise SystemExit(f"The code of {name} has changed. {CURE} {name}")
    if name in NOTEBOOKS:
        nbformat.write(notebook, SCRIPTS / f"{name}.ipynb")
    if not keep_output:
        execute(name, notebook)
        text, figures = make_page(name, notebook)
        PAGES.mkdir(exist_ok=True)
        for old in PAGES.glob(f"{name}_*.png"):
            old.unlink()
        for file, image in figures.items():
            (PAGES / file).write_bytes(image)
    page.write_text(text, "utf-8")


def differences(name: str) -> list[str]:
    """What of an example's notebook and page is not as in its script."""
    found, notebook, page = [], make_notebook(name), PAGES / f"{name}.md"
    if name in NOTEBOOKS:
        file = SCRIPTS / f"{name}.ipynb"
        there = nbformat.read(file, as_version=4) if file.exists() else None
        if there is None or there.cells != notebook.cells:
            found.append(f"{file.relative_to(ROOT)} is not as {name}.py.")
        else:
            nbformat.validate(there)
    text = page.read_text("utf-8") if page.exists() else ""
    if OUTPUT.sub("", text) != make_page(name, notebook)[0]:
        found.append(f"{page.relative_to(ROOT)} is not as {name}.py.")
    shown = set(re.findall(r"^!\[.*\]\((.*)\)$", text, re.MULTILINE))
    if shown != {figure.name for figure in PAGES.glob(f"{name}_*.png")}:
        found.append(f"{page.relative_to(ROOT)} has not the figures that it shows.")
    return found


def main() -> None:
    """Makes what the command line names, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXAMPLES))
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="write nothing; compare")
    how.add_argument("--keep-output", action="store_true", help="renew the text alone")
    args = parser.parse_args()
    if unknown := set(args.names) - set(EXAMPLES):
        parser.error(f"`NAME` must be one of {EXAMPLES}. Received: {sorted(unknown)}")
    names = args.names or EXAMPLES
    if args.check:
        found = [line for name in names for line in differences(name)]
        raise SystemExit("\n".join([*found, CURE]) if found else 0)
    for name in names:
        print(name, flush=True)
        make(name, args.keep_output)


if __name__ == "__main__":
    main()
