"""The house: imports run one way, heavy packages load late, every package ships, and each wrong door says so."""

import ast
import importlib
import importlib.metadata
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from checkout import CHECKOUT, all_imports, imports_of, module_name, sources, trees, where
from child import python

from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.engine.tape import INTERNAL
from tensorgraph.engine.traits import TRAITS

# Rooms from the ground up. A module may import, while it loads, from its own floor and from those before it.
FLOORS: list[set[str]] = [
    {"arguments"},
    {"files", "jit", "pages"},
    {"native"},
    {"engine"},
    {"ops"},
    {"numpy"},
    {"graph"},
    {"transforms"},
    {"random"},
    {"text"},
    {"passes"},
    {"analysis"},
    {"compile"},
    {"testing"},
    {"nn", "optim", "data", "train", "tune", "dist"},
    {"viz"},
    {"dsl"},
    {"commands"},
    {"__init__"},
    {"__main__"},
]

# The engine's own files, likewise.
ENGINE: list[set[str]] = [
    {"aval", "changes", "contents", "interrupts", "open_sizes", "signature", "source", "traits", "tree", "wide_sums"},
    {"modes", "spec", "sums", "recognition"},
    {"op"},
    {"direct", "inlining", "known"},
    {"tape"},
    {"exits"},
    {"tensor"},
    {"cells", "numbers", "table"},
    {"operands", "pull", "running"},
    {"calling", "keys"},
    {"generate"},
    {"declare", "functions", "recorded"},
    {"indexing", "random", "extend"},
    {"backward", "batching", "init"},
    {"second_order"},
]

# Rooms that only these may import while loading.
PRIVATE = {"viz": {"viz", "commands", "__init__"}, "commands": {"commands", "__main__"}, "__init__": {"__main__"}}

# Doors that open upwards, inside a function only: (who, whom) -> what for. There are no more than four.
LATE: dict[tuple[str, str], str] = {
    ("graph", "viz"): "Graph.draw and the pictures in a notebook",
    ("graph", "text"): "how a graph prints",
    ("graph", "passes"): "Graph.grad, simplify, expand and the other transformations",
    ("graph", "analysis"): "Graph.cost",
}

# Who may use a package that is not a core dependency loaded at once, and then inside functions only.
LATE_PACKAGES: dict[str, set[str]] = {
    "numba": {"jit"},
    "llvmlite": {"jit", "native"},
    "graphviz": {"viz"},
    "graphviz_pure": {"viz"},
    "rich": {"train", "tune", "commands"},
    "matplotlib": {"train", "tune", "commands"},
    "safetensors": {"files"},
    "sklearn": {"commands", "data"},
    "threadpoolctl": {"commands"},
    "hypothesis": {"testing"},
    "IPython": {"viz"},
    "optuna": {"tune"},
    "joblib": {"tune"},
    "loky": {"tune"},
    "cloudpickle": {"tune"},
    "sqlalchemy": {"tune"},
    "dask": {"tune"},
    "distributed": {"tune"},
    "ray": {"tune"},
    "mpi4py": {"dist"},
    "tensorboardX": {"train"},
}
# Loaded with `import tensorgraph`; jit.py is the one place that may bind Numba's names, when it is opened.
EAGER_PACKAGES = {"numpy"}

MOST_LINES = 500


def room(module: str) -> str:
    """Return the room of a module: the part after `tensorgraph.`, and `__init__` for the package itself."""
    return (module.split(".") + ["__init__"])[1]


def floor(name: str) -> int:
    """Return the floor a room is on."""
    for number, rooms in enumerate(FLOORS):
        if name in rooms:
            return number
    raise AssertionError(f"tensorgraph/{name} has no place in FLOORS of tests/test_house.py: give it one")


