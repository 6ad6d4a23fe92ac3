"""What is measured: each case with its problem, the processes that take part, and the ratio it should reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GROUPS = {
    "eager": "eager overhead: 50 x (y*x, tanh) and a sum, 8 float32; PyTorch on one thread",
    "mix": "what ordinary code is made of: an array as operand, a scalar on the left, broadcasting, 8x8 matmul, ...",
    "operand": "calls beside two tensors of 4 float32, against the product of two tensors (the short path)",
    "graph": "graphs: 41 ops on 4 float32, and their written-out gradient, beside the same eager calls",
    "fused": "fused ops, forward and backward, float32",
    "elements": "whole powers, and rows taken by index, forward and backward, float32",
    "ops": "ops of the catalogue, forward and backward, float32; PyTorch with its default threads",
    "vmap": "a gradient an example, and a Jacobian by one batch, float32; the short path: one gradient, row by row",
    "ensemble": "64 networks trained side by side, from their making to the last epoch; eager: fit one after another",
    "compiled": "training steps, compiled: `tg.compile`; eager: the same step as it stands; peers as fast as they come",
    "inference": "predictions of one example and of a batch, compiled, batch norm by its running moments",
    "step": "training step: Linear, batch norm, ReLU, cross-entropy, Adam; tensorgraph and PyTorch eager, JAX compiled",
}
PEERS = ("eager", "torch", "torch.compile", "jax", "pytensor", "onnxruntime", "autograd", "numpy", "short path")


# of compiled steps: the largest part of the time of every peer, and of single ones
COMPILED = {"S": 0.25, "M": 1 / 1.6, "L": 1 / 1.1}
COMPILED_BESIDE = {
    "10,000 of 4-32-16-4, tanh": {"torch": 0.1, "jax": 1.0},
    "200 of 24-8-2, tanh": {"torch": 0.1, "jax": 1.0},
    "LeNet-5, 64 of 28x28": {"torch": 0.5},
    "LSTM, 32 of 50x128": {"torch": 1 / 1.5},
    "transformer, 32 of 64x128": {"torch": 1 / 1.5, "jax": 1.0},
}


# networks whose predictions are timed
PREDICTED = (
    "S: 64 of 64-32-10", "M: 64 of 784-256-128-10", "L: 256 of 1024-1024-1024-10", "LeNet-5, 64 of 28x28",
    "LSTM, 32 of 50x128", "transformer, 32 of 64x128",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes
    ----------
    group : str
        A key of `GROUPS`.
    label : str
    problem : str
        A key of each side's ``PROBLEMS``; a side without it takes no part.
    parameters : dict
    targets : dict of str to float
        For a peer, the largest ratio of tensorgraph's time to the peer's that is wanted.
    single_thread : bool
        Whether PyTorch runs on one thread.
    known : dict of str to float
        Results of `check` that are known beforehand, and must come out of every library.
    """

    group: str
    label: str
    problem: str
    parameters: dict[str, Any]
    targets: dict[str, float] = field(default_factory=dict)
    single_thread: bool = False
    known: dict[str, float] = field(default_factory=dict)


def every_case() -> list[Case]:
    """All cases, in the order of the table."""
    from benchmarks.nets import NETS
    from benchmarks.ops import OPS
    from benchmarks.problems import OPERANDS, TENTH_LOSS

    cases = [
        Case("eager", label, "chain", {"length": 50, "gradient": gradient}, {"torch": 0.6}, single_thread=True)
        for label, gradient in (("forward", False), ("forward+backward", True))
    ]
    cases += [
        Case("graph", label, "graph", {"of": of}, {"eager": target})
        for label, of, target in (
            ("forward", "value", 0.8),
            ("forward, recorded", "recorded value", 0.8),
            ("forward+backward", "gradient", 0.6),
        )
    ]
    cases += [
        Case("mix", label, "mix", {"gradient": gradient}, {"torch": 0.8}, single_thread=True)
        for label, gradient in (("forward", False), ("forward+backward", True))
    ]
    cases += [
        Case("operand", kind, "operand", {"kind": kind}, {} if limit is None else {"short path": limit})
        for kind, limit in OPERANDS.items()
    ]
    for op in ("softmax_cross_entropy", "softmax", "log_softmax"):
        for rows, classes in ((64, 10), (1024, 1000), (64, 50000)):
            parameters = {"op": op, "rows": rows, "classes": classes}
            cases.append(Case("fused", f"{op} {rows}x{classes}", "rowwise", parameters, {"torch": 1.0, "jax": 1.0}))
    for relu in (False, True):
        for rows, features in ((64, 64), (256, 256), (512, 1024), (4096, 1024)):
            wanted = 1.15 if rows == 4096 and not relu else 1.0
            cases.append(
                Case(
                    "fused",
                    f"batch_norm{'_relu' if relu else ''} {rows}x{features}",
                    "batch_norm",
                    {"rows": rows, "features": features, "relu": relu},
                    {"torch": wanted, "jax": wanted},
                )
            )
    for exponent in (3, -1):
        cases.append(Case("elements", f"x**{exponent} 131072", "power", {"exponent": exponent}, {"torch": 2.0}))
    for count, columns, rows in ((300, 32, 3228), (20_000, 64, 4096)):
        parameters = {"count": count, "columns": columns, "rows": rows}
        cases.append(Case("elements", f"{rows} of {count}x{columns}", "taking", parameters, {"torch": 2.0}))
    cases += [Case("ops", name, "op", {"name": name}, {"torch": problem.limit}) for name, problem in OPS.items()]
    targets = {"short path": 3.0, "torch": 1.0, "jax": 1.0}
    cases.append(Case("vmap", "64 of 64-256-128-10", "per_example", {"size": "digits"}, targets))
    cases.append(Case("vmap", "jacobian, 100 rows", "jacobian", {"size": "hundred"}, {"short path": 0.2}))
    for size, label, limit in (
        ("S", "64 of 64-32-10, 20 epochs", 1 / 6),
        ("demo", "64 of 64-256-128-10, 5 epochs", 0.5),
    ):
        cases.append(Case("ensemble", label, "ensemble", {"size": size}, {"eager": limit}))
    for size, loss in TENTH_LOSS.items():
        cases.append(Case("step", size, "step", {"size": size}, {"torch": 1.0}, known={"tenth loss": loss}))
    rivals = ("torch", "torch.compile", "jax", "pytensor")
    for name in NETS:
        targets = dict.fromkeys(rivals, COMPILED.get(name.partition(":")[0], 1.0)) | {"eager": 1.0}
        if name != "tiny":
            cases.append(Case("compiled", name, "net", {"name": name}, targets | COMPILED_BESIDE.get(name, {})))
    for name in PREDICTED:
        batch = NETS[name].batch
        for count in (1, batch):
            label, beside = (
                name.replace(f" {batch} of ", f" {count} of "),
                dict.fromkeys((*rivals, "onnxruntime", "eager"), 1.0),
            )
            cases.append(Case("inference", label, "predict", {"name": name, "count": count}, beside))
    return cases
