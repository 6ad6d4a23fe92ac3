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


@pytest.mark.parametrize("name", ["einsumm", "linalgs", "xyz", "conv", "callings", "atention", "sun"])
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


def numbers(value: Any) -> list[Any]:
    """Results as arrays; of a layer, what it makes of x."""
    if isinstance(value, nn.Module):
        value = value(samples()["x"])
    return [array(v) for v in (value if isinstance(value, tuple) else (value,))]


def array(value: Any) -> Any:
    return value.numpy() if isinstance(value, tg.Tensor) else np.asarray(value)


DOES: dict[str, dict[str, str]] = {
    "tensorgraph": {
        "mm": "np.matmul(x, z)", "einsum_path": "np.matmul(x, z)",
        "rollaxis": "np.rollaxis(x, 1)", "gather": "np.take_along_axis(x, i[:, None], axis=1)",
        "index_select": "np.take(x, i, axis=1)", "masked_fill": "np.where(x > 0, 0, x)",
        "msort": "np.sort(x, axis=0)",
        "around": "np.around(x, 2)",
        "nanargmin": "np.nanargmin(x)",
        "cartesian_prod": "np.array([[a, b] for a in v for b in w])", "pi": "np.pi", "inf": "np.inf", "e": "np.e",
        "size": "np.size(x)", "shape": "np.shape(x)", "upsample": "image.repeat(2, axis=2).repeat(2, axis=3)",
        "result_type": "np.result_type(x, y)",
    },
    "Tensor": {
        "contiguous": "x", "clone": "x", "repeat": "np.tile(x, (2, 1))",
        "gather": "np.take_along_axis(x, i[:, None], 1)",
        "masked_fill": "np.where(x > 0, 0, x)", "masked_select": "x[x > 1]", "select": "x[:, 0]", "data": "x",
        "scatter": "np.array([[9, 2, 3], [4, 9, 0.5]])", "scatter_add": "x + np.array([[1, 0, 0], [0, 2, 0]])",
        "equal": "np.array_equal(x, y)", "eq": "x == y",
        "new_full": "np.full((2, 3), 2)", "tobytes": "x.tobytes()", "flat": "x.flat", "strides": "x.strides",
        "masked_scatter": "np.array([[1, 2, 3], [1, 2, 0.5]])",
        "unsqueeze_": "x[None]", "mode": "np.unique(x, return_counts=True)",
        "where": "np.where(x > 0, x, y)", "det": "np.linalg.det(m)", "inverse": "np.linalg.inv(m)",
        "solve": "np.linalg.solve(m, w)",
    },
    "Place": {


    },
    "tensorgraph.nn": {
        "Tanhshrink": "x - np.tanh(x)",
        "NLLLoss": "-np.mean([x[0, 0], x[1, 1]])",
        "MSELoss": "np.mean((x - y) ** 2)",
        "SmoothL1Loss": "np.mean([d * d / 2 if d < 1 else d - 0.5 for d in y.ravel()])",
    },
}  # fmt: skip


@pytest.mark.parametrize(("section", "name"), [(section, name) for section, names in DOES.items() for name in names])
def test_what_to_write_does_what_the_name_does(section: str, name: str) -> None:
    ours = samples()
    arrays = {key: value.numpy() for key, value in ours.items() if isinstance(value, tg.Tensor)}
    code, _ = entries()[section][name]
    results, expected = numbers(eval(code, ours)), numbers(eval(DOES[section][name], {**arrays, "np": np}))
    for a, b in zip(results, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b) if b.dtype.kind not in "fc" else np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("x.gelu", "Tensor has no attribute 'gelu'; write tg.gelu(x)"),
        ("x.logical_and", "Tensor has no attribute 'logical_and'; write tg.logical_and(a, b)"),
        ("x.fliplr", "Tensor has no attribute 'fliplr'; write tg.fliplr(x)"),
        ("x.abs_", "Tensor has no attribute 'abs_'; tensors never change; write y = tg.abs(x)"),
        ("tg.relu_", "module 'tensorgraph' has no attribute 'relu_'; tensors never change; write y = tg.relu(x)"),
        ("nn.silu", "module 'tensorgraph.nn' has no attribute 'silu'; write tg.silu(x)"),
        ("nn.normal", "module 'tensorgraph.nn' has no attribute 'normal'"),
        ("tg.Linear", "module 'tensorgraph' has no attribute 'Linear'; write tg.nn.Linear"),
        ("x.at[0].mul", "x.at[...] has no attribute 'mul'; write x.at[0].multiply(2.0)"),
    ],
)  # fmt: skip
def test_functions_are_shown_where_they_are_looked_for(code: str, answer: str) -> None:
    with pytest.raises(AttributeError) as caught:
        eval(code, samples())
    assert str(caught.value) == answer


