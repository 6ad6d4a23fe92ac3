"""What may be given to an op: its operands as arrays and weak numbers, its attributes as static literals.

A Python number beside a tensor of an elementwise op is weak: it takes the tensor's dtype. So is a NumPy scalar, where a
tensor of a float dtype is among the operands. Everything else becomes a tensor, Python's floats of the default dtype
or of a wider one beside them: what is made here belongs to the call, an array that was given stays its owner's, so that
whatever keeps it or hands it out copies it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NoReturn

import numpy as np

from tensorgraph.arguments import Kind, Unfit, kind_of
from tensorgraph.arguments.depth import DEEP, is_deep
from tensorgraph.engine import known, modes
from tensorgraph.engine.aval import NATIVE
from tensorgraph.engine.cells import Buffer, Parameter
from tensorgraph.engine.exits import Array
from tensorgraph.engine.numbers import TRACED, TracedNumber, TracedScalar, strong_dtype
from tensorgraph.engine.op import Op, creation, elementwise, listing, settle
from tensorgraph.engine.open_sizes import OpenSize
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.engine.spec import Typed
from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.engine.tensor import Tensor, as_array, new, wrap

__all__ = [
    "Borrowed",
    "apart",
    "convert",
    "converted",
    "dtype_of",
    "lend",
    "lend_copy",
    "lend_items",
    "numbers_of",
    "owned",
    "static",
    "weak_items",
    "weigh",
]

ndarray = np.ndarray
F32 = np.dtype(np.float32)
LARGE = 2**63
SCALARS = frozenset({int, float, bool, OpenSize})
LITERALS: frozenset[type] = frozenset({int, float, bool, str, type(None), tuple})
LITERAL = frozenset({int, float, bool, str, type(None)})
NUMBERS = frozenset(key for key in NATIVE if isinstance(key, type))  # the types of NumPy's scalars
NAMES = {key: dtype.name for key, dtype in NATIVE.items() if not isinstance(key, str)}


# attributes -----------------------------------------------------------------------------------------------------------


def static(value: Any) -> Any:
    """An attribute as a hashable literal: tuples for lists, Python scalars for NumPy's, names for dtypes.

    Raises
    ------
    Unfit
        For a tensor that is no integer.
    """
    kind = type(value)
    if kind in LITERAL or kind is OpenSize:
        return value
    if isinstance(value, (list, tuple)):
        return tuple([static(v) for v in value])
    if isinstance(value, (np.generic, complex)):
        return _number(value)
    if isinstance(value, Tensor):
        if type(value) is not TracedNumber and value.ndim == 0 and value.dtype.kind in "iu":
            return int(value)
        raise Unfit("a static Python value", value)
    if isinstance(value, Typed):
        return value.dtype.name
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        try:
            return NAMES.get(value) or np.dtype(value).name
        except TypeError:  # numpy.floating, of which there is no array
            return value
    if isinstance(value, ndarray) and value.ndim == 0:
        return _number(value[()])
    return value


def _number(value: Any) -> Any:
    """A scalar as Python's; of a type that tensors do not have it is refused, as among the operands."""
    if isinstance(value, (complex, np.complexfloating)):
        raise Foreign(f"complex numbers are not supported (got {value!r}); pass the real and imaginary parts")
    plain = value.item()
    if isinstance(plain, np.generic):  # NumPy's own, which Python has no number for
        raise Foreign(
            f"expected a number of Python's, or of a dtype that tensors have, got {value!r}; write float(...)"
        )
    return plain


class Foreign(TypeError):
    """An attribute that is a number of a type which tensors do not have."""


@cache
def flag_or_choice(annotation: str) -> Kind | None:
    """The kind of an attribute that is a flag or one of several words; of numbers and sizes the op's rules ask."""
    named = {"Literal": Literal, "Any": Any}
    return kind_of(eval(annotation, named)) if annotation.startswith(("bool", "Literal[", "tuple[")) else None


def instant(declared: Op, name: str) -> frozenset[type]:
    """The types of an attribute that need no look."""
    kind = flag_or_choice(declared.signature.types[name])
    return LITERALS if kind is None else kind.instant


