"""What operators and memory are in LLVM's text: the types that meet, the instructions, and addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.native.code import Code, Value, literal, vector

__all__ = ["COMPARED", "PYTHON", "Arithmetic"]

PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mult": lambda a, b: a * b, "Div": lambda a, b: a / b,
    "FloorDiv": lambda a, b: a // b, "Mod": lambda a, b: a % b, "RShift": lambda a, b: a >> b, "Pow": lambda a, b: a**b,
    "LShift": lambda a, b: a << b, "BitAnd": lambda a, b: a & b, "BitOr": lambda a, b: a | b,
    "BitXor": lambda a, b: a ^ b,
}  # fmt: skip
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "Lt": lambda a, b: a < b, "LtE": lambda a, b: a <= b, "Gt": lambda a, b: a > b, "GtE": lambda a, b: a >= b,
    "Eq": lambda a, b: a == b, "NotEq": lambda a, b: a != b, "Is": lambda a, b: a is b,
    "IsNot": lambda a, b: a is not b,
}  # fmt: skip


class Arithmetic:
    """Writes the code of operators and of memory, for numbers of `size` bytes and vectors of `width` bytes."""

    def __init__(self, size: int, width: int) -> None:
        self.code = Code()
        self.size, self.lanes = size, width // size
        self.real, self.tag = ("float", "f32") if size == 4 else ("double", "f64")
        self.vector, self.mask = vector(self.real, self.lanes), vector("i1", self.lanes)

    def value(self, x: Any) -> Value:
        """A value: a number that is known becomes one of the kernel's type, or an integer."""
        if isinstance(x, Value):
            return x
        if isinstance(x, (bool, np.bool_)):
            return Value("i1", "true" if x else "false")
        if isinstance(x, np.floating):
            return literal("float" if x.dtype.itemsize == 4 else "double", x)
        if isinstance(x, float):
            return literal(self.real, x)
        if isinstance(x, np.integer):
            return literal(f"i{8 * x.dtype.itemsize}", x)
        if isinstance(x, int):
            return literal("i64", x)
        raise TypeError(f"{x!r} is no number of a kernel")

    def to(self, type: str, x: Any) -> Value:
        """As a value of this type."""
        if not isinstance(x, Value):
            return literal(type, x)
        if x.type == type:
            return x
        want = Value(type, "")
        x = self._element(x, want.element)
        return self.code.splat(x, want.lanes) if want.lanes and not x.lanes else x

    def _element(self, x: Value, element: str) -> Value:
        """The like with lanes of another type."""
        if x.element == element:
            return x
        type = vector(element, x.lanes) if x.lanes else element
        put = self.code.emit
        if x.element == "i1":
            how = "uitofp" if element in ("float", "double") else "zext"
        elif x.is_float:
            how = {"float": "fptrunc", "double": "fpext"}.get(element, "fptosi")
        elif element in ("float", "double"):
            how = "sitofp"
        else:
            how = "trunc" if int(element[1:]) < int(x.element[1:]) else "sext"
        return put(type, f"{how} {x.type} {x.name} to {type}")

    def cast(self, x: Any, dtype: np.dtype[Any]) -> Value:
        """NumPy's conversion to a type, lane by lane."""
        element = {"f4": "float", "f8": "double", "i4": "i32", "i8": "i64", "b1": "i1"}[dtype.str[1:]]
        return self._element(self.value(x), element)

    def to_int(self, x: Any) -> Value:
        return self.to("i64", x)

    def to_real(self, x: Any) -> Value:
        return self.to(self.real, x)

    def to_double(self, x: Any) -> Value:
        x = self.value(x)
        return self._element(x, "double")

    def to_vector(self, x: Any) -> Value:
        return self.to(self.vector, x)

    def to_mask(self, x: Any) -> Value:
        return self.to(self.mask, x)

    def spread(self, x: Value) -> Value:
        return self.code.splat(x, self.lanes)

    def condition(self, x: Any) -> Value:
        test = self.value(x)
        if test.type != "i1":
            raise TypeError(f"a condition is a truth value, not {test.type}; compare, or use any_lane")
        return test

    def alike(self, *values: Any) -> list[Value]:
        """Values of one type: numbers that are known take that of the others, numbers get lanes beside vectors."""
        given = [v for v in values if isinstance(v, Value)]
        if not given:
            return [self.value(v) for v in values]
        floats = [v for v in given if v.is_float]
        known = any(isinstance(v, (float, np.floating)) for v in values if not isinstance(v, Value))
        if floats:
            element = "double" if any(v.element == "double" for v in floats) else "float"
        elif known:
            element = self.real
        else:
            ranks = {"i1": 0, "i8": 1, "i32": 2, "i64": 3}
            element = max((v.element for v in given), key=ranks.__getitem__)
            if element == "i1" and any(isinstance(v, int) and not isinstance(v, bool) for v in values):
                element = "i64"
        lanes = max(v.lanes for v in given)
        common = vector(element, lanes) if lanes else element
        return [self.to(common, v) for v in values]

    def binary(self, kind: str, a: Any, b: Any) -> Any:
        """An operator of two values."""
        if not isinstance(a, Value) and not isinstance(b, Value):
            return PYTHON[kind](a, b)
        if kind == "Div":
            a, b = (self._element(v, self.real) if isinstance(v, Value) and not v.is_float else v for v in (a, b))
        a, b = self.alike(a, b)
        if kind == "Pow":
            raise TypeError("a power is written as products or by a helper")
        if a.is_float:
            name = {"Add": "fadd", "Sub": "fsub", "Mult": "fmul", "Div": "fdiv", "Mod": "frem"}[kind]
            return self.code.emit(a.type, f"{name} {self.code.flags(a.type)}{a.type} {a.name}, {b.name}")
        name = {"Add": "add", "Sub": "sub", "Mult": "mul", "FloorDiv": "sdiv", "Mod": "srem", "RShift": "ashr",
                "LShift": "shl", "BitAnd": "and", "BitOr": "or", "BitXor": "xor"}[kind]  # fmt: skip
        return self.code.emit(a.type, f"{name} {a.type} {a.name}, {b.name}")

    def compare(self, kind: str, a: Any, b: Any) -> Any:
        if not isinstance(a, Value) and not isinstance(b, Value):
            return COMPARED[kind](a, b)
        a, b = self.alike(a, b)
        type = vector("i1", a.lanes) if a.lanes else "i1"
        if a.is_float:
            how = {"Lt": "olt", "LtE": "ole", "Gt": "ogt", "GtE": "oge", "Eq": "oeq", "NotEq": "une"}[kind]
            return self.code.emit(type, f"fcmp {how} {a.type} {a.name}, {b.name}")
        how = {"Lt": "slt", "LtE": "sle", "Gt": "sgt", "GtE": "sge", "Eq": "eq", "NotEq": "ne"}[kind]
        return self.code.emit(type, f"icmp {how} {a.type} {a.name}, {b.name}")

    def select(self, test: Any, a: Any, b: Any) -> Any:
        if not isinstance(test, Value):
            return a if test else b
        a, b = self.alike(a, b)
        if test.lanes and not a.lanes:
            a, b = (self.code.splat(v, test.lanes) for v in (a, b))
        return self.code.emit(a.type, f"select {test.type} {test.name}, {a.type} {a.name}, {b.type} {b.name}")

    def extremum(self, how: str, a: Any, b: Any) -> Value:
        """a where it is beyond b or no number."""
        a, b = self.alike(a, b)
        if not a.is_float:
            raise TypeError("integers are compared by min and max")
        beyond = self.compare("GtE" if how == "oge" else "LtE", a, b)
        type = beyond.type
        nan = self.code.emit(type, f"fcmp uno {a.type} {a.name}, {a.name}")
        return self.select(self.binary("BitOr", beyond, nan), a, b)  # type: ignore[no-any-return]

    def _suffix(self, x: Value) -> str:
        return f"{f'v{x.lanes}' if x.lanes else ''}{'f32' if x.element == 'float' else 'f64'}"

    def unary(self, name: str, x: Any) -> Value:
        """An intrinsic of one argument."""
        x = self.value(x)
        if not x.is_float:
            x = self._element(x, self.real)
        return self.code.call(x.type, f"llvm.{name}.{self._suffix(x)}", x)

    # addresses -------------------------------------------------------------------------------------------------------

    def plus(self, a: Any, b: Any) -> Any:
        return self.binary("Add", a, b)

    def times(self, a: Any, b: Any) -> Any:
        return self.binary("Mult", a, b)

    def read(self, type: str, p: Any, align: int) -> Value:
        return self.code.emit(type, f"load {type}, ptr {self.code.address(self.to_int(p))}, align {align}")

    def write(self, value: Value, p: Any, align: int) -> None:
        address = self.code.address(self.to_int(p))
        self.code.put(f"store {value.type} {value.name}, ptr {address}, align {align}")

    def first(self, n: Any) -> Value:
        """The mask of the first n lanes."""
        if not isinstance(n, Value):
            lanes = ", ".join(f"i1 {'true' if k < n else 'false'}" for k in range(self.lanes))
            return Value(self.mask, f"<{lanes}>")
        # in integers of the lanes' width, for which the processor compares a whole vector at once
        element = f"i{8 * self.size}"
        type = vector(element, self.lanes)
        count = self.code.call("i64", "llvm.smin.i64", self.to_int(n), Value("i64", str(self.lanes)))
        count = self.code.call("i64", "llvm.smax.i64", count, Value("i64", "0"))
        numbers = ", ".join(f"{element} {k}" for k in range(self.lanes))
        limit = self.spread(self.to(element, count))
        return self.code.emit(self.mask, f"icmp slt {type} <{numbers}>, {limit.name}")

    def read_masked(self, type: str, p: Any, n: Any, fill: Value, align: int) -> Value:
        name = f"llvm.masked.load.{self._lanes_of(type)}.p0"
        pointer = Value("ptr", self.code.address(self.to_int(p)))
        return self.code.call(type, name, pointer, Value("i32", str(align)), self.first(n), fill)

    def write_masked(self, value: Value, p: Any, n: Any, align: int) -> None:
        name = f"llvm.masked.store.{self._lanes_of(value.type)}.p0"
        pointer = Value("ptr", self.code.address(self.to_int(p)))
        self.code.call("void", name, value, pointer, Value("i32", str(align)), self.first(n))

    def _lanes_of(self, type: str) -> str:
        value = Value(type, "")
        element = {"float": "f32", "double": "f64"}.get(value.element, value.element)
        return f"v{value.lanes}{element}"

    def pointers(self, p: Any, stride: Any) -> Value:
        """Addresses that lie `stride` bytes apart."""
        type, lanes = vector("i64", self.lanes), self.lanes
        numbers = Value(type, "<" + ", ".join(f"i64 {k}" for k in range(lanes)) + ">")
        steps = self.binary("Mult", numbers, self.spread(self.to_int(stride)))
        places = self.binary("Add", steps, self.spread(self.to_int(p)))
        made = vector("ptr", lanes)
        return self.code.emit(made, f"inttoptr {type} {places.name} to {made}")
