"""What must be as it was when a function was traced: compared before every call, in one generated expression.

The plan:
1. each `Guard` knows an expression that is cheap and true where nothing moved (mostly ``mapping[key] is value``), and
   a slow comparison by value that says in words what changed;
2. `Guards.holds` is one function of all expressions, beside the mark of modules and optimisers, and the words in which
   these keep their attributes, for what moves no mark;
3. where it says no, `Guards.change` compares by value: an equal float made anew becomes what is expected from then on,
   and anything else is why the function is traced again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tensorgraph.compile.attribute_words import AttributeWords
from tensorgraph.compile.structure import Structure, first_difference, is_marked, same
from tensorgraph.engine.changes import MARK, move
from tensorgraph.engine.tape import Leaf

__all__ = [
    "AbsentGuard",
    "ArrayGuard",
    "AttributeGuard",
    "BytesGuard",
    "CellGuard",
    "ContentsGuard",
    "ContextGuard",
    "EnvironGuard",
    "GradGuard",
    "Guard",
    "Guards",
    "ItemGuard",
    "KindGuard",
    "ReadOnlyGuard",
    "UnsetGuard",
]

ndarray = np.ndarray
UNSET = object()  # what a context variable gives that nobody has set
SMALL = 4096  # bytes of an array that are compared as one string
MOST_ITEMS, MOST_BYTES = 1000, 1 << 18  # beyond, the user is told


class Guard:
    """One thing that must be as it was.

    Attributes
    ----------
    what : str
        What it is, as a person would write it.
    expected : object
        What the expression compares with.
    """

    is_slow = False  # whether comparing takes longer than a small step
    expression = ""  # in terms of `o`, what is looked at, `k`, a key, and `e`, what is expected

    def __init__(self, what: str, looked_at: Any, key: Any, expected: Any) -> None:
        self.what, self.looked_at, self.key, self.expected = what, looked_at, key, expected

    def now(self) -> Any:
        """What is there now.

        Raises
        ------
        Exception
            Where nothing is.
        """
        raise NotImplementedError

    def change(self) -> str | None:
        """What has changed, in words, or None; an equal value that is another object is expected from now on."""
        try:
            value = self.now()
        except Exception:  # a missing key, an empty closure
            return f"{self.what} is gone"
        if not same(value, self.expected):
            return f"{self.what} was {_shown(self.expected)} and is {_shown(value)} now"
        self.expected = value
        return None


class ItemGuard(Guard):
    """An item of a mapping by its key: a global name, an attribute in an object's ``__dict__``."""

    expression = "{o}[{k}] is {e}"

    def now(self) -> Any:
        return self.looked_at[self.key]


class AbsentGuard(Guard):
    """A key that a mapping does not have: an attribute that an object has of its class, a name that is built in."""

    expression = "{k} not in {o}"

    def __init__(self, what: str, mapping: Any, key: Any) -> None:
        super().__init__(what, mapping, key, None)

    def change(self) -> str | None:
        return f"{self.what} is another one now" if self.key in self.looked_at else None


class UnsetGuard(Guard):
    """An attribute that an object does not have, neither of its own nor of its class."""

    expression = "not hasattr({o}, {k})"

    def __init__(self, what: str, value: Any, name: str) -> None:
        super().__init__(what, value, name, None)

    def change(self) -> str | None:
        return f"{self.what} is there now" if hasattr(self.looked_at, self.key) else None


class ReadOnlyGuard(Guard):
    """An array whose numbers nobody can change."""

    expression = "not {o}.flags.writeable"

    def __init__(self, what: str, array: Any) -> None:
        super().__init__(what, array, None, None)

    def change(self) -> str | None:
        return f"{self.what} was read-only and can be written now" if self.looked_at.flags.writeable else None


class CellGuard(Guard):
    """A variable of a function around the one that was traced."""

    expression = "{o}.cell_contents is {e}"

    def now(self) -> Any:
        return self.looked_at.cell_contents


class AttributeGuard(Guard):
    """An attribute that lies in no ``__dict__``, a slot, or that a class has of itself or of its bases."""

    expression = "{o}.{name} is {e}"

    def now(self) -> Any:
        return getattr(self.looked_at, self.key)


