"""What ``tensorgraph train CONFIG.toml`` reads: data, model, optimiser, schedule and training, each a table.

Nothing in the file is imported or executed. A model is a graph as text or a saved one; a model of Python code is named
on the command line alone, by ``--model``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from tensorgraph.arguments import (
    ClassNames,
    Count,
    Name,
    Natural,
    NonNegative,
    Ordered,
    Positive,
    Probability,
    Range,
)
from tensorgraph.commands.config import REQUIRED, Section, read_config
from tensorgraph.commands.errors import CommandError, one_line
from tensorgraph.commands.plan import Parts, Plan

__all__ = ["FORM", "OVERRIDES", "plan_of_file"]

Share = Annotated[float, Range(0, 1, above=True, below=True, word="a share between 0 and 1")]

FORM = """\
CONFIG.toml has these tables; paths in it are relative to its folder, and nothing in it is executed
  [model]      file = "net.tg.py" (a graph as text) or "model.safetensors"; sizes = {H = 64}
               a model of Python code is named here instead: --model nets.py:make or --model package.module:make
  [data]       name = "digits"; or file = "x.csv" | "x.npz" | "x.npy" | IDX, and labels = "y.npy" for the last two
               CSV: label = "column" or its position, header, drop, class_names, delimiter, encoding, in_memory = false
               NPZ: x = "x", y = "y"; all: test = 0.2 and dev = 0 (shares, or other files), normalize = true
  [optimizer]  name = "adam", lr = 0.01, and its settings: weight_decay, clip_norm, clip_value, beta, beta1, ...
  [schedule]   name = "cosine", warmup = 100, per = "step" or "epoch", and what it takes: final, rate, decay, ...
  [training]   epochs, batch_size (a number, or one an epoch), accumulate, seed, shuffle, last, loss, metrics,
               class_weights, early_stop, prefetch, lint
  [output]     folder = "trained"; run = "runs/first": checkpoints, from which the same command goes on
