"""Processes that train are killed at random moments; the run is the run that was never interrupted all the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked, which spares their start")

HERE = Path(__file__).parent


@pytest.mark.kill
@pytest.mark.parametrize("how", ["alone", "commanded", "everywhere"])
def test_a_run_that_is_killed_is_the_run_that_was_not(tmp_path, kill_repetitions, how):
    """Alone: at random moments. With random commands: each is answered once, and the log, replayed, gives the same
    bits. Everywhere: at every call that changes a file, or at some of them, in turn; a rollback among the commands."""
    environment = os.environ | {"PYTHONPATH": str(HERE), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(HERE / "run_killing.py"), str(tmp_path), str(kill_repetitions), how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60 + 60 * kill_repetitions)
    assert done.returncode == 0, done.stderr[-6000:]
    assert int(done.stdout) >= kill_repetitions, "hardly anything was killed"