def inside(module: str) -> bool:
    """Tell whether a module is one of ours."""
    return module.split(".")[0] == "tensorgraph"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy as np", [("numpy", False)]),
        ("def f():\n    import numba", [("numba", True)]),
        ("class C:\n    import numba", [("numba", False)]),
        ("from .. import aval", [("tensorgraph.aval", False)]),
        ("from ..aval import Aval", [("tensorgraph.aval", False)]),
        ("from . import passes", [("tensorgraph.graph", False)]),
        ("from tensorgraph import aval, nothing", [("tensorgraph.aval", False), ("tensorgraph", False)]),
        ("if TYPE_CHECKING:\n    import rich\nelse:\n    import os", [("os", False)]),
        ("if _TYPE_CHECKING:\n    import rich\nif CHECKING:\n    import os", [("os", False)]),
        ("try:\n    import rich\nexcept ImportError:\n    pass", [("rich", False)]),
        ("async def f():\n    if x:\n        from tensorgraph.aval import y", [("tensorgraph.aval", True)]),
    ],
)
def test_imports_are_read_right(source: str, expected: list[tuple[str, bool]]) -> None:
    found = imports_of(ast.parse(source), "tensorgraph.graph.trace", False, {"tensorgraph", "tensorgraph.aval"})
    assert sorted((i.module, i.late) for i in found) == sorted(expected)


def test_imports_run_one_way() -> None:
    wrong = []
    for module, imports in all_imports().items():
        me = room(module)
        for found in imports:
            if not inside(found.module) or found.late:
                continue
            other = room(found.module)
            if other == me and module != "tensorgraph":
                continue
            if floor(other) > floor(me) or me not in PRIVATE.get(other, {me}):
                wrong.append(f"{where(module, found)}: {me} may not import {other} while loading")
    assert not wrong, "\n".join(wrong)


def test_upward_imports_inside_functions_are_declared() -> None:
    upward: dict[tuple[str, str], str] = {}
    for module, imports in all_imports().items():
        me = room(module)
        for found in imports:
            if inside(found.module) and found.late:
                other = room(found.module)
                if other != me and (floor(other) > floor(me) or me not in PRIVATE.get(other, {me})):
                    upward[me, other] = where(module, found)
    undeclared = [f"{at}: {me} -> {other}" for (me, other), at in upward.items() if (me, other) not in LATE]
    assert not undeclared, "declare these in LATE, with the reason, or turn them round:\n" + "\n".join(undeclared)
    unused = set(LATE) - set(upward)
    assert not unused, f"LATE declares doors that nobody uses: {sorted(unused)}"


def test_there_are_few_doors_upwards() -> None:
    assert len(LATE) <= 4


def test_the_engine_is_in_order() -> None:
    place = {name: number for number, names in enumerate(ENGINE) for name in names}
    modules = [module for module in sources() if re.fullmatch(r"tensorgraph\.engine\.\w+", module)]
    unplaced = {module.split(".")[2] for module in modules} ^ set(place)
    assert not unplaced, f"ENGINE of tests/test_house.py and the files of tensorgraph/engine/ differ in {unplaced}"
    wrong = []
    for module in modules:
        for found in all_imports()[module]:
            other = found.module.split(".")
            if other[:2] == ["tensorgraph", "engine"] and len(other) > 2 and not found.late:
                me = module.split(".")[2]
                if other[2] != me and place[other[2]] > place[me]:
                    wrong.append(f"{where(module, found)}: {me} may not import {other[2]} while loading")
    assert not wrong, "\n".join(wrong)


def test_frames_of_every_package_are_known_as_ours() -> None:
    packages = {name for name, path in sources().items() if path.name == "__init__.py"}
    foreign = {p for p in packages if p.startswith(("tensorgraph.testing", "tensorgraph.commands.demo"))}
    assert packages - foreign - INTERNAL == set()
    assert not foreign & INTERNAL


def test_a_newcomer_sees_folders() -> None:
    loose = {path.name for path in (CHECKOUT / "tensorgraph").glob("*.py")}
    assert loose == {"__init__.py", "__main__.py", "dsl.py"}
    for module, path in sources().items():
        if path.name == "__init__.py":
            assert ast.get_docstring(trees()[module]), f"{module} does not say what it is for"


def test_no_import_cycles_while_loading() -> None:
    needs = {
        module: {i.module for i in imports if not i.late and i.module in sources() and i.module != module}
        for module, imports in all_imports().items()
    }
    while ready := {module for module, others in needs.items() if not others & set(needs)}:
        needs = {module: others for module, others in needs.items() if module not in ready}
    # what is left can also merely hang on a cycle: drop what nobody in the rest needs
    while needs and (hanging := set(needs) - set().union(*needs.values())):
        needs = {module: others for module, others in needs.items() if module not in hanging}
    assert not needs, f"these modules import each other in a circle: {sorted(needs)}"


