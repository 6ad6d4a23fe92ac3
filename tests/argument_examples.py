"""A call of every public function, by name: what `test_arguments_hostile.py` puts hostile arguments into.

``"nn.Linear": lambda: (nn.Linear, dict(inputs=3, outputs=2))`` gives the callable and its arguments by name; a key with
a star is the list of what is given by position beyond the names.
"""

import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import argument_examples_nn
import argument_examples_training
import numpy as np
from argument_values import (
    TEMPLATE,
    TEXT,
    Example,
    X,
    Y,
    call,
    case,
    custom,
    double,
    drawing,
    graph,
    loss,
    model,
    one_layer,
    own_op,
    saved,
    tensors_file,
    text_file,
    text_function,
    together,
    total,
    x,
)

import tensorgraph as tg
from tensorgraph import data, dist, files, jit, nn, optim, testing, text, train, tune, viz
from tensorgraph.engine.functions import FUNCTIONS, Function, static
from tensorgraph.engine.indexing import Place
from tensorgraph.engine.random import Draws
from tensorgraph.train import metrics

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
    "Case.map", "Case.put", "Case.cast", "Case.tensors", "Program.tensors", "Program.typed",
    "Rows.read", "TrainingObjective.together",
    *(f"Scale.{name}" for name in ("at", "drawn", "holds", "name", "narrowed", "place", "spaced", "stored", "value")),
    *(f"Space.{name}" for name in ("difference", "filled", "from_json", "narrowed", "points", "shuffled", "stored")),
}  # fmt: skip

EXAMPLES: dict[str, Example] = {
    # tensorgraph
    "tg.Aval": lambda: call(tg.Aval, shape=(2, 3), dtype="float32"),
    "tg.Buffer": lambda: call(tg.Buffer, data=[1.0], dtype="float32", name="b"),
    "tg.Parameter": lambda: call(tg.Parameter, data=[1.0], dtype="float32", name="w", requires_grad=True),
    "tg.check": lambda: call(tg.check, op=tg.CATALOGUE["negative"], properties=["finite"]),
    "tg.compile": lambda: call(
        tg.compile, function=double, check=False, exact=False, fail_on_recompile=False, wait=True
    ),
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
    "Graph.text": lambda: call(graph().text, flat=True, types=False, library=True),
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
    "Graph.split": lambda: call(graph().split, name="v0"),
    "Graph.replace_at": lambda: call(graph().replace_at, name="v0", function=tg.exp, equal=False),
    "Graph.rewrite": lambda: call(graph().rewrite, before=tg.exp, after=tg.exp, exact=False, equal=True),
    "Graph.save": lambda: call(graph().save, path="graph.tg.py", state=None),
    "Graph.simplify": lambda: call(graph().simplify, without=()),
    "Graph.transform": lambda: call(graph().transform, steps=("simplify",), without=()),
    "Graph.variables": lambda: call(graph().variables),
    "Template.at": lambda: call(tg.parse(TEMPLATE).at, dims=dict(N=2)),
    "Template.batched": lambda: call(
        tg.parse(TEMPLATE).batched,
        size=2,
        in_dims=0,
        out_dims=0,
        loop=False,
        own=(),
    ),
    "Template.bind": lambda: call(tg.parse(TEMPLATE).bind, owners=()),
    "Template.check": lambda: call(tg.parse(TEMPLATE).check),
    "Template.text": lambda: call(tg.parse(TEMPLATE).text, flat=True),
    "Template.cost": lambda: call(tg.parse(TEMPLATE).cost),
    "Template.differentiate": lambda: call(tg.parse(TEMPLATE).differentiate),
    "Template.expand": lambda: call(tg.parse(TEMPLATE).expand, ops=("softmax",)),
    "Exampled.explain": lambda: call(tg.parse(TEMPLATE).explain),
    "Template.grad": lambda: call(tg.parse(TEMPLATE.replace("x * 2.0", "(x * 2.0).sum()")).grad, wrt=0),
    "Template.jvp": lambda: call(tg.parse(TEMPLATE).jvp, wrt=0),
    "Template.recognise": lambda: call(tg.parse(TEMPLATE).recognise),
    "Template.split": lambda: call(tg.parse(TEMPLATE).split, name="v0"),
    "Template.replace_at": lambda: call(tg.parse(TEMPLATE).replace_at, name="v0", function=tg.exp, equal=False),
    "Template.rewrite": lambda: call(tg.parse(TEMPLATE).rewrite, before=tg.exp, after=tg.exp, exact=False, equal=True),
    "Template.simplify": lambda: call(tg.parse(TEMPLATE).simplify, without=()),
    "Template.symbolic": lambda: call(tg.parse(TEMPLATE).symbolic, sizes=dict(N=2)),
    "Template.transform": lambda: call(tg.parse(TEMPLATE).transform, steps=("simplify",), without=()),
    "Template.example": lambda: call(tg.parse(TEMPLATE).example, dims=dict(N=2)),
    "Template.fitting": lambda: call(tg.parse(TEMPLATE).fitting, dims=dict(N=2)),
    "Template.instance": lambda: call(tg.parse(TEMPLATE).instance, examples=(X,)),
    "Template.save": lambda: call(tg.parse(TEMPLATE).save, path="template.tg.py"),
    "Template.sizes": lambda: call(tg.parse(TEMPLATE).sizes, args=(X,)),
    "custom_vjp.defvjp": lambda: call(custom().defvjp, forward=lambda a: (a, a), backward=lambda r, g: (g,)),
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
    "text.cells": lambda: call(text.cells, function=text_function(), sizes=None, seed=0, state=None),
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
    "Drawing.animate": lambda: call(drawing().animate),
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
    "tg.set_num_threads": lambda: call(jit.set_num_threads, n=1),
}
EXAMPLES |= argument_examples_nn.EXAMPLES | argument_examples_training.EXAMPLES


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