def attribute(declared: Op, name: str, value: Any) -> Any:
    """An attribute as a hashable literal of its kind."""
    if value is REQUIRED:
        raise TypeError(f"{declared.name} needs {name!r}; it takes {', '.join(declared.signature.order)}")
    try:
        value = static(value)
    except Foreign as foreign:
        raise TypeError(f"{declared.name}: {name}: {foreign}") from None
    except Unfit as unfit:
        _refuse_tensor(declared, name, unfit.value)
    except RecursionError:
        if not is_deep(value):
            raise
        raise ValueError(f"{declared.name}: {name} is {DEEP}") from None
    kind = flag_or_choice(declared.signature.types[name])
    if kind is None:
        return value
    try:
        return kind(value)
    except Unfit as unfit:
        error = unfit.wrong(unfit.sentence(f"{declared.name}: {name}"))
    raise error


def _refuse_tensor(declared: Op, name: str, value: Tensor) -> NoReturn:
    """Say that an attribute is no tensor, and what to write."""
    sig = declared.signature
    said = f"{sig.name}: {name} is a static Python value"
    if type(value) is TracedNumber:
        value.asked(f"{said}: it")
    remedy = "pass Python's numbers"
    if sig.lists and name == sig.order[len(sig.inputs)]:
        remedy = f"the tensors are given as one list: {sig.name}([a, b])"
    elif sig.types[name].startswith("float"):
        remedy = "where a gradient should flow into it, use ops whose inputs are tensors (a * b, tensorgraph.where)"
    elif name in ("axis", "axes", "keepdims"):
        remedy = "of two tensors the larger and the smaller are tensorgraph.maximum and minimum"
    result = TypeError(f"{said}, got a tensor {value.aval}; {remedy}")
    raise result from None


def numbers_of(declared: Op) -> tuple[str, ...]:
    """The attributes of a creation op that are its numbers, and decide its dtype where none is said."""
    sig = declared.signature
    if declared.kind is not creation or "dtype" not in sig.attrs:
        return ()
    return tuple(name for name, said in sig.types.items() if said.startswith("float"))


def dtype_of(numbers: Sequence[Any]) -> str | None:
    """The dtype that NumPy's scalars among the numbers ask for, or None where there are none: Python's have no say."""
    given = [v.dtype for v in numbers if type(v) in NUMBERS]
    if not given:
        return None
    rest = [v for v in numbers if type(v) in (int, float)]
    return settle(np.result_type(*given, *rest), given).name


# the general way ------------------------------------------------------------------------------------------------------


class Borrowed(Tensor):
    """An input around memory that is the user's, who may change it: whatever keeps it must copy it."""

    __slots__ = ()


def array_beside(value: Any, given: Sequence[Any]) -> Array:
    """Numbers as an array; Python's floats, alone or in lists, keep the digits of the widest floats in `given`."""
    array = as_array(value)
    if array.dtype.kind != "f" or type(value) not in (float, list, tuple):
        return array
    dtype = _wider(array.dtype, given)
    return array if dtype == array.dtype or not _of_numbers(value) else as_array(value, dtype)


def _wider(dtype: np.dtype[Any], given: Sequence[Any]) -> np.dtype[Any]:
    """A float dtype, or that of the tensors and arrays in `given`, and in lists there, which has more digits."""
    beside = [v for item in given for v in (item if type(item) in (list, tuple) else (item,))]
    dtypes = {v.dtype for v in beside if isinstance(v, (Tensor, ndarray)) and type(v) not in TRACED}
    return np.result_type(dtype, *(d for d in dtypes if d.kind == "f" and d in NATIVE))


def convert(value: Any, what: Callable[[], str], copy: bool = False, given: Sequence[Any] = ()) -> Any:
    """An op's input beside the others `given`: a Tensor, a weak Python scalar, or None."""
    if isinstance(value, Tensor) or type(value) in SCALARS or value is None:
        return value
    try:
        array = array_beside(value, given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what()}: {error}") from None
    if isinstance(value, (list, tuple, np.generic)):
        return wrap(array)  # made here
    if copy:
        return wrap(array.copy())
    t = new(Borrowed)
    t._value, t._node = array, None
    return t


