"""The optimisers, as the slides and the papers define them."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

from tensorgraph.arguments import Fraction, checked
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.kernels.optimizer import _adam as adam_kernel
from tensorgraph.ops.kernels.optimizer import adam_, momentum_, rmsprop_, sgd_
from tensorgraph.ops.updates import adam_update, bias_corrections, momentum_update, rmsprop_update, sgd_update
from tensorgraph.optim.groups import Slot
from tensorgraph.optim.optimizer import Hyper, Optimizer, Rate, Setting_, Trained

__all__ = ["SGD", "Adam", "AdamW", "Momentum", "RMSprop"]

Weight: TypeAlias = Fraction | Tensor


class SGD(Optimizer):
    """Gradient descent: ``p -= lr · g``.

    Parameters
    ----------
    parameters : Module, iterable of Parameter, or list of dicts
        See `Optimizer`, also for ``weight_decay``, ``clip_value``, ``clip_norm`` and ``name``.
    lr : float, Schedule or callable

    Examples
    --------
    >>> import tensorgraph as tg
    >>> w = tg.Parameter([1.0, 2.0], name="w")
    >>> optimizer = tg.optim.SGD([w], lr=0.1)
    >>> optimizer.minimize((w * w).sum())
    >>> w.numpy().round(6).tolist() == [0.8, 1.6]
    False
    >>> [round(x, 6) for x in w.tolist()]
    [0.8, 1.6]
    """

    update = sgd_update

    @checked
    def __init__(self, parameters: Trained, lr: Rate = 0.01, **options: Any) -> None:
        super().__init__(parameters, lr, **options)

    def _in_place(self, items: list[tuple[Slot, Any]], *settings: float) -> None:
        for slot, g in items:
            if slot.narrow:
                self._narrow(slot, g, settings)
            else:
                sgd_(slot.parameter.exclusive(), g._value, *settings)


class Momentum(Optimizer):
    """Along the exponentially weighted average of gradients: ``v = beta·v + (1 - beta)·g``, ``p -= lr · v``.

    Parameters
    ----------
    parameters : Module, iterable of Parameter, or list of dicts
        See `Optimizer`, also for ``weight_decay``, ``clip_value``, ``clip_norm`` and ``name``.
    lr : float, Schedule or callable
    beta : float
        Weight of the old average.
    nesterov : bool
        Step along ``beta·v + (1 - beta)·g``, with the new v.

    Notes
    -----
    PyTorch's ``SGD(momentum=beta)`` has no factor (1 - beta): its run with learning rate r is
    ``Momentum(parameters, lr=r / (1 - beta), beta=beta)`` here.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> w = tg.Parameter([1.0], name="w")
    >>> optimizer = tg.optim.Momentum([w], lr=1.0)
    >>> optimizer.minimize((3 * w).sum())
    >>> [round(x, 6) for x in w.tolist()]
    [0.7]
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "beta", "weight_decay")
    averages: ClassVar[tuple[str, ...]] = ("v",)
    attributes: ClassVar[tuple[str, ...]] = ("nesterov",)
    update = momentum_update
    nesterov: bool = False
    beta = Hyper("Weight of the old average.", 0.0, 1.0)

    @checked
    def __init__(
        self, parameters: Trained, lr: Rate = 0.01, beta: Weight = 0.9, *, nesterov: bool = False, **options: Any
    ) -> None:
        super().__init__(parameters, lr, beta=beta, **options)
        self.nesterov = bool(nesterov)

    def _in_place(self, items: list[tuple[Slot, Any]], *settings: float) -> None:
        lr, beta, decay = settings
        for slot, g in items:
            if slot.narrow:
                self._narrow(slot, g, settings)
            else:
                v = slot.cells[0].exclusive()
                momentum_(slot.parameter.exclusive(), v, g._value, lr, beta, self.nesterov, decay)


