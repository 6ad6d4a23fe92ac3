"""What the ranks of a job do in `test_dist.py`: ``mpiexec -n 2 python -m mpi4py dist_ranks.py FOLDER SCENARIO ...``.

Every rank runs the scenarios in turn and writes what they give to FOLDER/rank.json.
"""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import tensorgraph as tg
from tensorgraph import dist, nn, optim, train

SIZES = (7, 6, 1, 3, 8, 7)  # the batch of 1 leaves rank 0 without rows
RULES = {
    "momentum": lambda model: optim.Momentum(model, lr=0.2, beta=0.9, clip_norm=0.3),
    "adam": lambda model: optim.Adam(model, lr=0.05, weight_decay=0.01),
    "groups": lambda model: optim.SGD(
        [{"parameters": model[0].parameters(), "lr": 0.3}, {"parameters": model[4].parameters()}], lr=0.1
    ),
}


class Alone:
    """The communicator of one process, without MPI."""

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1

    def Dup(self):
        return self


def network(dtype="float64", norm=True, seed=0):
    # without a bias before the norm, whose gradient is 0 but for rounding, which Adam would make a step of
    layers = [nn.Linear(5, 8, bias=not norm, seed=seed, dtype=dtype)]
    layers += [nn.BatchNorm(8, degenerate="beta", dtype=dtype)] if norm else []
    layers += [nn.ReLU(), nn.Dropout(0.3, seed=4), nn.Linear(8, 3, seed=seed + 1, dtype=dtype)]
    return nn.Sequential(*layers)


def images(dtype="float64"):
    return nn.Sequential(
        nn.Conv2d(1, 2, 2, bias=False, seed=0, dtype=dtype), nn.BatchNorm(2, dtype=dtype), nn.Tanh(),
        nn.Dropout2d(0.4, seed=1), nn.Flatten(), nn.Linear(8, 3, seed=2, dtype=dtype),
    )  # fmt: skip


def batches(shape=(5,), dtype="float64", sizes=SIZES):
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(n, *shape)).astype(dtype) + 3.0, rng.integers(0, 3, n)) for n in sizes]


def steps_of(parallel, model, data):
    """Losses of the whole batches."""
    losses = []
    for x, y in data:
        x, y = parallel.share(x, y)
        with warnings.catch_warnings():
            if not len(y):  # the loss says that it has no labels
                warnings.simplefilter("ignore")
            mean = tg.softmax_cross_entropy(model(tg.tensor(x, x.dtype)), y)
        loss = parallel.part(mean, len(y))
        parallel.minimize(loss)
        losses.append(parallel.total(loss))
    return losses


def apart(a, b):
    """The largest difference of two states, in units of what the numbers are."""
    assert a.keys() == b.keys()
    worst = 0.0
    for name in a:
        assert np.isfinite(a[name]).all() and np.isfinite(b[name]).all(), name
        worst = max(worst, float(np.abs(a[name].astype(float) - b[name].astype(float)).max()))
    return worst


def as_one_process():
    """Losses, parameters, buffers and the optimiser's averages: how far from one process with the whole batches."""
    found = {}
    for rule, make in RULES.items():
        models = network(), network()
        alone = dist.DataParallel(make(models[0]), Alone(), sync=True)
        parallel = dist.DataParallel(make(models[1]), sync=True)
        losses = [steps_of(p, model, batches()) for p, model in zip((alone, parallel), models, strict=True)]
        parallel.verify()
        found[rule] = [
            float(np.abs(np.subtract(*losses)).max()),
            apart(models[0].state_dict(), models[1].state_dict()),
            apart(alone.state_dict(), parallel.state_dict()),
        ]
    models = images(), images()
    pair = (
        dist.DataParallel(optim.SGD(models[0], lr=0.2), Alone()),
        dist.DataParallel(optim.SGD(models[1], lr=0.2), sync=True),
    )
    losses = [steps_of(p, model, batches((1, 3, 3))) for p, model in zip(pair, models, strict=True)]
    found["images"] = [float(np.abs(np.subtract(*losses)).max()), apart(models[0].state_dict(), models[1].state_dict())]
    return found


