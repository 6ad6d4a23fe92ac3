"""Settings of all tests: reproducible examples, reproducible numbers, and the right copy of the package.

The package is imported inside the hooks, so that measuring coverage begins before it loads.
"""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

CHECKOUT = Path(__file__).resolve().parent.parent

# no time limits: the first call of a kernel compiles it, and a busy machine is not a wrong answer
UNTIMED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("ci", derandomize=True, max_examples=25, **UNTIMED)
settings.register_profile("explore", max_examples=500, **UNTIMED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_report_header() -> str:
    """Say which copy is tested."""
    import tensorgraph

    return f"tensorgraph {tensorgraph.__version__} from {Path(tensorgraph.__file__).parent}"


def pytest_collection() -> None:
    """Refuse to test the checkout in the name of the wheel."""
    import tensorgraph

    home = Path(tensorgraph.__file__).resolve().parent
    if os.environ.get("TENSORGRAPH_TESTED") == "wheel" and home == CHECKOUT / "tensorgraph":
        pytest.exit("the wheel was to be tested, but tensorgraph was imported from the checkout", returncode=4)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start every test from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the old global state is what must not leak from test to test)
    import tensorgraph

    tensorgraph.random.seed(0)
