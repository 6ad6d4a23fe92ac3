"""``tensorgraph train``: a model trained on data, as a configuration or the command line says.

A graph's text and a configuration are read and never executed; Python code is imported where ``--model`` names it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tensorgraph.commands.errors import CommandError
from tensorgraph.commands.plan import Parts, Plan, carry_out
from tensorgraph.commands.targets import size
from tensorgraph.commands.train_config import FORM, plan_of_file

__all__ = ["add_train"]

# what is taken where neither the command line nor a file says it
DEFAULTS: dict[str, Any] = {
    "epochs": 20, "batch_size": 64, "optimizer": "adam", "lr": 0.01, "test": 0.2, "seed": 0, "output": "trained",
}  # fmt: skip


def add_train(commands: Any) -> None:
    """Add it to the grammar."""
    from tensorgraph.train.optimizers import OPTIMIZERS

    train = commands.add_parser(
        "train", help="train a model, as a configuration says or a graph's text",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Reads CONFIG.toml, or model.tg.py and the options; checks, trains, tests, and saves what was\n"
        "trained. Options of the command line are taken in place of the file's keys.",
        epilog=f"{FORM}\n"
        "with model.tg.py, --data is one of\n"
        "  digits       handwritten digits, 8x8 pixels, 10 classes (comes with scikit-learn)\n"
        "  data.npz     arrays x and y\n"
        "  data.csv     numbers, the label in the last column\n"
        "examples\n"
        "  tensorgraph train digits.toml\n"
        "  tensorgraph train digits.toml --check\n"
        "  tensorgraph train table.toml --model nets.py:make --epochs 50\n"
        "  tensorgraph train model.tg.py --data digits\n"
        "exit codes\n"
        "  0 trained   2 it could not be done: the error names file, line and key   130 interrupted by Ctrl-C; with\n"
        "  a run folder the same command goes on",
    )  # fmt: skip
    train.add_argument("what", help="CONFIG.toml; or a graph's text, model.tg.py, whose function gives logits")
    train.add_argument("--model", dest="model_path", metavar="PLACE:NAME", help="a model of Python code, which runs")
    train.add_argument("--check", action="store_true", help="read everything, train nothing")
    train.add_argument("--data", help="see below; a configuration has its own")
    train.add_argument("-o", "--output", metavar="FOLDER", help=f"where to write ({DEFAULTS['output']})")
    train.add_argument("--epochs", type=int, help=f"times through the data ({DEFAULTS['epochs']})")
    train.add_argument("--batch-size", type=int, help=f"({DEFAULTS['batch_size']})")
    train.add_argument("--optimizer", choices=tuple(OPTIMIZERS), help=f"({DEFAULTS['optimizer']})")
    train.add_argument("--lr", type=float, help=f"learning rate ({DEFAULTS['lr']}), of a text falling by a cosine")
    train.add_argument("--test", type=float, metavar="SHARE", help=f"held out for the test ({DEFAULTS['test']})")
    train.add_argument("--seed", type=int, help=f"of weights, split and order ({DEFAULTS['seed']})")
    train.add_argument("--at", action="append", default=[], metavar="D=64", type=size,
                       help="the size of a dimension that a text's parameters have")  # fmt: skip
    train.set_defaults(command=run_train)


def run_train(options: argparse.Namespace) -> int:
    """``tensorgraph train``"""
    if options.what.endswith(".toml"):
        if options.data is not None or options.at:
            raise CommandError("--data and --at go with a text; a configuration says data.file and model.sizes")
        return carry_out(plan_of_file(options.what, options), check=options.check)
    if options.model_path is not None:
        raise CommandError("--model goes with a configuration, CONFIG.toml, which says the data")
    if not Path(options.what).is_file():
        raise CommandError(f"there is no file {options.what!r}: give CONFIG.toml or a graph's text, model.tg.py")
    if options.data is None:
        raise CommandError(f"say what to train {options.what} on: --data digits, a .npz or a .csv file")
    own = [f"--{option}" for option in ("optimizer", "lr") if getattr(options, option) is not None]
    for option, value in DEFAULTS.items():
        if getattr(options, option) is None:
            setattr(options, option, value)
    return _trained(options, own)


def _trained(options: argparse.Namespace, own: list[str]) -> int:
    """Train a graph's text: by an optimiser, or by itself where it is a whole training step."""
    from tensorgraph import nn, optim
    from tensorgraph.commands.step_training import is_step, train_by_step
    from tensorgraph.data import split
    from tensorgraph.train.optimizers import OPTIMIZERS

    if not 0.0 < options.test < 1.0:
        raise CommandError(f"--test is a share between 0 and 1, got {options.test}")
    model = nn.GraphModule.from_file(options.what, sizes=dict(options.at), seed=options.seed)
    training, test = split(
        _data(options.data), fractions=(1.0 - options.test, options.test), seed=options.seed, stratify=True
    )
    fit = {"epochs": options.epochs, "batch_size": options.batch_size, "seed": options.seed, "loss": None,
           "metrics": None}  # fmt: skip
    name = Path(options.what).name.removesuffix(".py").removesuffix(".tg")
    plan = Plan(model, name, Parts(training, None, test, options.data), None, fit, Path(options.output))
    if is_step(model):
        if own:
            raise CommandError(f"{options.what} is a whole training step with its own update: leave {own[0]} out")
        return train_by_step(plan, check=options.check)
    steps = options.epochs * max(1, len(training) // options.batch_size)
    plan.optimizer = OPTIMIZERS[options.optimizer](model.parameters(), lr=optim.cosine(options.lr, max(steps, 1)))
    return carry_out(plan, check=options.check)


def _data(what: str) -> Any:
    """The samples and labels that were asked for."""
    from tensorgraph.data import load_digits, read_csv, read_npz

    if what == "digits":
        return load_digits()
    kind = Path(what).suffix.lower()
    if kind == ".npz":
        return read_npz(what)
    if kind == ".csv":
        return read_csv(what, label=-1)
    raise CommandError(f"--data is digits, a .npz or a .csv file, got {what!r}")
