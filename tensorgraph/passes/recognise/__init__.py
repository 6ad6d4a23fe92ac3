"""Recognition: what behaves as a fused op becomes that op, however it was written."""

from tensorgraph.passes.recognise.search import recognise

__all__ = ["recognise"]
