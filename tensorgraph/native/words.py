"""The vocabulary of kernels: each word's meaning in machine code and, over NumPy, in plain Python.

Kinds of values: integers (64 bits; addresses too, which count bytes), numbers of the kernel's type, `float32` or
`float64`, vectors of LANES such numbers, masks (a truth value a lane), and lanes of integers. Python's operators work
on all of them lane by lane, and a number beside a vector is in all its lanes. Constants: LANES, the lanes of a vector;
SIZE, the bytes of a number; BYTES, those of a vector.

Nothing here checks an address: a kernel reads and writes its arrays and not a byte beyond. The emulation checks it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.native.code import Value, literal, vector

if TYPE_CHECKING:
    from tensorgraph.native.arithmetic import Arithmetic
    from tensorgraph.native.emulation import Emulation

__all__ = ["WORDS", "Word"]


class Word:
    """One word: what it is lowered to, and what it computes on NumPy's arrays."""

    def __init__(self, emit: Callable[..., Any], emulate: Callable[..., Any]) -> None:
        self.name, self.__doc__, self.emit, self.emulate = emit.__name__, emit.__doc__, emit, emulate

    def __repr__(self) -> str:
        return f"<word {self.name}>"

    def __call__(self, *args: Any) -> Any:
        raise TypeError(
            f"{self.name} is a word of kernels, which run as machine code or emulated: call it within a function that "
            "is given to tensorgraph.native.kernel.kernel, and run that by .run(words) or .emulate(words, arrays)"
        )


WORDS: dict[str, Word] = {}
"""Every word by name."""


