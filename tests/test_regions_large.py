"""Names of parts in programs of the size that people train: in texts, in pictures, in reports and after each pass."""

import numpy as np
import pytest
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph.graph import Graph
from tensorgraph.passes.rewriting.regions import PartError, Region
from tensorgraph.text.names import names

PASSES = {
    "simplify": lambda g: g.simplify(),
    "recognise": lambda g: g.recognise(),
    "expand": lambda g: g.expand(),
    "differentiate": lambda g: g.differentiate(),
    "transform": lambda g: g.transform(),
    "rewrite": lambda g: g.rewrite(tg.relu, lambda x: tg.maximum(x, 0.0), equal=False),
    "products": lambda g: g.rewrite(lambda x, w: x @ w, lambda x, w: tg.alias(x) @ w, exact=True),
}
ASKED = 20  # names of a program that are tried after each pass: from all over it
LARGE = ("transformer loss", "transformer step", "flat")
SOME = [
    pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name
    for name in PROGRAMS
]  # fmt: skip


def said(graph: Graph) -> dict[str, str]:
    """What a user calls parts of a graph: modules, functions, values and cells."""
    found: dict[str, str] = {}
    for eq in graph.equations:
        for call in () if eq.call is None else eq.call.callers():
            if call.parent is not None:
                found[call.name if call.kind == "function" else call.path] = call.kind
            found |= {call.names[out]: "value" for out in eq.outputs if call.names.get(out)}
    found |= {var.name: "value" for var in graph.variables() if var.name}
    found |= {decl.path: "cell" for decl in graph.cells}
    found.pop("", None)
    return found


def part(graph: Graph, name) -> Region | PartError:
    try:
        return graph[name]
    except PartError as error:
        return error


def numbers_of(region: Region, drawn) -> list[np.ndarray]:
    args = [drawn(i, v.aval) for i, v in enumerate(region.inputs)]
    state = {decl.path: drawn(decl.path, decl.var.aval) for decl in region.cells}
    results = region(*args, state=state) if state else region(*args)
    return [r.numpy() for r in (results if isinstance(results, tuple) else (results,))]


def drawn(key, aval):
    rng = np.random.default_rng(sum(map(ord, str(key))))
    if aval.dtype.kind == "f":
        return tg.tensor(rng.uniform(0.5, 1.5, aval.shape), aval.dtype.name)
    return tg.tensor(rng.integers(0, 2, aval.shape).astype(aval.dtype))


def types(variables):
    return [str(v.aval) for v in variables]


