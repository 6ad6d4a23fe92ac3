"""Batch normalisation as a layer: the op, and running averages of its moments for test time.

(Ioffe & Szegedy 2015, arXiv 1502.03167; Ng, course 2, week 3)
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np

from tensorgraph.arguments import Count, Fraction, NonNegative, checked, shown
from tensorgraph.engine.aval import FloatDType, canonical_axis
from tensorgraph.engine.cells import Buffer
from tensorgraph.engine.interrupts import whole
from tensorgraph.engine.modes import current, no_grad
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.nn.linear import parameter
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.nn.ranks import Ranks, exchanges, moments_of_all
from tensorgraph.nn.settings import Setting
from tensorgraph.nn.torch_names import From
from tensorgraph.ops.arithmetic import sqrt
from tensorgraph.ops.batch_norm import batch_norm
from tensorgraph.ops.logic import equal, where
from tensorgraph.ops.shape import astype, reshape
from tensorgraph.ops.structure import stop_gradient
from tensorgraph.ops.updates import running_average

__all__ = ["PRESETS", "BatchNorm"]

DEFAULTS: dict[str, Any] = dict(axis=1, eps=1e-5, decay=0.9, debias=True, unbiased=False)
PRESETS: dict[str, dict[str, Any]] = {
    "torch": dict(axis=1, eps=1e-5, decay=0.9, debias=False, unbiased=True),
    "keras": dict(axis=-1, eps=1e-3, decay=0.99, debias=False, unbiased=False),
    "flax": dict(axis=-1, eps=1e-5, decay=0.99, debias=False, unbiased=False),
    "onnx": dict(axis=1, eps=1e-5, decay=0.9, debias=False, unbiased=False),
    "slides": dict(axis=1, eps=1e-5, decay=0.9, debias=True, unbiased=False),
}
"""What `BatchNorm` does elsewhere. The slides name no eps, and write examples as columns where here they are rows."""

_compute = running_average.forward


class BatchNorm(Module):
    """Normalise each channel over the batch, then scale by gamma and shift by beta.

    In training the moments are the batch's, and running averages of them are kept; at test time the averages are used,
    so that one example alone works.

    Parameters
    ----------
    features : int
        Number of channels.
    axis : int
        The channel axis, 1 by default: (N, C), (N, C, L), (N, C, H, W).
    eps : float
        Added to the variance, 1e-5 by default.
    decay : float
        Weight of the OLD average, 0.9 by default; a cell, it may be changed while running.
    debias : bool
        Correct the averages for their start (default), so that the first batch is taken whole. Without, they start at 0
        and 1.
    unbiased : bool
        Average the variance with the divisor m - 1 in place of m. Off by default.
    preset : {"torch", "keras", "flax", "onnx", "slides"}, optional
        Sets the five above as that library has them; what is given beside it wins.
    degenerate : {"raise", "beta"}
        What one value per channel in training does: raise, or give beta.
    impl : {"fused", "composed"}, optional
        Which implementation of the op; otherwise as `tensorgraph.implementation` says.

    Attributes
    ----------
    gamma, beta : Parameter
        Shape (features,).
    running_mean, running_var : Buffer
        Shape (features,).
    accumulated : Buffer
        The weight of the batches so far in the averages: 1 - the product of the decays.
    count : Buffer
        Number of batches averaged.

    Raises
    ------
    TypeError
        For ``momentum=``, which means opposite things in different libraries.

    Notes
    -----
    ``freeze()`` makes the layer use its averages in training too and change nothing; it is independent of
    `requires_grad_`. A batch with a NaN or an infinity leaves the averages as they are and warns.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> bn = tg.nn.BatchNorm(1)
    >>> bn(tg.tensor([[1.0], [3.0]])).tolist()[0][0] > -1.0001
    True
    >>> bn.running_mean.tolist(), bn.running_var.tolist()
    ([2.0], [1.0])
    >>> bn.eval()(tg.tensor([[2.0]])).tolist()
    [[0.0]]
    """

    atomic = True
    torch_state: ClassVar[Any] = {
        "gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var",
        "count": From("num_batches_tracked", optional=True), "decay": None,
        # averages that are loaded have their full weight
        "accumulated": From("running_var", lambda var: np.ones(()), back=None),
    }  # fmt: skip
    decay = Setting("Weight of the old average; 0 ≤ decay < 1.", 0.0, 1.0)

    @checked
    def __init__(
        self,
        features: Count,
        *,
        axis: int | None = None,
        eps: NonNegative | None = None,
        decay: Fraction | Tensor | None = None,
        debias: bool | None = None,
        unbiased: bool | None = None,
        preset: Literal["torch", "keras", "flax", "onnx", "slides"] | None = None,
        degenerate: Literal["raise", "beta"] = "raise",
        impl: Literal["fused", "composed"] | None = None,
        dtype: FloatDType | None = None,
        momentum: Any = None,
    ) -> None:
        if momentum is not None:
            raise TypeError(_no_momentum(momentum))
        given = dict(axis=axis, eps=eps, decay=decay, debias=debias, unbiased=unbiased)
        options = dict(PRESETS[preset] if preset else DEFAULTS)
        options.update({name: value for name, value in given.items() if value is not None})
        self.features = features
        self.axis: int = options["axis"]
        self.eps = float(options["eps"])
        self.debias: bool = options["debias"]
        self.unbiased: bool = options["unbiased"]
        self.degenerate = degenerate
        self.impl = impl
        shape = (self.features,)
        self.gamma = parameter(shape, "ones", dtype)
        self.beta = parameter(shape, "zeros", dtype)
        kind = np.promote_types(self.gamma.dtype, np.float32)
        self.running_mean = _buffer(np.zeros(shape, kind), "zeros()")
        self.running_var = _buffer(np.ones(shape, kind), "ones()")
        # a plain average is one whose start, (0, 1), has the full weight
        self.accumulated = _buffer(np.array(0.0 if self.debias else 1.0), "zeros()" if self.debias else "ones()")
        self.count = _buffer(np.array(0, np.int64), "zeros()")
        self.decay = options["decay"]

    def forward(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            x = input_of(self, x)
        shape = x.shape
        axis = self.axis
        fits = len(shape) >= 2 and -len(shape) <= axis < len(shape) and shape[axis] == self.features
        if not fits or x.dtype.kind != "f":
            self._misfit(x)
        if not self.training or self.frozen:
            return self._by_averages(x)
        if (ranks := self.ranks) is not None and exchanges(ranks, self.label):
            return self._over_ranks(x, ranks)
        size = math.prod(shape) // self.features
        if size == 1:
            self._require_several(f"got shape {shape}")
        y, mu, var = batch_norm.public(x, self.gamma, self.beta, axis=axis, eps=self.eps, impl=self.impl)
        if size:
            self._average(mu, var, size)
        return y  # type: ignore[no-any-return]

    def _require_several(self, got: str) -> None:
        if self.degenerate == "raise":
            raise ValueError(
                f"{self.label} in training needs more than one value per channel, {got}: the variance of "
                "one is 0 and the output would be beta whatever comes in. Merge or drop a short last batch "
                "(data.Loader(last='merge')), call eval() for a prediction, or pass degenerate='beta'"
            )

    def _over_ranks(self, x: Tensor, ranks: Ranks) -> Tensor:
        """Of a batch that is shared out: the averages are of all of it, and with ``sync`` the normalisation too."""
        kind = x.dtype
        wide = np.promote_types(kind, np.float32).name
        work = x if kind.name == wide else astype.public(x, dtype=wide)
        if ranks.sync:
            mu, var, sizes = moments_of_all(work, self.axis, ranks)
        else:
            with no_grad():
                mu, var, sizes = moments_of_all(work, self.axis, ranks)
        # every rank sees the same sizes, so that all refuse or none does
        if sum(sizes) == 1 or (1 in sizes and not ranks.sync):
            self._require_several(f"got {sizes} on the ranks")
        if ranks.sync:
            y = self._by_moments(work, mu, var)
            y = y if kind.name == wide else astype.public(y, dtype=kind.name)
        else:
            y, _, _ = batch_norm.public(x, self.gamma, self.beta, axis=self.axis, eps=self.eps, impl=self.impl)
        if sum(sizes):
            self._average(mu.detach(), var.detach(), sum(sizes))
        return y

    def _average(self, mu: Tensor, var: Tensor, size: int) -> None:
        """One step of the running averages: all four cells, or none of them."""
        mean, variance, weight, count = self.running_mean, self.running_var, self.accumulated, self.count
        decay = vars(self)["decay"]
        mode = current()
        if mode.trace is None and mode.cells is None:
            new: Any = _compute(
                mean._value, variance._value, weight._value, count._value, mu._value, var._value, decay._value,
                size=size, unbiased=self.unbiased,
            )  # fmt: skip
            # what the op returns is nobody else's, so the cells take it over
            mean._value, variance._value, weight._value, count._value = new
            return
        with no_grad():  # averages have no history
            new = running_average.public(
                mean, variance, weight, count, mu, var, decay, size=size, unbiased=self.unbiased
            )
        with whole():
            for cell, value in zip((mean, variance, weight, count), new, strict=True):
                cell.assign(value)

    def _by_averages(self, x: Tensor) -> Tensor:
        """``(x - mean) · gamma / sqrt(var + eps) + beta`` with the running averages."""
        kind = x.dtype
        wide = np.promote_types(kind, np.float32).name
        mode = current()
        parts = (x, self.gamma, self.beta)
        if mode.plain and not (mode.grad and any(t._node is not None for t in parts)):
            return self._on_arrays(x, kind, wide)
        y = self._by_moments(
            x if kind.name == wide else astype.public(x, dtype=wide), self.running_mean, self.running_var
        )
        return y if kind.name == wide else astype.public(y, dtype=kind.name)

    def _by_moments(self, x: Tensor, mean: Any, var: Any) -> Tensor:
        """``(x - mean) · gamma / sqrt(var + eps) + beta`` in the dtype of x, at least float32."""
        wide = x.dtype.name
        # the scale is made in float64, as in training, so that both agree to rounding
        spread = astype.public(var, dtype="float64") + self.eps
        if self.eps == 0:  # a channel that does not vary gives beta, as in training
            still = equal.public(spread, 0.0)
            spread = where.public(still, 1.0, spread)
            scale = where.public(still, 0.0, self.gamma / sqrt.public(spread))
        else:
            scale = self.gamma / sqrt.public(spread)
        beta: Any = self.beta
        if mean.dtype.itemsize > x.dtype.itemsize:  # what the mean loses is taken from beta
            near = stop_gradient.public(astype.public(mean, dtype=wide))
            mean, beta = near, beta - (mean - near) * scale
        mean, scale, beta = (a if a.dtype.name == wide else astype.public(a, dtype=wide) for a in (mean, scale, beta))
        if x.ndim > 2 or self.axis % x.ndim != 1:
            per_channel = tuple(self.features if i == self.axis % x.ndim else 1 for i in range(x.ndim))
            mean, scale, beta = (reshape.public(a, shape=per_channel) for a in (mean, scale, beta))
        return (x - mean) * scale + beta  # type: ignore[no-any-return]

    def _on_arrays(self, x: Tensor, kind: Any, wide: str) -> Tensor:
        """The same arithmetic where nothing is recorded."""
        shape = [1] * x.ndim
        shape[self.axis] = self.features
        values = self.running_mean._value, self.running_var._value, self.gamma._value, self.beta._value
        mean, var, gamma, beta = (a.reshape(shape) for a in values)
        spread = var.astype(np.float64) + self.eps
        if self.eps == 0:
            scale = np.where(spread == 0, 0.0, gamma / np.sqrt(np.where(spread == 0, 1.0, spread))).astype(wide)
        else:
            scale = (gamma / np.sqrt(spread)).astype(wide)
        y = x._value.astype(wide, copy=False) - mean.astype(wide, copy=False)
        y *= scale
        y += beta.astype(wide, copy=False)
        return wrap(y.astype(kind, copy=False))

    def _misfit(self, x: Tensor) -> None:
        shape = x.shape
        if x.dtype.kind != "f":
            raise TypeError(f"{self.label} needs float input, got {x.aval}; convert it with .astype('float32')")
        if len(shape) < 2:
            raise ValueError(f"{self.label} needs a batch axis and a channel axis, got shape {shape}")
        canonical_axis(self.axis, len(shape), f"{self.label}: axis")
        fitting = [i for i, n in enumerate(shape) if n == self.features]
        hint = f"; axis={fitting[0]} would fit" if len(fitting) == 1 else ""
        raise ValueError(
            f"{self.label} has {self.features} channels on axis {self.axis}, got shape {shape} with "
            f"{shape[self.axis]} there{hint}"
        )

    def config(self) -> dict[str, Any]:
        return dict(
            features=self.features, axis=self.axis, eps=self.eps, decay=self.decay, debias=self.debias,
            unbiased=self.unbiased, degenerate=self.degenerate, impl=self.impl, dtype=self.gamma.dtype.name,
        )  # fmt: skip

    def extra_repr(self) -> str:
        parts = [str(self.features)]
        shown = dict(axis=self.axis, eps=self.eps, decay=self.decay, debias=self.debias, unbiased=self.unbiased)
        parts += [f"{name}={value}" for name, value in shown.items() if value != DEFAULTS[name]]
        if self.degenerate != "raise":
            parts.append(f"degenerate={self.degenerate!r}")
        return ", ".join(parts)


def _buffer(data: Any, initialiser: str) -> Buffer:
    made = Buffer(data)
    made.initialiser = initialiser
    return made


def _no_momentum(momentum: Any) -> str:
    try:
        new, old = f"decay={1 - float(momentum):.6g}", f"decay={float(momentum):.6g}"
    except (TypeError, ValueError):
        new, old = "decay=1-momentum", "decay=momentum"
    return (
        "BatchNorm takes decay=, the weight of the OLD running average, not momentum=, which means opposite things: "
        f"momentum={shown(momentum)} of PyTorch and tinygrad weighs the new value, write {new}; of Keras, Flax and "
        f"ONNX it weighs the old one, write {old}"
    )