def word(emulate: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """A word, whose function writes its machine code; `emulate` is what it computes."""

    def declare(emit: Callable[..., Any]) -> Any:
        made = WORDS[emit.__name__] = Word(emit, emulate)
        return made

    return declare


# words of the argument ----------------------------------------------------------------------------------------------


@word(lambda m, w, k: int(m.read(w + 8 * k, 1, np.int64)[0]))
def word_at(c: Arithmetic, w: Any, k: Any) -> Value:
    """The integer at place `k` of the kernel's words."""
    return c.read("i64", c.plus(w, c.times(k, 8)), 8)


@word(lambda m, w, k: m.read(w + 8 * k, 1, m.dtype)[0])
def real_at(c: Arithmetic, w: Any, k: Any) -> Value:
    """The number of the kernel's type at place `k` of its words."""
    return c.read(c.real, c.plus(w, c.times(k, 8)), c.size)


# memory: numbers -----------------------------------------------------------------------------------------------------


@word(lambda m, p: m.read(p, 1, m.dtype)[0])
def load(c: Arithmetic, p: Any) -> Value:
    """The number at an address."""
    return c.read(c.real, p, c.size)


@word(lambda m, p, x: m.write(p, m.real(x), m.dtype))
def store(c: Arithmetic, p: Any, x: Any) -> None:
    """Write a number at an address."""
    c.write(c.one(c.to_real(x)), p, c.size)


@word(lambda m, p: int(m.read(p, 1, np.int64)[0]))
def load_int(c: Arithmetic, p: Any) -> Value:
    """The 64-bit integer at an address."""
    return c.read("i64", p, 8)


@word(lambda m, p, i: m.write(p, i, np.int64))
def store_int(c: Arithmetic, p: Any, i: Any) -> None:
    """Write a 64-bit integer at an address."""
    c.write(c.to_int(i), p, 8)


@word(lambda m, p: m.read(p, 1, np.float64)[0])
def load_double(c: Arithmetic, p: Any) -> Value:
    """The float64 at an address."""
    return c.read("double", p, 8)


@word(lambda m, p, x: m.write(p, x, np.float64))
def store_double(c: Arithmetic, p: Any, x: Any) -> None:
    """Write a float64 at an address."""
    c.write(c.one(c.to_double(x)), p, 8)


@word(lambda m, p: int(m.read(p, 1, np.uint8)[0]))
def load_byte(c: Arithmetic, p: Any) -> Value:
    """The byte at an address, as an integer from 0 to 255."""
    got = c.read("i8", p, 1)
    return c.code.emit("i64", f"zext i8 {got.name} to i64")


@word(lambda m, p, i: m.write(p, np.uint8(i & 255), np.uint8))
def store_byte(c: Arithmetic, p: Any, i: Any) -> None:
    """Write the low byte of an integer at an address."""
    number = c.to_int(i)
    c.write(c.code.emit("i8", f"trunc i64 {number.name} to i8"), p, 1)


# memory: vectors -----------------------------------------------------------------------------------------------------


@word(lambda m, p: m.read(p, m.lanes, m.dtype))
def ld(c: Arithmetic, p: Any) -> Value:
    """LANES numbers from an address on."""
    return c.read(c.vector, p, c.size)


@word(lambda m, p, v: m.write(p, m.vector(v), m.dtype))
def st(c: Arithmetic, p: Any, v: Any) -> None:
    """Write a vector from an address on."""
    c.write(c.to_vector(v), p, c.size)


@word(lambda m, p, n, fill: m.read_masked(p, n, fill, m.dtype))
def ldm(c: Arithmetic, p: Any, n: Any, fill: Any) -> Value:
    """The first `n` lanes from an address on; `fill` in the others."""
    return c.read_masked(c.vector, p, n, c.to_vector(fill), c.size)


@word(lambda m, p, v, n: m.write(p, m.vector(v)[: max(0, min(n, m.lanes))], m.dtype))
def stm(c: Arithmetic, p: Any, v: Any, n: Any) -> None:
    """Write the first `n` lanes of a vector from an address on."""
    c.write_masked(c.to_vector(v), p, n, c.size)


def _ldg(m: Emulation, p: int, stride: int, n: int, fill: Any) -> Any:
    got = np.full(m.lanes, fill, m.dtype)
    for k in range(max(0, min(n, m.lanes))):
        got[k] = m.read(p + k * stride, 1, m.dtype)[0]
    return got


@word(_ldg)
def ldg(c: Arithmetic, p: Any, stride: Any, n: Any, fill: Any) -> Value:
    """The first `n` of LANES numbers that lie `stride` bytes apart; `fill` in the other lanes."""
    pointers = c.pointers(p, stride)
    lanes, type = c.lanes, c.vector
    name = f"llvm.masked.gather.v{lanes}{c.tag}.v{lanes}p0"
    size = Value("i32", str(c.size))
    return c.code.call(type, name, pointers, size, c.first(n), c.to_vector(fill))


def _stg(m: Emulation, p: int, stride: int, v: Any, n: int) -> None:
    v = m.vector(v)
    for k in range(max(0, min(n, m.lanes))):
        m.write(p + k * stride, v[k], m.dtype)


@word(_stg)
def stg(c: Arithmetic, p: Any, stride: Any, v: Any, n: Any) -> None:
    """Write the first `n` lanes of a vector, `stride` bytes apart."""
    lanes = c.lanes
    name = f"llvm.masked.scatter.v{lanes}{c.tag}.v{lanes}p0"
    c.code.call("void", name, c.to_vector(v), c.pointers(p, stride), Value("i32", str(c.size)), c.first(n))


@word(lambda m, p, n, fill: m.read_masked(p, n, fill, np.int64))
def ldq(c: Arithmetic, p: Any, n: Any, fill: Any) -> Value:
    """The first `n` of LANES 64-bit integers from an address on; `fill` in the other lanes."""
    type = vector("i64", c.lanes)
    return c.read_masked(type, p, n, c.spread(c.to_int(fill)), 8)


@word(lambda m, p, v, n: m.write(p, np.broadcast_to(v, m.lanes)[: max(0, min(n, m.lanes))].astype(np.int64), np.int64))
def stq(c: Arithmetic, p: Any, v: Any, n: Any) -> None:
    """Write the first `n` of LANES 64-bit integers from an address on."""
    c.write_masked(c.to(vector("i64", c.lanes), c.whole(v)), p, n, 8)


@word(lambda m, p, n: m.read_masked(p, n, 0, np.uint8) != 0)
def ldb(c: Arithmetic, p: Any, n: Any) -> Value:
    """The first `n` of LANES bytes from an address on as a mask of those that are not 0; false in the other lanes."""
    type = vector("i8", c.lanes)
    got = c.read_masked(type, p, n, literal(type, 0), 1)
    return c.code.emit(c.mask, f"icmp ne {type} {got.name}, zeroinitializer")


@word(
    lambda m, p, mask, n: m.write(
        p, np.broadcast_to(mask, m.lanes)[: max(0, min(n, m.lanes))].astype(np.uint8), np.uint8
    )
)
def stb(c: Arithmetic, p: Any, mask: Any, n: Any) -> None:
    """Write the first `n` lanes of a mask as bytes 0 and 1 from an address on."""
    type = vector("i8", c.lanes)
    given = c.to_mask(mask)
    c.write_masked(c.code.emit(type, f"zext {c.mask} {given.name} to {type}"), p, n, 1)


@word(lambda m, p, n, fill: m.read_masked(p, n, fill, np.float64))
def ldw(c: Arithmetic, p: Any, n: Any, fill: Any) -> Value:
    """The first `n` of LANES float64 from an address on, whatever the kernel's type; `fill` in the other lanes."""
    type = vector("double", c.lanes)
    return c.read_masked(type, p, n, c.spread(c.to_double(fill)), 8)


@word(lambda m, p, v, n: m.write(p, m.lanes_of(v)[: max(0, min(n, m.lanes))].astype(np.float64), np.float64))
def stw(c: Arithmetic, p: Any, v: Any, n: Any) -> None:
    """Write the first `n` lanes of a vector of float64 from an address on."""
    c.write_masked(c.to(vector("double", c.lanes), v), p, n, 8)


@word(lambda m, p: None)
def prefetch(c: Arithmetic, p: Any) -> None:
    """Have the processor fetch what lies at an address: a hint."""
    pointer = Value("ptr", c.code.address(c.to_int(p)))
    c.code.call("void", "llvm.prefetch.p0", pointer, *[Value("i32", k) for k in "031"])


# making and converting -----------------------------------------------------------------------------------------------


@word(lambda m, x: m.vector(x))
def vset(c: Arithmetic, x: Any) -> Value:
    """A vector with a number in all lanes."""
    return c.to_vector(x)


@word(lambda m, x: m.real(x))
def real(c: Arithmetic, x: Any) -> Value:
    """An integer or a float64 as a number of the kernel's type, lanes too."""
    return c.to_real(x)


@word(lambda m, x: np.asarray(x, np.float64)[()])
def double(c: Arithmetic, x: Any) -> Value:
    """A number as a float64, lanes too."""
    return c.to_double(x)


@word(lambda m, x: np.asarray(x).astype(m.dtype)[()])
def narrow(c: Arithmetic, x: Any) -> Value:
    """A float64 as a number of the kernel's type, rounded; lanes too."""
    return c.to_real(x)


@word(lambda m, x: int(x))
def integer(c: Arithmetic, x: Any) -> Value:
    """A number as a 64-bit integer, towards 0; it must fit."""
    return c.to("i64", c.one(c.value(x)))


@word(lambda m, x: x)
def opaque(c: Arithmetic, x: Any) -> Value:
    """An integer itself, of which LLVM knows nothing: addresses that it would make of each other stay in registers."""
    number = c.to_int(x)
    return c.code.emit("i64", f'call i64 asm "", "=r,0"(i64 {number.name})')


@word(lambda m: np.arange(m.lanes))
def iota(c: Arithmetic) -> Value:
    """The numbers of the lanes, 0, 1, 2, ..., as 64-bit integers."""
    type = vector("i64", c.lanes)
    return Value(type, "<" + ", ".join(f"i64 {k}" for k in range(c.lanes)) + ">")


@word(lambda m, n: np.arange(m.lanes) < n)
def first(c: Arithmetic, n: Any) -> Value:
    """The mask of the first `n` lanes."""
    return c.first(n)


@word(lambda m, mask, a, b: m.select(mask, a, b))
def select(c: Arithmetic, mask: Any, a: Any, b: Any) -> Any:
    """Lane by lane `a` where the mask holds, else `b`."""
    return c.select(mask, a, b)


def _most(m: Any, a: Any, b: Any) -> Any:
    return np.where((np.asarray(a) >= b) | np.isnan(a), a, b).astype(np.result_type(a, b))[()]


def _least(m: Any, a: Any, b: Any) -> Any:
    return np.where((np.asarray(a) <= b) | np.isnan(a), a, b).astype(np.result_type(a, b))[()]


# arithmetic ----------------------------------------------------------------------------------------------------------


@word(lambda m, a, b, d: m.fma(a, b, d))
def fma(c: Arithmetic, a: Any, b: Any, d: Any) -> Value:
    """a b + d, rounded once."""
    a, b, d = c.alike(a, b, d)
    if not a.is_float:
        raise TypeError("fma is of numbers; of integers write a * b + d")
    lanes = f"v{a.lanes}" if a.lanes else ""
    return c.code.call(a.type, f"llvm.fma.{lanes}{'f32' if a.element == 'float' else 'f64'}", a, b, d)


@word(lambda m, x: np.sqrt(x))
def sqrt(c: Arithmetic, x: Any) -> Value:
    """The square root."""
    return c.unary("sqrt", x)


@word(lambda m, x: np.floor(x))
def floor(c: Arithmetic, x: Any) -> Value:
    """The largest whole number that is not above x."""
    return c.unary("floor", x)


@word(lambda m, x: abs(x))
def absolute(c: Arithmetic, x: Any) -> Value:
    """|x|."""
    return c.absolute(x)  # type: ignore[no-any-return]


@word(_most)
def most(c: Arithmetic, a: Any, b: Any) -> Value:
    """The larger one of numbers or lanes; NaN wins."""
    return c.extremum("oge", a, b)


@word(_least)
def least(c: Arithmetic, a: Any, b: Any) -> Value:
    """The smaller one of numbers or lanes; NaN wins."""
    return c.extremum("ole", a, b)


# across lanes --------------------------------------------------------------------------------------------------------


def _tree(c: Arithmetic, v: Any, join: Callable[[Value, Value], Value]) -> Value:
    v = c.lanes_of(v)
    half = v.lanes
    while half > 1:
        half //= 2
        v = join(v, c.code.shuffle(v, v, [(k + half) % v.lanes for k in range(v.lanes)]))
    return c.code.emit(v.element, f"extractelement {v.type} {v.name}, i32 0")


def _halves(v: Any, join: Callable[[Any, Any], Any]) -> Any:
    while len(v) > 1:
        half = len(v) // 2
        v = join(v[:half], v[half:])
    return v[0] if v.dtype.kind == "f" else int(v[0])


@word(lambda m, v: _halves(m.lanes_of(v), np.add))
def hsum(c: Arithmetic, v: Any) -> Value:
    """The sum of the lanes, in halves of halves."""
    return _tree(c, v, lambda a, b: c.binary("Add", a, b))


@word(lambda m, v: _halves(m.lanes_of(v), lambda a, b: _most(m, a, b)))
def hmost(c: Arithmetic, v: Any) -> Value:
    """The largest of the lanes; NaN wins."""
    return _tree(c, v, lambda a, b: c.extremum("oge", a, b))


@word(lambda m, v: _halves(m.lanes_of(v), lambda a, b: _least(m, a, b)))
def hleast(c: Arithmetic, v: Any) -> Value:
    """The smallest of the lanes; NaN wins."""
    return _tree(c, v, lambda a, b: c.extremum("ole", a, b))


@word(lambda m, v: _halves(m.lanes_of(v), np.multiply))
def hproduct(c: Arithmetic, v: Any) -> Value:
    """The product of the lanes, in halves of halves."""
    return _tree(c, v, lambda a, b: c.binary("Mult", a, b))


@word(lambda m, mask: bool(np.any(mask)))
def any_lane(c: Arithmetic, mask: Any) -> Value:
    """Whether a mask holds in any lane, as a truth value."""
    mask = c.lanes_of(c.to_mask(mask))
    return c.code.call("i1", f"llvm.vector.reduce.or.v{mask.lanes}i1", mask)


def _lane(m: Any, v: Any, k: int) -> Any:
    if not 0 <= k < m.lanes:
        raise IndexError(f"there is no lane {k}: a vector has {m.lanes}, from 0 to {m.lanes - 1}")
    got = m.lanes_of(v)[k]
    return got if got.dtype.kind == "f" else got.item()


@word(_lane)
def lane(c: Arithmetic, v: Any, k: Any) -> Value:
    """One lane of a vector or mask, by its number, from 0 to LANES - 1."""
    v, number = c.lanes_of(v), c.to_int(k)
    return c.code.emit(v.element, f"extractelement {v.type} {v.name}, i64 {number.name}")


@word(lambda m, rows: list(np.stack(rows).T.copy()))
def transposed(c: Arithmetic, rows: Any) -> list[Value]:
    """LANES vectors, rows of a square, as its columns."""
    square = [c.lanes_of(c.value(row)) for row in rows]
    if len(square) != c.lanes or len({row.type for row in square}) > 1:
        raise TypeError(f"transposed takes a list of LANES vectors of one type, which are {c.lanes}, not {len(square)}")
    lanes, h = len(square), len(square) // 2
    while h:
        low = [j if not j & h else lanes + (j ^ h) for j in range(lanes)]
        high = [(j | h) if not j & h else lanes + j for j in range(lanes)]
        for i in range(lanes):
            if not i & h:
                a, b = square[i], square[i | h]
                square[i], square[i | h] = c.code.shuffle(a, b, low), c.code.shuffle(a, b, high)
        h //= 2
    return square


@word(lambda m, a, b, k: np.concatenate([a, b])[k::2])
def alternate(c: Arithmetic, a: Any, b: Any, k: Any) -> Value:
    """Every other number of two vectors side by side, from number `k` on, which is 0 or 1."""
    a, b = c.alike(c.lanes_of(a), c.lanes_of(b))
    if k not in (0, 1):
        raise TypeError(f"alternate begins with number 0 or 1, known while lowering, not {k}")
    return c.code.shuffle(a, b, list(range(k, 2 * a.lanes, 2)))


@word(lambda m, a, b, half: np.stack([a, b], 1).ravel()[half * m.lanes : (half + 1) * m.lanes])
def woven(c: Arithmetic, a: Any, b: Any, half: Any) -> Value:
    """The numbers of two vectors by turns: the first half of them, 0, or the second, 1."""
    a, b = c.alike(c.lanes_of(a), c.lanes_of(b))
    if half not in (0, 1):
        raise TypeError(f"woven gives half 0 or 1, known while lowering, not {half}")
    picks = [j // 2 + j % 2 * a.lanes for j in range(2 * a.lanes)]
    return c.code.shuffle(a, b, picks[half * a.lanes : (half + 1) * a.lanes])


# bits ----------------------------------------------------------------------------------------------------------------


@word(lambda m, x: x.view({4: np.int32, 8: np.int64}[x.dtype.itemsize]))
def bits(c: Arithmetic, x: Any) -> Value:
    """The bits of a number as an integer of its width, lanes too."""
    x = c.value(x)
    if not x.is_float:
        raise TypeError(f"bits takes numbers, not {c.told(x)}")
    element = "i32" if x.element == "float" else "i64"
    type = vector(element, x.lanes) if x.lanes else element
    return c.code.emit(type, f"bitcast {x.type} {x.name} to {type}")


def _from_bits(m: Any, i: Any) -> Any:
    i = np.int64(i) if isinstance(i, int) else i
    return i.view({4: np.float32, 8: np.float64}[i.dtype.itemsize])


@word(_from_bits)
def from_bits(c: Arithmetic, i: Any) -> Value:
    """The number whose bits an integer has, of the integer's width; lanes too."""
    i = c.value(i)
    if i.element not in ("i32", "i64"):
        raise TypeError(f"from_bits takes integers of 32 or 64 bits, not {c.told(i)}")
    element = "float" if i.element == "i32" else "double"
    type = vector(element, i.lanes) if i.lanes else element
    return c.code.emit(type, f"bitcast {i.type} {i.name} to {type}")


def _signed(i: int) -> int:
    return (i + (1 << 63)) % (1 << 64) - (1 << 63)


@word(lambda m, i: _signed(int(i)))
def wrapped(c: Arithmetic, i: Any) -> Value:
    """The low 64 bits of an integer, of which the highest is the sign: said of what may overflow."""
    return c.to_int(i)


@word(lambda m, a, b: _signed((int(a) % (1 << 64)) * (int(b) % (1 << 64)) >> 64))
def product_high(c: Arithmetic, a: Any, b: Any) -> Value:
    """The high 64 bits of the product of two integers without sign."""
    wide = [c.code.emit("i128", f"zext i64 {c.to_int(x).name} to i128") for x in (a, b)]
    whole = c.code.emit("i128", f"mul i128 {wide[0].name}, {wide[1].name}")
    high = c.code.emit("i128", f"lshr i128 {whole.name}, 64")
    return c.code.emit("i64", f"trunc i128 {high.name} to i64")


@word(lambda m, function, *given: m.called(function, *given))
def called(c: Arithmetic, function: Any, *given: Any) -> None:
    """Call a C function of integers at an address; what it gives is let go."""
    arguments = ", ".join(f"i64 {c.to_int(x).name}" for x in given)
    c.code.put(f"call void {c.code.address(c.to_int(function))}({arguments})")
