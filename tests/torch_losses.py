"""The networks of examples/ in PyTorch: its first 20 losses are what tests/test_examples.py holds ours to.

python -P tests/torch_losses.py [example ...]        # needs PyTorch; writes tests/golden/torch_losses.json

A function an example, of the example's name: it builds the network from PyTorch's layers with our initial weights,
trains it on the same batches with PyTorch's gradients and optimiser, in float64, and gives the losses.
"""

import contextlib
import json
import runpy
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import tensorgraph as tg

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LOSSES = Path(__file__).with_name("golden") / "torch_losses.json"
STEPS = 20


def names_of(example, size=STEPS):
    """What an example's file defines, having run with this size."""
    sys.argv = [f"{example}.py", str(size)]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return runpy.run_path(str(EXAMPLES / f"{example}.py"))


def there(array):
    return torch.tensor(np.asarray(array))


def like(ours, theirs):
    """Their linear layer with the weights of ours."""
    with torch.no_grad():
        theirs.weight.copy_(there(ours.weight.numpy().T))
        if ours.bias is not None:
            theirs.bias.copy_(there(ours.bias.numpy()))
    return theirs


def trained(parameters, loss_of_step, optimizer=torch.optim.Adam, **options):
    """The losses of the first steps."""
    steps, losses = optimizer(parameters, **options), []
    for step in range(STEPS):
        loss = loss_of_step(step)
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    return losses


def graph_network():
    here = names_of("graph_network")
    layers = [here["GraphConvolution"](34, 16, seed=0), here["GraphConvolution"](16, 2, seed=1)]
    adjacency = torch.zeros(34, 34)
    for a, b in here["edges"]:
        adjacency[a, b] = adjacency[b, a] = 1.0
    adjacency += torch.eye(34)
    root = adjacency.sum(1).rsqrt()
    adjacency *= root[:, None] * root
    first, second = (like(own.linear, torch.nn.Linear(*own.linear.weight.shape, bias=False)) for own in layers)
    told, joined = there(here["told"]), there(here["joined"])

    def loss(step):
        h = torch.tanh(adjacency @ first(torch.eye(34)))
        return torch.nn.functional.cross_entropy((adjacency @ second(h))[told], joined[told])

    return trained([*first.parameters(), *second.parameters()], loss, lr=0.01, weight_decay=5e-4)


if __name__ == "__main__":
    chosen = sys.argv[1:] or [path.stem for path in EXAMPLES.glob("*.py") if path.stem in globals()]
    torch.set_default_dtype(torch.float64)
    tg.set_default_dtype("float64")
    losses = json.loads(LOSSES.read_text("utf-8")) if LOSSES.exists() else {}
    for example in chosen:
        losses[example] = globals()[example]()
    lines = (f"{json.dumps(example)}: {json.dumps(numbers)}" for example, numbers in sorted(losses.items()))
    LOSSES.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
