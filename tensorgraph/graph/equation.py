"""What a graph is made of: variables and literals, equations, cells, writes, and where each came from."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tensorgraph.engine.aval import Aval, Number

if TYPE_CHECKING:
    from tensorgraph.engine.cells import Cell
    from tensorgraph.engine.op import Op
    from tensorgraph.graph.calls import Call
    from tensorgraph.graph.graph import Graph

__all__ = [
    "SUM", "Atom", "Backward", "CellDecl", "Change", "Equation", "Literal", "Origin", "Part", "Provenance", "Source",
    "Var", "Write", "abstract", "is_number",
]  # fmt: skip

GRADIENTS = "gradients"  # the op of a deferred gradient
SUM = "sum"  # what equations of a gradient are for that add contributions up


class Var:
    """A variable of a graph: assigned once, typed by its aval. Compared by identity."""

    __slots__ = ("aval", "name")

    __array_ufunc__ = None  # NumPy must not take a variable for an object to compute with

    def __init__(self, aval: Aval, name: str | None = None) -> None:
        self.aval = aval
        self.name = name  # the user's name for it, where known; printed names are made unique by `text.py`

    def __repr__(self) -> str:
        return f"{self.name or '_'}: {self.aval}"


class Literal:
    """Where an op's input stands: a Python scalar (weakly typed), None, or ``...`` (not kept by a tape)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


def is_number(atom: Any) -> bool:
    """Whether an atom is a variable that stands for a Python number."""
    return type(atom) is Var and type(atom.aval) is Number


Atom = Var | Literal | tuple[Var | Literal, ...]  # a tuple is a list input, as of concatenate


def abstract(atom: Atom) -> Any:
    """An op's input as its shape rule takes it."""
    if isinstance(atom, tuple):
        return [abstract(a) for a in atom]
    if type(atom) is not Var:
        return atom.value  # type: ignore[union-attr]
    return atom.aval.sample if type(atom.aval) is Number else atom.aval


@dataclass(frozen=True, slots=True)
class Source:
    """A user's line: file, line number, function name.

    `within` are the functions of ours that the line runs, from the inside out: errors begin by them.
    """

    file: str
    line: int
    function: str
    within: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{self.line}"


