"""The table that `Module.summary` gives: layers, output shapes, numbers of parameters."""

from __future__ import annotations

from typing import Any

from tensorgraph.engine.spec import require_sizes
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.trace import trace
from tensorgraph.nn.module import Module

__all__ = ["Summary", "summarise"]


class Summary:
    """A printed table of a model; ``rows`` holds (path, kind, output, parameters)."""

    def __init__(self, rows: list[tuple[str, str, str, int]], total: str) -> None:
        self.rows = rows
        self.total = total

    def __repr__(self) -> str:
        head = ("layer", "kind", "output", "parameters")
        cells = [(path, kind, output, f"{n:,}") for path, kind, output, n in self.rows]
        if all(not row[2] for row in cells):
            head, cells = (*head[:2], head[3]), [(a, b, d) for a, b, _, d in cells]  # type: ignore[assignment,misc]
        widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
        rule = "  ".join("-" * width for width in widths)

        def line(row: Any) -> str:
            parts = [text.ljust(width) for text, width in zip(row[:-1], widths, strict=False)]
            return "  ".join([*parts, row[-1].rjust(widths[-1])])

        return "\n".join([line(head), rule, *[line(row) for row in cells], rule, self.total])

    __str__ = __repr__


def summarise(model: Module, examples: tuple[Any, ...]) -> Summary:
    """See `Module.summary`."""
    outputs: dict[int, str] = {}
    if examples:
        outputs = _outputs(model, examples)
    rows = [
        (path, type(module).__name__, outputs.get(id(module), ""), sum(p.size for p in module.parameters()))
        for path, module in model.named_modules()
    ]
    parameters = model.parameters()
    trained = sum(p.size for p in parameters if p.requires_grad)
    size = _bytes(sum(p.nbytes for p in parameters))
    buffers = sum(b.size for b in model.buffers())
    total = f"{rows[0][3]:,} parameters ({size}), {trained:,} trained; {buffers:,} buffers"
    return Summary(rows, total)


def _outputs(model: Module, examples: tuple[Any, ...]) -> dict[int, str]:
    """What each module gives, from one trace in test mode: no numbers are computed and no state changes."""
    outputs: dict[int, str] = {}
    modules = model.modules()
    training = [module.training for module in modules]

    def watch(module: Module) -> Any:
        forward = module.forward

        def watched(*args: Any, **kwargs: Any) -> Any:
            result = forward(*args, **kwargs)
            leaves = [leaf for leaf in flatten(result)[0] if isinstance(leaf, Tensor)]
            outputs[id(module)] = ", ".join(str(leaf.aval) for leaf in leaves)
            return result

        return watched

    require_sizes("summary", examples)
    try:
        model.eval()
        for module in modules:
            module.__dict__["forward"] = watch(module)
        trace(lambda *xs: model(*xs), *examples)
    finally:
        for module, was in zip(modules, training, strict=True):
            module.__dict__.pop("forward", None)
            object.__setattr__(module, "training", was)
    return outputs


def _bytes(n: int) -> str:
    size = float(n)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
