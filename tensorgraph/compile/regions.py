"""Which equations become one kernel, and why the others do not.

A region is a group of equations whose kernel is generated: elementwise ops over one shape, and the reduction that ends
them. `regions` parts a graph's equations into groups, in an order in which they can run; most are single equations,
whose kernels are the affair of their ops' rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.native.places import Call

__all__ = ["Region", "regions"]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Equations that run together.

    Attributes
    ----------
    equations : tuple of Equation
        In the graph's order.
    inputs : tuple of Var
        What the equations read of others, each once; Python numbers that are not known are among them.
    outputs : tuple of Var
        What is read outside: by later regions, as the graph's output, by a write.
    is_generated : bool
        Whether `call` makes a kernel of them. It is False of a single equation only: its op's own rule is asked.
    reasons : mapping of Var to str
        For each input that another equation computes, why that equation is not in this region.
    """

    equations: tuple[Equation, ...]
    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]
    is_generated: bool = False
    reasons: Mapping[Var, str] = field(default_factory=dict)

    def call(self, call: Call) -> bool:
        """Put the records of the region's kernel into a call.

        Parameters
        ----------
        call : Call
            ``inputs``: a `Place` for each of `inputs`, with any strides; a number's is 0-d, float64, int64 or bool.
            ``outputs``: a `Place` in C order for each of `outputs`.

        Returns
        -------
        bool
            False, and nothing is put there: not for these types or strides. Then the equations run one by one.
        """
        return False


def regions(graph: Graph) -> list[Region]:
    """The graph's equations in groups, in an order in which they can run: each group reads what came before it."""
    read = {atom for atom in (*graph.outputs, *(write.value for write in graph.writes)) if isinstance(atom, Var)}
    for eq in graph.equations:
        read.update(eq.variables())
    return [
        Region((eq,), tuple(dict.fromkeys(eq.variables())), tuple(var for var in eq.outputs if var in read))
        for eq in graph.equations
    ]
