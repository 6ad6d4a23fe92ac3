"""Graph to graph: gradients written out, simplification, expansion and recognition of fused ops."""
