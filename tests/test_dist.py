"""Data parallel: N ranks compute what one process does, replicas stay equal, and nobody waits for ever.

Ranks are real processes of an MPI job; what they do stands in `dist_ranks.py`.
"""

import json
import os
import re
import sys
from pathlib import Path

import dist_ranks
import mpi_jobs
import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import dist, files, nn, optim, train

SCRIPT = Path(dist_ranks.__file__)
PAGE = SCRIPT.parent.parent / "docs" / "dist.md"
TOGETHER = (
    "as_one_process", "second_derivatives", "in_float32", "synchronised_in_float32", "gradients_of_some_ranks",
    "starts", "settings_that_differ", "one_value_a_channel", "traced", "compiled", "fit_as_one_process", "fit_agrees",
)  # fmt: skip


def launch(folder, *names, ranks=2, module=("-m", "mpi4py"), timeout=300, **environment):
    """Run scenarios on two ranks."""
    environment = {"PYTHONWARNINGS": "error"} | environment
    return mpi_jobs.run(
        SCRIPT, folder, *names, folder=folder, ranks=ranks, module=module, timeout=timeout, **environment
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each rank says of every scenario, by name: one job runs them all."""
    folder = tmp_path_factory.mktemp("ranks")
    done = launch(folder, *TOGETHER)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    ranks = [json.loads((folder / f"{rank}.json").read_text("utf-8")) for rank in range(2)]
    return {name: [found[name] for found in ranks] for name in TOGETHER}


def test_two_ranks_compute_what_one_process_does(results):
    """Shards of different sizes, an empty one, clipping, groups, dropout, and batch norm over all rows."""
    for found in results["as_one_process"]:
        assert set(found) == {*dist_ranks.RULES, "images"}
        for name, differences in found.items():
            assert max(differences) <= 1e-12, (name, differences)


def test_derivatives_of_derivatives_go_through_shared_moments(results):
    for found in results["second_derivatives"]:
        assert found["size"] > 1e-3 and found["apart"] <= 1e-12 * max(found["size"], 1.0)


def test_replicas_stay_equal_to_the_last_bit(results):
    first, second = results["in_float32"]
    assert first["state"] == second["state"] and first["losses"] == second["losses"]
    assert np.isfinite(first["losses"]).all()


def test_local_batch_norm_keeps_averages_of_the_whole_batch(results):
    for found in results["in_float32"]:
        assert found["averages"] < 1e-6
        assert found["own mean"] < 1e-4  # of the rank's own rows


def test_synchronised_batch_norm_is_exact_far_from_zero(results):
    for found in results["synchronised_in_float32"]:
        assert found["apart"] < 1e-5
        assert found["dtype"] == "float16" and found["eval"][1] == 5


def test_a_parameter_that_some_ranks_do_not_use(results):
    first, second = results["gradients_of_some_ranks"]
    assert first == second
    assert first["values"] == [[-2.0, -2.0], [-4.0, -4.0], [1.0, 1.0], [-1.0, -1.0, -1.0]]
    assert first["norm"] == pytest.approx(np.sqrt(2 * 9.0 + 2 * 25.0 + 3 * 4.0)) and first["none"]


def test_ranks_start_from_rank_0(results):
    first, second = results["starts"]
    assert first == second
    assert first["lr"] == 0.1 and first["equal"]
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert first["threads"] == max(1, processors // 2)


def test_models_of_another_form_are_named(results):
    for found in results["starts"]:
        assert "of 'weight', rank 0 has float32 of shape (2, 3), rank 1 has float32 of shape (2, 4)" in found["shape"]
        assert "of '1.weight', rank 0 has none, rank 1 has float32 of shape (2, 2)" in found["more"]
        assert "sync=False" in found["sync"]


def test_what_differs_between_ranks_is_named_on_all(results):
    first, second = results["settings_that_differ"]
    assert first == second
    assert "buffer 'optimizer.lr' on rank 1 differ from rank 0's" in first["lr"]
    assert "of 'optimizer.clip_norm', rank 0 has none, rank 1 has float64" in first["clip_norm"]
    assert "parameter 'weight' on rank 1" in first["weight"]
    assert "buffer 'optimizer.steps' on rank 1" in first["step"]


def test_one_value_a_channel_is_refused_on_all_ranks(results):
    first, second = results["one_value_a_channel"]
    assert first == second and len(first) == 2
    assert "got [0, 1] on the ranks" in first[0] and "got [1, 2] on the ranks" in first[1]


def test_a_trace_is_of_one_process(results):
    for found in results["traced"]:
        assert "batch_norm" in found["ops"] and "outside of trace" in found["error"]


def test_compiled_functions_are_of_one_process(results):
    """A forward without layers that exchange numbers computes what it does elsewhere; others are refused, and steps."""
    first, second = results["compiled"]
    assert first == second and first["apart"] <= 1e-6
    for name in ("BatchNorm", "Dropout"):
        assert re.search(
            rf"{name}.* is one of 2 replicas, which exchange numbers, .*: leave the forward unc", first[name]
        )
    assert "call parallel.step() outside of trace and compile" in first["step"]


def test_fit_shares_batches_and_gives_what_one_process_gives(results):
    """Whatever the loss's formula: this one looks at several rows, and at a parameter."""
    for found in [found for rank in results["fit_as_one_process"] for found in rank]:
        assert found["names"] == ["accuracy", "dev_accuracy", "dev_loss", "loss"] and found["rates"]
        assert max(found["apart"]) <= 1e-12, found


def test_fit_agrees_upon_what_one_rank_alone_knows(results):
    first, second = results["fit_agrees"]
    assert first["epochs"] == second["epochs"] == 2 and first["stopped"] == second["stopped"] == "enough"
    assert first["seed"] == second["seed"] and "of 'seed', rank 0 has 0, rank 1 has 1" in first["seed"]
    assert first["weight"] == second["weight"] and "parameter '0.weight' on rank 1" in first["weight"]


def kept(folder, **options):
    """A run in a folder: what each rank has at its end, which must be the same."""
    folder.mkdir(exist_ok=True)
    done = launch(folder, "kept", **options)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads(path.read_text("utf-8"))["kept"] for path in sorted(folder.glob("?.json"))]
    assert len(ranks) == options.get("ranks", 2) and all(found == ranks[0] for found in ranks)
    return ranks[0]


