"""Search spaces: every value of a scale is reachable and in bounds, and depends on seed, slot and name alone."""

import json
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from tensorgraph import tune
from tensorgraph.tune import scales
from tensorgraph.tune.space import number_of, seed_of

EVERY = {
    "uniform": tune.uniform(-1.0, 3.0),
    "log": tune.log(1e-4, 1),
    "ewa": tune.ewa(0.9, 0.999),
    "int": tune.int(-2, 5),
    "log_int": tune.log_int(3, 900),
    "pow2": tune.pow2(16, 256),
    "choice": tune.choice("relu", "tanh", None, 3, 2.5, True),
}
FULL = tune.Space(
    rule=tune.choice("sgd", "adam"),
    lr=tune.log(1e-4, 1),
    beta=tune.ewa(0.9, 0.999).when(rule="adam"),
    layers=tune.int(0, 3),
    units=tune.log_int(16, 256).each("layers"),
    batch=tune.pow2(16, 256),
)


@pytest.mark.parametrize("word", EVERY)
def test_drawn_values_are_in_bounds_and_reach_both_ends(word):
    scale = EVERY[word]
    drawn = [scale.drawn(u) for u in [0.0, math.nextafter(1.0, 0.0), *np.linspace(0, 1, 2001)[:-1]]]
    assert all(scale.holds(value) for value in drawn)
    if word == "choice":
        assert Counter(map(repr, drawn)).keys() == set(map(repr, scale.options))
    else:
        assert (min(drawn), max(drawn)) == (pytest.approx(scale.low), pytest.approx(scale.high))


@pytest.mark.parametrize("word", EVERY)
def test_what_is_stored_comes_back_and_optuna_takes_it(word):
    pytest.importorskip("optuna")
    scale = EVERY[word]
    told = scale.distribution()
    for u in (0.0, 0.1, 0.5, 0.9, math.nextafter(1.0, 0.0)):
        value = scale.drawn(u)
        stored = scale.stored(value)
        assert told._contains(told.to_internal_repr(stored))
        assert scale.value(stored) == pytest.approx(value, rel=1e-12) if word == "ewa" else scale.value(stored) == value


@pytest.mark.parametrize("word", EVERY)
def test_a_scale_survives_json(word):
    scale = EVERY[word].when(rule=["adam", "sgd"]).each("layers")
    again = scales.scale_from(json.loads(json.dumps(scale.as_json())))
    assert again == scale and str(again) == str(scale) and type(again) is type(scale)


@pytest.mark.parametrize("word", EVERY)
def test_spaced_values_have_equal_distances_and_are_distinct(word):
    spaced = EVERY[word].spaced(5)
    assert len({repr(value) for value in spaced}) == len(spaced)
    assert all(EVERY[word].holds(value) for value in spaced)
    places = [EVERY[word].place(value) for value in spaced]
    if word in ("uniform", "log", "ewa", "pow2"):
        np.testing.assert_allclose(np.diff(places), np.diff(places)[0], rtol=1e-9)


def test_the_slides_scales_spread_as_they_should():
    """Each decade of 1e-4 to 1 has a quarter of the values, and each of the two of 1 - beta a half."""
    lr = np.array([FULL.draw(seed=0, slot=slot)["lr"] for slot in range(2000)])
    assert all(0.22 < float(((lr >= a) & (lr < 10 * a)).mean()) < 0.28 for a in (1e-4, 1e-3, 1e-2, 1e-1))
    beta = np.array([v["beta"] for v in (FULL.draw(seed=0, slot=slot) for slot in range(2000)) if "beta" in v])
    assert 0.45 < float((beta < 0.99).mean()) < 0.55
    batch = Counter(FULL.draw(seed=0, slot=slot)["batch"] for slot in range(2000))
    assert set(batch) == {16, 32, 64, 128, 256} and min(batch.values()) > 340


def test_ends_of_log_int_are_as_likely_as_their_neighbours():
    drawn = Counter(tune.log_int(1, 3).drawn(u) for u in np.linspace(0, 1, 10001)[:-1])
    widths = {k: math.log10((k + 0.5) / (k - 0.5)) / math.log10(3.5 / 0.5) for k in (1, 2, 3)}
    assert {k: round(count / 10000, 2) for k, count in drawn.items()} == {k: round(w, 2) for k, w in widths.items()}


