"""A call of every public function, by name: what `test_arguments_hostile.py` puts hostile arguments into.

``"nn.Linear": lambda: (nn.Linear, dict(inputs=3, outputs=2))`` gives the callable and its arguments by name; a key with
a star is the list of what is given by position beyond the names.
"""

import inspect
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from dist_ranks import Alone

import tensorgraph as tg
from tensorgraph import data, dist, files, jit, nn, optim, testing, text, train, tune, viz
from tensorgraph.engine.functions import FUNCTIONS, Function, static
from tensorgraph.engine.indexing import Place
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.engine.random import Draws
from tensorgraph.optim import Optimizer
from tensorgraph.train import metrics

Example = Callable[[], tuple[Callable[..., Any], dict[str, Any]]]

ROOMS: dict[str, Any] = {
    "tg": tg, "nn": nn, "init": nn.init, "optim": optim, "data": data, "train": train, "metrics": metrics,
    "testing": testing, "random": tg.random, "dist": dist, "text": text, "viz": viz, "files": files, "tune": tune,
}  # fmt: skip
# what takes no argument that a person gives: made by the library alone, or its own subject
EXEMPT = {
    "tg.Graph", "tg.Recognition", "tg.Template", "data.Rows", "optim.Group", "train.Prediction",
    "viz.Drawing", "viz.Edge", "viz.Group", "viz.LegendEntry", "viz.Node", "viz.Port", "viz.Row", "testing.Case",
    "testing.Program", "init.Initialiser", "init.named",
    "init.reserve", "init.text_of", "init.undrawn", "nn.Module", "tg.Tensor", "tg.Cell", "optim.Optimizer",
    "tune.Ensemble", "tune.Result", "tune.Scale", "tune.Trial",
}  # fmt: skip
METHODS_EXEMPT = {  # methods of the same kind
    "Recognition.check", "Group.cell", "Cell.exclusive", "Graph.replace", "Graph.key", "Case.at",
    "Case.map", "Case.put", "Case.cast", "Case.tensors", "Program.tensors",
    "Rows.read", "TrainingObjective.together",
    *(f"Scale.{name}" for name in ("at", "drawn", "holds", "name", "narrowed", "place", "spaced", "stored", "value")),
    *(f"Space.{name}" for name in ("difference", "filled", "from_json", "narrowed", "points", "shuffled", "stored")),
}  # fmt: skip

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