def test_packages_of_others_load_late_and_where_declared() -> None:
    wrong = []
    for module, imports in all_imports().items():
        for found in imports:
            package = found.module.split(".")[0]
            if inside(found.module) or package in sys.stdlib_module_names or package in EAGER_PACKAGES:
                continue
            if package not in LATE_PACKAGES:
                wrong.append(f"{where(module, found)}: {package} is not declared in LATE_PACKAGES")
            elif room(module) not in LATE_PACKAGES[package]:
                wrong.append(f"{where(module, found)}: {package} belongs to {sorted(LATE_PACKAGES[package])}")
            elif not found.late:
                wrong.append(f"{where(module, found)}: {package} must be imported inside a function")
    assert not wrong, "\n".join(wrong)


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, numpy; b = {*sys.modules}; import tensorgraph; print(*(n for n in sys.modules if n not in b))"
    more = python("-c", code, cwd=tmp_path).stdout.split()
    assert not {"numpy.random", "numpy.polynomial", "numpy.testing", "inspect", "hashlib"} & {*more}
    code = "import sys, tensorgraph; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "tensorgraph" in loaded
    assert not loaded & {*LATE_PACKAGES, "scipy", "hypothesis", "pytest", "optuna"}


def test_every_folder_of_modules_is_a_package_that_ships() -> None:
    folders = {module_name(path.parent / "__init__.py") for path in sources().values()}
    shipped = set(runpy.run_path(str(CHECKOUT / "setup.py"))["packages"]())
    assert folders == shipped, "a folder of modules has no __init__.py, or setup.py misses it"


def test_installed_wheel_holds_every_source_file() -> None:
    # a folder of notes that a build left in the checkout is a distribution too, but only an installed one has a RECORD
    found = importlib.metadata.distributions(name="tensorgraph-engine")
    files = {str(file) for d in found if d.read_text("RECORD") for file in d.files or ()}
    if "tensorgraph/__init__.py" not in files:
        pytest.skip("an editable install: the wheel is not what is tested")
    wanted = {module.replace(".", "/") for module in sources()}
    assert wanted == {re.sub(r"(/__init__)?\.py$", "", f) for f in files if re.match(r"tensorgraph/.*\.py$", f)}
    extra = {"py.typed", *(str(p.relative_to(CHECKOUT / "tensorgraph")) for p in CHECKOUT.glob("tensorgraph/**/*.pyi"))}
    assert {f"tensorgraph/{name}" for name in extra} <= files
    roots = {file.split("/")[0] for file in files if not file.startswith("..")}
    assert {name for name in roots if not name.endswith(".dist-info")} == {"tensorgraph"}, "only one name is installed"


def test_files_stay_short() -> None:
    lengths = {path.relative_to(CHECKOUT): len(path.read_text("utf-8").splitlines()) for path in sources().values()}
    long = {str(path): length for path, length in lengths.items() if length > MOST_LINES}
    assert not long, f"split by subject what is over {MOST_LINES} lines: {long}"


# what is known of ops stands on their declarations -------------------------------------------------------------------