def test_values_hang_on_seed_slot_and_name_alone():
    alone = tune.Space(lr=tune.log(1e-4, 1))
    for slot in range(5):
        assert alone.draw(seed=3, slot=slot)["lr"] == FULL.draw(seed=3, slot=slot)["lr"]
    assert FULL.draw(seed=0, slot=1) != FULL.draw(seed=1, slot=0)
    assert len({number_of(0, slot, "lr") for slot in range(1000)}) == 1000
    assert all(0 <= seed_of(0, slot) < 2**31 for slot in range(1000))


def test_another_process_draws_the_same():
    code = "from tensorgraph import tune; print(repr(tune.Space(lr=tune.log(1e-4, 1)).draw(seed=5, slot=9)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == repr(tune.Space(lr=tune.log(1e-4, 1)).draw(seed=5, slot=9)), done.stderr


def test_conditions_and_counts():
    for slot in range(40):
        values = FULL.draw(seed=0, slot=slot)
        assert ("beta" in values) == (values["rule"] == "adam")
        assert len(values["units"]) == values["layers"]
    more = tune.Space(layers=tune.int(1, 2), units=tune.log_int(16, 256).each("layers"))
    fewer = tune.Space(layers=tune.int(1, 1), units=tune.log_int(16, 256).each("layers"))
    assert more.draw(seed=0, slot=0)["units"][:1] == fewer.draw(seed=0, slot=0)["units"]


def test_a_chain_of_conditions_hides_the_whole_chain():
    space = tune.Space(
        a=tune.choice(1, 2), b=tune.choice(True, False).when(a=1), c=tune.uniform(0, 1).when(b=True)
    )  # fmt: skip
    for slot in range(40):
        values = space.draw(seed=0, slot=slot)
        assert ("b" in values) == (values["a"] == 1)
        assert ("c" in values) == (values.get("b") is True)


def test_narrowing():
    narrow = tune.log(1e-6, 1).narrowed([1e-3, 1e-2])  # a span of one decade, and a gap of one at each side
    assert narrow.low == pytest.approx(1e-4) and narrow.high == pytest.approx(1e-1)
    assert tune.log(1e-3, 1).narrowed([1e-3, 1e-2]).low == 1e-3
    assert tune.int(1, 9).narrowed([4, 4, 4]) == tune.int(3, 5)
    assert tune.int(1, 9).narrowed([1, 1]) == tune.int(1, 2)
    assert tune.log_int(1, 1000).narrowed([30, 30]) == tune.log_int(29, 31)
    assert tune.pow2(16, 256).narrowed([64, 64]) == tune.pow2(32, 128)
    assert tune.choice("a", "b", "c").narrowed(["c", "a"]) == tune.choice("a", "c")
    narrow = tune.ewa(0.9, 0.999).narrowed([0.98, 0.985, 0.99])
    assert 0.9 < narrow.low < 0.98 and 0.99 < narrow.high < 0.999


