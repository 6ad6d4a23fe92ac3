"""The expressions of kernels: from their syntax to values, or to Python's numbers and lists that are known."""

from __future__ import annotations

import ast
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from tensorgraph.jit.compiling import Helper
from tensorgraph.native.arithmetic import Arithmetic
from tensorgraph.native.code import Value, literal
from tensorgraph.native.sources import KernelError, assigned
from tensorgraph.native.words import WORDS, Word

__all__ = ["Expressions", "Scope", "Slot", "Unset", "static"]

SIGNS: dict[str, Callable[[Any], Any]] = {
    "USub": operator.neg, "UAdd": operator.pos, "Not": operator.not_, "Invert": operator.invert,
}  # fmt: skip
KNOWN = {function.__name__: function for function in (abs, len, max, min, range)}


def static(*bounds: int) -> range:
    """Like range, in a kernel: the loop is written out."""
    return range(*bounds)


class Slot:
    """A variable that changes."""

    __slots__ = ("name", "type")

    def __init__(self, type: str, name: str) -> None:
        self.type, self.name = type, name


class Unset:
    """What a name holds that may have no value, why, and the slot that it has where it has one."""

    __slots__ = ("slot", "why")

    def __init__(self, why: str, slot: Slot | None = None) -> None:
        self.why, self.slot = why, slot


class Scope:
    """The names of one call."""

    def __init__(self, function: types.FunctionType, flags: str) -> None:
        self.function, self.flags = function, flags
        self.names: dict[str, Any] = {}
        self.counts, self.changed = assigned(function)
        self.result: Any = None
        self.returned = False


