"""A small problem that training tests share: two clouds of points, a network that tells them apart."""

import numpy as np

from tensorgraph import nn, optim
from tensorgraph.data import Dataset

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
