"""Replicas: the cells that every rank has a copy of, made equal at the start and compared to the last bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorgraph.dist.ranks import Job, RanksError
from tensorgraph.engine import random
from tensorgraph.engine.cells import Buffer, Cell
from tensorgraph.engine.interrupts import whole
from tensorgraph.nn.module import Module

__all__ = ["cells_of", "copy_from_first", "models_of", "require_equal", "require_same", "require_same_form"]

SHOWN = 5


def models_of(optimizer: Any) -> list[Module]:
    """The models whose parameters an optimiser trains, each once."""
    roots: dict[int, Module] = {}
    for p in optimizer.parameters():
        owner = p.owner[0]() if p.owner is not None else None
        if isinstance(owner, Module):
            roots.setdefault(id(owner.root), owner.root)
    return list(roots.values())


def cells_of(optimizer: Any) -> dict[str, Cell]:
    """All cells of a replica by path: its models', its optimiser's, and the process-wide random state."""
    cells: dict[str, Cell] = {}
    models = models_of(optimizer)
    for number, model in enumerate(models):
        prefix = f"model {number}: " if len(models) > 1 else ""
        cells |= {f"{prefix}{path}": cell for path, cell in model.named_cells()}
    known = {id(cell) for cell in cells.values()}
    lone = [slot for group in optimizer.groups for slot in group.slots if id(slot.parameter) not in known]
    cells |= {slot.path: slot.parameter for slot in lone}
    cells |= dict(optimizer.named_cells())
    process = random.state()
    cells[process.path] = process
    return cells


def require_same_form(job: Job, cells: Mapping[str, Cell]) -> None:
    """Refuse replicas of other paths, shapes or dtypes: all ranks raise the same error, or none does."""
    form = {path: f"{cell.dtype} of shape {cell.shape}" for path, cell in cells.items()}
    require_same(job, form, "models or optimisers", "make the same model and the same optimiser on every rank")


def require_same(job: Job, facts: Mapping[str, str], of: str, remedy: str) -> None:
    """Refuse what ranks say differently, naming the first: all ranks raise the same error, or none does."""
    text, what = json.dumps(facts), f"comparing the ranks' {of}"
    digests = job.gather(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8), what)
    if (digests == digests[0]).all():
        return
    said = [json.loads(each) for each in job.texts(text, what)]
    for rank, other in enumerate(said):
        for name in [*said[0], *other]:
            first, here = said[0].get(name, "none"), other.get(name, "none")
            if first != here:
                raise RanksError(
                    f"the ranks' {of} differ: of {name!r}, rank 0 has {first}, rank {rank} has {here}; {remedy}"
                )
    raise RanksError(f"the ranks' {of} have their parts in another order; {remedy}")


def copy_from_first(job: Job, cells: Mapping[str, Cell]) -> None:
    """Give every rank the numbers of rank 0, in one message."""
    arrays = [np.ascontiguousarray(cell.numpy()).reshape(-1).view(np.uint8) for cell in cells.values()]
    packed = np.concatenate(arrays)
    job.broadcast(packed, "copying rank 0's parameters")
    if job.rank == 0:
        return
    start = 0
    with whole():
        for cell, array in zip(cells.values(), arrays, strict=True):
            part = packed[start : start + array.size].view(cell.dtype)
            cell.assign(part.reshape(cell.shape))
            start += array.size


def require_equal(job: Job, cells: Mapping[str, Cell]) -> None:
    """Refuse replicas that are not equal to the last bit: all ranks raise the same error, or none does."""
    require_same_form(job, cells)
    own = b"".join(hashlib.blake2b(cell.numpy().tobytes(), digest_size=8).digest() for cell in cells.values())
    digests = job.gather(np.frombuffer(own, np.int64), "comparing the replicas")
    wrong = (digests != digests[0]).any(axis=0)
    if not wrong.any():
        return
    named = [_named(path, cell) for (path, cell), differs in zip(cells.items(), wrong, strict=True) if differs]
    ranks = [rank for rank in range(job.size) if (digests[rank] != digests[0]).any()]
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    raise RanksError(
        f"the replicas are no longer equal: {', '.join(named[:SHOWN])}{more} on rank {', '.join(map(str, ranks))} "
        "differ from rank 0's. What changes cells outside of step() must do the same on every rank: settings, assigned "
        "numbers, loaded files"
    )


def _named(path: str, cell: Cell) -> str:
    return f"{'buffer' if isinstance(cell, Buffer) else 'parameter'} {path!r}"
