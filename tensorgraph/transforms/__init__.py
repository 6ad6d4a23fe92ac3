"""Functions of functions: derivatives, rules of one's own, checkpoints; and NumPy's protocols."""

from tensorgraph.transforms import interop  # noqa: F401  (teaches NumPy)
from tensorgraph.transforms.checkpoint import checkpoint
from tensorgraph.transforms.custom import custom_vjp
from tensorgraph.transforms.functional import functional
from tensorgraph.transforms.functions import (
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    vjp,
)
from tensorgraph.transforms.scan import scan
from tensorgraph.transforms.vmap import vmap

__all__ = [
    "checkpoint",
    "custom_vjp",
    "functional",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linearize",
    "scan",
    "value_and_grad",
    "vjp",
    "vmap",
]
