"""The rooms of the package: what each may import, and what stands in one of them alone.

The package is read and not imported. Its modules are named without `warmstart_keras.`:
`plan.slots` is a module, `plan` is its room and the face of that room, "" is the package.
"""

import ast
import functools
import importlib.util
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.dealt

# A room may import those before it in this table, but for those beside its name.
ROOMS = {
    "keras_internals": (),
    "backend": (),
    "vocabulary": (),
    "new_rows": (),
    "rows": (),
    "layers": ("rows",),
    "previous": (),
    "report": ("keras_internals", "new_rows", "rows", "previous"),
    "model": ("rows", "report"),
    "plan": (),
    "command_line": (),
}
FOR_ALL = ("errors",)  # modules beside the rooms, which every module may import
ABOVE = ("", "__main__", "callback", "pipeline", "saving")  # these import any room
IMPORTS_ABOVE = "command_line"  # and this room alone imports these

MOST_LINES = 400
MOST_PARAMETERS = 6
# What a user may say: as many parameters as there is to say.
PUBLIC = {
    "callback.VocabularyWarmStart.__init__",
    "layers.embedding.WarmStartEmbedding.__init__",
    "plan.warm_start.plan_warm_start",
    "plan.warm_start.warm_start",
    "rows.remap.remap",
}
PACKAGE = Path(importlib.util.find_spec("warmstart_keras").origin).parent


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}


parse = functools.cache(ast.parse)


@functools.cache
def nodes_of(source):
    return list(ast.walk(parse(source)))


# --- imports ---


def room_of(module):
    """The room of a module, or the module itself where it is beside the rooms."""
    return module.partition(".")[0]


def may_import(here, there):
    if there in FOR_ALL or here == there:
        return True
    if there not in ROOMS:
        return here in (IMPORTS_ABOVE, *ABOVE)
    order = list(ROOMS)
    if here in ROOMS:
        return order.index(there) < order.index(here) and there not in ROOMS[here]
    return here in ABOVE


def imports_of(source):
    """The modules of the package that one imports anywhere in it, and the names of each.

    A name is "" where the module itself is imported: `import warmstart_keras.rows`.
    """
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [("." * node.level + (node.module or ""), a.name) for a in node.names]
        else:
            continue
        for module, name in found:
            first, _, rest = module.partition(".")
            if first in ("", "warmstart_keras"):  # "": it is relative
                yield (rest if first else module), name


@functools.cache
def bound(source):
    """The names that the face of a room has: it imports or defines them."""
    names = set()
    for node in parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names


BY_NAME = ("getattr", "hasattr", "setattr", "delattr")


def attributes_of(source):
    """The attributes that a module asks for, each with its owner as it is written."""
    for node in nodes_of(source):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node.value), node.attr
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            owner, name = node.args[:2]
            if ast.unparse(node.func) in BY_NAME and isinstance(name, ast.Constant):
                yield ast.unparse(owner), name.value


def forbidden_imports(sources):
    """What modules import that the table does not let them, or not by the face."""
    for module, source in sources.items():
        here, rooms = room_of(module), set()
        for target, name in imports_of(source):
            said = f"{module}: {name} of {target or 'the package'}"
            if not name or target.startswith("."):
                yield f"{said} is not imported by `from warmstart_keras.room import name`"
                continue
            if not target and name in sources:  # `from warmstart_keras import room`
                target, name = name, None
                rooms.add(target)
            there = room_of(target)
            if not may_import(here, there):
                yield f"{module}: must not import {target or 'the package'}"
            elif here != there and target != there:
                yield f"{said} is imported past the face of {there}"
            elif here != there and name and name not in bound(sources.get(there, "")):
                yield f"{said} is not in its face"
        for owner, name in attributes_of(source):
            if owner in rooms and name not in bound(sources[owner]):
                yield f"{module}: {name} of {owner} is not in its face"


