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
from tensorgraph.engine.functions import FUNCTIONS, function_named
from tensorgraph.testing.cases import examples_of

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


def of_stub(node: ast.FunctionDef) -> list[tuple]:
    """Name, kind, default and type of every parameter, as a stub says them."""
    every, named = node.args.args, node.args.kwonlyargs
    defaults = [None] * (len(every) - len(node.args.defaults)) + node.args.defaults + node.args.kw_defaults
    kinds = ["positional or keyword"] * len(every) + ["keyword-only"] * len(named)
    types = [ast.unparse(a.annotation).replace("_TensorLike", "TensorLike") for a in [*every, *named]]
    return [
        (a.arg, kind, None if d is None else ast.unparse(d), said)
        for a, kind, d, said in zip([*every, *named], kinds, defaults, types, strict=True)
    ]


def of_signature(function) -> list[tuple]:
    return [
        (p.name, p.kind.description, None if p.default is p.empty else repr(p.default), p.annotation)
        for p in inspect.signature(function).parameters.values()
    ]


def test_functions_take_what_the_stubs_say():
    (module,) = [ast.parse(text) for name, text in stubs.stubs().items() if name == "functions.pyi"]
    said = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    every = [*stubs.library(), *FUNCTIONS.values()]
    assert (
        set(said) == {name for declared in every for name in (declared.name, *declared.also)} - stubs.TOOLS
        and len(said) > 200
    )
    for name, node in said.items():
        function = getattr(tg, name)
        if function_named(name) is not None:
            kinds = {kind for _, kind, _, _ in of_signature(function)}
            if "variadic positional" not in kinds:
                assert [p[:2] for p in of_stub(node)] == [p[:2] for p in of_signature(function)], name
            continue
        assert of_stub(node) == of_signature(function), name
        assert ast.unparse(node.returns) == inspect.signature(function).return_annotation
        assert ast.get_docstring(node).removesuffix(" ...") in " ".join(function.__doc__.split()), name


def test_every_type_is_said():
    for op in stubs.library():
        assert "Any" not in op.signature.types.values(), f"say the type of an attribute in the declaration of {op.name}"


def test_the_signature_is_that_of_the_code():
    generated = [op.public for op in stubs.library()]
    for function in generated:
        said = inspect.signature(function)
        del function.__signature__
        try:
            real = inspect.signature(function)
        finally:
            function.__signature__ = said
        further = function.op.signature.further  # which the general way answers
        shown = [
            [(p.name, p.kind, p.default) for p in s.parameters.values() if p.name[0] != "_" and p.name not in further]
            for s in (said, real)
        ]
        assert set(further) <= said.parameters.keys()
        assert shown[0] == shown[1], function


def test_calls_by_position_and_by_name_are_one():
    """Every function is called as its signature says: all by position, all by name."""
    for op in stubs.library():
        for case in examples_of(op)[:2]:
            arguments = dict(zip(op.inputs, case.tensors()[0], strict=True)) | case.full_attrs()
            signature = inspect.signature(op.public)
            bound = signature.bind(**{k: v for k, v in arguments.items() if v is not None or k in op.attrs})
            named = op.public(**bound.arguments)
            bound.apply_defaults()
            placed = op.public(*bound.args, **bound.kwargs)
            for x, y in zip(*[r if isinstance(r, tuple) else (r,) for r in (named, placed)], strict=True):
                assert x.aval == y.aval and x.numpy().tobytes() == y.numpy().tobytes(), str(case)


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
