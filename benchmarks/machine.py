"""What the figures depend on: the machine, the interpreters, the peers' environment."""

from __future__ import annotations

import os
import platform
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS_VENV = ROOT / ".venv-peers"
REMEDY = "python -m benchmarks --setup-peers"


def describe_machine() -> dict[str, str | float]:
    """Processor, number of processors given to this process, system, Python, and what else runs."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": model,
        "processors": given,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,
    }


def peers_python(given: str | None) -> str | None:
    """The interpreter that has the peers: as given, or of the environment that `setup_peers` makes, or None."""
    if given is not None:
        return given
    own = PEERS_VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(own) if own.exists() else None


def setup_peers() -> None:
    """Make the peers' environment in the checkout and install what `peers.txt` pins."""
    print(f"making {PEERS_VENV} (PyTorch and JAX need about 2 GB; on Linux PyTorch's CPU builds are much smaller: "
          "name their index in PIP_EXTRA_INDEX_URL)")  # fmt: skip
    venv.create(PEERS_VENV, with_pip=True, clear=True)
    python = peers_python(None)
    assert python is not None
    requirements = str(Path(__file__).resolve().parent / "peers.txt")
    subprocess.run([python, "-m", "pip", "install", "-r", requirements], check=True)
