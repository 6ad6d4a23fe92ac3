"""Studies in processes of their own: the same tables at any width, lost workers, orphans, poison, and Ctrl-C.

What is promised is promised of every engine, and each is tried that is installed.
"""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("loky")  # which brings cloudpickle too
pytest.importorskip("optuna")

from tune_engines import ENGINES, PATIENCE, installed

import tensorgraph as tg
from tensorgraph import tune
from tensorgraph.tune.engines.loky import pickled
from tensorgraph.tune.locks import lock
from tensorgraph.tune.record import Record
from tensorgraph.tune.slots import Outcome, Slot, lines_of

SPACE = tune.Space(lr=tune.log(1e-4, 1), layers=tune.int(1, 4))


LOST = {
    "loky": "its process ended: SIG",
    "dask": "its Dask worker tcp://127.0.0.1:",
    "ray": "its Ray worker",
}  # how each says it


@pytest.fixture(params=ENGINES)
def engine(request):
    """Each engine of processes in turn."""
    return installed(request.param)


@pytest.fixture
def run(engine):
    """Runs a study of six trials on two workers of the engine."""

    def run(objective, folder, trials=6, workers=2, **options):
        study = tune.Study(SPACE, folder=folder)
        return study.run(objective, trials=trials, workers=workers, progress=False, engine=engine, **options)

    return run


def test_one_process_two_processes_and_none_give_the_same_table(run, tmp_path):
    data = np.arange(300_000.0)  # large enough to be mapped from a file

    def objective(trial):
        assert np.isfinite(data).all()
        noise = float(tg.random.normal((), dtype="float64"))
        return abs(trial["lr"] - 0.01) + noise * 1e-6 + float(data[trial.slot]) * 1e-9

    alone = tune.random(SPACE, objective, trials=6, progress=False)
    two = run(objective, tmp_path / "two")
    assert len(two) == 6 and two.table() == alone.table()
    pids = {line["pid"] for path in two.folder.glob("*/attempts.jsonl") for line in lines_of(path)}
    assert os.getpid() not in pids and 1 <= len(pids) <= 2


