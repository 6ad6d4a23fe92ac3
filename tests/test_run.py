"""A run folder: training goes on from it to the same bits, is told what differs, and is not done twice."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from training_helpers import Crash, clouds, long_run, same_run, same_state, small, trained_by

import tensorgraph as tg
from tensorgraph import data, nn, optim
from tensorgraph.data import Normalizer
from tensorgraph.files import FileFormatError
from tensorgraph.train import NonFiniteLossError, Run, evaluate, fit


@pytest.fixture(scope="module")
def undisturbed():
    """The run that was never interrupted, and never had a folder."""
    return long_run(None)


def numbers(run):
    return [checkpoint.number for checkpoint in run.checkpoints]


def kinds(run):
    return [event["event"] for event in run.events()]


def damage(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("step", "options"), [(2, {}), (3, {}), (7, dict(steps=1)), (11, dict(steps=2)), (14, dict(epochs=4))]
)
def test_a_run_goes_on_bit_for_bit(tmp_path, undisturbed, step, options):
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(Run(tmp_path / "run", **options), callbacks=[Crash(step)])
    run = Run(tmp_path / "run", **options)
    assert run.status == "interrupted" and kinds(run)[-1] == "error"
    assert same_run(long_run(run, seed=7, random_seed=99), undisturbed)
    assert run.status == "finished" and kinds(run)[-1] == "end" and "resume" in kinds(run)


def test_a_run_that_is_interrupted_in_every_step_is_the_same(tmp_path, undisturbed):
    run = Run(tmp_path / "run", steps=1, keep=2)
    for step in range(1, 18):
        with pytest.raises(RuntimeError, match="power cut"):
            long_run(run, callbacks=[Crash(step + 1)], seed=step - 1)
    assert same_run(long_run(run, seed=7), undisturbed)
    assert kinds(run).count("resume") == 17 and len(run.checkpoints) == 2


def test_a_finished_run_is_not_trained_again_and_can_be_prolonged(tmp_path):
    path = tmp_path / "run"
    first = long_run(path, 2)
    events = (path / "events.jsonl").read_bytes()
    steps = []

    class Count:
        def on_step_end(self, run):
            steps.append(run.step)

    again = long_run(path, 2, seed=3, callbacks=[Count()])
    assert same_run(first, again) and not steps and (path / "events.jsonl").read_bytes() == events
    longer = long_run(path, 3, seed=3, callbacks=[Count()])
    assert len(longer[3]) == 3 and longer[3]["loss"][:2] == first[3]["loss"] and steps == [7, 8, 9]
    whole = long_run(None, 3)
    assert same_state(longer[0].state_dict(), whole[0].state_dict())

    model = small()
    stopping = dict(epochs=5, callbacks=[lambda run: run.stop("enough")], progress=False, run=tmp_path / "stopped")
    fit(model, clouds(), optimizer=trained_by(model), **stopping)
    history = fit(model, clouds(), optimizer=trained_by(model), **stopping)
    assert len(history) == 1 and history.stopped == "enough"


def test_a_finished_run_gives_the_best_model_again(tmp_path):
    def train(seed, run):
        model = small(seed=seed)
        sgd = optim.SGD(model, lr=lambda t: 0.1 * (t < 6))
        settings = dict(dev=clouds(seed=1), early_stop=2, batch_size=16, progress=False)
        return model, fit(model, clouds(), optimizer=sgd, epochs=9, run=run, **settings)

    model, history = train(0, tmp_path / "run")
    again, told = train(4, tmp_path / "run")
    assert history.stopped == told.stopped and history.best_epoch == told.best_epoch is not None
    assert same_state(model.state_dict(), again.state_dict())
    assert same_state(Run(tmp_path / "run").load().model.state_dict(), model.state_dict())


def test_a_run_is_read_without_training(tmp_path):
    run = Run(tmp_path / "run", keep=2)
    assert (run.status, run.events(), run.checkpoints, run.settable, run.hyperparameters) == ("new", [], [], [], {})
    assert (
        len(run.history) == 0 and repr(run) == f"Run({str(tmp_path / 'run')!r}, new)" and not run.folder.path.exists()
    )
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        run.load()
    model, normalizer = small(), Normalizer().fit(clouds().x)
    history = fit(
        model, clouds(), optimizer=trained_by(model), epochs=3, batch_size=16, normalizer=normalizer, run=run,
        progress=False,
    )  # fmt: skip
    assert run.status == "finished" and run.history.values == history.values
    assert numbers(run) == [2, 3] and [c.step for c in run.checkpoints] == [6, 9]
    assert run.settable == ["lr", "beta1", "beta2", "eps", "weight_decay", "epochs"]
    assert run.hyperparameters["lr"] == 0.05 and run.hyperparameters["epochs"] == 3
    for loaded in (run.load(), run.load(3), tg.load_model(run.checkpoints[-1].file)):
        assert loaded.class_names == ("low", "high")
        same = evaluate(model, clouds(), normalizer=normalizer)
        assert evaluate(loaded.model, clouds(), normalizer=loaded.normalizer) == same
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint 1 in .*there are 2, 3"):
        run.load(1)
    assert os.stat(run.folder.path).st_mode & 0o777 == 0o700


def test_events_tell_steps_epochs_and_what_changed(tmp_path):
    run = Run(tmp_path / "run", step_events=1)
    history = long_run(run, 2)[3]
    events = run.events()
    assert all({"event", "time", "step", "epoch", "branch"} <= set(event) for event in events)
    assert kinds(run)[:2] == ["start", "checkpoint"] and kinds(run)[-1] == "end"
    assert (
        events[0]["samples"] == 48
        and events[0]["steps_per_epoch"] == 3
        and events[0]["settings"]["augment"] == "jitter"
    )
    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5, 6] and [e["epoch"] for e in steps] == [0] * 3 + [1] * 3
    assert [event["hyperparameters"]["lr"] for event in steps] == history.learning_rate
    assert all(set(event["hyperparameters"]) == {"lr"} for event in steps[1:])
    epochs = [event for event in events if event["event"] == "epoch"]
    assert [event["measures"]["dev_loss"] for event in epochs] == history["dev_loss"]
    assert events[-1]["reason"] == "epochs"
    lines = (tmp_path / "run/events.jsonl").read_text("utf-8").splitlines()
    assert all(json.loads(line, parse_constant=pytest.fail) for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=8), "settings: batch_size was 16 and is 8"),
        (dict(augment=lambda x, rng: x), r"settings: augment was 'jitter' and is '.*<lambda>'"),
        (dict(dev=clouds(seed=2)), "data: the numbers of dev x are others; data: the numbers of dev y are others"),
        (dict(dev=None, early_stop=None), r"data: dev x is gone .*; data: dev y is gone .* and 1 more|callbacks"),
        (dict(normalizer=Normalizer().fit(clouds().x)), "data: the numbers of normalizer"),
        (dict(optimizer=lambda model: optim.Adam(model, lr=0.1)), r"schedules.optimizer is gone \(it was 'cosine"),
        (dict(optimizer=lambda model: optim.Adam(model, lr=optim.cosine(0.1, 19))), "schedules.optimizer was"),
        (dict(optimizer=lambda model: optim.SGD(model, lr=optim.cosine(0.1, 18))), "optimizer.class was 'Adam'"),
        (
            dict(optimizer=lambda model: optim.Adam(model, lr=optim.cosine(0.1, 18), beta1=0.8)),
            "hyperparameters.beta1 was 0.9 and is 0.8",
        ),
        (dict(loss=lambda z, y: 2.0 * tg.softmax_cross_entropy(z, y)), "loss was .softmax_cross_entropy. and is"),
    ],
)
def test_what_differs_is_told_and_nothing_changes(tmp_path, options, message):
    path = tmp_path / "run"
    long_run(path, 1)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=rf"holds a run that differs \(.*({message}).*\): give the same") as told:
        long_run(path, 2, **options)
    assert "model:" not in str(told.value)
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_another_model_or_one_changed_number_is_told(tmp_path):
    data, model = clouds(), small()
    settings = dict(epochs=1, run=tmp_path / "run", progress=False)
    fit(model, data, optimizer=trained_by(model), **settings)

    def message(model, data=data):
        with pytest.raises(ValueError, match="holds a run that differs") as told:
            fit(model, data, optimizer=trained_by(model), **settings)
        return str(told.value)

    wider = nn.Sequential(nn.Linear(3, 9, bias=False, seed=0), nn.BatchNorm(9), nn.ReLU(), nn.Linear(9, 2, seed=1))
    assert "model: cells.0.weight was 'float32[3, 8]' and is 'float32[3, 9]'" in message(wider)
    other = nn.Sequential(nn.Linear(3, 8, bias=False, seed=0), nn.BatchNorm(8), nn.Tanh(), nn.Linear(8, 2, seed=1))
    assert "model: layers.arguments.layers[2].layer was 'ReLU' and is 'Tanh'" in message(other)
    lazy = nn.Sequential(
        nn.Linear(3, 8, bias=False, seed=0), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 2, seed=1)
    )  # fmt: skip
    lazy[0].weight.requires_grad_(False)
    assert "model: trained" in message(lazy)
    x = data.x.copy()
    x[17, 2] = np.nextafter(x[17, 2], 9.0)
    assert "data: the numbers of x are others" in message(small(), (x, data.y))
    x = np.asfortranarray(data.x)
    again = small()
    assert len(fit(again, (x, data.y), optimizer=trained_by(again), **settings)) == 1  # the same numbers


def test_what_a_layer_computes_is_looked_at(tmp_path):
    class Scaled(nn.Module):
        def __init__(self, by):
            self.inner, self.by = small(), by

        def forward(self, x):
            return self.inner(x * self.by)

    settings = dict(epochs=1, run=tmp_path / "run", progress=False)
    first, second = Scaled(1.0), Scaled(2.0)
    fit(first, clouds(), optimizer=trained_by(first), **settings)
    with pytest.raises(ValueError, match="the model or the loss computes something else"):
        fit(second, clouds(), optimizer=trained_by(second), **settings)


def test_memory_mapped_data_is_told_by_its_content(tmp_path):
    np.save(tmp_path / "x.npy", clouds().x)
    model = small()
    settings = dict(epochs=1, run=tmp_path / "run", progress=False)
    fit(model, (np.load(tmp_path / "x.npy", mmap_mode="r"), clouds().y), optimizer=trained_by(model), **settings)
    was = os.stat(tmp_path / "x.npy")
    changed = np.load(tmp_path / "x.npy", mmap_mode="r+")
    changed[5, 1] += 1.0
    changed.flush()
    os.utime(tmp_path / "x.npy", ns=(was.st_atime_ns, was.st_mtime_ns))
    with pytest.raises(ValueError, match="the numbers of x are others"):
        fit(model, (changed, clouds().y), optimizer=trained_by(model), **settings)


@pytest.mark.parametrize(
    "how", [damage, lambda path: path.write_bytes(path.read_bytes()[:-9]), lambda p: p.write_bytes(b"")]
)
def test_after_a_damaged_last_checkpoint_the_one_before_serves(tmp_path, undisturbed, how):
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(tmp_path / "run", callbacks=[Crash(11)])
    run = Run(tmp_path / "run")
    assert numbers(run) == [1, 2, 3]
    how(run.checkpoints[-1].file)
    assert len(run.history) == 2
    with pytest.warns(RuntimeWarning, match=r"set aside as '00000003.damaged'; the one before serves"):
        result = long_run(run)
    assert same_run(result, undisturbed)


def test_where_no_checkpoint_is_whole_nothing_is_begun_anew(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(Run(tmp_path / "run", keep=1), callbacks=[Crash(4)])
    run = Run(tmp_path / "run", keep=1)
    damage(run.checkpoints[-1].file)
    with (
        pytest.warns(RuntimeWarning, match="set aside"),
        pytest.raises(FileFormatError, match=r"no whole checkpoint is left in .*: restore one from a copy, or remove"),
    ):
        long_run(run)
    with pytest.raises(FileFormatError, match="no whole checkpoint"):
        long_run(run)


def test_a_torn_line_is_cut_off_and_a_damaged_one_is_told(tmp_path, undisturbed):
    path = tmp_path / "run/events.jsonl"
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(tmp_path / "run", callbacks=[Crash(4)])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"step","time":17')
    assert len(Run(tmp_path / "run").events()) == whole.count(b"\n")
    assert same_run(long_run(tmp_path / "run"), undisturbed)
    lines = path.read_bytes().splitlines(keepends=True)
    assert b"".join(lines[: whole.count(b"\n")]) == whole and all(json.loads(line) for line in lines)
    path.write_bytes(b"".join([lines[0], b"\0\0\0\n", *lines[2:]]))
    with pytest.raises(FileFormatError, match=r"events.jsonl', line 2, is damaged"):
        Run(tmp_path / "run").events()


def test_what_a_kill_left_beside_the_checkpoints_is_removed(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(tmp_path / "run", callbacks=[Crash(4)])
    left = tmp_path / "run/ckpt/.00000002.safetensors.0123456789ab.tmp"
    left.write_bytes(b"half")
    long_run(tmp_path / "run")
    assert not left.exists()


def test_a_run_that_diverged_says_so_and_is_not_tried_again(tmp_path):
    def train(lr=1e30):
        model = small()
        sgd = optim.SGD(model.parameters(), lr=lr)
        return fit(model, clouds(), optimizer=sgd, epochs=3, batch_size=16, run=tmp_path / "run", progress=False)

    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning), pytest.raises(NonFiniteLossError, match="step 2"):
        train()
    run = Run(tmp_path / "run")
    end = run.events()[-1]
    assert (
        run.status == "diverged" and end["reason"] == "diverged" and end["step"] == 1 and "lower the" in end["message"]
    )
    with pytest.raises(NonFiniteLossError, match=r"diverged at step 1 and would again: the loss.*rollback\(\)"):
        train()
    run.rollback()
    run.set("lr", 0.05)
    history = train()
    assert history.stopped == "epochs" and np.isfinite(history["loss"]).all() and run.status == "finished"
    assert set(history.learning_rate) == {0.05}
    assert run.events()[-1]["branch"] == 1


def test_ctrl_c_loses_no_step(tmp_path, undisturbed):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    class Press:
        def on_step_end(self, run):
            if run.step in (4, 9):
                signal.raise_signal(signal.SIGINT)

    try:
        for step in (4, 9):
            assert long_run(tmp_path / "run", callbacks=[Press()])[3].stopped == "interrupted"
            run = Run(tmp_path / "run")
            assert run.status == "interrupted" and run.checkpoints[-1].step == step
    finally:
        signal.signal(signal.SIGINT, before)
    assert same_run(long_run(run), undisturbed)


def test_only_modules_have_runs(tmp_path):
    w = tg.Parameter(np.zeros((3, 2), np.float32))
    with pytest.raises(TypeError, match="run= saves the model, which must be a Module; got function"):
        fit(lambda x: x @ w, clouds(), optimizer=optim.SGD([w]), epochs=1, run=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_checkpoints_are_made_when_asked_for(tmp_path):
    def steps(**options):
        run = Run(tmp_path / "-".join(f"{key}{value}" for key, value in options.items()), keep=99, **options)
        long_run(run, 5)
        return [checkpoint.step for checkpoint in run.checkpoints]

    assert steps(epochs=1) == [0, 3, 6, 9, 12, 15] and steps(epochs=2) == [0, 6, 12, 15]
    assert steps(steps=2, epochs=5) == [0, 2, 4, 6, 8, 10, 12, 14, 15]
    assert steps(seconds=1e-9, epochs=5) == [*range(16)] and steps(seconds=1e9, epochs=9) == [0, 15]


def batches(epoch):
    """Batches of one's own making."""
    x, y = clouds().x, clouds().y
    for rows in np.array_split(np.random.default_rng(epoch).permutation(len(x)), 4):
        yield x[rows], y[rows]


