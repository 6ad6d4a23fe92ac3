"""``tensorgraph train`` with a text that is a whole training step: network, loss, gradients and update of its own."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from tensorgraph.commands.errors import CommandError, one_line
from tensorgraph.commands.plan import Plan, save_results
from tensorgraph.graph.graph import Graph

__all__ = ["is_step", "train_by_step"]


def is_step(model: Any) -> bool:
    """Whether a text updates parameters itself when it is called."""
    trained = {decl.var for decl in _step(model).cells if decl.requires_grad}
    return any(write.cell in trained for write in _step(model).writes)


def _step(model: Any) -> Graph:
    """The step for some sizes."""
    source = model.in_training
    graph: Graph = source if isinstance(source, Graph) else source.example(**model._known_sizes(source))
    return graph


def train_by_step(plan: Plan, *, check: bool = False) -> int:
    """Run the step over the data, test and save, or only `check` that it can be done; gives the exit code."""
    from tensorgraph.data import Loader, Normalizer
    from tensorgraph.train import evaluate

    model, parts, epochs = plan.model, plan.parts, plan.fit["epochs"]
    graph = _step(model)
    fixed = isinstance(model.in_training, Graph)
    size = graph.inputs[0].aval.shape[0] if fixed else plan.fit["batch_size"]
    normalizer = Normalizer().fit(parts.training.x)
    loader = Loader(
        normalizer.transform(parts.training.x), parts.training.y, batch_size=size, seed=plan.fit["seed"],
        last="drop" if fixed else "merge",
    )  # fmt: skip
    trained = [decl for decl in graph.cells if decl.requires_grad]
    count = sum(decl.aval.size for decl in trained)
    print(f"{plan.name}: {len(graph.equations)} ops, {count:,} parameters in {len(trained)} tensors")
    print(f"{parts.name}: {len(parts.training):,} samples to train on, {len(parts.test):,} to test on")
    takes = 1 if len(graph.in_tree.children) == 1 else 2  # an autoencoder's has no use for labels
    model.train()
    try:
        model.graph(*next(iter(loader))[:takes])
    except (TypeError, ValueError) as error:
        said = f"the step takes a batch of samples, and one of labels or nothing more: {one_line(error)}"
        raise CommandError(f"{plan.name}: {said}") from error
    if check:
        print(f"an update of its own, {epochs} epochs: nothing was trained")
        return 0
    plan.require_folder()
    loader.epoch = 0
    for epoch in range(epochs):
        began, losses = time.perf_counter(), []
        for batch in loader:
            losses.append(_loss(model(*batch[:takes])))
        took = time.perf_counter() - began
        print(f"epoch {epoch + 1}/{epochs}  loss {np.mean(losses):.4f}  {took:.2f} s")
    model.eval()
    if model.at_test_time is not model.in_training:
        measures = evaluate(model, parts.test, normalizer=normalizer)
        print("test: " + ", ".join(f"{name} {value:.4f}" for name, value in measures.items()))
    save_results(plan, normalizer, graph)
    return 0


def _loss(result: Any) -> float:
    """The first thing that a step gives."""
    from tensorgraph.engine.tree import flatten

    return float(flatten(result)[0][0])
