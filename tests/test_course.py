"""The course's claims, each measured by its example at a small size; and the page that teaches them."""

import importlib.util
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "course.md").read_text("utf-8")
EXAMPLES = ROOT / "examples"

compiled = pytest.mark.skipif(not jit.compiled(), reason="it takes long without compiled kernels")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example at a size: what it printed, and its names. It must have drawn its picture."""

    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")

    def go(name, size):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, str(size)])
        path = EXAMPLES / "course" / f"{name}.py"
        before = tg.default_dtype()
        try:
            names = runpy.run_path(str(path), run_name="__main__")
        finally:
            tg.set_default_dtype(before)
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        told = capsys.readouterr().out
        assert told and "nan" not in told
        return told, names

    return go


# the page ------------------------------------------------------------------------------------------------------------


def sections():
    """The topics of the page: title and text."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.M)
    return list(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("title", "text"), sections(), ids=[title for title, _ in sections()])
def test_every_topic_has_an_example_a_picture_and_a_test(title, text):
    commands = re.findall(r"^\$ python (examples/\S+\.py)\n(.*?)^```$", text, re.S | re.M)
    assert commands, "an example"
    for command, told in commands:
        assert (ROOT / command).is_file()
        assert len(told) > 20, "what it prints: run `make course`"
        picture = f"pictures/course/{Path(command).stem}.png"
        assert f"]({picture})" in text
        assert 1000 < (ROOT / "docs" / picture).stat().st_size < 60_000
    named = re.findall(r"`(test_\w+)`", text)
    assert named, "a test"
    for name in named:
        assert callable(globals()[name])


def test_the_table_of_topics_is_that_of_the_sections():
    rows = re.findall(
        r"^\| \[(.+)\]\(#(.+)\) \| `python (examples/course/(\w+)\.py) (\d+)` \| `(test_\w+)` \|$", PAGE, re.M
    )
    assert [title for title, *_ in rows] == [title for title, _ in sections()]
    here = Path(__file__).read_text("utf-8")
    for (title, anchor, command, example, size, test), (_, text) in zip(rows, sections(), strict=True):
        assert anchor == re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        assert f"$ python {command}\n" in text and f"`{test}`" in text
        assert f'run("{example}", {size})' in here.split(f"def {test}(")[1].split("\ndef ")[0]


def test_every_example_of_the_course_is_on_the_page():
    shown = set(re.findall(r"^\$ python examples/course/(\w+)\.py$", PAGE, re.M))
    assert shown == {path.stem for path in (EXAMPLES / "course").glob("*.py")}
    pictures = {path.stem for path in (ROOT / "docs" / "pictures" / "course").iterdir()}
    assert pictures == set(re.findall(r"pictures/course/(\w+)\.png", PAGE))


def test_every_example_says_what_its_size_is():
    for path in (EXAMPLES / "course").glob("*.py"):
        told = path.read_text("utf-8")
        assert re.search(rf"^python examples/course/{path.name} \[(\w+)\]        # .+ unless told$", told, re.M), path


