"""The networks of `nets` in PyTorch, eager with its fused Adam, or with the forward and its gradient compiled."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.nets import NETS, Net, batches, examples, weights
from benchmarks.problems import ADAM_EPS, BETAS, LEARNING_RATE, Prepared, digest, training

__all__ = ["held", "predicting", "prepared"]


class Residual(nn.Sequential):
    """x + f(x)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class LastState(nn.LSTM):
    """An LSTM's last output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x)[0][:, -1]


class Mean(nn.Module):
    """The mean over positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


def module(kind: str, *numbers: Any) -> nn.Module:
    """One layer."""
    if kind == "linear":
        return nn.Linear(numbers[0], numbers[1], bias=numbers[2])
    if kind == "residual":
        return Residual(*[module(*layer) for layer in numbers[0]])
    if kind == "lstm":
        return LastState(*numbers, batch_first=True)
    if kind == "encoder":
        return nn.TransformerEncoderLayer(*numbers, dropout=0.0, batch_first=True)
    makers: dict[str, Any] = {
        "batch_norm": nn.BatchNorm1d, "layer_norm": nn.LayerNorm, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU,
        "dropout": nn.Dropout, "conv": nn.Conv2d, "max_pool": nn.MaxPool2d, "flatten": nn.Flatten, "mean": Mean,
    }  # fmt: skip
    made: nn.Module = makers[kind](*numbers) if kind not in ("relu", "tanh", "gelu") else makers[kind]()
    return made


def modelled(net: Net) -> nn.Sequential:
    """The network with its first weights."""
    model = nn.Sequential(*[module(*layer) for layer in net.layers]).to(getattr(torch, net.dtype))
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights(net).items()}, strict=False)
    return model


def prepared(name: str, compiled: bool) -> Prepared:
    """A training step; what `torch.compile` takes is the forward and the loss, as its own guides do it."""
    net: Net = NETS[name]
    model = modelled(net)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=ADAM_EPS, fused=True)
    x, y = (list(torch.from_numpy(a)) for a in batches(net))

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        out = model(x)
        return F.cross_entropy(out, y) if net.classes else F.mse_loss(out, y)

    forward = torch.compile(loss_of) if compiled else loss_of

    def one(i: int) -> float:
        optimizer.zero_grad()
        loss = forward(x[i], y[i])
        loss.backward()
        optimizer.step()
        return loss.item()  # type: ignore[no-any-return]

    return training(one, len(x), "dropout" not in name)


def held(name: str) -> Prepared:
    """How many bytes tensors have at the highest point of an eager step, its batch and all states among them."""
    net: Net = NETS[name]
    model = modelled(net)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    x, y = (torch.from_numpy(a[0]) for a in batches(net))

    def one() -> None:
        optimizer.zero_grad()
        out = model(x)
        (F.cross_entropy(out, y) if net.classes else F.mse_loss(out, y)).backward()
        optimizer.step()

    def check() -> dict[str, Any]:
        one()
        states = [v for state in optimizer.state.values() for v in state.values() if torch.is_tensor(v)]
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        before = sum(t.nbytes for t in (x, y, *model.parameters(), *model.buffers(), *states, *grads))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            one()
        events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
        moments = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
        return {"bytes": before + max(accumulate(nbytes for _, nbytes in moments))}

    return Prepared(one, check)


def predicting(name: str, count: int, compiled: bool) -> Prepared:
    """What the network says of examples at test time."""
    net = NETS[name]
    model = modelled(net).eval()
    predict = torch.compile(model) if compiled else model
    x = torch.from_numpy(examples(net, count))

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return predict(x)  # type: ignore[no-any-return]

    return Prepared(run, lambda: {"out": digest(run().numpy())})