@pytest.mark.parametrize(
    "options",
    [
        dict(accumulate=2, batch_size=8),
        dict(class_weights="balanced"),
        dict(prefetch=2),
        dict(batch_size=[8, 16, 24]),
        dict(data=batches, batch_size=None, steps_per_epoch=4),
        dict(data="file"),
    ],
    ids=lambda options: "-".join(options),
)
def test_every_way_to_feed_a_run_goes_on_bit_for_bit(tmp_path, options):
    if options.get("data") == "file":
        np.save(tmp_path / "x.npy", clouds().x)
        options = dict(data=data.Dataset(data.open_npy(tmp_path / "x.npy"), clouds().y))
    run = Run(tmp_path / "run", steps=1)
    for step in (2, 5, 8, 9):
        with pytest.raises(RuntimeError, match="power cut"):
            long_run(run, 3, callbacks=[Crash(step)], **options)
        assert run.checkpoints[-1].step == step - 1
    assert same_run(long_run(run, 3, seed=7, **options), long_run(None, 3, **options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(move=True), "the numbers of y are others"),
        (dict(seed=1), "data: seed was 0 and is 1"),
        (dict(batch_size=[8, 24]), r"data: batch_size was 16 and is \[8, 24\]"),
        (dict(shuffle=False), "data: shuffle was True and is False"),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_what_a_loader_goes_through_is_looked_at(tmp_path, change, message):
    def go(move=False, **options):
        y = clouds().y.copy()
        y[5] ^= move
        loader = data.Loader(clouds().x, y, **{"batch_size": 16, **options})
        return long_run(tmp_path / "run", 2, data=loader, batch_size=None)[3]

    history = go()
    assert go().values == history.values  # another loader of the same
    with pytest.raises(ValueError, match=message):
        go(**change)


def test_a_run_is_read_on_from_where_it_was_read_to(tmp_path):
    run = Run(tmp_path / "run")
    long_run(run, 1)
    assert run.status == "finished" and run.hyperparameters["epochs"] == 1
    long_run(tmp_path / "run", 2)
    assert run.status == "finished" and run.hyperparameters["epochs"] == 2
    names = run.settable
    first = run.folder.events.read_bytes().partition(b"\n")
    run.folder.events.write_bytes(first[0] + first[1] + first[0] + first[1])  # a kill came before checkpoint 0
    assert run.settable == names and run.status == "interrupted"
    with open(run.folder.events, "ab") as file:
        file.write(b"damaged\n")
    for _ in range(2):  # not the first time alone
        with pytest.raises(FileFormatError, match="line 3, is damaged"):
            run.status  # noqa: B018
    shutil.rmtree(run.folder.path)
    assert (run.status, run.settable) == ("new", [])
    model = small()
    fit(model, clouds(), optimizer=optim.SGD(model, lr=0.1), epochs=1, run=tmp_path / "run", progress=False)
    assert run.status == "finished" and run.settable == ["lr", "weight_decay", "epochs"]
