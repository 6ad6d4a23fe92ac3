"""einops on tensors: its results are those on arrays, in whatever order the packages are imported."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

einops = pytest.importorskip("einops")

X = np.arange(24.0).reshape(2, 3, 4)
CALLS: dict[str, Any] = {
    "a transpose": lambda x: einops.rearrange(x, "a b c -> c (b a)"),
    "axes apart": lambda x: einops.rearrange(x, "a b (c d) -> a d b c", d=2),
    "a list": lambda x: einops.rearrange([x, x], "n a b c -> a n b c"),
    "maxima": lambda x: einops.reduce(x, "a b c -> b", "max"),
    "minima": lambda x: einops.reduce(x, "a b c -> b 1", "min"),
    "sums": lambda x: einops.reduce(x, "a b c -> a c", "sum"),
    "products": lambda x: einops.reduce(x, "a b c -> ", "prod"),
    "means": lambda x: einops.reduce(x, "a b (c d) -> a b c", "mean", d=2),
    "repeats": lambda x: einops.repeat(x, "a b c -> a (b n) c", n=3),
    "einsum": lambda x: einops.einsum(x, x, "a b c, a d c -> b d"),
    "pack": lambda x: einops.pack([x, x], "a * c")[0],
}


@pytest.mark.parametrize("name", CALLS)
def test_einops_gives_what_it_gives_for_arrays(name: str) -> None:
    call = CALLS[name]
    out, expected = call(tg.tensor(X)), call(X)
    assert isinstance(out, tg.Tensor) and np.allclose(out.numpy(), expected, rtol=1e-14)
    weights = np.cos(np.arange(out.size)).reshape(out.shape)
    graph = tg.trace(call, tg.tensor(X))
    assert tg.parse(str(graph)) == graph
    slopes = [tg.grad(lambda x, f=f: (f(x) * weights).sum())(X).numpy() for f in (graph, call)]
    assert np.allclose(slopes[0], slopes[1]) and slopes[1].any()
    assert np.allclose(tg.vmap(call)(np.stack([X, 2 * X]))[1].numpy(), call(2 * X))


@pytest.mark.parametrize("first", ["import einops, tensorgraph as tg", "import tensorgraph as tg, einops"])
def test_the_order_of_imports_does_not_matter(first: str) -> None:
    code = f"{first}\nimport sys\nassert all(type(f).__module__ != 'tensorgraph.ops.rearranging' "
    code += "for f in sys.meta_path)\nprint(einops.rearrange(tg.ones((2, 3)), 'a b -> b a').shape)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(3, 2)", done.stderr
