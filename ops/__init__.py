"""The catalogue of ops: one declaration an op, one file a family."""

if __name__ != "tensorgraph.ops":
    raise ImportError("the folder ops/ is the package tensorgraph.ops: write `import tensorgraph.ops`")

from tensorgraph.ops import (
    arithmetic,
    contraction,
    creation,
    exponential,
    index,
    logic,
    random,
    reduction,
    shape,
    structure,
)

__all__ = [
    "arithmetic", "contraction", "creation", "exponential", "index", "logic", "random", "reduction", "shape",
    "structure",
]  # fmt: skip
