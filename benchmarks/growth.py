"""``python -m benchmarks growth``: how the time of what is done to a graph grows with the graph.

Each step is timed on a graph of 8,000 and on one of 32,000 equations; an exponent of 1 is time in proportion.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgraph as tg
from tensorgraph.graph.graph import Graph

__all__ = ["LARGEST", "SIZES", "exponents", "measure", "table"]

SIZES = (8_000, 32_000)
LARGEST = 1.2  # the exponent that is wanted
BLOCK = 5  # equations of one round of the loop below


def loss_of(equations: int) -> Callable[..., Any]:
    """A recurrence of about so many equations, with a softmax that is written out now and then."""

    def loss(x: Any, w: Any, b: Any) -> Any:
        h = x
        for n in range(equations // BLOCK):
            z = h @ w + b
            if n % 100 == 0:
                e = tg.exp(z - tg.max(z, axis=1, keepdims=True))
                z = e / tg.sum(e, axis=1, keepdims=True)
            h = tg.tanh(z) * 0.9 + h
        return h.mean()

    return loss


def inputs() -> list[Any]:
    """Numbers for the recurrence."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in ((2, 4), (4, 4), (4,))]


def steps(equations: int) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """By name: what is needed first, and what is timed."""
    loss, arrays = loss_of(equations), inputs()
    graph = tg.trace(loss, *arrays)
    gradient = tg.trace(tg.value_and_grad(loss, argnums=(0, 1, 2)), *arrays)
    text = str(graph)

    def fresh(of: Graph) -> Callable[[], Graph]:
        return lambda: of.replace()  # nothing is known of it yet

    return {
        "trace": (lambda: None, lambda _: tg.trace(loss, *arrays)),
        "print": (fresh(graph), str),
        "parse": (lambda: None, lambda _: tg.parse(text)),
        "differentiate": (fresh(gradient), Graph.differentiate),
        "simplify": (fresh(graph), Graph.simplify),
        "recognise": (fresh(graph), Graph.recognise),
        "run": (fresh(graph), lambda g: g(*arrays)),
        "run again": (lambda: graph, lambda g: g(*arrays)),
        "run its gradient": (gradient.differentiate, lambda g: g(*arrays)),
        "draw": (fresh(graph), lambda g: tg.draw(g).text()),
    }


def measure(sizes: tuple[int, ...] = SIZES, repeats: int = 2, told: Callable[[str], None] = print) -> dict[str, Any]:
    """Seconds of each step at each size: the least of some repeats."""
    seconds: dict[str, list[float]] = {}
    for size in sizes:
        for name, (prepare, run) in steps(size).items():
            told(f"{name} of {size:,} equations")
            best = math.inf
            for _ in range(repeats):
                given = prepare()
                gc.collect()
                start = time.perf_counter()
                run(given)
                best = min(best, time.perf_counter() - start)
            seconds.setdefault(name, []).append(best)
    return {"sizes": sizes, "seconds": seconds}


def exponents(results: dict[str, Any]) -> dict[str, float]:
    """By which power of the number of equations each time grows, from the first size to the last."""
    first, *_, last = results["sizes"]
    return {name: math.log(t[-1] / t[0]) / math.log(last / first) for name, t in results["seconds"].items()}


def table(results: dict[str, Any]) -> str:
    """The results as a person reads them."""
    lines = [f"{'':18}" + "".join(f"{size:>12,}" for size in results["sizes"]) + f"{'exponent':>12}"]
    for name, exponent in exponents(results).items():
        times = "".join(f"{t:>10.3f} s" for t in results["seconds"][name])
        lines.append(f"{name:18}{times}{exponent:>12.2f}" + ("" if exponent <= LARGEST else f"  over {LARGEST}"))
    return "\n".join(lines)