class RMSprop(Optimizer):
    """``s = decay·s + (1 - decay)·g²``, ``p -= lr · g / (sqrt(s) + eps)``. (Hinton, Coursera lecture 6e, 2012)

    Parameters
    ----------
    parameters : Module, iterable of Parameter, or list of dicts
        See `Optimizer`, also for ``weight_decay``, ``clip_value``, ``clip_norm`` and ``name``.
    lr : float, Schedule or callable
    decay : float
        Weight of the old average of squares.
    eps : float
        Added to the root.
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "decay", "eps", "weight_decay")
    averages: ClassVar[tuple[str, ...]] = ("s",)
    update = rmsprop_update
    decay = Hyper("Weight of the old average of squares.", 0.0, 1.0)
    eps = Hyper("Added to the root.", 0.0)

    @checked
    def __init__(
        self, parameters: Trained, lr: Rate = 0.01, decay: Weight = 0.99, eps: Setting_ = 1e-8, **options: Any
    ) -> None:
        super().__init__(parameters, lr, decay=decay, eps=eps, **options)

    def _in_place(self, items: list[tuple[Slot, Any]], *settings: float) -> None:
        for slot, g in items:
            if slot.narrow:
                self._narrow(slot, g, settings)
            else:
                rmsprop_(slot.parameter.exclusive(), slot.cells[0].exclusive(), g._value, *settings)


class Adam(Optimizer):
    """Averages of gradients and of their squares, both corrected for their start. (Kingma & Ba 2015, arXiv 1412.6980)

    ``m = beta1·m + (1 - beta1)·g``, ``v = beta2·v + (1 - beta2)·g²``,
    ``p -= lr · m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + eps)``.

    Parameters
    ----------
    parameters : Module, iterable of Parameter, or list of dicts
        See `Optimizer`, also for ``weight_decay``, ``clip_value``, ``clip_norm`` and ``name``.
    lr : float, Schedule or callable
    beta1, beta2 : float
        Weights of the old averages.
    eps : float
        Added to the root.

    Notes
    -----
    t counts the steps of each parameter by itself: one that joins later is corrected for its own start.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> w = tg.Parameter([1.0, -1.0], name="w")
    >>> optimizer = tg.optim.Adam([w], lr=0.1)
    >>> optimizer.minimize((w * w).sum())
    >>> [round(x, 6) for x in w.tolist()]
    [0.9, -0.9]
    >>> optimizer.lr = 0.01
    >>> [path for path, _ in optimizer.named_cells()]
    ['optimizer.steps', 'optimizer.epoch', 'optimizer.lr', 'optimizer.beta1', 'optimizer.beta2', 'optimizer.eps',
     'optimizer.weight_decay', 'optimizer.m.w', 'optimizer.v.w', 'optimizer.t.w']
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "beta1", "beta2", "eps", "weight_decay")
    averages: ClassVar[tuple[str, ...]] = ("m", "v")
    counted: ClassVar[bool] = True
    attributes: ClassVar[tuple[str, ...]] = ("decoupled",)
    decoupled: ClassVar[bool] = False
    update = adam_update
    beta1 = Hyper("Weight of the old average of gradients.", 0.0, 1.0)
    beta2 = Hyper("Weight of the old average of squares.", 0.0, 1.0)
    eps = Hyper("Added to the root.", 0.0)

    @checked
    def __init__(
        self,
        parameters: Trained,
        lr: Rate = 0.001,
        beta1: Weight = 0.9,
        beta2: Weight = 0.999,
        eps: Setting_ = 1e-8,
        **options: Any,
    ) -> None:
        super().__init__(parameters, lr, beta1=beta1, beta2=beta2, eps=eps, **options)

    def _in_place(self, items: list[tuple[Slot, Any]], *settings: float) -> None:
        lr, beta1, beta2, eps, decay = settings
        apart = self.decoupled
        scalars = (lr, beta1, beta2, eps)
        decays = (0.0, decay) if apart else (decay, 0.0)
        known, c1, c2 = -1, 1.0, 1.0
        run = adam_kernel.call
        for slot, g in items:
            if slot.narrow:
                self._narrow(slot, g, settings)
                continue
            m, v, t = slot.cells
            count = t.exclusive()
            steps = int(count) + 1
            if steps != known:
                c1, c2 = bias_corrections(steps, beta1, beta2)
                known = steps
            p, first, second, grad = slot.parameter.exclusive(), m.exclusive(), v.exclusive(), g._value
            if slot.small and p.flags.carray and grad.flags.carray:
                if p.ndim != 1:  # the averages are contiguous always
                    p, first, second, grad = p.reshape(-1), first.reshape(-1), second.reshape(-1), grad.reshape(-1)
                run(p, first, second, grad, *scalars, c1, c2, *decays, 0, slot.size)
            else:
                adam_(p, first, second, grad, *scalars, c1, c2, decay, apart)
            count[...] = steps


class AdamW(Adam):
    """Adam with decoupled weight decay: ``p *= 1 - lr · weight_decay`` first.

    (Loshchilov & Hutter 2019, arXiv 1711.05101.) Parameters as `Adam`; ``weight_decay`` is 0.01 unless given.
    """

    decoupled: ClassVar[bool] = True

    @checked
    def __init__(
        self, parameters: Trained, lr: Rate = 0.001, beta1: Weight = 0.9, beta2: Weight = 0.999,
        eps: Setting_ = 1e-8, *, weight_decay: Setting_ = 0.01, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(parameters, lr, beta1, beta2, eps, weight_decay=weight_decay, **options)