class KindGuard(Guard):
    """The class of an object, of which an attribute was taken."""

    expression = "type({o}) is {e}"

    def __init__(self, what: str, value: Any) -> None:
        super().__init__(f"the class of what has {what}", value, None, type(value))

    def now(self) -> Any:
        return type(self.looked_at)


class ContextGuard(Guard):
    """A context variable."""

    expression = "{o}.get({k}) is {e}"

    def __init__(self, what: str, variable: Any) -> None:
        super().__init__(what, variable, UNSET, variable.get(UNSET))

    def now(self) -> Any:
        return self.looked_at.get(UNSET)


class GradGuard(Guard):
    """Whether a tensor has a gradient already."""

    expression = "({o}.grad is None) is {e}"

    def __init__(self, leaf: Leaf, what: str) -> None:
        super().__init__(what, leaf, None, leaf.grad is None)

    def now(self) -> Any:
        return self.looked_at.grad is None

    def change(self) -> str | None:
        if self.now() is self.expected:
            return None
        before, after = ("no", "one") if self.expected else ("a", "none")
        return f"{self.what} had {before} gradient and has {after} now"


class ContentsGuard(Guard):
    """The items of a list, a dict, a set, a deque, or an array of objects."""

    expression = "_ids({o}) == {e}"

    def __init__(self, what: str, container: Any) -> None:
        self.items = items(container)  # kept, so that no other object can have the address of one of them
        plain: Any = object.__eq__
        if type(container) is list and all(is_marked(v) and type(v).__eq__ is plain for v in container):
            self.expression = "{o} == {e}"  # the same ones are seen at once
        super().__init__(what, container, None, self._expected(container))
        self.is_slow = len(self.items) > MOST_ITEMS

    def _expected(self, container: Any) -> Any:
        return [*container] if self.expression == "{o} == {e}" else ids(container)

    def change(self) -> str | None:
        now = items(self.looked_at)
        if len(now) != len(self.items):
            return f"{self.what} had {len(self.items)} items and has {len(now)} now"
        where = first_difference(self.items, now, [f"an item of {self.what}"] * len(now))
        if where is None:
            self.items, self.expected = now, self._expected(self.looked_at)
        return where


class EnvironGuard(Guard):
    """A variable of the process's environment; all of them where the key is None."""

    def __init__(self, environ: Any, key: Any) -> None:
        self.environ = environ
        self.expression = "{o}.get({k}) == {e}" if key is not None else "{o} == {e}"
        what = "the environment" if key is None else f"the environment's {key}"
        data = environ._data  # as `os` keeps it: bytes, on most systems
        key = None if key is None else environ.encodekey(key)
        super().__init__(what, data, key, dict(data) if key is None else data.get(key))

    def change(self) -> str | None:
        now = self.looked_at if self.key is None else self.looked_at.get(self.key)
        if now == self.expected:
            return None
        if self.key is None:
            return f"{self.what} has changed"
        before, after = (None if v is None else self.environ.decodevalue(v) for v in (self.expected, now))
        return f"{self.what} was {_shown(before)} and is {_shown(after)} now"


class BytesGuard(Guard):
    """The bytes of a bytearray, or of an array of Python's module ``array``."""

    expression = "bytes({o}) == {e}"

    def __init__(self, what: str, holder: Any) -> None:
        super().__init__(what, holder, None, bytes(holder))
        self.is_slow = len(self.expected) > MOST_BYTES

    def change(self) -> str | None:
        return None if bytes(self.looked_at) == self.expected else f"the numbers in {self.what} have changed"


class ArrayGuard(Guard):
    """The numbers of an array of the user's."""

    def __init__(self, what: str, array: Any) -> None:
        small = array.nbytes <= SMALL
        super().__init__(what, array, (array.shape, array.dtype), array.tobytes() if small else array.copy())
        same = "{o}.tobytes() == {e} and ({o}.shape, {o}.dtype) == {k}"  # which may be set too
        self.expression = same if small else "_equal({o}, {e})"
        self.is_slow = array.nbytes > MOST_BYTES

    def change(self) -> str | None:
        array, (shape, dtype) = self.looked_at, self.key
        before = self.expected if type(self.expected) is ndarray else np.frombuffer(self.expected, dtype)
        if equal_bytes(array, before.reshape(shape)):
            return None
        return f"the numbers in {self.what}, an array of shape {shape}, have changed"


