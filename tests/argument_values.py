"""Models, runs, files and the like, made anew for every example of a call."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dist_ranks import Alone

import tensorgraph as tg
from tensorgraph import data, dist, files, nn, optim, testing, train, tune, viz
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.optim import Optimizer

Example = Callable[[], tuple[Callable[..., Any], dict[str, Any]]]

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
Y = np.array([0, 1])
TEXT = "def f(x: f32[2, 3]):\n    return x * 2.0\n"
TEMPLATE = "def f(x: f32[N, 3]):\n    return x * 2.0\n"


def x() -> tg.Tensor:
    return tg.tensor(X, requires_grad=True)


def loss() -> tg.Tensor:
    return (x() * 2.0).sum()


def double(a: Any) -> Any:
    return a * 2.0


def total(a: Any) -> Any:
    return (a * a).sum()


def graph() -> tg.Graph:
    return tg.trace(total, tg.f32[2, 3])


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2, seed=0))


def trained() -> tuple[nn.Module, Optimizer]:
    own = model()
    return own, optim.SGD(own, lr=0.1)


def stepped() -> Optimizer:
    own, optimizer = trained()
    tg.softmax_cross_entropy(own(X), Y).backward()
    return optimizer


def parallel() -> tuple[nn.Module, Optimizer]:
    own, optimizer = trained()
    return own, dist.DataParallel(optimizer, Alone())


def own_op() -> str:
    if "doubled" not in CATALOGUE:
        tg.op("doubled(x)", lambda x: x * 2.0, kind="elementwise")
    return "doubled"


def training() -> train.Training:
    own, optimizer = trained()
    history = train.History()
    history.append({"dev_loss": 1.0}, 0.1)
    return train.Training(own, optimizer, 3, history, measures={"dev_loss": 1.0})


def begun() -> train.Run:
    """A run that was trained, with a command that was answered."""
    own, optimizer = trained()
    found = train.Run(tempfile.mkdtemp(dir="."))
    train.fit(own, (X, Y), optimizer=optimizer, epochs=1, run=found, progress=False)
    found.checkpoint("end")
    train.fit(own, (X, Y), optimizer=optimizer, epochs=1, run=found, progress=False)
    return found


def answered(found: train.Run) -> str:
    return next(event["id"] for event in found.events() if event["event"] == "command")


def drawing() -> viz.Drawing:
    return tg.draw(graph())


def normalizer() -> data.Normalizer:
    return data.Normalizer().fit(X)


def predictor() -> train.Predictor:
    return train.Predictor(model(), normalizer(), ("a", "b"))


def saved() -> str:
    train.save("saved.safetensors", model(), optimizer=trained()[1])
    return "saved.safetensors"


def written(name: str, content: str) -> str:
    Path(name).write_text(content, "utf-8")
    return name


def archive() -> str:
    np.savez("data.npz", x=X, y=Y)
    return "data.npz"


def npy() -> str:
    np.save("x.npy", X)
    return "x.npy"


def idx() -> str:
    data.write_idx("numbers.idx", Y.astype(np.uint8))
    return "numbers.idx"


def tensors_file() -> str:
    files.save_tensors("tensors.safetensors", {"a": X})
    return "tensors.safetensors"


def text_file() -> str:
    return written("model.tg.py", TEXT)


def text_function() -> Any:
    names = tg.text.namespace()
    exec("from __future__ import annotations\ndef f(x, *, w: Parameter[f32[3]] = ones()): return x * w", names)
    return names["f"]


def one_layer(seed: int = 0) -> nn.Module:
    return nn.Linear(3, 2, seed=seed)


def together() -> tune.Ensemble:
    return tune.ensemble(one_layer, (X, Y), settings=[{"seed": 0, "lr": 0.1}], epochs=1, optimizer="sgd")


def history() -> train.History:
    made = train.History()
    made.append({"loss": 1.0}, 0.1)
    return made


def searched() -> tune.Study:
    return tune.Study(SPACE).run(TRY, trials=5, progress=False)


def searched2() -> tune.Study:
    return tune.Study(tune.Space(x=tune.uniform(0, 1), y=tune.uniform(0, 1))).run(TRY, trials=3, progress=False)


def trial() -> tune.Trial:
    from tensorgraph.tune.slots import Slot

    return tune.Trial(Slot(Path(), 0), {"x": 0.5}, 0)


def study_folder() -> str:
    tune.Study(SPACE, folder="study")
    return "study"


SPACE = tune.Space(x=tune.uniform(0, 1))
TRY: Callable[[Any], float] = lambda trial: trial["x"]


def early() -> train.EarlyStop:
    return train.EarlyStop(patience=2)


def custom() -> Any:
    return tg.custom_vjp(lambda a: a * 2.0)


def call(function: Callable[..., Any], /, **arguments: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The callable and its arguments; ``more=`` are the ones beyond the names."""
    return function, arguments


def case() -> Any:
    return testing.examples_of(tg.CATALOGUE["exp"])[0]
