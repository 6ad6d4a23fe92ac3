"""The layout engine: finding one, and calling it so that it can neither hang nor read files.

The `graphviz` package is not used for this: its calls have no timeout, always run ``dot`` by that name, and leave the
engine's children alive.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from tensorgraph.viz.model.labels import cut

__all__ = ["REMEDY", "EngineError", "broken", "engines", "find_engine", "run_engine"]

REMEDY = (
    "for pictures with a layout, install an engine: pip install 'tensorgraph-engine[viz]', or your system's graphviz, "
    "or set TENSORGRAPH_DOT to a dot program"
)

LONGEST_COMPLAINT = 1_000  # characters
PROBE = 2.0  # seconds in which any engine that works draws an empty graph
LOST = "routesplines"  # in the complaint of an engine that lost its way between boxes: with other room it finds it
EASIER = (0.3, 0.33, 0.4)  # inches between boxes that are tried then
NODESEP = re.compile(r"\bnodesep=[\d.]+")
SIGNATURES = {"png": b"\x89PNG", "pdf": b"%PDF"}  # with which an output of a format begins
_silent: set[tuple[str, int]] = set()  # engines that drew nothing in that time


class EngineError(RuntimeError):
    """There is no layout engine, or it failed, or it took too long."""


def engines() -> list[str]:
    """``TENSORGRAPH_DOT``, ``dot`` on the PATH, graphviz-pure beside this Python, graphviz-pure on the PATH: those that
    are there, each once, in the order in which they are tried.

    Raises
    ------
    EngineError
        Where ``TENSORGRAPH_DOT`` is set and is not a program.
    """
    chosen = os.environ.get("TENSORGRAPH_DOT")
    if chosen and shutil.which(chosen) is None:
        raise EngineError(f"TENSORGRAPH_DOT is {chosen!r}, which is not a program; unset it or point it at dot")
    beside = os.pathsep.join((str(Path(sys.executable).parent), sysconfig.get_path("scripts")))
    programs = (
        shutil.which(chosen) if chosen else None,
        shutil.which("dot"),
        shutil.which("graphviz-pure", path=beside),
        shutil.which("graphviz-pure"),
    )
    return list(dict.fromkeys(program for program in programs if program is not None))


def find_engine() -> str | None:
    """The engine that is tried first; None where there is none.

    Raises
    ------
    EngineError
        Where ``TENSORGRAPH_DOT`` is set and is not a program.
    """
    return next(iter(engines()), None)


def run_engine(dot: str, form: str, timeout: float, *options: str) -> bytes:
    """Lay out `dot` and return the output in format `form` (``"svg"``, ``"png"``, ...), of the first engine that can.

    An engine that does not start, fails, gives something else or answers nothing at all is followed by the next.

    Raises
    ------
    EngineError
        Naming the cause of each and the remedy.
    """
    programs = engines()
    if not programs:
        raise EngineError(f"there is no layout engine; {REMEDY}")
    until = time.monotonic() + timeout
    complaints: list[str] = []
    for n, program in enumerate(programs):
        others = n + 1 < len(programs)
        if others and _identity(program) in _silent:
            continue
        for shape in dict.fromkeys((dot, *(_spread(dot, nodesep) for nodesep in EASIER))):
            try:
                return _run(program, shape, form, max(until - time.monotonic(), 0.0), others, options)
            except _TooLong:
                raise EngineError(
                    f"the layout took longer than {timeout:g} s; draw less (level='module', depth=1, focus=...) "
                    "or give it longer (timeout=...)"
                ) from None
            except EngineError as error:
                complaints.append(str(error))
                if LOST not in str(error):
                    break
    raise EngineError("; ".join(dict.fromkeys(complaints)))


def _spread(dot: str, nodesep: float) -> str:
    """The same boxes with other room between them."""
    return NODESEP.sub(f"nodesep={nodesep:g}", dot)


def broken(program: str, timeout: float) -> str:
    """What is wrong with an engine; empty where it draws."""
    try:
        _run(program, "digraph { a -> b }", "svg", timeout, False, ())
    except _TooLong:
        return f"{Path(program).name} took longer than {timeout:g} s to draw two boxes"
    except EngineError as error:
        return str(error)
    return ""


class _TooLong(Exception):
    """An engine that works has not finished in time; another would not either."""


def _run(program: str, dot: str, form: str, timeout: float, others: bool, options: tuple[str, ...]) -> bytes:
    """One engine's output.

    Where there are `others`, an engine that is silent for a third of the time is asked for the least of all pictures:
    one that does not draw that either hangs, and the rest of the time is the next one's.
    """
    name = Path(program).name
    process = _start(program, form, options)
    with process:
        try:
            if others:
                try:
                    output, complaint = process.communicate(dot.encode("utf-8"), timeout=timeout / 3)
                except subprocess.TimeoutExpired:
                    if not _answers(program, min(timeout / 3, PROBE)):
                        raise EngineError(f"{name} hangs: it does not even draw an empty graph") from None
                    output, complaint = process.communicate(timeout=timeout / 3)
            else:
                output, complaint = process.communicate(dot.encode("utf-8"), timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise _TooLong from None
        except BaseException:
            _kill(process)
            raise
    said = cut(" ".join(complaint.decode("utf-8", "replace").split()), LONGEST_COMPLAINT)
    if process.returncode != 0:
        raise EngineError(f"{name} could not make {form}: {said or f'it ended with exit code {process.returncode}'}")
    if not _is(output, form):
        cause = f"it gave no {form.upper()}" if output else "it gave no output"
        raise EngineError(f"{name} could not make {form}: {cause}{f', and said: {said}' if said else ''}")
    return output


def _start(program: str, form: str, options: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    environment = dict(os.environ, SERVER_NAME="tensorgraph")  # with it, Graphviz opens no file named in its input
    environment.pop("GV_FILE_PATH", None)
    try:
        return subprocess.Popen(
            [program, f"-T{form}", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        raise EngineError(f"the layout engine {program} does not start: {error.strerror or error}") from error


def _answers(program: str, patience: float) -> bool:
    """Whether an engine draws an empty graph; one that has had long enough is not asked again in this process."""
    process = _start(program, "svg")
    with process:
        try:
            output, _ = process.communicate(b"digraph {}", timeout=patience)
        except subprocess.TimeoutExpired:
            if patience >= PROBE:
                _silent.add(_identity(program))
            return False
        finally:
            if process.poll() is None:
                _kill(process)
    return process.returncode == 0 and _is(output, "svg")


def _identity(program: str) -> tuple[str, int]:
    """What tells a program from the one that another installation puts in its place."""
    try:
        return program, os.stat(program).st_mtime_ns
    except OSError:
        return program, 0


def _is(output: bytes, form: str) -> bool:
    """Whether an output can be what was asked for."""
    if form == "svg":
        return b"<svg" in output and output.rstrip().endswith(b"</svg>")
    return output.startswith(SIGNATURES[form]) if form in SIGNATURES else bool(output)


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