def test_narrowing_a_space_drops_what_cannot_happen_any_more():
    best = [{"rule": "sgd", "lr": 0.1, "layers": 1, "units": (20,), "batch": 16}] * 5
    narrow = FULL.narrowed(best)
    assert "beta" not in narrow and narrow["rule"] == tune.choice("sgd")
    assert narrow["units"].count == "layers"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tune.Space(), "at least one"),
        (lambda: tune.Space(lr=0.1), "lr"),
        (lambda: tune.log(1, 0.1), "low must be at most high"),
        (lambda: tune.log(0, 1), "positive"),
        (lambda: tune.log(float("nan"), 1), "nan"),
        (lambda: tune.ewa(0.9, 1.0), "below 1"),
        (lambda: tune.int(0.5, 2), "integer"),
        (lambda: tune.pow2(16, 100), "64 and 128"),
        (lambda: tune.choice(), "at least one option"),
        (lambda: tune.choice("a", "a"), "twice"),
        (lambda: tune.choice(1, True), "twice"),
        (lambda: tune.choice(np.datetime64("2026-01-01")), "choose among names"),
        (lambda: tune.uniform(-1.7e308, 1.7e308), "too far apart"),
        (lambda: tune.int(0, 1).when(a=1).when(a=2), "asked for twice"),
        (lambda: tune.Space({"1-b": tune.int(0, 1), "b": tune.ewa(0.9, 0.99)}), "both kept as '1-b'"),
        (lambda: tune.choice(np.tanh), "choose among names"),
        (lambda: tune.choice(float("nan")), "finite"),
        (lambda: tune.Space({"a/b": tune.int(0, 1)}), "name"),
        (lambda: tune.Space(beta=tune.ewa(0.9, 0.99).when(rule="adam")), "before it stand nothing"),
        (lambda: tune.Space(rule=tune.choice("sgd"), b=tune.int(0, 1).when(rule="adam")), "choice('sgd')"),
        (lambda: tune.Space(rules=tune.choice("sgd"), b=tune.int(0, 1).when(rule="sgd")), "did you mean 'rules'"),
        (lambda: tune.Space(n=tune.uniform(0, 1), b=tune.int(0, 1).each("n")), "must be an int"),
        (lambda: tune.Space(n=tune.int(-1, 1), b=tune.int(0, 1).each("n")), "at least 0"),
        (lambda: tune.int(0, 1).when(), "when"),
        (lambda: tune.int(0, 1).each(3), "each"),
        (lambda: FULL.points(3), "tune.random"),
        (lambda: tune.Space({f"x{i}": tune.uniform(0, 1) for i in range(12)}).points(5), "244140625 points"),
    ],
)
def test_refusals_say_what_is_wrong(make, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert words in str(caught.value)


def test_the_difference_of_two_spaces_is_said():
    one = tune.Space(lr=tune.log(1e-4, 1), n=tune.int(1, 3))
    two = tune.Space(n=tune.int(1, 4), m=tune.int(1, 2))
    told = {"lr is gone, log(0.0001, 1.0)", "n was int(1, 3) and is int(1, 4)", "m is new, int(1, 2)"}
    assert set(two.difference(one).split("; ")) == told
    assert one.difference(tune.Space(n=tune.int(1, 3), lr=tune.log(1e-4, 1))).startswith("the order was n, lr")
    assert one == tune.Space(lr=tune.log(1e-4, 1), n=tune.int(1, 3)) and not one.difference(one)


def test_numpys_numbers_are_options_and_conditions_that_a_file_gives_back():
    space = tune.Space(
        rate=tune.choice(*np.linspace(0, 1, 3)), rows=tune.choice(*np.arange(1, 4)),
        b=tune.int(0, 1).when(rows=np.int64(2)), c=tune.int(0, 1).when(rows=np.array([1, 3])),
    )  # fmt: skip
    kept = json.loads(json.dumps(space.as_json()))
    assert tune.Space.from_json(kept) == space
    for slot in range(20):
        drawn = space.draw(seed=0, slot=slot)
        back = json.loads(json.dumps(drawn))
        assert all(space[name].holds(value) and space[name].place(value) >= 0 for name, value in back.items())
        assert ("b" in drawn) == (drawn["rows"] == 2)


def test_spaces_whose_numbers_are_of_another_type_are_others():
    whole, real = tune.Space(p=tune.choice(0, 1)), tune.Space(p=tune.choice(0.0, 1.0))
    assert whole != real and whole.difference(real) == "p was choice(0.0, 1.0) and is choice(0, 1)"


def test_a_set_of_a_conditions_values_has_one_order():
    code = "from tensorgraph import tune; print(tune.int(0, 1).when(rule={'sgd', 'adam', 'momentum', 'rms'}))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2)
    }  # fmt: skip
    assert told == {"int(0, 1).when(rule=['adam', 'momentum', 'rms', 'sgd'])\n"}


def test_what_is_kept_of_an_average_comes_back_within_its_bounds():
    for low, high in ((0.1, 0.9), (0.3, 0.7), (0.0, 0.999)):
        scale = tune.ewa(low, high)
        ends = scale.distribution()
        assert all(low <= scale.value(stored) <= high for stored in (ends.low, ends.high))
