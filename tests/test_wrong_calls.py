"""Calls as other libraries take them, and slips: answered by a sentence that names the function and the remedy."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim

X = tg.ones((2, 3))
MODEL = nn.Linear(2, 2)


def deep(kind):
    key = 0
    for _ in range(5000):
        key = kind((key,))
    return key


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.sin(X, out=X), "sin has no argument 'out'; tensors never change"),
        (lambda: X.sin(dim=1), "sin has no argument 'dim'; it takes x"),
        (lambda: tg.sin(input=X), "sin has no argument 'input'; write x="),
        (lambda: tg.sin(X, X), r"sin takes 1 argument \(x\), got 2"),
        (lambda: tg.sin(), "sin is missing its input 'x'"),
        (lambda: tg.add(X), "add is missing its input 'b'"),
        (lambda: tg.add(X, X, alpha=2), "add has no argument 'alpha'; multiply yourself"),
        (lambda: tg.maximum(X, other=X), "maximum has no argument 'other'; write b="),
        (lambda: X.detach(True), "stop_gradient takes 1 argument"),
        (lambda: X[deep(tuple)], "an index holds integers"),
        (lambda: X[deep(list)], "an index holds integers"),
        (lambda: X.at[deep(list)].set(1), "an index holds integers"),
        (lambda: optim.SGD(MODEL, lr=int), "SGD: lr must be .* got the class int"),
        (lambda: optim.Adam(MODEL, lr=float), "Adam: lr must be .* got the class float"),
        (lambda: MODEL.parameters(recurse=False), "Linear.parameters has no argument 'recurse'; all that is below"),
        (lambda: MODEL.buffers(recurse=False), "Linear.buffers has no argument 'recurse'"),
        (lambda: MODEL.named_parameters(prefix="a"), "named_parameters has no argument 'prefix'; paths begin at"),
        (lambda: MODEL.named_modules(memo=None), "named_modules has no argument 'memo'"),
        (lambda: MODEL.state_dict(prefix="a"), "state_dict has no argument 'prefix'; paths begin at the module"),
        (
            lambda: MODEL.load_state_dict({}, assign=True),
            "load_state_dict has no argument 'assign'; numbers are copied",
        ),
        (lambda: MODEL.zero_grad(set_to_none=True), "zero_grad has no argument 'set_to_none'; gradients are always"),
        (lambda: MODEL.train(mode=True), "train has no argument 'mode'; write training="),
        (lambda: MODEL.eval(True), "eval takes no argument by position"),
        (lambda: X.sum().backward(gradient=1.0), "backward has no argument 'gradient'; write grad_output="),
    ],
)
def test_words_for_what_does_not_fit(call, words):
    with pytest.raises((TypeError, IndexError), match=words):
        call()


def test_explanations_of_functions_that_contain_written_out_derivatives():
    def bent(y):
        return (y * y * y).sum()

    examples = {
        "jacobian": lambda x: tg.jacobian(lambda y: y * y)(x).sum(),
        "hessian": lambda x: tg.hessian(bent)(x).sum(),
        "gradients of lanes": lambda x: tg.vmap(tg.grad(lambda y: y * y * y))(x).sum(),
    }
    for name, f in examples.items():
        told = tg.explain_gradient(f, tg.f64[3])
        assert told.steps and "sum" in str(told), name
    graph = tg.trace(tg.grad(bent), np.ones(3)).differentiate()
    with pytest.raises(ValueError, match="written out already"):
        tg.explain_gradient(graph)
