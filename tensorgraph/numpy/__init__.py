"""The array namespace: NumPy's names, and the Python array API standard's, for tensors.

It is to `tensorgraph` what ``jax.numpy`` is to JAX: each function is the catalogue's, called as the standard calls it.
``diff`` and ``trace``, which mean the graph tools in ``tensorgraph``, are the array functions here.
"""

if __name__ != "tensorgraph.numpy":
    raise ImportError(
        "the folder tensorgraph/numpy/ hides NumPy here: start Python in another folder, or as `python -P`, which does "
        "not look in this one"
    )

from typing import Any as _Any

from tensorgraph.numpy.names import lookup as _lookup
from tensorgraph.numpy.names import names as _names

_OWN = frozenset(_names())  # no op of the user's, which may be removed again


def __getattr__(name: str) -> _Any:
    value = _lookup(name)
    if name in _OWN:  # found at once from now on
        globals()[name] = value
    return value


def __dir__() -> list[str]:
    return _names()