def second_derivatives():
    """The gradient of the squared gradient by the inputs, through the moments that the ranks share."""
    x, y = batches()[0]
    found = []
    for comm in (Alone(), None):
        model = nn.Sequential(nn.Linear(5, 4, bias=False, seed=0, dtype="float64"), nn.BatchNorm(4, dtype="float64"),
                              nn.Tanh(), nn.Linear(4, 3, seed=1, dtype="float64"))  # fmt: skip
        parallel = dist.DataParallel(optim.SGD(model, lr=0.1), comm, sync=True)
        rows, labels = parallel.share(x, y)
        rows = tg.tensor(rows, "float64", requires_grad=True)
        loss = parallel.part(tg.softmax_cross_entropy(model(rows), labels), len(labels))
        (slope,) = tg.gradients([loss], [rows], create_graph=True)
        (slope * slope).sum().backward()
        parallel.reduce()
        found.append({path: p.grad.numpy() for path, p in model.named_parameters() if p.grad is not None})
    return {"apart": apart(*found), "size": float(np.abs(found[0]["0.weight"]).max())}


def in_float32():
    """Each rank normalises alone: the replicas stay equal, and the averages are of the whole batch."""
    model = network("float32")
    parallel = dist.DataParallel(optim.Adam(model, lr=0.05))
    losses = steps_of(parallel, model, batches(dtype="float32", sizes=(7, 8, 7)))
    parallel.verify()
    whole, shared = nn.BatchNorm(5, dtype="float32"), nn.BatchNorm(5, dtype="float32")
    dist.DataParallel(optim.SGD(shared, lr=0.1))
    x = batches(dtype="float32")[0][0] * 1e3
    whole(tg.tensor(x))
    rows = parallel.share(x)
    y = shared(tg.tensor(rows)).numpy()
    return {
        "losses": losses,
        "averages": float(max(np.abs(whole.running_mean.numpy() / shared.running_mean.numpy() - 1).max(),
                              np.abs(whole.running_var.numpy() / shared.running_var.numpy() - 1).max())),
        "own mean": float(np.abs(y.mean(axis=0)).max()),
        "state": {path: array.tobytes().hex() for path, array in model.state_dict().items()},
    }  # fmt: skip


def synchronised_in_float32():
    """Far from 0, where a mean that is rounded would be seen."""
    x = batches(dtype="float32")[0][0] + np.float32(1e4)
    whole, shared = nn.BatchNorm(5, dtype="float32"), nn.BatchNorm(5, dtype="float32")
    parallel = dist.DataParallel(optim.SGD(shared, lr=0.1), sync=True)
    y, part = whole(tg.tensor(x)).numpy(), shared(tg.tensor(parallel.share(x))).numpy()
    half = shared.astype("float16")
    narrow = half(tg.tensor(parallel.share(batches()[0][0]), "float16"))
    return {
        "apart": float(np.abs(y[parallel.rows(len(x))] - part).max()), "dtype": narrow.dtype.name,
        "eval": shared.eval()(tg.tensor(parallel.share(batches()[0][0]), "float16")).shape,
    }  # fmt: skip


def gradients_of_some_ranks():
    """A parameter that only rank 1 uses, one that nobody uses, one of another dtype."""
    w = [tg.Parameter(np.ones(2), "float32", name=name) for name in ("both", "one", "none")]
    w.append(tg.Parameter(np.ones(3), "float16", name="half"))
    parallel = dist.DataParallel(optim.SGD(w, lr=1.0))
    loss = w[0].sum() * (parallel.rank + 1.0) + w[3].astype("float32").sum()
    if parallel.rank == 1:
        loss = loss + (w[1] * 5.0).sum()
    loss.backward()
    parallel.reduce()
    norm = float(optim.clip_grad_norm(w, 1e9))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what nobody uses is warned of
        parallel.step()
    return {"norm": norm, "values": [p.tolist() for p in w], "none": w[2].grad is None}


