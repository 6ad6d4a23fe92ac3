"""TensorBoard's event files of a run, read back record by record."""

import builtins
import struct

import pytest
from test_run_control import At
from training_helpers import Crash, long_run, same_run

from tensorgraph.files import MissingExtraError
from tensorgraph.train import Run


def scalars(folder):
    """(name, step, value) in the order written, and the steps from which on older ones are no more."""
    from tensorboardX.proto import event_pb2

    found, purged = [], []
    for file in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.suffix):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length
            if event.HasField("session_log"):
                purged.append(event.step)
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found, purged


def test_event_files_tell_what_the_events_tell(tmp_path):
    pytest.importorskip("tensorboardX")
    run = Run(tmp_path / "run", step_events=1, tensorboard=True)
    calls = At(_7=lambda: run.rollback(0))
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(run, 3, callbacks=[Crash(5)])
    whole = long_run(run, 3, callbacks=[calls])
    first, purged = scalars(tmp_path / "run/tensorboard/branch0")
    assert purged == [1, 4]
    assert [step for name, step, _ in first if name == "step/loss"] == [1, 2, 3, 4, 4, 5, 6, 7]
    second, purged = scalars(tmp_path / "run/tensorboard/branch1")
    assert purged == [1]
    losses = [event["loss"] for event in run.events() if event["event"] == "step" and event["branch"] == 1]
    assert [value for name, _, value in second if name == "step/loss"] == pytest.approx(losses, rel=1e-6)
    assert [value for name, _, value in second if name == "epoch/dev_loss"] == pytest.approx(whole[3]["dev_loss"])
    rates = [value for name, _, value in second if name == "hyperparameters/lr"]
    assert rates == pytest.approx(whole[3].learning_rate, rel=1e-6)
    assert same_run(whole, long_run(None, 3))


def test_without_tensorboard_x_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **options):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"tensorgraph-engine\[tensorboard\]"):
        long_run(Run(tmp_path / "run", tensorboard=True), 1)
    assert not (tmp_path / "run").exists()
