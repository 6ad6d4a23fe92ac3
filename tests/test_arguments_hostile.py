"""Every public function meets every hostile argument in every place: it takes what it says it takes, and of the rest it
tells the function, the argument and what came.
"""

import inspect
import itertools
import signal
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from zlib import crc32

import numpy as np
import pytest
from argument_examples import EXAMPLES, EXEMPT, METHODS_EXEMPT, arguments_of, parameters_of, public

import tensorgraph as tg
from tensorgraph import data
from tensorgraph.arguments import Range
from tensorgraph.commands.stubs import library
from tensorgraph.engine.op import Op
from tensorgraph.files import FileFormatError, MissingExtraError
from tensorgraph.testing import examples_of
from tensorgraph.text import ParseError

HOSTILE: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "true": lambda: True,
    "one": lambda: 1,
    "minus": lambda: -1,
    "half": lambda: 0.5,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "huge": lambda: 10**30,
    "complex": lambda: 1j,
    "text": lambda: "no",
    "no text": lambda: "",
    "bytes": lambda: b"no",
    "set": lambda: {1, 2},
    "set of texts": lambda: {"a", "b"},
    "dict": lambda: {"a": 1},
    "list": lambda: [1, "a"],
    "ragged": lambda: [[1.0], [2.0, 3.0]],
    "endless": itertools.count,
    "endless texts": lambda: itertools.repeat("a"),
    "generator": lambda: (i for i in ("a", object())),
    "object": object,
    "class": lambda: data.Normalizer,
    "lambda": lambda: lambda *args, **options: None,
    "array": lambda: np.zeros((2, 3)),
    "masked": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "array of objects": lambda: np.array([object(), None]),
}  # fmt: skip
LONGEST = 120.0  # seconds of a call, after which it is taken for one that has no end
PARTS = 5  # of which one is tried where not everything is


class Endless(BaseException):
    """A call was ended from outside. No handler of errors on its way makes it one of its own."""


TOLD = (ValueError, TypeError, IndexError)
# told as documented: files, texts, drawings, what is not there
DOCUMENTED = (
    FileNotFoundError,
    IsADirectoryError,
    FileFormatError,
    MissingExtraError,
    ParseError,
    FloatingPointError,
    KeyError,
    AssertionError,
)


def fits(annotation: Any, value: Any) -> bool:
    """Whether a value is what an annotation says, by plain means: the judge of what may be accepted."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in (Any, object) or isinstance(annotation, typing.TypeVar):
        return True
    if annotation is None or annotation is type(None):
        return value is None
    if origin is Annotated:
        limits = next((note for note in args[1:] if isinstance(note, Range)), None)
        if limits is not None:
            return fits(args[0], value) and value == value and limits.low <= value <= limits.high
        return fits(args[0], value)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in args)
    if origin in (typing.Union, __import__("types").UnionType):
        return any(fits(arg, value) for arg in args)
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str)
    if origin is typing.get_origin(Callable[..., Any]) or annotation is Callable:
        return callable(value)
    cls = origin or annotation
    if isinstance(value, np.ndarray) and cls is typing.get_origin(typing.Sequence[int]):
        return args == (Any,)
    if not isinstance(cls, type):
        return True
    if isinstance(value, str | bytes | dict | set) and cls in (list, tuple, typing.get_origin(typing.Sequence[int])):
        return False
    if not isinstance(value, cls) or isinstance(value, str | bytes):
        return isinstance(value, cls) and not args
    if isinstance(value, dict) or not args or inspect.isgenerator(value) or isinstance(value, itertools.count):
        return True
    return isinstance(value, itertools.repeat) or all(fits(args[0], item) for item in value)


def annotation_of(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """What the source says of a parameter."""
    function = function.__init__ if isinstance(function, type) else function
    function = function if inspect.isfunction(function) or inspect.ismethod(function) else function.__call__
    note = parameter.annotation
    scope = inspect.unwrap(function).__globals__
    return eval(note, scope) if isinstance(note, str) else Any if note is parameter.empty else note


def ends_in_user(error: BaseException) -> bool:
    """Whether a function of the example's own raised it."""
    trace: Any = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return Path(trace.tb_frame.f_code.co_filename).name.startswith(("argument_examples", "argument_values"))


@pytest.fixture
def _apart(tmp_path, monkeypatch) -> Iterator[None]:
    """Files are written elsewhere, an endless call ends, and what was set is set back."""
    monkeypatch.chdir(tmp_path)

    def late(number: int, frame: Any) -> None:
        raise Endless("the call has no end")

    before, ops = signal.signal(signal.SIGALRM, late), set(tg.CATALOGUE)
    yield
    for name in set(tg.CATALOGUE) - ops:
        tg.CATALOGUE.pop(name)
    signal.signal(signal.SIGALRM, before)
    tg.set_default_dtype("float32")


