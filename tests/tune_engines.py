"""The engines of processes that tests of studies are tried on."""

import pytest

from tensorgraph.tune.engines import CLUSTERS

PATIENCE = 600.0  # seconds after which a process is taken for one that hangs: a busy machine takes long to start one
NEEDS = {"loky": "loky", "dask": "distributed", "ray": "ray"}
# clusters take long to start, a process at a time
ENGINES = ["loky", *[pytest.param(name, marks=pytest.mark.slow) for name in CLUSTERS]]


def installed(name):
    """The engine, or the test is skipped."""
    pytest.importorskip(NEEDS[name], reason=f"the engine {name} is not installed")
    return name
