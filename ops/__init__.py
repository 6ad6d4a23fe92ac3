"""The catalogue of ops: one declaration an op, one file a family."""

if __name__ != "tensorgraph.ops":
    raise ImportError("the folder ops/ is the package tensorgraph.ops: write `import tensorgraph.ops`")

from tensorgraph.ops import (
    activations,
    arithmetic,
    attention,
    batch_norm,
    contraction,
    creation,
    cross_entropy,
    exponential,
    index,
    layer_norm,
    likelihoods,
    logarithm,
    logic,
    losses,
    margins,
    moving,
    random,
    reduction,
    rounding,
    scans,
    shape,
    softmax,
    special,
    structure,
    trigonometry,
    updates,
)

__all__ = [
    "activations", "arithmetic", "batch_norm", "contraction", "creation", "cross_entropy", "exponential",
    "index", "layer_norm", "likelihoods", "logarithm", "logic", "losses", "margins", "moving", "random", "reduction",
    "rounding", "scans", "shape", "softmax", "special", "structure",
    "attention", "trigonometry", "updates",
]  # fmt: skip
