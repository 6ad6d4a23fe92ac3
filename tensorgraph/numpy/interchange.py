"""How arrays come in: from anything, from other libraries; and what the namespace says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.arguments import shown
from tensorgraph.engine.aval import canonical_dtype, default_dtype
from tensorgraph.engine.tensor import Tensor, as_array, tensor, wrap
from tensorgraph.numpy.dtypes import KINDS, STANDARD, named
from tensorgraph.ops import shape, structure

__all__ = ["__array_namespace_info__", "array", "asarray", "from_dlpack", "reshape"]


def require_cpu(device: Any, name: str) -> None:
    """Refuse any other device."""
    if device is not None and device != "cpu":
        raise ValueError(f"{name}: device must be 'cpu' or None, got {shown(device)}: everything runs on the CPU")


def asarray(obj: Any, /, dtype: Any = None, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of anything that NumPy understands; a tensor is itself, with its history.

    Parameters
    ----------
    obj : array-like
    dtype : dtype-like, optional
        That of the numbers unless said, and the default dtypes for Python's.
    device : "cpu", optional
    copy : bool, optional
        False refuses whatever cannot be taken as it is: memory that somebody else may write to, as an array's, has to
        be copied, since tensors never change.

    Raises
    ------
    ValueError
        With ``copy=False`` where a copy is needed.

    Examples
    --------
    >>> import tensorgraph.numpy as tnp
    >>> tnp.asarray([1, 2, 3])
    tensor([1, 2, 3], i64)
    """
    require_cpu(device, "asarray")
    if isinstance(obj, Tensor):
        wanted = obj.dtype if dtype is None else canonical_dtype(dtype)
        if wanted == obj.dtype:
            return structure.alias.public(obj) if copy else obj
        if copy is False:
            raise ValueError(f"asarray: {obj.dtype} cannot become {wanted} without a copy; leave copy=False away")
        return shape.astype.public(obj, wanted)  # type: ignore[no-any-return]
    if copy is False and not isinstance(obj, (bool, int, float)):
        raise ValueError(
            f"asarray: {type(obj).__name__} must be copied, since its memory can be written to and a tensor never "
            "changes; leave copy=False away"
        )
    return _joined(obj, dtype) if _holds_recorded(obj) else tensor(obj, dtype)


def _holds_recorded(obj: Any) -> bool:
    """Whether a nested list holds tensors whose history matters."""
    if isinstance(obj, (list, tuple)):
        return any(map(_holds_recorded, obj))
    return isinstance(obj, Tensor) and (obj.requires_grad or type(obj._value) is not np.ndarray)


def _joined(obj: Any, dtype: Any) -> Tensor:
    """A nested list of tensors and numbers as one tensor, with its history."""
    parts = [_joined(part, None) if isinstance(part, (list, tuple)) else part for part in obj]
    whole: Tensor = shape.stack.public(parts)
    return whole if dtype is None else shape.astype.public(whole, canonical_dtype(dtype))


def array(
    obj: Any, dtype: Any = None, *, copy: bool | None = True, ndmin: int = 0, device: Any = None
) -> Tensor:  # fmt: skip
    """A tensor of anything that NumPy understands, with at least `ndmin` axes: NumPy's name of `asarray`."""
    made = asarray(obj, dtype, device=device, copy=copy)
    missing = ndmin - made.ndim
    return made if missing <= 0 else shape.reshape.public(made, (1,) * missing + made.shape)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of an array of another library that speaks DLPack (PyTorch, JAX, CuPy on the CPU, ...).

    Its memory is copied, since its owner may write to it and a tensor never changes; a tensor is taken as it is,
    without its history.

    Raises
    ------
    ValueError
        With ``copy=False``, for anything but a tensor.
    BufferError
        Where the other library cannot give its memory.
    """
    require_cpu(device, "from_dlpack")
    if isinstance(x, Tensor):
        own = x.detach()
        return structure.alias.public(own) if copy else own
    if not hasattr(x, "__dlpack__"):
        raise AttributeError(f"from_dlpack: {type(x).__name__} has no __dlpack__; use asarray")
    if copy is False:
        raise ValueError(
            f"from_dlpack: the memory of {type(x).__name__} must be copied, since its owner may write to it and a "
            "tensor never changes; leave copy=False away"
        )
    try:
        given = np.from_dlpack(x)
    except BufferError:  # what only older versions can give: read-only memory
        given = np.asarray(x)
    return wrap(np.array(as_array(given)))


def reshape(x: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Tensor:
    """The same elements in another shape.

    Parameters
    ----------
    x : tensor-like
    shape : int or tuple of int
        One size may be -1: what is left.
    order : "C"
        NumPy's others are not recorded.
    copy : bool, optional
        False refuses what cannot be a view of the same memory.

    Raises
    ------
    ValueError
        With ``copy=False`` where a copy is needed.
    """
    from tensorgraph.ops.shape import reshape as declared

    if order != "C":
        raise TypeError(f"reshape: order={order!r} is not recorded; transpose before and after")
    if copy is False:
        value = x._value if isinstance(x, Tensor) else None
        result = declared.public(x, shape)
        if type(value) is not np.ndarray or (not np.may_share_memory(value, result._value) and value.size):
            raise ValueError("reshape: this needs a copy, which copy=False refuses; leave it away")
        return result  # type: ignore[no-any-return]
    result = declared.public(x, shape)
    return structure.alias.public(result) if copy else result  # type: ignore[no-any-return]


class Info:
    """What `__array_namespace_info__` gives: what the namespace can do, in the standard's words."""

    def capabilities(self) -> dict[str, Any]:
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        return "cpu"

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        """The dtypes of Python's numbers and of indices; there is no complex one: None."""
        require_cpu(device, "default_dtypes")
        return {
            "real floating": named(default_dtype()), "complex floating": None, "integral": named("int64"),
            "indexing": named("int64"),
        }  # fmt: skip

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        """The standard's dtypes that tensors have, by name; of one kind, or of several."""
        require_cpu(device, "dtypes")
        chosen = kind if isinstance(kind, tuple) else (kind,) if kind is not None else tuple(KINDS)
        unknown = [word for word in chosen if word not in KINDS]
        if unknown:
            raise ValueError(f"dtypes: kind must be of {', '.join(map(repr, KINDS))}, got {shown(unknown[0])}")
        letters = "".join(KINDS[word] for word in chosen)
        return {name: named(name) for name in STANDARD if named(name).kind in letters}


def __array_namespace_info__() -> Info:
    """What the namespace can do: devices, dtypes and capabilities."""
    return Info()
