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
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy, one_hot
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import tensorgraph as tg
from tensorgraph import nn as ours
from tensorgraph.data import minibatches

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
    """Their linear or convolutional layer with the weights of ours."""
    weight = ours.weight.numpy()
    with torch.no_grad():
        theirs.weight.copy_(there(weight.T if isinstance(theirs, torch.nn.Linear) else weight))
        if ours.bias is not None:
            theirs.bias.copy_(there(ours.bias.numpy()))
    return theirs


def trained(parameters, loss_of_step, optimizer=torch.optim.Adam, decay=1.0, **options):
    """The losses of the first steps; the learning rate is multiplied by `decay` after each."""
    steps, losses = optimizer(parameters, **options), []
    rate = torch.optim.lr_scheduler.ExponentialLR(steps, decay)
    for step in range(STEPS):
        loss = loss_of_step(step)
        steps.zero_grad()
        loss.backward()
        steps.step()
        rate.step()
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
        return cross_entropy((adjacency @ second(h))[told], joined[told])

    return trained([*first.parameters(), *second.parameters()], loss, lr=0.01, weight_decay=5e-4)


def gan():
    here = names_of("gan")
    tg.random.seed(0)
    rng = here["rng"]
    rng.bit_generator.state = np.random.default_rng(0).bit_generator.state  # as it was before the example ran

    def network(*sizes):
        first, _, second, _, third = here["network"](*sizes)
        layers = [like(layer, torch.nn.Linear(*layer.weight.shape)) for layer in (first, second, third)]
        return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])

    generator, discriminator = network(8, 2), network(2, 1)
    here["noise"](2000)  # that of the pictures
    steps_g = torch.optim.Adam(generator.parameters(), lr=0.001, betas=(0.5, 0.999))
    cross_entropy_of = torch.nn.functional.binary_cross_entropy_with_logits
    real, fake = torch.ones(256, 1), torch.zeros(256, 1)

    def loss(step):
        if step:
            steps_g.zero_grad()
            cross_entropy_of(discriminator(loss.points), real).backward()
            steps_g.step()
        loss.points = generator(there(here["noise"](256).numpy()))
        told = cross_entropy_of(discriminator(there(here["ring"](256).numpy())), real)
        return told + cross_entropy_of(discriminator(loss.points.detach()), fake)

    return trained(discriminator.parameters(), loss, lr=0.001, betas=(0.5, 0.999))


def softmax_by_hand():
    rng = np.random.default_rng(0)
    y = np.arange(180) % 3
    angle = 2 * np.pi * y / 3
    x = there(2 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.6 * rng.standard_normal((180, 2)))
    model = torch.nn.Linear(2, 3)
    torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
    loss = torch.nn.CrossEntropyLoss()
    return trained(model.parameters(), lambda step: loss(model(x), there(y)), torch.optim.SGD, lr=0.5)


def pinn():
    here = names_of("pinn")
    own = [ours.Linear(a, b, seed=i) for i, (a, b) in enumerate([(2, 32), (32, 32), (32, 32), (32, 1)])]
    first, second, third, last = (like(layer, torch.nn.Linear(*layer.weight.shape)) for layer in own)
    model = torch.nn.Sequential(first, torch.nn.Tanh(), second, torch.nn.Tanh(), third, torch.nn.Tanh(), last)
    tg.random.seed(0)
    here["points"]()  # those that the example traces with

    def slope(y, x):
        return torch.autograd.grad(y.sum(), x, create_graph=True)[0]

    def loss(step):
        t, x = (there(a).requires_grad_() for a in here["points"]())
        u = t * (1 - x**2) * model(torch.stack([t, x], 1))[:, 0] - torch.sin(torch.pi * x)
        u_x = slope(u, x)
        return ((slope(u, t) + u * u_x - 0.01 * slope(u_x, x)) ** 2).mean()

    return trained(model.parameters(), loss, lr=0.01, decay=0.5 ** (1 / 700))


def policy_gradient():
    here, rng = names_of("policy_gradient", 1), np.random.default_rng(0)
    own = [ours.Linear(4, 32, seed=0), ours.Linear(32, 2, seed=1)]
    first, last = (like(layer, torch.nn.Linear(*layer.weight.shape)) for layer in own)
    policy = torch.nn.Sequential(first, torch.nn.Tanh(), last)
    tg.random.seed(0)

    def loss(step):  # the carts' actions are drawn with our numbers, from the policy there
        played = here["play"](lambda state: tg.tensor(policy(there(state)).detach().numpy()), rng)
        states, actions, alive = map(there, played)
        still = alive.flip(0).cumsum(0).flip(0).double()
        baseline = still.sum(1, keepdim=True) / alive.sum(1, keepdim=True)
        advantage = (still - baseline)[alive] / still.std(correction=0)
        return (advantage * cross_entropy(policy(states[alive]), actions[alive], reduction="none")).mean()

    return trained(policy.parameters(), loss, lr=0.02)