# Files that name as many ops as they need, because that is their subject. Anything else that is to be known of several
# ops is a trait or another field of their declarations.
NAMING: dict[str, str] = {
    "tensorgraph/analysis/latex.py": "notation: LaTeX",
    "tensorgraph/native/arithmetic.py": "instructions of LLVM",
    "tensorgraph/native/lowering.py": "NumPy's functions and Python's, of which scalar functions are written",
    "tensorgraph/native/words.py": "instructions of LLVM",
}
# Of others, the most strings that are names of ops (not counting docstrings and __all__), with the reason.
NAMED: dict[str, tuple[int, str]] = {
    "tensorgraph/__init__.py": (1, "the tool for graphs that is called as an op of arrays"),
    "tensorgraph/analysis/cost.py": (1, "rows of a report know an op's name only"),
    "tensorgraph/analysis/explain_gradient.py": (1, "what an equation of a gradient is for"),
    "tensorgraph/analysis/formulas.py": (7, "notation: textbook formulas"),
    "tensorgraph/analysis/lint/patterns.py": (4, "notation: other spellings of an op"),
    "tensorgraph/commands/demo/main.py": (1, "the name of a run of the demo"),
    "tensorgraph/commands/demo/pictures.py": (1, "the scale of an axis"),
    "tensorgraph/commands/demo/report.py": (2, "headings of a table"),
    "tensorgraph/commands/graphs.py": (1, "the name of a command"),
    "tensorgraph/commands/panda.py": (2, "the names of commands"),
    "tensorgraph/commands/stubs.py": (2, "the tools for graphs that are called as ops of arrays"),
    "tensorgraph/data/normalizer.py": (4, "names of what a normalizer has counted"),
    "tensorgraph/engine/backward.py": (1, "the name of a user's function in a message"),
    "tensorgraph/engine/modes.py": (3, "the trace that records, which is no sum of a diagonal"),
    "tensorgraph/engine/generate.py": (3, "notation: Python's special methods"),
    "tensorgraph/engine/init.py": (2, "distributions, of which generators have methods"),
    "tensorgraph/engine/op.py": (2, "how the dtype of a sum follows, and a family of ops that is called as a loop is"),
    "tensorgraph/graph/building.py": (2, "the name of a user's function in a message"),
    "tensorgraph/graph/equation.py": (
        2,
        "the one op that stands for a deferred gradient, below the ops, and what an equation of it is for",
    ),
    "tensorgraph/jit/team.py": (1, "an instruction of LLVM"),
    "tensorgraph/nn/activations.py": (1, "an option of an activation"),
    "tensorgraph/nn/linear.py": (1, "an initialiser"),
    "tensorgraph/nn/normalization.py": (2, "initialisers"),
    "tensorgraph/numpy/manipulation.py": (1, "what a message calls NumPy's function"),
    "tensorgraph/numpy/linalg.py": (1, "what takes the last axes there and the first elsewhere"),
    "tensorgraph/optim/optimizer.py": (5, "a setting of optimisers"),
    "tensorgraph/passes/algebra.py": (1, "the name of a rule"),
    "tensorgraph/passes/recognise/probe.py": (4, "a kind of numbers that are drawn"),
    "tensorgraph/passes/symbolic.py": (2, "what an equation of a gradient is for"),
    "tensorgraph/testing/programs/special.py": (2, "methods of x.at[key]"),
    "tensorgraph/testing/programs/writer.py": (2, "one of two reductions to write"),
    "tensorgraph/text/expressions.py": (6, "notation: methods and calls of the graph's language"),
    "tensorgraph/text/live.py": (4, "initialisers"),
    "tensorgraph/text/names.py": (2, "notation: names that variables get"),
    "tensorgraph/text/namespace.py": (3, "notation: names of the graph's language"),
    "tensorgraph/train/metrics.py": (3, "an option of confusion matrices"),
    "tensorgraph/train/run/log.py": (1, "an event and a command of runs"),
    "tensorgraph/transforms/interop.py": (1, "an option of NumPy's functions"),
    "viz/model/compare.py": (1, "a level of pictures"),
    "viz/model/overlay.py": (2, "a statistic"),
}
MOST_NAMED = 86


def op_names(nodes: list[ast.AST], names: set[str]) -> list[int]:
    """Return the lines of strings that are names of ops, docstrings and what `__all__` lists excepted."""
    other = set()
    for node in nodes:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            other |= {id(inner) for inner in ast.walk(node)}
        elif isinstance(node, ast.Expr):
            other.add(id(node.value))
    strings = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.lineno for node in strings if node.value in names and id(node) not in other]


def test_imports_say_the_whole_name() -> None:
    relative = {
        name: lines
        for name, tree in trees().items()
        if (lines := [n.lineno for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level])
    }  # fmt: skip
    assert not relative, f"write from tensorgraph.room.file import name: {relative}"


def op_tables(nodes: list[ast.AST]) -> list[int]:
    """Return the lines of sets, lists, tuples, dicts and calls that hold more than two of the ops that are imported."""
    imports = [n for n in nodes if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("tensorgraph.ops")]
    ops = {a.asname or a.name for n in imports for a in n.names if isinstance(vars_of(n.module).get(a.name), Op)}
    rooms = {a.asname or a.name for n in imports if n.module == "tensorgraph.ops" for a in n.names}

    def is_op(node: ast.AST | None) -> bool:
        if isinstance(node, ast.Attribute):
            return isinstance(node.value, ast.Name) and node.value.id in rooms
        return isinstance(node, ast.Name) and node.id in ops

    lines = []
    for node in nodes:
        held = [*getattr(node, "elts", ()), *getattr(node, "keys", ()), *getattr(node, "args", ())] if ops | rooms and (
            isinstance(node, ast.Set | ast.List | ast.Tuple | ast.Dict | ast.Call)
        ) else []  # fmt: skip
        if sum(map(is_op, held)) > 2:
            lines.append(node.lineno)
    return lines


