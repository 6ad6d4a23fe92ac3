"""The type stubs: what they say is what the catalogue's functions and methods take."""

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import tensorgraph as tg
from tensorgraph.commands import stubs

CHECKOUT = Path(__file__).resolve().parent.parent


def test_the_stubs_that_are_committed_are_fresh(tmp_path):
    # in a process of its own: tests declare ops of theirs
    code = "import json, tensorgraph; from tensorgraph.commands.stubs import stubs; print(json.dumps(stubs()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    texts = json.loads(done.stdout)
    assert sorted(texts) == ["functions.pyi", "methods.pyi"]
    for name, text in texts.items():
        kept = (CHECKOUT / "tensorgraph" / name).read_text("utf-8")
        assert kept == text, f"tensorgraph/{name} is stale: run `make docs`"


def test_functions_take_what_the_stubs_say():
    (module,) = [ast.parse(text) for name, text in stubs.stubs().items() if name == "functions.pyi"]
    said = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    assert set(said) == {op.name for op in stubs.library()} and len(said) > 80
    for name, node in said.items():
        declared = tg.CATALOGUE[name]
        real = inspect.signature(getattr(tg, name)).parameters
        assert {a.arg for a in node.args.args} == set(real), name
        needed = {a.arg for a in node.args.args[: len(node.args.args) - len(node.args.defaults)]}
        optional = {n for n, p in real.items() if p.default is not p.empty}
        assert needed == set(real) - optional, name
        results = 1 if declared.signature.variadic else len(declared.outputs)
        assert ast.unparse(node.returns).count("Tensor") == results, name


def test_methods_exist():
    (methods,) = [node for node in ast.parse(stubs.stubs()["methods.pyi"]).body if isinstance(node, ast.ClassDef)]
    names = {node.name for node in methods.body if isinstance(node, ast.FunctionDef)}
    assert {"__add__", "__radd__", "__matmul__", "sum", "reshape", "T"} <= names
    assert all(hasattr(tg.Tensor, name) for name in names)


def test_lines_stay_within_the_limit_and_parse():
    for text in stubs.stubs().values():
        ast.parse(text)
        assert max(len(line) for line in text.splitlines()) <= 120


def test_writing_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(stubs, "__file__", str(tmp_path / "commands" / "stubs.py"))
    stubs.main()
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == stubs.stubs()
