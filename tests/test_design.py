"""docs/design.md speaks of what is there: every file, function and room that it names."""

import ast
import re
import runpy
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = (CHECKOUT / "docs" / "design.md").read_text("utf-8")
NAMES = sorted(set(re.findall(r"`([a-z_]+/[\w/]*(?:\.py)?(?::[\w.]+)?)`", PAGE)))


@cache
def defined(path: Path) -> set[str]:
    """What a module defines at its top, and what its classes do."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inner = [n.name for n in node.body if isinstance(n, ast.FunctionDef)]
            names |= {node.name, *(f"{node.name}.{name}" for name in inner)}
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def missing(name: str) -> str | None:
    """Say what of a name such as `engine/tape.py:Node` is not there, if anything is not."""
    file, _, inside = name.partition(":")
    path = next((p for p in (CHECKOUT / file, CHECKOUT / "tensorgraph" / file) if p.exists()), None)
    if path is None:
        return f"there is no {file}"
    return f"{file} defines no {inside}" if inside and inside not in defined(path) else None


def test_what_is_missing_is_told() -> None:
    assert missing("engine/tape.py:Node") is None and missing("ops/kernels/") is None
    assert missing("engine/tape.py:Knot") == "engine/tape.py defines no Knot"
    assert missing("graph/graph.py:Graph.replaced") == "graph/graph.py defines no Graph.replaced"
    assert missing("engine/tapes.py") == "there is no engine/tapes.py"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_page_names_is_there(name: str) -> None:
    assert missing(name) is None


def test_the_page_names_much() -> None:
    """The forms are read, so that a name is not passed over for its spelling."""
    assert len([name for name in NAMES if ":" in name]) > 30
    spelt = {word for word in re.findall(r"`([^`\n]+)`", PAGE) if "/" in word and " " not in word}
    assert {word for word in spelt if not word.startswith(("tests/",))} <= set(NAMES)


def test_the_rooms_are_those_of_the_house_in_order() -> None:
    floors = runpy.run_path(str(CHECKOUT / "tests" / "test_house.py"))["FLOORS"]
    table = re.search(r"^\| room \|.*?\n\n", PAGE, re.S | re.M)
    assert table
    told = [re.findall(r"`(\w+)/`", row.split("|")[1]) for row in table[0].strip().splitlines()[2:]]
    known = [room for rooms in told for room in rooms]
    folders = {path.name for path in (CHECKOUT / "tensorgraph").iterdir() if (path / "__init__.py").exists()}
    assert set(known) == folders | {"ops", "viz"}
    number = {room: i for i, rooms in enumerate(floors) for room in rooms}
    assert [number[room] for room in known] == sorted(number[room] for room in known)


def test_the_page_is_short() -> None:
    assert len(PAGE.splitlines()) <= 150
