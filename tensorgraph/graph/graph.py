"""`Graph`: a computation as a value.

Flat, immutable, typed single assignments: inputs, cells, constants, equations, writes, outputs. Nothing here runs
anything; see `evaluate.py` and `trace.py` for that, `text/` for how it prints and `check.py` for what must hold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.arguments import Natural, PathLike, checked
from tensorgraph.engine.tree import Treedef
from tensorgraph.graph.drawable import Drawable
from tensorgraph.graph.equation import (
    Atom,
    CellDecl,
    Change,
    Equation,
    Literal,
    Origin,
    Part,
    Provenance,
    Source,
    Var,
    Write,
)  # fmt: skip
from tensorgraph.graph.index import Index
from tensorgraph.graph.keywords import arranged
from tensorgraph.jit.properties import cached_property

if TYPE_CHECKING:
    from tensorgraph.graph.outline import Outline
    from tensorgraph.graph.program import Program
    from tensorgraph.passes.rewriting import Region

__all__ = ["Atom", "CellDecl", "Change", "Equation", "Graph", "HashedKey", "Literal", "Origin", "Part", "Provenance",
           "Source", "Var", "Write"]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Graph(Drawable):
    """A computation as a value. Made by `tensorgraph.trace` and `tensorgraph.graph`.

    Attributes
    ----------
    inputs : tuple of Var
        One an array leaf of the traced function's arguments.
    cells : tuple of CellDecl
        Parameters and buffers that the computation reads or writes.
    consts : mapping of Var to ndarray
        Captured arrays (read-only).
    equations : tuple of Equation
        In order; each variable is assigned once.
    writes : tuple of Write
    outputs : tuple of Var or Literal
    in_tree, out_tree : Treedef
        How arguments and results nest.
    statics : tuple of (position, value)
        Arguments that are not tensors: baked into the graph.
    name : str
    arguments : tuple of str
        What the function calls its arguments, where known; one an argument.
    changes : tuple of Change
        What passes did to make this graph, oldest first; see `explain`.
    provenance : Provenance
        The live cells and captured tensors that it was traced from.
    """

    inputs: tuple[Var, ...]
    cells: tuple[CellDecl, ...]
    consts: Mapping[Var, np.ndarray[Any, Any]]
    equations: tuple[Equation, ...]
    writes: tuple[Write, ...]
    outputs: tuple[Var | Literal, ...]
    in_tree: Treedef
    out_tree: Treedef
    statics: tuple[tuple[int, Any], ...] = ()
    name: str = "f"
    arguments: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    provenance: Provenance = field(default_factory=Provenance, repr=False)
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "consts", MappingProxyType(dict(self.consts)))

    def __copy__(self) -> Graph:
        return self

    def __deepcopy__(self, memo: Any) -> Graph:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a graph is not pickled: graph.save(path) writes it as text, tensorgraph.load_graph reads it")

    def replace(self, **fields: Any) -> Graph:
        """A copy with these fields changed. It knows the cells and captured tensors that this one was traced with."""
        if "provenance" not in fields:
            known = {decl.var: cell for decl, cell in zip(self.cells, self.provenance.live, strict=False)}
            cells, consts = fields.get("cells", self.cells), fields.get("consts", self.consts)
            live = tuple(known[decl.var] for decl in cells) if all(decl.var in known for decl in cells) else ()
            captured = {var: node for var, node in self.provenance.captured.items() if var in consts}
            fields["provenance"] = replace(self.provenance, live=live, captured=captured)
        return replace(self, **fields, _cache={})

    @property
    def index(self) -> Index:
        """Who makes and who uses each value; made once."""
        known = self._cache.get("index")
        if known is None:
            known = self._cache["index"] = Index(self)
        return known

    @property
    def outline(self) -> Outline:
        """The graph as functions with members and loops; made once. See `tensorgraph.graph.outline`."""
        known = self._cache.get("outline")
        if known is None:
            from tensorgraph.graph.outline import outline

            known = self._cache["outline"] = outline(self)
        return known

    @property
    def modules(self) -> Mapping[str, str]:
        """The class name of the module at each scope."""
        known = self._cache.get("modules")
        if known is None:
            from tensorgraph.graph.calls import classes

            known = self._cache["modules"] = classes(self.equations)
        return known

    @cached_property
    def is_flat(self) -> bool:
        """Whether each argument is one array."""
        return not self.statics and all(child.kind is None for child in self.in_tree.children)

    @property
    def program(self) -> Program:
        """The graph prepared for running; made once."""
        known = self._cache.get("program")
        if known is None:
            from tensorgraph.graph.program import Program

            known = self._cache["program"] = Program(self)
        return known

    def variables(self) -> Iterator[Var]:
        """Every variable in the order of its definition: inputs, cells, constants, results of equations."""
        yield from self.inputs
        yield from (decl.var for decl in self.cells)
        yield from self.consts
        for eq in self.equations:
            yield from eq.outputs

    def results(self) -> Iterator[Var]:
        """The variables that the graph gives or writes."""
        for atom in (*self.outputs, *(write.value for write in self.writes)):
            if type(atom) is Var:
                yield atom

    def key(self) -> tuple[Any, ...]:
        """What equality and hash cover: ops, attributes with type and sign, avals, wiring, writes, cell paths,
        container structure and digests of captured arrays; not names, scopes, files or lines, nor the order of cells,
        writes and constants."""
        found = self._cache.get("key")
        if found is None:
            from tensorgraph.graph.equality import key

            found = self._cache["key"] = key(self)
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def check(self) -> Graph:
        """Verify types, order, single assignment and writes; returns the graph. See `tensorgraph.graph.check`."""
        if "is checked" not in self._cache:
            from tensorgraph.graph.check import check

            check(self)
            self._cache["is checked"] = True
        return self

    def __call__(self, /, *args: Any, state: Mapping[str, Any] | None = None, **keywords: Any) -> Any:
        """Evaluate. Without cells returns the outputs; with cells, ``(outputs, new_state)`` for the given state.

        Arguments may be given by their names; one that is called ``state`` too, so long as it is not given by position.
        """
        from tensorgraph.graph.evaluate import call

        if state is not None and "state" in self.arguments[len(args) :]:
            keywords["state"], state = state, None
        return call(self, arranged(self, args, keywords) if keywords else args, state)

    @checked
    def bind(self, *owners: Any) -> Callable[..., Any]:
        """A function of the graph's arguments that reads and writes live cells.

        Cells are found by path in the given modules, optimisers, cells and dicts of cells; without any, the cells that
        the graph was traced from are used.
        """
        from tensorgraph.graph.evaluate import bind

        return bind(self, owners)

    @checked
    def save(self, path: PathLike, state: Mapping[str, Any] | None = None) -> None:
        """Write the graph as text, ``net.tg.py``, and its arrays beside it as safetensors.

        `state` holds numbers of the cells to save with it. `tensorgraph.load_graph` reads it back.
        """
        from tensorgraph.text.files import save

        save(self, path, state)

    @checked
    def text(self, *, flat: bool = False, types: bool = False, library: bool = True) -> str:
        """The graph as Python, which `tensorgraph.parse` reads back: functions, members and loops as a person writes.

        `str(graph)` is the same.

        Parameters
        ----------
        flat : bool, optional
            One function, one equation a line.
        types : bool, optional
            The type of each value behind its line.
        library : bool, optional
            Whether functions are written out that every text knows, as ``Linear`` and ``Adam``.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> graph = tg.trace(lambda x: tg.tanh(x * 2.0).sum(), tg.f32[3])
        >>> print(graph.text())
        def f(x: f32[3]) -> f32:
            return sum(tanh(x * 2.0))
        """
        from tensorgraph.text.known import without_library
        from tensorgraph.text.printing import to_text
        from tensorgraph.text.sure import sure_text, typed_text

        if flat:
            return to_text(self, types)
        if not library:
            return without_library(self, types)
        return typed_text(self) if types else sure_text(self)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return (
            f"<Graph {self.name}: {len(self.inputs)} inputs, {len(self.cells)} cells, {len(self.equations)} equations, "
            f"{len(self.writes)} writes, {len(self.outputs)} outputs>"
        )

    # graph to graph: see `tensorgraph.passes` ------------------------------------------------------------------

    @checked
    def grad(self, wrt: Any = None) -> Graph:
        """The graph of the gradient: see `tensorgraph.passes.gradient.grad`."""
        from tensorgraph.passes.gradient import grad

        return grad(self, wrt)

    @checked
    def jvp(self, wrt: Any = None) -> Graph:
        """The graph of outputs and their tangents: see `tensorgraph.passes.gradient.jvp`."""
        from tensorgraph.passes.gradient import jvp

        return jvp(self, wrt)

    def differentiate(self) -> Graph:
        """Deferred gradients written out op by op: see `tensorgraph.passes.differentiate`."""
        from tensorgraph.passes.differentiate import differentiate

        return differentiate(self)

    @checked
    def batched(
        self, size: Natural, in_dims: int | Sequence[int | None] | None = 0, *,
        out_dims: int | Sequence[int | None] | None = 0, loop: bool = False, own: Collection[str] = (),
    ) -> Graph:  # fmt: skip
        """The graph that does for a batch what this one does for one: see `tensorgraph.passes.batching`."""
        from tensorgraph.passes.batching import batched

        return batched(self, size, in_dims, out_dims=out_dims, loop=loop, own=own)

    @checked
    def simplify(self, *, without: str | Collection[str] = ()) -> Graph:
        """Constants, common subexpressions, dead code, exact algebra, views: see `tensorgraph.passes.simplify`.

        `without` names rules to leave out.
        """
        from tensorgraph.passes.simplify import simplify

        return simplify(self, without=without)

    @checked
    def expand(self, *ops: str) -> Graph:
        """Fused ops (all, or those named) replaced by their references: see `tensorgraph.passes.expand`."""
        from tensorgraph.passes.expand import expand

        return expand(self, *ops)

    def recognise(self) -> Graph:
        """Regions that behave as a fused op replaced by it: see `tensorgraph.passes.recognise`."""
        from tensorgraph.passes.recognise import recognise

        return recognise(self)

    @checked
    def rewrite(self, before: Any, after: Any, *, exact: bool = False, equal: bool = True) -> Graph:
        """Every occurrence of one function replaced by another: see `tensorgraph.passes.rewriting`."""
        from tensorgraph.passes.rewriting import rewrite

        return rewrite(self, before, after, exact=exact, equal=equal)

    @checked
    def replace_at(self, name: Any, function: Callable[..., Any] | str, *, equal: bool = False) -> Graph:
        """A part of the graph, by its name, replaced by a function: see `tensorgraph.passes.rewriting.placing`."""
        from tensorgraph.passes.rewriting import replace_at

        return replace_at(self, name, function, equal=equal)

    @checked
    def split(self, name: Any) -> tuple[Graph, Graph]:
        """Two graphs, up to a part by its name and from there on: see `tensorgraph.passes.rewriting.splitting`."""
        from tensorgraph.passes.rewriting import split

        return split(self, name)

    def _half(self, name: Any, which: int) -> Graph:
        return self.split(name)[which]

    def __getitem__(self, name: Any) -> Region:
        """The part of this name, ``graph["blocks.3.attention"]``: see `tensorgraph.passes.rewriting.regions`."""
        from tensorgraph.passes.rewriting import region

        return region(self, name)

    __iter__ = None  # indexing is by name, and a graph no sequence

    @checked
    def transform(self, *steps: str, without: str | Collection[str] = ()) -> Graph:
        """The passes of these names in their order (all of them by default): see `tensorgraph.passes.pipeline`."""
        from tensorgraph.passes.pipeline import transform

        return transform(self, *steps, without=without)

    def explain(self) -> Any:
        """What passes changed to make this graph, and why: see `tensorgraph.passes.pipeline`."""
        from tensorgraph.passes.pipeline import explain

        return explain(self)

    def cost(self) -> Any:
        """FLOPs, bytes and peak memory: see `tensorgraph.analysis.cost`."""
        from tensorgraph.analysis.cost import cost

        return cost(self)


class _Anything:
    """Where a text says ``object``: an argument that is not looked at."""

    def __repr__(self) -> str:
        return "object"


ANYTHING = _Anything()


def is_literal(value: Any) -> bool:
    """Whether a text can say this argument: a model that is handed to a function is ``object`` there."""
    return type(value) in (int, float, bool, str, type(None), type(...))


def typed_key(value: Any) -> Any:
    """A hashable key in which 1, 1.0 and True differ, 0.0 and -0.0 differ, and nan equals nan."""
    if isinstance(value, float):
        return "float", value.hex()
    if isinstance(value, (tuple, list)):
        return type(value).__name__, tuple(typed_key(item) for item in value)
    if isinstance(value, dict):
        return "dict", tuple((key, typed_key(item)) for key, item in sorted(value.items()))
    if isinstance(value, Graph):
        found = value._cache.get("inner")
        if found is None:
            found = value._cache["inner"] = HashedKey(value.key())
        return "graph", found
    return type(value).__name__, value


class HashedKey:
    """The key of a graph, or a part of one: hashed once, and shared with those that it was found equal to.

    Graphs in graphs may be the same ones many times over; compared part by part, their time would double by each level.
    """

    __slots__ = ("hash", "parts")

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts
        self.hash = hash(parts)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HashedKey) or self.hash != other.hash:
            return False
        if self.parts is not other.parts:
            if self.parts != other.parts:
                return False
            other.parts = self.parts
        return True


def digest(array: np.ndarray[Any, Any]) -> str:
    """Sixteen hexadecimal digits of an array's dtype, shape and bytes."""
    import hashlib

    h = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()[:16]


def by_path(graph: Graph) -> list[CellDecl]:
    """The cells in the order in which files list them: by path, numbers in it by their size."""

    def order(decl: CellDecl) -> tuple[Any, ...]:
        parts = decl.path.split(".")
        numbers = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
        return (*numbers, (2, 0, decl.path))  # 1 and 01 are two paths

    return sorted(graph.cells, key=order)