def maml():
    here = names_of("maml")
    shapes = enumerate([(1, 40), (40, 40), (40, 1)])
    own = [ours.Linear(*shape, weight_init="xavier_normal", seed=i) for i, shape in shapes]
    first, second, last = (like(layer, torch.nn.Linear(*layer.weight.shape)) for layer in own)
    model = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last)
    p = dict(model.named_parameters())
    tg.random.seed(0)
    here["tasks"](25)  # those that the example traces with

    def error(p, x, y):
        return torch.nn.functional.mse_loss(torch.func.functional_call(model, p, x), y)

    def after(x, y, x_new, y_new):
        slopes = torch.autograd.grad(error(p, x, y), list(p.values()), create_graph=True)
        return error({name: w - 0.02 * g for (name, w), g in zip(p.items(), slopes, strict=True)}, x_new, y_new)

    def loss(step):
        tasks = zip(*(there(part) for part in here["tasks"](25)), strict=True)
        return sum(after(*task) for task in tasks) / 25

    return trained(p.values(), loss, lr=0.003)


def lstm():
    here = names_of("lstm")
    own, rng = here["Reader"](24), np.random.default_rng(0)
    layer, out = torch.nn.LSTM(7, 24, batch_first=True), like(own.out, torch.nn.Linear(24, 7))
    (cell,) = own.lstm.cells
    with torch.no_grad():
        layer.weight_ih_l0.copy_(there(cell.weight.numpy().T))
        layer.weight_hh_l0.copy_(there(cell.recurrent.numpy().T))
        layer.bias_ih_l0.copy_(there(cell.bias.numpy()))
        layer.bias_hh_l0.copy_(there(cell.recurrent_bias.numpy()))

    def loss(step):
        codes, following, lengths = map(there, here["batch"]([here["string"](rng) for _ in range(32)]))
        packed = pack_padded_sequence(one_hot(codes, 7).double(), lengths, batch_first=True, enforce_sorted=False)
        h, _ = pad_packed_sequence(layer(packed)[0], batch_first=True, padding_value=100.0)
        following[torch.arange(codes.shape[1]) >= lengths[:, None]] = -100  # which cross_entropy leaves out
        return cross_entropy(out(h).flatten(0, 1), following.flatten())

    return trained([*layer.parameters(), *out.parameters()], loss, lr=0.01)


def convnet():
    here = names_of("convnet", 1)
    tg.random.seed(0)
    first = ours.Conv2d(1, 32, 3, padding=1, bias=False)
    second = ours.Conv2d(32, 64, 3, padding=1, bias=False)
    dropout = ours.Dropout(0.5)
    last = ours.Linear(64 * 2 * 2, 10)
    training = here["training"]
    batches = list(minibatches(here["images"](training.x), training.y, batch_size=64, seed=0, last="merge"))
    features = torch.nn.Sequential(
        like(first, torch.nn.Conv2d(1, 32, 3, padding=1, bias=False)),
        torch.nn.BatchNorm2d(32), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        like(second, torch.nn.Conv2d(32, 64, 3, padding=1, bias=False)),
        torch.nn.BatchNorm2d(64), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
    )  # fmt: skip
    head = like(last, torch.nn.Linear(64 * 2 * 2, 10))

    def loss(step):
        x, y = batches[step]
        kept = there(dropout(tg.ones((len(x), 64 * 2 * 2))).numpy())
        return torch.nn.functional.cross_entropy(head(features(there(x)) * kept), there(y))

    return trained([*features.parameters(), *head.parameters()], loss, lr=0.003)


def vae():
    here = names_of("vae", 1)
    tg.random.seed(0)
    own = here["VAE"]()
    encoder, decoder = (
        torch.nn.Sequential(
            *(
                like(layer, torch.nn.Linear(*layer.weight.shape)) if isinstance(layer, ours.Linear) else torch.nn.ReLU()
                for layer in part
            )
        )
        for part in (own.encoder, own.decoder)
    )
    mean, log_variance = (like(layer, torch.nn.Linear(128, 2)) for layer in (own.mean, own.log_variance))
    batches = list(minibatches(here["pixels"], batch_size=64, seed=0))

    def loss(step):
        x = there(batches[step][0])
        h = encoder(x)
        m, v = mean(h), log_variance(h)
        noise = there(tg.random.normal(m.shape).numpy())
        logits = decoder(m + torch.exp(v / 2) * noise)
        reconstruction = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (reconstruction - 0.5 * (1 + v - m**2 - v.exp()).sum()) / len(x)

    modules = (encoder, mean, log_variance, decoder)
    return trained([parameter for module in modules for parameter in module.parameters()], loss, lr=0.001)


