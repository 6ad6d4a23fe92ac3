"""``tensorgraph train``: a graph's text, trained on data. The text is read and never executed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tensorgraph.commands.errors import CommandError, one_line
from tensorgraph.commands.targets import size

__all__ = ["add_train"]

OPTIMIZERS = ("adam", "sgd", "momentum", "rmsprop")


def add_train(commands: Any) -> None:
    """Add it to the grammar."""
    train = commands.add_parser(
        "train", help="train a model that is written as a graph's text",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Reads model.tg.py, checks and draws it, trains it to classify, and saves text, numbers and model.",
        epilog="data is one of\n"
        "  digits       handwritten digits, 8x8 pixels, 10 classes (comes with scikit-learn)\n"
        "  data.npz     arrays x and y\n"
        "  data.csv     numbers, the label in the last column\n"
        "examples\n"
        "  tensorgraph train model.tg.py --data digits\n"
        "  tensorgraph train model.tg.py --data table.csv --epochs 50 --lr 0.001 -o trained",
    )  # fmt: skip
    train.add_argument("model", help="the text, such as model.tg.py; its function gives logits, one a class")
    train.add_argument("--data", required=True, help="see below")
    train.add_argument("-o", "--output", default="trained", metavar="FOLDER", help="where to write (%(default)s)")
    train.add_argument("--epochs", type=int, default=20, help="times through the data (%(default)s)")
    train.add_argument("--batch-size", type=int, default=64, help="(%(default)s)")
    train.add_argument("--optimizer", default="adam", choices=OPTIMIZERS, help="(%(default)s)")
    train.add_argument("--lr", type=float, default=0.01, help="learning rate, falling by a cosine (%(default)s)")
    train.add_argument("--test", type=float, default=0.2, metavar="SHARE", help="held out for the test (%(default)s)")
    train.add_argument("--seed", type=int, default=0, help="of weights, split and order (%(default)s)")
    train.add_argument("--at", action="append", default=[], metavar="D=64", type=size,
                       help="the size of a dimension that parameters have")  # fmt: skip
    train.set_defaults(command=run_train)


def run_train(options: argparse.Namespace) -> int:
    """``tensorgraph train``"""
    from tensorgraph import nn, optim
    from tensorgraph.data import Normalizer, split
    from tensorgraph.train import evaluate, fit, save
    from tensorgraph.viz import draw

    if not 0.0 < options.test < 1.0:
        raise CommandError(f"--test is a share between 0 and 1, got {options.test}")
    folder = Path(options.output)
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{str(folder)!r} is a file; give a folder to write to")
    model = nn.GraphModule.from_file(options.model, sizes=dict(options.at), seed=options.seed)
    data = _data(options.data)
    training, test = split(data, fractions=(1.0 - options.test, options.test), seed=options.seed, stratify=True)
    graph = _graph(model, training.x[: options.batch_size])
    parameters = sum(parameter.size for parameter in model.parameters())
    print(
        f"{options.model}: {len(graph.equations)} ops, {parameters:,} parameters in {len(model.parameters())} tensors"
    )
    print(f"{options.data}: {len(training):,} samples to train on, {len(test):,} to test on")
    normalizer = Normalizer().fit(training.x)
    steps = options.epochs * max(1, len(training) // options.batch_size)
    kinds = {"adam": optim.Adam, "sgd": optim.SGD, "momentum": optim.Momentum, "rmsprop": optim.RMSprop}
    optimizer = kinds[options.optimizer](model.parameters(), lr=optim.cosine(options.lr, max(steps, 1)))
    fit(
        model, training, optimizer=optimizer, epochs=options.epochs, batch_size=options.batch_size, seed=options.seed,
        normalizer=normalizer,
    )  # fmt: skip
    measures = evaluate(model, test, normalizer=normalizer)
    print("test: " + ", ".join(f"{name} {value:.4f}" for name, value in measures.items()))
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(options.model).name
    stem = name.removesuffix(".py").removesuffix(".tg")
    model.save_text(folder / name)
    save(folder / f"{stem}.safetensors", model, normalizer=normalizer, class_names=data.class_names)
    draw(graph).save(folder / f"{stem}.svg")
    for made, what in (
        (name, "the text, its trained numbers beside it"),
        (f"{stem}.safetensors", "the model with its normaliser: tensorgraph predict reads it"),
        (f"{stem}.svg", "the picture"),
    ):
        print(f"  {folder / made}  {what}")
    return 0


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


def _graph(model: Any, batch: Any) -> Any:
    """The graph that a batch runs, which shows whether model and data go together."""
    import numpy as np

    from tensorgraph.train.running import model_dtype

    try:
        return model.train().graph(np.asarray(batch, model_dtype(model)))
    except (TypeError, ValueError) as error:
        raise CommandError(f"the model does not take samples of shape {batch.shape[1:]}: {one_line(error)}") from error
