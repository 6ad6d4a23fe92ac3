"""The pages for people coming from other libraries: their names, and what is written here, side by side.

A page's source, `docs/coming/NAME.md`, has blocks of names of the other library. Each block becomes a table, filled
from what this library has and from the table of foreign names that answers AttributeErrors (`tensorgraph/arguments`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorgraph as tg
from tensorgraph import data, nn, optim, train
from tensorgraph.arguments.foreign import Absent, entries
from tensorgraph.train import metrics

SOURCES = Path(__file__).resolve().parent / "coming"

BLOCK = re.compile(r"```names\n(.*?)```\n", re.S)

# where a name of another library is looked for: the section of the foreign names, what has it here, how that is written
PLACES: dict[str, tuple[str, Any, str]] = {
    "torch.nn.functional": ("tensorgraph", tg, "tg"),
    "torch.nn.init": ("tensorgraph.nn.init", nn.init, "nn.init"),
    "torch.nn": ("tensorgraph.nn", nn, "nn"),
    "torch.optim.lr_scheduler": ("tensorgraph.optim", optim, "optim"),
    "torch.optim": ("tensorgraph.optim", optim, "optim"),
    "torch.func": ("tensorgraph", tg, "tg"),
    "torch.autograd": ("tensorgraph", tg, "tg"),
    "torch.linalg": ("tensorgraph", tg.linalg, "tg.linalg"),
    "torch.utils.data": ("tensorgraph.data", data, "data"),
    "torch.Tensor": ("Tensor", tg.Tensor, "x"),
    "torch.nn.Module": ("Module", nn.Module, "model"),
    "torch.optim.Optimizer": ("Optimizer", optim.Optimizer, "optimizer"),
    "torch": ("tensorgraph", tg, "tg"),
    "jax.numpy.linalg": ("tensorgraph", tg.linalg, "tg.linalg"),
    "jax.numpy": ("tensorgraph", tg, "tg"),
    "jax.nn.initializers": ("tensorgraph.nn.init", nn.init, "nn.init"),
    "jax.nn": ("tensorgraph", tg, "tg"),
    "jax.lax": ("tensorgraph", tg, "tg"),
    "jax.random": ("tensorgraph.random", tg.random, "tg.random"),
    "jax.scipy.special": ("tensorgraph", tg, "tg"),
    "jax.Array": ("Tensor", tg.Tensor, "x"),
    "jax": ("tensorgraph", tg, "tg"),
    "optax": ("tensorgraph.optim", optim, "optim"),
    "flax.linen": ("tensorgraph.nn", nn, "nn"),
    "numpy.linalg": ("tensorgraph", tg.linalg, "tg.linalg"),
    "numpy.random": ("tensorgraph.random", tg.random, "tg.random"),
    "numpy.ndarray": ("Tensor", tg.Tensor, "x"),
    "numpy": ("tensorgraph", tg, "tg"),
    "scipy.special": ("tensorgraph", tg, "tg"),
    "keras.layers": ("tensorgraph.nn", nn, "nn"),
    "keras.activations": ("tensorgraph", tg, "tg"),
    "keras.initializers": ("tensorgraph.nn.init", nn.init, "nn.init"),
    "keras.optimizers.schedules": ("tensorgraph.optim", optim, "optim"),
    "keras.optimizers": ("tensorgraph.optim", optim, "optim"),
    "keras.losses": ("tensorgraph.nn", nn, "nn"),
    "keras.metrics": ("tensorgraph.train.metrics", metrics, "metrics"),
    "keras.callbacks": ("tensorgraph.train", train, "train"),
    "keras.ops": ("tensorgraph", tg, "tg"),
    "keras.random": ("tensorgraph.random", tg.random, "tg.random"),
    "keras.Model": ("Module", nn.Module, "model"),
    "keras": ("tensorgraph.nn", nn, "nn"),
}


def here(place: str, name: str) -> str:
    """What is written here for ``place.name``, as Markdown."""
    section, owner, written = PLACES[place]
    if owner is tg.linalg and has(owner, name):  # its lines are those of the top, where cond is a branch
        return f"`{written}.{name}`"
    code, words = entries().get(section, {}).get(name, ("", ""))
    if code:
        return f"{words}: `{code}`" if words else f"`{code}`"
    if has(owner, name):
        return f"`{written}.{name}`"
    for other, _, spelled in (("tensorgraph", tg, "tg"), ("tensorgraph.nn", nn, "nn")):
        code, words = entries()[other].get(name, ("", ""))
        if code:
            return f"{words}: `{code}`" if words else f"`{code}`"
        if has({"tg": tg, "nn": nn}[spelled], name):
            return f"`{spelled}.{name}`"
    raise ValueError(
        f"docs/coming: nothing is known of {place}.{name}: give it a line in tensorgraph/arguments/foreign_*.py"
    )


def has(owner: Any, name: str) -> bool:
    """Whether there is something of this name; classes answer for foreign names without having them."""
    if isinstance(owner, type):
        return not isinstance(inspect.getattr_static(owner, name, Absent("", name)), Absent)
    try:
        getattr(owner, name)
    except AttributeError:
        return False
    return True


def names(block: str) -> Iterator[tuple[str, str]]:
    """Places and names of a block: a line is ``place: name name``."""
    for line in block.splitlines():
        place, _, rest = line.partition(": ")
        for name in rest.split():
            yield place, name


def table(block: str) -> str:
    """The names of a block: those that are the same here in a sentence, the others in a table."""
    same: dict[tuple[str, str], list[str]] = {}
    rows = []
    for place, name in names(block):
        shown = here(place, name)
        if shown == f"`{PLACES[place][2]}.{name}`":
            same.setdefault((place, PLACES[place][2]), []).append(f"`{name}`")
        else:
            rows.append(f"| `{place}.{name}` | {shown.replace('|', chr(92) + '|')} |")
    lines = [
        f"The same as `{written}.…` for `{place}.…`: {', '.join(names)}.\n" for (place, written), names in same.items()
    ]
    if rows:
        lines.append("| there | here |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    return {
        f"from_{path.stem}.md": BLOCK.sub(lambda found: table(found[1]), path.read_text("utf-8"))
        for path in sorted(SOURCES.glob("*.md"))
    }