def state_of(found):
    return {path: np.frombuffer(bytes.fromhex(text)) for path, text in found["state"].items() if len(text) % 16 == 0}


def near(a, b):
    """To 1e-12, integers exactly."""
    assert a.keys() == b.keys()
    return all(np.isfinite(a[path]).all() and np.abs(a[path] - b[path]).max(initial=0.0) <= 1e-12 for path in a)


@pytest.mark.kill
def test_a_job_whose_rank_was_killed_goes_on_when_it_is_launched_again(tmp_path):
    """To the same bits with as many ranks, to rounding with one."""
    undisturbed = kept(tmp_path / "undisturbed")
    for name, kills in (("two", (3, 8, 19)), ("one", (9,))):  # of the 20 steps
        (tmp_path / name).mkdir()
        for step in kills:
            killed = launch(tmp_path / name, "kept", KILL_AT=str(step), timeout=120)
            assert killed.returncode != 0 and not list((tmp_path / name).glob("?.json"))
            assert train.Run(tmp_path / name / "run").status == "interrupted"
    assert kept(tmp_path / "two") == undisturbed
    alone = kept(tmp_path / "one", ranks=1)
    assert alone["loss"] == pytest.approx(undisturbed["loss"], abs=1e-12)
    assert near(state_of(alone), state_of(undisturbed))
    assert kept(tmp_path / "two") == undisturbed  # it is over: nothing is trained again


@pytest.mark.kill
def test_commands_reach_every_rank(tmp_path):
    """And one process that replays them computes the same."""
    (tmp_path / "job").mkdir()
    launch(tmp_path / "job", "kept", KILL_AT="8", timeout=120)
    run = train.Run(tmp_path / "job" / "run", steps=2)
    run.rollback()
    run.set("lr", 0.01)
    run.set("3.rate", 0.5)
    found = kept(tmp_path / "job")
    assert found["rates"][-1] == 0.01
    again = train.Run(tmp_path / "again", steps=2, replay=run.folder.path)
    _, model, adam = dist_ranks.fitted(dist_ranks.Alone(), run=again, callbacks=[dist_ranks.Killer(-1)])
    state = {**model.state_dict(), **adam.state_dict()}
    assert model[3].rate == 0.5
    assert near(state_of(found), {path: state[path].view("f8").ravel() for path in state_of(found)})


def test_a_folder_that_another_process_has_is_refused_on_all_ranks(tmp_path):
    run = train.Run(tmp_path / "run", steps=2)
    dist_ranks.fitted(dist_ranks.Alone(), run=run, epochs=1, callbacks=[dist_ranks.Killer(-1)])
    run.folder.acquire()
    try:
        done = launch(tmp_path, "kept", timeout=120)
    finally:
        run.folder.release()
    assert done.returncode != 0 and "RunBusyError" in done.stderr and not list(tmp_path.glob("?.json"))


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("fewer_steps", "rank 1 has ended, and rank 0 of 2 waits for it in"),
        ("late", "rank 0 of 2 waited 0.5 s for the others in the sum of the gradients of step 1"),
        ("raises", "KeyError: 'the data of rank 1'"),
    ],
)
def test_nobody_waits_for_ever(tmp_path, scenario, words):
    done = launch(tmp_path, scenario, timeout=120)
    assert done.returncode != 0
    assert words in done.stderr