"""

# options of the command line that stand for a key of the file
OVERRIDES = {
    "epochs": ("training", "epochs"), "batch_size": ("training", "batch_size"), "seed": ("training", "seed"),
    "optimizer": ("optimizer", "name"), "lr": ("optimizer", "lr"), "test": ("data", "test"),
    "output": ("output", "folder"),
}  # fmt: skip


@contextmanager
def told_at(section: Section, key: str) -> Iterator[None]:
    """Errors of what a key says are told at its line."""
    try:
        yield
    except CommandError:
        raise
    except (ValueError, TypeError, OSError, ImportError) as error:
        section.refuse(key, f"{section.told(key)}: {one_line(error)}")


def plan_of_file(path: str, options: argparse.Namespace) -> Plan:
    """The plan that a configuration says, options of the command line taken in its place where they are given."""
    top = read_config(path)
    for option, (table, key) in OVERRIDES.items():
        value = getattr(options, option)
        if value is not None:
            top.values.setdefault(table, {})[key] = str(Path(value).absolute()) if option == "output" else value
    model, data, optimizer, schedule, training, output = (
        top.section(name, REQUIRED if name == "data" else {})
        for name in ("model", "data", "optimizer", "schedule", "training", "output")
    )
    fit = _training(training)
    seed = fit["seed"]
    parts = _data(data, seed)
    net, name = _model(model, options, seed)
    steps = _steps(len(parts.training), fit)
    run = output.file_of("run", None)
    keep = output.take("keep", Count, 3)
    folder = output.file_of("folder", "trained")
    made = _optimizer(optimizer, schedule, net, steps, fit["epochs"])
    top.close()
    if run is not None:
        from tensorgraph.train import Run

        fit["run"] = Run(run, keep=keep)
    place = model.place("file") if "file" in model else ""
    return Plan(net, name, parts, made, fit, Path(folder or "trained"), place)


# the tables ----------------------------------------------------------------------------------------------------------


def _training(section: Section) -> dict[str, Any]:
    """What `fit` is given beside model, data and optimiser."""
    from tensorgraph.train.callbacks import EarlyStop
    from tensorgraph.train.class_weights import Weights, class_weights
    from tensorgraph.train.losses import loss_of
    from tensorgraph.train.running import named_metrics

    found = {
        "epochs": section.take("epochs", Count, 20),
        "batch_size": section.take("batch_size", Count | Annotated[list[Count], Ordered], 64),
        "accumulate": section.take("accumulate", Count, 1),
        "seed": section.take("seed", Natural, 0),
        "shuffle": section.take("shuffle", bool, True),
        "last": section.choose("last", ("keep", "drop", "merge"), "merge"),
        "loss": section.take("loss", Name, None),
        "metrics": section.take("metrics", list[str], None),
        "prefetch": section.take("prefetch", Natural, 0),
        "lint": section.take("lint", bool, True),
    }
    if "loss" in section:
        with told_at(section, "loss"):
            loss_of(found["loss"])
    if "metrics" in section:
        with told_at(section, "metrics"):
            named_metrics(found["metrics"])
    weights = class_weights.__name__  # the key, the argument of `fit` and the function
    if isinstance(section.values.get(weights), dict):
        given = section.section(weights).rest()
        # keys of TOML are text: those that are whole numbers are labels
        found[weights] = {int(key) if key.isdigit() else key: weight for key, weight in given.items()}
    else:
        found[weights] = section.take(weights, Weights, None)
    if isinstance(section.values.get("early_stop"), dict):
        stop = section.section("early_stop")
        found["early_stop"] = EarlyStop(
            stop.take("patience", Count, 10), stop.take("monitor", Name, "dev_loss"),
            min_delta=stop.take("min_delta", NonNegative, 0.0), restore_best=stop.take("restore_best", bool, True),
        )  # fmt: skip
    else:
        found["early_stop"] = section.take("early_stop", Count, None)
    return found


def _data(section: Section, seed: int) -> Parts:
    """The training set, and the dev and test sets: shares of it, or other files of the same form."""
    from tensorgraph.data import load_digits

    if section.choose("name", ("digits",), None) is not None:
        read: Callable[[str], Any] | None = None
        with told_at(section, "name"):
            whole, name = load_digits(), "digits"
    else:
        read = _reader(section)
        name = str(section.values["file"])
        whole = read("file")
    normalize = section.take("normalize", bool, True)
    if whole.y is None:
        section.refuse("file", f"{name} has no labels: say where they are, label = ... or labels = ...")
    parts: dict[str, Any] = {}
    shares: dict[str, float] = {}
    for key, default in (("dev", 0.0), ("test", 0.2)):
        value = section.take(key, Probability | str, default)
        if isinstance(value, str):
            if read is None:
                section.refuse(key, f"{section.told(key)} is a share here: the digits are in no file")
            parts[key] = read(key)
        elif value:
            shares[key] = section.take(key, Share, default)
    if shares:
        _cut(section, whole, shares, seed, parts)
    return Parts(parts.get("training", whole), parts.get("dev"), parts.get("test"), name, normalize)


def _cut(section: Section, whole: Any, shares: dict[str, float], seed: int, parts: dict[str, Any]) -> None:
    """Cut the shares off."""
    from tensorgraph.data import split

    left = 1.0 - sum(shares.values())
    key = next(iter(shares))
    if left <= 0:
        section.refuse(key, f"{section.told(key)}: the shares {shares} leave nothing to train on")
    labels = whole.y.dtype.kind in "iu" and whole.y.ndim == 1
    with told_at(section, key):
        cut = split(whole, fractions=(left, *shares.values()), seed=seed, stratify=True if labels else None)
    parts.update(zip(("training", *shares), cut))


def _reader(section: Section) -> Callable[[str], Any]:
    """Reads the files that keys of the section name, all in one form."""
    import numpy as np

    from tensorgraph import data

    kind = Path(section.take("file", Name)).suffix.lower()
    names = section.take("class_names", ClassNames, None)
    if kind == ".csv":
        whole = section.take("in_memory", bool, True)
        form = dict(
            label=section.take("label", str | int, -1), header=section.take("header", bool, "auto"),
            drop=section.take("drop", list[str | int], ()), class_names=names,
            delimiter=section.take("delimiter", str, ","), encoding=section.take("encoding", Name, "utf-8-sig"),
        )  # fmt: skip
        return _told(section, lambda path: (data.read_csv if whole else data.open_csv)(path, **form))
    if kind == ".npz":
        x, y = section.take("x", Name, "x"), section.take("y", Name, "y")
        return _told(section, lambda path: data.read_npz(path, x=x, y=y, class_names=names))
    labels = {"file": section.file_of("labels")}
    for key in ("dev", "test"):
        if isinstance(section.values.get(key), str):
            labels[key] = section.file_of(f"{key}_labels")

    def pair(key: str) -> Any:
        path = section.file_of(key)
        with told_at(section, key):
            x = _rows(path)
        with told_at(section, "labels" if key == "file" else f"{key}_labels"):
            y = np.asarray(_rows(labels[key]))
            return data.Dataset(x, y.astype(np.int64) if y.dtype.kind in "iu" else y, names, name=Path(str(path)).stem)

    return pair


def _rows(path: Any) -> Any:
    """An array that stays in its file, NPY or IDX; one that is packed is read."""
    from tensorgraph.data import open_idx, open_npy, read_idx

    with open(path, "rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return open_npy(path)
    return read_idx(path) if start[:2] == b"\x1f\x8b" else open_idx(path)


def _told(section: Section, read: Callable[[Path], Any]) -> Callable[[str], Any]:
    """A reader of the file that a key names, whose errors are told at the key."""

    def reader(key: str) -> Any:
        path = section.file_of(key)
        with told_at(section, key):
            return read(path)  # type: ignore[arg-type]

    return reader


def _model(section: Section, options: argparse.Namespace, seed: int) -> tuple[Any, str]:
    """The model, and what it is called."""
    from tensorgraph import nn
    from tensorgraph.commands.targets import resolve

    sizes = section.take("sizes", dict[str, Count], {})
    if options.model_path is not None:
        if "file" in section:
            section.refuse("file", f"model.file is given, and --model {options.model_path}: leave one of them out")
        section.take("file", Name, None)
        found = resolve(options.model_path)[0]
        if not isinstance(found, nn.Module):
            raise CommandError(f"--model {options.model_path} is a {type(found).__name__}, expected a Module")
        return found, options.model_path.rpartition(":")[2]
    given = section.take("file", Name, None)
    if given is None:
        raise CommandError(
            f"{section.place()}: [model] needs the key 'file', a graph as text such as net.tg.py; a model of Python "
            "code is named on the command line: --model nets.py:make"
        )
    if ":" in given and not given.endswith(".tg.py"):
        section.refuse("file", f"model.file is {given!r}: a file imports no code; write --model {given} when you call")
    path = section.file_of("file")
    with told_at(section, "file"):
        if given.endswith(".safetensors"):
            from tensorgraph.train import load_model

            return load_model(str(path)).model, Path(given).name.removesuffix(".safetensors")
        if not given.endswith(".tg.py"):
            raise ValueError("a model is a graph as text, net.tg.py, or a saved one, model.safetensors")
        net = nn.GraphModule.from_file(str(path), sizes=sizes, seed=seed)
    dims = list(getattr(net.in_training, "dims", ()))
    if unknown := [name for name in sizes if name not in dims]:
        section.refuse("sizes", f"model.sizes: {given} has no dimension {unknown[0]!r}; there are {', '.join(dims)}")
    return net, Path(given).name.removesuffix(".tg.py")


def _steps(samples: int, fit: dict[str, Any]) -> int:
    """Updates of the whole training, for a schedule that lasts as long."""
    from tensorgraph.data.loader import sizes_of

    given, steps = fit["batch_size"], 0
    for epoch in range(fit["epochs"]):
        size = given if isinstance(given, int) else given[min(epoch, len(given) - 1)]
        steps += -(-len(sizes_of(samples, size, fit["last"])) // fit["accumulate"])
    return steps


def _optimizer(section: Section, schedule: Section, model: Any, steps: int, epochs: int) -> Any:
    """The optimiser with its rate."""
    from tensorgraph.optim.optimizer import LIMITS
    from tensorgraph.train.optimizers import OPTIMIZERS

    name = section.choose("name", tuple(OPTIMIZERS), "adam")
    kind = OPTIMIZERS[name]
    rate = section.take("lr", NonNegative, 0.01)
    taken = {
        key: section.take(key, NonNegative, None)
        for key in (*kind.settings[1:], *LIMITS)
    }  # fmt: skip
    if name == "momentum":
        taken["nesterov"] = section.take("nesterov", bool, None)
    lr = _schedule(schedule, rate, steps, epochs)
    first = next((key for key in ("lr", *taken) if key in section), "name")
    with told_at(section, first):
        return kind(model, lr=lr, **{key: value for key, value in taken.items() if value is not None})


def _schedule(section: Section, rate: float, steps: int, epochs: int) -> Any:
    """The learning rate: a number, or a schedule that begins with it."""
    from tensorgraph import optim

    kinds: dict[str, Callable[..., Any]] = dict(
        constant=lambda: optim.constant(rate),
        cosine=lambda: optim.cosine(
            rate, section.take("steps", Positive, count), section.take("final", NonNegative, 0.0)
        ),
        exponential=lambda: optim.exponential(
            rate, section.take("rate", Positive), section.take("every", Positive, 1.0)
        ),
        inverse_time=lambda: optim.inverse_time(rate, section.take("decay", NonNegative)),
        inverse_sqrt=lambda: optim.inverse_sqrt(rate),
        staircase=lambda: optim.staircase(rate, section.take("factor", Positive), section.take("every", Positive)),
        piecewise=lambda: optim.piecewise(
            section.take("boundaries", list[NonNegative]), section.take("values", list[NonNegative])
        ),
    )  # fmt: skip
    if not section.values:
        return rate
    per = section.choose("per", ("step", "epoch"), "step")
    count = steps if per == "step" else epochs
    name = section.choose("name", tuple(kinds), next(iter(kinds)))
    warmup = section.take("warmup", Count, None)
    with told_at(section, "name"):
        made = kinds[name]()
        made = made.per_epoch() if per == "epoch" else made
        return made if warmup is None else optim.warmup(warmup) * made
