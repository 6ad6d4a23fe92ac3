"""``tensorgraph tune``: a study from a configuration, shown, drawn and zoomed."""

import subprocess
import sys

import pytest

pytest.importorskip("optuna")

from tensorgraph import tune
from tensorgraph.commands.cli import main
from tensorgraph.commands.tune import EXAMPLE

CONFIG = """
[study]
folder = "runs/search"
trials = 8
seed = 3
[space]
lr = { log = [1e-4, 1] }
rule = { choice = ["sgd", "momentum"] }
beta = { ewa = [0.9, 0.999], when = { rule = "momentum" } }
layers = { int = [1, 3] }
units = { log_int = [16, 256], each = "layers" }
batch = { pow2 = [16, 256] }
p = { uniform = [0, 0.5] }
"""
SCRIPT = "def objective(trial):\n    return abs(trial['lr'] - 0.01) + trial['p'] / 1000\n"
SCRIPT += "def alone(trial):\n    return trial['lr']\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "search.toml").write_text(CONFIG)
    (tmp_path / "tuned_here.py").write_text(SCRIPT)
    yield tmp_path
    sys.modules.pop("tuned_here", None)


def ask(*words):
    return main(["tune", *map(str, words)])


def test_a_mistake_leaves_no_study_behind(here, capsys):
    assert ask("run", "search.toml", "--objective", "tuned_here:objectiv") == 2
    assert "the module 'tuned_here' has no 'objectiv'" in capsys.readouterr().err
    (here / "search.toml").write_text(CONFIG + "[studdy]\n")
    assert ask("run", "search.toml", "--objective", "tuned_here:objective") == 2
    assert "the file has no key 'studdy'; did you mean 'study'?" in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_run_show_and_zoom(here, capsys):
    assert ask("run", "search.toml", "--objective", "tuned_here:objective") == 0
    table = capsys.readouterr().out
    study = tune.Study.open(here / "runs" / "search")
    assert table == study.table() + "\n" and len(study) == 8 and study.seed == 3
    assert str(study.space["beta"]) == "ewa(0.9, 0.999).when(rule='momentum')"
    assert str(study.space["units"]) == "log_int(16, 256).each('layers')"
    assert ask("run", "search.toml", "--objective", "tuned_here:objective", "--trials", 10) == 0
    assert capsys.readouterr().out.endswith("10 trials: 10 complete\n")
    assert ask("show", "runs/search", "--rows", 2) == 0
    assert "... and 8 more" in capsys.readouterr().out
    assert ask("zoom", "runs/search") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "runs/search/zoom" and told[1].startswith("lr ")
    assert ask("zoom", "runs/search", "--objective", "tuned_here:objective", "--trials", 3) == 0
    assert capsys.readouterr().out.endswith("3 trials: 3 complete\n")


def test_keys_may_stand_in_any_order(here, capsys):
    lines = CONFIG.splitlines()
    (here / "search.toml").write_text("\n".join([*lines[:6], *lines[:5:-1]]))
    assert ask("run", "search.toml", "--objective", "tuned_here:objective") == 0
    names = list(tune.Study.open(here / "runs" / "search").space)
    assert names == ["p", "batch", "layers", "units", "rule", "beta", "lr"]


def test_the_example_of_the_help_runs(here, capsys):
    example = EXAMPLE.partition("\n")[2].partition("the objective")[0].replace("workers = 2", "workers = 1")
    (here / "example.toml").write_text(example)
    assert ask("run", "example.toml", "--objective", "tuned_here:alone", "--trials", 2) == 0
    assert capsys.readouterr().out.endswith("2 trials: 2 complete\n")