def test_workers_have_their_share_of_threads_and_the_default_dtype(run, tmp_path):
    def objective(trial):
        from tensorgraph.jit.threads import num_threads

        folder = Path(trial.folder)
        said = {name: os.environ[name] for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
        (folder / "seen.json").write_text(json.dumps([said, num_threads(), str(tg.default_dtype())]))
        return 0.0

    tg.set_default_dtype("float64")
    try:
        study = run(objective, tmp_path, trials=1, workers=1, threads=1)
        assert study.trials[0].state == "complete", study.trials[0].reason
    finally:
        tg.set_default_dtype("float32")
    said, threads, dtype = json.loads((study.trials[0].folder / "seen.json").read_text())
    assert set(said.values()) == {"1"} and threads == 1 and dtype == "float64"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_a_worker_that_is_killed_once_costs_nothing_but_its_attempt(run, engine, tmp_path, how):
    def objective(trial):
        first = not (trial.folder / "been").exists()
        (trial.folder / "been").touch()
        if trial.slot in (1, 4) and first:
            os.kill(os.getpid(), how)
            time.sleep(5.0)  # for a handler of the signal
        return trial["lr"]

    study = run(objective, tmp_path)
    assert study.table() == tune.random(SPACE, lambda trial: trial["lr"], trials=6, progress=False).table()
    assert [len(Slot.of(study.folder, slot).losses()) for slot in range(6)] == [0, 1, 0, 0, 1, 0]
    assert LOST[engine] in Slot.of(study.folder, 1).losses()[0]


def test_poison_is_given_up_and_its_neighbours_lose_no_attempt(run, tmp_path):
    def objective(trial):
        if trial.slot == 2:
            os._exit(3)
        time.sleep(0.05)
        return trial["lr"]

    study = run(objective, tmp_path, retries=1)
    poison = study.trials[2]
    assert poison.state == "failed" and poison.reason.startswith("its process was lost 2 times, at last so: its ")
    assert len(study) == 6 and len(study.ranked) == 5
    begun = [len((Slot.of(study.folder, slot).folder / "attempts.jsonl").read_text().splitlines()) for slot in range(6)]
    assert begun == [1, 1, 4, 1, 1, 1]  # of the poison two that began and two that were lost
    assert run(objective, tmp_path, retries=1).table() == study.table()  # it is not tried again unless asked


def test_an_objective_that_cannot_be_sent_says_why_and_the_remedy(run, tmp_path):
    import threading

    held = threading.Lock()
    with pytest.raises(
        TypeError, match=r"cannot be sent to other processes: .*lock.*inside the objective, or run with w"
    ):
        run(lambda trial: held is None, tmp_path)


def test_an_objective_of_a_module_that_workers_do_not_have(run, tmp_path):
    module = type(sys)("only_here")
    exec("def objective(trial):\n    return 0.0", vars(module))
    sys.modules["only_here"] = module
    try:
        module.objective.__module__ = "only_here"
        with pytest.raises(tune.StudyError, match=r"cannot read the objective: .*only_here.*0 of 6 trials"):
            run(module.objective, tmp_path)
    finally:
        del sys.modules["only_here"]


def test_arrays_of_the_objective_are_shared(tmp_path):
    data = np.arange(1_000_000.0)
    sent = pickled(lambda trial: data.sum(), tmp_path)
    assert len(sent) < 10_000 and len(list(tmp_path.iterdir())) == 1
    assert len(pickled(lambda trial: data.sum())) > 8_000_000


@pytest.mark.slow
def test_a_dask_cluster_of_others_is_used_by_its_address(tmp_path):
    distributed = pytest.importorskip("distributed")

    def objective(trial):
        first = not (trial.folder / "been").exists()
        (trial.folder / "been").touch()
        if trial.slot == 1 and first:
            os._exit(3)
        return trial["lr"]

    options = dict(threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address=None, silence_logs=50)
    with distributed.LocalCluster(n_workers=1, **options) as cluster:
        address = f"dask:{cluster.scheduler_address}"
        study = tune.random(SPACE, objective, trials=3, workers=2, engine=address, folder=tmp_path, progress=False)
        with distributed.Client(cluster) as client:  # the cluster is there still
            assert client.submit(sum, [1, 2]).result(timeout=30) == 3
    assert study.table() == tune.random(SPACE, lambda trial: trial["lr"], trials=3, progress=False).table()
    assert len(Slot.of(study.folder, 1).losses()) == 1


def test_an_address_is_of_a_cluster():
    for wrong in ("loky:tcp://127.0.0.1:1", "dask:", "dusk"):
        with pytest.raises(ValueError, match="engine must be"):
            tune.random(SPACE, lambda trial: 0.0, trials=1, engine=wrong, progress=False)


def test_a_slot_is_held_by_one_process(tmp_path):
    slot = Slot(tmp_path, 3)
    who = f"slot 3 .* process {os.getpid()} on"
    with slot.lock(), pytest.raises(tune.LockedError, match=who), lock(tmp_path / "slot.lock", "slot 3 (there)"):
        pass
    with slot.lock():
        pass


# whole programs ------------------------------------------------------------------------------------------------------

PROGRAM = """
    import os, sys, time
    from pathlib import Path
    from tensorgraph import tune

    WITNESS = sys.argv[2]   # a worker has other arguments

    def objective(trial):
        witness = os.open(WITNESS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        done = trial.folder / "steps"
        while (steps := done.stat().st_size if done.exists() else 0) < 8:   # a checkpoint a step
            os.write(witness, f"{trial.slot} {os.getpid()}\\n".encode())
            time.sleep(0.05)
            with done.open("ab") as file:
                file.write(b".")
        os.close(witness)
        return trial["lr"]

    if __name__ == "__main__":
        space = tune.Space(lr=tune.log(1e-4, 1), layers=tune.int(1, 4))
        engine = sys.argv[3] if len(sys.argv) > 3 else None
        workers = 1 if engine == "serial" else 2
        study = tune.random(space, objective, trials=6, workers=workers, folder=sys.argv[1], engine=engine)
        print(study.table() if study.stopped == "trials" else "stopped")
"""


@pytest.fixture
def program(tmp_path):
    """Starts the program; gives the process."""
    script = tmp_path / "search.py"
    script.write_text(textwrap.dedent(PROGRAM))
    started = []

    def start(*more):
        process = subprocess.Popen(
            [sys.executable, script, tmp_path / "study", tmp_path / "witness", *more], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def undisturbed():
    return tune.random(SPACE, lambda trial: trial["lr"], trials=6, progress=False).table() + "\n"


def wait_for(condition, seconds=PATIENCE):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def blocks(path):
    """In the witness's file: of each slot the processes in the order in which they wrote, each as often as it began."""
    order = {}
    for line in path.read_text().splitlines():
        slot, pid = line.split()
        if not order.get(slot) or order[slot][-1] != pid:
            order.setdefault(slot, []).append(pid)
    return order


def test_a_killed_driver_loses_no_trial_and_its_orphans_end(program, engine, tmp_path):
    first = program(engine)
    outcomes = lambda: list((tmp_path / "study").glob("slot-*/outcome.json"))
    wait_for(lambda: len(outcomes()) >= 2)
    first.kill()
    first.wait()
    kept = {path: path.read_bytes() for path in outcomes()}
    out, err = program(engine).communicate(timeout=PATIENCE)
    assert out == undisturbed(), err
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert all(len(pids) == len(set(pids)) for pids in blocks(tmp_path / "witness").values())


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(program, engine, tmp_path):
    for where in ("serial", engine):
        before = len(list((tmp_path / "study").glob("slot-*/outcome.json")))
        process = program(where)
        wait_for(lambda: len(list((tmp_path / "study").glob("slot-*/outcome.json"))) > before)  # noqa: B023
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group
        out, err = process.communicate(timeout=PATIENCE)
        assert out == "stopped\n" and process.returncode == 0 and "Traceback" not in err, err
        assert "of 6 trials are kept" in err and "run the same command to go on" in err
    assert program().communicate(timeout=PATIENCE)[0] == undisturbed()


def test_a_full_disk_is_a_clear_error_and_a_clean_continuation(tmp_path):
    code = textwrap.dedent("""
        import resource, sys
        from tensorgraph import tune
        def objective(trial):
            if trial.slot == 3 and len(sys.argv) > 2:   # from now on no file grows
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return trial["lr"]
        space = tune.Space(lr=tune.log(1e-4, 1), layers=tune.int(1, 4))
        try:
            print(tune.random(space, objective, trials=6, folder=sys.argv[1], progress=False).table())
        except tune.StudyError as error:
            print(error)
    """)
    pytest.importorskip("resource")

    def ask(*more):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "study", *more], capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = ask("full")
    assert "the study cannot go on: File too large" in said and "the 3 of 6 trials that ended are kept" in said
    assert ask() == undisturbed()


def test_reports_of_other_processes_reach_the_pruner(tmp_path):
    def objective(trial):
        for step in range(40 if trial.slot < 6 else 2_000):  # the others are ended, however late the driver looks
            trial.report(trial["lr"] if trial.slot < 6 else 100.0, step)
            time.sleep(0.05 if trial.slot >= 6 else 0.001)
        return trial["lr"]

    study = tune.Study(SPACE, folder=tmp_path, pruner="median")
    study.run(objective, trials=8, workers=2, progress=False)
    assert [result.state for result in study.trials[6:]] == ["pruned", "pruned"]
    assert all(math.isclose(result.score, 100.0) for result in study.trials[6:])


def test_what_a_trial_reported_unseen_reaches_the_pruner():
    record = Record(SPACE, "minimize", 0, "median")
    for slot in range(6):
        values = SPACE.draw(seed=0, slot=slot)
        record.add(slot, values, None, {})
        record.finish(slot, Outcome(slot, "complete", 0.5), dict.fromkeys(range(8), 0.5))
    for slot in (6, 7):
        record.add(slot, SPACE.draw(seed=0, slot=slot), None, {})
    assert record.judge(6, {0: 0.4, 1: 0.4}) == "" and "at step 1 it had 9" in record.judge(7, {1: 9.0})
