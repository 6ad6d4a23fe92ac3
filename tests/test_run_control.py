"""Commands to a run: applied between two steps, answered in its log, and replayed from there to the same bits."""

import shutil
import threading
import time

import numpy as np
import pytest
from training_helpers import Crash, clouds, long_run, same_run, same_state, small, trained_by

from tensorgraph import nn, optim
from tensorgraph.train import Run, fit


class At:
    """Calls functions at steps, in the process that trains, as another process might."""

    def __init__(self, **calls):
        self.calls = {int(step[1:]): call for step, call in calls.items()}

    def on_step_end(self, run):
        if call := self.calls.pop(run.step, None):
            call()


def answers(run):
    return [event for event in run.events() if event["event"] in ("command", "refused")]


def of(run, kind):
    return [event for event in run.events() if event["event"] == kind]


def test_a_value_is_set_from_the_next_step_on(tmp_path):
    run = Run(tmp_path / "run", step_events=1)
    ids = []
    calls = At(_4=lambda: ids.extend([run.set("lr", 0.003), run.set("beta1", 0.5), run.set("inner.3.rate", 0.1)]))
    model, adam, _, history = long_run(run, callbacks=[calls])
    reference = long_run(None)[3]
    assert history.learning_rate == reference.learning_rate[:4] + [0.003] * 14  # the schedule is replaced
    assert adam.beta1 == 0.5 and model.inner[3].rate == 0.1
    assert [(e["id"], e["step"], e["epoch"], e["branch"]) for e in answers(run)] == [(id, 4, 1, 0) for id in ids]
    assert run.wait(ids[0], 0)["value"] == 0.003 and run.hyperparameters["beta1"] == 0.5
    step = next(event for event in of(run, "step") if event["step"] == 5)
    assert step["hyperparameters"] == {"lr": 0.003, "beta1": 0.5, "inner.3.rate": 0.1}


def test_what_was_set_goes_on_with_the_run(tmp_path):
    run = Run(tmp_path / "run")
    calls = At(_5=lambda: (run.set("lr", 0.003), run.set("inner.3.rate", 0.5), run.set("epochs", 5)))
    whole = long_run(run, callbacks=[calls])
    assert len(whole[3]) == 5
    other = Run(tmp_path / "other")
    calls = At(_5=lambda: (other.set("lr", 0.003), other.set("inner.3.rate", 0.5), other.set("epochs", 5)))
    for step, callbacks in ((5, []), (7, [calls]), (13, [])):
        with pytest.raises(RuntimeError, match="power cut"):
            long_run(other, callbacks=[*callbacks, Crash(step)])
    assert same_run(long_run(other), whole)
    assert len(answers(other)) == 3


