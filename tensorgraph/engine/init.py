"""Initialisers: the numbers that weights start from, reproducible from a seed.

A weight of shape (inputs, outputs) has fan-in `inputs` and fan-out `outputs`; further leading axes, as of a kernel
that slides over positions, (positions..., inputs, outputs), multiply both. Pass ``fan_in`` and ``fan_out`` for other
layouts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import Count, Finite, Kind, Natural, NonNegative, Unfit, checked, kind_of, refuse_keyword
from tensorgraph.arguments.checks import kinds_of
from tensorgraph.arguments.foreign import answer, getter
from tensorgraph.arguments.near import near
from tensorgraph.engine import random
from tensorgraph.engine.aval import Extent, FloatDType, Shape, canonical_dtype, default_dtype
from tensorgraph.engine.cells import Buffer, refuse_in_trace

__all__ = [
    "Initialiser", "constant", "fans", "fresh_seed", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform",
    "named", "normal", "ones", "reserve", "text_of", "torch_uniform", "undrawn", "uniform", "xavier_normal",
    "xavier_uniform", "zeros",
]  # fmt: skip

NORMAL, UNIFORM = "normal", "uniform"  # what numbers are drawn from

Array = np.ndarray[Any, Any]


@checked
def fans(shape: Sequence[Extent]) -> tuple[int, int]:
    """Fan-in and fan-out of a weight of this shape.

    Examples
    --------
    >>> from tensorgraph.nn import init
    >>> init.fans((784, 256)), init.fans((3, 3, 16, 32))
    ((784, 256), (144, 288))
    """
    if len(shape) < 2:
        n = shape[0] if shape else 1
        return n, n
    positions = math.prod(shape[:-2])
    return positions * shape[-2], positions * shape[-1]


def fresh_seed() -> int:
    """A seed drawn from the process-wide generator, so that `tensorgraph.random.seed` governs it."""
    return int(float(random.uniform((), dtype="float64")) * 2.0**53)


class Allowance:
    """How many numbers may still be made: see `undrawn`."""

    def __init__(self, most: int) -> None:
        self.most = self.left = most


_ALLOWANCE: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def undrawn(most: int) -> Iterator[None]:
    """Within, initialisers draw nothing, since other numbers will be loaded over theirs; they give `most` at most."""
    token = _ALLOWANCE.set(Allowance(most))
    try:
        yield
    finally:
        _ALLOWANCE.reset(token)


def reserve(shape: tuple[int, ...]) -> bool:
    """Whether numbers of this shape will be loaded over the first ones, so that none need to be drawn.

    Raises
    ------
    ValueError
        If they are more than there are to load.
    """
    allowance = _ALLOWANCE.get()
    if allowance is None:
        return False
    allowance.left -= math.prod(shape)
    if allowance.left < 0:
        raise ValueError(f"an array of shape {shape} does not fit the numbers that are to be loaded")
    return True


def _source(value: Any, kind: Kind) -> Any:
    drawing = hasattr(value, NORMAL) and hasattr(value, UNIFORM) and not isinstance(value, type)
    return value if drawing else kind.refuse(value)


Source: TypeAlias = Annotated[Any, Kind("a tensorgraph.random.Generator or a numpy.random.Generator", _source)]


class Initialiser:
    """A way to draw a weight's first numbers; `using` gives it other options.

    Call it as ``init.he_normal(shape, dtype=None, *, seed=None, generator=None, ...)``. Without seed and generator it
    draws from the process-wide generator, which `tensorgraph.random.seed` seeds.

    Examples
    --------
    >>> from tensorgraph.nn import init
    >>> init.normal((2, 3), seed=0, std=0.01).shape
    (2, 3)
    >>> init.normal.using(std=0.01)
    normal(std=0.01)
    """

    def __init__(self, draw: Callable[..., Array], options: dict[str, Any] | None = None) -> None:
        self.draw = draw if hasattr(draw, "__wrapped__") else checked(draw)
        self.options = options or {}
        self.__doc__ = draw.__doc__
        self.__name__ = draw.__name__

    @checked
    def __call__(
        self,
        shape: Shape,
        dtype: FloatDType | None = None,
        *,
        seed: Natural | None = None,
        generator: Source | None = None,
        **options: Any,
    ) -> Array:
        sizes = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
        kind = default_dtype() if dtype is None else canonical_dtype(dtype)
        if kind.kind != "f":
            raise TypeError(f"{self.__name__}: weights are float, got {kind}")
        if seed is not None and generator is not None:
            raise TypeError(f"{self.__name__}: give a seed or a generator, not both")
        loaded = reserve(sizes)
        source = (
            random.Draws(Buffer(random.key(seed))) if seed is not None else random if generator is None else generator
        )

        def numbers(name: str) -> Array:
            if loaded:
                return np.zeros(sizes, kind)
            if isinstance(source, np.random.Generator):
                return (source.random if name == UNIFORM else source.standard_normal)(sizes)
            refuse_in_trace("Parameter")
            return np.array(getattr(source, name)(sizes, dtype=kind))

        return np.asarray(self.draw(numbers, sizes, **{**self.options, **options}), kind)

    @checked
    def using(self, **options: Any) -> Initialiser:
        """The same with these options."""
        for key, value in options.items():
            check_option(self, key, value)
        return Initialiser(self.draw, {**self.options, **options})

    def __repr__(self) -> str:
        return f"{self.__name__}({', '.join(f'{key}={value!r}' for key, value in self.options.items())})"


def named(what: str | Callable[..., Any]) -> Callable[..., Any]:
    """An initialiser by its name, or the callable itself."""
    if isinstance(what, str):
        found = _BY_NAME.get(what.removesuffix("()"))
        if found is None:
            close = near(what, _BY_NAME)
            hint = f"did you mean {close!r}? There are" if close else answer("tensorgraph.nn.init", what) or "there are"
            hint = hint if hint.endswith("are") else f"{hint}; there are"
            raise ValueError(f"no initialiser is called {what!r}; {hint} {', '.join(sorted(_BY_NAME))}")
        return found
    if not callable(what):
        raise TypeError(f"an initialiser is a name or a callable of a shape, got {type(what).__name__}")
    return what


def check_option(initialiser: str | Initialiser, key: str, value: Any) -> None:
    """Refuse an option that an initialiser has not, or that is not of its kind; ``key()``, of states, has a seed.

    Raises
    ------
    TypeError, ValueError
    """
    found = _BY_NAME.get(initialiser) if isinstance(initialiser, str) else initialiser
    name = found.__name__ if found is not None else str(initialiser)
    kinds = {"seed": kind_of(Natural)} if found is None else kinds_of(found.draw)
    names = [known for known in kinds if known not in ("numbers", "shape")]
    if key not in names:
        refuse_keyword({key: value}, names, name, None)
    if found is constant and isinstance(value, bool):  # of a mask
        return
    try:
        kinds[key](value)
    except Unfit as unfit:
        error = unfit.wrong(f"{name}: {unfit.sentence(key)}")
    else:
        return
    raise error


def text_of_number(number: float) -> str:
    """How a graph writes the initialiser of one number everywhere."""
    return PLAIN.get(number, f"constant(value={number!r})")


def number_of(text: str) -> float | None:
    """The number that an initialiser fills a cell with; None of others.

    Examples
    --------
    >>> number_of("zeros()"), number_of("constant(value=0.5)"), number_of("normal(std=0.1)")
    (0.0, 0.5, None)
    """
    plain = next((number for number, said in PLAIN.items() if said == text), None)
    inside = text.removeprefix("constant(value=").removesuffix(")")
    if plain is not None or len(inside) == len(text):
        return plain
    try:
        return float(inside)
    except ValueError:
        return None


def text_of(initialiser: Any) -> str:
    """How a graph writes an initialiser: as a call."""
    return repr(initialiser) if isinstance(initialiser, Initialiser) else f"{getattr(initialiser, '__name__', 'f')}()"


def for_bias(what: str | Callable[..., Any], fan_in: int) -> Callable[..., Any]:
    """The initialiser of a bias, which is told what its shape does not say: how many numbers its layer adds up."""
    draw = named(what)
    if draw is torch_uniform:
        return torch_uniform.using(fan_in=fan_in)
    return draw


def _fan(shape: tuple[int, ...], fan_in: int | None, fan_out: int | None) -> tuple[int, int]:
    own_in, own_out = fans(shape)
    return max(fan_in or own_in, 1), max(fan_out or own_out, 1)


def _scaled(name: str, variance: Callable[[int, int], float], distribution: str, doc: str) -> Initialiser:
    def draw(
        numbers: Any,
        shape: tuple[int, ...],
        *,
        gain: Finite = 1.0,
        fan_in: Count | None = None,
        fan_out: Count | None = None,
    ) -> Array:
        std = gain * math.sqrt(variance(*_fan(shape, fan_in, fan_out)))
        if distribution == NORMAL:
            return np.asarray(numbers(NORMAL) * std)
        limit = math.sqrt(3.0) * std
        return np.asarray((numbers(UNIFORM) * 2.0 - 1.0) * limit)

    draw.__name__ = name
    draw.__doc__ = doc
    return Initialiser(draw)


def _he(fan_in: int, fan_out: int) -> float:
    return 2.0 / fan_in


def _xavier(fan_in: int, fan_out: int) -> float:
    return 2.0 / (fan_in + fan_out)


def _lecun(fan_in: int, fan_out: int) -> float:
    return 1.0 / fan_in


he_normal = _scaled("he_normal", _he, NORMAL, "Normal of variance 2/fan_in: for ReLU. (He et al. 2015)")
he_uniform = _scaled("he_uniform", _he, UNIFORM, "Uniform of variance 2/fan_in: for ReLU. (He et al. 2015)")
xavier_normal = _scaled(
    "xavier_normal", _xavier, NORMAL, "Normal of variance 2/(fan_in + fan_out): for tanh. (Glorot & Bengio 2010)"
)
xavier_uniform = _scaled(
    "xavier_uniform", _xavier, UNIFORM, "Uniform of variance 2/(fan_in + fan_out): for tanh. (Glorot & Bengio 2010)"
)
lecun_normal = _scaled("lecun_normal", _lecun, NORMAL, "Normal of variance 1/fan_in. (LeCun et al. 1998)")
lecun_uniform = _scaled("lecun_uniform", _lecun, UNIFORM, "Uniform of variance 1/fan_in. (LeCun et al. 1998)")


def _torch(fan_in: int, fan_out: int) -> float:
    return 1.0 / (3.0 * fan_in)


torch_uniform = _scaled(
    "torch_uniform", _torch, UNIFORM, "Uniform within 1/sqrt(fan_in): what PyTorch's linear and convolutional layers "
    "start with, their biases too. A layer's own bias is given its weight's fan_in."
)  # fmt: skip


@Initialiser
def normal(numbers: Any, shape: tuple[int, ...], *, mean: Finite = 0.0, std: NonNegative = 1.0) -> Array:
    """Normal numbers."""
    return np.asarray(numbers(NORMAL) * std + mean)


@Initialiser
def uniform(numbers: Any, shape: tuple[int, ...], *, low: Finite = -1.0, high: Finite = 1.0) -> Array:
    """Uniform numbers in [low, high)."""
    return np.asarray(numbers(UNIFORM) * (high - low) + low)


@Initialiser
def zeros(numbers: Any, shape: tuple[int, ...]) -> Array:
    """Zeros."""
    return np.zeros(shape)


@Initialiser
def ones(numbers: Any, shape: tuple[int, ...]) -> Array:
    """Ones."""
    return np.ones(shape)


@Initialiser
def constant(numbers: Any, shape: tuple[int, ...], *, value: float = 0.0) -> Array:
    """One value everywhere."""
    return np.full(shape, value)


_BY_NAME: dict[str, Initialiser] = {
    i.__name__: i
    for i in (he_normal, he_uniform, xavier_normal, xavier_uniform, lecun_normal, lecun_uniform, torch_uniform, normal,
              uniform, zeros, ones, constant)
}  # fmt: skip
NAMES = tuple(_BY_NAME)  # what a graph's text may start a cell by
PLAIN = {0.0: "zeros()", 1.0: "ones()"}  # numbers with an initialiser of their own


__getattr__ = getter("tensorgraph.nn.init", __all__)
