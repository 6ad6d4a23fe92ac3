"""What has no derivative, said where it would otherwise be a silent zero: results that are no tensors, and parameters
that are handed to a transform while its function reads the model's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.backward import reachable
from tensorgraph.engine.cells import Cell, Recording, holder
from tensorgraph.engine.exits import depends
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import flatten
from tensorgraph.ops.structure import alias

if TYPE_CHECKING:
    from tensorgraph.engine.op import Op
    from tensorgraph.graph.building import Trace

__all__ = ["CellArguments", "depends_on", "name_of", "require_one", "require_tensors", "unused"]


def name_of(function: Any) -> str:
    """What messages call a function."""
    return getattr(function, "__name__", None) or "the function"


def require_one(y: Any, name: str) -> None:
    """Refuse what has no gradient: anything but a tensor of one float element."""
    if not isinstance(y, Tensor):
        raise TypeError(f"{name} must return a Tensor of one element to be differentiated, got {type(y).__name__}")
    if y.size != 1 or y.dtype.kind != "f":
        raise TypeError(
            f"{name} must return one float element to be differentiated, got {y.aval}; reduce it with .sum(), or "
            "use tensorgraph.jacobian or tensorgraph.vjp"
        )


def require_tensors(leaves: Sequence[Any], name: str) -> None:
    """Refuse results that hold anything but tensors, or no float at all. Integers beside floats have no derivative."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    for leaf in leaves:
        if not isinstance(leaf, Tensor) and not (isinstance(leaf, int) and tensors):
            raise TypeError(
                f"{name} must return Tensors to be differentiated, got {type(leaf).__name__}; compute it with "
                "tensorgraph's functions"
            )
    if not any(t.dtype.kind == "f" for t in tensors):
        came = ", ".join(str(t.aval) for t in tensors) or "nothing"
        raise TypeError(f"{name} must return float Tensors to be differentiated, got {came}")


PLAIN = (Tensor, np.ndarray, float)


class CellArguments:
    """Parameters among the arguments of a transform, and whether its function reads them past the
    arguments: ``tg.grad(lambda w: model(x))(model.weight)`` moves a copy of the weight that nobody looks at.

    Parameters
    ----------
    given : sequence
        The arguments as they came: trees.
    lifted : sequence of Tensor
        The transform's own names for them.
    """

    def __init__(self, given: Sequence[Any], lifted: Sequence[Tensor]) -> None:
        self.pairs: list[tuple[Any, Tensor]] = []
        self.reads: Recording | None = None
        self.given, self.lifted = given, lifted
        trace = modes.current().trace
        if trace is None and all(type(tree) in PLAIN for tree in given) and all(type(t._node) is Leaf for t in lifted):
            return
        for g, own in zip(flatten(list(given))[0], lifted, strict=True):
            # in eager code only what stands for a history can stand for a parameter
            stands = trace is not None or (isinstance(g, Tensor) and (isinstance(g, Cell) or own._node.op is alias))
            if stands:
                self.pairs.append((g, own))
        bare = any(isinstance(g, Cell) and g._node is None for g, _ in self.pairs)
        # a frozen parameter and a buffer are on no tape: only who reads them can say so
        if bare and trace is None:
            self.reads = Recording(modes.current().cells)

    def watched(self) -> contextlib.AbstractContextManager[None]:
        """The modes in which the function runs."""
        return contextlib.nullcontext() if self.reads is None else modes.use(cells=self.reads)

    def refuse_unused(self, ys: Iterable[Any], name: str) -> None:
        """Raise where a result depends on a cell itself and not on the argument that stands for it."""
        trace = modes.current().trace
        found = [y for y in ys if isinstance(y, Tensor)]
        for given, own in self.pairs:
            if trace is None:
                cell = _named(own._node)
                source = None if cell is None else cell._node
                ends = [y._node for y in found if y._node is not None]
                missed = not any(depends(y, [own._node]) for y in ends) and (
                    (source is not None and any(depends(y, [source], past=alias) for y in ends))
                    or (self.reads is not None and given in self.reads.entry)
                )
            else:
                cell = _read_as(trace, given, own)
                variables = [y._value for y in found]
                missed = (
                    cell is not None
                    and not any(trace.depends(y, [own._value]) for y in variables)
                    and any(trace.depends(y, [trace.cells_read()[cell]], past=alias) for y in variables)
                )
            if missed:
                label = (given if cell is None else cell)._label()
                raise unused(name, f"the {label}")
        self._refuse_copies(found, name)

    def _refuse_copies(self, ys: Sequence[Tensor], name: str) -> None:
        """Raise where an argument that no result depends on lies in the memory of a parameter that they do depend on,
        as what `functional`, `detach()` and `numpy()` give."""
        ends = [y._node for y in ys if y._node is not None]
        rest = iter(self.lifted)
        if modes.current().trace is not None or not ends:
            return
        for tree in self.given:
            one = type(tree) in PLAIN or isinstance(tree, Tensor)
            own = [next(rest) for _ in range(1 if one else len(flatten(tree)[0]))]
            if any(depends(y, [t._node for t in own]) for y in ends):
                continue
            owners = [node.owner for node in reachable(ends) if type(node) is Leaf and node.owner is not None]
            # what another argument stands for is not read past it
            read = [cell for owner in owners if (cell := owner()) is not None]
            read = [cell for cell in read if any(depends(y, [cell._node], past=alias) for y in ends)]
            held = [leaf._value if isinstance(leaf, Tensor) else leaf for leaf in flatten(tree)[0]]
            for cell in [holder(v, read) for v in held if type(v) is np.ndarray]:
                if cell is not None:
                    raise unused(name, f"the {cell._label()}, or numbers in its memory,")


def _read_as(trace: Trace, given: Any, own: Tensor) -> Cell | None:
    """The cell that an argument stands for, or in whose memory it lies, if the trace has read it."""
    var = own._value
    while (made := trace.producer.get(var)) is not None and made.op is alias:
        (var,) = made.inputs
    read = trace.cells_read()
    value = given._value if isinstance(given, Tensor) else given
    found = holder(value if type(value) is np.ndarray else trace.stands.get(var), read)
    return found if found is not None else next((cell for cell, entry in read.items() if entry is var), None)


def depends_on(trace: Trace, ys: Iterable[Tensor], variables: Sequence[Any], past: Op | None = None) -> bool:
    """Whether one of these tensors of a trace depends on one of its variables, without going through an op."""
    return any(trace.depends(y._value, variables, past) for y in ys)


class Unread(TypeError):
    """An argument stands for a cell which the function reads past it."""


def unused(name: str, what: str) -> Unread:
    """The refusal of an argument that stands for a cell which the function reads past it."""
    return Unread(
        f"{name} was given {what} and does not use it: it reads the model's own, so that its derivative would be "
        "zero. Use the argument, or make a function of the parameters of the model: "
        "f, parameters = tensorgraph.functional(model)"
    )


def _named(node: Any) -> Any:
    """The cell that stands behind the names that transforms gave it, or None."""
    while node is not None and node.op is alias:
        node = node.parents[0]
    owner = node.owner if type(node) is Leaf else None
    return None if owner is None else owner()
