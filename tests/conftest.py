"""Settings of all tests: reproducible examples, reproducible numbers, and the right copy of the package.

The package is imported inside the hooks, so that measuring coverage begins before it loads.
"""

import gc
import importlib
import os
import pkgutil
import random
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from effort import EVERYTHING, Lines, sample
from hypothesis import HealthCheck, settings

CHECKOUT = Path(__file__).resolve().parent.parent

# no time limits: the first call of a kernel compiles it, and a busy machine is not a wrong answer
UNTIMED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("slow", derandomize=True, max_examples=EVERYTHING, **UNTIMED)
settings.register_profile("test", derandomize=True, max_examples=10, **UNTIMED)
settings.register_profile("marked", derandomize=True, max_examples=10, **UNTIMED)
settings.register_profile("quick", derandomize=True, max_examples=3, **UNTIMED)
settings.register_profile("explore", max_examples=500, **UNTIMED)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer more and less than the usual tests."""
    group = parser.getgroup("effort", "how much is tried")
    group.addoption("--slow", dest="effort", action="store_const", const="slow", default="test", help="everything")
    group.addoption("--quick", dest="effort", action="store_const", const="quick", help="what finds most in a minute")
    group.addoption(
        "--marked",
        dest="effort",
        action="store_const",
        const="marked",
        help="the usual, and what is marked slow or kill",
    )
    group.addoption(
        "--no-lines-of",
        action="append",
        default=[],
        metavar="GLOB",
        help="with --cov, count the lines that run where some may be new, and nowhere in these test files",
    )
    group.addoption(
        "--kills", type=int, default=3, metavar="N", help="how often a test marked `kill` kills its processes (3)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples are drawn, before a test file says its own number in terms of it.

    And let Ctrl-C be felt: a shell that starts the tests in the background has its children ignore it, and theirs.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", config.getoption("effort")))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests, unless they are asked for, and of sampled ones what exceeds their budget.

    A quick run takes a sample of every table. What `-k` leaves counts alone: the tests of one op are within the budget.
    """
    effort = config.getoption("effort")
    if effort == "slow":
        return
    asked = config.option.keyword or config.option.markexpr or any("::" in argument for argument in config.args)
    chosen = sample(items, "test" if effort == "marked" else effort, marked=effort == "marked", asked=bool(asked))
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


def pytest_collection_finish(session: pytest.Session) -> None:
    """What has been read by now stays: the garbage collector, which some tests ask for, need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000)  # little of what tests make is cyclic, and looking so rarely saves some 3%


def pytest_report_header() -> str:
    """Say which copy is tested."""
    import tensorgraph

    return f"tensorgraph {tensorgraph.__version__} from {Path(tensorgraph.__file__).parent}"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, Any, Any]:
    """Refuse to test the checkout in the name of the wheel; and read without the garbage collector: all of it stays.

    Where lines are counted in some tests alone, modules are loaded before, so that those they run then are.
    """
    import tensorgraph

    home = Path(tensorgraph.__file__).resolve().parent
    if os.environ.get("TENSORGRAPH_TESTED") == "wheel" and home == CHECKOUT / "tensorgraph":
        pytest.exit("the wheel was to be tested, but tensorgraph was imported from the checkout", returncode=4)
    manager, files = session.config.pluginmanager, session.config.getoption("--no-lines-of")
    gc.disable()
    if files and manager.hasplugin("_cov"):
        from coverage import Coverage

        lines = Lines(files, Coverage.current())
        if manager.hasplugin("dsession"):  # this process only tells others what to run
            lines.counts(False)
        else:
            load_all()
        manager.register(lines)
    try:
        return (yield)
    finally:
        gc.enable()


def load_all() -> None:
    """Import every module of the package."""
    import tensorgraph.viz

    for room in (tensorgraph, tensorgraph.ops, tensorgraph.viz):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start every test from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the old global state is what must not leak from test to test)
    import tensorgraph

    tensorgraph.random.seed(0)


@pytest.fixture(autouse=True, scope="session")
def _strict() -> Iterator[None]:
    """Verify every graph that any test runs, and hold every equation to the types that it declares."""
    from tensorgraph.testing import strict

    with strict():
        yield


@pytest.fixture
def kill_repetitions(request: pytest.FixtureRequest) -> int:
    """How often a test that kills processes does so: 3 unless ``--kills`` says more, as `make test-kill` does."""
    return int(request.config.getoption("kills"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium; without one the test is skipped, or fails where ``TENSORGRAPH_BROWSER`` asks for it."""
    from browser import Browser, find_browser, required

    program = find_browser()
    if program is None or sys.platform == "win32":
        reason = "no Chromium was found on PATH; TENSORGRAPH_BROWSER names another"
        pytest.fail(reason) if required() else pytest.skip(reason)
    started = Browser(program, tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture(params=["dot", "graphviz-pure"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each layout engine in turn."""
    beside = Path(sys.executable).with_name(request.param)
    program = shutil.which(request.param) or (str(beside) if beside.exists() else None)
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setenv("TENSORGRAPH_DOT", program)
    return str(request.param)
