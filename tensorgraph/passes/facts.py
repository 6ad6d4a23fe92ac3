"""What is known of a graph's variables before there are numbers: who makes them, whether gradients see them, whether
they lie in C order, which are constants.

The order in memory matters to the last bit: NumPy adds up in the order in which numbers lie, so a sum over a view and
over a copy of it may differ by rounding. A rewrite that keeps bits keeps the order too. Inputs and cells are taken to
be in C order, as arrays are unless one is made otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op, creation, elementwise
from tensorgraph.engine.tree import listed
from tensorgraph.graph.equation import abstract
from tensorgraph.graph.graph import Atom, Equation, Graph, Literal, Var
from tensorgraph.graph.program import Program
from tensorgraph.ops.index import getitem, put
from tensorgraph.ops.shape import astype, broadcast_to, flip, transpose
from tensorgraph.passes.keys import select
from tensorgraph.passes.rewrite import group

__all__ = ["Facts", "differentiated", "ours", "permutation"]

Array = np.ndarray[Any, Any]

UNIFORM_UP_TO = 1 << 16  # elements of a constant that are looked at to see whether they are all the same
KNOWN_UP_TO = 1 << 20  # bytes of what a creation op makes that are worth making here


def ours(op: Op) -> bool:
    """Whether the library knows how the op's forward works: its own ops and NumPy's ufuncs."""
    return isinstance(op.forward, np.ufunc) or getattr(op.forward, "__module__", "").startswith("tensorgraph.ops")


def differentiated(graph: Graph) -> tuple[set[Var], set[int]]:
    """What the graph's deferred gradients are taken of: the variables that are asked about, and the equations (by id)
    between them and what is differentiated.

    A rewrite there would change in which order gradients are added up, and so their last bits; and one that makes two
    variables one would change what a gradient with respect to either means.
    """
    deferred = [eq for eq in graph.equations if eq.is_gradient]
    asked = {x for eq in deferred for x in group(eq.inputs[1]) if isinstance(x, Var)}
    if not deferred:
        return asked, set()
    moving = set(asked)
    depends = set()
    for eq in graph.equations:
        if any(a in moving for a in eq.atoms()):
            moving.update(eq.outputs)
            depends.add(id(eq))
    wanted = {y for eq in deferred for y in group(eq.inputs[0])}
    between = set()
    for eq in reversed(graph.equations):
        if any(out in wanted for out in eq.outputs):
            wanted.update(a for a in eq.atoms() if isinstance(a, Var))
            if id(eq) in depends:
                between.add(id(eq))
    return asked, between


def quiet_modes() -> Any:
    """In which a pass runs an op on numbers."""
    return modes.use(
        trace=None, grad=False, cells=None, debug_nans=False, quiet=True, implementation="fused", scope=""
    )  # fmt: skip


class Facts:
    """What is known of the variables of the equations noted so far, in order."""

    def __init__(self, graph: Graph, asked: set[Var]) -> None:
        self.asked = asked
        self.producer: dict[Var, Equation] = {}
        self.consts = graph.consts
        self.written = {write.value for write in graph.writes}
        history = {v for v, node in graph.provenance.captured.items() if node is not None}
        self.fixed = {v for v in graph.consts if v not in history and v not in asked}
        # what a gradient may be asked about: no pass can know who will
        self.varying: set[Var] = {*graph.inputs, *[c.var for c in graph.cells], *history, *asked}
        self.dense: set[Var] = {*graph.inputs, *[c.var for c in graph.cells]}
        self.dense.update(v for v, array in graph.consts.items() if array.flags.c_contiguous)
        self.gapped: set[Var] = set()
        self.repeated: set[Var] = set()
        self.arrays: dict[Var, Array | None] = {}
        self.uniform: dict[Var, Array | None] = {var: _same_everywhere(graph.consts[var]) for var in self.fixed}

    def note(self, eq: Equation) -> None:
        """Take in one more equation."""
        for out in eq.outputs:
            self.producer[out] = eq
        if any(a in self.varying for a in eq.atoms()):
            self.varying.update(eq.outputs)
        self._note_order(eq)
        if eq.op.single:
            one = self.one_of(eq)
            if one is not None:
                self.uniform[eq.outputs[0]] = one

    def made_by(self, atom: Atom, *what: Op | str) -> Equation | None:
        """The equation that makes a variable, if it is of one of these ops or of one with one of these traits."""
        eq = self.producer.get(atom) if isinstance(atom, Var) else None
        return eq if eq is not None and eq.op.among(*what) else None

    # memory order ---------------------------------------------------------------------------------------------

    def is_dense(self, atom: Atom) -> bool:
        """Whether it is certain that a variable lies in C order."""
        if isinstance(atom, tuple):
            return all(self.is_dense(a) for a in atom)
        return not isinstance(atom, Var) or atom in self.dense or atom.aval.size <= 1

    def _is_in_order(self, atom: Atom, repeated: bool) -> bool:
        """Whether a variable lies in C order but for gaps and axes that run backwards.

        Where `repeated`, but for axes that say the same again too.
        """
        if not isinstance(atom, Var) or self.is_dense(atom) or atom in self.gapped:
            return True
        return repeated and atom in self.repeated

    def _note_order(self, eq: Equation) -> None:
        op, x = eq.op, eq.inputs[0] if eq.inputs else None
        if self.keeps_order(eq):
            self.dense.update(eq.outputs)
        elif not isinstance(x, Var) or not ours(op) or not self._is_in_order(x, True):
            return
        elif op is broadcast_to:
            self.repeated.update(eq.outputs)
        elif op.among("identity", "unit axes", flip) or (op is getitem and not eq.inputs[1]):
            (self.gapped if self._is_in_order(x, False) else self.repeated).update(eq.outputs)

    def keeps_order(self, eq: Equation) -> bool:
        """Whether it is certain that an equation's outputs will lie in C order."""
        op = eq.op
        if not ours(op):
            return False
        if op is put:  # in a copy, which NumPy makes in C order
            return True
        if op.kind is elementwise:
            # NumPy's own loops fill what they make in C order; a conversion puts repeated axes last
            floats = any(isinstance(a, Var) and a.aval.dtype.kind == "f" for a in eq.inputs)
            repeated = isinstance(op.forward, np.ufunc) and (op.dtype != "float" or floats)
            return all(self._is_in_order(a, repeated) for a in eq.inputs)
        if not all(self.is_dense(a) for a in eq.inputs):
            return False
        if "keeps order" in op.traits:
            return True
        if op is transpose:
            moved = [a for i, a in enumerate(permutation(eq)) if eq.outputs[0].aval.shape[i] != 1]
            return moved == sorted(moved)
        if op is broadcast_to:
            x = eq.inputs[0]
            return isinstance(x, Var) and x.aval.size == eq.outputs[0].aval.size
        if op is flip:
            return eq.outputs[0].aval.size == 0
        if op is getitem:
            x = eq.inputs[0]
            selection = select(eq.attrs["key"], x.aval.shape) if isinstance(x, Var) else None
            return selection is not None and selection.contiguous
        return False

    # constants ------------------------------------------------------------------------------------------------

    def array(self, var: Var) -> Array | None:
        """The numbers of a constant where they are known, lying in memory as evaluation would have them."""
        if var not in self.arrays and var in self.fixed:
            self.arrays[var] = self.consts[var]
        if var not in self.arrays:
            eq = self.producer.get(var)
            made = None
            if (
                eq is not None and eq.op.kind is creation and not eq.inputs and ours(eq.op) and var not in self.asked
                and var.aval.nbytes <= KNOWN_UP_TO
            ):  # fmt: skip
                found = compute(eq, [])
                made = None if found is None else found[0]
            self.arrays[var] = made
        return self.arrays[var]

    def value(self, atom: Atom) -> Any:
        """The Python number that all elements of a constant are (a literal's own), or None."""
        if isinstance(atom, Literal):
            return atom.value if type(atom.value) in (int, float, bool) else None
        one = self.one(atom) if isinstance(atom, Var) else None
        return None if one is None else one.item()

    def one(self, var: Var) -> Array | None:
        """The 0-d array that all elements of a constant are equal to, to the last bit, or None."""
        return self.uniform.get(var)

    def constant(self, var: Var, array: Array) -> None:
        """Take a variable for a constant from now on."""
        self.fixed.add(var)
        self.arrays[var] = array
        self.uniform[var] = _same_everywhere(array)
        self.dense.add(var)

    def one_of(self, eq: Equation) -> Array | None:
        """The 0-d array that all elements of an equation's one output are equal to, or None.

        The op is run on 0-d arrays, which an exact one gives the bits that it gives many; maximum and its like are not,
        which choose between 0.0 and -0.0 as the processor's loop happens to.
        """
        var, op = eq.outputs[0], eq.op
        if var in self.asked or var.aval.size == 0 or not ours(op):
            return None
        if op.kind is creation and not eq.inputs and "shape" in eq.attrs:
            made = compute(Equation(op, (), {**eq.attrs, "shape": ()}, eq.outputs), [])
            return made[0] if made is not None and made[0].dtype == var.aval.dtype else None
        looks = "view" in op.traits and "checks" not in op.traits
        if not looks and not op.among("exact", astype):
            return None
        # what was found when the operands were noted: no recursion, however long the chain
        operands = []
        for atom in eq.inputs[:1] if op is getitem else eq.inputs:
            if isinstance(atom, tuple) or (isinstance(atom, Var) and self.uniform.get(atom) is None):
                return None
            operands.append(self.uniform[atom] if isinstance(atom, Var) else atom.value)
        if looks:
            return None if op is getitem and eq.inputs[1] else operands[0]
        made = compute(eq, operands)
        return made[0] if made is not None and made[0].dtype == var.aval.dtype and made[0].shape == () else None


