"""A Gaussian process guesses mountains between points of known height, and says how sure it is.

Heights are jointly normal, with a covariance that depends on distance by three numbers. These are the ones with the
largest marginal likelihood (Rasmussen & Williams 2006, "Gaussian processes for machine learning", algorithm 2.1), found
by SciPy with our gradients. The heights are real: a line across the Jacksboro fault in Tennessee, from Matplotlib's
sample data.

python examples/gaussian_process.py [points]        # how many heights are known; 100 unless told
"""

import sys

import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from scipy.optimize import minimize

import tensorgraph as tg

POINTS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
heights = get_sample_data("jacksboro_fault_dem.npz")["elevation"][250].astype("float64")
km = 0.0744 * np.arange(len(heights))
outside = np.flatnonzero((km < 8.0) | (km > 10.0))  # nothing is known of two kilometres
known = np.sort(np.random.default_rng(0).choice(outside, POINTS, replace=False))
level = heights[known].mean()
x, y = tg.tensor(km[known]), tg.tensor(heights[known] - level)


def covariance(p, a, b):
    """Matern's, of lines that bend smoothly: p has the logarithms of height, length and noise."""
    height, length, _ = tg.exp(p)
    r = np.sqrt(5.0) * tg.abs(a[:, None] - b) / length
    return height**2 * (1.0 + r + r**2 / 3.0) * tg.exp(-r)


def factor(p):
    return tg.linalg.cholesky(covariance(p, x, x) + tg.exp(2.0 * p[2]) * tg.eye(POINTS, dtype="float64"))


def loss(p):
    """The negative logarithm of the marginal likelihood, for each point."""
    root = factor(p)
    z = tg.linalg.solve_triangular(root, y, lower=True)
    return (z @ z / 2.0 + tg.log(tg.diagonal(root)).sum()) / POINTS + np.log(2.0 * np.pi) / 2.0


def loss_and_slope(p):
    value, slope = tg.value_and_grad(loss)(p)
    losses.append(float(value))
    return losses[-1], slope.numpy()


losses = []
result = minimize(loss_and_slope, np.log([100.0, 1.0, 10.0]), jac=True, method="BFGS")
p = tg.tensor(result.x)
height, length, noise = np.exp(result.x)
print(f"log-likelihood a point {-losses[0]:.3f} at first, {-result.fun:.3f} after {result.nit} steps")
print(f"height {height:.0f} m, length {length:.2f} km, noise {noise:.1f} m")

# given the known heights, the others are normal with this mean and this deviation
spread = tg.linalg.inv(tg.hessian(loss)(p) * POINTS)
print("standard errors of the logarithms:", tg.sqrt(tg.diagonal(spread)).numpy().round(2))
root, between = factor(p), covariance(p, x, tg.tensor(km))
share = tg.linalg.solve_triangular(root, between, lower=True)
mean = (share.T @ tg.linalg.solve_triangular(root, y, lower=True)).numpy() + level
deviation = tg.sqrt(height**2 - (share**2).sum(axis=0)).numpy()
inside = np.abs(heights - mean) < 2.0 * np.hypot(deviation, noise)
unknown = np.setdiff1d(np.arange(len(km)), known)
print(f"within two deviations: {inside[unknown].mean():.1%} of the {len(unknown)} heights that it has not seen")

figure = Figure(figsize=(11, 3.8), layout="constrained")
axes, band = figure.subplots(), (mean - 2.0 * deviation, mean + 2.0 * deviation)
axes.fill_between(km, *band, color="#0d8be5", alpha=0.2, linewidth=0, label="two deviations")
axes.plot(km, mean, color="#0d8be5", label="mean")
axes.plot(km, heights, color="black", linewidth=1, linestyle=":", label="true")
axes.plot(km[known], heights[known], "o", color="black", markersize=3, label=f"{POINTS} known heights")
axes.set(xlabel="km to the east", ylabel="height, m", xlim=(0.0, km[-1]))
axes.legend(frameon=False, loc="upper right")
figure.savefig("gaussian_process.png", dpi=120)
