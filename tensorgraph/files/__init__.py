"""Files: whole or not there, and arrays in them that are data and never code."""

from tensorgraph.files.atomic import atomic_file, atomic_write
from tensorgraph.files.errors import FileFormatError, MissingExtraError
from tensorgraph.files.tensors import load_tensors, save_tensors

__all__ = ["FileFormatError", "MissingExtraError", "atomic_file", "atomic_write", "load_tensors", "save_tensors"]