def permutation(eq: Equation) -> tuple[int, ...]:
    """A transposition's axes, none of them negative."""
    axes, ndim = eq.attrs["axes"], eq.outputs[0].aval.ndim
    if axes is None:
        return tuple(range(ndim))[::-1]
    return tuple(a % ndim for a in (axes if isinstance(axes, tuple) else (axes,)))


def _same_everywhere(array: Array) -> Array | None:
    if not 0 < array.size <= UNIFORM_UP_TO:
        return None
    first = array[(0,) * array.ndim]
    bits = f"u{array.itemsize}"
    flat = np.ascontiguousarray(array).reshape(-1)
    same = (flat.view(bits) == flat[:1].view(bits)).all()
    return np.asarray(first) if same else None


def compute(eq: Equation, operands: list[Any]) -> list[Array] | None:
    """What an equation gives for arrays in the place of its variables; None where it raises or warns.

    `operands` are those of the equation in order, lists of them for a list. The arrays may be of other shapes than the
    variables: what runs is the equation of their types.
    """
    given: dict[Var, Array] = {}
    own: dict[Atom, Var] = {}
    for atom, operand in zip(eq.inputs, operands, strict=True):
        for a, value in zip(atom, operand, strict=True) if isinstance(atom, tuple) else ((atom, operand),):
            if isinstance(a, Var) and a not in own:
                own[a] = Var(Aval(value.shape, value.dtype))
                given[own[a]] = value
    atoms = tuple(tuple(own.get(a, a) for a in x) if isinstance(x, tuple) else own.get(x, x) for x in eq.inputs)
    try:
        avals = tuple(map(abstract, atoms))
        types = eq.op.infer(avals, eq.attrs)
        if eq.residuals:
            types = (*types, *(eq.op.infer_residuals(avals, eq.attrs) or ()))
        outputs = tuple(map(Var, types))
        equation = Equation(eq.op, atoms, eq.attrs, outputs)
        graph = Graph(tuple(given), (), {}, (equation,), (), outputs, listed(len(given)), listed(len(outputs)))
        with quiet_modes(), np.errstate(all="raise", under="ignore"):
            return [np.asarray(value) for value in Program(graph, keep=True).run(list(given.values()))]
    except Exception:  # whatever it is, it is for the evaluation to say, at the user's line
        return None
