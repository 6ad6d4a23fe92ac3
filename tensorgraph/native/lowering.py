"""From a kernel's Python to LLVM's text.

The subset: integers, numbers, vectors, masks; assignment, also of several names and of places of lists; operators;
`for` over `range` (a loop) and over `static` (written out); `while`, `if`; lists, which exist only while lowering;
calls of words, of other functions of the subset, whose bodies are put in place, and of helpers of `tensorgraph.jit`.
"""

# The plan: (1) a function's source becomes a tree, once; (2) statements are walked in order with the names of one call
# in `Scope`: what is assigned once and known is a Python value, all else has a slot that LLVM makes a register;
# (3) a call of a function walks its body here; (4) expressions give Values, or Python's numbers and lists, which are
# put in where they meet one; (5) what is none of the subset is refused with the line.

from __future__ import annotations

import ast
import inspect
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from tensorgraph.jit.compiling import Helper
from tensorgraph.native.arithmetic import Arithmetic
from tensorgraph.native.code import Value, literal
from tensorgraph.native.source import KernelError, assigned, changed, tree_of
from tensorgraph.native.words import WORDS, Word

__all__ = ["KernelError", "Lowering", "static"]

STATIC = {"min", "max", "len"}
SIGNS: dict[str, Callable[[Any], Any]] = {
    "USub": operator.neg, "UAdd": operator.pos, "Not": operator.not_, "Invert": operator.invert,
}  # fmt: skip


def static(*bounds: int) -> range:
    """Like range, in a kernel: the loop is written out."""
    return range(*bounds)


class Slot:
    """A variable that changes."""

    __slots__ = ("name", "type")

    def __init__(self, type: str, name: str) -> None:
        self.type, self.name = type, name


class Scope:
    """The names of one call."""

    def __init__(self, function: types.FunctionType, flags: str) -> None:
        self.function, self.flags = function, flags
        self.names: dict[str, Any] = {}
        self.counts = assigned(function)


