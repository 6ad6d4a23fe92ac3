"""From a kernel's Python to LLVM's text.

The subset: integers, numbers, vectors, masks; assignment, also of several names and of places of lists; operators;
`for` over `range` (a loop) and over `static` (written out); `while`, `if`; lists, which exist only while lowering;
calls of words, of other functions of the subset, whose bodies are put in place unless they are routines, and of helpers
of `tensorgraph.jit`.
"""

# The plan: (1) a function's source becomes a tree, once; (2) statements are walked in order with the names of one call
# in `Scope`: what is assigned once and known is a Python value, all else has a slot that LLVM makes a register;
# (3) what a branch or a loop binds that may not run has no value after it; (4) expressions (expressions.py) give
# Values, or Python's numbers and lists, and a call of a function walks its body here; (5) what is none of the subset,
# or would mean something else than in Python, is refused with the line.

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from tensorgraph.native.code import Value
from tensorgraph.native.expressions import Expressions, Scope, Slot, Unset, static
from tensorgraph.native.sources import KernelError, is_routine, routine, tree_of

__all__ = ["KernelError", "Lowering", "routine", "static"]

RANKS = {"float": 1, "double": 2, "i8": 11, "i32": 12, "i64": 13}


class Lowering(Expressions):
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
    routines : mapping of function to str
        The symbols of the routines that it calls.
    """

    def __init__(
        self, function: types.FunctionType, name: str, size: int, width: int, constants: dict[str, Any],
        routines: Mapping[Any, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        super().__init__(size, width)
        self.name, self.routines = name, routines
        self.fixed = {"LANES": self.lanes, "SIZE": size, "BYTES": width, **constants}
        self.scopes = [Scope(function, "")]
        names = [arg.arg for arg in tree_of(function).args.args]
        for k, arg in enumerate(names):
            self._parameter(arg, Value("i64", f"%a{k}"))
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
        tables = [text for _, _, text in code.tables.values()]
        return "\n".join([*tables, *code.declared.values(), self.head + " {", *body, "}", attributes])

    # names -----------------------------------------------------------------------------------------------------------

    def _parameter(self, name: str, value: Any) -> None:
        """Give a parameter its value: a slot where it is assigned later."""
        fixed = not self.scope.counts.get(name) or isinstance(value, (list, tuple))
        self.scope.names[name] = value if fixed else self._slot(value)

    def _bind(self, name: str, value: Any) -> None:
        """Give a name its value: a slot, unless it is assigned once."""
        scope = self.scope
        held = scope.names.get(name)
        if isinstance(held, Unset) and held.slot is not None:  # bound in the other branch
            held = scope.names[name] = held.slot
        if isinstance(value, list) and name in scope.changed:
            scope.names[name] = self._slots(value)
        elif isinstance(held, Slot):
            self._set(held, value, name)
        elif isinstance(value, (list, tuple)) or scope.counts.get(name, 0) <= 1:
            scope.names[name] = value
        else:
            scope.names[name] = self._slot(value)

    def _slots(self, values: list[Any]) -> list[Any]:
        """A list whose places can be assigned."""
        return [self._slots(v) if isinstance(v, list) else self._slot(self._get(v)) for v in values]

    def _slot(self, value: Any) -> Slot:
        value = self.value(value)
        slot = Slot(value.type, self.code.slot(value.type))
        self.code.store(value, slot.name)
        return slot

    def _set(self, slot: Slot, value: Any, name: str) -> None:
        held, given = Value(slot.type, ""), self.value(value)
        if isinstance(value, Value) or given.is_float != held.is_float or given.type == "i1":
            have, want = RANKS.get(given.element, 0), RANKS.get(held.element, 0)
            # a Python integer may become a number, as in Python; all else would be rounded, cut or lose its lanes
            adapts = have == want or (0 < have < want and (want < 10 or have > 10)) or type(value) is int
            if given.lanes > held.lanes or not adapts:
                raise TypeError(
                    f"{name} began as {self.told(held)} and cannot become {self.told(given)}: begin it as that, "
                    "by vset, real, double or a comparison, or take another name"
                )
        self.code.store(self.to(slot.type, value), slot.name)

    # statements ------------------------------------------------------------------------------------------------------

    def _refuse(self, node: ast.AST, what: str) -> NoReturn:
        function = self.scope.function
        line = getattr(node, "lineno", function.__code__.co_firstlineno)
        raise KernelError(f"{function.__code__.co_filename}:{line}: {what} (in the kernel {self.name})")

    def _block(self, body: list[ast.stmt]) -> None:
        for node in body:
            if self.scope.returned:
                return
            if isinstance(node, ast.Return):
                if node is not body[-1]:
                    self._refuse(node, "nothing can follow a return")
                self.scope.result = None if node.value is None else self._expression(node.value)
                self.scope.returned = True
                return
            method: Callable[[Any], None] | None = getattr(self, f"_do_{type(node).__name__}", None)
            if method is None:
                self._refuse(node, f"kernels have no statement {type(node).__name__}{INSTEAD.get(type(node), '')}")
            try:
                method(node)
            except KernelError:
                raise
            except Exception as error:
                self._refuse(node, self._told_error(error))

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
        elif isinstance(target, (ast.Tuple, ast.List)):
            if not isinstance(value, (list, tuple)) or len(value) != len(target.elts):
                came = len(value) if isinstance(value, (list, tuple)) else self.told(value)
                names = len(target.elts)
                self._refuse(target, f"{names} names are assigned from a list or tuple of as many, not {came}")
            for part, one in zip(target.elts, [self._get(v) for v in value], strict=True):
                self._assign(part, one)
        elif isinstance(target, ast.Subscript):
            held, k = self._expression(target.value, load=False), self._expression(target.slice)
            if not isinstance(held, list) or not isinstance(k, int) or not isinstance(held[k], Slot):
                self._refuse(
                    target, "only places of lists that have a name, by a number that is known while lowering, can be "
                    "assigned; memory is written by st, stm, store"
                )  # fmt: skip
            self._set(held[k], value, ast.unparse(target))
        else:
            self._refuse(
                target,
                f"kernels assign to names, tuples and places of lists, not to {ast.unparse(target)}; st and store "
                "write memory",
            )

    def _do_AugAssign(self, node: ast.AugAssign) -> None:
        before = ast.copy_location(_as_load(node.target), node.target)
        made = self.binary(type(node.op).__name__, self._expression(before), self._expression(node.value))
        self._assign(node.target, made)

    def _do_While(self, node: ast.While) -> None:
        if node.orelse:
            self._refuse(node, "loops have no else; write it behind the loop")
        head, body, end = (self.code.label() for _ in range(3))
        self.code.jump(head)
        self.code.start(head)
        test = self._expression(node.test)
        if not isinstance(test, Value):
            self._refuse(
                node,
                f"this loop would never end or never begin: its condition is {test} while lowering; "
                "compare something that is assigned in the loop",
            )
        self.code.branch(self.condition(test), body, end)
        self.code.start(body)
        self._loop(node, node.body)
        self.code.jump(head)
        self.code.start(end)

    def _do_If(self, node: ast.If) -> None:
        test = self._expression(node.test)
        if not isinstance(test, Value):
            self._block(node.body if test else node.orelse)
            return
        names = self.scope.names
        then, other, end = (self.code.label() for _ in range(3))
        for name in _stored(node):
            if name in names and not isinstance(names[name], (Slot, list, tuple, Unset)):
                names[name] = self._slot(names[name])
        before = dict(names)
        self.code.branch(self.condition(test), then, other)
        self.code.start(then)
        first = self._branch(node, node.body, before)
        for name, held in first.items():  # what the first branch binds has no value in the second, which may bind it
            if held is not before.get(name):
                names[name] = Unset("is assigned in the other branch alone", held if isinstance(held, Slot) else None)
        self.code.jump(end)
        self.code.start(other)
        second = self._branch(node, node.orelse, before)
        self.code.jump(end)
        self.code.start(end)
        for name in names:
            if first.get(name) is not second[name]:
                names[name] = Unset(f"is assigned in one branch alone, of the if in line {node.lineno}")

    def _branch(self, node: ast.stmt, body: list[ast.stmt], before: dict[str, Any]) -> dict[str, Any]:
        """Walk what may not run; the names after it."""
        self._block(body)
        if self.scope.returned:
            self._refuse(
                node, "a return stands at the end of a function, or in an if that is known while lowering; assign to a "
                "name in the branches and return that"
            )  # fmt: skip
        after = dict(self.scope.names)
        for name, held in after.items():
            old = before.get(name)
            if type(held) is int and type(old) is int and held == old:
                after[name] = old
            elif held is not old and isinstance(old, (list, tuple)):
                self._refuse(node, f"the list {name} is bound again where only running decides whether; assign places")
        return after

    def _loop(self, node: ast.stmt, body: list[ast.stmt]) -> None:
        """Walk what runs any number of times: what it binds for the first time has no value afterwards."""
        names, before = self.scope.names, dict(self.scope.names)
        for name, held in self._branch(node, body, before).items():
            old = before.get(name)
            if held is not old:
                slot = old.slot if isinstance(old, Unset) else None
                names[name] = Unset(
                    f"is assigned in a loop that may run no times (line {node.lineno}); assign it before", slot
                )

    def _do_For(self, node: ast.For) -> None:
        call = node.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("range", "static")):
            self._refuse(node, "a loop goes over range(...), or over static(...), which is written out")
        if not isinstance(node.target, ast.Name) or node.orelse or call.keywords or not 1 <= len(call.args) <= 3:
            self._refuse(node, "expected a loop of one name, one to three bounds by place, and no else")
        bounds, name = [self._expression(arg) for arg in call.args], node.target.id
        if call.func.id == "static":
            if not all(isinstance(bound, int) for bound in bounds):
                self._refuse(node, "the bounds of static(...) are integers that are known while lowering; use range")
            for k in range(*bounds):
                self.scope.names[name] = k
                self._block(node.body)
            return
        low, high, step = {1: (0, *bounds, 1), 2: (*bounds, 1), 3: (*bounds,)}[len(bounds)]
        if not isinstance(step, Value) and step == 0:
            self._refuse(node, "the step of range(...) is not 0; write one above or below it")
        counter = Slot("i64", self.code.slot("i64"))
        self.code.store(self.to_int(low), counter.name)
        high, step = self.to_int(high), self.to_int(step)
        head, body, end = (self.code.label() for _ in range(3))
        forward = self.compare("Gt", step, 0) if step.name.startswith("%") else None
        self.code.jump(head)
        self.code.start(head)
        now = self.code.load("i64", counter.name)
        test = self.compare("Gt" if forward is None and step.name.startswith("-") else "Lt", now, high)
        if forward is not None:
            test = self.select(forward, test, self.compare("Gt", now, high))
        self.code.branch(test, body, end)
        self.code.start(body)
        self.scope.names[name] = now
        self._loop(node, node.body)
        self.scope.names[name] = Unset(f"was the name of the loop in line {node.lineno}")
        after = self.code.emit("i64", f"add nsw i64 {now.name}, {step.name}")
        self.code.store(after, counter.name)
        self.code.jump(head)
        self.code.start(end)

    # calls -----------------------------------------------------------------------------------------------------------

    def inline(self, function: types.FunctionType, args: list[Any], named: dict[str, Any], flags: str) -> Any:
        """What a function of the subset gives: its body is put in place, unless it is a routine."""
        if is_routine(function):
            return self._call(function, args, named)
        if len(self.scopes) > 60:
            raise TypeError(
                f"{function.__name__} is called within {len(self.scopes)} other calls: calls are put in place, so none "
                "may lead back to itself; write a loop"
            )
        node = tree_of(function)
        bound = inspect.signature(function).bind(*args, **named)
        bound.apply_defaults()
        before = self.code.contract
        self.scopes.append(Scope(function, flags))
        self.code.contract = flags
        try:
            for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                self._parameter(arg.arg, bound.arguments[arg.arg])
            self._block(node.body)
            return self.scope.result
        finally:
            self.scopes.pop()
            self.code.contract = before

    def _call(self, function: types.FunctionType, args: list[Any], named: dict[str, Any]) -> None:
        bound = inspect.signature(function).bind(*args, **named)
        bound.apply_defaults()
        self.code.call("void", self.routines[function], *(self.to_int(x) for x in bound.arguments.values()))


INSTEAD = {
    ast.Break: "; let the loop's condition end it",
    ast.Continue: "; put what follows into an if",
    ast.Assert: "; check before the kernel runs, or write a code into a word",
    ast.Raise: "; write a code into a word",
}


def _stored(node: ast.AST) -> set[str]:
    """The names that are assigned within a statement."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _as_load(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Name):
        return ast.Name(node.id, ast.Load())
    if isinstance(node, ast.Subscript):
        return ast.Subscript(node.value, node.slice, ast.Load())
    return node