def vars_of(module: str | None) -> dict[str, object]:
    return vars(importlib.import_module(module or ""))


@pytest.fixture(scope="module", autouse=True)
def _released() -> Iterator[None]:
    """A million nodes of syntax would be looked at by the garbage collector in all tests after these."""
    yield
    outside_ops.cache_clear()
    trees.cache_clear()


@cache
def outside_ops() -> dict[str, list[ast.AST]]:
    """Return the syntax of every module that declares no ops, by its path in the checkout."""
    paths = {name: path.relative_to(CHECKOUT).as_posix() for name, path in sources().items()}
    return {
        paths[name]: list(ast.walk(tree)) for name, tree in trees().items() if not paths[name].startswith("ops/")
    }  # fmt: skip


def test_op_names_are_counted_right() -> None:
    source = '__all__ = ["add"]\n__all__ += ["sum"]\n"add"\ndef f():\n    "sum"\n    return {"add": "sums"}, x["sum"]\n'
    assert op_names(list(ast.walk(ast.parse(source))), {"add", "sum"}) == [6, 6]
    source = "from tensorgraph.ops.arithmetic import add, divide, multiply, number\nfrom tensorgraph.ops import logic\n"
    source += "X = {add, divide}\nY = {add: 1, divide: 2, logic.less: 3}\nZ = f(add, number, multiply)\n"
    assert op_tables(list(ast.walk(ast.parse(source)))) == [4]


def test_few_files_keep_names_of_ops() -> None:
    """What a pass, an analysis or a picture wants to know of ops stands on their declarations."""
    every = {file: op_names(nodes, set(CATALOGUE)) for file, nodes in outside_ops().items()}
    named = {file: lines for file, lines in every.items() if lines and file not in NAMING}
    more = {file: lines for file, lines in named.items() if len(lines) > NAMED.get(file, (0, ""))[0]}
    assert not more, f"these name more ops than they may (at lines): say it on the declarations, as a trait: {more}"
    assert sum(map(len, named.values())) <= MOST_NAMED


def test_no_file_keeps_a_table_of_ops() -> None:
    """Nor do they gather the ops themselves."""
    tables = {file: lines for file, nodes in outside_ops().items() if (lines := op_tables(nodes))}
    assert tables.keys() <= GATHERING.keys(), f"tables of ops (at lines): {tables}"


GATHERING = {
    "tensorgraph/passes/algebra.py": "rules about a few ops",
    "tensorgraph/testing/programs/steps.py": "what a failing program is made of at its simplest",
}


def test_every_trait_is_declared_and_read() -> None:
    """A fact that nobody reads goes, or is read."""
    assert {trait for op in CATALOGUE.values() for trait in op.traits} == TRAITS.keys()
    words: set[object] = set()
    for file, nodes in outside_ops().items():
        if any(isinstance(n, ast.Attribute) and n.attr == "traits" for n in nodes) and "/engine/op.py" not in file:
            words |= {n.value for n in nodes if isinstance(n, ast.Constant)} if Path(file).stem != "traits" else set()
    for asked in [op.recognise for op in CATALOGUE.values() if op.recognise is not None]:  # which recognition asks for
        for item in (*asked.needs, *asked.without):
            words |= {item} if isinstance(item, str) else set(item)
    assert TRAITS.keys() <= words, f"nobody asks for {TRAITS.keys() - words}"


def test_every_field_of_a_declaration_is_read() -> None:
    """A field of `Op` that nobody but its own methods and the door of declaring reads goes."""
    own = {"tensorgraph/engine/op.py", "tensorgraph/engine/declare.py"}
    every = [nodes for file, nodes in outside_ops().items() if file not in own]
    read = {node.attr for nodes in every for node in nodes if isinstance(node, ast.Attribute)}
    assert {field.name for field in fields(Op)} - read == OWN


OWN = {"infer_rule", "native", "residual_types"}  # fields that Op itself reads
