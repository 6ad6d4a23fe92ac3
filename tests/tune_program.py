"""A search as a person runs it, in a process of its own: ``python tune_program.py FOLDER WITNESS TRIALS [ENGINE]``.

Each trial takes eight steps and keeps a checkpoint after each. Before a step its process writes slot, pid and step to
the witness, a file that is only ever appended to, so that the order tells who worked in which slot and when.
"""

import os
import sys
import time

from tensorgraph import tune

STEPS = 8
WITNESS = sys.argv[2] if len(sys.argv) > 2 else ""  # here, since a worker may have other arguments
SPACE = tune.Space(lr=tune.log(1e-4, 1), layers=tune.int(1, 4))


def objective(trial):
    witness = os.open(WITNESS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    done = trial.folder / "steps"
    while (step := done.stat().st_size if done.exists() else 0) < STEPS:
        os.write(witness, f"{trial.slot} {os.getpid()} {step}\n".encode())
        time.sleep(0.05)
        with done.open("ab") as file:  # the checkpoint
            file.write(b".")
    os.close(witness)
    return trial["lr"]


def table(trials):
    """What an undisturbed search gives."""
    return tune.random(SPACE, lambda trial: trial["lr"], trials=trials, progress=False).table(rows=None)


if __name__ == "__main__":
    engine = sys.argv[4] if len(sys.argv) > 4 else "loky"
    study = tune.Study(SPACE, folder=sys.argv[1])
    study.run(
        objective, trials=int(sys.argv[3]), workers=1 if engine == "serial" else 2, engine=engine, retries=1_000_000
    )
    print(study.table(rows=None) if study.stopped == "trials" else "stopped")
