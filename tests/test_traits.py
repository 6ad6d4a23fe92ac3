"""What declarations say of ops is true: tried over the catalogue, and every way of trying can fail."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import testing
from tensorgraph.engine.op import CATALOGUE, Kind, Op, scan
from tensorgraph.engine.traits import IMPLIED, TRAITS, with_implied
from tensorgraph.testing.traits import TRUTHS, UNTRIED

OPS = [op for op in CATALOGUE.values() if op.primal is None and "higher order" not in op.traits]


def holds(op: Op, trait: str) -> bool:
    try:
        for case in testing.examples_of(op):
            TRUTHS[trait](case)
    except AssertionError:
        return False
    except TypeError:  # it does not take what it gives
        return False
    return True


@pytest.fixture
def lie(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Declares an op for one test."""
    yield lambda *args, **fields: tg.op(*args, doc="A lie.", **fields).op  # type: ignore[attr-defined]
    tg.remove_op("lie")


X = (((3, 4),), {})
Y = ((((4, 2)), (4, 2)), {})
UNARY: dict[str, Any] = {
    "identity": lambda x: x + 0.0,  # -0.0 becomes 0.0
    "moves": np.cbrt,
    "reshapes": lambda x: x.T.copy(),
    "unit axes": lambda x: x.reshape(-1),
    "gathers": lambda x: x[:, :1] + 0 * x[:, 1:2],
    "checks": lambda x: x + 0.0,
    "idempotent": lambda x: x + x,
    "keeps order": lambda x: np.asfortranarray(x + 1),
    "linear": np.abs,
    "analytic": lambda x: np.maximum(x, 0.1),
    "extremum": lambda x: -np.maximum(x, 0),
    "positions": lambda x: x.argmax(-1) - 1,
    "reduces": np.square,
    "bounded above": np.log1p,
    "bounded below": lambda x: -np.square(x),
    "increasing": np.cos,
    "flat": lambda x: x * 1.0,
    "bits": lambda x: x + 1,
    "update": lambda x: x[:2] * 1.0,
    "normalises": lambda x: x - x.mean(),
    "exact": np.exp,
}


@pytest.mark.parametrize("trait", UNARY)
def test_a_false_trait_of_one_input_is_seen(lie: Any, trait: str) -> None:
    op = lie("lie(x)", UNARY[trait], traits=(trait,), examples=(X,))
    with pytest.raises(AssertionError, match=rf"declared '{trait}', but|declared '.*', but"):
        testing.PROPERTIES["declared_traits"](testing.examples_of(op)[0])


def test_other_false_traits_are_seen(lie: Any) -> None:
    def second(x: Any, y: Any) -> Any:
        return y[:1]

    op = lie("lie(x, y)", second, traits=("view",), examples=(Y,))
    assert not holds(op, "view") and not holds(op, "commutative") and not holds(op, "comparison")
    assert not holds(CATALOGUE["add"], "labels")
    assert UNARY.keys() | {"view", "commutative", "comparison", "labels"} == TRUTHS.keys()


def test_signed_zeros_are_told_apart_where_bits_are_promised(lie: Any) -> None:
    """A sum of two that takes -0.0 and 0.0 for different: as exact as a sum, but not commutative to the last bit."""
    op = lie("lie(a, b)", lambda a, b: np.where(a == b, a, a + b), kind="elementwise", traits=("exact", "commutative"))
    assert not holds(op, "commutative")
    loose = CATALOGUE["maximum"]
    assert "exact" not in loose.traits and holds(loose, "commutative")


def test_every_trait_is_tried_or_says_why_not() -> None:
    assert TRUTHS.keys() | UNTRIED.keys() == TRAITS.keys() and not TRUTHS.keys() & UNTRIED.keys()


@pytest.mark.parametrize("trait", ["identity", "commutative", "reshapes", "idempotent"])
def test_no_declaration_forgets(trait: str) -> None:
    """What holds of an op and can be told from calls is said by its declaration."""
    inputs = 2 if trait == "commutative" else 1
    silent = [
        op
        for op in OPS
        if len(op.inputs) == inputs
        and op.single
        and not op.traits & {trait, "identity", "bits"}
        and op.kind is not scan  # whose shares among ties are rounded
    ]
    assert not [op.name for op in silent if holds(op, trait)]


def _with(case: testing.Case, kinds: str, number: float) -> testing.Case:
    """The case with one number in the places of all of these kinds."""
    return case.map(lambda _, a: np.full_like(a, number) if a.dtype.kind in kinds else a)


@pytest.mark.filterwarnings("ignore")
def test_no_declaration_forgets_that_it_refuses_numbers() -> None:
    """What nobody reads is left out of graphs but for ops that say so, and then its error would be lost."""
    refuses = set()
    for op in CATALOGUE.values():
        if op.primal is not None or op.among("refuses", "higher order") or not op.examples:
            continue
        for case in testing.examples_of(op):
            trials = [_with(case, "f", n) for n in (-7.0, 0.0, np.nan)]
            if "refuses integers" not in op.traits:
                trials += [_with(case, "i", n) for n in (-7, 99)]
            for trial in trials:
                try:
                    trial()
                except Exception:
                    refuses.add(op.name)
    assert not refuses


def test_views_share_memory_somewhere() -> None:
    for op in OPS:
        if "view" in op.traits:
            cases = [case for case in testing.examples_of(op) if next(case.places())[1].size]
            shared = False
            for case in cases:
                inputs, _ = case.tensors(copy=False)
                shared |= any(np.shares_memory(t.numpy(), next(case.places())[1]) for t in case(inputs))
            assert shared, f"{op.name}: a view that always copies"


def test_what_follows_from_a_trait_is_added() -> None:
    assert all(trait in TRAITS for trait in (*IMPLIED, *[t for implied in IMPLIED.values() for t in implied]))
    assert with_implied(["unit axes"], "x") == {
        "unit axes", "reshapes", "moves", "keeps order", "linear", "analytic", "increasing",
    }  # fmt: skip


def test_unknown_traits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mine: there is no trait 'exakt'; .* has identity, moves"):
        tg.op("mine(x)", np.exp, traits=("exakt",))
    with pytest.raises(TypeError, match=r"op: traits must be a sequence .* write \['exact'\]"):
        tg.op("mine(x)", np.exp, traits="exact")
    with pytest.raises(ValueError, match="the kind odd"):
        Kind("odd", None, traits=("even",))
    assert "mine" not in CATALOGUE


def test_an_op_of_ones_own_says_traits_by_the_same_door() -> None:
    own = tg.op("own_sign(x)", np.sign, kind="elementwise", traits=("flat", "exact"), doc="The sign.")
    fused = tg.fused_op(
        "own_norm(x) -> y", reference=lambda x: (x * x).sum(), forward=lambda x: np.vdot(x, x),
        backward=lambda want, g, x, y: (2 * g * x,), infer_rule=lambda x: tg.spec((), x.dtype), traits=("analytic",),
    )  # fmt: skip
    try:
        assert own.op.traits == {"flat", "exact", "keeps order", "refuses"}  # type: ignore[attr-defined]
        assert fused.op.traits == {"analytic", "keeps order", "refuses"}  # type: ignore[attr-defined]
        assert CATALOGUE["own_norm_vjp"].traits == {"internal", "keeps order"}
        testing.check(own)
    finally:
        tg.remove_op("own_sign")
        tg.remove_op("own_norm")
