"""What operators and memory are in LLVM's text: the types that meet, the instructions, and addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.native.code import Code, Value, literal, vector

__all__ = ["COMPARED", "PYTHON", "Arithmetic"]

FLOATS = {"Add": "fadd", "Sub": "fsub", "Mult": "fmul", "Div": "fdiv"}
INTEGERS = {"Add": "add", "Sub": "sub", "Mult": "mul", "RShift": "ashr", "LShift": "shl"}
BITWISE = {"BitAnd": "and", "BitOr": "or", "BitXor": "xor"}
# functions of the C library, called lane by lane
LIBRARY = {"nextafter": "nextafter", "power": "pow", "fmod": "fmod"}

PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mult": lambda a, b: a * b, "Div": lambda a, b: a / b,
    "FloorDiv": lambda a, b: a // b, "Mod": lambda a, b: a % b, "RShift": lambda a, b: a >> b, "Pow": lambda a, b: a**b,
    "LShift": lambda a, b: a << b, "BitAnd": lambda a, b: a & b, "BitOr": lambda a, b: a | b,
    "BitXor": lambda a, b: a ^ b,
}  # fmt: skip
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "Lt": lambda a, b: a < b, "LtE": lambda a, b: a <= b, "Gt": lambda a, b: a > b, "GtE": lambda a, b: a >= b,
    "Eq": lambda a, b: a == b, "NotEq": lambda a, b: a != b, "Is": lambda a, b: a is b,
    "IsNot": lambda a, b: a is not b, "In": lambda a, b: a in b, "NotIn": lambda a, b: a not in b,
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
        raise TypeError(
            f"expected a number or truth value, got {x!r}, a {type(x).__name__}; kernels compute with nothing else: "
            "give what follows from it as a constant, kernel(f, dtype, NAME=...)"
        )

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
        # unsigned numbers are places of tables
        known = {"f4": "float", "f8": "double", "i4": "i32", "i8": "i64", "b1": "i1", "u8": "i64"}
        return self._element(self.value(x), known[dtype.str[1:]])

    def to_int(self, x: Any) -> Value:
        """As an integer: of an address, a stride, a count."""
        if isinstance(x, (float, np.floating)) or (isinstance(x, Value) and (x.is_float or x.lanes)):
            raise TypeError(f"expected an integer, got {self.told(x)}; integer(x) makes one of a number")
        return self.to("i64", x)

    def told(self, x: Any) -> str:
        """What a value is, for people."""
        if not isinstance(x, Value):
            return repr(x)
        names = {
            "float": "float32",
            "double": "float64",
            "i1": "truth value",
            "i64": "integer",
            "i32": "32-bit integer",
        }
        name = names.get(x.element, x.element)
        return f"{x.lanes} lanes of {name}" if x.lanes else f"a {name}" if name != "integer" else "an integer"

    def to_real(self, x: Any) -> Value:
        return self.to(self.real, x)

    def to_double(self, x: Any) -> Value:
        x = self.value(x)
        return self._element(x, "double")

    def to_vector(self, x: Any) -> Value:
        return self.to(self.vector, x)

    def to_mask(self, x: Any) -> Value:
        return self.to(self.mask, x)

    def one(self, x: Value) -> Value:
        """A number, not lanes."""
        if x.lanes:
            raise TypeError(f"expected one number, got {self.told(x)}; st and stm write lanes, lane and hsum make one")
        return x

    def lanes_of(self, x: Any) -> Value:
        """Lanes: a number is in all of them."""
        x = self.value(x)
        return x if x.lanes else self.spread(x)

    def whole(self, x: Any) -> Value:
        """Integers, lanes too."""
        x = self.value(x)
        if x.is_float:
            raise TypeError(f"expected integers, got {self.told(x)}; integer(x) makes one, bits(x) takes its bits")
        return x  # type: ignore[no-any-return]

    def spread(self, x: Value) -> Value:
        return self.code.splat(x, self.lanes)

    def condition(self, x: Any) -> Value:
        test = self.value(x)
        if test.type != "i1":
            raise TypeError(
                f"a condition is one truth value, not {self.told(test)}; compare, reduce a mask by any_lane, or choose "
                "lane by lane with select"
            )
        return test

    def alike(self, *values: Any) -> list[Value]:
        """Values of one type: numbers that are known take that of the others, numbers get lanes beside vectors."""
        given = [v for v in values if isinstance(v, Value)]
        if not given:
            plain = all(isinstance(v, (int, float)) and not isinstance(v, np.generic) for v in values)
            wide = plain and any(isinstance(v, float) for v in values)
            return [self.value(float(v) if wide else v) for v in values]
        element, lanes = self._common(values, given), max(v.lanes for v in given)
        type = vector(element, lanes) if lanes else element
        return [self.to(type, v) for v in values]

    def _common(self, values: Sequence[Any], given: list[Value]) -> str:
        """The type of lane that NumPy would give: Python's numbers, and integers that are no lanes, adapt."""
        typed = [self.value(v) for v in values if isinstance(v, np.generic)]
        floats = {v.element for v in (*given, *typed) if v.is_float}
        integers = [v for v in given if not v.is_float and v.element != "i1"]
        if floats or any(isinstance(v, float) for v in values):
            lanes = next((v for v in integers if v.lanes), None)
            if lanes is not None:
                raise TypeError(f"{self.told(lanes)} meet numbers: write real(x), double(x) or compare with integers")
            return "double" if "double" in floats else "float" if floats else self.real
        strong = {v.element for v in (*integers, *typed) if v.lanes or v.element != "i64" or v in typed} - {"i1"}
        if strong:
            return max(strong, key=lambda element: int(element[1:]))
        return "i64" if integers or any(type(v) is int for v in values) else "i1"

    def binary(self, kind: str, a: Any, b: Any) -> Any:
        """An operator of two values."""
        if not isinstance(a, Value) and not isinstance(b, Value):
            return PYTHON[kind](a, b)
        if kind == "Div":
            a, b = (self._number(v) for v in (a, b))
        a, b = self.alike(a, b)
        if a.is_float:
            return self._of_floats(kind, a, b)
        if kind in BITWISE:
            return self.code.emit(a.type, f"{BITWISE[kind]} {a.type} {a.name}, {b.name}")
        if a.element == "i1":
            if a.lanes:
                raise TypeError("masks are joined by &, | and ^; count with select(mask, 1.0, 0.0)")
            a, b = self.to("i64", a), self.to("i64", b)
        if kind in ("FloorDiv", "Mod"):
            return self._divided(kind, a, b)
        if kind not in INTEGERS:
            raise TypeError(f"integers have no operator {kind}" + ("; write products" if kind == "Pow" else ""))
        known = kind in ("LShift", "RShift") and not b.name.startswith(("%", "<"))
        if known and not 0 <= int(b.name) < int(a.element[1:]):
            raise ValueError(f"a shift goes by 0 to {int(a.element[1:]) - 1} places, not {b.name}")
        return self.code.emit(a.type, f"{INTEGERS[kind]} {a.type} {a.name}, {b.name}")

    def _number(self, x: Any) -> Any:
        """What divides or is divided: integers become numbers."""
        if isinstance(x, Value) and not x.is_float:
            if x.lanes:
                raise TypeError(f"{self.told(x)} are divided by //, or after real(x) or double(x)")
            return self._element(x, self.real)
        return x

    def _of_floats(self, kind: str, a: Value, b: Value) -> Value:
        if kind in FLOATS:
            return self.code.emit(a.type, f"{FLOATS[kind]} {self.code.flags(a.type)}{a.type} {a.name}, {b.name}")
        if kind == "Pow":
            return self.library("pow", a, b)
        if kind == "Mod":  # Python's has the sign of what divides
            rest, zero = self.library("fmod", a, b), literal(a.type, 0.0)
            other = self.binary("BitXor", self.compare("Lt", rest, zero), self.compare("Lt", b, zero))
            moved = self.select(other, self.binary("Add", rest, b), rest)
            return self.select(self.compare("Eq", rest, zero), self.copysign(zero, b), moved)  # type: ignore[no-any-return]
        if kind == "FloorDiv":
            return self._whole_quotient(a, b)
        raise TypeError(f"numbers have no operator {kind}; integers have: integer(x) makes one, bits(x) takes its bits")

    def _whole_quotient(self, a: Value, b: Value) -> Value:
        """a // b of numbers, of what `fmod` leaves, which is exact, as NumPy computes it."""
        zero, one = literal(a.type, 0.0), literal(a.type, 1.0)
        rest, quotient = self.library("fmod", a, b), self.binary("Div", a, b)
        other = self.binary("BitXor", self.compare("Lt", rest, zero), self.compare("Lt", b, zero))
        other = self.binary("BitAnd", other, self.compare("NotEq", rest, zero))
        parts = self.binary("Div", self.binary("Sub", a, rest), b)
        parts = self.select(other, self.binary("Sub", parts, one), parts)
        whole = self.unary("floor", parts)
        more = self.compare("Gt", self.binary("Sub", parts, whole), 0.5)
        whole = self.select(more, self.binary("Add", whole, one), whole)
        whole = self.select(self.compare("Eq", parts, zero), self.copysign(zero, quotient), whole)
        return self.select(self.compare("Eq", b, zero), quotient, whole)  # type: ignore[no-any-return]

    def _divided(self, kind: str, a: Value, b: Value) -> Value:
        """Python's // and %, which round down; the processor rounds towards 0."""
        put, known = self.code.emit, b.name
        if known.isdigit() and int(known).bit_count() == 1:
            shift = int(known).bit_length() - 1
            how, by = ("ashr", shift) if kind == "FloorDiv" else ("and", int(known) - 1)
            return put(a.type, f"{how} {a.type} {a.name}, {by}")
        # where it would stop, at 0 and where -1 leaves the range, 1 divides, and what NumPy gives is chosen
        zero, minus = literal(a.type, 0), literal(a.type, -1)
        none, turned = self.compare("Eq", b, zero), self.compare("Eq", b, minus)
        by = self.select(self.binary("BitOr", none, turned), literal(a.type, 1), b)
        rest = put(a.type, f"srem {a.type} {a.name}, {by.name}")
        sign = self.compare("Lt", self.binary("BitXor", rest, by), zero)
        off = self.binary("BitAnd", self.compare("NotEq", rest, zero), sign)
        if kind == "Mod":
            return self.binary("Add", rest, self.select(off, by, zero))  # type: ignore[no-any-return]
        whole = put(a.type, f"sdiv {a.type} {a.name}, {by.name}")
        whole = self.binary("Add", whole, self.select(off, minus, zero))
        whole = self.select(turned, self.binary("Sub", zero, a), whole)
        return self.select(none, zero, whole)  # type: ignore[no-any-return]

    def compare(self, kind: str, a: Any, b: Any) -> Any:
        if kind in ("Is", "IsNot") or not (isinstance(a, Value) or isinstance(b, Value)):
            return COMPARED[kind](a, b)
        if kind not in ("Lt", "LtE", "Gt", "GtE", "Eq", "NotEq"):
            raise TypeError(
                f"values that are known only while running have no comparison {kind}; write ==, !=, <, <=, > or >="
            )
        a, b = self.alike(a, b)
        type = vector("i1", a.lanes) if a.lanes else "i1"
        if a.is_float:
            how = {"Lt": "olt", "LtE": "ole", "Gt": "ogt", "GtE": "oge", "Eq": "oeq", "NotEq": "une"}[kind]
            return self.code.emit(type, f"fcmp {how} {a.type} {a.name}, {b.name}")
        how = {"Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge", "Eq": "eq", "NotEq": "ne"}[kind]
        sign = "" if how in ("eq", "ne") else "u" if a.element == "i1" else "s"
        return self.code.emit(type, f"icmp {sign}{how} {a.type} {a.name}, {b.name}")

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
            raise TypeError(f"most and least are of floats, where NaN wins, not of {self.told(a)}; write max or min")
        beyond = self.compare("GtE" if how == "oge" else "LtE", a, b)
        type = beyond.type
        nan = self.code.emit(type, f"fcmp uno {a.type} {a.name}, {a.name}")
        return self.select(self.binary("BitOr", beyond, nan), a, b)  # type: ignore[no-any-return]

    def _suffix(self, x: Value) -> str:
        return f"{f'v{x.lanes}' if x.lanes else ''}{'f32' if x.element == 'float' else 'f64'}"

    def unary(self, name: str, x: Any) -> Value:
        """An intrinsic of one argument."""
        x = self._number(self.value(x))
        return self.code.call(x.type, f"llvm.{name}.{self._suffix(x)}", x)

    def library(self, name: str, *args: Any) -> Value:
        """A function of the C library, lane by lane."""
        values = self.alike(*(self._number(self.value(x)) for x in args))
        element, lanes = values[0].element, values[0].lanes
        symbol = name + ("f" if element == "float" else "")
        if not lanes:
            return self.code.call(element, symbol, *values)
        made = Value(values[0].type, "poison")
        for k in range(lanes):
            one = [self.code.emit(element, f"extractelement {v.type} {v.name}, i32 {k}") for v in values]
            got = self.code.call(element, symbol, *one)
            made = self.code.emit(made.type, f"insertelement {made.type} {made.name}, {element} {got.name}, i32 {k}")
        return made

    def copysign(self, a: Any, b: Any) -> Value:
        a, b = self.alike(a, b)
        return self.code.call(a.type, f"llvm.copysign.{self._suffix(a)}", a, b)

    def absolute(self, x: Any) -> Any:
        x = self.value(x)
        if x.is_float:
            return self.unary("fabs", x)
        zero = literal(x.type, 0)
        return self.select(self.compare("Lt", x, zero), self.binary("Sub", zero, x), x)

    def sign(self, x: Any) -> Any:
        """NumPy's: of both zeros 0, of NaN NaN."""
        x = self.value(x)
        zero, one, minus = (literal(x.type, k) for k in (0, 1, -1))
        below = self.select(self.compare("Lt", x, zero), minus, self.select(self.compare("Eq", x, zero), zero, x))
        return self.select(self.compare("Gt", x, zero), one, below)

    def numpy(self, function: Any, args: list[Any]) -> Any:
        """NumPy's functions and types that helpers are written with."""
        if isinstance(function, type) and issubclass(function, np.generic):
            return self.cast(args[0], np.dtype(function))
        name = getattr(function, "__name__", "")
        if name in ("sqrt", "floor", "rint", "trunc", "ceil"):
            return self.unary(name, args[0])
        if name in ("abs", "absolute", "fabs"):
            return self.absolute(args[0])
        if name == "signbit":
            x = self.value(args[0])
            integer = {"float": "i32", "double": "i64"}[x.element]
            like = vector(integer, x.lanes) if x.lanes else integer
            return self.compare("Lt", self.code.emit(like, f"bitcast {x.type} {x.name} to {like}"), 0)
        if name in ("sign", "copysign"):
            return getattr(self, name)(*args)
        if name in LIBRARY:
            return self.library(LIBRARY[name], *args)
        raise TypeError(
            f"{name or function} has no meaning in kernels; docs/native.md has the words, and functions of the subset "
            "may be called"
        )

    def entry_of(self, table: Any, k: Any) -> Value:
        """Entries of an array that is known, by their numbers; nothing checks these."""
        element = {"f4": "float", "f8": "double", "i4": "i32", "i8": "i64"}[table.dtype.str[1:]]
        start = self.code.table(element, table)
        places = self.plus(start, self.times(k, table.itemsize))
        if not places.lanes:
            return self.read(element, places, table.itemsize)
        lanes, made = places.lanes, vector("ptr", places.lanes)
        pointers = self.code.emit(made, f"inttoptr {places.type} {places.name} to {made}")
        type = vector(element, lanes)
        name = f"llvm.masked.gather.{self._lanes_of(type)}.v{lanes}p0"
        always = literal(vector("i1", lanes), True)
        return self.code.call(type, name, pointers, Value("i32", str(table.itemsize)), always, literal(type, 0))

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
