"""Python numbers in a trace: weak, as they are in eager code.

A function that is traced with a Python float, int or bool in the place of an argument gets a `TracedNumber`. Beside a
tensor it is as weak as the number that it stands for, among numbers it computes as Python does, and elsewhere it
becomes a tensor as that number would. A graph keeps it as it is, so that the graph and the function give the same bits.
A NumPy scalar is weak beside tensors of floats alone: the trace casts it there, and its input is one of its dtype.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, Number, default_dtype
from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.engine.tensor import Tensor, TraceError

__all__ = [
    "OPERATORS",
    "TRACED",
    "TracedNumber",
    "TracedScalar",
    "arithmetic",
    "is_number",
    "number_type",
    "operator_of",
    "strong_dtype",
]

SCALARS = (int, float, bool)
ARRAYS = (Tensor, np.ndarray, np.generic)

# Python's operators by the sign that a declaration calls its own: see `Op.infix`
OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow, "&": operator.and_, "|": operator.or_, "^": operator.xor, "==": operator.eq,
    "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "u-": operator.neg,
    "u~": operator.invert, "<<": operator.lshift, ">>": operator.rshift,
}  # fmt: skip


class TracedNumber(Tensor):
    """A Python number of which only the type is known. Made by traces."""

    __slots__ = ()

    @property
    def sample(self) -> Any:
        """A number of this type, for rules that look at types alone."""
        aval = self.aval
        assert type(aval) is Number
        return aval.sample

    def _refuse(self, what: str, remedy: str) -> NoReturn:
        raise TraceError(
            f"{what} of a Python number that is traced ({self._value!r}){describe_source(user_source())}: {remedy}"
        )

    def asked(self, what: str) -> NoReturn:
        """Raise where the number itself is needed."""
        name = getattr(self._value, "name", None) or "n"
        raise TraceError(
            f"{what} needs numbers, but {self._value!r} is a Python number that is traced: only its type is known"
            f"{describe_source(user_source())}. Where it decides a shape, an axis or a branch it is a part of the "
            f"function: trace functools.partial(function, {name}=...), or close over it. A branch may be "
            "tensorgraph.where"
        )

    def __float__(self) -> NoReturn:
        self.asked("float()")

    def __int__(self) -> NoReturn:
        self.asked("int()")

    def __index__(self) -> NoReturn:
        self.asked("an index, a size or an axis")

    def __bool__(self) -> NoReturn:
        self.asked("a branch (if, while, and, or, not, bool())")

    def __abs__(self) -> Any:
        # of operators, which are all that numbers have: times 1, 0 or -1, the derivative too, which is 0 at 0 as that
        # of `absolute`; what is added makes 0.0 of -0.0
        return self * (1 * (self > 0) - 1 * (self < 0)) + 0

    def __pos__(self) -> TracedNumber:
        return self

    def _whole(self, what: str, remedy: str, digits: int | None = None) -> TracedNumber:
        """An integer, which is whole; `digits` before the point would be another number."""
        if self.sample.__class__ is int and (digits is None or digits >= 0):
            return self
        self._refuse(what, f"a graph has no such operation; {remedy}")

    def __round__(self, digits: int | None = None) -> TracedNumber:
        return self._whole("round()", "round before the call", digits)

    def __floor__(self) -> TracedNumber:
        return self._whole("math.floor()", "write s // 1")

    def __ceil__(self) -> TracedNumber:
        return self._whole("math.ceil()", "write -(-s // 1)")

    def __trunc__(self) -> TracedNumber:  # type: ignore[override]
        return self._whole("math.trunc()", "convert before the call")

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    @property
    def __class__(self) -> Any:  # for isinstance, which in eager code sees the number
        return type(self.sample)

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("a number is what it is")

    def __hash__(self) -> int:
        self.asked("hash(), as a dict and a set do,")


def _said(name: str) -> Callable[..., str]:
    plain = getattr(Tensor, name)

    def method(self: TracedNumber, *args: Any) -> Any:
        trace: Any = modes.current().trace
        if trace is not None and trace.watcher is not None:  # text is a part of what a compiled function gives
            self.asked("text, as of str() and format(),")
        return plain(self, *args)

    method.__name__ = method.__qualname__ = name
    return method


for _name in ("__repr__", "__str__", "__format__"):
    setattr(TracedNumber, _name, _said(_name))


def _operation(sign: str, name: str, reflected: bool) -> Callable[..., Any]:
    beside = f"__{'r' if reflected else ''}{name}__"

    def method(self: TracedNumber, *others: Any) -> Any:
        trace = modes.current().trace
        if trace is not None and all(is_number(other) for other in others):
            return trace.arithmetic(operator_of(sign), (*others, self) if reflected else (self, *others))
        if any(type(other) is not Tensor and not isinstance(other, ARRAYS) for other in others):
            self.asked(f"{sign} beside a {type(others[0]).__name__}")  # which repeats itself, or is a number of its own
        return getattr(Tensor, beside)(self, *others)

    method.__name__ = method.__qualname__ = beside
    return method


class TracedScalar(Tensor):
    """A NumPy scalar of which only the dtype is known: weak beside tensors of floats, a tensor elsewhere."""

    __slots__ = ()
    __hash__ = Tensor.__hash__

    @classmethod
    def of(cls, t: Tensor) -> TracedScalar:
        """A traced tensor without axes, as a scalar."""
        scalar = object.__new__(cls)
        scalar._value, scalar._node = t._value, t._node
        return scalar


def _one(value: Any) -> Any:
    """A scalar of the same type."""
    if type(value) is TracedNumber:
        return value.sample
    return value.dtype.type(1) if isinstance(value, Tensor) else value


def _scalar_operation(sign: str, name: str, reflected: bool) -> Callable[..., Any]:
    beside = f"__{'r' if reflected else ''}{name}__"

    def method(self: TracedScalar, *others: Any) -> Any:
        if not all(is_number(v) or type(v) is TracedScalar or isinstance(v, np.generic) for v in others):
            return getattr(Tensor, beside)(self, *others)
        ones = [_one(v) for v in ((*others, self) if reflected else (self, *others))]
        dtype = np.asarray(OPERATORS[sign](*ones)).dtype
        # NumPy makes other floats of its integers than the library does
        own = self if dtype.kind != "f" or self.dtype.kind == "f" else self.astype(dtype.name)
        result = getattr(Tensor, beside)(own, *others)
        return TracedScalar.of(result) if isinstance(result, Tensor) else result

    method.__name__ = method.__qualname__ = beside
    return method


for _sign, _function in OPERATORS.items():
    _name = _function.__name__.strip("_")
    _sides = (False,) if _sign[0] == "u" or _name in ("eq", "ne", "lt", "le", "gt", "ge") else (False, True)
    for _reflected in _sides:
        _called = f"__{'r' if _reflected else ''}{_name}__"
        setattr(TracedNumber, _called, _operation(_sign, _name, _reflected))
        setattr(TracedScalar, _called, _scalar_operation(_sign, _name, _reflected))


TRACED = frozenset({TracedNumber, TracedScalar})


def operator_of(sign: str) -> Op:
    """The op that declares a sign as its own."""
    return next(op for op in CATALOGUE.values() if op.infix == sign)


def is_number(value: Any) -> bool:
    """Whether a value is a Python number, traced or not."""
    return type(value) in SCALARS or type(value) is TracedNumber


def arithmetic(op: Op) -> Callable[..., Any]:
    """Python's own function of numbers for an op that has a sign."""
    return OPERATORS[op.infix or ""]


def number_type(op: Op, operands: tuple[Any, ...]) -> Number:
    """What Python's arithmetic gives: `operands` are numbers, and types of numbers.

    Raises
    ------
    TypeError
        Where Python knows no such operation, and for an integer to the power of one that is not known.
    """
    if op.infix not in OPERATORS:
        raise TypeError(f"{op.name} is no operation of Python's numbers")
    exponent = operands[-1]
    if op.infix == "**" and type(exponent) is Number and exponent.kind is int and _kind(operands[0]) is not float:
        raise TypeError("an integer to the power of another is a float where that is negative; write float(n) ** m")
    value = arithmetic(op)(*[int(v.sample) if type(v) is Number and v.kind is bool and op.infix == "u~" else
                             v.sample if type(v) is Number else v for v in operands])  # fmt: skip
    if type(value) not in SCALARS:
        raise TypeError(f"{op.name} of {', '.join(map(str, operands))} gives a {type(value).__name__}")
    return Number(type(value))


def _kind(value: Any) -> type:
    return value.kind if type(value) is Number else type(value)


def strong_dtype(number: Aval) -> Any:
    """The dtype of the tensor that a Python number becomes where it is not weak."""
    return default_dtype() if number.dtype.kind == "f" else number.dtype
