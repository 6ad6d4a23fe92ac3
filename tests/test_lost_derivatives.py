"""Derivatives that functions of the user's would lose by computing with plain numbers: refused, or told."""

import numpy as np
import pytest

import tensorgraph as tg


def rule(forward, backward):
    f = tg.custom_vjp(tg.exp)
    f.defvjp(forward, backward)
    return f


# each is right to first order, where nothing is lost
LOSSES = {
    "residual": rule(lambda x: (tg.exp(x), np.exp(x.numpy())), lambda r, g: (g * r,)),
    "residual by asarray": rule(lambda x: (tg.exp(x), np.exp(np.asarray(x))), lambda r, g: (g * r,)),
    "residual, a number": rule(lambda x: (tg.exp(x), float(np.exp(x.item()))), lambda r, g: (g * r,)),
    "residual, a tensor": rule(lambda x: (tg.exp(x), tg.tensor(np.exp(x.numpy()))), lambda r, g: (g * r,)),
    "backward": rule(lambda x: (tg.exp(x), x), lambda r, g: (g * np.exp(r.numpy()),)),
    "backward, an array": rule(lambda x: (tg.exp(x), tg.exp(x)), lambda r, g: (g.numpy() * r.numpy(),)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_second_derivatives_are_refused(name):
    f = LOSSES[name]
    assert float(tg.grad(f)(1.0)) == pytest.approx(np.e)
    for second in (
        lambda: tg.grad(tg.grad(f))(1.0),
        lambda: tg.hvp(f, (1.0,), (1.0,)),
        lambda: tg.hessian(f)(1.0),
        lambda: tg.grad(tg.grad(tg.checkpoint(f)))(1.0),
    ):
        with pytest.raises(tg.DetachError):
            second()


@pytest.mark.parametrize("name", LOSSES)
def test_a_recorded_gradient_on_the_tape_tells(name):
    x = tg.tensor(1.0, requires_grad=True)
    with pytest.warns(tg.DetachWarning):
        gradient = tg.gradients(LOSSES[name](x), x, create_graph=True)
    assert float(gradient) == pytest.approx(np.e)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "backward, an array"])
def test_what_needs_no_second_derivative_is_free(name):
    """A direction's derivative and a Jacobian record their pass, and take no derivative of the residuals."""
    value, tangent = tg.jvp(LOSSES[name], (1.0,), (2.0,))
    assert float(tangent) == pytest.approx(2 * np.e)
    if name != "residual, a number":
        found = tg.jacobian(LOSSES[name])(tg.ones(12))
        assert found.numpy() == pytest.approx(np.e * np.eye(12))


def test_residuals_that_are_meant_as_numbers():
    order = rule(
        lambda x: (x[np.argsort(x.detach().numpy())], np.argsort(np.argsort(x.detach().numpy()))), lambda r, g: (g[r],)
    )
    x = tg.tensor([3.0, 1.0, 2.0])
    assert tg.hessian(lambda x: (order(x) ** 2 * [1.0, 2.0, 3.0]).sum())(x).numpy().diagonal().tolist() == [6, 2, 4]


def test_a_value_in_plain_numbers_with_a_rule_in_tensors():
    """What leaves for the value alone is no loss; where the value is a residual too, it is."""
    free = rule(lambda x: (tg.tensor(np.exp(x.numpy())), x), lambda x, g: (g * tg.exp(x),))
    assert float(tg.grad(tg.grad(tg.grad(free)))(1.0)) == pytest.approx(np.e)
    with pytest.raises(tg.DetachError):
        lossy = rule(lambda x: (y := tg.tensor(np.exp(x.numpy())), y), lambda y, g: (g * y,))
        tg.grad(tg.grad(lossy))(1.0)


def test_a_hook_that_gives_an_array():
    def hooked(x):
        y = x * x
        y.register_hook(lambda g: g.numpy() * 3)
        return y * y

    assert float(tg.grad(hooked)(1.0)) == 12.0
    with pytest.raises(tg.DetachError, match="an array from a gradient hook"):
        tg.grad(tg.grad(hooked))(1.0)
    x = tg.tensor(1.0, requires_grad=True)
    with pytest.warns(tg.DetachWarning, match="a gradient hook gives an array"):
        tg.gradients(hooked(x), x, create_graph=True)
