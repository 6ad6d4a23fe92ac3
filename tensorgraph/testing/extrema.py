"""Extrema at ties and at NaN: who takes the gradient, and in which shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgraph.engine.backward import gradients
from tensorgraph.testing.cases import Case, Place, differentiable_places
from tensorgraph.testing.common import casts, has_gradient, wanting
from tensorgraph.testing.hostile import silent

Array = np.ndarray[Any, Any]

NAN = "some of them NaN"


def extrema_share(case: Case) -> None:
    """Where NaN wins it takes the gradient; ties, of NaN too, share it equally.

    Which elements compete for a result is found by making each infinite in turn. Where a bound is among them, as in
    `clip`, ties are the op's own affair: it declares `kinks` and documents them.
    """
    if "extremum" not in case.op.traits or not has_gradient(case) or not case()[0].size:
        return
    for cast in casts(case, (np.float32, np.float64)):
        places = differentiable_places(cast)
        with silent():
            competes = _competitors(cast, places)
            for what, given, chosen in _hostile(cast, places):
                for create_graph in (False, True):
                    _, leaves, (out, *_) = wanting(given)
                    result = out.numpy().reshape(-1)
                    for k in range(out.size):
                        winners = competes[k] & chosen
                        if not winners.any() or (chosen.all() and cast.op.kinks and not np.isnan(result[k])):
                            continue
                        unit = np.zeros(out.shape, out.dtype)
                        unit.flat[k] = 1
                        found = gradients([out], leaves, [unit], retain_graph=True, create_graph=create_graph)
                        row = np.concatenate([g.numpy().reshape(-1) for g in found])
                        # an op in which NaN loses gives a number, and the NaN nothing
                        lost = what == NAN and not np.isnan(result[k])
                        share = 0.0 if lost else 1.0 / winners.sum()
                        wanted = np.where(winners, share, row if lost else 0.0)
                        assert np.allclose(row, wanted, rtol=4 * np.finfo(out.dtype).eps, atol=0), (
                            f"{given}, {what}: result {k} shares its gradient as {row}, expected {wanted}"
                        )


def _competitors(case: Case, places: list[Place]) -> Array:
    """For each result, which of the elements at these places, one after another, have a say in it."""
    before = case()[0].numpy().reshape(-1)
    rows = []
    for place in places:
        for k in range(case.at(place).size):
            moved = np.zeros(before.shape, bool)
            for bad in (np.inf, -np.inf):
                array = np.array(case.at(place))
                array.flat[k] = bad
                moved |= case.put({place: array})()[0].numpy().reshape(-1) != before
            rows.append(moved)
    return np.array(rows).reshape(-1, before.size).T


def _hostile(case: Case, places: list[Place]) -> Iterator[tuple[str, Case, Array]]:
    """Some of the elements NaN, and all of them equal: with which these are."""
    sizes = [case.at(place).size for place in places]
    rng = np.random.default_rng(5)

    def filled(chosen: Array, value: float) -> Case:
        parts = np.split(chosen, np.cumsum(sizes)[:-1])
        return case.put({
            place: np.where(part.reshape(case.at(place).shape), case.at(place).dtype.type(value), case.at(place))
            for place, part in zip(places, parts, strict=True)
        })  # fmt: skip

    every = np.ones(sum(sizes), bool)
    for chosen in (rng.random(every.size) < 0.2, rng.random(every.size) < 0.5, every):
        yield NAN, filled(chosen, np.nan), chosen
    yield "all equal", filled(every, 0.25), every
