"""Pictures and pages of studies: every trial is in them, where its values say, and names stay text."""

import math
import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib")


from tensorgraph import tune
from tensorgraph.files import MissingExtraError
from tensorgraph.train.plots import new_figure
from tensorgraph.tune import plots
from tensorgraph.tune.report import page
from tensorgraph.tune.ticks import ticks

SPACE = tune.Space(
    lr=tune.log(1e-4, 1), rule=tune.choice("sgd", "adam"), beta=tune.ewa(0.9, 0.999).when(rule="adam"),
    layers=tune.int(1, 3), units=tune.log_int(16, 256).each("layers"), batch=tune.pow2(16, 256), p=tune.uniform(0, 0.5),
)  # fmt: skip


def objective(trial):
    if trial["lr"] > 0.4:
        return math.nan
    if trial.slot == 3:
        raise RuntimeError("<b>no</b> data")
    return abs(math.log10(trial["lr"]) + 2)


@pytest.fixture(scope="module")
def study():
    return tune.random(SPACE, objective, trials=30, progress=False)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (tune.log(1e-4, 1), ["1e-4", "0.001", "0.01", "0.1", "1"]),
        (tune.ewa(0.9, 0.999), ["0.9", "0.99", "0.999"]),
        (tune.pow2(16, 256), ["16", "32", "64", "128", "256"]),
        (tune.int(1, 4), ["1", "2", "3", "4"]),
        (tune.int(0, 100), ["0", "17", "34", "51", "68", "85"]),
        (tune.log_int(16, 256), ["16", "32", "64", "128", "256"]),
        (tune.choice("a", None), ["a", "None"]),
        (tune.uniform(0.5001, 0.5002), ["0.5001", "0.50012", "0.50015", "0.50018", "0.5002"]),
        (tune.uniform(0, 1), ["0", "0.25", "0.5", "0.75", "1"]),
        (tune.log(0.02, 0.05), ["0.02", "0.0271", "0.0368", "0.05"]),
    ],
)
def test_marks_say_values_and_stand_at_their_places(scale, words):
    marks = ticks(scale)
    assert [word for _, word in marks] == words
    low, high = scale.ends()
    assert all(low - 1e-9 <= place <= high + 1e-9 for place, _ in marks)


@pytest.mark.parametrize("name", list(SPACE))
def test_every_trial_is_against_the_score_where_its_value_says(study, name):
    axes = new_figure(4, 3).add_subplot()
    plots.against(axes, study, name)
    with_it = [r for r in study.trials if name in r.values and r.state in ("complete", "diverged")]
    count = sum(len(r.values[name]) if SPACE[name].count else 1 for r in with_it)
    points = np.concatenate([np.asarray(found.get_offsets()) for found in axes.collections])
    stars = 0 if name not in study.best.values else len(study.best.values[name]) if SPACE[name].count else 1
    assert len(points) == count + stars and np.isfinite(points).all()
    low, high = axes.get_xlim()
    assert ((points[:, 0] >= low) & (points[:, 0] <= high)).all()
    low, high = axes.get_ylim()
    assert ((points[:, 1] >= low) & (points[:, 1] <= high)).all()


def test_what_diverged_stands_beyond_every_score_either_way(study):
    for direction in ("minimize", "maximize"):
        one = tune.random(SPACE, objective, trials=30, direction=direction, progress=False)
        scores = plots.Scores(one)
        places = [scores.place(result) for result in scores.good]
        assert scores.bad and (
            scores.diverged > max(places) if direction == "minimize" else scores.diverged < min(places)
        )
        assert scores.marks[-1] == (scores.diverged, "diverged")


def test_scores_over_much_are_logarithmic():
    space = tune.Space(lr=tune.log(1e-4, 1))
    assert plots.Scores(tune.random(space, lambda t: t["lr"], trials=20, progress=False)).log
    assert not plots.Scores(tune.random(space, lambda t: t["lr"] + 1, trials=20, progress=False)).log


def test_best_so_far_falls_and_ends_at_the_best(study):
    axes = new_figure(4, 3).add_subplot()
    plots.best_so_far(axes, study)
    (line,) = axes.lines
    heights = line.get_ydata()
    assert (np.diff(heights) <= 0).all() and heights[-1] == plots.Scores(study).place(study.best)


