"""Where trials run: in this process, in others of this machine, or on a cluster, all behind one small adaptor.

An engine is made with the objective and gets it to its workers once. `submit` begins a call, `done` gives what came of
those that ended since. It keeps no account of trials and retries nothing: a call whose process is gone comes back as a
`Lost`, and the study decides what follows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Protocol, TypeAlias, runtime_checkable

from tensorgraph.arguments import Kind
from tensorgraph.arguments.near import near
from tensorgraph.files import MissingExtraError

__all__ = ["ENGINES", "Engine", "EngineChoice", "Lost", "engine_named", "threads_each"]


@dataclass(frozen=True)
class Lost:
    """A call whose process ended before it gave a result.

    Attributes
    ----------
    reason : str
        What is known, such as "its process was ended by signal 9 (SIGKILL)".
    """

    reason: str


@runtime_checkable
class Engine(Protocol):
    """What runs calls; made as ``Engine(objective, workers, threads)``.

    Attributes
    ----------
    workers : int
        How many calls run at the same time; no more are submitted before one is done.
    local : bool
        Whether they run in the study's own process.
    """

    workers: int
    local: bool

    def submit(self, function: Callable[..., Any], slot: int, *args: Any) -> None:
        """Begin ``function(objective, *args)`` in a worker: the objective itself, or its pickle as bytes."""

    def done(self, timeout: float) -> list[tuple[int, Any]]:
        """The slots that ended, each with its result, its exception or a `Lost`; waits so long for the first."""

    def cancel(self) -> None:
        """End all that runs, at once; the engine is closed then."""

    def close(self) -> None:
        """Let go of the workers, which have nothing to do."""


# those that take the address of a cluster: "dask:tcp://10.0.0.1:8786"
CLUSTERS = ("dask", "ray")
# name -> module of this package, class, extra that brings what it needs
ENGINES: dict[str, tuple[str, str, str]] = {
    "serial": ("serial", "SerialEngine", ""),
    "loky": ("loky", "LokyEngine", "tune"),
    "dask": ("dask", "DaskEngine", "dask"),
    "ray": ("ray", "RayEngine", "ray"),
}


def _chosen(value: Any, kind: Kind) -> Any:
    """An engine's name, or an engine."""
    if isinstance(value, str):
        name, colon, address = value.partition(":")
        if name in ENGINES and (not colon or (name in CLUSTERS and address)):
            return value
        close = near(name, ENGINES)
        kind.refuse(value, f"did you mean {close!r}?" if close else "", ValueError)
    if value is None or (not isinstance(value, type) and isinstance(value, Engine)):
        return value
    kind.refuse(value)


EngineChoice: TypeAlias = Annotated[
    Any, Kind(f"the name of an engine ({', '.join(map(repr, ENGINES))}), an Engine or None", _chosen)
]


def engine_named(name: str, objective: Callable[..., Any], workers: int, threads: int | None) -> Engine:
    """Make an engine by name, which may be followed by a cluster's address."""
    name, _, address = name.partition(":")
    module, cls, extra = ENGINES[name]
    try:
        make = getattr(import_module(f"{__name__}.{module}"), cls)
        made: Engine = make(objective, workers, threads, *([address] if address else []))
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").startswith("tensorgraph"):
            raise
        raise MissingExtraError(
            f'engine {name!r} needs {error.name}: install it with `pip install "tensorgraph-engine[{extra}]"`'
        ) from error
    return made


def threads_each(workers: int, threads: int | None) -> int:
    """Threads of a worker, so that all together are no more than there are processors."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this operating system
        cores = os.cpu_count() or 1
    return threads or max(1, cores // workers)
