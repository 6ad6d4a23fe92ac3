"""Random numbers, reproducible from a seed: distributions whose draws are pure ops on a counter cell.

`seed(0)` begins the process-wide stream anew; a `Generator` has a stream of its own. Where a distribution has
parameters that are tensors, what is drawn is differentiable in them (reparameterised): all but the draws of integers
and of true and false.
"""

from tensorgraph.arguments import Natural, checked
from tensorgraph.arguments.foreign import getter
from tensorgraph.engine.random import key, state
from tensorgraph.random.generator import Generator

__all__ = [
    "Generator", "bernoulli", "beta", "categorical", "choice", "dirichlet", "dropout", "exponential", "gamma",
    "gumbel", "key", "laplace", "logistic", "multivariate_normal", "normal", "permutation", "randint", "seed", "state",
    "truncated_normal", "uniform",
]  # fmt: skip

_process = Generator()
_process.state = state()  # that of the whole process

bernoulli = _process.bernoulli
beta = _process.beta
categorical = _process.categorical
choice = _process.choice
dirichlet = _process.dirichlet
dropout = _process.dropout
exponential = _process.exponential
gamma = _process.gamma
gumbel = _process.gumbel
laplace = _process.laplace
logistic = _process.logistic
multivariate_normal = _process.multivariate_normal
normal = _process.normal
permutation = _process.permutation
randint = _process.randint
truncated_normal = _process.truncated_normal
uniform = _process.uniform


@checked
def seed(seed: Natural) -> None:
    """Seed the process-wide stream.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.random.seed(7); a = tg.random.normal((2,))
    >>> tg.random.seed(7); b = tg.random.normal((2,))
    >>> a.tolist() == b.tolist()
    True
    """
    _process.seed(seed)


__getattr__ = getter("tensorgraph.random", __all__)