def converted(declared: Op, raw: Sequence[Any], copy: bool) -> list[Any]:
    """What was given for each input as Tensors, weak scalars or None; an error names the op and the input."""
    inputs: list[Any] = []
    for name, value in zip(declared.inputs, raw, strict=True):

        def what(name: str = name) -> str:
            return f"{declared.name}: input {name!r}{describe_source(user_source())}"

        if name in declared.signature.lists:
            if not isinstance(value, (list, tuple)) and not (isinstance(value, (Tensor, ndarray)) and value.ndim):
                raise TypeError(f"{what()}: expected a list of tensors, got {type(value).__name__}")
            items = [convert(v, what, copy, raw) for v in (weak_items(value) if declared.kind is listing else value)]
            empty = next((n for n, v in enumerate(items) if v is None), None)
            if empty is not None:
                raise TypeError(f"{what()}: expected tensors, got None for number {empty} of {len(items)}")
            inputs.append([wrap(array_beside(v, raw)) if type(v) in SCALARS else v for v in items])
        elif value is None and name not in declared.signature.optional:
            raise TypeError(f"{what()}: expected a tensor, got None")
        else:
            inputs.append(value if type(value) in NUMBERS else convert(value, what, copy, raw))
    return inputs


def weak_items(items: Any) -> Any:
    """What is to be joined: Python's numbers, and lists of nothing else, are of the float dtype of the tensors beside
    them, and so are NumPy's scalars; the rest is as it came, and so is everything where there is no such tensor."""
    if not isinstance(items, (list, tuple)) or all(type(v) is Tensor for v in items):
        return items
    whole = [v for v in items if isinstance(v, (Tensor, ndarray)) and type(v) not in TRACED]
    dtypes = [v.dtype for v in whole]
    if not any(isinstance(v, Tensor) and v.dtype.kind == "f" for v in whole):  # beside which alone they are weak
        dtypes += [v.dtype for v in items if isinstance(v, np.generic) or type(v) is TracedScalar]
    if not any(dtype.kind == "f" and dtype in NATIVE for dtype in dtypes):
        return items
    try:
        dtype = settle(np.result_type(*dtypes), dtypes)
    except TypeError:  # of something that is no number: the op says so
        return items
    return [_weak_item(v, dtype) for v in items]


def _weak_item(item: Any, dtype: np.dtype[Any]) -> Any:
    if type(item) is TracedNumber:
        trace = modes.current().trace
        return item if trace is None else trace.strong(item, dtype)
    if type(item) is TracedScalar:
        return known.astype.public(_tensor_of(item), dtype=dtype.name)
    if not (_of_numbers(item) or (isinstance(item, np.generic) and item.dtype.kind in "iufb")):
        return item
    try:
        return wrap(np.asarray(item, dtype))
    except (OverflowError, ValueError):  # too large an integer, rows of several lengths: the op says so
        return item


def _of_numbers(item: Any) -> bool:
    """Whether something is a Python number or nested lists of these."""
    stack = [item]
    while stack:
        part = stack.pop()
        if type(part) in (list, tuple):
            stack += part
        elif type(part) not in SCALARS:
            return False
    return True


def weigh(declared: Op, inputs: list[Any]) -> list[Any]:
    """Converted inputs with the numbers among them weak where they may be, and tensors elsewhere."""
    if any(type(i) in TRACED or (type(i) is list and any(type(v) is TracedNumber for v in i)) for i in inputs):
        return _weigh_traced(declared, inputs)
    if declared.kind is elementwise:
        if _meets_float(inputs):
            return [i.item() if type(i) in NUMBERS else i for i in inputs]
        inputs = [wrap(as_array(i)) if type(i) in NUMBERS else i for i in inputs]
        if any(isinstance(i, Tensor) for i in inputs):
            return inputs
    try:
        return [wrap(array_beside(i, inputs)) if type(i) in SCALARS or type(i) in NUMBERS else i for i in inputs]
    except TypeError as error:  # an integer that no dtype holds
        raise TypeError(f"{declared.name}{describe_source(user_source())}: {error}") from None


