"""The benchmarks run and compute what they say: every tensorgraph side against the one written by hand in NumPy."""

import importlib
import importlib.util
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tensorgraph as tg

HERE = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _package() -> None:
    """Make the folder importable, which no wheel holds."""
    if "benchmarks" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "benchmarks", HERE / "__init__.py", submodule_search_locations=[str(HERE)]
        )
        assert spec is not None and spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules["benchmarks"] = package
        spec.loader.exec_module(package)


def part(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


TINY = [
    ("graph", {"of": "value"}),
    ("graph", {"of": "recorded value"}),
    ("graph", {"of": "gradient"}),
    ("chain", {"length": 3, "gradient": False}),
    ("chain", {"length": 3, "gradient": True}),
    ("mix", {"gradient": False}),
    ("mix", {"gradient": True}),
    ("rowwise", {"op": "softmax_cross_entropy", "rows": 5, "classes": 4}),
    ("rowwise", {"op": "softmax", "rows": 5, "classes": 4}),
    ("rowwise", {"op": "log_softmax", "rows": 5, "classes": 4}),
    ("power", {"exponent": 3}),
    ("power", {"exponent": -1}),
    ("taking", {"count": 30, "columns": 4, "rows": 100}),
    ("batch_norm", {"rows": 6, "features": 3, "relu": False}),
    ("batch_norm", {"rows": 6, "features": 3, "relu": True}),
    ("per_example", {"size": "tiny"}),
    ("jacobian", {"size": "tiny"}),
    ("ensemble", {"size": "tiny"}),
    ("step", {"size": "tiny"}),
    ("net", {"name": "tiny"}),
    ("predict", {"name": "tiny", "count": 1}),
    ("step", {"size": "S"}),
]


@pytest.mark.parametrize(("problem", "parameters"), TINY, ids=lambda value: str(value))
def test_sides_agree(problem: str, parameters: dict[str, object]) -> None:
    problems = part("problems")
    ours = part("side_tensorgraph").PROBLEMS[problem](**parameters)
    # a graph is compared with the calls that it is of, an ensemble with one network after another
    by_hand = part("side_eager" if problem in ("graph", "ensemble", "net", "predict") else "side_numpy").PROBLEMS[
        problem
    ](**parameters)
    left, right = ours.check(), by_hand.check()
    assert left, "nothing is compared"
    assert problems.agree(left, right), (left, right)
    ours.run()
    by_hand.run()


def test_every_case_runs_on_both_sides_with_small_shapes() -> None:
    cases = part("cases").every_case()
    covered = {(problem, json.dumps(sorted(p))) for problem, p in TINY}
    covered |= {("operand", '["kind"]'), ("op", '["name"]')}
    assert {(c.problem, json.dumps(sorted(c.parameters))) for c in cases} == covered
    assert {c.group for c in cases} == set(part("cases").GROUPS)
    assert len({(c.group, c.label) for c in cases}) == len(cases)


def test_every_kind_of_operand_runs() -> None:
    for kind in part("problems").OPERANDS:
        for side in ("side_tensorgraph", "side_short"):
            prepared = part(side).PROBLEMS["operand"](kind)
            assert prepared.check() == {}
            made = prepared.run()
            assert all(isinstance(t, tg.Tensor) for t in (made if isinstance(made, tuple) else (made,))), kind


@pytest.mark.parametrize(
    "name", ["layer_norm 64x512", "gather along rows 1024x256", "sort 1000x200", "x[mask] 1000x1000"]
)
def test_ops_are_differentiated(name: str) -> None:
    prepared = part("side_tensorgraph").PROBLEMS["op"](name)
    told = prepared.check()
    assert {"y", "d0"} <= told.keys()
    prepared.run()


def test_ops_have_a_function_on_both_sides() -> None:
    ops, torch_side = part("ops"), (HERE / "side_torch.py").read_text("utf-8")
    functions = dict.fromkeys(part("side_tensorgraph").OP_FUNCTIONS)
    for name in ops.OPS:
        key = max((key for key in functions if name.startswith(key)), key=len)
        assert f'    "{key}": ' in torch_side


def test_the_tenth_loss_is_the_known_one() -> None:
    problems = part("problems")
    loss = part("side_tensorgraph").step("S").check()["tenth loss"]
    assert math.isfinite(loss)
    assert abs(loss - problems.TENTH_LOSS["S"]) <= 2e-5 * problems.TENTH_LOSS["S"]


def test_agree_sees_a_wrong_result() -> None:
    problems = part("problems")
    x = np.random.default_rng(0).standard_normal(100)
    right = {"loss": 1.0, "dx": problems.digest(x)}
    assert problems.agree(right, {"loss": 1.00001, "dx": problems.digest(x * (1 + 1e-6))})
    assert not problems.agree(right, {"loss": 1.001, "dx": problems.digest(x)})
    assert not problems.agree(right, {"loss": 1.0, "dx": problems.digest(x[::-1])})
    assert not problems.agree(right, {"loss": 1.0})
    with pytest.raises(FloatingPointError, match="not finite"):
        problems.digest(np.array([1.0, np.nan]))


def test_a_worker_answers_and_a_disagreement_is_reported() -> None:
    processes, cases = part("processes"), part("cases")
    worker = processes.Worker("numpy", sys.executable)
    try:
        assert worker.ask("describe")["numpy"] == np.__version__
        case = cases.Case("step", "tiny", "step", {"size": "tiny"}, known={"tenth loss": 0.0})
        outcome = processes.run_case(case, {"numpy": worker}, rounds=1, seconds=0.001)
        assert all(t > 0 for t in outcome["times"]["numpy"])
        assert outcome["times"].keys() == {"numpy"} and not outcome["ratios"]
        assert len(outcome["wrong"]) == 1 and "expected 0.0" in outcome["wrong"][0]
        with pytest.raises(processes.WorkerError, match="no such request"):
            worker.ask("dance")
        with pytest.raises(processes.WorkerError, match="KeyError"):
            worker.ask("prepare", problem="step", parameters={"size": "huge"}, warm=0)
    finally:
        worker.close()
    assert worker.process.poll() is not None


def test_a_library_that_is_missing_says_so() -> None:
    processes = part("processes")
    with pytest.raises(processes.WorkerError, match="cannot import"):
        processes.Worker("nothing", sys.executable)


def test_settings_of_the_shell_do_not_reach_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("UNRELATED", "kept")
    found = part("processes").clean_environment({"BENCHMARK_THREADS": "1"})
    assert "OMP_NUM_THREADS" not in found and "PYTHONPATH" not in found
    assert found["UNRELATED"] == "kept" and found["BENCHMARK_THREADS"] == "1"


def test_measure_samples_at_least_thrice() -> None:
    calls = []
    samples = part("worker").measure(lambda: calls.append(1), 0.0)
    assert len(samples) == 3 and all(s > 0 for s in samples)
    assert len(calls) > 3  # quick work is repeated within a sample


def test_serve_reports_what_a_side_does_not_have() -> None:
    replies = io.StringIO()
    side = ModuleType("side")
    side.PROBLEMS = {}  # type: ignore[attr-defined]
    request = {"do": "prepare", "problem": "step", "parameters": {}, "warm": 0}
    part("worker").serve(side, [json.dumps(request)], replies)
    assert json.loads(replies.getvalue()) == {"absent": True}


def test_report_without_peers(tmp_path: Path) -> None:
    report = part("report")
    outcome = {"times": {"tensorgraph": [1e-4, 2e-4, 3e-4]}, "ratios": {}, "checks": {}}
    results = {
        "machine": {"processor": "p", "processors": 2, "system": "s", "python": "3", "load": 1.5},
        "libraries": {"tensorgraph": {"version": "0"}},
        "cases": [{"group": "eager", "label": "forward", "targets": {"torch": 0.6}, **report.summarise(outcome)}],
        "imports": {"tensorgraph": {"numpy": 0.1, "after_numpy": 0.05, "low": 0.04, "high": 0.06}},
        "first_calls": {"empty cache": {"softmax": 1.5}, "filled cache": {"softmax": 0.02}},
        "notes": ["n/a: no environment with the peers"],
        "wrong": [],
    }
    text = report.table(results)
    assert "200 us" in text and "<= 0.6: n/a" in text and "<= 0.1: yes" in text and "no environment" in text
    assert "busy (load 1.5)" in text
    report.write(results, tmp_path / "new" / "b.json")
    assert json.loads((tmp_path / "new" / "b.json").read_text())["cases"][0]["times"] == {"tensorgraph": 2e-4}


def test_ratios_are_drawn(tmp_path: Path) -> None:
    plot, cases = part("plot"), part("cases").every_case()
    ratio = {"ratio": 0.5, "low": 0.4, "high": 0.8}
    measured = [{"group": c.group, "label": c.label, "ratios": {"torch": ratio}} for c in cases if c.group == "fused"]
    measured.append({"group": "mix", "label": "forward", "ratios": {}})
    path = tmp_path / "ratios.svg"
    assert plot.draw({"cases": measured}, path)
    text = path.read_text("utf-8")
    assert "<svg" in text and "softmax 64x50000" in text and "torch" in text
    assert not plot.draw({"cases": measured[-1:]}, path) and not plot.draw({"cases": measured}, path, ("mix",))


def test_verdict() -> None:
    verdict = part("report").verdict
    assert verdict({"torch": 0.6}, {"torch": {"ratio": 0.59}}) == "<= 0.6: yes"
    assert verdict({"torch": 1.0, "jax": 1.0}, {"torch": {"ratio": 1.2}}) == "<= 1: NO (torch) (jax n/a)"
    assert verdict({}, {}) == ""


def test_the_command_line_runs_without_peers(tmp_path: Path) -> None:
    output = tmp_path / "b.json"
    arguments = ["--only", "eager", "--rounds", "1", "--seconds", "0.001", "--output", str(output)]
    missing = str(tmp_path / "no-python")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--peers-python", missing],
        cwd=HERE.parent,
        # which would keep the folder it starts in off the path
        env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "forward+backward" in done.stdout and "--setup-peers" in done.stdout
    found = json.loads(output.read_text())
    assert {c["label"] for c in found["cases"]} == {"forward", "forward+backward"} and not found["wrong"]
    assert "<svg" in output.with_suffix(".svg").read_text("utf-8")  # beside our own code, eager and short


def test_what_a_trial_costs_is_the_time_between_two_trainings_of_one_worker():
    from benchmarks import tuning

    one = [(0.0, 1.0), (1.25, 2.0), (2.5, 3.0)]
    assert tuning.gaps(one) == [0.25, 0.5]
    two = [(0.0, 2.0), (0.5, 1.0), (1.25, 3.0), (2.5, 4.0)]  # 1.0 to 1.25 in one, 2.0 to 2.5 in the other
    assert tuning.gaps(two) == [0.25, 0.5]
    absent = {"absent": "ray is not installed"}
    told = {"over": 0.004, "mean": 0.005, "training": 0.25, "start": 0.5, "wall": 11.0}
    assert "n/a: ray is not installed" in tuning.table({"serial": told, "Ray Tune": absent})
    assert "4.0 ms" in tuning.table({"serial": told})


def test_which_ops_are_machine_code_is_told_with_reasons():
    from benchmarks import kernels

    results = kernels.measure(["tanh", "solve_factored"], lambda name: None)
    assert all(not call.forward and not call.backward for call in results["tanh"])
    assert any("one of LAPACK's routines" in why for why in results["solve_factored"][0].forward)
    text = kernels.table(results)
    assert "solve_factored: 0 of 2 calls, 2 of their gradients" in text
    assert "\ntanh" not in text


def test_every_example_is_timed_at_the_size_that_its_test_gives_it():
    sizes = part("examples").every_example()
    folder = HERE.parent / "examples"
    assert {HERE.parent / name for name in sizes} == {
        path for path in folder.rglob("*.py") if not path.name.endswith(".tg.py")
    }
    assert sizes["examples/vae.py"] == "10" and sizes["examples/course/caviar.py"] == "4"
    for name, size in sizes.items():
        takes = "sys.argv[1]" in (HERE.parent / name).read_text("utf-8")
        assert (size or "").isdecimal() == takes, f"{name}: the size {size!r} was read from its test"


def test_examples_are_timed_and_those_that_fail_or_take_long_are_told(tmp_path, monkeypatch):
    examples = part("examples")
    (tmp_path / "tests").mkdir()
    (tmp_path / "examples" / "course").mkdir(parents=True)
    (tmp_path / "tests" / "test_examples.py").write_text('run("one.py", tmp_path, size=3)\nrun("bad.py", tmp_path)')
    (tmp_path / "tests" / "test_course.py").write_text('run("two", 4)')
    head = "import sys\nsteps = int(sys.argv[1]) if len(sys.argv) > 1 else 100\n"
    (tmp_path / "examples" / "one.py").write_text(head + "assert steps in (3, 100)")
    (tmp_path / "examples" / "bad.py").write_text("raise SystemExit('it has failed')")
    (tmp_path / "examples" / "course" / "two.py").write_text(head)
    monkeypatch.setattr(examples, "ROOT", tmp_path)
    names = []
    times = examples.measure(sys.executable, names.append, ["one", "bad"])
    assert names == ["examples/bad.py", "examples/one.py"]
    assert times["examples/one.py"]["size"] == "3" and min(times["examples/one.py"]["full"]) > 0
    assert examples.late("examples/bad.py", times["examples/bad.py"])[0].endswith("ended with 1: it has failed")
    busy = {"size": "3", "first": (9.0, 9.0), "small": (2.0, 9.0), "full": (60.0, 25.0)}
    assert examples.late("examples/one.py", busy) == ["full > 20 s"]
    assert examples.late("examples/course/two.py", busy) == []
    assert examples.late("examples/course/two.py", {**busy, "small": (3.5, 3.1)}) == ["small > 3 s"]
    assert examples.late("examples/one.py", {"size": None, "first": (9.0, 9.0), "small": (9.0, 9.0)}) == []
    told = examples.table({**times, "examples/course/two.py": busy})
    assert "60.0, 25.0" in told and "it has failed" in told


def test_floors_stand_beside_times_and_memory() -> None:
    floors = part("floors")
    if not floors.machine.available():
        pytest.skip("there is no machine code")
    assert floors.peak("float32", 1) > floors.peak("float64", 1) > 0
    measured = floors.measure(None, ["S:"], lambda line: None)
    (step,) = measured["steps"].values()
    assert step["flops"] > 2 * 64 * (2 * 64 * 32 + 3 * 32 * 10) and 0 < step["floor"] < step["time"]
    assert step["bytes"] >= 4 * (3 * (64 * 32 + 32 * 10) + 64 * 64)  # weights, averages and the batch
    assert "S: 64 of 64-32-10" in floors.table(measured) and "n/a" in floors.table(measured)