def starts():
    """Models that differ in their numbers get rank 0's; in form they are refused, everywhere alike."""
    rank = dist.DataParallel(optim.SGD([tg.Parameter([1.0])], lr=0.1)).rank
    model = network(seed=10 * rank)
    tg.random.seed(rank)
    adam = optim.Adam(model, lr=0.1 + rank)
    parallel = dist.DataParallel(adam)
    parallel.verify()
    found = {"lr": parallel.lr, "equal": bool((model[0].weight.numpy() == network()[0].weight.numpy()).all()),
             "threads": tg.jit.num_threads(), "drawn": float(tg.random.uniform(()))}  # fmt: skip
    for name, other in {
        "shape": nn.Linear(2, 3 + rank, seed=0),
        "more": nn.Sequential(*[nn.Linear(2, 2, seed=0)] * 1, *[nn.Linear(2, 2, seed=1)] * rank),
    }.items():
        try:
            dist.DataParallel(optim.SGD(other, lr=0.1))
        except dist.RanksError as error:
            found[name] = str(error)
    try:
        dist.DataParallel(adam, sync=True)
    except ValueError as error:
        found["sync"] = str(error)
    return found


def settings_that_differ():
    """They are told by name, on both ranks."""
    found = {}
    for name in ("lr", "clip_norm", "weight", "step"):
        model = nn.Linear(5, 3, seed=0)
        parallel = dist.DataParallel(optim.Momentum(model, lr=0.1))
        if parallel.rank == 1:
            if name == "lr":
                parallel.lr = 0.2
            elif name == "clip_norm":
                parallel.clip_norm = 1.0
            elif name == "step":
                plain = optim.Momentum(nn.Linear(5, 3, seed=0), lr=0.1)
                state = plain.state_dict()
                parallel.load_state_dict({**state, "optimizer.steps": np.array(3)})
            else:
                model.weight.assign(model.weight + 1.0)
        try:
            if name == "weight":
                parallel.verify()
            else:
                steps_of(parallel, model, batches(dtype="float32", sizes=(4,)))
        except dist.RanksError as error:
            found[name] = str(error)
    return found


def one_value_a_channel():
    """Batch norm refuses it on all ranks, whoever has it."""
    found = []
    for sync, rows in ((True, 1), (False, 3)):
        model = nn.BatchNorm(5)
        parallel = dist.DataParallel(optim.SGD(model, lr=0.1), sync=sync)
        try:
            model(tg.tensor(parallel.share(np.ones((rows, 5), "float32"))))
        except ValueError as error:
            found.append(str(error))
    return found


def traced():
    """A graph holds what one process computes; a step in it is refused."""
    model = network("float32")
    parallel = dist.DataParallel(optim.SGD(model, lr=0.1), sync=True)
    graph = tg.trace(model, tg.spec((4, 5), "float32"))

    def step(x):
        parallel.minimize(model(x).sum())

    try:
        tg.trace(step, tg.spec((4, 5), "float32"))
    except tg.TraceError as error:
        return {"ops": [eq.op.name for eq in graph.equations], "error": str(error)}


def compiled():
    """A compiled forward, and what cannot be compiled: layers that exchange numbers in training, and steps."""
    models = network("float32", norm=False).eval(), network("float32", norm=False).eval()
    found, states = {}, []
    for model, compile in zip(models, (lambda model: model, tg.compile), strict=True):
        parallel = dist.DataParallel(optim.SGD(model, lr=0.1))
        forward = compile(model)
        for x, y in batches(dtype="float32", sizes=(8, 8, 8)):
            x, y = parallel.share(x, y)
            parallel.minimize(parallel.part(tg.softmax_cross_entropy(forward(tg.tensor(x)), y), len(y)))
        parallel.verify()
        states.append(model.state_dict())
    found["apart"] = apart(*states)
    x = tg.tensor(batches(dtype="float32", sizes=(4,))[0][0])
    for layer in (nn.BatchNorm(5), nn.Dropout(0.5, seed=0)):
        model = nn.Sequential(layer, nn.Linear(5, 3, seed=0))
        parallel = dist.DataParallel(optim.SGD(model, lr=0.1))
        try:
            tg.compile(model)(x)
        except tg.TraceError as error:
            found[type(layer).__name__] = str(error)
        model.eval()
        tg.compile(model)(x)  # at test time nothing is exchanged

    @tg.compile
    def step(x):
        parallel.minimize(model(x).sum())

    try:
        step(x)
    except tg.TraceError as error:
        found["step"] = str(error)
    return found


