"""Values of a kernel while it is lowered, and the writer of LLVM's text."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

__all__ = ["Code", "Value", "literal", "scalar_of", "vector"]


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the kernel: LLVM's type as text, and its name or constant."""

    type: str
    name: str

    @property
    def element(self) -> str:
        """The type of a lane; of a number its own."""
        return self.type.rpartition(" x ")[2].rstrip(">") if self.type[0] == "<" else self.type

    @property
    def lanes(self) -> int:
        """How many lanes there are; 0 of a number."""
        return int(self.type[1 : self.type.index(" ")]) if self.type[0] == "<" else 0

    @property
    def is_float(self) -> bool:
        return self.element in ("float", "double")


def vector(element: str, lanes: int) -> str:
    """The type of so many lanes."""
    return f"<{lanes} x {element}>"


def scalar_of(element: str, value: Any) -> str:
    """A number as LLVM writes it in a type."""
    if element == "i1":
        return "true" if value else "false"
    if element in ("float", "double"):
        value = float(value)
        if element == "float":
            value = struct.unpack("f", struct.pack("f", _single(value)))[0]
        return "0x" + struct.pack(">d", value).hex().upper()
    number, size = int(value), int(element[1:])
    if number != value or not -(1 << size - 1) <= number < 1 << size - 1:
        raise OverflowError(f"{value!r} is no integer of {size} bits, from {-(1 << size - 1)} to {(1 << size - 1) - 1}")
    return str(number)


def _single(value: float) -> float:
    try:
        struct.pack("f", value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return value


def literal(type: str, value: Any) -> Value:
    """A number in every lane of a type."""
    if type[0] != "<":
        return Value(type, scalar_of(type, value))
    probe = Value(type, "")
    one = f"{probe.element} {scalar_of(probe.element, value)}"
    return Value(type, "<" + ", ".join([one] * probe.lanes) + ">")


class Code:
    """One function in LLVM's text."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.slots: list[str] = []
        self.declared: dict[str, str] = {}
        self.tables: dict[int, tuple[str, Any, str]] = {}  # by the array's identity: name, array, text
        self.count = 0
        self.block = "body"
        self.contract = ""  # the fast-math flags of what is written next

    def new(self) -> str:
        self.count += 1
        return f"%t{self.count}"

    def label(self) -> str:
        self.count += 1
        return f"b{self.count}"

    def put(self, line: str) -> None:
        self.lines.append("  " + line)

    def emit(self, type: str, text: str) -> Value:
        name = self.new()
        self.lines.append(f"  {name} = {text}")
        return Value(type, name)

    def start(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        self.put(f"br label %{label}")

    def branch(self, condition: Value, then: str, other: str) -> None:
        self.put(f"br i1 {condition.name}, label %{then}, label %{other}")

    def slot(self, type: str) -> str:
        """A place for a variable, which LLVM turns into a register."""
        self.count += 1
        name = f"%s{self.count}"
        self.slots.append(f"  {name} = alloca {type}")
        return name

    def load(self, type: str, slot: str) -> Value:
        return self.emit(type, f"load {type}, ptr {slot}")

    def store(self, value: Value, slot: str) -> None:
        self.put(f"store {value.type} {value.name}, ptr {slot}")

    def call(self, result: str, name: str, *args: Value, attributes: str = "") -> Value:
        """A call of an intrinsic, declared as it is used."""
        self.declared[name] = f"declare {result} @{name}({', '.join(a.type for a in args)})"
        text = f"call {self.flags(result)}{result} @{name}({', '.join(f'{a.type} {a.name}' for a in args)})"
        if result == "void":
            self.put(text)
            return Value("void", "")
        return self.emit(result, text)

    def flags(self, type: str) -> str:
        return f"{self.contract} " if self.contract and ("float" in type or "double" in type) else ""

    def splat(self, value: Value, lanes: int) -> Value:
        """A number in all lanes."""
        type = vector(value.type, lanes)
        if not value.name.startswith("%"):
            one = f"{value.type} {value.name}"
            return Value(type, "<" + ", ".join([one] * lanes) + ">")
        first = self.emit(type, f"insertelement {type} poison, {value.type} {value.name}, i32 0")
        return self.emit(type, f"shufflevector {type} {first.name}, {type} poison, <{lanes} x i32> zeroinitializer")

    def shuffle(self, a: Value, b: Value, picks: list[int]) -> Value:
        """Lanes of two vectors, side by side, by their numbers."""
        mask = ", ".join(f"i32 {k}" for k in picks)
        type = vector(a.element, len(picks))
        return self.emit(type, f"shufflevector {a.type} {a.name}, {b.type} {b.name}, <{len(picks)} x i32> <{mask}>")

    def table(self, element: str, array: Any) -> Value:
        """The address of a copy of an array that is part of the code."""
        if id(array) not in self.tables:
            name = f"@table{len(self.tables)}"
            rows = ", ".join(f"{element} {scalar_of(element, x)}" for x in array.tolist())
            text = f"{name} = private constant [{len(array)} x {element}] [{rows}], align 64"
            self.tables[id(array)] = name, array, text
        return self.emit("i64", f"ptrtoint ptr {self.tables[id(array)][0]} to i64")

    def address(self, number: Value) -> str:
        return self.emit("ptr", f"inttoptr i64 {number.name} to ptr").name
