"""A training that a command carries out: what it is of, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tensorgraph.commands.errors import CommandError, one_line

__all__ = ["Parts", "Plan", "carry_out", "save_results"]


@dataclass
class Parts:
    """The data: what is trained on, and what is held out."""

    training: Any
    dev: Any
    test: Any
    name: str
    normalize: bool = True


@dataclass
class Plan:
    """A model, its data, its optimiser, what `fit` is given besides, and where the results go."""

    model: Any
    name: str
    parts: Parts
    optimizer: Any
    fit: dict[str, Any]
    folder: Path
    place: str = ""  # where the model is named, for a message

    def require_folder(self) -> None:
        """Where the folder cannot be made or written to, tell it before anything is trained, and make nothing."""
        try:
            TemporaryFile(dir=next(at for at in (self.folder, *self.folder.absolute().parents) if at.exists())).close()
        except OSError as error:
            error.filename = str(self.folder)
            raise


def carry_out(plan: Plan, *, check: bool = False) -> int:
    """Train, test and save, or only `check` that it can be done; gives the exit code."""
    from tensorgraph.data import Normalizer
    from tensorgraph.train import evaluate, fit

    model, parts = plan.model, plan.parts
    if plan.folder.exists() and not plan.folder.is_dir():
        raise CommandError(f"{str(plan.folder)!r} is a file; give a folder to write to")
    size = plan.fit["batch_size"]
    graph = _graph(model, parts.training.x[: size if isinstance(size, int) else size[0]], parts.normalize, plan.place)
    parameters = sum(parameter.size for parameter in model.parameters())
    print(f"{plan.name}: {len(graph.equations)} ops, {parameters:,} parameters in {len(model.parameters())} tensors")
    held = [f"{len(part):,} to {what} on" for part, what in ((parts.dev, "decide"), (parts.test, "test")) if part]
    print(", ".join([f"{parts.name}: {len(parts.training):,} samples to train on", *held]))
    if check:
        print(f"{plan.optimizer}, {plan.fit['epochs']} epochs: nothing was trained")
        return 0
    plan.require_folder()
    normalizer = Normalizer().fit(parts.training.x) if parts.normalize else None
    history = fit(model, parts.training, dev=parts.dev, optimizer=plan.optimizer, normalizer=normalizer, **plan.fit)
    if history.stopped == "interrupted":
        again = "; the same command goes on" if "run" in plan.fit else "; with a run folder it could go on"
        print(f"interrupted after {len(history)} epochs{again}")
        return 130
    if parts.test is not None:
        loss, metrics = plan.fit["loss"], plan.fit["metrics"]
        measures = evaluate(model, parts.test, normalizer=normalizer, loss=loss, metrics=metrics)
        print("test: " + ", ".join(f"{name} {value:.4f}" for name, value in measures.items()))
    save_results(plan, normalizer, graph)
    return 0


def save_results(plan: Plan, normalizer: Any, graph: Any) -> None:
    """The model as text where it was one, as numbers with its normaliser, and as a picture."""
    from tensorgraph.nn import GraphModule
    from tensorgraph.train import save
    from tensorgraph.viz import draw

    folder, stem, made = plan.folder, plan.name, []
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(plan.model, GraphModule):
        plan.model.save_text(folder / f"{stem}.tg.py")
        made.append((f"{stem}.tg.py", "the text, its trained numbers beside it"))
    save(folder / f"{stem}.safetensors", plan.model, normalizer=normalizer, class_names=plan.parts.training.class_names)
    made.append((f"{stem}.safetensors", "the model with its normaliser: tensorgraph predict reads it"))
    draw(graph).save(folder / f"{stem}.svg")
    made.append((f"{stem}.svg", "the picture"))
    for name, what in made:
        print(f"  {folder / name}  {what}")


def _graph(model: Any, batch: Any, normalize: bool, place: str) -> Any:
    """The graph that a batch runs, which shows whether model and data go together."""
    import numpy as np

    from tensorgraph.graph.trace import trace
    from tensorgraph.nn import GraphModule
    from tensorgraph.train.running import model_dtype

    floats = batch.dtype.kind == "f" or normalize
    rows = np.asarray(batch, model_dtype(model) if floats else batch.dtype.newbyteorder("="))
    try:
        model.train()
        return model.graph(rows) if isinstance(model, GraphModule) else trace(model, rows)
    except (TypeError, ValueError) as error:
        said = f"the model does not take samples of shape {batch.shape[1:]}: {one_line(error)}"
        raise CommandError(f"{place}: {said}" if place else said) from error
