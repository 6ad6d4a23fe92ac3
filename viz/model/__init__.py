"""What a picture says: from a graph to a `Drawing`, a value without any format."""