def test_every_trial_with_a_score_or_divergence_is_a_line(study):
    axes = new_figure(8, 3).add_subplot()
    plots.parallel(axes, study)
    lines = [line for line in axes.lines if len(line.get_xdata()) == 7]  # six axes of single values, and the score
    assert len(lines) == len([r for r in study.trials if r.state in ("complete", "diverged")])
    assert all(np.isfinite(line.get_ydata()).all() for line in lines)


@pytest.mark.parametrize("trials", [1, 2, 30])
def test_studies_of_every_size_are_drawn(tmp_path, trials):
    study = tune.random(tune.Space(lr=tune.log(1e-4, 0.1)), lambda t: 1.0, trials=trials, progress=False)
    study.plot(tmp_path / "study.svg")
    ElementTree.parse(tmp_path / "study.svg")
    study.report(tmp_path / "study.html")
    wrong = tune.random(SPACE, lambda t: math.nan, trials=trials, progress=False)
    with pytest.raises(ValueError, match="nothing to draw"):
        wrong.plot()
    assert "diverged: the objective gave nan" in page(wrong)


def test_equal_studies_have_equal_pictures_and_pages(tmp_path):
    times = re.compile(r'<td data-value="[0-9.e-]+">[0-9.e-]+</td><td class="words">')
    space = tune.Space(lr=tune.log(1e-4, 1), rule=tune.choice("sgd", "adam"))
    pages = []
    for name in ("a", "b"):
        study = tune.random(space, objective, trials=9, progress=False)
        study.plot(tmp_path / f"{name}.svg")
        pages.append(times.sub("", page(study)))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert pages[0] == pages[1]


def test_random_against_grid(tmp_path):
    space = tune.Space(alpha=tune.log(1e-4, 1), epsilon=tune.log(1e-9, 1e-7))
    objective = lambda trial: trial["alpha"]
    grid = tune.grid(space, objective, progress=False)
    tried = tune.random(space, objective, trials=25, progress=False)
    figure = tune.plot_coverage(grid, tried, path=tmp_path / "coverage.png")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["grid: 5 values of alpha", "random: 25 values of alpha"]
    assert (tmp_path / "coverage.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="two hyperparameters that every trial has"):
        tune.plot_coverage(tried, names=["alpha", "beta"])


# the page ------------------------------------------------------------------------------------------------------------

HOSTILE = tune.Space({"<script>x": tune.choice("$a_b$", "</svg><img src=x>"), "$l_r$": tune.log(1e-4, 1)})


def test_names_and_reasons_stay_text(study):
    text = page(study)
    assert "&lt;b&gt;no&lt;/b&gt; data" in text and "<b>no</b>" not in text
    hostile = page(tune.random(HOSTILE, lambda t: t["$l_r$"], trials=10, progress=False))
    assert "<script>x" not in hostile and "<img" not in hostile
    assert "&lt;script&gt;x" in hostile and "$l_r$" in hostile
    assert not re.search(r'(src|href)="(?!#|data:,)', hostile)
    assert ' style="' not in hostile  # the policy would not let it count


def test_the_page_in_a_browser(browser, tmp_path, study):
    path = tmp_path / "study.html"
    study.report(path)
    for dark in (False, True):
        browser.window(1200, 900, dark)
        browser.open(path)
        ink = browser.run("getComputedStyle(document.querySelector('svg text')).fill")
        assert (sum(map(int, re.findall(r"\d+", ink))) > 380) is dark  # light words on a dark page
    column = "[...document.querySelectorAll('tbody:has(.best) tr')].map(r => r.children[2].textContent)"
    before = [float(value) for value in browser.run(column)]
    for turned in (False, True):
        browser.run("document.querySelectorAll('thead button')[2].click()")
        assert [float(value) for value in browser.run(column)] == sorted(before, reverse=turned) != before
    assert len(before) == 30
    browser.settle()
    assert browser.complaints() == [] and browser.requests()[-1] == path.as_uri()


def test_without_matplotlib_the_remedy_is_told(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (study.plot, study.report):
        with pytest.raises(MissingExtraError, match=r"pictures need matplotlib: .*tensorgraph-engine\[plot\]"):
            draw(tmp_path / "study.html")
