"""Jobs of several processes under MPI, for tests."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest


@cache
def found():
    """The launcher that came with the MPI library, or the system's, and why there is none that works."""
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None:
        return "", "mpiexec is not installed: pip install 'tensorgraph-engine[mpi]'"
    tried = subprocess.run([sys.executable, "-c", "import mpi4py.MPI"], capture_output=True, text=True, timeout=120)
    return launcher, tried.stderr.strip().rpartition("\n")[2]


def run(*script, folder, ranks=2, module=("-m", "mpi4py"), timeout=300, **environment):
    """Run a script on the ranks of a job; where there is no MPI the test is skipped."""
    launcher, missing = found()
    if missing:
        pytest.skip(f"no MPI: {missing}")
    command = [launcher, "-n", str(ranks), sys.executable, *module, *map(str, script)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, cwd=folder)
