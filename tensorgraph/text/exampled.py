"""What a template says of all its graphs by looking at one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tensorgraph.graph.drawable import Drawable

if TYPE_CHECKING:
    from tensorgraph.graph.graph import CellDecl, Graph

__all__ = ["Exampled"]


class Exampled(Drawable):
    """The base of `Template` that asks an instance."""

    if TYPE_CHECKING:

        def example(self) -> Graph: ...

    @property
    def modules(self) -> Mapping[str, str]:
        """The class name of the module at each scope: see `Graph.modules`.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> net = tg.parse("def net(x: f32[N, 2], *, head: Linear[2, 3]): return head(x)")
        >>> dict(net.modules), [cell.path for cell in net.cells]
        ({'head': 'Linear'}, ['head.weight', 'head.bias'])
        """
        return self.example().modules

    @property
    def cells(self) -> tuple[CellDecl, ...]:
        """The cells by path and type, of some instance: see `Graph`."""
        return self.example().cells

    def explain(self) -> Any:
        """What passes changed, of some instance: see `Graph.explain`."""
        return self.example().explain()

    def __getattr__(self, name: str) -> Any:
        from tensorgraph.graph.graph import Graph

        there = hasattr(Graph, name) or name in Graph.__dataclass_fields__
        sizes = ", ".join(f"{dim}=..." for dim in self.__dict__.get("dims", ()))
        remedy = f": it is a graph for each size, which has it, template.at({sizes}).{name}" if there else ""
        raise AttributeError(f"a template has no attribute {name!r}{remedy}", name=name, obj=self)
