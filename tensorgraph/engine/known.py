"""The few ops that the engine itself calls: ``known.add(a, b)``. Ops are declared a floor above, so each is looked up
when it is first used.
"""

from __future__ import annotations

from tensorgraph.engine.op import CATALOGUE, Op

__all__: list[str] = []


def __getattr__(name: str) -> Op:
    found = CATALOGUE.get(name)
    if found is None:
        raise AttributeError(f"no op is called {name!r}")
    globals()[name] = found
    return found
