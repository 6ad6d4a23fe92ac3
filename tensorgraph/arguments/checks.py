"""`checked`: a function whose arguments are held to their annotations, and its unknown keywords answered.

The plan: decorating costs nothing but an object; at the first call the annotations are read, and the function's code is
replaced by one that looks at each argument's type and goes on. What is of another type goes through its kind.
"""

from __future__ import annotations

import inspect
import linecache
import sys
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeVar

from tensorgraph.arguments.depth import DEEP, is_deep
from tensorgraph.arguments.foreign import keyword_hint
from tensorgraph.arguments.kinds import ANYTHING, AxisError, Kind, Unfit, brief, kind_of
from tensorgraph.arguments.near import near

__all__ = ["checked", "refuse_call", "refuse_keyword"]

MISSING = object()
PLAIN = (ValueError, TypeError, IndexError, MemoryError, AxisError)
F = TypeVar("F", bound=Callable[..., Any])


def _stub(*args: Any, **kwargs: Any) -> Any:
    return globals()["_begin"]()(*args, **kwargs)  # whose globals are not this module's, but its own


def checked(function: F) -> F:
    """Check the arguments of a function, or of a class's constructor, by their annotations (see `kinds`).

    Examples
    --------
    >>> from tensorgraph.arguments import Count, checked
    >>> @checked
    ... def repeat(text: str, times: Count = 2) -> str:
    ...     return text * times
    >>> repeat("ab", times=0)
    Traceback (most recent call last):
    ...
    ValueError: repeat: times must be a positive integer, got 0
    """
    if isinstance(function, type):
        function.__init__ = checked(function.__init__)  # type: ignore[misc]
        return function
    scope: dict[str, Any] = {
        "__name__": function.__module__,
        "__package__": "tensorgraph",
        "__builtins__": __builtins__,
    }
    shell = types.FunctionType(_stub.__code__, scope, function.__name__)
    shell.__module__, shell.__qualname__, shell.__doc__ = function.__module__, function.__qualname__, function.__doc__
    shell.__annotations__ = function.__annotations__
    shell.__dict__ |= {**function.__dict__, "__wrapped__": function}
    scope["_begin"] = lambda: _prepare(shell, function, scope)
    return shell  # type: ignore[return-value]


def kinds_of(function: Callable[..., Any]) -> dict[str, Kind]:
    """What each parameter of a function allows."""
    function = inspect.unwrap(function)
    own = vars(inspect.getmodule(function)) if not hasattr(function, "__globals__") else function.__globals__
    kinds = {}
    for name, note in function.__annotations__.items():
        if name != "return":
            kinds[name] = kind_of(eval(note, own) if isinstance(note, str) else note)
    return kinds


