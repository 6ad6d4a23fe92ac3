"""Babysitting one model, as pandas do: it is watched, its learning rate is nudged, and yesterday's model comes back.

Course 2, week 3, "Pandas vs caviar". An epoch is a day. Whoever babysits writes commands into the run's folder, here a
function that is called every evening; from another terminal `tensorgraph panda FOLDER set lr 0.1` does the same. What
was done is in the folder too: replayed, it gives the same weights to the last bit.

python examples/course/panda.py [days]        # 30 unless told
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from tensorgraph import nn, optim, train
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

DAYS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
training, dev = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_dev = normalizer.transform(training.x), normalizer.transform(dev.x)
folder = Path(tempfile.mkdtemp())
run, diary = train.Run(folder / "watched"), []


def babysit(day):
    """Every evening: after a good day a little faster, after a bad one back to the best morning and slower."""
    loss, rate = day.measures["loss"], float(day.optimizer.lr)
    best = min((entry for entry in diary if entry["good"]), key=lambda entry: entry["loss"], default=None)
    good = best is None or loss < best["loss"]
    diary.append({"day": len(diary) + 1, "loss": loss, "rate": rate, "good": good})
    if len(diary) == DAYS:
        run.stop()
    elif good:
        run.checkpoint(f"day {len(diary)}")
        run.set("lr", 1.5 * rate)
    else:
        run.rollback(f"day {best['day']}")
        run.set("lr", 0.5 * rate)


def fitted(where, callbacks=(), epochs=10 * DAYS):
    model = nn.Sequential(nn.Linear(64, 32, seed=0), nn.ReLU(), nn.Linear(32, 10, seed=1))
    sgd = optim.SGD(model.parameters(), lr=0.01)
    history = train.fit(
        model, (x, training.y), optimizer=sgd, epochs=epochs, batch_size=64, run=where, callbacks=callbacks,
        progress=False,
    )  # fmt: skip
    return model, history


watched, _ = fitted(run, [babysit])
alone, history = fitted(train.Run(folder / "alone"), epochs=DAYS)
again, _ = fitted(train.Run(folder / "again", replay=folder / "watched"))
same = all(np.array_equal(watched.state_dict()[name], value) for name, value in again.state_dict().items())

backs = [entry["day"] for entry in diary if not entry["good"]]
rates = [entry["rate"] for entry in diary]
best = min(entry["loss"] for entry in diary)
print(f"{DAYS} days: the rate went from {rates[0]} up to {max(rates):.2f} and ended at {rates[-1]:.2f};", end=" ")
print(f"back to an earlier day {len(backs)} times")
print(f"loss of the best day {best:.5f}; at the first day's rate all along {min(history['loss']):.5f}")
commands = sum(event["event"] == "command" for event in run.events())
print(f"{commands} commands are in the folder; replayed, they give the same weights: {same}")

figure = new_figure(11, 3.8)
left, right = figure.subplots(1, 2)
days = [entry["day"] for entry in diary]
left.plot(days, [entry["loss"] for entry in diary], ".-", color=COLOURS[0], label="watched")
left.plot(backs, [diary[day - 1]["loss"] for day in backs], "x", color=COLOURS[1], markersize=9, label="taken back")
left.plot(range(1, DAYS + 1), history["loss"], color=COLOURS[2], linewidth=1, label="left alone")
right.plot(days, rates, ".-", color=COLOURS[0])
right.axhline(0.01, color=COLOURS[2], linewidth=1)
tidy(left, "one model, day by day", "day", "loss of the day")
tidy(right, "its learning rate", "day", "")
left.set_yscale("log")
right.set_yscale("log")
left.legend(frameon=False)
save_figure(figure, "panda.png")