def test_names_of_rooms_are_answered_by_the_whole_library() -> None:
    for room in (nn, optim, data, train, tg.random):
        for name in vars(room)["__all__"]:
            if not hasattr(tg, name):
                with pytest.raises(AttributeError, match=r"; .*\b(tg|nn|optim|data)\.|; write "):
                    getattr(tg, name)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("tg.flatten(x, start_dim=1)", "write start_axis="),
        ("tg.vmap(f, in_dims=0)", "write in_axes="),
        ("tg.random.normal((2,), mean=1.0)", "write loc="),
        ("train.fit(model, x, learning_rate=0.1)", r"write lr="),
        ("data.Loader(x, drop_last=True)", 'write last="drop"'),
        ("optim.SGD(model, nesterov=True)", r"optim\.Momentum"),
        ("tg.zeros(2, 3)", r"write \(2, 3\)"),
        ("tg.random.uniform(2, 3)", r"write \(2, 3\)"),
    ],
)
def test_arguments_of_others_are_answered(code: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        eval(code, samples())


@pytest.mark.parametrize(
    ("make", "name", "remedy"),
    [
        (lambda: nn.Dropout(0.2), "p", "it is called 'rate' here"),
        (lambda: nn.BatchNorm(3), "weight", "it is called 'gamma' here"),
        (lambda: nn.Sequential(nn.Linear(2, 3)), "trainable", "write model.requires_grad_"),
        (lambda: nn.Linear(2, 3), "requires_grad", "write model.requires_grad_"),
        (lambda: optim.Adam(nn.Linear(2, 3)), "learning_rate", "write opt.lr"),
        (lambda: optim.SGD(nn.Linear(2, 3)), "lrr", "its settings are lr, weight_decay, clip_value, clip_norm"),
        (lambda: tg.Parameter([1.0]), "data", "changes by assign"),
        (lambda: tg.ones(3), "shape", r"write y = x.reshape\(0.5\)"),
        (lambda: tg.ones(3), "dtype", r"write y = x.astype\(0.5\)"),
    ],
)
def test_a_value_for_a_name_of_others_is_refused(make: Any, name: str, remedy: str) -> None:
    with pytest.raises(AttributeError, match=remedy):
        setattr(make(), name, 0.5)


def test_attributes_of_a_users_own_classes_are_free() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.layers, self.trainable, self.p = [nn.Linear(2, 3)], True, 0.5

    class Mine(optim.SGD):
        pass

    assert Net().p == 0.5
    optimizer, layer = Mine(nn.Linear(2, 3)), nn.Linear(2, 3)
    optimizer.learning_rate = layer.tag = 0.5
    assert optimizer.learning_rate == layer.tag


def test_requires_grad_is_set_as_pytorchs_users_do() -> None:
    model = nn.Linear(2, 3)
    model.weight.requires_grad = False
    assert not model.weight.requires_grad and model.bias.requires_grad
    with pytest.raises(ValueError, match="works on leaves"):
        (model.bias * 2).requires_grad = False


def test_nesterov_may_be_turned_on_later() -> None:
    def trained(optimizer: Any, step: Any = lambda call: call) -> Any:
        w = optimizer.parameters()[0]
        optimizer.minimize((w * w).sum())
        optimizer.nesterov = True
        step(lambda: optimizer.minimize((w * w).sum()))()
        return w.numpy()

    eager, compiled = (
        trained(optim.Momentum([tg.Parameter([1.0, -3.0])], lr=0.1), step) for step in (lambda f: f, tg.compile)
    )
    np.testing.assert_array_equal(eager, compiled)
