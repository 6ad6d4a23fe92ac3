"""Derivatives of functions, of any order, and the graph behind them.

python examples/gradients.py
"""

import tensorgraph as tg


def rosenbrock(p):
    """A banana-shaped valley with its minimum at (1, 1)."""
    x, y = p[0], p[1]
    return (1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2


p = tg.tensor([-1.2, 1.0], dtype="float64")
print("gradient", tg.grad(rosenbrock)(p).numpy())
print("hessian\n", tg.hessian(rosenbrock)(p).numpy())

for step in range(6):  # Newton's method: solve H d = g for two unknowns by hand
    g, h = tg.grad(rosenbrock)(p), tg.hessian(rosenbrock)(p)
    determinant = h[0, 0] * h[1, 1] - h[0, 1] * h[1, 0]
    d = tg.stack([h[1, 1] * g[0] - h[0, 1] * g[1], h[0, 0] * g[1] - h[1, 0] * g[0]]) / determinant
    p = p - d
    print(f"step {step + 1}: {p.tolist()}, value {float(rosenbrock(p)):.3g}")

print(tg.trace(rosenbrock, tg.spec((2,), "float64")))
