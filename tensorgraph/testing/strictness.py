"""Strictness for tests: every graph that runs is verified, and every equation is held to the types that it declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any
from unittest import mock

import numpy as np

from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph import program
from tensorgraph.graph.graph import Equation, Graph

__all__ = ["WrongType", "compare", "strict"]


class WrongType(BaseException):
    """An equation that gave something else than it declares. No handler of errors in between takes it for its own."""


def compare(eq: Equation, results: Any) -> None:
    """Compare what an equation gave with the types that it declares.

    Parameters
    ----------
    eq : Equation
    results : array, Tensor, or tuple of these
        One an output; a residual that was not made is None.

    Raises
    ------
    WrongType
        Naming the op, what it declares and what came.
    """
    several = isinstance(results, (tuple, list))
    for var, value in zip(eq.outputs, results if several else (results,), strict=True):
        if type(value) is np.ndarray and type(var.aval) is Aval:
            if value.shape == var.aval.shape and value.dtype == var.aval.dtype:
                continue
        elif value is None and var in eq.residuals:
            continue
        if type(value) in (int, float, bool):
            came: Aval = Number(type(value))
        else:
            came = value.aval if isinstance(value, Tensor) else Aval(np.shape(value), np.asarray(value).dtype)
        if came != var.aval:
            where = "" if eq.source is None else f", traced at {eq.source.file}:{eq.source.line}"
            raise WrongType(f"an equation of {eq.op.name} declares {var}, and {came} came{where}")


@contextmanager
def strict() -> Iterator[None]:
    """Verify every graph that runs inside, whoever made it, and compare every equation's results with its types.

    For test suites; it costs time, and a graph that was run before is not looked at again.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> from tensorgraph.testing import strict
    >>> lies = tg.op("lies(x)", lambda x: np.float32(x), infer_rule=lambda x: x)
    >>> graph = tg.trace(lambda x: lies(x), tg.f64[2])
    >>> with strict():
    ...     graph(np.ones(2))
    Traceback (most recent call last):
        ...
    tensorgraph.testing.strictness.WrongType: an equation of lies declares ...
    >>> tg.remove_op("lies")
    """
    prepare, plain, run_step, look = program.Program.__init__, program._plain, program._run_step, compare

    def verified(self: program.Program, graph: Graph, *args: Any, **options: Any) -> None:
        prepare(self, graph.check(), *args, **options)

    def plain_compared(step: program.Step, function: Callable[..., Any]) -> tuple[Any, ...]:
        def compared(*args: Any) -> Any:
            results = function(*args)
            look(step.equation, results)
            return results

        return plain(step, compared)

    def step_compared(step: program.Step, *args: Any) -> tuple[Any, ...]:
        results = run_step(step, *args)
        look(step.equation, results)
        return results

    with (
        mock.patch.object(program.Program, "__init__", verified),
        mock.patch.object(program, "_plain", _of_the_runner(plain_compared)),
        mock.patch.object(program, "_run_step", _of_the_runner(step_compared)),
    ):
        yield


def _of_the_runner(function: Any) -> FunctionType:
    """A function as one of the runner's module, so that a warning from below passes by to the user's line."""
    return FunctionType(function.__code__, vars(program), function.__name__, None, function.__closure__)
