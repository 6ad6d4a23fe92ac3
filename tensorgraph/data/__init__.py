"""Data: normalising, splitting, mini-batches, and readers for CSV, NPZ and IDX files."""

from tensorgraph.arguments.foreign import getter as _getter

from .dataset import Dataset, load_digits
from .idx import read_idx, write_idx
from .loader import Loader, minibatches
from .normalizer import Normalizer, NotFittedError
from .npz import read_npz
from .splitting import split
from .tables import read_csv

__all__ = [
    "Dataset",
    "Loader",
    "Normalizer",
    "NotFittedError",
    "load_digits",
    "minibatches",
    "read_csv",
    "read_idx",
    "read_npz",
    "split",
    "write_idx",
]

__getattr__ = _getter(__name__, __all__)