def neural_ode():
    here = names_of("neural_ode")
    own = [ours.Linear(2, 50, seed=0), ours.Linear(50, 2, seed=1)]
    first, last = (like(layer, torch.nn.Linear(*layer.weight.shape)) for layer in own)
    model = torch.nn.Sequential(first, torch.nn.Tanh(), last)
    tg.random.seed(0)
    here["pieces"]()  # those that the example traces with

    def loss(step):
        y, onwards = (there(part) for part in here["pieces"]())
        h, path = 0.04, []
        for _ in range(len(onwards)):
            a = model(y)
            b = model(y + h / 2 * a)
            c = model(y + h / 2 * b)
            y = y + h / 6 * (a + 2 * b + 2 * c + model(y + h * c))
            path.append(y)
        return torch.nn.functional.mse_loss(torch.stack(path), onwards)

    return trained(model.parameters(), loss, lr=0.01, decay=0.5 ** (1 / 500))


def flow():
    here = names_of("flow")
    nets = [
        torch.nn.Sequential(
            like(ours.Linear(1, 64, seed=i), torch.nn.Linear(1, 64)),
            torch.nn.Tanh(),
            like(ours.Linear(64, 2, weight_init="zeros"), torch.nn.Linear(64, 2)),
        )
        for i in range(8)
    ]
    normal = torch.distributions.Normal(0.0, 1.0)
    tg.random.seed(0)
    here["moons"](256)  # those that the example traces with

    def loss(step):
        point, volume = list(there(here["moons"](256)).T), 0.0
        for i, net in enumerate(nets):
            scale, shift = net(point[i % 2][:, None]).T
            scale = 2 * torch.tanh(scale)
            point[1 - i % 2] = point[1 - i % 2] * scale.exp() + shift
            volume = volume + scale
        return -(volume + sum(map(normal.log_prob, point))).mean()

    return trained([p for net in nets for p in net.parameters()], loss, lr=0.005, decay=0.5 ** (1 / 700))


def gaussian_process():
    here, losses = names_of("gaussian_process", 60), []
    x, y = there(here["x"]), there(here["y"])
    r = 5**0.5 * (x[:, None] - x).abs()

    def loss(numbers):
        p = torch.tensor(numbers, requires_grad=True)
        height, length, noise = p.exp()
        covariance = height**2 * (1 + r / length + (r / length) ** 2 / 3) * torch.exp(-r / length)
        normal = torch.distributions.MultivariateNormal(torch.zeros(60), covariance + noise**2 * torch.eye(60))
        value = -normal.log_prob(y) / 60
        losses.append(value.item())
        return losses[-1], torch.autograd.grad(value, p)[0].numpy()

    minimize(loss, np.log([100.0, 1.0, 10.0]), jac=True, method="BFGS")
    return losses[:STEPS]


def transformer():
    here = names_of("transformer", 1)
    own, rng = here["Transformer"](), np.random.default_rng(0)
    layer = torch.nn.TransformerEncoderLayer(64, 4, 256, 0.0, "gelu", batch_first=True, norm_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 2, torch.nn.LayerNorm(64), enable_nested_tensor=False)
    out = like(own.out, torch.nn.Linear(*own.out.weight.shape))
    letters, places = (torch.nn.Embedding(*e.weight.shape, _weight=there(e.weight)) for e in (own.letters, own.places))
    for mine, layer in zip(own.encoder.layers, encoder.layers, strict=True):
        like(mine.linear1, layer.linear1)
        like(mine.linear2, layer.linear2)
        like(mine.self_attn.out, layer.self_attn.out_proj)
        packed = (mine.self_attn.query, mine.self_attn.key, mine.self_attn.value)
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(torch.cat([there(part.weight.numpy().T) for part in packed]))
            layer.self_attn.in_proj_bias.copy_(torch.cat([there(part.bias) for part in packed]))
    causal = torch.nn.Transformer.generate_square_subsequent_mask(64, dtype=torch.float64)

    def loss(step):
        x, y = map(there, here["batch"](rng))
        h = encoder(letters(x) + places(torch.arange(64)), mask=causal, is_causal=True)
        return cross_entropy(out(h).flatten(0, 1), y.flatten())

    parameters = [p for part in (letters, places, encoder, out) for p in part.parameters()]
    return trained(parameters, loss, torch.optim.AdamW, lr=0.006, weight_decay=0.01)


if __name__ == "__main__":
    chosen = sys.argv[1:] or [path.stem for path in EXAMPLES.glob("*.py") if path.stem in globals()]
    torch.set_default_dtype(torch.float64)
    tg.set_default_dtype("float64")
    losses = json.loads(LOSSES.read_text("utf-8")) if LOSSES.exists() else {}
    for example in chosen:
        losses[example] = globals()[example]()
    lines = (f"{json.dumps(example)}: {json.dumps(numbers)}" for example, numbers in sorted(losses.items()))
    LOSSES.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
