"""`Generator`: a stream of random numbers, and the distributions that it draws from."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from tensorgraph.arguments import Fraction, Name, Natural, checked
from tensorgraph.engine import random
from tensorgraph.engine.aval import DType, FloatDType, Shape, canonical_dtype
from tensorgraph.engine.cells import Buffer
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.ops.arithmetic import maximum, minimum
from tensorgraph.ops.exponential import log, sigmoid
from tensorgraph.ops.factors import cholesky
from tensorgraph.ops.logic import where
from tensorgraph.ops.moving import moveaxis, take
from tensorgraph.ops.products import matvec
from tensorgraph.ops.random import integers, permutation, standard_exponential, standard_gamma
from tensorgraph.ops.reduction import argmax
from tensorgraph.ops.scans import cumulative_sum
from tensorgraph.ops.shape import astype, broadcast_to
from tensorgraph.ops.softmax import softmax
from tensorgraph.ops.sorting import argsort
from tensorgraph.ops.special import gamma_slope, ndtr, ndtri
from tensorgraph.ops.structure import stop_gradient
from tensorgraph.random.parameters import Parameters, number_of, require
from tensorgraph.transforms import custom_vjp

__all__ = ["Generator"]

TensorLike: TypeAlias = Any


@custom_vjp
def _gamma_of(a: Tensor, x: Tensor) -> Tensor:
    """Gamma numbers x of shape parameters a, with the derivative by these."""
    return x


_gamma_of.defvjp(
    lambda a, x: (x, (a, x)),
    lambda kept, g: (g * gamma_slope(*kept), g),
)


class Generator(random.Draws):
    """A stream of random numbers whose state is a cell: read, saved and traced as any other.

    Every distribution takes the shape of the result; by default it is that of its parameters together. The dtype is
    that of the parameters which are tensors, or the default one. `tensorgraph.random` has the same functions, which
    draw from the process-wide stream.

    Parameters
    ----------
    seed : int
    name : str
        The cell's path in graphs and saved files.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> a = tg.random.Generator(0).uniform((2,))
    >>> b = tg.random.Generator(0).uniform((2,))
    >>> a.tolist() == b.tolist()
    True
    """

    @checked
    def __init__(self, seed: Natural = 0, name: Name = "random.state") -> None:
        super().__init__(Buffer(random.key(seed), name=name))

    @checked
    def seed(self, seed: Natural) -> None:
        """Start again from a seed."""
        self.state.assign(random.key(seed))

    # continuous ---------------------------------------------------------------------------------------------------

    @checked
    def uniform(
        self, shape: Shape | None = None, dtype: FloatDType | None = None, *,
        low: TensorLike = 0.0, high: TensorLike = 1.0,
    ) -> Tensor:  # fmt: skip
        """Uniform numbers in [low, high).

        Examples
        --------
        >>> import tensorgraph as tg
        >>> u = tg.random.Generator(0).uniform((1000,), low=-1.0, high=[1.0])
        >>> u.shape, bool((u >= -1).all() & (u < 1).all())
        ((1000,), True)
        """
        p = Parameters(shape, dtype, low=low, high=high)
        u = super().uniform(p.shape, p.dtype)
        if type(low) is float and type(high) is float and (low, high) == (0.0, 1.0):
            return u
        return p["low"] + u * (p["high"] - p["low"])

    @checked
    def normal(
        self, shape: Shape | None = None, dtype: FloatDType | None = None, *,
        loc: TensorLike = 0.0, scale: TensorLike = 1.0,
    ) -> Tensor:  # fmt: skip
        """Normal numbers of mean `loc` and standard deviation `scale`, differentiable in both.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> scale = tg.tensor([1.0, 100.0], requires_grad=True)
        >>> z = tg.random.Generator(0).normal(loc=5.0, scale=scale)
        >>> z.sum().backward(); bool(tg.all(tg.isclose(scale.grad, (z - 5) / scale)))
        True
        """
        p = Parameters(shape, dtype, loc=loc, scale=scale).not_negative("scale")
        return p.placed(super().normal(p.shape, p.dtype))

    @checked
    def truncated_normal(
        self, shape: Shape | None = None, dtype: FloatDType | None = None, *,
        lower: TensorLike = -2.0, upper: TensorLike = 2.0, loc: TensorLike = 0.0, scale: TensorLike = 1.0,
    ) -> Tensor:  # fmt: skip
        """Normal numbers that lie between two bounds, which are given in standard deviations from the mean.

        By the inverse of the distribution function, from the nearer tail, so that far bounds keep their digits.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> z = tg.random.Generator(0).truncated_normal((1000,), lower=8.0, upper=9.0)
        >>> bool((z >= 8).all() & (z <= 9).all())
        True
        """
        p = Parameters(shape, dtype, lower=lower, upper=upper, loc=loc, scale=scale).not_negative("scale")
        low, high = (astype(p[name], dtype="float64") for name in ("lower", "upper"))
        require(lambda a, b: a < b, low, high, message="lower must be below upper")
        turned = low > 0  # the lower tail has the digits
        a, b = where(turned, -high, low), where(turned, -low, high)
        below, above = ndtr(a), ndtr(b)
        z = ndtri(below + super().uniform(p.shape, "float64") * (above - below))
        z = astype(where(turned, -z, z), dtype=p.dtype.name)
        return p.placed(minimum(maximum(z, p["lower"]), p["upper"]))

    @checked
    def exponential(
        self, shape: Shape | None = None, dtype: FloatDType | None = None, *, scale: TensorLike = 1.0
    ) -> Tensor:
        """Exponential numbers of mean `scale`, which is 1 over the rate."""
        p = Parameters(shape, dtype, scale=scale).not_negative("scale")
        return p.placed(self._exponential(p.shape, p.dtype))

    @checked
    def laplace(
        self, shape: Shape | None = None, dtype: FloatDType | None = None, *,
        loc: TensorLike = 0.0, scale: TensorLike = 1.0,
    ) -> Tensor:  # fmt: skip
        """Numbers with density exp(-\\|x - loc\\| / scale) / (2 scale)."""
        p = Parameters(shape, dtype, loc=loc, scale=scale).not_negative("scale")
        both = self._exponential((2, *p.shape), p.dtype)
        return p.placed(both[0] - both[1])

    @checked
    def gumbel(
        self, shape: Shape | None = None, dtype: FloatDType | None = None, *,
        loc: TensorLike = 0.0, scale: TensorLike = 1.0,
    ) -> Tensor:  # fmt: skip
        """Gumbel numbers, of which the largest after adding logarithms of probabilities is a draw from these."""
        p = Parameters(shape, dtype, loc=loc, scale=scale).not_negative("scale")
        return p.placed(self._gumbel(p.shape, p.dtype))

    @checked
    def logistic(
        self, shape: Shape | None = None, dtype: FloatDType | None = None, *,
        loc: TensorLike = 0.0, scale: TensorLike = 1.0,
    ) -> Tensor:  # fmt: skip
        """Logistic numbers: their distribution function is the sigmoid of (x - loc) / scale."""
        p = Parameters(shape, dtype, loc=loc, scale=scale).not_negative("scale")
        both = self._gumbel((2, *p.shape), p.dtype)
        return p.placed(both[0] - both[1])

    @checked
    def gamma(
        self, concentration: TensorLike, shape: Shape | None = None, dtype: FloatDType | None = None, *,
        scale: TensorLike = 1.0,
    ) -> Tensor:  # fmt: skip
        """Gamma numbers of a shape parameter, the concentration; differentiable once in it, and in `scale`.

        The derivative by the concentration is that of the number held at its place in the distribution (Figurnov,
        Mohamed and Mnih, "Implicit reparameterization gradients", 2018). A second one raises.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> x = tg.random.Generator(0).gamma(3.0, (10000,))
        >>> abs(float(x.mean()) - 3.0) < 0.1
        True
        """
        p = Parameters(shape, dtype, concentration=concentration, scale=scale).not_negative("scale")
        return p.placed(self._gamma(p["concentration"], p))

    @checked
    def beta(self, a: TensorLike, b: TensorLike, shape: Shape | None = None, dtype: FloatDType | None = None) -> Tensor:
        """Numbers in [0, 1] with density x^(a-1) (1-x)^(b-1) / B(a, b); differentiable once in a and b."""
        p = Parameters(shape, dtype, a=a, b=b)
        return sigmoid(self._log_gamma(p["a"], p) - self._log_gamma(p["b"], p))  # type: ignore[no-any-return]

    @checked
    def dirichlet(
        self, concentration: TensorLike, shape: Shape | None = None, dtype: FloatDType | None = None
    ) -> Tensor:
        """Probabilities of several classes, along the last axis; `shape` is without that axis.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> p = tg.random.Generator(0).dirichlet([1.0, 2.0, 3.0], (4,))
        >>> p.shape, tg.round(p.sum(axis=-1), decimals=5).tolist()
        ((4, 3), [1.0, 1.0, 1.0, 1.0])
        """
        p = Parameters(shape, dtype, rest={"concentration": 1}, concentration=concentration)
        return softmax(self._log_gamma(p["concentration"], p), axis=-1)  # type: ignore[no-any-return]

    @checked
    def multivariate_normal(
        self, mean: TensorLike, cov: TensorLike, shape: Shape | None = None, dtype: FloatDType | None = None
    ) -> Tensor:
        """Normal vectors, along the last axis, of a mean and a covariance matrix; `shape` is without that axis.

        Differentiable in both, through the Cholesky factor of `cov`, which must be positive definite.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> z = tg.random.Generator(0).multivariate_normal([1.0, 2.0], [[1.0, 0.9], [0.9, 1.0]], (1000,))
        >>> z.shape, bool(tg.corrcoef(z.T)[0, 1] > 0.85)
        ((1000, 2), True)
        """
        p = Parameters(shape, dtype, rest=dict(mean=1, cov=2), mean=mean, cov=cov)
        centre, matrix = p.every()
        z = super().normal(p.shape, p.dtype)
        return centre + matvec(cholesky(matrix), z)  # type: ignore[no-any-return]

    # discrete -----------------------------------------------------------------------------------------------------

    @checked
    def bernoulli(self, p: TensorLike = 0.5, shape: Shape | None = None) -> Tensor:
        """True with probability p; ``.astype(...)`` makes numbers of it.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> tg.random.Generator(0).bernoulli([0.0, 1.0]).tolist()
        [False, True]
        """
        given = Parameters(shape, None, p=p)
        require(lambda p: (p >= 0) & (p <= 1), given["p"], message="p must be a probability, between 0 and 1")
        return super().uniform(given.shape, given.dtype) < given["p"]

    @checked
    def randint(self, low: int, high: int | None = None, shape: Shape = (), dtype: DType = "int64") -> Tensor:
        """Integers from `low` to below `high`, all as probable; of one number, from 0 to below it.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> sorted(set(tg.random.Generator(0).randint(3, shape=(100,)).tolist()))
        [0, 1, 2]
        """
        if high is None:
            low, high = 0, low
        if not low < high:
            raise ValueError(f"there are no integers from low={low} to below high={high}")
        return self._draw(integers, low=int(low), high=int(high), shape=shape, dtype=canonical_dtype(dtype).name)

    @checked
    def permutation(self, x: TensorLike, axis: int = 0) -> Tensor:
        """The integers below x in random order; of a tensor, its slices along `axis`.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> sorted(tg.random.Generator(0).permutation(4).tolist())
        [0, 1, 2, 3]
        """
        n = number_of(x)
        if n is not None:
            return self._draw(permutation, n=n)
        values = tensor(x)
        if not -values.ndim <= axis < values.ndim:
            raise ValueError(f"x of shape {values.shape} has no axis {axis}")
        return take(values, self._draw(permutation, n=values.shape[axis]), axis=axis)  # type: ignore[no-any-return]

    @checked
    def choice(
        self, a: TensorLike, shape: Shape = (), *, replace: bool = True, p: TensorLike | None = None, axis: int = 0
    ) -> Tensor:
        """Elements of `a` along an axis, or integers below it, with probabilities p, or all as probable.

        Parameters
        ----------
        a : int or tensor
        shape : int or tuple of int
            Of what is drawn: it stands in the place of the axis.
        replace : bool
            Whether one may be drawn again.
        p : tensor, optional
            A probability for each; their sum is 1.
        axis : int

        Examples
        --------
        >>> import tensorgraph as tg
        >>> tg.random.Generator(0).choice([1.5, 2.5, 3.5], (3,), p=[0.0, 1.0, 0.0]).tolist()
        [2.5, 2.5, 2.5]
        """
        n = number_of(a)
        values = None if n is not None else tensor(a)
        if values is not None and not -values.ndim <= axis < values.ndim:
            raise ValueError(f"a of shape {values.shape} has no axis {axis}")
        n = n if values is None else values.shape[axis]
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        count = math.prod(sizes)
        if n is None or (n < 1 and count):
            raise ValueError("there is nothing to choose from")
        if not replace and count > n:
            raise ValueError(f"{count} different ones cannot be drawn of {n}; allow repetition with replace=True")
        if p is None:
            places = self.randint(0, n, sizes) if replace else self.permutation(n)[:count].reshape(sizes)
        else:
            places = self._places(n, sizes, replace, p)
        return places if values is None else take(values, places, axis=axis)

    @checked
    def categorical(self, logits: TensorLike, shape: Shape | None = None, *, axis: int = -1) -> Tensor:
        """Classes, as integers, with probabilities softmax(logits) along an axis; `shape` is without that axis.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> tg.random.Generator(0).categorical([0.0, 50.0, 0.0], (4,)).tolist()
        [1, 1, 1, 1]
        """
        values = logits if isinstance(logits, Tensor) else tensor(logits)
        if not -values.ndim <= axis < values.ndim:
            raise ValueError(f"logits of shape {values.shape} have no axis {axis}")
        p = Parameters(shape, None, rest={"logits": 1}, logits=moveaxis(values, axis, -1))
        return argmax(p["logits"] + self._gumbel(p.shape, p.dtype), axis=-1)  # type: ignore[no-any-return]

    @checked
    def dropout(self, x: TensorLike, rate: Fraction) -> Tensor:
        """x with each number zeroed with probability `rate`, and the rest divided by ``1 - rate``.

        `tensorgraph.nn.Dropout` does so in training, from a stream of its own. (Srivastava et al. 2014)

        Examples
        --------
        >>> import tensorgraph as tg
        >>> sorted(set(tg.random.Generator(0).dropout(tg.ones((100,)), 0.5).tolist()))
        [0.0, 2.0]
        """
        p = Parameters(None, None, x=x)
        kept = super().uniform(p.shape, "float64" if p.dtype == np.float64 else "float32") >= rate
        return where(kept, p["x"] * (1.0 / (1.0 - rate)), 0.0)  # type: ignore[no-any-return]

    # what they are made of ----------------------------------------------------------------------------------------

    def _exponential(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        return self._draw(standard_exponential, shape=shape, dtype=dtype.name)

    def _gumbel(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        least = float(np.finfo(dtype).smallest_normal)  # the logarithm of 0 would be infinite
        out: Tensor = -log(maximum(self._exponential(shape, dtype), least))
        return out

    def _gamma(self, concentration: Tensor, p: Parameters) -> Tensor:
        require(lambda a: a > 0, concentration, message=f"{p.word(concentration)} must be positive")
        wide = broadcast_to(concentration, shape=p.shape)
        x = self._draw(standard_gamma, stop_gradient(wide), shape=p.shape)
        out: Tensor = _gamma_of(wide, x)
        return out

    def _log_gamma(self, concentration: Tensor, p: Parameters) -> Tensor:
        """The logarithm of a gamma number, which for small concentrations is itself too small to be written.

        It is that of a number of one more, times a uniform number to the power of 1 over the concentration.
        """
        require(lambda a: a > 0, concentration, message=f"{p.word(concentration)} must be positive")
        more = log(self._gamma(concentration + 1, p))
        out: Tensor = more - self._exponential(p.shape, p.dtype) / concentration
        return out

    def _places(self, n: int, sizes: tuple[int, ...], replace: bool, p: TensorLike) -> Tensor:
        """Of n the numbers of those that are drawn, with probabilities p."""
        weights = astype(tensor(p), dtype="float64")
        if weights.shape != (n,):
            raise ValueError(f"p must hold a probability for each of {n}, got shape {weights.shape}")
        require(lambda p: p >= 0, weights, message="p must not hold negative numbers, or NaN")
        require(lambda p: abs(p.sum() - 1) < 1e-6, weights, message="p must sum to 1; divide it by its sum")
        if replace:
            ends = cumulative_sum(weights, axis=0)
            u = super().uniform(sizes, "float64")
            return ((ends / ends[-1]) <= u[..., None]).sum(axis=-1)  # type: ignore[no-any-return]
        count = math.prod(sizes)
        require(lambda p: (p > 0).sum() >= count, weights, message=f"fewer than {count} have a probability above 0")
        logarithms = where(weights > 0, log(maximum(weights, 1e-300)), -math.inf)
        keys = logarithms + self._gumbel((n,), np.dtype(np.float64))
        return argsort(-keys, axis=0)[:count].reshape(sizes)  # type: ignore[no-any-return]
