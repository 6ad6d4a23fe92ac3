"""The graph as text: Python that a person would have written, printed and read back."""