class Lowering(Arithmetic):
    """Lowers one kernel for a type of numbers and a width of vectors.

    Parameters
    ----------
    function : function
        ``def kernel(words, block, blocks)``.
    name : str
        Of the symbol.
    size : int
        Bytes of a number: 4 or 8.
    width : int
        Bytes of a vector.
    constants : dict
        Python values that stand for names of the kernel.
    """

    def __init__(
        self, function: types.FunctionType, name: str, size: int, width: int, constants: dict[str, Any]
    ) -> None:
        super().__init__(size, width)
        self.name = name
        self.fixed = {"LANES": self.lanes, "SIZE": size, "BYTES": width, **constants}
        self.scopes = [Scope(function, "")]
        names = [arg.arg for arg in tree_of(function).args.args]
        for k, arg in enumerate(names):
            self._bind(arg, Value("i64", f"%a{k}"), force=True)
        self._block(tree_of(function).body)
        arguments = ", ".join(f"i64 %a{k}" for k in range(len(names)))
        self.head = f"define void @{name}({arguments}) #0"

    def text(self) -> str:
        """The whole module."""
        code = self.code
        body = ["entry:", *code.slots, "  br label %body", "body:", *code.lines, "  ret void"]
        width = self.lanes * self.size * 8
        attributes = (
            f'attributes #0 = {{ nounwind "min-legal-vector-width"="{width}" "prefer-vector-width"="{width}" '
            '"no-trapping-math"="true" }'
        )
        return "\n".join([*code.declared.values(), self.head + " {", *body, "}", attributes])

    # names -----------------------------------------------------------------------------------------------------------

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def _bind(self, name: str, value: Any, force: bool = False) -> None:
        """Give a name its value: a slot, unless it is assigned once."""
        scope = self.scope
        held = scope.names.get(name)
        if isinstance(value, list) and name in changed(scope.function):
            scope.names[name] = self._slots(value)
        elif isinstance(held, Slot):
            self._set(held, value)
        elif (
            isinstance(value, (list, tuple))
            or (not force and scope.counts.get(name, 0) <= 1)
            or (force and scope.counts.get(name, 0) == 0)
        ):
            scope.names[name] = value
        else:
            scope.names[name] = self._slot(value)

    def _slots(self, values: list[Any]) -> list[Any]:
        """A list whose places can be assigned."""
        return [self._slots(v) if isinstance(v, list) else self._slot(v) for v in values]

    def _slot(self, value: Any) -> Slot:
        value = self.value(value)
        slot = Slot(value.type, self.code.slot(value.type))
        self.code.store(value, slot.name)
        return slot

    def _set(self, slot: Slot, value: Any) -> None:
        if isinstance(value, Value):
            want = Value(slot.type, "")
            if (value.is_float and not want.is_float) or value.lanes > want.lanes:
                raise TypeError(f"a variable that began as {slot.type} cannot become {value.type}")
        self.code.store(self.to(slot.type, value), slot.name)

    def _get(self, held: Any) -> Any:
        return self.code.load(held.type, held.name) if isinstance(held, Slot) else held

    # statements ------------------------------------------------------------------------------------------------------

    def _refuse(self, node: ast.AST, what: str) -> NoReturn:
        function = self.scope.function
        line = getattr(node, "lineno", function.__code__.co_firstlineno)
        raise KernelError(f"{function.__code__.co_filename}:{line}: {what}, in the kernel {self.name}")

    def _block(self, body: list[ast.stmt]) -> Any:
        for node in body:
            if isinstance(node, ast.Return):
                if node is not body[-1]:
                    self._refuse(node, "nothing can follow a return")
                return None if node.value is None else self._expression(node.value)
            method: Callable[[Any], None] | None = getattr(self, f"_do_{type(node).__name__}", None)
            if method is None:
                self._refuse(node, f"kernels have no statement {type(node).__name__}")
            method(node)
        return None

    def _do_Pass(self, node: ast.Pass) -> None:
        pass

    def _do_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self._expression(node.value)

    def _do_Assign(self, node: ast.Assign) -> None:
        value = self._expression(node.value)
        for target in node.targets:
            self._assign(target, value)

    def _do_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node.target, self._expression(node.value))

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, value)
        elif isinstance(target, ast.Tuple):
            for part, one in zip(target.elts, value, strict=True):
                self._assign(part, one)
        elif isinstance(target, ast.Subscript):
            held, k = self._expression(target.value, load=False), self._expression(target.slice)
            if not isinstance(held, list) or not isinstance(k, int) or not isinstance(held[k], Slot):
                self._refuse(target, "only places of lists, known while lowering, can be assigned")
            self._set(held[k], value)
        else:
            self._refuse(target, f"kernels cannot assign to {type(target).__name__}")

    def _do_AugAssign(self, node: ast.AugAssign) -> None:
        before = ast.copy_location(_as_load(node.target), node.target)
        made = self.binary(type(node.op).__name__, self._expression(before), self._expression(node.value))
        self._assign(node.target, made)

    def _do_While(self, node: ast.While) -> None:
        head, body, end = (self.code.label() for _ in range(3))
        self.code.jump(head)
        self.code.start(head)
        self.code.branch(self.condition(self._expression(node.test)), body, end)
        self.code.start(body)
        self._block(node.body)
        self.code.jump(head)
        self.code.start(end)

    def _do_If(self, node: ast.If) -> None:
        test = self._expression(node.test)
        if not isinstance(test, Value):
            self._block(node.body if test else node.orelse)
            return
        then, other, end = (self.code.label() for _ in range(3))
        for name in {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}:
            if name in self.scope.names and not isinstance(self.scope.names[name], (Slot, list)):
                self.scope.names[name] = self._slot(self.scope.names[name])
        self.code.branch(self.condition(test), then, other)
        for label, body in ((then, node.body), (other, node.orelse)):
            self.code.start(label)
            self._block(body)
            self.code.jump(end)
        self.code.start(end)

    def _do_For(self, node: ast.For) -> None:
        call = node.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("range", "static")):
            self._refuse(node, "a loop goes over range(...) or static(...)")
        bounds = [self._expression(arg) for arg in call.args]
        if not isinstance(node.target, ast.Name):
            self._refuse(node, "a loop has one name")
        name = node.target.id
        if call.func.id == "static":
            if any(isinstance(bound, Value) for bound in bounds):
                self._refuse(node, "the bounds of static(...) are known while lowering")
            for k in range(*bounds):
                self.scope.names[name] = k
                self._block(node.body)
            return
        low, high, step = {1: (0, *bounds, 1), 2: (*bounds, 1), 3: (*bounds,)}[len(bounds)]
        counter = Slot("i64", self.code.slot("i64"))
        self._set(counter, low)
        high, step = self.to_int(high), self.to_int(step)
        head, body, end = (self.code.label() for _ in range(3))
        self.code.jump(head)
        self.code.start(head)
        now = self.code.load("i64", counter.name)
        self.code.branch(self.code.emit("i1", f"icmp slt i64 {now.name}, {high.name}"), body, end)
        self.code.start(body)
        self.scope.names[name] = now
        self._block(node.body)
        after = self.code.emit("i64", f"add nsw i64 {now.name}, {step.name}")
        self.code.store(after, counter.name)
        self.code.jump(head)
        self.code.start(end)

    # expressions -----------------------------------------------------------------------------------------------------

    def _expression(self, node: ast.expr, load: bool = True) -> Any:
        method: Callable[[Any], Any] | None = getattr(self, f"_of_{type(node).__name__}", None)
        if method is None:
            self._refuse(node, f"kernels have no {type(node).__name__}")
        try:
            got = method(node)
        except KernelError:
            raise
        except Exception as error:
            self._refuse(node, f"{type(error).__name__}: {error}")
        return self._get(got) if load else got

    def _of_Constant(self, node: ast.Constant) -> Any:
        return node.value

    def _of_Name(self, node: ast.Name) -> Any:
        if node.id in self.scope.names:
            return self.scope.names[node.id]
        if node.id in self.fixed:
            return self.fixed[node.id]
        space = self.scope.function.__globals__
        if node.id in space:
            return space[node.id]
        if node.id in WORDS:
            return WORDS[node.id]
        if node.id in ("range", "static", *STATIC):
            return {"min": min, "max": max, "len": len}.get(node.id)
        raise NameError(f"{node.id} is not known here")

    def _of_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._expression(one) for one in node.elts)

    def _of_List(self, node: ast.List) -> Any:
        return [self._expression(one) for one in node.elts]

    def _of_ListComp(self, node: ast.ListComp) -> Any:
        (generator,) = node.generators
        call = generator.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "static"):
            self._refuse(node, "a list is made by a loop over static(...)")
        assert isinstance(generator.target, ast.Name)
        made = []
        for k in range(*[self._expression(arg) for arg in call.args]):
            self.scope.names[generator.target.id] = k
            made.append(self._expression(node.elt))
        return made

    def _of_Subscript(self, node: ast.Subscript) -> Any:
        held, k = self._expression(node.value, load=False), self._expression(node.slice)
        if isinstance(k, Value):
            raise TypeError("a place of a list is known while lowering")
        return held[k]

    def _of_Attribute(self, node: ast.Attribute) -> Any:
        return getattr(self._expression(node.value), node.attr)

    def _of_BinOp(self, node: ast.BinOp) -> Any:
        return self.binary(type(node.op).__name__, self._expression(node.left), self._expression(node.right))

    def _of_UnaryOp(self, node: ast.UnaryOp) -> Any:
        x, kind = self._expression(node.operand), type(node.op).__name__
        if not isinstance(x, Value):
            return SIGNS[kind](x)
        if kind == "USub":
            if x.is_float:
                return self.code.emit(x.type, f"fneg {x.type} {x.name}")
            return self.binary("Sub", literal(x.type, 0), x)
        if kind in ("Not", "Invert"):
            return self.binary("BitXor", x, literal(x.type, 1 if x.element == "i1" else -1))
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
        made = self._expression(node.values[0])
        kind = "BitAnd" if isinstance(node.op, ast.And) else "BitOr"
        for one in node.values[1:]:
            if not isinstance(made, Value) and bool(made) is (kind == "BitOr"):
                return made
            made = self.binary(kind, made, self._expression(one)) if isinstance(made, Value) else self._expression(one)
        return made

    def _of_IfExp(self, node: ast.IfExp) -> Any:
        test = self._expression(node.test)
        if not isinstance(test, Value):
            return self._expression(node.body if test else node.orelse)
        return self.select(test, self._expression(node.body), self._expression(node.orelse))

    def _of_Call(self, node: ast.Call) -> Any:
        function = self._expression(node.func)
        args = [self._expression(arg) for arg in node.args]
        named = {k.arg: self._expression(k.value) for k in node.keywords if k.arg is not None}
        return self.apply(function, args, named)

    def apply(self, function: Any, args: list[Any], named: dict[str, Any] | None = None) -> Any:
        """What a call gives: of a word, a helper, a function of the subset, or one that is known while lowering."""
        named = named or {}
        if isinstance(function, Word):
            return function.emit(self, *args, **named)
        if isinstance(function, Helper):
            return self._helper(function, args)
        known = not any(isinstance(a, Value) for a in _flat(args))
        if function in (min, max):
            if known:
                return function(*args)
            made = args[0]
            for other in args[1:]:
                test = self.compare("Lt" if function is min else "Gt", made, other)
                made = self.select(test, made, other)
            return made
        if function is len:
            return len(args[0])
        if function is abs:
            return WORDS["absolute"].emit(self, *args)
        if isinstance(function, types.FunctionType):
            return self._inline(function, args, named, self.scope.flags)
        return self._numpy(function, args, known)

    def _numpy(self, function: Any, args: list[Any], known: bool) -> Any:
        """NumPy's functions and types that helpers are written with."""
        if known:
            return function(*args)
        x = args[0]
        if isinstance(function, type) and issubclass(function, np.generic):
            return self.cast(x, np.dtype(function))
        name = getattr(function, "__name__", "")
        if name in ("sqrt", "floor"):
            return WORDS[name].emit(self, x)
        if name in ("rint", "trunc", "ceil"):
            return self.unary(name, x)
        if name in ("abs", "absolute", "fabs"):
            return WORDS["absolute"].emit(self, x)
        if name in ("copysign",):
            a, b = self.alike(*args)
            return self.code.call(a.type, f"llvm.copysign.{self._suffix(a)}", a, b)
        raise TypeError(f"{name or function} has no meaning in kernels")

    def _helper(self, helper: Helper, args: list[Any]) -> Any:
        if helper.word is not None:
            return WORDS[helper.word].emit(self, *args)
        if helper.pair is not None:
            x = args[0]
            wide = x.element in ("double", "i64") if isinstance(x, Value) else self.size == 8
            return self._helper(helper.pair[wide], [self.value(x)])
        if helper.body is None:
            raise TypeError(f"{helper.name} has no form in kernels")
        flags = " ".join(f for f in ("nsz", "arcp", "contract") if f in helper.flags)
        return self._inline(helper.body, args, {}, flags)

    def _inline(self, function: types.FunctionType, args: list[Any], named: dict[str, Any], flags: str) -> Any:
        if len(self.scopes) > 60:
            raise TypeError(f"{function.__name__} calls itself, or too deep")
        node = tree_of(function)
        names = [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)]
        scope, before = Scope(function, flags), self.code.contract
        bound = inspect.signature(function).bind(*args, **named)
        bound.apply_defaults()
        self.scopes.append(scope)
        self.code.contract = flags
        try:
            for name in names:
                value = bound.arguments[name]
                if scope.counts.get(name, 0) and not isinstance(value, (list, tuple)):
                    scope.names[name] = self._slot(value)
                else:
                    scope.names[name] = value
            return self._block(node.body)
        finally:
            self.scopes.pop()
            self.code.contract = before


def _as_load(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Name):
        return ast.Name(node.id, ast.Load())
    if isinstance(node, ast.Subscript):
        return ast.Subscript(node.value, node.slice, ast.Load())
    return node


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value