@pytest.mark.sampled(test=9, quick=2)
@pytest.mark.parametrize("program", SOME)
def test_a_name_means_the_same_after_each_pass_or_it_is_told(program):
    graph = PROGRAMS[program]()
    called = said(graph)
    some = list(called)[:: max(1, len(called) // ASKED)]
    before = {name: part(graph, name) for name in some}
    assert program == "flat" or sum(isinstance(p, Region) for p in before.values()) > 3
    for step, change in PASSES.items():
        changed = change(graph)
        for name, was in before.items():
            now = part(changed, name)
            if isinstance(now, PartError):  # several as before, or rewritten
                several = isinstance(was, PartError) and f"are called {name!r}" in str(now)
                assert several or "rewrote it" in str(now), (step, name, str(now))
                continue
            assert isinstance(was, Region), (step, name, "there were several, and one is left without a word")
            if now.changes() or now.graph == was.graph:
                continue  # it tells what was done to it
            assert (types(now.inputs), types(now.outputs)) == (types(was.inputs), types(was.outputs)), (step, name)
            for a, b in zip(numbers_of(now, drawn), numbers_of(was, drawn), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=f"{step} {name}")


@pytest.mark.parametrize("program", SOME)
def test_what_the_text_says_is_that_part(program):
    graph = PROGRAMS[program]()
    flat = graph.text(flat=True)
    for var, name in list(names(graph).items())[:: 1 if len(graph.equations) < 400 else 7]:
        assert name in flat
        found = part(graph, name)
        if isinstance(found, PartError):
            assert "are called" in str(found)  # what a user calls several values, the text calls one of them
            found = next(p for p in (part(graph, (name, n)) for n in range(99)) if var in p.outputs)
        assert var in found.outputs or var in {out for eq in found.equations for out in eq.outputs}, name
    for name, kind in said(graph).items():
        if kind == "module":
            found = part(graph, name)
            assert isinstance(found, PartError) or found.equations, name


@pytest.mark.parametrize("program", ["residual forward", "vae step", "attention forward", "lstm forward", "gan step"])
def test_pictures_show_that_part(program):
    graph = PROGRAMS[program]()
    for name, kind in said(graph).items():
        found = part(graph, name)
        if isinstance(found, PartError) or not found.numbers or kind == "cell":
            continue
        of_name, of_part = (tg.draw(graph, focus=f, hops=0, level="op") for f in (name, found))
        members = [{n for node in d.nodes for n in node.members} for d in (of_name, of_part)]
        assert set(found.numbers) <= members[1], name
        assert members[0] == members[1], name


def test_a_class_of_modules_is_all_of_its_parts():
    graph = PROGRAMS["residual forward"]()
    with pytest.raises(PartError, match=r"12 parts of Residual are called 'ResidualBlock': 0: module .* blocks\.0, "):
        graph["ResidualBlock"]
    assert graph["ResidualBlock", 3] == graph["blocks.3"]
    assert graph["BatchNorm", 2] == graph["blocks.2.norm"]
    assert PROGRAMS["attention forward"]()["Linear", 0].name == "Linear"


def test_a_result_that_is_called_as_its_module():
    graph = PROGRAMS["vae step"]()
    assert len(graph["mean"].equations) == 2 and len(graph["log_var"].equations) == 2


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("blocks.1.secnd", lambda x: x, "no part of Residual is called 'blocks.1.secnd'; there are blocks.1.second, "),
        ("stem.weigt", lambda w: w, "there are stem.weight, "),
        ("blocks.12", lambda x: x, "there are blocks.2, blocks.1, blocks.11"),
        ("h", lambda x: x, "no part of Residual is called 'h'; there are "),
        ("x", lambda x: x, r"called 'x': 0: the argument x: f32\[32, 8\]; 1: x_2 = .*\('x', 0\)"),
        (("x", 99), lambda x: x, "there are 13 parts called 'x', no number 99"),
        ("Linear", lambda x: x, "26 parts of Residual are called 'Linear': 0: module Linear stem, 2 equations"),
        ("blocks.1", lambda x: x[:, :3], r"gives f32\[32, 3\] where f32\[32, 16\] stood"),
        ("blocks.1", lambda x: x.astype("float64"), r"gives f64\[32, 16\] where f32\[32, 16\] stood"),
        ("blocks.1", lambda x: (x, x), "gives 2 values where one value stood"),
        ("blocks.1", lambda x: None, "gives 0 values where one value stood"),
        ("blocks.1", lambda x: "a", "gives str where a tensor"),
        ("blocks.1.second", lambda x, wait: x, r"called with \(v\d+: f32.*; cells by their names: .*takes \(x, wait\)"),
        ("blocks.1.second", lambda: 1.0, r"the function takes \(\)"),
    ],
)  # fmt: skip
def test_what_cannot_stand_there_is_refused(name, function, words):
    with pytest.raises((KeyError, ValueError, TypeError), match=words):
        PROGRAMS["residual forward"]().replace_at(name, function)


def test_a_function_of_a_weight_stands_in_its_layer():
    graph = PROGRAMS["residual forward"]()
    for decl in graph.cells:
        if decl.path.endswith("weight"):
            graph = graph.replace_at(decl.path, lambda w: tg.round(w * 127.0) / 127.0)
    text = str(graph.check())
    assert "return x @ (round(weight * 127.0) / 127.0) + bias" in text and text.count("round(") == 1
    assert tg.parse(text) == graph
    assert {eq.scope for eq in graph.equations if eq.op.name == "round"} == {
        decl.path.rpartition(".")[0] for decl in graph.cells if decl.path.endswith("weight")
    }


def test_a_weight_that_several_read_is_replaced_before_them():
    shared = tg.nn.Linear(3, 3, seed=0)
    graph = tg.trace(lambda x: shared(tg.relu(shared(x))), tg.f32[2, 3])
    after = graph.replace_at("weight", lambda w: w * 2.0).check()
    assert [eq.op.name for eq in after.equations][0] == "multiply"
    x = np.ones((2, 3), np.float32)
    w = shared.weight.numpy() * 2.0  # its biases are zero
    np.testing.assert_allclose(after.bind()(x).numpy(), np.maximum(x @ w, 0.0) @ w, rtol=1e-5)