def _weigh_traced(declared: Op, inputs: list[Any]) -> list[Any]:
    """As `weigh`, where numbers are traced: they stay as they are where they may be weak."""
    dtypes = [i.dtype for i in inputs if isinstance(i, Tensor) and type(i) not in TRACED]
    if declared.kind is elementwise and any(d.kind == "f" for d in dtypes):  # NumPy's scalars are weak too
        dtype = settle(np.result_type(*dtypes), dtypes).name
        inputs = [known.astype.public(_tensor_of(i), dtype=dtype) if type(i) is TracedScalar else i for i in inputs]
    elif declared.kind is elementwise and not dtypes and any(type(i) is TracedScalar for i in inputs):
        inputs = [wrap(as_array(i)) if type(i) in NUMBERS else i for i in inputs]
    if declared.kind is elementwise and any(isinstance(i, Tensor) and type(i) is not TracedNumber for i in inputs):
        inputs = [_tensor_of(i) if type(i) is TracedScalar else i for i in inputs]
        plain = weigh(declared, [i.sample if type(i) is TracedNumber else i for i in inputs])
        return [i if type(i) is TracedNumber else k for i, k in zip(inputs, plain, strict=True)]
    inputs = [_tensor_of(i) if type(i) is TracedScalar else i for i in inputs]
    strong = [[_strong(v, inputs) for v in i] if type(i) is list else _strong(i, inputs) for i in inputs]
    return weigh(declared, strong)


def _tensor_of(scalar: TracedScalar) -> Tensor:
    """A traced scalar as the tensor that it is."""
    t = new(Tensor)
    t._value, t._node = scalar._value, scalar._node
    return t


def _strong(item: Any, given: Sequence[Any]) -> Any:
    trace = modes.current().trace
    if type(item) is not TracedNumber or trace is None:
        return item
    own = strong_dtype(item.aval)
    return trace.strong(item, _wider(own, given) if own.kind == "f" else own)


def _meets_float(given: Sequence[Any]) -> bool:
    """Whether a tensor of a float dtype, or an array that stands for one, is among the operands."""
    for v in given:
        kind = type(v)
        if kind is Tensor or kind is Parameter:
            v = v._value
            if (v if type(v) is ndarray else v.aval).dtype.kind == "f":
                return True
        elif kind not in NUMBERS and kind not in SCALARS and isinstance(v, (Tensor, ndarray)) and v.dtype.kind == "f":
            return True
    return False


# the short way, for what is neither Tensor nor Parameter; None where the general way is to be taken -------------------


def lend(value: Any, given: tuple[Any, ...], weak: bool) -> Any:
    """The array of an operand, or the number that it is beside the operands `given`, which are weak if `weak`."""
    kind = type(value)
    if kind is ndarray:
        dtype = value.dtype
        return value if dtype is F32 or NATIVE.get(dtype) is dtype else None
    if kind in NUMBERS:
        return value.item() if weak and _meets_float(given) else np.asarray(value)
    if kind in SCALARS:
        if weak and any(type(v) not in SCALARS and v is not None for v in given):
            return value
        return array_beside(value, given) if kind is not int or -LARGE <= value < LARGE else None
    return value._value if kind is Buffer else None


def lend_copy(value: Any, given: tuple[Any, ...], weak: bool) -> Any:
    """As `lend`, for ops whose results lie in their inputs' memory."""
    array = lend(value, given, weak)
    return array.copy() if array is value and type(array) is ndarray else array


def lend_items(items: Any, copy: bool) -> Any:
    """The arrays of a list input, their nodes (None if none has one), and whether an array was given."""
    if type(items) is not list and type(items) is not tuple:
        return None
    values: list[Any] = []
    nodes: list[Any] = []
    lent = recorded = False
    for item in items:
        kind = type(item)
        if kind is Tensor or kind is Parameter:
            value, node = item._value, item._node
            if node is not None:
                recorded = True
        elif kind is ndarray and ((dtype := item.dtype) is F32 or NATIVE.get(dtype) is dtype):
            value, node, lent = item.copy() if copy else item, None, True
        else:
            # a Python number is of the dtype of the others: see `weak_items`
            value, node = None if kind in SCALARS or kind in NUMBERS else lend(item, (), False), None
        if type(value) is not ndarray:
            return None
        values.append(value)
        nodes.append(node)
    return values, tuple(nodes) if recorded else None, lent


def apart(values: list[Any], given: Any) -> list[Any]:
    """The arrays of a list input, those that were given copied."""
    return [v.copy() if any(v is item for item in given) else v for v in values]


def owned(out: Any, given: tuple[Any, ...]) -> Any:
    """A result, copied where it lies in the memory of an array that was given."""
    for item in given:
        if type(item) is ndarray:
            if out is item or (out.base is not None and np.may_share_memory(out, item)):
                return out.copy("K")
        elif type(item) in (list, tuple):
            out = owned(out, tuple(item))
    return out