EXAMPLES: dict[str, Example] = {
    # tensorgraph
    "tg.Aval": lambda: call(tg.Aval, shape=(2, 3), dtype="float32"),
    "tg.Buffer": lambda: call(tg.Buffer, data=[1.0], dtype="float32", name="b"),
    "tg.Parameter": lambda: call(tg.Parameter, data=[1.0], dtype="float32", name="w", requires_grad=True),
    "tg.check": lambda: call(tg.check, op=tg.CATALOGUE["negative"], properties=["finite"]),
    "tg.checkpoint": lambda: call(tg.checkpoint, function=double),
    "tg.scan": lambda: call(tg.scan, f=lambda h, x: (x, h), init=0.0, xs=X[0], reverse=False, checkpoint=False),
    "tg.custom_vjp": lambda: call(tg.custom_vjp, function=double),
    "tg.debug_nans": lambda: call(tg.debug_nans),
    "tg.default_dtype": lambda: call(tg.default_dtype),
    "tg.diff": lambda: call(tg.diff, before=graph(), after=graph()),
    "tg.draw": lambda: call(tg.draw, target=total, examples=(X,), level="op", depth=None, theme="auto"),
    "tg.enable_grad": lambda: call(tg.enable_grad),
    "tg.explain_gradient": lambda: call(tg.explain_gradient, graph_or_function=total, examples=(X,)),
    "tg.find_faults": lambda: call(tg.find_faults, target=graph(), args=(X,), limit=1e6),
    "tg.functional": lambda: call(tg.functional, model=model(), state=False),
    "tg.fused_op": lambda: call(
        tg.fused_op,
        signature="trebled(x)",
        reference=lambda x: x * 3.0,
        forward=lambda x: x * 3.0,
        backward=lambda g: g * 3.0,
    ),
    "tg.grad": lambda: call(tg.grad, function=total, argnums=0, has_aux=False),
    "tg.gradients": lambda: call(tg.gradients, ys=[total(w := tg.Parameter([1.0]))], xs=[w]),
    "tg.graph": lambda: call(tg.graph, tensors=loss()),
    "tg.hessian": lambda: call(tg.hessian, function=total, argnums=0),
    "tg.hvp": lambda: call(tg.hvp, function=total, primals=(X,), tangents=(X,)),
    "tg.implementation": lambda: call(tg.implementation, name="composed"),
    "tg.is_grad_enabled": lambda: call(tg.is_grad_enabled),
    "tg.is_tracing": lambda: call(tg.is_tracing),
    "tg.jacobian": lambda: call(tg.jacobian, function=total, argnums=0),
    "tg.jacfwd": lambda: call(tg.jacfwd, function=total, argnums=0),
    "tg.linearize": lambda: call(tg.linearize, function=total, primals=(X,), has_aux=False),
    "tg.jvp": lambda: call(tg.jvp, function=total, primals=(X,), tangents=(X,), has_aux=False),
    "tg.lint": lambda: call(tg.lint, target=graph(), ignore=()),
    "tg.load": lambda: call(tg.load, path=saved(), model=model(), optimizer=None),
    "tg.load_graph": lambda: call(tg.load_graph, path=text_file(), name="f"),
    "tg.load_model": lambda: call(tg.load_model, path=saved()),
    "tg.no_grad": lambda: call(tg.no_grad),
    "tg.op": lambda: call(tg.op, signature="thrice(x)", forward=lambda x: x * 3.0, kind="elementwise"),
    "tg.parse": lambda: call(tg.parse, text=TEXT, arrays=None, name="f", file="<text>"),
    "tg.profile": lambda: call(tg.profile, target=graph(), args=(X,), repeats=1),
    "tg.remove_op": lambda: call(tg.remove_op, name=own_op()),
    "tg.save": lambda: call(
        tg.save, path="model.safetensors", model=model(), normalizer=None, class_names=["a", "b"], optimizer=None
    ),
    "tg.scope": lambda: call(tg.scope, name="part", module="Part"),
    "tg.set_default_dtype": lambda: call(tg.set_default_dtype, dtype="float32"),
    "tg.spec": lambda: call(tg.spec, shape=(2, 3), dtype="float32"),
    "tg.tensor": lambda: call(tg.tensor, data=X, dtype="float32", requires_grad=False, copy=True),
    "tg.trace": lambda: call(tg.trace, function=total, examples=(X,)),
    "tg.tree_map": lambda: call(tg.tree_map, function=double, tree={"a": 1.0}),
    "tg.value_and_grad": lambda: call(tg.value_and_grad, function=total, argnums=0, has_aux=False),
    "tg.vjp": lambda: call(tg.vjp, function=total, primals=(X,), has_aux=False),
    "tg.vmap": lambda: call(tg.vmap, function=double, in_axes=0, out_axes=0, fallback=None),
    "Graph.batched": lambda: call(graph().batched, size=4, loop=False, own=()),
    # methods of tensors, cells, graphs
    "tg.tri": lambda: call(tg.tri, n=3, m=2, k=1, dtype=None),
    "Numbers.to_device": lambda: call(x().to_device, device="cpu", stream=None),
    "Tensor.backward": lambda: call(loss().backward, grad_output=None, retain_graph=False, create_graph=False),
    "Tensor.register_hook": lambda: call(x().register_hook, hook=print),
    "Tensor.requires_grad_": lambda: call(x().requires_grad_, requires_grad=True),
    "Tensor.reshape": lambda: call(x().reshape, shape=(3, 2)),
    "Tensor.retain_grad": lambda: call(x().retain_grad),
    "Tensor.transpose": lambda: call(x().transpose, axes=(1, 0)),
    "Tensor.zero_grad": lambda: call(x().zero_grad),
    "Parameter.requires_grad_": lambda: call(tg.Parameter([1.0]).requires_grad_, requires_grad=False),
    "Buffer.requires_grad_": lambda: call(tg.Buffer([1.0]).requires_grad_, requires_grad=False),
    "Cell.assign": lambda: call(tg.Parameter([1.0]).assign, value=[2.0]),
    "Cell.read": lambda: call(tg.Parameter([1.0]).read),
    "Place.set": lambda: call(x().at[0].set, value=1.0),
    "Place.add": lambda: call(x().at[0].add, value=1.0),
    "Place.multiply": lambda: call(x().at[0].multiply, value=1.0),
    "Place.subtract": lambda: call(x().at[0].subtract, value=1.0),
    "Place.divide": lambda: call(x().at[0].divide, value=1.0),
    "Place.power": lambda: call(x().at[0].power, value=1.0),
    "Place.min": lambda: call(x().at[0].min, value=1.0),
    "Place.max": lambda: call(x().at[0].max, value=1.0),
    "Place.apply": lambda: call(x().at[0].apply, function=double),
    "Graph.bind": lambda: call(graph().bind),
    "Graph.check": lambda: call(graph().check),
    "Graph.cost": lambda: call(graph().cost),
    "Graph.differentiate": lambda: call(graph().differentiate),
    "Drawable.draw": lambda: call(graph().draw, options=dict(level="op")),
    "Graph.expand": lambda: call(graph().expand, ops=("softmax",)),
    "Graph.explain": lambda: call(graph().explain),
    "Graph.grad": lambda: call(graph().grad, wrt=0),
    "Graph.jvp": lambda: call(graph().jvp, wrt=0),
    "Graph.recognise": lambda: call(graph().recognise),
    "Graph.results": lambda: call(graph().results),
    "Graph.save": lambda: call(graph().save, path="graph.tg.py", state=None),
    "Graph.simplify": lambda: call(graph().simplify, without=()),
    "Graph.transform": lambda: call(graph().transform, steps=("simplify",), without=()),
    "Graph.variables": lambda: call(graph().variables),
    "Template.at": lambda: call(tg.parse(TEMPLATE).at, dims=dict(N=2)),
    "Template.example": lambda: call(tg.parse(TEMPLATE).example, dims=dict(N=2)),
    "Template.fitting": lambda: call(tg.parse(TEMPLATE).fitting, dims=dict(N=2)),
    "Template.instance": lambda: call(tg.parse(TEMPLATE).instance, examples=(X,)),
    "Template.save": lambda: call(tg.parse(TEMPLATE).save, path="template.tg.py"),
    "Template.sizes": lambda: call(tg.parse(TEMPLATE).sizes, args=(X,)),
    "custom_vjp.defvjp": lambda: call(custom().defvjp, forward=lambda a: (a, a), backward=lambda r, g: (g,)),
    # nn
    "nn.BatchNorm": lambda: call(nn.BatchNorm, features=3),
    "nn.CELU": lambda: call(nn.CELU, alpha=1.0),
    "nn.ELU": lambda: call(nn.ELU, alpha=1.0),
    "nn.GELU": lambda: call(nn.GELU, approximate="tanh"),
    "nn.Embedding": lambda: call(nn.Embedding, count=4, features=2, padding_index=0, seed=0),
    "nn.GroupNorm": lambda: call(nn.GroupNorm, groups=1, channels=2),
    "nn.Hardtanh": lambda: call(nn.Hardtanh, min_val=-1.0, max_val=1.0),
    "nn.InstanceNorm": lambda: call(nn.InstanceNorm, channels=2),
    "nn.LayerNorm": lambda: call(nn.LayerNorm, shape=3),
    "nn.PReLU": lambda: call(nn.PReLU, channels=2),
    "nn.RMSNorm": lambda: call(nn.RMSNorm, shape=3),
    "nn.ModuleDict": lambda: call(nn.ModuleDict, modules={"a": nn.ReLU()}),
    "ModuleDict.keys": lambda: call(nn.ModuleDict().keys),
    "ModuleDict.values": lambda: call(nn.ModuleDict().values),
    "ModuleDict.items": lambda: call(nn.ModuleDict().items),
    "nn.ModuleList": lambda: call(nn.ModuleList, layers=(nn.ReLU(),)),
    "ModuleList.extend": lambda: call(nn.ModuleList().extend, layers=[nn.ReLU()]),
    "nn.to_torch_state": lambda: call(nn.to_torch_state, module=model()),
    "nn.from_torch_state": lambda: call(
        nn.from_torch_state, module=model(), state={"0.weight": np.ones((2, 3)), "0.bias": np.ones(2)}
    ),
    "nn.SELU": lambda: call(nn.SELU),
    "nn.Hardsigmoid": lambda: call(nn.Hardsigmoid),
    "nn.Hardswish": lambda: call(nn.Hardswish),
    "nn.LogSigmoid": lambda: call(nn.LogSigmoid),
    "nn.Mish": lambda: call(nn.Mish),
    "nn.ReLU6": lambda: call(nn.ReLU6),
    "nn.SiLU": lambda: call(nn.SiLU),
    "nn.Softplus": lambda: call(nn.Softplus),
    "nn.Softsign": lambda: call(nn.Softsign),
    "nn.Dropout": lambda: call(nn.Dropout, rate=0.5, seed=0),
    "nn.GRU": lambda: call(nn.GRU, inputs=3, units=2, layers=2, seed=0),
    "nn.GRUCell": lambda: call(nn.GRUCell, inputs=3, units=2, bias=True, seed=0),
    "nn.LSTM": lambda: call(nn.LSTM, inputs=3, units=2, layers=2, bidirectional=True, dropout=0.1, seed=0),
    "nn.LSTMCell": lambda: call(nn.LSTMCell, inputs=3, units=2, bias=True, seed=0),
    "nn.MultiHeadAttention": lambda: call(nn.MultiHeadAttention, dim=4, heads=2, dropout=0.1, seed=0),
    "nn.RNN": lambda: call(nn.RNN, inputs=3, units=2, activation="tanh", seed=0),
    "nn.RNNCell": lambda: call(nn.RNNCell, inputs=3, units=2, activation="tanh", seed=0),
    "nn.TransformerEncoder": lambda: call(nn.TransformerEncoder, dim=4, heads=2, hidden=3, count=2, seed=0),
    "nn.TransformerEncoderLayer": lambda: call(
        nn.TransformerEncoderLayer, dim=4, heads=2, hidden=3, dropout=0.1, seed=0
    ),
    "nn.positional_encoding": lambda: call(nn.positional_encoding, length=3, dim=4, base=100.0),
    "nn.Conv1d": lambda: call(nn.Conv1d, inputs=1, outputs=2, kernel_size=3, padding=1, seed=0),
    "nn.ConvTranspose1d": lambda: call(nn.ConvTranspose1d, inputs=1, outputs=2, kernel_size=3, stride=2, seed=0),
    "nn.MaxPool1d": lambda: call(nn.MaxPool1d, kernel_size=2, stride=2, padding=1, dilation=1, ceil_mode=True),
    "nn.AvgPool1d": lambda: call(nn.AvgPool1d, kernel_size=2, stride=2, padding=1, count_include_pad=False),
    "nn.AdaptiveAvgPool1d": lambda: call(nn.AdaptiveAvgPool1d, output_size=2),
    "nn.AdaptiveMaxPool1d": lambda: call(nn.AdaptiveMaxPool1d, output_size=2),
    "nn.Dropout1d": lambda: call(nn.Dropout1d, rate=0.5, seed=0),
    "nn.Conv2d": lambda: call(nn.Conv2d, inputs=1, outputs=2, kernel_size=3, padding=1, seed=0),
    "nn.ConvTranspose2d": lambda: call(nn.ConvTranspose2d, inputs=1, outputs=2, kernel_size=3, stride=2, seed=0),
    "nn.MaxPool2d": lambda: call(nn.MaxPool2d, kernel_size=2, stride=2, padding=1, dilation=1, ceil_mode=True),
    "nn.AvgPool2d": lambda: call(nn.AvgPool2d, kernel_size=2, stride=2, padding=1, count_include_pad=False),
    "nn.AdaptiveAvgPool2d": lambda: call(nn.AdaptiveAvgPool2d, output_size=2),
    "nn.AdaptiveMaxPool2d": lambda: call(nn.AdaptiveMaxPool2d, output_size=2),
    "nn.Dropout2d": lambda: call(nn.Dropout2d, rate=0.5, seed=0),
    "nn.Conv3d": lambda: call(nn.Conv3d, inputs=1, outputs=2, kernel_size=3, padding=1, seed=0),
    "nn.ConvTranspose3d": lambda: call(nn.ConvTranspose3d, inputs=1, outputs=2, kernel_size=3, stride=2, seed=0),
    "nn.MaxPool3d": lambda: call(nn.MaxPool3d, kernel_size=2, stride=2, padding=1, dilation=1, ceil_mode=True),
    "nn.AvgPool3d": lambda: call(nn.AvgPool3d, kernel_size=2, stride=2, padding=1, count_include_pad=False),
    "nn.AdaptiveAvgPool3d": lambda: call(nn.AdaptiveAvgPool3d, output_size=2),
    "nn.AdaptiveMaxPool3d": lambda: call(nn.AdaptiveMaxPool3d, output_size=2),
    "nn.Dropout3d": lambda: call(nn.Dropout3d, rate=0.5, seed=0),
    "nn.Upsample": lambda: call(nn.Upsample, scale_factor=2.0, mode="nearest", align_corners=False),
    "nn.PixelShuffle": lambda: call(nn.PixelShuffle, upscale_factor=2),
    "nn.PixelUnshuffle": lambda: call(nn.PixelUnshuffle, downscale_factor=2),
    "nn.Flatten": lambda: call(nn.Flatten, keep=1),
    "nn.GraphModule": lambda: call(nn.GraphModule, source=TEXT, seed=0),
    "GraphModule.from_file": lambda: call(nn.GraphModule.from_file, path=text_file()),
    "GraphModule.graph": lambda: call(nn.GraphModule(TEXT).graph, args=(X,)),
    "GraphModule.save_text": lambda: call(nn.GraphModule(TEXT).save_text, path="again.tg.py"),
    "nn.Identity": lambda: call(nn.Identity),
    "nn.Lambda": lambda: call(nn.Lambda, function=double, name="double"),
    "nn.LeakyReLU": lambda: call(nn.LeakyReLU, slope=0.1),
    "nn.Linear": lambda: call(nn.Linear, inputs=3, outputs=2, bias=True, seed=0, dtype="float32"),
    "nn.LogSoftmax": lambda: call(nn.LogSoftmax, axis=-1),
    "nn.ReLU": lambda: call(nn.ReLU),
    "nn.Sequential": lambda: call(nn.Sequential, layers=(nn.ReLU(),)),
    "Sequential.append": lambda: call(nn.Sequential().append, layer=nn.ReLU()),
    "Sequential.from_config": lambda: call(nn.Sequential.from_config, config={"layers": []}),
    "nn.Sigmoid": lambda: call(nn.Sigmoid),
    "nn.Softmax": lambda: call(nn.Softmax, axis=-1),
    "nn.Tanh": lambda: call(nn.Tanh),
    "Switches.apply": lambda: call(model().apply, function=print),
    "Switches.astype": lambda: call(model().astype, dtype="float64"),
    "Switches.register_forward_hook": lambda: call(model().register_forward_hook, hook=print),
    "Switches.register_forward_pre_hook": lambda: call(model().register_forward_pre_hook, hook=print),
    "Switches.eval": lambda: call(model().eval),
    "Switches.freeze": lambda: call(model().freeze, frozen=True),
    "Module.from_config": lambda: call(nn.Linear.from_config, config={"inputs": 3, "outputs": 2}),
    "Module.load": lambda: call((own := model()).load, tree=tg.functional(own)[1]),
    "Module.load_state_dict": lambda: call((own := model()).load_state_dict, state=own.state_dict(), strict=True),
    "Switches.requires_grad_": lambda: call(model().requires_grad_, requires_grad=True),
    "Module.summary": lambda: call(model().summary, examples=(X,)),
    "Switches.train": lambda: call(model().train, training=True),
    # init
    **{
        f"init.{name}": (lambda name=name: call(getattr(nn.init, name), shape=(3, 2), dtype="float32", seed=0))
        for name in nn.init.NAMES
    },
    "init.fans": lambda: call(nn.init.fans, shape=(3, 2)),
    "Initialiser.using": lambda: call(nn.init.normal.using, options=dict(std=0.1)),
    # optim
    **{
        f"optim.{cls.__name__}": (lambda cls=cls: call(cls, parameters=model(), lr=0.1))
        for cls in (optim.SGD, optim.Momentum, optim.RMSprop, optim.Adam, optim.AdamW)
    },
    "Optimizer.load_state_dict": lambda: call((own := trained()[1]).load_state_dict, state=own.state_dict()),
    "Optimizer.minimize": lambda: call((pair := trained())[1].minimize, loss=pair[0](X).sum()),
    "Optimizer.step": lambda: call(stepped().step),
    "dist.DataParallel": lambda: call(dist.DataParallel, optimizer=trained()[1], comm=Alone(), sync=False, timeout=1.0),
    "DataParallel.minimize": lambda: call((pair := parallel())[1].minimize, loss=pair[0](X).sum()),
    "DataParallel.part": lambda: call(parallel()[1].part, loss=loss(), samples=2, total=2),
    "DataParallel.reduce": lambda: call(parallel()[1].reduce),
    "DataParallel.rows": lambda: call(parallel()[1].rows, samples=3),
    "DataParallel.share": lambda: call(parallel()[1].share, arrays=(X, Y)),
    "DataParallel.step": lambda: call(dist.DataParallel(stepped(), Alone()).step),
    "DataParallel.join": lambda: call(parallel()[1].join, model=model()),
    "DataParallel.whole": lambda: call(parallel()[1].whole, rows=X, samples=2),
    "DataParallel.total": lambda: call(parallel()[1].total, number=1.0),
    "DataParallel.verify": lambda: call(parallel()[1].verify),
    "DataParallel.zero_grad": lambda: call(parallel()[1].zero_grad),
    "optim.clip_norm": lambda: call(optim.clip_norm, grads=[tg.ones(3)], limit=1.0),
    "optim.clip_value": lambda: call(optim.clip_value, grads=[tg.ones(3)], limit=1.0),
    "optim.clip_grad_norm": lambda: call(optim.clip_grad_norm, parameters=stepped().parameters(), limit=1.0),
    "optim.clip_grad_value": lambda: call(optim.clip_grad_value, parameters=stepped().parameters(), limit=1.0),
    "optim.Schedule": lambda: call(optim.Schedule, function=lambda t: 0.1, text="flat"),
    "Schedule.at": lambda: call(optim.constant(0.1).at, step=tg.tensor(1.0), epoch=tg.tensor(0.0)),
    "Schedule.curve": lambda: call(optim.constant(0.1).curve, n=3, steps_per_epoch=2),
    "Schedule.then": lambda: call(optim.constant(0.1).then, other=0.01, after=3),
    "optim.by_hand": lambda: call(optim.by_hand, rates=[0.1, 0.01]),
    "optim.constant": lambda: call(optim.constant, lr=0.1),
    "optim.cosine": lambda: call(optim.cosine, lr=0.1, steps=10, final=0.0),
    "optim.exponential": lambda: call(optim.exponential, lr=0.1, rate=0.9, every=2.0),
    "optim.inverse_sqrt": lambda: call(optim.inverse_sqrt, k=1.0),
    "optim.inverse_time": lambda: call(optim.inverse_time, lr=0.1, decay=1.0),
    "optim.piecewise": lambda: call(optim.piecewise, boundaries=[2], values=[0.1, 0.01]),
    "optim.staircase": lambda: call(optim.staircase, lr=0.1, factor=0.5, every=3),
    "optim.warmup": lambda: call(optim.warmup, steps=10),
    # data
    "data.Dataset": lambda: call(data.Dataset, x=X, y=Y, class_names=["a", "b"], name="two"),
    "Dataset.take": lambda: call(data.Dataset(X, Y).take, indices=[0]),
    "data.Loader": lambda: call(data.Loader, arrays=(X, Y), batch_size=1, shuffle=True, seed=0, last="keep"),
    "Loader.size_at": lambda: call(data.Loader(X).size_at, epoch=0),
    "Loader.sizes": lambda: call(data.Loader(X).sizes, epoch=0),
    "Loader.order": lambda: call(data.Loader(X).order, epoch=0),
    "data.Normalizer": lambda: call(data.Normalizer, dtype="float32"),
    "Normalizer.fit": lambda: call(data.Normalizer().fit, x=X),
    "Normalizer.fit_transform": lambda: call(data.Normalizer().fit_transform, x=X),
    "Normalizer.from_state_dict": lambda: call(data.Normalizer.from_state_dict, state=normalizer().state_dict()),
    "Normalizer.inverse_transform": lambda: call(normalizer().inverse_transform, z=X),
    "Normalizer.partial_fit": lambda: call(normalizer().partial_fit, x=X),
    "Normalizer.transform": lambda: call(normalizer().transform, x=X),
    "data.open_csv": lambda: call(data.open_csv, path=written("t.csv", "a,b\n1,2\n3,4\n"), label=None, header="auto"),
    "data.open_idx": lambda: call(data.open_idx, path=idx()),
    "data.open_npy": lambda: call(data.open_npy, path=npy()),
    "data.prefetch": lambda: call(data.prefetch, batches=[1, 2], depth=1),
    "data.load_digits": lambda: call(data.load_digits, dtype="float32"),
    "data.minibatches": lambda: call(data.minibatches, arrays=(X, Y), batch_size=1),
    "data.read_csv": lambda: call(data.read_csv, path=written("t.csv", "a,b\n1,2\n3,4\n"), label=None, header="auto"),
    "data.read_idx": lambda: call(data.read_idx, path=idx()),
    "data.read_npz": lambda: call(data.read_npz, path=archive()),
    "data.split": lambda: call(data.split, arrays=(np.zeros((10, 2)),), seed=0),
    "data.write_idx": lambda: call(data.write_idx, path="out.idx", array=Y.astype(np.uint8)),
    # tune
    "Scale.each": lambda: call(tune.uniform(0, 1).each, count="layers"),
    "Scale.when": lambda: call(tune.uniform(0, 1).when, conditions={"rule": "adam"}),
    "Space.draw": lambda: call(SPACE.draw, seed=0, slot=1),
    "Study.open": lambda: call(tune.Study.open, folder=study_folder()),
    "Study.plot": lambda: call(searched().plot, path="study.svg"),
    "Study.report": lambda: call(searched().report, path="study.html"),
    "Study.run": lambda: call(tune.Study(SPACE).run, objective=TRY, trials=2, progress=False),
    "Study.table": lambda: call(searched().table, rows=2),
    "Study.values": lambda: call(tune.Study(SPACE).values, slot=3),
    "Study.zoom": lambda: call(searched().zoom, objective=TRY, trials=2, progress=False),
    "Trial.report": lambda: call(trial().report, value=0.5, step=1),
    "Trial.watch": lambda: call(trial().watch, monitor="dev_loss"),
    "tune.Space": lambda: call(tune.Space, more={"x": tune.uniform(0, 1)}),
    "tune.Study": lambda: call(tune.Study, space=SPACE, seed=1),
    "tune.choice": lambda: call(tune.choice, options=["relu", "tanh"]),
    "tune.ewa": lambda: call(tune.ewa, low=0.9, high=0.99),
    "tune.grid": lambda: call(tune.grid, space=SPACE, objective=TRY, points=2, progress=False),
    "tune.int": lambda: call(tune.int, low=1, high=2),
    "tune.log": lambda: call(tune.log, low=0.1, high=2.0),
    "tune.log_int": lambda: call(tune.log_int, low=1, high=2),
    "tune.plot_coverage": lambda: call(tune.plot_coverage, studies=[searched2()], path="coverage.svg"),
    "tune.pow2": lambda: call(tune.pow2, low=1, high=2),
    "tune.random": lambda: call(tune.random, space=SPACE, objective=TRY, trials=2, progress=False),
    "tune.uniform": lambda: call(tune.uniform, low=1, high=2),
    # train
    "train.EarlyStop": lambda: call(train.EarlyStop, patience=2, monitor="dev_loss"),
    "EarlyStop.check": lambda: call(early().check, measures=["dev_loss"]),
    "EarlyStop.load_state_dict": lambda: call(early().load_state_dict, state=early().state_dict()),
    "EarlyStop.on_epoch_end": lambda: call(early().on_epoch_end, run=training()),
    "EarlyStop.on_fit_end": lambda: call(early().on_fit_end, run=training()),
    "EarlyStop.on_fit_start": lambda: call(early().on_fit_start, run=training()),
    "train.History": lambda: call(train.History),
    "History.append": lambda: call(history().append, measures={"loss": 1.0}, seconds=0.1),
    "History.best": lambda: call(history().best, name="loss"),
    "History.from_dict": lambda: call(train.History.from_dict, data=history().to_dict()),
    "History.plot": lambda: call(history().plot, path="history.svg", title="run"),
    "train.Predictor": lambda: call(train.Predictor, model=model()),
    "Predictor.outputs": lambda: call(predictor().outputs, x=X, batch_size=1),
    "Predictor.predict": lambda: call(predictor().predict, x=X, batch_size=1),
    "Predictor.save": lambda: call(predictor().save, path="predictor.safetensors"),
    "train.Run": lambda: call(
        train.Run,
        folder="run",
        keep=2,
        epochs=2,
        steps=10,
        seconds=5.0,
        step_events=1,
        replay="other",
        tensorboard=True,
    ),
    "Run.checkpoint": lambda: call(begun().checkpoint, name="good"),
    "Run.load": lambda: call(begun().load, number=1),
    "Run.report": lambda: call(begun().report, path="report.html"),
    "Run.watch": lambda: call(begun().watch, lines=True),
    "Run.rollback": lambda: call(begun().rollback, to=0),
    "Run.set": lambda: call(begun().set, name="lr", value=0.01),
    "Run.wait": lambda: call((found := begun()).wait, id=answered(found), timeout=0.0),
    "train.Training": lambda: call(train.Training, model=model(), optimizer=trained()[1], epochs=3, history=history()),
    "Training.stop": lambda: call(training().stop, reason="enough"),
    "train.class_weights": lambda: call(train.class_weights, y=Y, classes=2),
    "train.evaluate": lambda: call(train.evaluate, model=model(), data=(X, Y)),
    "train.fit": lambda: call(
        train.fit, model=(pair := trained())[0], data=(X, Y), optimizer=pair[1], epochs=1, progress=False
    ),
    "train.predict": lambda: call(train.predict, model=model(), x=X),
    **{
        f"metrics.{name}": (lambda name=name: call(getattr(metrics, name), predictions=[0, 1], targets=[0, 1]))
        for name in ("accuracy", "confusion_matrix", "f1_score", "mae", "mse", "precision", "r2", "recall", "rmse")
    },
    "metrics.top_k_accuracy": lambda: call(metrics.top_k_accuracy, scores=X, targets=Y, k=1),
    # testing
    "testing.assert_close": lambda: call(testing.assert_close, got=X, expected=X),
    "testing.assert_same": lambda: call(testing.assert_same, got=X, expected=X),
    "testing.complex_jacobian": lambda: call(testing.complex_jacobian, case=case(), places=[]),
    "testing.difference_jacobian": lambda: call(testing.difference_jacobian, function=lambda a: a, arrays=[X]),
    "testing.differentiable_places": lambda: call(testing.differentiable_places, case=case()),
    "testing.draw": lambda: call(
        testing.draw, op=tg.CATALOGUE["exp"], shapes=[("x", (2,))], rng=np.random.default_rng(0)
    ),
    "testing.examples_of": lambda: call(testing.examples_of, op=tg.CATALOGUE["exp"], seed=0),
    "testing.numerical_jacobian": lambda: call(testing.numerical_jacobian, case=case(), places=[]),
    "testing.programs": lambda: call(testing.programs),
    "testing.random_program": lambda: call(testing.random_program, seed=0, steps=2),
    "testing.strict": lambda: call(testing.strict),
    # random
    "random.Generator": lambda: call(tg.random.Generator, seed=0, name="state"),
    "Draws.normal": lambda: call(Draws(tg.Buffer(tg.random.key(0))).normal, shape=(2,), dtype="float32"),
    "Draws.uniform": lambda: call(Draws(tg.Buffer(tg.random.key(0))).uniform, shape=(2,), dtype="float32"),
    "Generator.bernoulli": lambda: call(tg.random.Generator(0).bernoulli, p=0.5, shape=(2,)),
    "Generator.beta": lambda: call(tg.random.Generator(0).beta, a=1.0, b=2.0, shape=(2,), dtype="float32"),
    "Generator.categorical": lambda: call(tg.random.Generator(0).categorical, logits=[0.0, 1.0], shape=(2,), axis=-1),
    "Generator.choice": lambda: call(tg.random.Generator(0).choice, a=3, shape=(2,), replace=True, p=None, axis=0),
    "Generator.dirichlet": lambda: call(
        tg.random.Generator(0).dirichlet, concentration=[1.0, 2.0], shape=(2,), dtype="float32"
    ),
    "Generator.dropout": lambda: call(tg.random.Generator(0).dropout, x=[1.0, 2.0], rate=0.5),
    "Generator.exponential": lambda: call(tg.random.Generator(0).exponential, shape=(2,), dtype="float32", scale=2.0),
    "Generator.gamma": lambda: call(
        tg.random.Generator(0).gamma, concentration=2.0, shape=(2,), dtype="float32", scale=2.0
    ),
    "Generator.gumbel": lambda: call(tg.random.Generator(0).gumbel, shape=(2,), dtype="float32", loc=0.0, scale=2.0),
    "Generator.laplace": lambda: call(tg.random.Generator(0).laplace, shape=(2,), dtype="float32", loc=0.0, scale=2.0),
    "Generator.logistic": lambda: call(
        tg.random.Generator(0).logistic, shape=(2,), dtype="float32", loc=0.0, scale=2.0
    ),
    "Generator.multivariate_normal": lambda: call(
        tg.random.Generator(0).multivariate_normal, mean=[0.0], cov=[[1.0]], shape=(2,), dtype="float32"
    ),
    "Generator.normal": lambda: call(tg.random.Generator(0).normal, shape=(2,), dtype="float32", loc=0.0, scale=2.0),
    "Generator.permutation": lambda: call(tg.random.Generator(0).permutation, x=3, axis=0),
    "Generator.randint": lambda: call(tg.random.Generator(0).randint, low=0, high=3, shape=(2,), dtype="int32"),
    "Generator.truncated_normal": lambda: call(
        tg.random.Generator(0).truncated_normal, shape=(2,), dtype="float32", lower=-1.0, upper=1.0, loc=0.0, scale=2.0
    ),
    "Generator.uniform": lambda: call(tg.random.Generator(0).uniform, shape=(2,), dtype="float32", low=0.0, high=2.0),
    "Generator.seed": lambda: call(tg.random.Generator(0).seed, seed=1),
    "random.key": lambda: call(tg.random.key, seed=0),
    "random.bernoulli": lambda: call(tg.random.bernoulli, p=0.5, shape=(2,)),
    "random.beta": lambda: call(tg.random.beta, a=1.0, b=2.0, shape=(2,), dtype="float32"),
    "random.categorical": lambda: call(tg.random.categorical, logits=[0.0, 1.0], shape=(2,), axis=-1),
    "random.choice": lambda: call(tg.random.choice, a=3, shape=(2,), replace=True, p=None, axis=0),
    "random.dirichlet": lambda: call(tg.random.dirichlet, concentration=[1.0, 2.0], shape=(2,), dtype="float32"),
    "random.dropout": lambda: call(tg.random.dropout, x=[1.0, 2.0], rate=0.5),
    "random.exponential": lambda: call(tg.random.exponential, shape=(2,), dtype="float32", scale=2.0),
    "random.gamma": lambda: call(tg.random.gamma, concentration=2.0, shape=(2,), dtype="float32", scale=2.0),
    "random.gumbel": lambda: call(tg.random.gumbel, shape=(2,), dtype="float32", loc=0.0, scale=2.0),
    "random.laplace": lambda: call(tg.random.laplace, shape=(2,), dtype="float32", loc=0.0, scale=2.0),
    "random.logistic": lambda: call(tg.random.logistic, shape=(2,), dtype="float32", loc=0.0, scale=2.0),
    "random.multivariate_normal": lambda: call(
        tg.random.multivariate_normal, mean=[0.0], cov=[[1.0]], shape=(2,), dtype="float32"
    ),
    "random.normal": lambda: call(tg.random.normal, shape=(2,), dtype="float32", loc=0.0, scale=2.0),
    "random.permutation": lambda: call(tg.random.permutation, x=3, axis=0),
    "random.randint": lambda: call(tg.random.randint, low=0, high=3, shape=(2,), dtype="int32"),
    "random.truncated_normal": lambda: call(
        tg.random.truncated_normal, shape=(2,), dtype="float32", lower=-1.0, upper=1.0, loc=0.0, scale=2.0
    ),
    "random.uniform": lambda: call(tg.random.uniform, shape=(2,), dtype="float32", low=0.0, high=2.0),
    "random.seed": lambda: call(tg.random.seed, seed=0),
    "random.state": lambda: call(tg.random.state),
    # text
    "text.arrays_of": lambda: call(text.arrays_of, graph=graph()),
    "text.load_state": lambda: call(text.load_state, path=text_file()),
    "text.namespace": lambda: call(text.namespace, arrays=None),
    "text.save": lambda: call(text.save, graph=graph(), path="saved.tg.py"),
    # viz
    "tune.TrainingObjective": lambda: call(
        tune.TrainingObjective,
        make=one_layer,
        data=(X, Y),
        epochs=1,
        dev=(X, Y),
        monitor="dev_loss",
        optimizer="sgd",
        metrics=("accuracy",),
        batch_size=2,
        shuffle=True,
        last="merge",
        threads=1,
    ),
    "tune.ensemble": lambda: call(
        tune.ensemble,
        make=one_layer,
        data=(X, Y),
        settings=[{"seed": 0, "lr": 0.1}],
        epochs=1,
        optimizer="sgd",
        metrics=("accuracy",),
        batch_size=2,
        shuffle=True,
        seed=0,
        last="merge",
        threads=1,
    ),
    "Ensemble.model": lambda: call(together().model, k=0),
    "Ensemble.optimizer": lambda: call(together().optimizer, k=0),
    "Ensemble.best": lambda: call(together().best, name="loss"),
    "Ensemble.predict": lambda: call(together().predict, x=X, average=True),
    "viz.drawing_from_json": lambda: call(viz.drawing_from_json, text=drawing().json()),
    "viz.mimebundle": lambda: call(viz.mimebundle, target=graph()),
    "viz.picture": lambda: call(viz.picture, target=graph()),
    "Drawing.dot": lambda: call(drawing().dot, theme="dark"),
    "Drawing.json": lambda: call(drawing().json, indent=2),
    "Drawing.mermaid": lambda: call(drawing().mermaid, theme="dark"),
    "Drawing.save": lambda: call(drawing().save, path="drawing.txt"),
    "Drawing.svg": lambda: call(drawing().svg, theme="dark"),
    # files and settings
    "files.atomic_file": lambda: call(files.atomic_file, path="whole.bin"),
    "files.atomic_write": lambda: call(files.atomic_write, path="whole.bin", data=b"abc"),
    "files.load_tensors": lambda: call(files.load_tensors, path=tensors_file()),
    "files.save_tensors": lambda: call(files.save_tensors, path="out.safetensors", arrays={"a": X}),
    "jit.set_num_threads": lambda: call(jit.set_num_threads, n=1),
}