class Expressions(Arithmetic):
    """Lowers expressions; statements and calls of functions are its heir's."""

    name: str
    fixed: dict[str, Any]
    scopes: list[Scope]

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def inline(self, function: types.FunctionType, args: list[Any], named: dict[str, Any], flags: str) -> Any:
        raise NotImplementedError

    def _refuse(self, node: ast.AST, what: str) -> NoReturn:
        raise NotImplementedError

    def _told_error(self, error: Exception) -> str:
        own = type(error) in (TypeError, NameError, ValueError, OverflowError)
        return str(error) if own else f"{type(error).__name__}: {error}"

    def _get(self, held: Any) -> Any:
        return self.code.load(held.type, held.name) if isinstance(held, Slot) else held

    def _loaded(self, value: Any) -> Any:
        """A value, or a list with the values of its places."""
        return [self._loaded(v) for v in value] if isinstance(value, list) else self._get(value)

    def _expression(self, node: ast.expr, load: bool = True) -> Any:
        method: Callable[[Any], Any] | None = getattr(self, f"_of_{type(node).__name__}", None)
        if method is None:
            self._refuse(node, f"kernels have no {type(node).__name__}")
        try:
            got = method(node)
        except KernelError:
            raise
        except Exception as error:
            self._refuse(node, self._told_error(error))
        return self._get(got) if load else got

    def _of_Constant(self, node: ast.Constant) -> Any:
        return node.value

    def _of_Name(self, node: ast.Name) -> Any:
        name, function = node.id, self.scope.function
        if name in self.scope.names:
            held = self.scope.names[name]
            if isinstance(held, Unset):
                raise NameError(f"{name} may have no value here: it {held.why}")
            return held
        if self.scope.counts.get(name):
            raise NameError(f"{name} is read before it is assigned; assign it above, outside of branches")
        for space in (self.fixed, function.__globals__, WORDS, KNOWN):
            if name in space:
                return space[name]
        if name == "static":
            return static
        if name in function.__code__.co_freevars:
            raise NameError(
                f"{name} belongs to the function around this one; give its value to kernel(f, dtype, {name}=...)"
            )
        raise NameError(f"{name} is not known here: it is no name of the function, no constant, and no word of kernels")

    def _of_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._expression(one) for one in node.elts)

    def _of_List(self, node: ast.List) -> Any:
        return [self._expression(one) for one in node.elts]

    def _of_ListComp(self, node: ast.ListComp) -> Any:
        generator, names = node.generators[0], self.scope.names
        call, target = generator.iter, generator.target
        if (
            len(node.generators) > 1 or generator.ifs or not isinstance(target, ast.Name)
            or not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "static")
        ):  # fmt: skip
            self._refuse(node, "a list is made by one loop over static(...), without a condition")
        bounds = [self._expression(arg) for arg in call.args]
        if not all(isinstance(bound, int) for bound in bounds):
            self._refuse(node, "the bounds of static(...) are integers that are known while lowering")
        held, made = names.get(target.id), []
        for k in range(*bounds):
            names[target.id] = k
            made.append(self._expression(node.elt))
        names.pop(target.id, None)
        if held is not None:  # the name is the comprehension's own
            names[target.id] = held
        return made

    def _of_Subscript(self, node: ast.Subscript) -> Any:
        held, k = self._expression(node.value, load=False), self._expression(node.slice)
        if isinstance(held, np.ndarray) and isinstance(k, Value):
            return self.entry_of(held, k)
        if isinstance(k, Value) or not isinstance(held, (list, tuple, np.ndarray)):
            raise TypeError(
                "only lists, tuples and arrays that are known while lowering have places, of lists and tuples by "
                "numbers that are known too; memory is read by ld, ldm, load, lanes by lane(v, k)"
            )
        return held[k]

    def _of_Attribute(self, node: ast.Attribute) -> Any:
        held = self._expression(node.value)
        if not isinstance(held, types.ModuleType):
            raise TypeError(f"values of kernels have no attributes, as .{node.attr}; see docs/native.md for the words")
        return getattr(held, node.attr)

    def _of_BinOp(self, node: ast.BinOp) -> Any:
        return self.binary(type(node.op).__name__, self._expression(node.left), self._expression(node.right))

    def _of_UnaryOp(self, node: ast.UnaryOp) -> Any:
        x, kind = self._expression(node.operand), type(node.op).__name__
        if not isinstance(x, Value):
            return SIGNS[kind](x)
        if kind == "Not" and x.type != "i1":
            raise TypeError(f"not is of one truth value, not of {self.told(x)}; write x == 0, or ~mask")
        if kind in ("Not", "Invert"):
            if x.is_float:
                raise TypeError(f"{self.told(x)} has no bits to turn; bits(x) has")
            return self.binary("BitXor", x, literal(x.type, 1 if x.element == "i1" else -1))
        if x.element == "i1":
            raise TypeError("masks and truth values have no sign; count with select(mask, 1.0, 0.0)")
        if kind == "USub":
            if x.is_float:
                return self.code.emit(x.type, f"fneg {x.type} {x.name}")
            return self.binary("Sub", literal(x.type, 0), x)
        return x

    def _of_Compare(self, node: ast.Compare) -> Any:
        left, made = self._expression(node.left), None
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self._expression(right_node)
            one = self.compare(type(op).__name__, left, right)
            made = one if made is None else self.binary("BitAnd", made, one)
            left = right
        return made

    def _of_BoolOp(self, node: ast.BoolOp) -> Any:
        """`and` and `or`: what follows is computed where it is wanted, as in Python."""
        wanted = isinstance(node.op, ast.And)
        slot, end = None, ""
        for number, one in enumerate(node.values):
            got = self._expression(one)
            if not isinstance(got, Value):
                if bool(got) is not wanted:  # decided, whatever follows
                    if slot is None:
                        return got
                    self.code.store(literal("i1", got), slot)
                    break
                if slot is None and number + 1 == len(node.values):
                    return got
                continue
            test = self.condition(got)
            if number + 1 == len(node.values) and slot is None:
                return test
            if slot is None:
                slot, end = self.code.slot("i1"), self.code.label()
            self.code.store(test, slot)
            if number + 1 < len(node.values):
                more = self.code.label()
                self.code.branch(test, *((more, end) if wanted else (end, more)))
                self.code.start(more)
        assert slot is not None
        self.code.jump(end)
        self.code.start(end)
        return self.code.load("i1", slot)

    def _of_IfExp(self, node: ast.IfExp) -> Any:
        """One of two, the other is not computed: it may read what is not there."""
        test = self._expression(node.test)
        if not isinstance(test, Value):
            return self._expression(node.body if test else node.orelse)
        test = self.condition(test)
        then, other, end = (self.code.label() for _ in range(3))
        self.code.branch(test, then, other)
        values = []
        for label, one in ((then, node.body), (other, node.orelse)):
            self.code.start(label)
            got = self._expression(one)
            if isinstance(got, Value):
                slot = self.code.slot(got.type)
                self.code.store(got, slot)
                values.append(Slot(got.type, slot))
            else:
                values.append(got)
            self.code.jump(end)
        self.code.start(end)
        return self.select(test, *(self._get(v) for v in values))

    # calls -----------------------------------------------------------------------------------------------------------

    def _of_Call(self, node: ast.Call) -> Any:
        function = self._expression(node.func)
        if any(isinstance(arg, ast.Starred) for arg in node.args) or any(k.arg is None for k in node.keywords):
            raise TypeError("calls in kernels have no * and **; write the arguments")
        args = [self._expression(arg) for arg in node.args]
        named = {k.arg: self._expression(k.value) for k in node.keywords if k.arg is not None}
        return self.apply(function, args, named)

    def apply(self, function: Any, args: list[Any], named: dict[str, Any] | None = None) -> Any:
        """What a call gives: of a word, a helper, a function of the subset, or one that is known while lowering."""
        named = named or {}
        if isinstance(function, types.FunctionType) and function is not static:
            return self.inline(function, args, named, self.scope.flags)
        if named:
            raise TypeError("words and helpers take their arguments by place, not by name")
        if isinstance(function, Word):
            return function.emit(self, *(self._loaded(arg) for arg in args))
        if isinstance(function, Helper):
            return self._helper(function, args)
        if function is len:
            return len(args[0])
        if not any(isinstance(a, (Value, Slot)) for a in _flat(args)):
            return function(*args)
        if function in (min, max):
            values = [self._get(v) for v in (args[0] if len(args) == 1 else args)]
            made = values[0]
            for other in values[1:]:  # as Python's: another one where it is beyond, so never a NaN that comes later
                test = self.compare("Lt" if function is min else "Gt", other, made)
                if isinstance(test, Value) and test.lanes:
                    raise TypeError("min and max are of numbers; of lanes write least and most, where NaN wins")
                made = self.select(test, other, made)
            return made
        if function is abs:
            return self.absolute(args[0])
        return self.numpy(function, args)

    def _helper(self, helper: Helper, args: list[Any]) -> Any:
        if helper.word is not None:
            return WORDS[helper.word].emit(self, *args)
        if helper.pair is not None:
            values = [self.value(x) for x in args]
            typed = [v for v, x in zip(values, args, strict=True) if isinstance(x, (Value, np.generic))] or values
            return self._helper(helper.pair[any(v.element in ("double", "i64") for v in typed)], self.alike(*args))
        if helper.body is None:
            raise TypeError(f"the helper {helper.name} has no form in kernels; write it of the words of docs/native.md")
        flags = " ".join(f for f in ("nsz", "arcp", "contract") if f in helper.flags)
        return self.inline(helper.body, args, {}, flags)


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value