@dataclass(frozen=True, slots=True, eq=False)
class Backward:
    """One gradient that was taken and is written out, compared by identity: `call` is the call that took it."""

    call: Call | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Why a gradient's equation is there: the derivative rule of one input of a forward equation.

    `of` is the forward equation's first output; `rule` names the input whose gradient the equation helps to make, or is
    ``"sum"`` where the gradients of several uses are added, ``"fit"`` where one is brought to its input's shape.
    `passes` are the gradients that made it: the last one, before it those whose equation it differentiates.
    """

    of: Var
    rule: str
    passes: tuple[Backward, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a pass has put in the place of values: all its equations have this one.

    `names` are what users call the values, `around` is the part in which they stood.
    """

    names: frozenset[str]
    around: Part | None = None

    @classmethod
    def of(cls, outputs: Iterable[Var], call: Call | None, around: Part | None) -> Part:
        """That of values that were made in a call."""
        names = {out.name for out in outputs if out.name}
        for each in () if call is None else call.callers():
            names.update(each.names[out] for out in outputs if out in each.names)
        return cls(frozenset(names), around)

    def chain(self) -> Iterator[Part]:
        """This one, and those in which it stands."""
        own: Part | None = self
        while own is not None:
            yield own
            own = own.around


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a pass did to a graph: for `Graph.explain`.

    `step` is the pass, `rule` what it applied, `before` and `after` the equations as text, `source` the user's line;
    `note` is what is to be said besides, `scopes` are the modules of the equations that were there.
    """

    step: str
    rule: str
    before: str
    after: str
    source: Source | None = None
    note: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class CellDecl:
    """A mutable cell that a graph reads or writes, declared by path and type; its array is never held.

    `var` stands for the cell's value at entry. `kind` is ``"parameter"`` or ``"buffer"``; `initialiser` is a catalogue
    call such as ``"zeros()"`` or None; `requires_grad` is False for buffers and frozen parameters.
    """

    path: str
    var: Var
    kind: str
    initialiser: str | None = None
    requires_grad: bool = False

    @property
    def aval(self) -> Aval:
        return self.var.aval


def _flat(inputs: tuple[Atom, ...]) -> tuple[Var | Literal, ...]:
    """Inputs, those of lists one by one."""
    if tuple in map(type, inputs):
        return tuple([a for atom in inputs for a in (atom if type(atom) is tuple else (atom,))])  # type: ignore[misc]
    return inputs  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, eq=False)
class Equation:
    """``outputs = op(*inputs, **attrs)``, with where it came from.

    The op's residuals are further outputs once something needs them: see `residuals`.

    `call` is the innermost call that made it, where known (see `tensorgraph.graph.calls`), `source` the user's line,
    `origin` says of a gradient's equation whose derivative it is, `part` of one that a pass put in the place of others
    what it stands for.
    """

    op: Op
    inputs: tuple[Atom, ...]
    attrs: Mapping[str, Any]
    outputs: tuple[Var, ...]
    call: Call | None = None
    source: Source | None = None
    origin: Origin | None = None
    part: Part | None = None
    # what is asked of an equation by every pass, found once: all operands, the variables among them, that types fit
    _atoms: tuple[Var | Literal, ...] = field(init=False, repr=False)
    _variables: tuple[Var, ...] = field(init=False, repr=False)
    is_checked: bool = field(init=False, default=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "attrs", MappingProxyType(dict(self.attrs)))
        atoms = _flat(self.inputs)
        put(self, "_atoms", atoms)
        put(self, "_variables", tuple([atom for atom in atoms if type(atom) is Var]))

    def elsewhere(
        self, inputs: tuple[Atom, ...], outputs: tuple[Var, ...], call: Call | None, source: Source | None
    ) -> Equation:
        """The same op with the same attributes on other variables, in another call and line."""
        # the very same attributes: what was found of them once holds of all copies
        return _made(self.op, inputs, self.attrs, outputs, call, source, self.origin, self.part, False)

    def retyped(
        self, inputs: tuple[Atom, ...], attrs: Mapping[str, Any], outputs: tuple[Var, ...], origin: Origin | None
    ) -> Equation:
        """The same op in the same call and line on variables of other sizes, of the types that its shape rule says."""
        attrs = attrs if attrs is self.attrs else MappingProxyType(dict(attrs))
        return _made(self.op, inputs, attrs, outputs, self.call, self.source, origin, self.part, True)

    def typed(self) -> Equation:
        """The equation itself, whose outputs have just been given the types that its shape rule says."""
        object.__setattr__(self, "is_checked", True)
        return self

    @property
    def scope(self) -> str:
        """The module path: ``"layers.0"``, ``""`` at the top."""
        return "" if self.call is None else self.call.scope

    def atoms(self) -> Iterator[Var | Literal]:
        """Inputs in order, list inputs flattened."""
        return iter(self._atoms)

    def variables(self) -> Iterator[Var]:
        """The variables among the inputs, in order; one that is read twice comes twice."""
        return iter(self._variables)

    def group(self, i: int) -> tuple[Var | Literal, ...]:
        """The items of input `i`, which is a list; of any other input itself, alone."""
        atom = self.inputs[i]
        return atom if isinstance(atom, tuple) else (atom,)

    def avals(self) -> tuple[Any, ...]:
        """The inputs as shape rules take them: avals, weak numbers, None, and lists of avals."""
        return tuple(abstract(atom) for atom in self.inputs)

    @property
    def residuals(self) -> tuple[Var, ...]:
        """What the op keeps for its derivative, where something reads it: outputs besides those of the declaration."""
        return () if self.op.signature.variadic else self.outputs[len(self.op.outputs) :]

    @property
    def is_gradient(self) -> bool:
        """Whether this is a deferred gradient, ``d_w, d_b = gradients([loss], [w, b])``: groups `ys`, `xs`, `gs`."""
        return self.op.name == GRADIENTS

    @property
    def is_arithmetic(self) -> bool:
        """Whether this is Python's arithmetic of Python numbers, ``s * 2.0``: it gives a number and no tensor."""
        return len(self.outputs) == 1 and type(self.outputs[0].aval) is Number

    @property
    def is_conversion(self) -> bool:
        """Whether this makes a tensor of a Python number, ``tensor(s, "float32")``."""
        return "dtype" in self.attrs and len(self.inputs) == 1 and is_number(self.inputs[0])

    @property
    def reads_number(self) -> bool:
        """Whether a Python number that is not known is among the inputs."""
        for atom in self.inputs:  # asked of every equation that is prepared: no generators
            if type(atom) is Var:
                if type(atom.aval) is Number:
                    return True
            elif type(atom) is tuple and any(map(is_number, atom)):
                return True
        return False

    @property
    def of_numbers(self) -> bool:
        """Whether it has to do with Python numbers that are not known."""
        return (len(self.outputs) == 1 and type(self.outputs[0].aval) is Number) or self.reads_number

    def bodies(self) -> dict[str, Graph]:
        """The graphs that the equation holds, by attribute: the forward and the rule of a function of the user's."""
        from tensorgraph.graph.graph import Graph

        return {name: value for name, value in self.attrs.items() if isinstance(value, Graph)}


