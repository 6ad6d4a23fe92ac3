"""Trains, and kills what trains: one process loads and compiles, its children are killed. `test_run_kill.py` calls it.

python run_killing.py FOLDER REPETITIONS alone|commanded|everywhere
"""

import os
import random
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path

from training_helpers import long_run, same_run

from tensorgraph.train import Run, compiled

compiled.FIRST, compiled.AGAIN = 4, 1  # most steps are compiled


def forked(run, before=lambda: None, **options):
    number = os.fork()
    if number:
        return number
    try:
        before()
        # once there is a checkpoint, the model may begin with any numbers
        long_run(run, **(dict(seed=os.getpid() % 1000, random_seed=99) if run.checkpoints else {}), **options)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def killed_until_done(run, rng, seconds, meanwhile=lambda: None):
    kills = 0
    while True:
        number = forked(run)
        until = time.monotonic() + rng.uniform(0.0, seconds * (1 + kills / 10))
        while True:
            done, status = os.waitpid(number, os.WNOHANG)
            if done:
                assert status == 0, status
                return kills
            if time.monotonic() > until:
                break
            meanwhile()
            time.sleep(0.001)
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        kills += 1


WORDS = ["lr", "rate", "checkpoint", "named", "rollback", "rollback", "pause", "nonsense"]


class Commander:
    """Sends commands at random."""

    def __init__(self, run, rng):
        self.run, self.rng, self.sent, self.paused, self.left = run, rng, [], False, 10

    def __call__(self):
        if self.run.folder.read() is None or self.rng.random() > 0.02 or not (self.left or self.paused):
            return
        if self.paused and self.rng.random() < 0.3:
            self.end()
            return
        self.left = max(0, self.left - 1)
        what = self.rng.choice(WORDS if self.left else WORDS[:1])
        run, rng = self.run, self.rng
        if what == "pause" and self.paused:
            return
        self.paused = self.paused or what == "pause"
        self.sent.append(
            {
                "lr": lambda: run.set("lr", rng.uniform(0.001, 0.1)),
                "rate": lambda: run.set("inner.3.rate", rng.uniform(0.0, 0.6)),
                "checkpoint": run.checkpoint,
                "named": lambda: run.checkpoint(rng.choice("abc")),
                "rollback": lambda: run.rollback(rng.choice([None, None, "a", "b"])),
                "pause": run.pause,
                "nonsense": lambda: run.set("speed", 1.0),
            }[what]()
        )

    def end(self):
        if self.paused:
            self.sent.append(self.run.resume())
            self.paused = False


class Commands:
    """Sends commands at steps, each once, whoever trains."""

    def __init__(self, run):
        self.run = run
        self.all = {2: run.checkpoint, 4: lambda: run.set("lr", 0.02), 5: run.rollback, 7: run.stop}

    def on_step_end(self, training):
        step = training.step
        lines = self.run.folder.control.read_bytes().count(b"\n") if self.run.folder.control.exists() else 0
        if step in self.all and lines == list(self.all).index(step):
            self.all[step]()


def die_at(count):
    """Die of SIGKILL at the n-th call that changes a file, before it."""
    left = [count]

    def patched(call):
        def counting(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return counting

    for name in ("write", "pwrite", "fsync", "replace", "ftruncate", "unlink", "mkdir"):
        setattr(os, name, patched(getattr(os, name)))


def everywhere(folder, points):
    """Kill a run at these calls, go on, and look at what became of its commands; gives how many were tried."""
    options = dict(epochs=3)
    for n in points:
        run = Run(folder / f"at{n}", keep=1)
        number = forked(run, partial(die_at, n), callbacks=[Commands(run)], **options)
        died = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        assert died in (0, -signal.SIGKILL), died
        result = long_run(run, callbacks=[Commands(run)], **options)
        told = [event for event in run.events() if event["event"] in ("command", "refused")]
        assert [event["event"] for event in told] == ["command"] * 4, (n, told)
        assert [event["command"] for event in told] == ["checkpoint", "set", "rollback", "stop"], (n, told)
        assert told[2]["tip"] in [checkpoint.number for checkpoint in run.checkpoints], n
        back = [event["step"] for event in run.events() if event["event"] == "rollback"]
        assert told[2]["place"][1] == 3 and back in ([3], []), (n, told[2], back)
        assert result[3].stopped == "stopped"
        again = Run(folder / f"again{n}", replay=folder / f"at{n}")
        assert same_run(long_run(again, **options), result), n
        if died == 0:
            return n
    raise AssertionError("more calls than that?")


def main(folder, repetitions, how):
    long_run(None)
    if how == "everywhere":
        every = max(1, 60 // repetitions)
        print(everywhere(folder, range(repetitions % every, 1000, every)))
        return
    commanded = how == "commanded"
    undisturbed = long_run(None)
    long_run(Run(folder / "first", steps=2))
    began = time.perf_counter()
    long_run(Run(folder / "second", steps=2))
    seconds, kills = time.perf_counter() - began, 0
    for repetition in range(repetitions):
        rng = random.Random(repetition)
        where = folder / f"run{repetition}"
        run = Run(where, keep=rng.choice([2, 3]), steps=rng.choice([None, 1, 2]))
        if not commanded:
            kills += killed_until_done(run, rng, seconds)
            assert same_run(long_run(run, seed=3), undisturbed), where
            continue
        commander = Commander(run, rng)
        kills += killed_until_done(run, rng, seconds, commander)
        commander.end()
        result = long_run(run)
        answered = [event["id"] for event in run.events() if event["event"] in ("command", "refused")]
        assert sorted(answered) == sorted(commander.sent), where
        again = Run(folder / f"again{repetition}", keep=2, replay=where)
        kills += killed_until_done(again, rng, seconds)
        assert same_run(long_run(again), result), where
    print(kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