def fitted(comm=None, run=None, epochs=4, callbacks=(), model=None, seed=0, **options):
    """A run of `fit` with all that depends on the whole batch: the loss looks at several rows, and at a parameter."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(83, 5)), rng.integers(0, 3, 83)
    model = network() if model is None else model
    adam = optim.Adam(model, lr=optim.cosine(0.05, 100), clip_norm=1.0)
    parallel = dist.DataParallel(adam, comm, sync=True)

    def loss(outputs, targets):
        spread = ((outputs - outputs.mean(axis=0)) ** 2).mean()
        return tg.softmax_cross_entropy(outputs, targets) + 0.1 * spread + 0.01 * (model[0].weight ** 2).sum()

    history = train.fit(
        model, (x, y), optimizer=parallel, epochs=epochs, dev=(x[:9] + 0.1, y[:9]), loss=loss, batch_size=16, seed=seed,
        augment=lambda rows, rng: rows + 0.01 * rng.normal(size=rows.shape), early_stop=50, callbacks=callbacks,
        run=run, progress=False, **options,
    )  # fmt: skip
    parallel.verify()
    return history, model, adam


def fit_as_one_process():
    """`fit` with shared batches: how far its history and its state are from those of one process."""
    found = []
    for options in ({}, {"accumulate": 2, "prefetch": 1}):
        (one, *before), (two, *after) = [fitted(comm, **options) for comm in (Alone(), None)]
        curves = [{name: np.array(history[name]) for name in history.values} for history in (one, two)]
        states = [apart(a.state_dict(), b.state_dict()) for a, b in zip(before, after, strict=True)]
        same = one.learning_rate == two.learning_rate
        found.append({"names": sorted(curves[0]), "rates": same, "apart": [apart(*curves), *states]})
    return found


def fit_agrees():
    """What one rank alone knows is agreed upon; what they were given differently is told on both."""
    from mpi4py import MPI

    rank = MPI.COMM_WORLD.Get_rank()
    stopper = [lambda training: training.stop("enough") if rank == 1 and training.epoch == 1 else None]
    history = fitted(callbacks=stopper)[0]
    found = {"epochs": len(history["loss"]), "stopped": history.stopped}
    try:
        fitted(seed=rank)
    except dist.RanksError as error:
        found["seed"] = str(error)

    def change(training):
        training.model[0].weight.assign(training.model[0].weight + rank)

    try:
        fitted(model=nn.Sequential(nn.Linear(5, 3, seed=0, dtype="float64")), epochs=1, callbacks=[change])
    except dist.RanksError as error:
        found["weight"] = str(error)
    return found


class Killer:
    """Kills rank 1 at a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, training):
        if training.step == self.step and os.environ.get("PMI_RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)


def kept():
    """`fit` with a run's folder; the environment says at which step rank 1 is killed."""
    run = train.Run(Path(sys.argv[1], "run"), steps=2)
    history, model, adam = fitted(run=run, callbacks=[Killer(int(os.environ.get("KILL_AT", "-1")))])
    state = {**model.state_dict(), **adam.state_dict()}
    return {"state": {path: array.tobytes().hex() for path, array in state.items()}, "loss": history["loss"],
            "rates": history.learning_rate}  # fmt: skip


def fewer_steps():
    """Rank 1 ends early."""
    model = nn.Linear(5, 3, seed=0, dtype="float64")
    parallel = dist.DataParallel(optim.SGD(model, lr=0.1))
    steps_of(parallel, model, batches()[: 2 - parallel.rank])
    return {}


def late():
    """Rank 1 is later than the others wait."""
    model = nn.Linear(5, 3, seed=0, dtype="float64")
    parallel = dist.DataParallel(optim.SGD(model, lr=0.1), timeout=0.5)
    if parallel.rank == 1:
        time.sleep(60)
    parallel.minimize(model(tg.tensor(batches()[0][0])).sum())
    return {}


def raises():
    """Rank 1 ends by an error that is not its own to tell the others of."""
    model = nn.Linear(5, 3, seed=0, dtype="float64")
    parallel = dist.DataParallel(optim.SGD(model, lr=0.1))
    steps_of(parallel, model, batches()[:2])
    if parallel.rank == 1:
        raise KeyError("the data of rank 1")
    steps_of(parallel, model, batches())
    return {}


def main():
    folder, *names = sys.argv[1:]
    results = {name: globals()[name]() for name in names}
    from mpi4py import MPI

    rank = MPI.COMM_WORLD.Get_rank()
    Path(folder, f"{rank}.json").write_text(json.dumps(results), "utf-8")


if __name__ == "__main__":
    main()
