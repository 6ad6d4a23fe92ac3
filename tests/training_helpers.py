"""A small problem that training tests share: two clouds of points, a network that tells them apart."""

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import Dataset
from tensorgraph.train import EarlyStop, fit

NAMES = ("low", "high")


def clouds(n=48, features=3, seed=0):
    """Points below and above a plane, as a Dataset."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)) + 0.5
    return Dataset(x, (x.sum(axis=1) > 1.5).astype(np.int64), NAMES)


def small(features=3, seed=0, dropout=0.0):
    """Linear, batch norm, ReLU, (dropout), Linear."""
    layers = [nn.Linear(features, 8, bias=False, seed=seed), nn.BatchNorm(8), nn.ReLU()]
    if dropout:
        layers.append(nn.Dropout(dropout, seed=seed))
    return nn.Sequential(*layers, nn.Linear(8, 2, seed=seed + 1))


def trained_by(model, lr=0.05):
    return optim.Adam(model.parameters(), lr=lr)


def same_state(a, b):
    """Whether two state dicts hold the same bits under the same names."""
    return list(a) == list(b) and all(
        a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes() for name in a
    )


class Noisy(nn.Module):
    """Draws from the process-wide generator too."""

    def __init__(self, seed):
        self.inner = small(seed=seed, dropout=0.3)

    def forward(self, x):
        return self.inner(x + 0.1 * tg.random.normal(x.shape) if self.training else x)


def jitter(x, rng):
    return x + 0.1 * rng.normal(size=x.shape)


def long_run(folder, epochs=6, seed=0, callbacks=(), optimizer=None, random_seed=11, data=None, **options):
    """Train `Noisy` with everything that has a state: a schedule, dropout, averages, augment, an early stop."""
    tg.random.seed(random_seed)
    model = Noisy(seed)
    adam = optim.Adam(model.parameters(), lr=optim.cosine(0.1, 18)) if optimizer is None else optimizer(model)
    stop = EarlyStop(patience=50, monitor="dev_loss")
    settings = dict(dev=clouds(seed=1), batch_size=16, augment=jitter, early_stop=stop, progress=False) | options
    history = fit(
        model,
        clouds() if data is None else data,
        optimizer=adam,
        epochs=epochs,
        callbacks=callbacks,
        run=folder,
        **settings,
    )
    return model, adam, stop, history


class Crash:
    """Raises as if the power were cut, before a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, run):
        if run.step == self.step:
            raise RuntimeError("power cut")


def same_run(a, b):
    """Whether two results of `long_run` are equal to the bit, times apart."""
    (model, adam, stop, history), (other, other_adam, other_stop, again) = a, b
    return (
        history.values == again.values
        and history.learning_rate == again.learning_rate
        and (history.best_epoch, history.stopped) == (again.best_epoch, again.stopped)
        and same_state(model.state_dict(), other.state_dict())
        and same_state(adam.state_dict(), other_adam.state_dict())
        and same_state(stop.state_dict(), other_stop.state_dict())
    )