def test_the_page_is_written_by_its_examples(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    spec = importlib.util.spec_from_file_location("course", ROOT / "docs" / "course.py")
    course = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(course)
    assert course.examples() and all((EXAMPLES / f"{name}.py").is_file() for name in course.examples())
    page, pictures = tmp_path / "course.md", tmp_path / "pictures"
    (tmp_path / "examples" / "course").mkdir(parents=True)
    script = 'from PIL import Image; Image.new("RGB", (3000, 600), "red").save("one.png"); print("a 1  \\nb")'
    (tmp_path / "examples" / "course" / "one.py").write_text(script, "utf-8")
    (tmp_path / "examples" / "two.py").write_text("1 / 0", "utf-8")
    other = "```text\n$ python examples/two.py\nas it was\n```\n"
    page.write_text(f"before\n```text\n$ python examples/course/one.py\nold\n```\nbetween\n{other}", "utf-8")
    for name, value in (("ROOT", tmp_path), ("PAGE", page), ("PICTURES", pictures)):
        monkeypatch.setattr(course, name, value)
    monkeypatch.setattr(sys, "argv", ["course.py", "course/one"])
    assert course.main() == 0
    told = "before\n```text\n$ python examples/course/one.py\na 1\nb\n```\nbetween\n"
    assert page.read_text("utf-8") == told + other
    with image.open(pictures / "one.png") as kept:
        assert kept.size == (course.WIDTH, round(600 * course.WIDTH / 3000))
    monkeypatch.setattr(sys, "argv", ["course.py", "two"])
    with pytest.raises(SystemExit, match=r"(?s)examples/two\.py failed:.*ZeroDivisionError"):
        course.main()
    monkeypatch.setattr(sys, "argv", ["course.py", "three"])
    with pytest.raises(SystemExit, match=r"no block of three; it has course/one, two"):
        course.main()
    assert page.read_text("utf-8") == told + other


# its claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@compiled
def test_the_learning_rate_matters_most(run):
    _, names = run("hyperparameters", 1)
    matters = names["matters"]
    assert set(matters) == set(names["SAID"]) and np.isfinite(list(matters.values())).all()
    assert max(matters, key=matters.get) == "rate"
    assert min(matters, key=matters.get) in ("eps", "beta2")


@pytest.mark.slow
@compiled
def test_random_values_are_distinct_where_a_grid_repeats(run):
    _, names = run("random_not_grid", 9)
    assert names["distinct"] == {"grid": 3, "random": 9}
    values = {(result.values["rate"], result.values["eps"]) for result in names["grid"].trials}
    assert len(values) == 9
    assert len({study.best.values["rate"] for study in names["searches"]}) == names["SEEDS"]
    rates, by_eps = names["rates"], names["by_eps"]
    best = names["grid"].best.values["rate"]
    assert by_eps[best] < 0.05 * np.ptp(rates[:, 1])  # eps hardly matters, the rate does


@pytest.mark.slow
@compiled
def test_zooming_searches_where_the_best_were(run):
    _, names = run("coarse_to_fine", 1)
    space, finer, first = names["space"], names["finer"], names["first"]
    scores = [np.inf if result.score is None else result.score for result in first]
    best = [first[i].values["rate"] for i in np.argsort(scores)[:5]]
    assert space["rate"].low <= finer.space["rate"].low <= min(best)
    assert max(best) <= finer.space["rate"].high <= space["rate"].high
    narrow = np.log(finer.space["rate"].high / finer.space["rate"].low)
    assert narrow < 0.7 * np.log(space["rate"].high / space["rate"].low)
    # what is drawn there is good as a rule: that is the point of it
    later = [np.inf if result.score is None else result.score for result in finer.trials]
    assert np.median(later) < 0.7 * np.median(scores)
    assert len(first) == len(later) == names["TRIALS"] and min(names["zoomed"][0]) <= min(scores)


@compiled
def test_the_right_scale_spreads_the_trials(run):
    _, names = run("right_scale", 12)
    drawn = names["drawn"]
    log, even = drawn["rate"], drawn["rate_even"]
    assert (np.histogram(np.log10(log), bins=(-4, -3, -2, -1, 0))[0] > 200).all()
    assert (even > 0.1).mean() > 0.87
    ewa, plain = drawn["beta"], drawn["beta_even"]
    assert 0.45 < (ewa > 0.99).mean() < 0.55 and (plain > 0.99).mean() < 0.13
    assert set(drawn["layers"]) == {2, 3, 4} and drawn["units"].min() >= 50
    assert names["best"]["log"] < names["best"]["uniform"]


@compiled
def test_a_watched_model_is_taken_back_and_played_again(run):
    _, names = run("panda", 16)
    diary, history = names["diary"], names["history"]
    assert len(diary) == 16 and names["same"]
    assert diary[1]["rate"] == pytest.approx(1.5 * diary[0]["rate"])
    assert names["backs"], "it went on faster until a day was worse"
    for day in names["backs"]:
        if day < 16:  # the next day is slower than the bad one
            assert diary[day]["rate"] == pytest.approx(0.5 * diary[day - 1]["rate"])
    assert names["best"] < 0.5 * min(history["loss"])
    events = [event["event"] for event in names["run"].events()]
    assert events.count("rollback") == sum(day < 16 for day in names["backs"])


@compiled
def test_many_models_at_once_are_each_as_alone(run):
    _, names = run("caviar", 4)
    many, settings = names["many"], names["settings"]
    assert len(many) == 4 and len({setting["lr"] for setting in settings}) == 4
    assert 0 <= names["apart"] < 1e-4 and names["learned"] >= 2
    finals = [history["dev_loss"][-1] for history in many.histories]
    assert names["k"] == int(np.argmin(finals)) and names["loss"] == min(finals) < 0.5


def test_normalising_makes_the_cost_round(run):
    told, names = run("normalising_inputs", 300)
    ratios = {name: found[0] for name, found in names["found"].items()}
    steps = {name: found[1] for name, found in names["found"].items()}
    assert 1 <= ratios["(x - mu) / sigma"] < 3 and steps["(x - mu) / sigma"] < 10
    assert steps["as they are"] == steps["x - mu"] == steps["(x - mu) / sigma²"] == np.inf
    # the slide's slip leaves the valley as long as centring alone: only turned
    assert ratios["(x - mu) / sigma²"] == pytest.approx(ratios["x - mu"], rel=0.1)
    assert ratios["as they are"] > 5 * ratios["x - mu"] > 1e6
    error, of_the_mean = map(float, re.search(r"sigma: ([0-9.]+); of the mean alone ([0-9.]+)", told).groups())
    assert error < 0.7 * of_the_mean


@pytest.mark.slow
@compiled
def test_batch_norm_learns_where_it_would_not_without(run):
    _, names = run("batch_norm", 1)
    last, rates = names["last"], names["RATES"]
    sigmoid, relu = "4 of sigmoids", "8 of ReLU"
    assert (last[sigmoid, False] > 1.5).all()  # log 10 is 2.3
    assert last[sigmoid, True][rates.index(1.0)] < 0.3
    high = rates.index(1.0)
    assert last[relu, True][high] < 0.3 < 1.0 < last[relu, False][high]
    assert min(last[relu, False]) < 0.4  # it does learn without, at a rate that suits it
    good = {normed: (last[relu, normed] < 0.3).sum() for normed in (False, True)}
    assert good[True] > good[False]


@pytest.mark.slow
@compiled
def test_batch_norm_helps_every_optimizer(run):
    _, names = run("batch_norm_optimizers", 1)
    best = names["best"]
    for name in ("gradient descent", "momentum", "RMSprop", "Adam"):
        (_, without), (_, normed) = best[name, False], best[name, True]
        assert normed[-1] < 0.4 and normed[-1] < 0.8 * without[-1], name


@compiled
def test_the_bias_before_batch_norm_does_nothing(run):
    told, names = run("batch_norm_bias", 2)
    losses, others, sizes, moved = names["found"]["SGD"]
    assert np.isfinite(losses).all() and losses[-1] < 0.5 * losses[0]
    np.testing.assert_allclose(losses, others, rtol=1e-9)
    assert sizes[:, 1].max() < 1e-12 * sizes[:, 0].max() and moved < 1e-12
    losses, others, _, _ = names["found"]["Adam"]
    np.testing.assert_allclose(losses, others, rtol=1e-6)
    assert "lint finds TG002" in told


@compiled
def test_gamma_and_beta_undo_batch_norm_for_one_batch(run):
    _, names = run("batch_norm_undone", 2)
    size = abs(names["plain"](names["x"])).max().item()
    assert names["same"] < 1e-5 * size and names["at_test"] < 1e-5 * size
    assert max(names["small"]) > 0.05 * size


@compiled
def test_the_moments_of_shifted_inputs_undo_the_shift(run):
    _, names = run("shifting_inputs", 1)
    found = {name: np.mean(shares, 0) for name, shares in names["found"].items()}
    without, averages, own = found.values()
    assert without[0] > 0.9 and averages[0] > 0.9
    assert without[-1] < 0.6 and averages[-1] < 0.6
    assert (own > 0.9).all() and np.ptp(own) < 0.02


@pytest.mark.slow
@compiled
def test_batch_norm_holds_the_distribution_but_not_the_gradient(run):
    _, names = run("batch_norm_shift", 1)
    told = names["told"]  # loss, moves, grows, shift
    assert told["batch norm"][1] < 0.7 * told["without"][1]  # it stays nearer to where it was
    assert abs(np.log(told["batch norm"][2])) < 0.5 * abs(np.log(told["without"][2]))
    assert told["disturbed"][1] > 1.5 * told["batch norm"][1]
    assert told["disturbed"][0] < 1.0  # and yet it learns: log 10 is 2.3
    # what the slide would have smaller is not: Santurkar et al. (2018)
    assert told["batch norm"][3] > told["without"][3]


@compiled
def test_the_noise_of_batch_norm_falls_with_the_mini_batch(run):
    told, names = run("batch_norm_noise", 1)
    noise, expected = names["noise"], names["expected"]
    assert (np.diff(list(noise.values())) < 0).all()
    for size in (32, 64, 128, 256, 512, 1024):
        assert noise[size] == pytest.approx(expected[size], rel=0.2)
    losses = np.array(list(names["found"].values()))
    assert losses.shape == (4, 1, 2) and (losses[..., 0] < losses[..., 1]).all()  # they fit the training set
    assert "after 200 updates" in told


@compiled
def test_averages_at_test_time_need_no_company(run):
    _, names = run("batch_norm_test_time", 2)
    assert names["by_averages"] > 0.85
    assert names["off"].max() < 0.5 and 0.5 < names["ratio"].min() <= names["ratio"].max() < 2
    right, by_class, changes = names["right"], names["sorted_right"], names["changes"]
    assert right[3] < names["by_averages"] - 0.1 and right[540] > 0.85
    assert by_class[9] < 0.5 and changes[3] > 0.3 and changes[540] == 0
    assert right[9] < right[60]


@compiled
def test_softmax_and_its_gradient(run):
    told, names = run("softmax", 25)
    assert "softmax [0.842 0.042 0.002 0.114]  hard max [1. 0. 0. 0.]" in told
    assert names["apart"] < 1e-5
    assert names["losses"][0] == pytest.approx(np.log(10), rel=1e-6) and names["losses"][-1] < 0.5
    # each digit's loss is that of its own class's share, and ŷ - y sums to nothing
    np.testing.assert_allclose(names["each"], -np.log(names["given"]), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(names["slope"].sum(1), 0, atol=1e-5)
    np.testing.assert_allclose(abs(names["slope"]).sum(1) / 2, 1 - names["given"], atol=1e-5)


@compiled
def test_boundaries_are_straight_without_a_hidden_layer(run):
    _, names = run("softmax_boundaries", 60)
    found = names["found"]
    assert set(found) == {(classes, hidden) for classes in (3, 4, 5, 6) for hidden in (0, 16)}
    for (classes, hidden), (right, bent) in found.items():
        assert right > 1.5 / classes
        assert (bent > 0.05) if hidden else (bent < 1e-5)


def test_softmax_of_two_is_logistic_regression(run):
    _, names = run("logistic", 30)
    np.testing.assert_allclose(names["softmax_losses"], names["logistic_losses"], rtol=1e-5)
    assert names["logistic_losses"][-1] < 0.2 < np.log(2) - 0.01 < names["logistic_losses"][0]
    assert names["difference"] < 1e-5
    np.testing.assert_allclose(names["of_softmax"], names["of_logistic"], atol=1e-5)


@pytest.mark.slow
@compiled
def test_decay_comes_closer_to_the_minimum(run):
    _, names = run("learning_rate_decay", 1)
    settled = names["settled"]
    assert min(settled.values()) > 0  # none is below the least there is
    for name, value in settled.items():
        if name != "constant":
            assert value < settled["constant"] / 5, name


@pytest.mark.slow
@compiled
def test_small_mini_batches_are_noisy_and_all_at_once_is_not(run):
    _, names = run("mini_batch_size", 2)
    found, rises = names["found"], names["rises"]
    everything = names["SIZES"][-1]
    assert rises[1] > 0.4 and rises[8] > 0.3 and rises[256] < 0.3 and rises[everything] == 0
    last = {size: costs[-1] for size, (_, _, costs, _) in found.items()}
    assert max(last[8], last[64]) < 0.5 * last[everything]  # by epochs, the more steps the further


def test_the_framework_finds_five(run):
    told, names = run("framework", 20)
    assert names["w"].item() == pytest.approx(5.0, abs=1e-4)
    assert names["apart"] < 1e-5
    assert "def cost(x: f32[3], *, w: Parameter[f32] = constant(value=" in told and "licence: Apache-2.0" in told
    assert all(np.isfinite(each).all() for each in names["seconds"].values())
