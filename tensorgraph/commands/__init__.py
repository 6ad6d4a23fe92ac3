"""What the command ``tensorgraph`` can do with a model: one module a subject."""
