"""What happens inside the library is told of the user's line, and generated source can be seen."""

import linecache
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

SCRIPT = """\
import numpy as np, tensorgraph as tg
x = tg.tensor([0.0, 1.0], requires_grad=True)
tg.log(x)
y = np.log(x.numpy())
tg.tensor(np.float64(1e300)).astype(
    "float32")
tg.CATALOGUE["sum"].public(tg.tensor(np.full(2, 6e4, np.float16)), dtype="float16")
z = tg.log(x[1:] + 0.0) / x[1:]
tg.sqrt(x).sum().backward()
g = tg.trace(tg.log, tg.f32[2])
g(x)
for _ in range(3):
    1.0 / x
np.log(x)
"""


def run(folder: Path, *options: str, script: str = SCRIPT) -> str:
    path = folder / "user.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, "-P", *options, str(path)], capture_output=True, text=True, cwd=folder)
    return done.stderr


def test_warnings_of_numpy_are_told_of_the_users_line(tmp_path: Path) -> None:
    said = [line for line in run(tmp_path).splitlines() if "Warning" in line]
    assert all(line.startswith(str(tmp_path / "user.py")) for line in said), said
    lines = [int(line.split(":")[1]) for line in said]
    assert sorted(set(lines)) == [3, 4, 5, 7, 9, 11, 13, 14], said
    assert len(lines) == len(set(lines)), "once a line"
    assert "divide by zero encountered in log" in said[0]


@pytest.mark.parametrize(("option", "said"), [("error", "RuntimeWarning: divide by zero"), ("ignore", "")])
def test_the_filters_of_the_user_count(tmp_path: Path, option: str, said: str) -> None:
    text = run(tmp_path, "-W", f"{option}::RuntimeWarning")
    assert (said in text if said else not text) and ("line 3," in text or not said), text


def steps() -> dict[str, Any]:
    """What warns, by what runs it: eager, backward, a graph, an optimiser's step."""
    x = tg.tensor([0.0, -1.0, 1.0], requires_grad=True)
    big = tg.tensor([3e38, 3e38])
    with np.errstate(all="ignore"):
        y, z = tg.sqrt(x).sum(), tg.log(x).sum()
        graph = tg.trace(lambda v: tg.log(v) * tg.exp(v), tg.f32[3])
        compiled = tg.trace(lambda v: tg.log(v) * tg.exp(v), tg.f32[3])
        for _ in range(20):
            compiled(np.zeros(3, np.float32))
        gradient = tg.trace(tg.grad(lambda v: tg.sqrt(v).sum()), tg.f32[3])
    optimizer = tg.optim.Adam(tg.nn.Linear(2, 2), 1e30)
    for p in optimizer.parameters():
        p.grad = tg.full(p.shape, 3e38)
    return {
        "op": lambda: tg.log(x), "operator": lambda: 1.0 / x, "numpy": lambda: np.log(x), "product": lambda: big @ big,
        "power": lambda: x**-1, "cast": lambda: tg.tensor([np.nan]).astype("int64"),
        "full": lambda: tg.full((2,), 1e300, dtype="float32"),
        "backward": lambda: y.backward(), "gradients": lambda: tg.gradients(z, x, create_graph=True),
        "grad": lambda: tg.grad(lambda v: tg.sqrt(v).sum())(tg.zeros(2)),
        "graph": lambda: graph(np.array([0, -1, 1e3], np.float32)),
        "function": lambda: compiled(np.array([0, -1, 1e3], np.float32)),
        "graph of a gradient": lambda: gradient(np.zeros(3, np.float32)),
        "bound": lambda: graph.bind()(np.array([0, -1, 1e3], np.float32)),
        "step": lambda: composed(optimizer.step), "checkpoint": lambda: tg.checkpoint(tg.log)(x),
        "custom": lambda: tg.custom_vjp(forward=lambda v: (tg.log(v), None), backward=lambda r, g: (g,))(x),
        "vmap": lambda: tg.vmap(tg.log)(x), "composed": lambda: composed(lambda: 1 / x),
    }  # fmt: skip


def composed(call: Any) -> Any:
    with tg.implementation("composed"):
        return call()


@pytest.mark.parametrize("action", ["always", "default", "module", "once", "error"])
def test_within_a_process_too(action: Any) -> None:
    for name, call in steps().items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            if action == "error":
                with pytest.raises(RuntimeWarning, match="encountered in"):
                    call()
                continue
            call()
        assert caught and {w.filename for w in caught} == {__file__}, (name, [str(w) for w in caught])
        lines = {call.__code__.co_firstlineno, composed.__code__.co_firstlineno + 2}
        assert all(w.category is RuntimeWarning and w.lineno in lines for w in caught), (name, [str(w) for w in caught])


def test_each_line_is_told_and_numpys_own_stay() -> None:
    x = tg.tensor([0.0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            tg.log(x)
            tg.log(x)
            np.log(np.zeros(1))
        warnings.warn("divide by zero encountered by hand", RuntimeWarning, stacklevel=1)
    first = caught[0].lineno
    assert [w.lineno - first for w in caught] == [0, 1, 2, 3] and {w.filename for w in caught} == {__file__}


def test_a_call_within_numpy_may_be_silenced_and_caught() -> None:
    x = tg.tensor([0.0])
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        tg.log(x)
    assert not caught
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        tg.log(x)
    with pytest.warns(RuntimeWarning, match="divide by zero encountered in log"):
        tg.log(x)


def test_generated_source_can_be_seen() -> None:
    assert (np.ones(2, np.float32) + tg.ones((2,))).shape == (2,)  # the reflected form has a source of its own
    for name in ("add", "concatenate", "softmax", "uniform"):
        code = tg.CATALOGUE[name].public.__code__
        assert code.co_name == name and linecache.getline(code.co_filename, 1).startswith(f"def {name}(")
        linecache.checkcache()
        assert "_mode()" in "".join(linecache.getlines(code.co_filename)[1:3])
    try:
        tg.add(tg.ones((2,)), tg.ones((3,)))
    except ValueError as error:
        shown = "".join(traceback.format_exception(error))
    assert "in add" in shown and "_error(_op, (a, b,)" in shown
