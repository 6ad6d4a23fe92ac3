"""`Tensor`: an immutable array that records what is computed with it.

Operators and methods that compute (``+``, ``.sum()``, ``[...]``) are attached by the ops' own declarations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from tensorgraph.arguments import RAW, checked, is_raw
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, DType, Number, canonical_dtype, default_dtype
from tensorgraph.engine.changes import move
from tensorgraph.engine.exits import Array, Numbers, TraceError, concrete, leave, leaving
from tensorgraph.engine.tape import Hook, Leaf, mark_hooked

if TYPE_CHECKING:
    from tensorgraph.engine.indexing import At

__all__ = ["Tensor", "TraceError", "as_array", "tensor"]

ndarray = np.ndarray
new = object.__new__


class Made(type):
    """The class of `Tensor`, which is made by functions. `blank` goes round this, which no ``__init__`` could."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Tensor:
            raise TypeError("Tensor is not constructed directly; use tensorgraph.tensor(data)")
        return type.__call__(cls, *args, **kwargs)


class Tensor(Numbers, metaclass=Made):
    """An immutable n-dimensional array that records what is computed with it.

    Made by `tensorgraph.tensor` and by operations. While a function is traced it holds a variable of the graph
    instead of an array.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> loss = (x * x).sum()
    >>> loss.backward()
    >>> x.grad
    tensor([2., 4.], f32)
    """

    __slots__ = ("__weakref__", "_node", "_value")

    _value: Any  # ndarray, or graph.Var while tracing
    _node: Any
    _backward: ClassVar[Any]  # the work of `backward`; tensorgraph.engine.backward, a room further up, puts it here

    # what is known of it -------------------------------------------------------------------------------------------

    @property
    def aval(self) -> Aval:
        """Shape and dtype."""
        value = self._value
        return Aval(value.shape, value.dtype) if type(value) is ndarray else value.aval

    @property
    def shape(self) -> tuple[int, ...]:
        value = self._value
        return value.shape if type(value) is ndarray else value.aval.shape  # type: ignore[no-any-return]

    @shape.setter
    def shape(self, value: Any) -> NoReturn:
        raise AttributeError(f"tensors never change; write y = x.reshape({value!r})")

    @property
    def dtype(self) -> np.dtype[Any]:
        value = self._value
        return value.dtype if type(value) is ndarray else value.aval.dtype  # type: ignore[no-any-return]

    @dtype.setter
    def dtype(self, value: Any) -> NoReturn:
        raise AttributeError(f"tensors never change; write y = x.astype({value!r})")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements there are. PyTorch's ``x.size()`` is `shape`."""
        return self.aval.size

    @property
    def nbytes(self) -> int:
        return self.aval.nbytes

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor."""
        trace = modes.current().trace
        if trace is not None:
            return trace.is_differentiable(self)
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return self._node is None or type(self._node) is Leaf

    # gradients -----------------------------------------------------------------------------------------------------

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` accumulated here, with this tensor's shape and dtype, or None."""
        trace = modes.current().trace
        if trace is not None:
            return trace.get_grad(self)
        node = self._node
        return node.grad if type(node) is Leaf else None

    @grad.setter
    def grad(self, value: Any) -> None:
        trace = modes.current().trace
        if value is not None:
            value = tensor(value)
            if value.aval != self.aval:
                raise ValueError(f".grad must be {self.aval} as its tensor, got {value.aval}")
        if trace is not None:
            trace.set_grad(self, value)
            return
        if type(self._node) is not Leaf:
            if value is None:
                return
            raise ValueError(".grad can be set only where gradients arrive: on a leaf made with requires_grad=True")
        self._node.grad = value

    def zero_grad(self) -> None:
        """Forget the accumulated gradient."""
        self.grad = None

    @checked
    def backward(self, grad_output: Any = None, *, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Accumulate the gradient of this tensor into ``.grad`` of every leaf that it depends on.

        Parameters
        ----------
        grad_output : array-like, optional
            The cotangent, of this tensor's shape; 1 for a tensor of one element.
        retain_graph : bool
            Keep what the pass needs, so that a second backward is possible.
        create_graph : bool
            Record the pass itself, so that gradients can be differentiated again.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> w = tg.tensor(3.0, requires_grad=True)
        >>> (w ** 2).backward()
        >>> float(w.grad)
        6.0
        """
        self._backward(grad_output, retain_graph, create_graph)

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate tensor too; read it with `tensorgraph.gradients` where possible."""
        if self._node is None:
            raise ValueError("retain_grad: this tensor does not require a gradient")
        raise ValueError(
            "intermediate tensors keep no .grad; ask for the gradient by name: "
            "tensorgraph.gradients([loss], [this_tensor]), or register_hook to see it pass"
        )

    @checked
    def register_hook(self, hook: Hook) -> Any:
        """Call ``hook(gradient)`` when this tensor's gradient is complete; a returned value replaces it.

        Returns
        -------
        callable
            Removes the hook.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> x = tg.tensor(2.0, requires_grad=True)
        >>> y = x * x
        >>> remove = y.register_hook(lambda g: g * 10)
        >>> y.backward(); float(x.grad)
        40.0
        """
        trace = modes.current().trace
        if trace is not None:
            raise TraceError("register_hook: hooks are Python calls and cannot be traced; use tensorgraph.custom_vjp")
        node = self._node
        if node is None:
            raise ValueError("register_hook: this tensor does not require a gradient")
        hooks = getattr(node, "hooks", None)
        if hooks is None:
            hooks = node.hooks = []
        entry = [hook]  # a list of its own, so that the same hook may be registered twice
        hooks.append(entry)
        mark_hooked()

        def remove() -> None:
            entry.clear()

        return remove

    @checked
    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Make a leaf ask for gradients, or stop asking; returns it."""
        if modes.current().trace is not None:
            raise TraceError(
                "requires_grad_ changes a live tensor and cannot be traced: make modules and parameters, freeze and "
                "unfreeze them before tracing"
            )
        if not self.is_leaf:
            raise ValueError("requires_grad_ works on leaves; use detach() to cut a computed tensor from its history")
        if requires_grad and self._node is None:
            require_float(self.dtype, "requires_grad=True")
            self._node = Leaf(self.shape, self.dtype)
            move()
        elif not requires_grad and self._node is not None:
            self._node = None
            move()
        return self

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Any:
        if not self.shape:
            raise TypeError("a 0-d tensor is not iterable")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, value: Any) -> bool:
        other = concrete(value, "in") if isinstance(value, Tensor) else value
        return bool(np.any(concrete(self, "in") == other))

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pos__(self) -> Tensor:
        if self.dtype.kind == "b":
            raise TypeError("positive is not defined for bool, as in NumPy; convert with .astype('int64')")
        return self if type(self) is Tensor else self * 1

    __hash__ = object.__hash__

    # what it refuses ----------------------------------------------------------------------------------------------

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("a tensor is immutable; use y = x.at[i].set(v) (or .add(v)), which makes a new one")

    @property
    def at(self) -> At:
        """Functional updates: ``x.at[i].set(v)``, ``x.at[i].add(v)``; `x` keeps its numbers."""
        from tensorgraph.engine.indexing import At

        return At(self)

    # the rest -----------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        value = self._value
        kind = type(self).__name__.lower()
        tail = ", requires_grad=True" if self._node is not None and type(self) is Tensor else ""
        if type(value) is not ndarray:
            return f"{kind}(traced {value!r})"
        numbers = np.array2string(value, separator=", ", prefix=f"{kind}(", threshold=200)
        return f"{kind}({numbers}, {short(value.dtype)}{tail})"

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        if self.size != 1:
            raise ValueError(f"the format {spec!r} needs one element, got {self.aval}")
        return format(concrete(self, "format()").item(), spec)

    def __reduce__(self) -> tuple[Any, ...]:
        value = leaving(self, "pickling")
        return tensor, (np.array(value), None, self._node is not None)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return tensor(leaving(self, "copy.deepcopy()"), requires_grad=self._node is not None)

    def __copy__(self) -> Tensor:
        own = self._node is None or (type(self._node) is Leaf and self._node.user)
        # what is traced, or has a history, never changes and stays what it is
        return self.__deepcopy__(None) if own and type(self._value) is ndarray else self

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": repr(self)}  # and a picture, where the rooms above have put their own in this place


# a Tensor with nothing in it: the cheapest way to an object, for the calls that make one each
blank = type.__call__.__get__(Tensor)


def short(dtype: np.dtype[Any]) -> str:
    from tensorgraph.engine.aval import short_dtype

    return short_dtype(dtype)


def require_float(dtype: np.dtype[Any], what: str) -> None:
    """Raise unless gradients can exist for this dtype."""
    if dtype.kind != "f":
        raise TypeError(f"{what}: only float tensors have gradients, got {dtype}; convert with .astype('float32')")


def wrap(value: Array) -> Tensor:
    """A tensor around an array that nobody else writes to. No copy, no checks."""
    t: Tensor = blank()
    t._value = value
    t._node = None
    return t


def as_array(data: Any, dtype: Any = None) -> Array:
    """Anything NumPy understands as an array of a supported dtype.

    Python floats and lists of them take the default dtype, integers int64; arrays keep theirs.
    """
    if isinstance(data, Tensor):
        array = concrete(data, "numpy.asarray(tensor)")
        return array if dtype is None else array.astype(canonical_dtype(dtype), copy=False)
    if type(data) is not ndarray and isinstance(data, ndarray) and hasattr(data, "mask"):
        raise TypeError("a masked array has numbers that do not count; fill them first: array.filled(value)")
    if dtype is not None:
        wanted = canonical_dtype(dtype)
        if type(data) is int:
            return np.asarray(data, wanted)  # refused by NumPy where it does not fit, and an array would wrap
        array = np.asarray(data)
        if array.dtype.kind == "c" or array.dtype.kind in "OSUVMm":
            canonical_dtype(array.dtype)
        if array.dtype == np.float64 and wanted.kind in "iu" and isinstance(data, (list, tuple)):
            return np.asarray(data, wanted)  # NumPy makes floats of integers of which some need 64 bits without a sign
        return np.asarray(array, wanted)
    if isinstance(data, (ndarray, np.generic)):
        array = np.asarray(data)
        return np.asarray(array, canonical_dtype(array.dtype))
    if type(data) is float:
        return np.asarray(data, default_dtype())
    array = _numbers(data)
    if array.dtype == np.float64 and not _holds_float64(data):
        return array.astype(default_dtype())
    return array


def _numbers(data: Any) -> Array:
    """Python numbers and nestings of them, floats as float64."""
    if is_raw(data):
        raise TypeError(f"expected numbers, got {type(data).__name__}; {RAW}")
    _refuse_recorded(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"expected numbers in a regular nesting (every row as long as the others): {error}") from None
    if array.dtype.kind in "OSUVMm":
        raise TypeError(f"expected numbers, got {type(data).__name__} of dtype {array.dtype}")
    return np.asarray(array, canonical_dtype(array.dtype))


def _holds_float64(data: Any) -> bool:
    """Whether a nested list holds float64 arrays, which keep their dtype where Python floats do not."""
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, (ndarray, np.generic, Tensor)):
            if item.dtype == np.float64:
                return True
        elif not isinstance(item, (int, float)):
            return hasattr(item, "dtype")
    return False


def _refuse_recorded(data: Any) -> None:
    """A list of recorded tensors would lose their history on its way through NumPy."""
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, Tensor) and type(item._value) is not ndarray and type(item.aval) is Number:
            raise TraceError(
                f"a list that holds a Python number that is traced ({item._value!r}) is not an array; join it with "
                "tensors by tensorgraph.stack([...])"
            )
        elif isinstance(item, Tensor) and (item._node is not None or type(item._value) is not ndarray):
            raise TypeError(
                "a list that holds tensors with gradients is not an array; join them with tensorgraph.stack([...]), or "
                "detach() them"
            )


def weak_cast(value: Any, dtype: np.dtype[Any], what: str) -> Array:
    """A Python scalar or nested list in a dtype, refused where that would change the numbers."""
    # not by the default dtype: 0.1 for a float64 place is float64's 0.1
    array = _numbers(value) if isinstance(value, (int, float, list, tuple)) else as_array(value)
    if array.dtype == dtype:
        return array
    if array.dtype.kind == "f" and dtype.kind in "iub":
        raise TypeError(f"{what}: {value!r} cannot be stored as {dtype} without loss; convert it yourself")
    if array.dtype.kind in "iu" and dtype.kind in "iub":
        cast = array.astype(dtype)
        wrapped = not np.array_equal(cast.astype(array.dtype), array) or ((cast < 0) != (array < 0)).any()
        if wrapped or dtype.kind == "b":
            raise TypeError(f"{what}: {value!r} does not fit {dtype}")
        return cast
    return array.astype(dtype)


@checked
def tensor(data: Any, dtype: DType | None = None, requires_grad: bool = False, *, copy: bool = True) -> Tensor:
    """Make a tensor from numbers.

    Parameters
    ----------
    data : array-like
        Python scalars, nested lists, arrays or tensors. Floats in lists take the default dtype (float32), integers
        stay int64, arrays keep their dtype.
    dtype : dtype-like, optional
    requires_grad : bool
        Whether `backward` leaves a gradient in ``.grad``. Float dtypes only.
    copy : bool
        Copy (the default), or share memory with `data`, which then must not be changed.

    Raises
    ------
    TypeError
        For complex numbers, text and objects, and for an integer tensor asked for a gradient.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.tensor([[1.0, 2.0]])
    tensor([[1., 2.]], f32)
    >>> tg.tensor([1, 2], requires_grad=True)
    Traceback (most recent call last):
        ...
    TypeError: requires_grad=True: only float tensors have gradients, got int64; convert with .astype('float32')
    """
    if isinstance(data, Tensor):
        leave(data, "tensor()")
    trace = modes.current().trace
    if isinstance(data, Tensor) and (type(data._value) is not ndarray or trace is not None):
        if requires_grad:
            raise TraceError("tensor(traced, requires_grad=True): use tensorgraph.gradients with respect to it instead")
        if trace is not None and type(data.aval) is Number:
            return trace.strong(data, dtype)
        detached = data.detach()
        return detached if dtype is None else detached.astype(dtype)
    array = as_array(data, dtype)
    if copy and not isinstance(data, (int, float, list, tuple)):
        array = array.copy()
    t = wrap(array)
    if requires_grad:
        require_float(array.dtype, "requires_grad=True")
        t._node = Leaf(array.shape, array.dtype)
    return t
