"""einops works on tensors: `einops.rearrange`, `reduce`, `repeat`, `pack`, `unpack` and `einsum` record.

einops looks for kinds of tensors among the subclasses of a class of its own. Ours is made when einops is imported, by
whoever imports it, and tensorgraph never does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from tensorgraph.engine.functions import function_named
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.ops import creation, shape

__all__: list[str] = []

MODULE = "einops._backends"


def _register(backends: ModuleType) -> None:
    """Make the class by which einops knows tensors."""
    base: Any = backends.AbstractBackend

    class Backend(base):  # type: ignore[misc]
        framework_name = "tensorgraph"

        def is_appropriate_type(self, x: Any) -> bool:
            return isinstance(x, Tensor)

        def from_numpy(self, x: Any) -> Tensor:
            return tensor(x)

        def to_numpy(self, x: Tensor) -> Any:
            return x.numpy()

        def arange(self, start: int, stop: int) -> Any:
            return creation.arange.public(start, stop)

        def reduce(self, x: Tensor, operation: str, axes: Sequence[int]) -> Any:
            return getattr(x, operation)(axis=tuple(axes))

        def stack_on_zeroth_dimension(self, tensors: list[Any]) -> Any:
            return shape.stack.public(tensors)

        def add_axis(self, x: Tensor, new_position: int) -> Any:
            return shape.expand_dims.public(x, axis=new_position)

        def tile(self, x: Tensor, repeats: tuple[int, ...]) -> Any:
            return _function("tile")(x, repeats)

        def concat(self, tensors: list[Any], axis: int) -> Any:
            return shape.concatenate.public(tensors, axis=axis)

        def is_float_type(self, x: Tensor) -> bool:
            return x.dtype.kind == "f"

        def einsum(self, pattern: str, *x: Any) -> Any:
            return _function("einsum")(pattern, *x)

    backends.TensorgraphBackend = Backend  # type: ignore[attr-defined]  # of subclasses Python keeps no count


def _function(name: str) -> Any:
    declared = function_named(name)
    assert declared is not None
    return declared.call


class _Finder:
    """Asked for every module that is imported until it is einops's, which is then told of tensors."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            _register(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if MODULE in sys.modules:
    _register(sys.modules[MODULE])
else:
    sys.meta_path.insert(0, _Finder())
