"""Events as a run writes them, made by hand: two epochs' worth of steps, commands, a rollback, an end."""

import math

from tensorgraph.train import Run
from tensorgraph.train.run.lines import as_line

NAMES = ["low <b>", "high & dry"]


class Told:
    """The events of a run, numbered and timed as they are added."""

    def __init__(self, steps_per_epoch=10, epochs=6):
        self.events, self.clock = [], 1_700_000_000.0
        self.steps_per_epoch, self.epochs = steps_per_epoch, epochs

    def add(self, event, step, branch=0, **fields):
        self.clock += 0.5
        epoch = max(step - 1, 0) // self.steps_per_epoch
        self.events.append(
            {"event": event, "time": self.clock, "step": step, "epoch": epoch, "branch": branch, **fields}
        )  # fmt: skip

    def start(self, **more):
        self.add(
            "start", 0, epochs=self.epochs, samples=320, batch_size=32, steps_per_epoch=self.steps_per_epoch,
            model="Sequential", parameters=42, hyperparameters={"lr": 0.1, "beta1": 0.9}, settings={"seed": 0}, **more,
        )  # fmt: skip
        return self

    def train(self, first, last, branch=0, lr=None):
        """The steps after `first` up to `last`, measured and kept at the ends of epochs."""
        for step in range(first + 1, last + 1):
            rate = {"lr": 0.1 * 0.5 * (1 + math.cos(math.pi * step / 60))} if lr is None else {}
            self.add("step", step, branch, loss=2.0 * math.exp(-step / 20), hyperparameters=rate)
            if step % self.steps_per_epoch == 0:
                loss, share = 2.1 * math.exp(-step / 20), 1 - 0.5 * math.exp(-step / 20)
                measures = {"loss": loss, "accuracy": share, "dev_loss": 1.2 * loss, "dev_accuracy": share - 0.01}
                self.add("epoch", step, branch, measures=measures, seconds=1.5)
                self.add("checkpoint", step, branch, file=f"{step:08}.safetensors", name=None)
        return self


def steered():
    """A run that was set back by hand: branch 0 to step 35, back to 20, another rate, to the end."""
    told = Told().start(sample={"shape": [3], "dtype": "float64"}).train(0, 30)
    told.add("command", 30, id="a" * 16, command="set", name="beta1", value=0.95)
    told.train(30, 35)
    told.add("refused", 35, id="b" * 16, reason="no hyperparameter is called 'speed'")
    told.add("command", 35, id="c" * 16, command="rollback", to=2)
    told.add("rollback", 20, 1, to="00000020.safetensors", of_branch=0)
    told.add("command", 20, 1, id="d" * 16, command="set", name="lr", value=0.02)
    told.train(20, 60, 1, lr=0.02)
    told.add("end", 60, 1, reason="epochs", seconds=30.0, confusion={"names": NAMES, "counts": [[20, 3], [1, 40]]})
    return told.events


ENVIRONMENT = {"python": "3.11", "blas": {"name": "openblas", "threads": 1}}


def written(folder, events, environment=ENVIRONMENT):
    """A run whose folder holds these events and no checkpoint."""
    run = Run(folder)
    run.folder.make()
    run.folder.write({"made": 1.0, "digest": {}, "initial": "", "environment": environment})
    run.folder.events.write_bytes(b"".join(map(as_line, events)))
    return run