_PUTS = [Equation.__dict__[name].__set__ for name in Equation.__slots__]
_put_op, _put_inputs, _put_attrs, _put_outputs, _put_call, _put_source, _put_origin, _put_part = _PUTS[:8]
_put_atoms, _put_variables, _put_checked = _PUTS[8:]


def _made(
    op: Op, inputs: tuple[Atom, ...], attrs: Mapping[str, Any], outputs: tuple[Var, ...], call: Call | None,
    source: Source | None, origin: Origin | None, part: Part | None, is_checked: bool,
) -> Equation:  # fmt: skip
    """An equation as the class makes it, but that attributes are not copied, in a fifth of the time."""
    made = object.__new__(Equation)
    _put_op(made, op)
    _put_inputs(made, inputs)
    _put_attrs(made, attrs)
    _put_outputs(made, outputs)
    _put_call(made, call)
    _put_source(made, source)
    _put_origin(made, origin)
    _put_part(made, part)
    atoms = _flat(inputs)
    _put_atoms(made, atoms)
    _put_variables(made, tuple([atom for atom in atoms if type(atom) is Var]))
    _put_checked(made, is_checked)
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Provenance:
    """What a graph was traced from, held apart from what it is: it is not compared, saved or printed.

    Attributes
    ----------
    live : tuple of weak references
        The cells themselves, one a declaration of `Graph.cells`; empty for a graph that was read or made by hand.
    captured : mapping of Var to node of the tape
        Where captured tensors came from that had a history, so that gradients go on behind them.
    draws : tuple of str
        Generators of others, NumPy's say, from which the function drew while it was traced.
    plain : mapping of str to (str, mapping of str to object)
        Of arguments that are not looked into, by their paths: a name, and the numbers, flags and strings in them by
        where they are.
    stands : mapping of Var to weak reference
        The cells that were examples of inputs.
    pattern : (Graph, tuple of Equation) or None
        Of a graph at another size of its batch the one that it was made of, and what was made of its equations, one by
        one. What has other equations than these was made of it in another way.
    """

    live: tuple[weakref.ref[Cell], ...] = ()
    captured: Mapping[Var, Any] = field(default_factory=dict)
    draws: tuple[str, ...] = ()
    plain: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    stands: Mapping[Var, weakref.ref[Cell]] = field(default_factory=dict)
    pattern: tuple[Graph, tuple[Equation, ...]] | None = None

    def cells(self, count: int) -> list[Cell | None]:
        """The live cells, None for each that is gone or was never known."""
        return [reference() for reference in self.live] or [None] * count


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """``cell.assign(value)``, committed after the last equation. `cell` is the declaration's `var`."""

    cell: Var
    value: Var | Literal
    source: Source | None = None