def outcome(name: str, parameter: inspect.Parameter, hostile: str) -> str:
    """What is wrong with the answer to one hostile argument; empty where nothing is."""
    function, arguments = EXAMPLES[name]()
    value = HOSTILE[hostile]()
    annotation = annotation_of(function, parameter)
    if parameter.kind is parameter.VAR_POSITIONAL:
        arguments[parameter.name] = [*arguments.get(parameter.name, ()), value]
    elif parameter.kind is parameter.VAR_KEYWORD:
        return ""
    else:
        arguments[parameter.name] = value
    for before in parameters_of(function):  # what stands before an argument by position is given too
        if before.name == parameter.name:
            break
    by_position, by_name = arguments_of(function, arguments)
    where = f"{name}({parameter.name}={hostile})"
    allowed = fits(annotation, HOSTILE[hostile]())
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function(*by_position, **by_name)
            if hasattr(result, "__enter__") and name.startswith("files."):
                with result:
                    pass
        return "" if allowed else f"{where} is accepted: {annotation}"
    except TOLD as error:
        message = str(error)
        if isinstance(error, DOCUMENTED) and allowed:
            return ""
        if ends_in_user(error):
            return ""
        owner = getattr(function, "__self__", None)  # a method is called by its class
        told = {name.rpartition(".")[2], getattr(function, "__name__", ""), type(owner).__name__}
        if not any(word and word in message for word in told):
            return f"{where} does not name the function: {type(error).__name__}: {message[:160]}"
        if not allowed and parameter.name not in message:
            return f"{where} does not name the argument: {type(error).__name__}: {message[:160]}"
        return "" if "\n" not in message or hostile.startswith(("array", "masked")) else f"{where}: {message[:160]}"
    except DOCUMENTED as error:
        return "" if allowed else f"{where}: {type(error).__name__}: {str(error)[:160]}"
    except (Exception, Endless) as error:
        return f"{where}: {type(error).__name__}: {str(error)[:160]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_every_public_function_has_an_example() -> None:
    names = dict(public())
    missing = [
        name for name, thing in names.items()
        if name not in EXAMPLES and name not in EXEMPT | METHODS_EXEMPT and parameters_of(thing)
    ]  # fmt: skip
    assert not missing, f"give each a call in EXAMPLES of tests/argument_examples.py: {missing}"
    assert not set(EXAMPLES) - set(names), f"no such functions: {set(EXAMPLES) - set(names)}"
    assert not (EXEMPT | METHODS_EXEMPT) - set(names), (EXEMPT | METHODS_EXEMPT) - set(names)


@pytest.mark.usefixtures("_apart")
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str) -> None:
    function, arguments = EXAMPLES[name]()
    by_position, by_name = arguments_of(function, arguments)
    if name == "Tensor.retain_grad":
        return
    function(*by_position, **by_name)


@pytest.mark.usefixtures("_apart")
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))])
@pytest.mark.parametrize("room", sorted({name.partition(".")[0] for name in EXAMPLES}))
def test_hostile_arguments_are_told(room: str, part: int) -> None:
    wrong = []
    for name in EXAMPLES:
        if name.partition(".")[0] != room:
            continue
        for parameter in parameters_of(EXAMPLES[name]()[0]):
            for hostile in HOSTILE:
                if crc32(f"{name} {parameter.name} {hostile}".encode()) % PARTS == part:
                    wrong.append(outcome(name, parameter, hostile))
    wrong = [told for told in wrong if told]
    assert not wrong, f"{len(wrong)} of them:\n" + "\n".join(wrong)


def op_outcomes(declared: Op, part: int) -> Iterator[str]:
    """What is wrong with the answers of an op to hostile inputs and attributes."""
    case = examples_of(declared)[0]
    inputs = [v if v is None else [tg.tensor(i) for i in v] if isinstance(v, list) else v for v in case.inputs]
    given = dict(zip(declared.inputs, inputs, strict=True)) | case.full_attrs()
    flags = {name for name, kind in declared.signature.types.items() if kind == "bool"}
    for name, hostile in itertools.product(given, HOSTILE):
        if crc32(f"{declared.name} {name} {hostile}".encode()) % PARTS != part:
            continue
        where = f"{declared.name}({name}={hostile})"
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                declared.public(**{**given, name: HOSTILE[hostile]()})
            if name in flags and hostile != "true":
                yield f"{where} is accepted"
        except TOLD as error:
            if declared.name not in str(error):
                yield f"{where} does not name the op: {type(error).__name__}: {str(error)[:160]}"
        except (Exception, Endless) as error:
            yield f"{where}: {type(error).__name__}: {str(error)[:160]}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.usefixtures("_apart")
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))])
def test_ops_tell_their_names(part: int) -> None:
    wrong: list[str] = []
    for declared in library():
        if "internal" not in declared.traits and declared.differentiable and not declared.name.endswith("_vjp"):
            wrong += op_outcomes(declared, part)
    assert not wrong, f"{len(wrong)} of them:\n" + "\n".join(wrong)