def test_pictures_and_page(here):
    pytest.importorskip("matplotlib")
    ask("run", "search.toml", "--objective", "tuned_here:objective", "--report", "run.html")
    assert ask("show", "runs/search", "--plot", "study.svg", "--report", "study.html") == 0
    assert all((here / name).stat().st_size > 10_000 for name in ("run.html", "study.svg", "study.html"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("log = [1e-4, 1]", "logg = [1e-4, 1]", "search.toml, line 7: space.lr needs one of choice, ewa, int, log,"),
        ("log = [1e-4, 1]", "log = [1, 1e-4]", "search.toml, line 7: log: low must be at most high"),
        ("log = [1e-4, 1]", "log = [1]", "search.toml, line 7: log needs the argument 'high'"),
        ("log = [1e-4, 1]", "log = 1", "search.toml, line 7: space.lr.log must be a list"),
        ("trials = 8", "trails = 8", "search.toml, line 4: [study] has no key 'trails'; did you mean 'trials'?"),
        ("trials = 8", "trials = -1", "line 4: study.trials must be a positive integer, got -1"),
        ("seed = 3", 'sampler = "tpee"', "line 5: study.sampler is 'tpee'; did you mean 'tpe'?"),
        ('rule = "momentum"', 'rule = "adam"', "search.toml, line 9: Space: beta is there when rule is ['adam']"),
        ('rule = "momentum"', 'rul = "momentum"', "line 9: space.beta asks for 'rul'; did you mean 'rule'?"),
        (
            '["sgd", "momentum"] }',
            '["sgd", "momentum"], when = { beta = 1 } }',
            "rule asks for beta asks for rule: one",
        ),
        ("[space]", "[spaces]", "[space] is missing"),
    ],
)
def test_a_wrong_configuration_is_told_with_its_line(here, capsys, old, new, words):
    (here / "search.toml").write_text(CONFIG.replace(old, new))
    assert ask("run", "search.toml", "--objective", "tuned_here:objective") == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("tuned_here", "is MODULE:FUNCTION"),
        ("nowhere_at_all:f", "there is no module 'nowhere_at_all' here"),
        ("tuned_here:other", "has no 'other'"),
        ("broken_here:objective", "has no attribute 'nothing_of_the_kind'"),
    ],
)
def test_a_wrong_objective_is_told(here, capsys, named, words):
    (here / "broken_here.py").write_text("import math\nmath.nothing_of_the_kind\n")
    assert ask("run", "search.toml", "--objective", named) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--trials", "--workers"])
def test_zero_is_not_the_default(here, capsys, option):
    assert ask("run", "search.toml", "--objective", "tuned_here:objective", option, 0) == 2
    told = capsys.readouterr().err
    assert f"{option[2:]} must be a positive integer" in told and "got 0" in told


def test_where_trials_run(here, capsys, monkeypatch):
    named = []
    monkeypatch.setattr(tune.Study, "run", lambda study, objective, **options: named.append(options["engine"]) or study)
    command = ("run", "search.toml", "--objective", "tuned_here:objective")
    ask(*command)
    ask(*command, "--engine", "dask:tcp://10.0.0.1:8786")
    (here / "search.toml").write_text(CONFIG.replace("seed = 3", 'seed = 3\nengine = "loky"'))
    ask(*command)
    ask(*command, "--engine", "serial")
    assert named == [None, "dask:tcp://10.0.0.1:8786", "loky", "serial"]
    with pytest.raises(SystemExit) as stopped:
        ask(*command, "--engine", "laky")
    assert stopped.value.code == 2 and "did you mean 'loky'?" in capsys.readouterr().err
    (here / "search.toml").write_text(CONFIG.replace("seed = 3", 'seed = 3\nengine = "laky"'))
    assert ask(*command) == 2
    assert "search.toml, line 6: study.engine must be" in capsys.readouterr().err


def test_an_engine_runs_the_trials(here, capsys):
    command = ("run", "search.toml", "--objective", "tuned_here:objective", "--trials", 2)
    assert ask(*command, "--engine", "serial", "--workers", 2) == 2
    assert "engine 'serial' runs one trial at a time, got workers=2" in capsys.readouterr().err
    assert ask(*command, "--engine", "loky") == 0
    assert capsys.readouterr().out.endswith("2 trials: 2 complete\n")


def test_nothing_there_is_told(here, capsys):
    assert ask("show", "nothing") == 2
    assert "'nothing' holds no study" in capsys.readouterr().err


def test_help_teaches(here):
    done = subprocess.run(
        [sys.executable, "-m", "tensorgraph", "tune", "run", "--help"], capture_output=True, text=True
    )
    assert (
        done.returncode == 0 and "lr = { log = [1e-4, 1] }" in done.stdout and "--objective search:obj" in done.stdout
    )
    assert "130 interrupted by Ctrl-C" in done.stdout
