"""A policy learns to balance a pole on a cart: REINFORCE with a baseline, on 32 carts at once.

Cart and pole are those of Barto, Sutton & Anderson (1983), "Neuronlike adaptive elements that can solve difficult
learning control problems"; the gradient is that of Williams (1992), "Simple statistical gradient-following algorithms".

python examples/policy_gradient.py [updates]        # 60 unless told
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim

CARTS, LONGEST = 32, 200  # episodes of at most so many steps of 0.02 s


def pushed(state, action):
    """The states (place, speed, angle, angular speed) 0.02 s later, the carts pushed with 10 N to the left or right."""
    _, v, angle, w = state.T
    force = np.where(action == 1, 10.0, -10.0)
    sin, cos = np.sin(angle), np.cos(angle)
    push = (force + 0.05 * w**2 * sin) / 1.1  # a pole of 0.1 kg and 2 · 0.5 m, on a cart of 1 kg
    turn = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    speed = push - 0.05 * turn * cos / 1.1
    return state + 0.02 * np.stack([v, speed, w, turn], 1)


def play(policy, rng):
    """States and actions, (steps, carts, ...), and which of them were before the fall."""
    state, up = rng.uniform(-0.05, 0.05, (CARTS, 4)), np.ones(CARTS, bool)
    states, actions, alive = [], [], []
    with tg.no_grad():
        while up.any() and len(states) < LONGEST:
            action = tg.random.categorical(policy(state)).numpy()
            states.append(state), actions.append(action), alive.append(up)
            state = pushed(state, action)
            up = up & (np.abs(state[:, 0]) < 2.4) & (np.abs(state[:, 2]) < np.radians(12))
    return np.array(states), np.array(actions), np.array(alive)


tg.random.seed(0)
rng = np.random.default_rng(0)
policy = nn.Sequential(nn.Linear(4, 32, seed=0), nn.Tanh(), nn.Linear(32, 2, seed=1)).astype("float64")
adam = optim.Adam(policy.parameters(), lr=0.02)
losses, returns = [], []
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 60):
    states, actions, alive = play(policy, rng)
    still = alive[::-1].cumsum(0)[::-1]  # the reward is 1 a step: what is still to come
    baseline = still.sum(1, keepdims=True) / alive.sum(1, keepdims=True)  # of the carts that were up then
    advantage = (still - baseline)[alive] / still.std()
    chances = tg.log_softmax(policy(states[alive]))
    chosen = tg.take_along_axis(chances, actions[alive][:, None], axis=1)[:, 0]
    loss = -(advantage * chosen).mean()
    adam.minimize(loss)
    losses.append(float(loss))
    returns.append(alive.sum(0))
returns = np.array(returns)
print(f"steps before the fall: {returns[0].mean():.1f} at first, {returns[-5:].mean():.1f} at last, of {LONGEST}")

# the picture
figure = Figure(figsize=(11, 4.2), layout="constrained")
left, right = figure.subplots(1, 2)
left.fill_between(range(len(returns)), returns.min(1), returns.max(1), color="#0d8be5", alpha=0.2, label="all 32")
left.plot(returns.mean(1), color="#0d8be5", label="mean")
left.set(xlabel="update", ylabel="steps before the fall")
left.legend(frameon=False)
angle, w = np.meshgrid(np.linspace(-12, 12, 60), np.linspace(-2, 2, 60))
states = np.stack([0 * w, 0 * w, np.radians(angle), w], -1)
shown = right.pcolormesh(angle, w, tg.softmax(policy(states))[..., 1].numpy(), cmap="coolwarm", vmin=0, vmax=1)
right.set(xlabel="angle of the pole, degrees", ylabel="angular speed, radians a second")
figure.colorbar(shown, ax=right, label="chance to push to the right, the cart at rest")
figure.savefig("policy_gradient.png", dpi=120)
