"""tensorgraph without a graph, and one network after another: what its graphs and ensembles are compared with."""

from __future__ import annotations

from typing import Any

import tensorgraph as tg
from benchmarks.problems import Prepared, digest, networks
from benchmarks.side_tensorgraph import adam, describe, samples, sequential, small_ops, small_ops_inputs

__all__ = ["PROBLEMS", "describe"]


def graph(of: str) -> Prepared:
    """Small ops called one after another, or their value and gradient."""
    gradient = of == "gradient"
    arguments = small_ops_inputs(of == "recorded value")
    function = tg.value_and_grad(small_ops, argnums=(0, 1)) if gradient else small_ops

    def check() -> dict[str, Any]:
        result = function(*arguments)
        if not gradient:
            return {"value": float(result)}
        value, grads = result
        return {"value": float(value), "gradients": [n for g in grads for n in digest(g)]}

    return Prepared(lambda: function(*arguments), check)


def ensemble(size: str) -> Prepared:
    """Networks one after another, each made and trained by `fit`."""
    from tensorgraph import train

    epochs, problem = networks(size)
    x, y, batch_size = samples(problem)

    def one(k: int) -> Any:
        model = sequential([{name: a[k] for name, a in layer.items()} for layer in problem.layers])
        return train.fit(
            model, (x, y), optimizer=adam(model.parameters()), epochs=epochs, batch_size=batch_size, shuffle=False,
            metrics=(), progress=False,
        )  # fmt: skip

    def run() -> list[Any]:
        return [one(k) for k in range(len(problem.layers[0]["weight"]))]

    return Prepared(run, lambda: {"losses": digest([history["loss"] for history in run()])})


def net(name: str) -> Prepared:
    """A training step, as it stands."""
    from benchmarks.nets_tensorgraph import prepared

    return prepared(name, compiled=False)


def predict(name: str, count: int) -> Prepared:
    """A forward at test time."""
    from benchmarks.nets_tensorgraph import predicting

    return predicting(name, count, compiled=False)


PROBLEMS = {"graph": graph, "ensemble": ensemble, "net": net, "predict": predict}