@pytest.mark.parametrize("checkpoint", [False, True])
def test_of_fit_and_the_commands_who_said_a_number_of_epochs_last_holds(tmp_path, checkpoint):
    run = Run(tmp_path / "run")
    calls = At(_4=lambda: (run.set("epochs", 9), run.checkpoint() if checkpoint else None))
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(run, 6, callbacks=[calls, Crash(5)])
    shutil.copytree(run.folder.path, tmp_path / "same")
    assert len(long_run(tmp_path / "same", 6)[3]) == 9  # fit says again what it said before
    assert len(long_run(tmp_path / "same", 6)[3]) == 9
    calls = At(_7=lambda: run.set("epochs", 5))
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(run, 7, callbacks=[Crash(6)])  # and something else here
    shutil.copytree(run.folder.path, tmp_path / "other")
    assert len(long_run(tmp_path / "other", 7)[3]) == 7
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(run, 7, callbacks=[calls, Crash(8)])
    assert len(long_run(run, 7)[3]) == 5
    assert same_state(long_run(run, 7)[0].state_dict(), long_run(None, 5)[0].state_dict())


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (lambda run: run.set("lr", -1.0), "value must be"),
        (lambda run: run.set("speed", 1.0), "there is no hyperparameter 'speed'; there are lr, beta1"),
        (lambda run: run.set("beta1", 1.5), "beta1 must be"),
        (lambda run: run.set("epochs", 2.5), "epochs must be a positive integer"),
        (lambda run: run.set("inner.3.rate", 1.0), "inner.3.rate must be"),
        (lambda run: run.rollback(77), "there is no checkpoint 77; there are 0, 1"),
        (lambda run: run.rollback("best"), "there is no checkpoint 'best'"),
        (lambda run: run.checkpoint("7"), "a checkpoint's name is a word"),
        (lambda run: run.resume(), "the run is not paused"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(tmp_path, command, reason):
    run = Run(tmp_path / "run")
    told = []

    def call():
        try:
            told.append(run.wait)
            command(run)
        except ValueError as error:
            told.append(str(error))

    whole = long_run(run, callbacks=[At(_4=call)])
    refused = [event["reason"] for event in of(run, "refused")]
    assert any(reason in text for text in [*refused, *filter(lambda t: isinstance(t, str), told)])
    assert same_run(whole, long_run(None))


def test_lines_that_are_no_commands_do_no_harm(tmp_path):
    run = Run(tmp_path / "run")
    control = tmp_path / "run/control.jsonl"

    def write():
        control.write_bytes(
            b'nonsense\n[1]\n{"id":"a","command":"fly"}\n{"id":"b","command":"set","name":"lr"}\n{"id":3}\n{"id":"c"'
        )
        run.set("beta1", 0.8)

    _, adam, _, _ = long_run(run, callbacks=[At(_4=write)])
    assert [(e["event"], e["id"]) for e in answers(run)][:2] == [("refused", "a"), ("refused", "b")]
    assert answers(run)[2]["name"] == "beta1" and adam.beta1 == 0.8


def test_a_rollback_goes_back_and_keeps_its_branch(tmp_path):
    run = Run(tmp_path / "run", keep=1)
    calls = At(_4=lambda: run.checkpoint("good"), _11=lambda: run.rollback("good"))
    history = long_run(run, callbacks=[calls])[3]
    rollback = of(run, "rollback")[0]
    assert (rollback["step"], rollback["branch"], rollback["of_branch"]) == (4, 1, 0)
    assert answers(run)[1]["step"] == 11 and answers(run)[1]["branch"] == 0
    assert len(history) == 6 and len(history.learning_rate) == 18
    kept = {(c.step, c.branch, c.name) for c in run.checkpoints}
    assert kept == {(4, 0, "good"), (11, 0, None), (18, 1, None)}  # named, the tip of the branch, the last
    assert np.isfinite(history["loss"]).all()
    # back to the branch that was left
    tip = next(c.number for c in run.checkpoints if c.step == 11)
    run.rollback(tip)
    again = long_run(run)
    assert same_run(again, long_run(None))
    assert run.events()[-1]["branch"] == 2


def test_the_last_checkpoint_is_that_of_the_present_line(tmp_path):
    run = Run(tmp_path / "run", keep=9)
    calls = At(_8=lambda: run.rollback(), _10=lambda: run.rollback())
    long_run(run, callbacks=[calls])
    assert [event["step"] for event in of(run, "rollback")] == [6, 9]

    run = Run(tmp_path / "twice", keep=9)
    long_run(run, callbacks=[At(_8=lambda: (run.rollback(), run.rollback()))])
    assert [event["step"] for event in of(run, "rollback")] == [6, 6]  # and not the tip of the branch that was left


def test_a_rollback_brings_back_schedule_groups_and_rates(tmp_path):
    def groups(model):
        parameters = model.parameters()
        return optim.SGD([{"parameters": parameters[:2]}, {"parameters": parameters[2:]}], lr=optim.cosine(0.1, 18))

    run = Run(tmp_path / "run", keep=9)
    calls = At(
        _7=lambda: (run.set("lr", 0.5), run.set("group1.lr", 0.25), run.set("inner.3.rate", 0.9)),
        _10=lambda: run.rollback(1),
    )
    model, sgd, _, history = long_run(run, callbacks=[calls], optimizer=groups)
    reference = long_run(None, optimizer=groups)
    assert same_state(model.state_dict(), reference[0].state_dict())
    assert same_state(sgd.state_dict(), reference[1].state_dict())
    assert history.learning_rate == reference[3].learning_rate
    assert "group1.lr" in run.settable and of(run, "step")[-1]["hyperparameters"]["lr"] == sgd.lr


def test_a_run_is_paused_steered_and_resumed_from_elsewhere(tmp_path):
    run = Run(tmp_path / "run")
    seen = []

    def steer():
        seen.append(run.wait(pause[0], 60)["event"])
        while run.status != "paused":
            time.sleep(0.01)
        seen.append(run.status)
        seen.append(run.wait(run.set("lr", 0.002), 60)["step"])
        seen.append(run.wait(run.pause(), 60)["reason"])
        seen.append(run.wait(run.rollback(0), 60)["step"])
        seen.append(run.status)
        seen.append(run.wait(run.resume(), 60)["branch"])

    pause = []
    thread = threading.Thread(target=steer)

    def begin():
        pause.append(run.pause())
        thread.start()

    history = long_run(run, callbacks=[At(_7=begin)])[3]
    thread.join()
    assert seen == ["command", "paused", 7, "the run is paused already", 7, "paused", 1]
    assert [event["event"] for event in run.events() if event["event"] in ("pause", "continue")] == [
        "pause",
        "continue",
    ]
    assert len(history) == 6 and run.status == "finished"


def test_a_run_that_was_stopped_goes_on_when_told_to(tmp_path):
    run = Run(tmp_path / "run")
    history = long_run(run, callbacks=[At(_8=run.stop)])[3]
    assert history.stopped == "stopped" and len(history) == 2 and len(history.learning_rate) == 8
    assert run.status == "finished" and run.events()[-1]["reason"] == "stopped" and run.checkpoints[-1].step == 8
    assert long_run(run)[3].stopped == "stopped"
    run.resume()
    assert same_run(long_run(run), long_run(None))
    run.stop()
    assert same_run(long_run(run), long_run(None)) and of(run, "refused")[-1]["reason"] == "the run is over"


def test_commands_wait_for_the_next_process(tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"there is no run in .*; fit\(\.\.\., run="):
        run.set("lr", 0.1)
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(run, callbacks=[Crash(8)])
    ids = [run.set("lr", 0.004), run.checkpoint("here")]
    with pytest.raises(TimeoutError, match=r"nobody answered .* \(the run is interrupted\)"):
        run.wait(ids[0], 0.0)
    with pytest.raises(ValueError, match="there is no command 'x'"):
        run.wait("x")
    history = long_run(run)[3]
    assert history.learning_rate[6:] == [0.004] * 12  # from the last checkpoint on
    assert [event["id"] for event in answers(run)] == ids
    assert "here" in [c.name for c in run.checkpoints]


def commands(run):
    """A bit of everything."""
    return At(
        _2=lambda: run.set("lr", 0.02), _5=lambda: run.checkpoint("five"), _7=lambda: run.set("inner.3.rate", 0.05),
        _8=lambda: run.rollback("five"), _9=lambda: (run.set("beta1", 0.7), run.rollback()),
        _13=lambda: (run.set("weight_decay", 0.01), run.set("epochs", 7)),
        _16=lambda: (run.rollback(0), run.set("beta2", 0.9)),
    )  # fmt: skip


def test_replaying_the_log_gives_the_same_bits(tmp_path):
    run = Run(tmp_path / "run", keep=30, steps=2)
    whole = long_run(run, callbacks=[commands(run)])
    assert run.events()[-1]["branch"] == 3 and len(whole[3]) == 6 and whole[1].beta2 == 0.9
    # killed and gone on, without anybody there who gives commands
    again = Run(tmp_path / "again", replay=tmp_path / "run", keep=1)
    for step in (6, 4, 12, 19):
        try:
            long_run(again, callbacks=[Crash(step)])
        except RuntimeError as error:
            assert str(error) == "power cut"
    assert same_run(long_run(again), whole)
    told = ("command", "id", "step", "branch", "name", "value")
    first, second = ([tuple(e.get(key) for key in told) for e in answers(r)] for r in (run, again))
    assert first == second


def test_a_replay_of_another_beginning_is_refused(tmp_path):
    run = Run(tmp_path / "run")
    long_run(run, 2)
    with pytest.raises(ValueError, match="began with other numbers: make the model with the same seeds"):
        long_run(Run(tmp_path / "again", replay=tmp_path / "run"), 2, seed=5)
    with pytest.raises(ValueError, match=r"differs \(settings: batch_size was 16 and is 8\): replay it with the same"):
        long_run(Run(tmp_path / "again", replay=tmp_path / "run"), 2, batch_size=8)
    with pytest.raises(FileNotFoundError, match=r"there is no run in .* to replay"):
        long_run(Run(tmp_path / "again", replay=tmp_path / "none"), 2)
    assert Run(tmp_path / "again").status == "new"


def test_a_damaged_checkpoint_that_a_branch_begins_at_is_made_again(tmp_path):
    run = Run(tmp_path / "run", keep=20)
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(run, callbacks=[At(_5=lambda: run.checkpoint("five"), _8=lambda: run.rollback("five")), Late()])
    other = Run(tmp_path / "other", keep=20)
    whole = long_run(other, callbacks=[At(_5=lambda: other.checkpoint("five"), _8=lambda: other.rollback("five"))])
    named = next(c for c in run.checkpoints if c.name == "five")
    for checkpoint in run.checkpoints:
        if checkpoint.branch == 1 or checkpoint == named or checkpoint.step > 4:
            checkpoint.file.write_bytes(checkpoint.file.read_bytes()[:-5])
    with pytest.warns(RuntimeWarning, match="set aside"):
        assert same_run(long_run(run), whole)


class Late:
    """Crashes in the second epoch that ends after a rollback."""

    def __init__(self):
        self.before, self.back = 0, False

    def on_step_end(self, run):
        self.back |= run.step < self.before
        self.before = run.step
        if self.back and run.step == 10:
            raise RuntimeError("power cut")


def test_one_optimizer_can_be_used_again_after_values_were_set(tmp_path):
    model = nn.Sequential(small(dropout=0.3))
    adam = trained_by(model)
    run = Run(tmp_path / "run")
    settings = dict(optimizer=adam, batch_size=16, progress=False, run=run)
    fit(
        model,
        clouds(),
        epochs=3,
        callbacks=[At(_4=lambda: (run.set("lr", 0.001), run.set("0.3.rate", 0.2)))],
        **settings,
    )
    assert len(fit(model, clouds(), epochs=4, **settings)) == 4


def test_what_was_set_after_the_last_step_is_kept(tmp_path):
    run = Run(tmp_path / "run")
    long_run(run)
    run.set("lr", 0.03)
    assert long_run(run)[1].lr == 0.03
    assert long_run(run, seed=5)[1].lr == 0.03  # nothing is left to do: it is read from the folder alone


def test_a_replay_makes_the_checkpoints_between_commands_of_one_step(tmp_path):
    run = Run(tmp_path / "run")
    long_run(run)
    for command in (lambda: run.set("lr", 0.03), run.rollback):
        command()
        whole = long_run(run)
    assert same_run(long_run(Run(tmp_path / "again", replay=tmp_path / "run")), whole)

    run = Run(tmp_path / "stopped")
    long_run(run, callbacks=[At(_8=run.stop)])
    run.rollback()
    whole = long_run(run)
    assert same_run(long_run(Run(tmp_path / "stopped again", replay=tmp_path / "stopped")), whole)


def test_one_optimizer_with_a_schedule_can_be_used_again(tmp_path):
    """As in a notebook, where the cell that trains is run again after Ctrl-C."""
    model = small(dropout=0.3)
    adam = optim.Adam(model, lr=optim.cosine(0.1, 18))

    def go(run, epochs=6, callbacks=(), model=model, optimizer=adam):
        settings = dict(batch_size=16, progress=False, callbacks=callbacks, run=run)
        return fit(model, clouds(), optimizer=optimizer, epochs=epochs, **settings)

    run = Run(tmp_path / "run", keep=9)
    with pytest.raises(RuntimeError, match="power cut"):
        go(run, callbacks=[Crash(8)])
    history = go(run)
    other = small(dropout=0.3)
    assert history.values == go(None, model=other, optimizer=optim.Adam(other, lr=optim.cosine(0.1, 18))).values

    run.rollback(3)  # at step 9, where the learning rate follows the schedule
    run.set("lr", 0.01)
    assert go(run).learning_rate[-1] == 0.01 and adam.schedule is None
    assert len(go(run, 7)) == 7
    refused = run.rollback(3)  # to a schedule that is there no more
    assert len(go(run, 8)) == 8
    assert "follows a schedule: make the optimiser again" in run.wait(refused)["reason"]
    with pytest.raises(ValueError, match=r"hyperparameters.lr was 0.1 and is 0.02"):  # to which nobody set it
        go(run, optimizer=optim.Adam(model, lr=0.02))


def test_after_a_rollback_the_state_gone_back_to_is_loaded(tmp_path):
    run = Run(tmp_path / "run")

    class CrashOnBranch:
        def on_step_end(self, training):
            if training.step == 5 and of(run, "rollback"):
                assert run.hyperparameters["lr"] == 0.05
                raise RuntimeError("power cut")

    calls = At(_4=lambda: run.checkpoint("good"), _8=lambda: run.set("lr", 0.5), _11=lambda: run.rollback("good"))
    model = small()
    with pytest.raises(RuntimeError, match="power cut"):
        fit(
            model, clouds(), optimizer=trained_by(model), epochs=6, batch_size=16, progress=False, run=run,
            callbacks=[calls, CrashOnBranch()],
        )  # fmt: skip
    good, tip = (next(c for c in run.checkpoints if c.step == step) for step in (4, 11))
    assert tip == run.checkpoints[-1]
    states = [run.load(number).model.state_dict() for number in (None, good.number, tip.number)]
    assert same_state(states[0], states[1]) and not same_state(states[0], states[2])


def test_a_run_that_replays_no_other_is_not_made_to(tmp_path):
    long_run(tmp_path / "one", 1)
    long_run(tmp_path / "two", 1)
    with pytest.raises(ValueError, match=r"two' holds a run that replays no other: give another folder"):
        long_run(Run(tmp_path / "two", replay=tmp_path / "one"), 1)
    for _ in range(2):
        assert same_run(
            long_run(Run(tmp_path / "three", replay=tmp_path / "one"), 1), long_run(Run(tmp_path / "one"), 1)
        )