def test_an_error_ends_the_job_without_mpi4pys_launcher_too(tmp_path):
    done = launch(tmp_path, "raises", module=(), timeout=120)
    assert done.returncode != 0
    assert "the data of rank 1" in done.stderr


def test_the_script_of_the_page_runs_as_its_command_says(tmp_path):
    pytest.importorskip("sklearn")
    page = PAGE.read_text("utf-8")
    script = re.search(r"^```python\n# digits.py\n(.*?)^```$", page, re.S | re.M)[1]
    (tmp_path / "digits.py").write_text(script, "utf-8")
    assert "mpiexec -n 2 python -m mpi4py digits.py" in page
    done = mpi_jobs.run("digits.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", done.stdout)]
    assert len(losses) == 3 and losses[-1] < losses[0]


# one process, without MPI ---------------------------------------------------------------------------------------------


def test_one_rank_is_the_optimiser_itself():
    states = []
    for wrap in (lambda optimizer: optimizer, lambda optimizer: dist.DataParallel(optimizer, dist_ranks.Alone())):
        model = dist_ranks.network("float32")
        optimizer = wrap(optim.Adam(model, lr=0.05, clip_norm=1.0))
        for x, y in dist_ranks.batches(dtype="float32"):
            if len(y) > 1:
                optimizer.minimize(tg.softmax_cross_entropy(model(tg.tensor(x)), y))
        states.append({**model.state_dict(), **optimizer.state_dict()})
    assert states[0].keys() == states[1].keys()
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


def test_it_stands_for_its_optimiser():
    model = nn.Linear(2, 1, seed=0)
    adam = optim.Adam(model, lr=0.1)
    parallel = dist.DataParallel(adam, dist_ranks.Alone())
    assert isinstance(parallel, optim.Adam) and isinstance(parallel, dist.DataParallel)
    parallel.lr, parallel.beta1, parallel.epoch = 0.2, 0.8, 3
    assert (adam.lr, adam.beta1, adam.epoch) == (0.2, 0.8, 3)
    parallel.groups[0].lr = 0.5
    assert adam.groups[0].lr == 0.5
    assert parallel.state_dict().keys() == adam.state_dict().keys()
    assert "beta1" in dir(parallel) and "share" in dir(parallel)
    assert repr(parallel).startswith("DataParallel(Adam(") and "rank 0 of 1" in repr(parallel)
    with pytest.raises(AttributeError, match="beta3"):
        parallel.beta3.hex()
    with pytest.raises(TypeError, match="parallel already"):
        dist.DataParallel(parallel, dist_ranks.Alone())


def test_rows_are_shared_out_whole():
    class Some(dist_ranks.Alone):
        def __init__(self, rank):
            self.rank = rank

        def Get_rank(self):
            return self.rank

    for size in (1, 2, 3, 7):
        for samples in (0, 1, 5, 14):
            found = []
            for rank in range(size):
                parallel = dist.DataParallel(optim.SGD([tg.Parameter([1.0])], lr=0.1), Some(rank))
                parallel.job.size = size
                found += range(samples)[parallel.rows(samples)]
            assert found == list(range(samples))


def test_shares_are_of_one_length():
    parallel = dist.DataParallel(optim.SGD([tg.Parameter([1.0])], lr=0.1), dist_ranks.Alone())
    with pytest.raises(ValueError, match=r"got \[2, 3\] rows"):
        parallel.share(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="without axes"):
        parallel.share(1.0)
    with pytest.raises(ValueError, match="takes the arrays of a batch"):
        parallel.share()


def test_gradients_are_summed_once():
    w = tg.Parameter([1.0])
    parallel = dist.DataParallel(optim.SGD([w], lr=0.1), dist_ranks.Alone())
    (w * 2.0).sum().backward()
    parallel.reduce()
    with pytest.raises(RuntimeError, match="summed already"):
        parallel.reduce()
    parallel.step()
    assert w.tolist() == pytest.approx([0.8])


def test_without_mpi4py_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(files.MissingExtraError, match=r"tensorgraph-engine\[mpi\]"):
        dist.DataParallel(optim.SGD([tg.Parameter([1.0])], lr=0.1))


def test_a_copy_of_a_replica_is_alone():
    import copy

    model = nn.Sequential(nn.BatchNorm(2))
    object.__setattr__(model[0], "ranks", object())
    assert copy.deepcopy(model)[0].ranks is None
