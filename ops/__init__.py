"""The catalogue of ops: one declaration an op, one file a family."""

if __name__ != "tensorgraph.ops":
    raise ImportError("the folder ops/ is the package tensorgraph.ops: write `import tensorgraph.ops`")

from tensorgraph.ops import (
    arithmetic,
    batch_norm,
    contraction,
    creation,
    cross_entropy,
    exponential,
    index,
    layer_norm,
    logic,
    random,
    reduction,
    shape,
    softmax,
    structure,
    updates,
)

__all__ = [
    "arithmetic", "batch_norm", "contraction", "creation", "cross_entropy", "exponential",
    "index", "layer_norm", "logic", "random", "reduction", "shape", "softmax", "structure", "updates",
]  # fmt: skip