def composed(declared: Function) -> Example:
    """The first example of a function composed of ops."""

    def fill(value: Any) -> Any:
        if isinstance(value, static):
            return value.value
        if isinstance(value, list):
            return [fill(v) for v in value]
        return np.ones(value) if isinstance(value, tuple) else value

    args, kwargs = declared.examples[0]
    bound = inspect.signature(declared.call).bind(*map(fill, args), **kwargs)
    return lambda: (declared.call, dict(bound.arguments))


EXAMPLES |= {f"tg.{declared.name}": composed(declared) for declared in FUNCTIONS.values() if declared.examples}
SQUARE = np.eye(2)
EXAMPLES |= {  # of matrices of a kind, which are not drawn
    "tg.eigh": lambda: call(tg.eigh, a=SQUARE),
    "tg.svd": lambda: call(tg.svd, a=SQUARE, full_matrices=True, compute_uv=True),
    "tg.logdet": lambda: call(tg.logdet, a=SQUARE),
    "tg.lstsq": lambda: call(tg.lstsq, a=SQUARE, b=SQUARE, rcond=0.1),
    "tg.tensorsolve": lambda: call(tg.tensorsolve, a=SQUARE, b=np.ones(2), axes=(0,)),
    "tg.tensorinv": lambda: call(tg.tensorinv, a=SQUARE, ind=1),
    "tg.matrix_cond": lambda: call(tg.matrix_cond, x=SQUARE),
    "tg.matrix_power": lambda: call(tg.matrix_power, a=SQUARE, n=2),
    "tg.matrix_rank": lambda: call(tg.matrix_rank, x=SQUARE, rtol=0.1),
    "tg.multigammaln": lambda: call(tg.multigammaln, a=SQUARE, d=2),
}