def items(container: Any) -> list[Any]:
    """What a container holds, keys included."""
    if isinstance(container, ndarray):
        return [*container.flat]
    return [*container, *container.values()] if isinstance(container, Mapping) else [*container]


def ids(container: Any) -> list[int]:
    """The addresses of what a container holds."""
    found = [*map(id, container.flat if isinstance(container, ndarray) else container)]
    return [*found, *map(id, container.values())] if isinstance(container, Mapping) else found


def equal_bytes(a: Any, b: Any) -> bool:
    """Whether two arrays of a dtype hold the same bits."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.itemsize in (1, 2, 4, 8) and not a.dtype.hasobject:
        a, b = a.view(f"u{a.dtype.itemsize}"), b.view(f"u{a.dtype.itemsize}")
    return bool(np.array_equal(a, b))


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, np.ndarray) else f"an array of shape {value.shape}"
    return text if len(text) <= 60 else f"{text[:57]}..."


class Guards:
    """All that one trace depends on.

    Parameters
    ----------
    guards : iterable of Guard
    roots : iterable
        Modules, optimisers, cells and captured tensors, whose parts are compared when the mark has moved.
    latest : list
        What was compared last, for all traces of one function: those of batches of two sizes ask for the same.
    modes : bool
        Whether they depend on modules being in training or in evaluation mode.
    """

    def __init__(
        self, guards: Iterable[Guard], roots: Iterable[Any], latest: list[Any] | None = None, modes: bool = True
    ) -> None:
        self.latest, self.modes = [] if latest is None else latest, modes
        self.roots = list({id(root): root for root in roots}.values())
        self.token = MARK[0]
        self.structure = Structure(self.roots, modes=modes)
        self.words = self.structure.words()
        self.guards = [*guards, *(ContentsGuard(path, held) for path, held in self.structure.containers)]
        known: dict[Any, Guard] = {}
        for guard in self.guards:
            known.setdefault((type(guard), id(guard.looked_at), guard.key), guard)
        self.guards = list(known.values())
        self.holds: Callable[[], bool] = self._expression()

    def _expression(self) -> Callable[[], bool]:
        """One function of all expressions; False also where something is gone."""
        scope: dict[str, Any] = {"_ids": ids, "_equal": equal_bytes, "_mark": MARK, "_token": self.token}
        scope |= {"__package__": __package__, "_differ": self.words.differ}  # a watched trace may call it
        tests = ["_mark[0] is _token", *["not _differ(None)"][: len(self.words.rows)]]
        for n, guard in enumerate(self.guards):
            scope |= {f"o{n}": guard.looked_at, f"k{n}": guard.key, f"e{n}": guard.expected}
            tests.append(guard.expression.format(o=f"o{n}", k=f"k{n}", e=f"e{n}", name=guard.key))
        lines = ["def holds():", "    try:", f"        return {' and '.join(tests)}"]
        lines += ["    except Exception:", "        return False", ""]
        exec(compile("\n".join(lines), "<tensorgraph guards>", "exec"), scope)
        holds: Callable[[], bool] = scope["holds"]
        self.scope = scope
        return holds

    def _now(self, token: object) -> tuple[Structure, AttributeWords]:
        """What the roots are made of under a mark, and the words of that."""
        for mark, roots, structure, words in [*self.latest]:
            alike = mark is token and structure.modes is self.modes and len(roots) == len(self.roots)
            if alike and all(map(operator.is_, roots, self.roots)) and not words.differ(None):
                return structure, words
        found = Structure(self.roots, named=False, modes=self.modes)
        words = found.words()
        self.latest[:] = [(token, self.roots, found, words)]
        return found, words

    def change(self) -> str | None:
        """What has changed since the trace, or None: then equal values that are others are expected from now on."""
        if MARK[0] is self.token and self.words.differ(None):
            move()  # as whoever has changed something did not
        token, words = MARK[0], self.words
        if token is not self.token:
            now, words = self._now(token)
            found = self.structure.difference(now)
            if found is not None:
                return found
        for guard in self.guards:
            found = guard.change()
            if found is not None:
                return found
        self.token, self.words = token, words
        self.scope |= {"_token": token, "_differ": words.differ}
        for n, guard in enumerate(self.guards):
            self.scope[f"e{n}"] = guard.expected
        return None
