"""Names of PyTorch, JAX, NumPy and Keras that are others here, each with what to write.

One table, in the files ``foreign_*.py``, answers every AttributeError and every unknown keyword.
A line is ``name name = code # words``: the code is an expression that runs here (a test runs it with the names of its
`samples`) and does what the foreign name does, or else the words, which come before it, say what it does. ``{name}`` in
the code is the name asked for, ``{lower}`` the same in small letters; ``{plain}`` is the code of the name above without
its last underscore. A line goes when the library has the name: a test says which.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NoReturn

from tensorgraph.arguments.foreign_functions import FUNCTIONS
from tensorgraph.arguments.foreign_models import MODELS
from tensorgraph.arguments.foreign_tensors import TENSORS
from tensorgraph.arguments.near import near

__all__ = [
    "absent",
    "answer",
    "entries",
    "getter",
    "keyword_hint",
    "keywords",
    "own_attribute",
    "put_absent",
    "put_functions",
]

TABLE = f"{FUNCTIONS}\n{TENSORS}\n{MODELS}"

_calls: list[Callable[[str], str]] = []


@cache
def entries() -> dict[str, dict[str, tuple[str, str]]]:
    """The table by section and name: the code and the words."""
    sections: dict[str, dict[str, tuple[str, str]]] = {}
    for line in TABLE.replace("\\\n", "").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line[1:-1], {})
        elif line:
            names, _, rest = line.partition(" = ")
            code, _, words = rest.partition(" # ")
            if code == "{plain}":
                for name in names.split():
                    section[name] = section[name.removesuffix("_")][0], words
            elif "{" in code:
                for name in names.split():
                    section[name] = code.replace("{name}", name).replace("{lower}", name.lower()), words
            else:
                section |= dict.fromkeys(names.split(), (code, words))
    return sections


def answer(section: str, name: str) -> str:
    """What to write for a name of another library, as the end of a sentence; empty where it is no such name."""
    code, words = entries().get(section, {}).get(name, ("", ""))
    if code:
        return f"{words}: {code}" if words else f"write {code}"
    call = next((call for find in _calls if (call := find(name.removesuffix("_")))), "")
    if call and name.endswith("_"):
        return f"tensors never change; write y = {call}"
    return f"write {call}" if call else ""


def absent(what: str, section: str, name: str, names: Sequence[str] = ()) -> AttributeError:
    """The error for an attribute that is not there; `names` are those that are."""
    hint = answer(section, name)
    if not hint:
        special = name.startswith("__")  # what tools ask every object for
        close = near(name, names) if len(name) > 3 and not special else None
        hint = f"did you mean {close!r}?" if close else ""
    return AttributeError(f"{what} has no attribute {name!r}{f'; {hint}' if hint else ''}", name=name)


def getter(module: str, names: Sequence[str]) -> Callable[[str], NoReturn]:
    """``__getattr__`` of a module with these public names."""

    def __getattr__(name: str) -> NoReturn:
        raise absent(f"module {module!r}", module, name, names)

    return __getattr__


class Absent:
    """In place of a method or attribute that has another name here. Not `__getattr__`, which slows down all others."""

    __slots__ = ("name", "section", "what")

    def __init__(self, section: str, name: str, what: str = "") -> None:
        self.section, self.name, self.what = section, name, what

    def __get__(self, instance: Any, owner: Any = None) -> NoReturn:
        raise absent(self.what or owner.__name__, self.section, self.name)


def own_attribute(instance: Any, name: str) -> bool:
    """Whether an attribute may be new to this object: those of the library's own classes have the ones they have."""
    return (
        name.startswith("_")
        or name in instance.__dict__
        or hasattr(type(instance), name)
        or not type(instance).__module__.startswith("tensorgraph.")
    )


class AbsentSlot(Absent):
    """The same where instances have no attributes of their own, so that giving it a value is a mistake too."""

    __slots__ = ()

    def __set__(self, instance: Any, value: Any) -> NoReturn:
        self.__get__(instance, type(instance))


def _in_place(cls: type, name: str, what: str = "") -> None:
    kind = Absent if cls.__dictoffset__ else AbsentSlot
    setattr(cls, name, kind(cls.__name__, name, what))


def put_functions(cls: type, names: Iterable[str], call: Callable[[str], str]) -> None:
    """Answer for functions that are asked for as methods of a class, or in place, in other rooms too.

    `call` shows how a function of this name is called, or gives nothing.
    """
    _calls.append(call)
    own = {name for base in cls.__mro__ for name in vars(base)}
    for name in names:
        for foreign in (name, f"{name}_"):
            if foreign not in own:
                _in_place(cls, foreign)


def put_absent(cls: type, what: str = "") -> None:
    """Answer for the names of a class's section, where the class has none of its own; `what` users call the class."""
    for name in entries().get(cls.__name__, ()):
        if not hasattr(cls, name):
            _in_place(cls, name, what)
    cls.__dir__ = _names  # type: ignore[method-assign,assignment]


def _names(instance: Any) -> list[str]:
    """What `dir` lists: without the names of others."""
    cls = type(instance)
    return [
        name for name in object.__dir__(instance) if not isinstance(inspect.getattr_static(cls, name, None), Absent)
    ]


@cache
def keywords() -> dict[str, list[str]]:
    """What keywords of others are here: the first that a function has."""
    targets: dict[str, list[str]] = {}
    for line in TABLE.partition("[keywords]\n")[2].partition("\n\n")[0].splitlines():
        names, _, target = line.partition(" = ")
        for name in names.split():
            targets.setdefault(name, []).append(target)
    return targets


def keyword_hint(key: str, names: Sequence[str]) -> str:
    """What to write for an unknown keyword of a function with these; empty where nothing is known of it."""
    known = [target for target in keywords().get(key, ()) if target in names]
    return f"write {known[0]}=" if known else entries()["unsupported"].get(key, ("", ""))[0]