def public() -> Iterator[tuple[str, Any]]:
    """Every public function and class by its name, and the methods of the classes."""
    seen: set[int] = set()
    classes = []
    for room, module in ROOMS.items():
        for name in module.__all__:
            thing = getattr(module, name)
            if id(thing) in seen or isinstance(thing, types.ModuleType) or not callable(thing):
                continue
            seen.add(id(thing))
            if isinstance(thing, type):
                if issubclass(thing, BaseException):
                    continue
                classes.append(thing)
            yield f"{room}.{name}", thing
    for declared in FUNCTIONS.values():
        seen.add(id(declared.call))
        yield f"tg.{declared.name}", declared.call
    yield "jit.set_num_threads", jit.set_num_threads
    for cls in [*classes, Place]:
        for own in cls.__mro__:
            if not own.__module__.startswith("tensorgraph") or (id(own) in seen and own not in classes):
                continue
            for name, member in vars(own).items():
                function = getattr(member, "__func__", member)
                if (
                    name.startswith("_")
                    or name == "forward"
                    or not inspect.isfunction(function)
                    or id(function) in seen
                    or hasattr(function, "op")  # ops are asked by their declarations
                ):
                    continue
                seen.add(id(function))
                yield f"{own.__name__}.{name}", function


def parameters_of(thing: Any) -> list[inspect.Parameter]:
    """What a function, a class or a method takes."""
    function = thing.__init__ if isinstance(thing, type) else thing
    if function is object.__init__:
        return []
    return [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]


def arguments_of(function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """An example's arguments as a call gives them: by name, or by position where there is no other way."""
    by_position: list[Any] = []
    by_name: dict[str, Any] = {}
    parameters = parameters_of(function)
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    for p in parameters:
        if p.name not in arguments:
            continue
        value = arguments[p.name]
        if p.kind is p.VAR_POSITIONAL:
            by_position += value
        elif p.kind is p.VAR_KEYWORD:
            by_name |= value
        elif several and p.kind is not p.KEYWORD_ONLY:
            by_position.append(value)
        else:
            by_name[p.name] = value
    return by_position, by_name
