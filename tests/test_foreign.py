"""PyTorch's, JAX's, NumPy's and Keras's names: each is answered with what to write, and that runs here."""

import ast
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import data, nn, optim, train
from tensorgraph.arguments.foreign import TABLE, absent, entries, keyword_hint, keywords
from tensorgraph.engine.indexing import Place
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.optim import Optimizer

MODULES = [section for section in entries() if section.startswith("tensorgraph")]
CLASSES = {
    "Tensor": tg.Tensor, "Place": Place, "Module": nn.Module, "Optimizer": Optimizer, "Graph": tg.Graph,
    "Drawing": tg.viz.Drawing,
}  # fmt: skip


def samples() -> dict[str, Any]:
    """What the table's code may name."""
    model, x = nn.Linear(3, 2, seed=0), tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.5]])
    i, square = tg.tensor([0, 1]), tg.tensor([[2.0, 1.0], [1.0, 3.0]])
    g = tg.trace(lambda a: a * 2, x)
    model(x)
    return dict(
        tg=tg, nn=nn, optim=optim, data=data, train=train, np=np, x=x, y=x * 0.5, v=tg.tensor([1.0, 2.0, 3.0]), i=i,
        w=tg.Parameter([1.0, 2.0]), model=model, opt=optim.SGD(model), loss=tg.softmax_cross_entropy(model(x), i),
        f=lambda a: (a * a).sum(), g=g, m=square, m3=tg.eye(3), z=tg.transpose(x), p=tg.sigmoid(x), drawing=g.draw(),
        image=tg.arange(16.0).reshape(1, 1, 4, 4),
    )  # fmt: skip


def owner(section: str) -> Any:
    if section == "tensorgraph.random":
        return tg.random
    return CLASSES[section] if section in CLASSES else nn.init if section.endswith("init") else (
        importlib.import_module(section)
    )  # fmt: skip


def test_enough_names_are_known() -> None:
    assert sum(len(names) for section, names in entries().items() if section != "unsupported") >= 400
    assert set(entries()) == {*MODULES, *CLASSES, "keywords", "unsupported"}


@pytest.mark.parametrize("section", [*MODULES, *CLASSES])
def test_what_to_write_runs(section: str) -> None:
    names = samples()
    names["loss"].backward(retain_graph=True)
    for code in sorted({code for code, _ in entries()[section].values()}):
        try:
            eval(code, names)
        except Exception as error:
            raise AssertionError(f"[{section}] of TABLE in arguments/foreign_*.py: {code}") from error


@pytest.mark.parametrize("section", [*MODULES, *CLASSES])
def test_no_entry_is_stale(section: str) -> None:
    stale = [name for name in entries()[section] if hasattr(owner(section), name)]
    assert not stale, (
        f"the library has these now: take them out of [{section}] of TABLE in arguments/foreign_*.py: {stale}"
    )


def test_no_name_stands_twice() -> None:
    section, seen = "", set()
    for line in TABLE.replace("\\\n", "").splitlines():
        section = line if line.startswith("[") else section
        if section == "[keywords]":
            continue
        for name in line.partition(" = ")[0].split():
            assert line.startswith("[") or (section, name) not in seen, f"{name} stands twice in {section}"
            seen.add((section, name))


def instance(section: str) -> Any:
    names = samples()
    return {"Tensor": names["x"], "Module": names["model"], "Optimizer": names["opt"], "Graph": names["g"],
            "Place": names["x"].at[0], "Drawing": names["drawing"]}[section]  # fmt: skip


@pytest.mark.parametrize("section", [*MODULES, *CLASSES])
def test_every_name_is_answered(section: str) -> None:
    for thing in [owner(section)] if section in MODULES else [CLASSES[section], instance(section)]:
        for name, (code, words) in entries()[section].items():
            with pytest.raises(AttributeError) as caught:
                getattr(thing, name)
            message = str(caught.value)
            assert repr(name) in message and code in message and words in message
            assert (not hasattr(thing, name) and name not in dir(thing)) or thing is CLASSES.get(section)


def test_names_of_others_may_be_used_by_the_user() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.layers = [nn.Linear(3, 2, seed=0)]
            self.view = "top"

        def fit(self) -> str:
            return self.view

        def forward(self, x: Any) -> Any:
            return self.layers[0](x)

    model = Model()
    assert model.fit() == "top" and len(model.layers) == 1 and model(tg.ones((1, 3))).shape == (1, 2)
    with pytest.raises(AttributeError, match=r"Model has no attribute 'predict'; write train\.predict"):
        getattr(model, "predict")  # noqa: B009


@pytest.mark.parametrize("name", ["einsumm", "linalgs", "xyz", "conv", "callings", "attention", "sun"])
def test_guesses_are_near(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(tg, name)
    assert "calling" not in str(caught.value).replace(repr(name), "")
    assert ("did you mean 'sum'" in str(caught.value)) is False


def test_a_slip_of_the_pen_is_mended() -> None:
    for module, slip, meant in ((tg, "softmx", "softmax"), (nn, "Sequental", "Sequential")):
        with pytest.raises(AttributeError, match=f"did you mean '{meant}'"):
            getattr(module, slip)
    assert str(absent("a", "nothing", "b")) == "a has no attribute 'b'"


def test_keywords_are_those_of_some_function() -> None:
    """What is written for a keyword is an argument somewhere, and the keyword none of the same function."""
    parameters: list[list[str]] = [list(op.signature.order) for op in CATALOGUE.values()]
    for file in [file for home in (tg, tg.ops, tg.viz) for file in Path(str(home.__file__)).parent.rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                parameters.append([a.arg for a in (*node.args.args, *node.args.kwonlyargs)])
    known = {name for names in parameters for name in names}
    for key, targets in keywords().items():
        assert set(targets) <= known, f"{key}: no function takes {set(targets) - known}"
    assert keyword_hint("dim", ["x", "axis", "keepdims"]) == "write axis="
    assert keyword_hint("dim", ["x", "axes"]) == "write axes="
    assert keyword_hint("dim", ["x"]) == ""
    assert keyword_hint("device", []).startswith("everything runs on the CPU")