def circle(sources):
    """Modules that import one another in a circle, or None."""
    graph = {module: set() for module in sources}
    for module, source in sources.items():
        for target, name in imports_of(source):
            part = f"{target}.{name}".strip(".")
            # Of its own room a module imports modules; of another, the face.
            inside = room_of(target) in ("", room_of(module)) and part in sources
            graph[module].add(part if inside else target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


# --- private names of Keras ---

KERAS_ROOM = "keras_internals"


def names_asked_for(sources):
    """The private names of Keras that `keras_internals` asks for by `private`."""
    return {
        node.args[1].value
        for module, source in sources.items()
        if room_of(module) == KERAS_ROOM
        for node in nodes_of(source)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "private"
        and isinstance(node.args[1], ast.Constant)
    }


def own_names(source):
    """The names that a module defines: of functions, classes, variables, attributes."""
    for node in nodes_of(source):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(getattr(node, "ctx", None), ast.Store):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
                yield node.attr


def private_names_outside(sources):
    """Private names of Keras in any room but the one that is there for them.

    The package has private names of its own. What Keras has too may be asked of `self`
    alone.
    """
    of_keras = names_asked_for(sources)
    own = {name for source in sources.values() for name in own_names(source)}
    for module, source in sources.items():
        if room_of(module) == KERAS_ROOM:
            continue
        if "keras.src" in source:
            yield f"{module}: keras.src"
        for owner, name in attributes_of(source):
            foreign = name.startswith("_") and not name.endswith("__") and name not in own
            ours = owner in ("self", "cls", KERAS_ROOM)
            if owner != "argparse" and (foreign or (name in of_keras and not ours)):
                yield f"{module}: {name} of {owner}"


# --- sizes ---


def functions_of(tree, inside):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield name, node.args
            yield from functions_of(node, name)
        else:
            yield from functions_of(node, inside)


def too_large(sources):
    """Modules of too many lines, and functions of too many parameters."""
    for module, source in sources.items():
        if len(source.splitlines()) > MOST_LINES:
            yield module
        for name, args in functions_of(parse(source), module):
            parameters = [a.arg for a in args.posonlyargs + args.args + args.kwonlyargs]
            if len(set(parameters) - {"self", "cls"}) > MOST_PARAMETERS:
                yield name


# --- the package ---


def test_every_module_has_its_place():
    assert {room_of(module) for module in SOURCES} - {*FOR_ALL, *ABOVE} == set(ROOMS)


def test_every_room_has_a_folder_of_tests():
    files = Path(__file__).parent.glob("*/test_*.py")
    assert {file.parent.name for file in files} == set(ROOMS)


def test_a_room_imports_those_that_the_table_allows_and_by_their_faces():
    assert list(forbidden_imports(SOURCES)) == []


def test_no_modules_import_one_another_in_a_circle():
    assert circle(SOURCES) is None


def test_private_names_of_keras_stand_in_one_room():
    assert len(names_asked_for(SOURCES)) > 20
    assert list(private_names_outside(SOURCES)) == []


def test_modules_are_short_and_functions_have_few_parameters():
    assert set(too_large(SOURCES)) == PUBLIC


@pytest.mark.parametrize("function", sorted(PUBLIC))
def test_what_may_have_many_parameters_is_public_and_has_them(function):
    assert function in too_large(SOURCES)
    assert not bound(SOURCES[""]).isdisjoint(function.split("."))


# --- that these tests can fail ---

SMALL = {
    "": "from warmstart_keras.plan import act",
    "errors": "class WarmStartError(Exception): ...",
    "callback": "from warmstart_keras.plan import act",
    "keras_internals": "from warmstart_keras.keras_internals.graph import walk",
    "keras_internals.graph": "def walk(layer): return private(layer, '_value')",
    "rows": "def move(): ...",
    "layers": "from warmstart_keras.layers.axes import axes",
    "layers.axes": """
from warmstart_keras import keras_internals
from warmstart_keras.errors import WarmStartError

def axes(layer):
    return keras_internals.walk(layer)
""",
    "plan": "from warmstart_keras.plan.slots import act",
    "plan.slots": """
from warmstart_keras.layers import axes

class Slots:
    def __init__(self, other):
        self._own, self._value = other._own, 1
""",
    "command_line": "from warmstart_keras import callback",
}


def with_code(module, code):
    return SMALL | {module: f"{SMALL.get(module, '')}\n{code}\n"}


def test_in_a_small_package_nothing_is_wrong():
    assert list(forbidden_imports(SMALL)) == []
    assert circle(SMALL) is None
    assert list(private_names_outside(SMALL)) == []
    assert list(too_large(SMALL)) == []


@pytest.mark.parametrize(
    ("module", "code", "problem"),
    [
        ("layers.axes", "from warmstart_keras.plan import act", "must not import plan"),
        ("layers.axes", "from warmstart_keras import plan", "must not import plan"),
        ("layers.axes", "from warmstart_keras.rows import move", "must not import rows"),
        (
            "layers.axes",
            "def late():\n    from warmstart_keras.plan import act",
            "must not import plan",
        ),
        (
            "layers.axes",
            "if TYPE_CHECKING:\n    from warmstart_keras.plan import Plan",
            "must not import plan",
        ),
        ("errors", "from warmstart_keras import layers", "must not import layers"),
        (
            "plan.slots",
            "from warmstart_keras import callback",
            "must not import callback",
        ),
        ("plan.slots", "from warmstart_keras import act", "must not import the package"),
        (
            "plan.slots",
            "from warmstart_keras.layers.axes import axes",
            "axes of layers.axes is imported past the face of layers",
        ),
        (
            "plan.slots",
            "from warmstart_keras.layers import late",
            "late of layers is not in its face",
        ),
        (
            "layers.axes",
            "keras_internals.graph.walk(1)",
            "graph of keras_internals is not in its face",
        ),
        (
            "plan.slots",
            "import warmstart_keras.layers",
            " of layers is not imported by `from warmstart_keras.room import name`",
        ),
        (
            "plan.slots",
            "from ..layers import axes",
            "axes of ..layers is not imported by `from warmstart_keras.room import name`",
        ),
    ],
)
def test_a_forbidden_import_is_reported(module, code, problem):
    found = list(forbidden_imports(with_code(module, code)))
    assert found == [f"{module}: {problem}"]


@pytest.mark.parametrize(
    "code",
    [
        "from warmstart_keras.plan.other import late",
        "from warmstart_keras.plan import other",
        "def late():\n    from warmstart_keras.plan.other import late",
        "if TYPE_CHECKING:\n    from warmstart_keras.plan.other import late",
    ],
)
def test_a_circle_is_reported(code):
    sources = with_code("plan.slots", code)
    sources["plan.other"] = "from warmstart_keras.plan.slots import Slots"
    assert set(circle(sources)) == {"plan.slots", "plan.other"}


def test_a_circle_through_the_face_is_reported():
    sources = with_code("plan.slots", "from warmstart_keras.plan import act")
    assert set(circle(sources)) == {"plan", "plan.slots"}


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import keras.src", "keras.src"),
        ("keras.Variable(0)._value", "_value of keras.Variable(0)"),
        ("getattr(layer, '_value', None)", "_value of layer"),
        ("layer._not_asked_for", "_not_asked_for of layer"),
        ("self._not_set_here", "_not_set_here of self"),
    ],
)
def test_a_private_name_of_keras_is_reported(code, problem):
    found = list(private_names_outside(with_code("plan.slots", code)))
    assert found == [f"plan.slots: {problem}"]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("\n" * MOST_LINES, "rows"),
        ("def act(a, b, c, d, *, e, f, g): ...", "rows.act"),
        ("class Rows:\n    def act(self, a, b, c, d, e, f, g): ...", "rows.Rows.act"),
        ("class Rows:\n    def act(self, a, b, c, d, e, f): ...", None),
    ],
)
def test_what_is_too_large_is_reported(code, name):
    assert list(too_large(with_code("rows", code))) == [name] * (name is not None)
