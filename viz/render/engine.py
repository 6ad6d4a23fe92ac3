"""The layout engine: finding one, and calling it so that it can neither hang nor read files.

The `graphviz` package is not used for this: its calls have no timeout, always run ``dot`` by that name, and leave the
engine's children alive.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

__all__ = ["REMEDY", "EngineError", "find_engine", "run_engine"]

REMEDY = (
    "for pictures with a layout, install an engine: pip install 'tensorgraph-engine[viz]', or your system's graphviz, "
    "or set TENSORGRAPH_DOT to a dot program"
)


class EngineError(RuntimeError):
    """There is no layout engine, or it failed, or it took too long."""


def find_engine() -> str | None:
    """``TENSORGRAPH_DOT``, else ``dot`` on the PATH, else graphviz-pure beside this Python or on the PATH, else None.

    Raises
    ------
    EngineError
        Where ``TENSORGRAPH_DOT`` is set and is not a program.
    """
    chosen = os.environ.get("TENSORGRAPH_DOT")
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise EngineError(f"TENSORGRAPH_DOT is {chosen!r}, which is not a program; unset it or point it at dot")
        return found
    beside = os.pathsep.join((str(Path(sys.executable).parent), sysconfig.get_path("scripts")))
    return shutil.which("dot") or shutil.which("graphviz-pure", path=beside) or shutil.which("graphviz-pure")


def run_engine(dot: str, form: str, timeout: float, *options: str) -> bytes:
    """Lay out `dot` and return the output in format `form` (``"svg"``, ``"png"``, ...).

    Raises
    ------
    EngineError
        Naming the cause and the remedy.
    """
    program = find_engine()
    if program is None:
        raise EngineError(f"there is no layout engine; {REMEDY}")
    environment = dict(os.environ, SERVER_NAME="tensorgraph")  # with it, Graphviz opens no file named in its input
    environment.pop("GV_FILE_PATH", None)
    try:
        process = subprocess.Popen(
            [program, f"-T{form}", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        raise EngineError(f"the layout engine {program} does not start: {error.strerror or error}") from error
    with process:
        try:
            output, complaint = process.communicate(dot.encode("utf-8"), timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise EngineError(
                f"the layout took longer than {timeout:g} s; draw less (level='module', depth=1, focus=...) "
                "or give it longer (timeout=...)"
            ) from None
        except BaseException:
            _kill(process)
            raise
    if process.returncode != 0 or not output:
        first = complaint.decode("utf-8", "replace").strip().splitlines()
        raise EngineError(f"{Path(program).name} could not make {form}: {first[0] if first else 'it gave no output'}")
    return output


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the engine and its children, and collect it."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()
