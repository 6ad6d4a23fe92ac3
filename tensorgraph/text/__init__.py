"""The graph as text: Python that a person would have written, printed and read back."""

from tensorgraph.text.errors import ParseError
from tensorgraph.text.files import load, load_state, save
from tensorgraph.text.live import cells
from tensorgraph.text.namespace import namespace
from tensorgraph.text.sizes import SizeError
from tensorgraph.text.sure import arrays_of
from tensorgraph.text.template import Template, parse

__all__ = [
    "ParseError",
    "SizeError",
    "Template",
    "arrays_of",
    "cells",
    "load",
    "load_state",
    "namespace",
    "parse",
    "save",
]
