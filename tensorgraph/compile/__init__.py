"""From a user's function to one that runs at once: traced, transformed, planned, and given to a runner.

`compiled.py` is what the user holds: calls, signatures (`signatures.py`), guards (`guards.py`, found by `watching.py`
in what `reads.py` sees in bytecode, and of values by `values.py`), traces (`tracing.py`). `runner.py` is the agreement
with whoever runs a graph.
"""

from tensorgraph.compile.compiled import Compiled, RecompileError, compile
from tensorgraph.compile.statistics import Statistics

__all__ = ["Compiled", "RecompileError", "Statistics", "compile"]
