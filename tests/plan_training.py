"""Models and optimisers whose steps are planned in tests."""

from collections.abc import Callable
from typing import Any

import tensorgraph as tg
from tensorgraph import nn, optim

MODELS: dict[str, Callable[[], Any]] = {
    "batch norm": lambda: nn.Sequential(nn.Linear(13, 9, bias=False), nn.BatchNorm(9), nn.ReLU(), nn.Linear(9, 5)),
    "bias": lambda: nn.Sequential(nn.Linear(13, 9), nn.Tanh(), nn.Linear(9, 5)),
    "layer norm": lambda: nn.Sequential(nn.Linear(13, 9), nn.LayerNorm(9), nn.GELU(), nn.Linear(9, 5)),
    "dropout": lambda: nn.Sequential(nn.Linear(13, 9), nn.Dropout(0.3), nn.Sigmoid(), nn.Linear(9, 5)),
}
OPTIMISERS: dict[str, Callable[[Any], Any]] = {
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "momentum": lambda p: optim.Momentum(p, lr=0.05, beta=0.9),
    "sgd": lambda p: optim.SGD(p, lr=0.05),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01),
}


def training(model_of: Any, optimiser_of: Any) -> tuple[Any, Any]:
    tg.random.seed(3)
    model = model_of()
    optimiser = optimiser_of(model.parameters())

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        optimiser.minimize(loss)
        return loss

    return step, model
