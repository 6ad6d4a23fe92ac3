"""Python's numbers as arguments of compiled functions: inputs where these compute with them, and themselves else."""

import copy
import datetime
import fractions
import functools
import json
import math
import numbers
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

X = tg.ones(3)


@functools.lru_cache
def doubled(k: Any) -> Any:
    return k * 2


def matched(k: Any) -> float:
    match k:
        case 1:
            return 10.0
        case int():
            return 20.0
        case float():
            return 30.0
    return 40.0


def inner(x: Any, k: Any) -> Any:
    def scaled() -> Any:
        return x * len(type(k).__name__)

    return scaled()


def later(x: Any, k: Any) -> Any:
    rate = k * 2
    return x if type(rate) is int else -x


# what code may ask of a number that no stand-in for it can answer in its place
ASKED = [
    lambda x, k: x * 2 if k in {1, 2} else x,
    lambda x, k: x * {1: 5.0, 2.5: 3.0}.get(k, 0.0),
    lambda x, k: x * {1: 5.0, 2.5: 3.0}[k],
    lambda x, k: x * doubled(k),
    lambda x, k: x * {"k1": 4.0, "k2.5": 3.0}[f"k{k}"],
    lambda x, k: x * len("%d" % k),  # noqa: UP031
    lambda x, k: x * len(f"{k:.3f}{[k]}"),
    lambda x, k: x * float(str(k)),
    lambda x, k: x * len(json.dumps({"k": k})),
    lambda x, k: x if isinstance(k, int) else -x,
    lambda x, k: x if isinstance(k, float) else -x,
    lambda x, k: x if isinstance(k, numbers.Integral) else -x,
    lambda x, k: x if isinstance(k, tg.Tensor) else -x,
    lambda x, k: x if type(k) is int else -x,
    lambda x, k: x if k.__class__ is int else -x,
    lambda x, k: x if np.isscalar(k) else -x,
    lambda x, k: x if hasattr(k, "shape") else -x,
    lambda x, k: x * getattr(k, "ndim", 7),
    lambda x, k: (x * 2, k.shape),
    lambda x, k: x * k.bit_length(),
    lambda x, k: x if k.is_integer() else -x,
    lambda x, k: x * k.as_integer_ratio()[0],
    lambda x, k: x * sum([1.0] * k),
    lambda x, k: x * len(k * (1,)),
    lambda x, k: x * len("ab" * k),
    lambda x, k: x * float(fractions.Fraction(1, 3) * k),
    lambda x, k: x * abs(k * 1j),
    lambda x, k: x * (datetime.timedelta(seconds=1) * k).total_seconds(),
    lambda x, k: x * copy.deepcopy(k),
    lambda x, k: x * math.isclose(k, 2.5),
    lambda x, k: x * matched(k),
    inner,
    later,
]


@pytest.mark.parametrize("n", range(len(ASKED)))
def test_a_number_is_what_it_is(n: int) -> None:
    """What the function gives or raises is the same, of integers and floats, and at the second call."""

    def outcome(f: Any, k: Any) -> Any:
        try:
            result = f(X, k)
        except Exception as error:
            return type(error), str(error)
        return result.numpy().tolist() if isinstance(result, tg.Tensor) else result

    compiled = tg.compile(ASKED[n])
    for k in (1, 2.5, 3, 1):
        assert outcome(compiled, k) == outcome(ASKED[n], k)


def test_a_size_is_what_it_is() -> None:
    """Where its type is asked for, or code in C wants the number, the trace is of this size alone."""

    def typed(x: Any) -> Any:
        n = x.shape[0]
        return x * (n if type(n) is int else -1)

    for f, traces in ((typed, 2), (lambda x: x * len(json.dumps(x.shape[0])), 2), (lambda x: x * x.shape[0], 1)):
        compiled = tg.compile(f)
        for n in (3, 12, 3):
            assert compiled(tg.ones(n)).numpy().tolist() == f(tg.ones(n)).numpy().tolist()
        assert compiled.stats.traces == traces


def test_a_number_that_is_computed_with_is_an_input() -> None:
    """Its kind may be asked for with `isinstance`, and no call with another number is traced."""

    f = tg.compile(lambda x, k: x * k if isinstance(k, float) else -x)
    for k in range(1, 6):
        assert f(X, k / 4).numpy().tolist() == [k / 4] * 3
    assert f.stats.traces == 1
