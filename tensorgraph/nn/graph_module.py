"""A model whose definition is a graph's text: written by hand, or traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorgraph.arguments import Natural, PathLike, checked
from tensorgraph.engine import init
from tensorgraph.engine.aval import Extent
from tensorgraph.engine.cells import Buffer, Cell, Parameter
from tensorgraph.graph.graph import CellDecl, Graph
from tensorgraph.nn.module import Module
from tensorgraph.text.definitions import definitions
from tensorgraph.text.files import beside, load_state, numbers_of, read
from tensorgraph.text.live import numbers_at_start
from tensorgraph.text.sure import arrays_of
from tensorgraph.text.template import Arrays, Template, parse

__all__ = ["GraphModule"]

Array = np.ndarray[Any, Any]


class _Part(Module):
    """What holds the cells of one path's prefix."""


class GraphModule(Module):
    """A module that runs a graph: its cells are parameters and buffers, its text is the model's definition.

    Parameters
    ----------
    source : str, Graph or Template
        A text in the graph language (docs/language.md), or what `tensorgraph.trace` gave. Of a text with several
        functions the one called ``predict`` runs in evaluation mode, the last other one in training mode; with one
        function both modes run it.
    sizes : mapping of str to int, optional
        Of named dimensions that parameters have; those of the arguments follow the arguments.
    seed : int, optional
        For the first numbers; else the process-wide generator is drawn from.
    arrays : mapping or list of arrays, optional
        Captured arrays that a text names.
    state : mapping of str to array, optional
        What cells start from, by their paths; others start from their initialisers, and one that has none needs this.

    Raises
    ------
    ParseError
        Where the text is no graph.
    ValueError
        Where the functions declare a cell differently, or a cell has no initialiser and is not in the state.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> model = tg.nn.GraphModule('''
    ... def net(x: f32[N, 2], *, w: Parameter[f32[2, 3]] = he_normal()):
    ...     return relu(x @ w)
    ... ''', seed=0)
    >>> model(tg.ones((5, 2))).shape, [name for name, _ in model.named_parameters()]
    ((5, 3), ['w'])
    """

    @checked
    def __init__(
        self,
        source: str | Graph | Template,
        *,
        sizes: Mapping[str, Extent] | None = None,
        seed: Natural | None = None,
        arrays: Arrays | None = None,
        state: Mapping[str, Any] | None = None,
        file: str = "<text>",
    ) -> None:
        self.sizes = dict(sizes or {})
        self.text = str(source)
        if isinstance(source, Graph):
            self.arrays: Any = arrays_of(source)
            self.in_training: Any = source
            self.at_test_time: Any = source
        else:
            self.arrays = source.arrays if isinstance(source, Template) else {} if arrays is None else arrays
            read = definitions(self.text, file)
            self.in_training = parse(self.text, self.arrays, name=read.main().name, file=file)
            self.at_test_time = self.in_training
            if read.at_test_time is not None:
                self.at_test_time = parse(self.text, self.arrays, name=read.at_test_time.name, file=file)
        generator = np.random.default_rng(init.fresh_seed() if seed is None else seed)
        declared = self._declared()
        known = {} if state is None else state
        strange = sorted({*known}.difference(decl.path for decl in declared))
        if strange:
            every = ", ".join(decl.path for decl in declared) or "none"
            raise ValueError(f"the state names a cell {strange[0]!r}, which the graph has not; its cells are {every}")
        for decl in declared:
            self._place_cell(decl, numbers_at_start(decl, known, generator))

    @classmethod
    @checked
    def from_file(cls, path: PathLike, **options: Any) -> GraphModule:
        """The module of a file such as ``model.tg.py``, with the trained numbers beside it where there are any."""
        target = beside(path)
        arrays = numbers_of(target, "array:") if target.exists() else {}
        state = load_state(path)
        model = cls(read(path), arrays=arrays, state=state, file=str(path), **options)
        if state:
            model.load_state_dict(state)
        return model

    @checked
    def save_text(self, path: PathLike) -> None:
        """Write the text, and the present numbers beside it; `from_file` reads both."""
        from tensorgraph.text.files import write

        write(self.text, self.arrays, path, self.state_dict())

    def graph(self, *args: Any) -> Graph:
        """The graph that these arguments run in the present mode."""
        source = self.in_training if self.training else self.at_test_time
        if isinstance(source, Graph):
            return source
        instance: Graph = source.at(**{**source.sizes(*args), **self._known_sizes(source)})
        return instance

    def forward(self, *args: Any) -> Any:
        return self.graph(*args).bind(dict(self.named_cells()))(*args)

    def _known_sizes(self, source: Template) -> dict[str, int]:
        """The sizes that were given, those of them that a function names."""
        return {name: size for name, size in self.sizes.items() if name in source.dims}

    def _declared(self) -> list[CellDecl]:
        """The cells of both functions, each once, in order."""
        found: dict[str, CellDecl] = {}
        for source in (self.in_training, self.at_test_time):
            graph = source if isinstance(source, Graph) else source.example(**self._known_sizes(source))
            for decl in graph.cells:
                known = found.setdefault(decl.path, decl)
                if (known.aval, known.kind, known.requires_grad) != (decl.aval, decl.kind, decl.requires_grad):
                    raise ValueError(
                        f"the cell {decl.path} is declared as a {known.kind} of {known.aval} in one function and as a "
                        f"{decl.kind} of {decl.aval} in the other"
                    )
                if known.initialiser is None:
                    found[decl.path] = decl
        return list(found.values())

    def _place_cell(self, decl: CellDecl, value: Array) -> None:
        holder: Module = self
        *parts, name = decl.path.split(".")
        for part in parts:
            inner = holder.__dict__.get(part)
            if inner is None:
                inner = _Part()
                setattr(holder, part, inner)
            if not isinstance(inner, Module):
                raise ValueError(f"the path {decl.path} of a cell goes through {part!r}, which is something else")
            holder = inner
        if not name or name in holder.__dict__ or hasattr(type(holder), name):
            raise ValueError(f"a cell cannot be called {decl.path!r} here: that name means something else")
        cell: Cell
        if decl.kind == "parameter":
            cell = Parameter(value, requires_grad=decl.requires_grad)
        else:
            cell = Buffer(value)
        cell.initialiser = decl.initialiser
        setattr(holder, name, cell)

    def config(self) -> dict[str, Any]:
        if self.arrays:
            raise NotImplementedError(
                "a GraphModule with captured arrays, which stand beside its text, is saved by save_text"
            )
        return {"source": self.text, "sizes": self.sizes}

    def extra_repr(self) -> str:
        source = self.in_training
        return f"{source.name}: {', '.join(source.dims)}" if isinstance(source, Template) else source.name
