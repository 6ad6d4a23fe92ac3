"""The catalogue of ops: one declaration an op, one file a family."""

if __name__ != "tensorgraph.ops":
    raise ImportError("the folder ops/ is the package tensorgraph.ops: write `import tensorgraph.ops`")

from tensorgraph.ops import (
    activations,
    arithmetic,
    attention,
    batch_norm,
    contract,
    contraction,
    convolution,
    creation,
    cross_entropy,
    differences,
    einsum,
    exponential,
    index,
    layer_norm,
    likelihoods,
    logarithm,
    logic,
    losses,
    margins,
    moving,
    nans,
    norms,
    products,
    quantiles,
    random,
    reduction,
    rounding,
    scans,
    shape,
    sliding,
    softmax,
    special,
    statistics,
    structure,
    trigonometry,
    updates,
)

__all__ = [
    "activations", "arithmetic", "attention", "batch_norm", "contract", "contraction", "convolution", "creation",
    "cross_entropy", "differences", "einsum", "exponential", "index", "layer_norm", "likelihoods", "logarithm",
    "logic", "losses", "margins", "moving", "nans", "norms", "products", "quantiles", "random", "reduction",
    "rounding", "scans", "shape", "sliding", "softmax", "special", "statistics", "structure", "trigonometry",
    "updates",
]  # fmt: skip
