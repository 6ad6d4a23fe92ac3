"""What importing leaves for later is there when it is asked for, in whatever order and by however many threads."""

import re
import subprocess
import sys

import pytest

import tensorgraph as tg
from tensorgraph.engine import signature
from tensorgraph.engine.op import CATALOGUE


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_graphs_transforms_and_random_numbers_are_not_loaded_at_once() -> None:
    code = "import sys, tensorgraph as tg; (tg.ones(3) * 2.0).sum(); print(*sorted(sys.modules))"
    loaded = {name for name in run(code).split() if name.startswith("tensorgraph.")}
    late = {name for name in loaded if re.match(r"tensorgraph\.(graph\.|transforms|random|text|nn|numpy)", name)}
    assert not late


def test_the_array_namespace_imports_no_rooms_of_numpy() -> None:
    code = "import sys, tensorgraph as tg; b = {*sys.modules}; tg.linalg, tg.numpy; print(*{*sys.modules} - b)"
    loaded = {name for name in run(code).split() if name.startswith("numpy.")}
    assert not loaded & {"numpy.testing", "numpy.f2py", "numpy.ctypeslib", "numpy.polynomial", "numpy.rec"}


@pytest.mark.parametrize(
    "first",
    [
        "import tensorgraph.graph",
        "import tensorgraph.graph.trace, tensorgraph.graph.graph",
        "from tensorgraph.graph import Graph, graph, trace",
        "from tensorgraph import nn",
        "tg.ones(2).__array_ufunc__",
        "tg.random.normal((2,))",
        "tg.grad",
    ],
)
def test_the_function_graph_stays_the_function(first: str) -> None:
    code = f"import tensorgraph as tg\n{first}\nx = tg.tensor([1.0, 2.0], requires_grad=True)\n"
    code += "g = tg.graph((x * x).sum())\nassert tg.trace(lambda x: (x * x).sum(), tg.ones(2)).check()\n"
    code += "import tensorgraph.graph as again\nfrom tensorgraph.graph import Graph\n"
    code += "assert type(g) is Graph is tg.Graph and callable(tg.graph)\nprint(len(g.equations))"
    assert run(code) == "2"


def test_several_threads_may_open_it() -> None:
    code = """
import threading, numpy as np, tensorgraph as tg
start, out = threading.Barrier(8), []
def work(i):
    start.wait()
    ways = [
        lambda: tg.trace(lambda x: x + 1.0, tg.ones(2))(tg.ones(2)), lambda: np.add(np.ones(2, "f4"), tg.ones(2)),
        lambda: tg.grad(lambda x: (x * x).sum())(tg.ones(2)), lambda: tg.vmap(lambda x: x * 2.0)(tg.ones(2)),
    ]
    out.append(ways[i % 4]().numpy().tolist())
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
[t.start() for t in threads], [t.join(60) for t in threads]
assert out == [[2.0, 2.0]] * 8, out
"""
    run(code)


@pytest.mark.parametrize(
    "call",
    ["np.sin(x)", "np.ones(2, 'f4') + x", "np.sum(x)", "x.__array_namespace__().sin(x)", "np.concatenate([x, x])"],
)
def test_numpy_finds_tensors_at_its_first_call(call: str) -> None:
    assert run(f"import numpy as np, tensorgraph as tg\nx = tg.ones(2)\nprint(type({call}).__name__)") == "Tensor"


def test_signatures_are_read_as_python_reads_them() -> None:
    """Without its parser for the whole catalogue, and to the same."""
    for declared in CATALOGUE.values():
        sig = declared.signature
        inputs = [f"{f'[{i}]' if i in sig.lists else i}{'=None' * (i in sig.optional)}" for i in sig.inputs]
        attrs = [
            f"{name}: {sig.types[name]}" + ("" if default is signature.REQUIRED else f" = {default!r}")
            for name, default in sig.attrs.items()
        ]
        arguments = ", ".join([*inputs, *["*"] * bool(attrs), *attrs])
        read = signature._read("", arguments)
        assert signature._plain(arguments) in (read, None)
        assert (read[0], read[3]) == (sig.inputs, sig.attrs)


@pytest.mark.parametrize(
    "arguments",
    [
        "x", "", "x, y", "[x], y=None", "x, *, n", "*, n", "x, *, n=1, m=-1, k=1e-5, l=-0.5, s='a_b', t=None, u=True",
        "x, *, a: int, b: float = 1.0, c: Literal['a', 'b'] = 'a', d: Literal[0, 1, 'N'] = 0, e: int | None=None",
        "x, *, a=(1, 2)", "x, *, a={'b': 1}", "x, *, a: list[tuple[int, int]] = 0", "x,y", "x , y", "x, *, a = 2",
        "x, *, a: int|None = None", "x, *, a='b, c'", "x, *, a=1_0", "x, *, a=1 - 1",
    ],
)  # fmt: skip
def test_what_is_read_without_the_parser_is_what_the_parser_reads(arguments: str) -> None:
    plain = signature._plain(arguments)
    try:
        read = signature._read("", arguments)
    except ValueError:
        read = None
    assert plain in (read, None)
    if read is not None and re.fullmatch(r"[\w\[\], =*'.|:-]*", arguments):
        for name, value in (plain or read)[3].items():
            assert type(value) is type(read[3][name])


@pytest.mark.parametrize(
    "text",
    ["f(x, *)", "f(x, *, class=1)", "f(class)", "f(x=None, y)", "f(x, x)", "f(x, *, a=1, a=2)", "f(_x)", "f(x, *, 1a)",
     "f(x, *, impl=None)", "f(x) -> *a, b", "f(x", "f", "f(x, *, a=01)"],
)  # fmt: skip
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="signature"):
        tg.op(text, lambda *args, **attrs: args[0])


@pytest.mark.parametrize("name", ["compile.resizing", "compile.compiled", "graph.trace", "graph.program"])
def test_modules_of_a_room_that_is_also_a_function_can_be_named(name: str) -> None:
    room = name.partition(".")[0]
    for first in ("", f"tg.{room}; ", f"import tensorgraph.{name}; "):
        code = (
            f"import tensorgraph as tg; {first}import tensorgraph.{name} as m; print(m.__name__, callable(tg.{room}))"
        )
        assert run(code) == f"tensorgraph.{name} True"