def _prepare(shell: types.FunctionType, function: Callable[..., Any], scope: dict[str, Any]) -> Callable[..., Any]:
    """Give the shell its code, which looks at the types of the arguments and calls the function."""
    kinds = kinds_of(function)
    parameters = list(inspect.signature(function).parameters.values())
    owner = parameters[0].name if parameters and parameters[0].name in ("self", "cls") else None
    label = f"{function.__name__!r}, {owner or 'None'}"
    scope |= {
        "_function": function,
        "_fit": _fit,
        "_fit_all": _fit_all,
        "_lost": _lost,
        "_keyword": refuse_keyword,
        "_missing": MISSING,
    }
    taken, passed, body = [], [], []
    others = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
    scope["_names"] = [
        p.name for p in parameters if p.name != owner and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    by_position = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_position = by_position[1:] if owner else by_position
    star = False
    counted = not any(p.kind is p.VAR_POSITIONAL for p in parameters)  # what is too many is told here
    for p in parameters:
        kind = kinds.get(p.name, ANYTHING)
        scope[f"_kind_{p.name}"] = kind
        if p.kind is p.VAR_POSITIONAL:
            taken.append(f"*{p.name}")
            passed.append(f"*{p.name}")
            star = True
            if kind is not ANYTHING:
                body.append(f"if {p.name}: {p.name} = _fit_all({p.name}, _kind_{p.name}, {p.name!r}, {label})")
            continue
        if p.kind is p.VAR_KEYWORD:
            taken += ["*_rest"] * (counted and not star)
            star = True
            taken.append(f"**{p.name}")
            passed.append(f"**{p.name}")
            if kind is not ANYTHING:
                body.append(f"if {p.name}: {p.name} = _fit_all({p.name}, _kind_{p.name}, '', {label})")
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            taken.append("*_rest")
            star = True
        default = p.default is not p.empty
        if default:
            scope[f"_default_{p.name}"] = p.default
        # what is missing is told here, after an unknown keyword that was meant for it
        taken.append(f"{p.name}=_default_{p.name}" if default else p.name if p.name == owner else f"{p.name}=_missing")
        passed.append(f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else p.name)
        after = parameters[parameters.index(p) + 1 :][:1]
        if p.kind is p.POSITIONAL_ONLY and not (after and after[0].kind is p.kind):
            taken.append("/")
        if p.name == owner or (kind is ANYTHING and default):
            continue
        scope[f"_types_{p.name}"] = kind.instant
        tests = [f"{p.name} is not _default_{p.name}"] if default else []
        tests += [f"type({p.name}) not in _types_{p.name}"] if kind.instant else []
        tests = [f"{p.name} is _missing"] if kind is ANYTHING else tests
        if not default and others:  # the keyword of another library may be meant for it
            body.append(f"if {p.name} is _missing: _lost({p.name!r}, {others}, _names, {label})")
        fit = f"{p.name} = _fit({p.name}, _kind_{p.name}, {p.name!r}, {label})"
        body.append(f"if {' and '.join(tests)}: {fit}" if tests else fit)
    taken += ["*_rest"] * (counted and not star)
    if counted:
        named = next((p.name for p in parameters if p.kind is p.KEYWORD_ONLY), "")
        scope |= {"_by_position": by_position, "_excess": _excess}
        body.insert(0, f"if _rest: _excess(_by_position, _rest, {named!r}, {label})")
    if others is None:
        taken.append("**_others")
        body.insert(0, f"if _others: _keyword(_others, _names, {label})")
    scope |= {"_errors": (*PLAIN, RecursionError), "_name": name_function, "_parameters": kinds.keys()}
    body += [
        "try:",
        f"    return _function({', '.join(passed)})",
        "except _errors as _error:",
        f"    _name(_error, _parameters, {label})",
        "    raise",
    ]
    text = f"def {function.__name__}({', '.join(taken)}):\n" + "".join(f"    {line}\n" for line in body)
    file = f"<tensorgraph arguments {function.__module__}.{function.__qualname__}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), scope)
    made = scope[function.__name__]
    shell.__defaults__ = made.__defaults__  # before the code, which another thread may run at once
    shell.__kwdefaults__ = made.__kwdefaults__
    shell.__code__ = made.__code__.replace(co_qualname=function.__qualname__)
    return shell


def label_of(frame: Any) -> str | None:
    """What the user called, where a frame runs a function whose arguments are checked."""
    code = frame.f_code
    if "_parameters" not in frame.f_globals or not code.co_filename.startswith("<tensorgraph arguments"):
        return None
    owned = code.co_varnames[:1] in (("self",), ("cls",))
    return _label(code.co_name, frame.f_locals[code.co_varnames[0]] if owned else None)


def _label(function: str, owner: Any) -> str:
    """What the user called: a function, a class, or a method of the object's class."""
    if owner is None:
        return function
    cls = owner if isinstance(owner, type) else type(owner)
    if function == "__call__":
        return str(getattr(owner, "__name__", cls.__name__))
    return cls.__name__ if function == "__init__" else f"{cls.__name__}.{function}"


def _fit(value: Any, kind: Kind, name: str, function: str, owner: Any) -> Any:
    if value is MISSING:
        raise TypeError(f"{_label(function, owner)} needs the argument {name!r}")
    try:
        return kind(value)
    except Unfit as unfit:
        label = _label(function, owner)
        sentence = unfit.sentence(name)
        error: Any = unfit.wrong(f"{label}: {sentence}")
        error.told = label, name.partition("[")[0], sentence
    except RecursionError:
        if not is_deep(value):
            raise
        error = ValueError(f"{_label(function, owner)}: {name} is {DEEP}")
    raise error


def name_function(error: Any, parameters: Collection[str], function: str, owner: Any) -> None:
    """Begin the message of an error from inside by the name of the function that the user called.

    One that already begins by the name of a checked function inside gets this one's, where the argument meant is this
    one's too. What comes from the user's own functions stays as it is.
    """
    label = _label(function, owner)
    if isinstance(error, MemoryError) and error.__class__ is not MemoryError:  # NumPy's makes its own message
        short: Any = MemoryError(f"{label}: {error}")
        short.told = label, "", str(error)
        raise short from None
    trace: Any = error.__traceback__
    if isinstance(error, RecursionError) and not _from_user(trace.tb_next):
        given = trace.tb_frame.f_locals.values()  # only here: before 3.13 the frame then holds the error that holds it
        if any(map(is_deep, given)):
            deep: Any = ValueError(f"{label}: an argument is {DEEP}")
            deep.told = label, "", f"an argument is {DEEP}"
            raise deep from None
    if not _from_user(trace.tb_next):
        begin_by(error, label, parameters)


def begin_by(error: Any, label: str, parameters: Collection[str] = ()) -> None:
    """Begin the message of an error by the name of a function around, of which these are the parameters."""
    message = error.args[0] if error.args else ""
    if type(error) not in PLAIN or not isinstance(message, str):
        return
    told = getattr(error, "told", None)
    if told is None:
        own = not message.startswith(label) or message.startswith(f"{label}: ")
        told = error.told = label if own else "", "", message.removeprefix(f"{label}: ")
    inner, argument, rest = told
    if inner not in ("", label) and argument and argument not in parameters:  # another function's argument
        rest = f"{inner}: {rest}"
    if inner or argument:
        error.args = (f"{label}: {brief(rest)}", *error.args[1:])


def _from_user(trace: Any) -> bool:
    """Whether a function of the user's ran between the call and the error."""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if module not in ("tensorgraph", "numpy") and module not in sys.stdlib_module_names:
            return True
        trace = trace.tb_next
    return False


def _lost(name: str, others: Mapping[str, Any], names: list[str], function: str, owner: Any) -> NoReturn:
    """Say that an argument is missing, or which keyword was meant for it."""
    meant = [key for key in others if keyword_hint(key, [name])]
    if meant:
        refuse_keyword({meant[0]: None}, [name], function, owner)
    raise TypeError(f"{_label(function, owner)} needs the argument {name!r}")


def _excess(names: list[str], rest: tuple[Any, ...], named: str, function: str, owner: Any) -> NoReturn:
    """Say how many arguments may be given by position."""
    many = f"{len(names)} argument{'s' * (len(names) != 1)} by position" if names else "no argument by position"
    listed = f" ({', '.join(names)})" if names else ""
    remedy = f"; the others are given by name, as in {named}=..." if named else ""
    raise TypeError(f"{_label(function, owner)} takes {many}{listed}, got {len(names) + len(rest)}{remedy}")


def refuse_call(
    error: TypeError, label: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Where the error of a call is that the function does not take these arguments, say which it takes."""
    if error.__traceback__ is None or error.__traceback__.tb_next is not None:  # it was entered
        return
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as misfit:
        said = f"{label}: {misfit}; it takes {', '.join(signature.parameters) or 'none'}"
    else:
        return
    raise TypeError(said) from None


def _fit_all(values: Any, kind: Kind, name: str, function: str, owner: Any) -> Any:
    """Each of ``*values``, or of ``**values``."""
    if isinstance(values, Mapping):
        return {key: _fit(value, kind, key, function, owner) for key, value in values.items()}
    return tuple([_fit(value, kind, f"{name}[{i}]", function, owner) for i, value in enumerate(values)])


def refuse_keyword(others: Mapping[str, Any], names: list[str], function: str, owner: Any) -> NoReturn:
    """Say that there is no such argument, and which is meant, where that can be told."""
    key = next(iter(others))
    label = _label(function, owner)
    hint = keyword_hint(key, names)
    if not hint:
        close = near(key, names)
        hint = f"did you mean {close!r}?" if close else f"it takes {', '.join(names)}" if names else "it takes none"
    raise TypeError(f"{label} has no argument {key!r}; {hint}")
