"""Data: normalising, splitting, mini-batches, and CSV, NPY, NPZ and IDX files, read whole or left where they are."""

from tensorgraph.arguments.foreign import getter as _getter

from .csv_rows import open_csv
from .dataset import Dataset, load_digits
from .idx import read_idx, write_idx
from .loader import Loader, minibatches
from .mapped import open_idx, open_npy
from .normalizer import Normalizer, NotFittedError
from .npz import read_npz
from .prefetching import prefetch
from .rows import Rows
from .splitting import split
from .tables import read_csv

__all__ = [
    "Dataset",
    "Loader",
    "Normalizer",
    "NotFittedError",
    "Rows",
    "load_digits",
    "minibatches",
    "open_csv",
    "open_idx",
    "open_npy",
    "prefetch",
    "read_csv",
    "read_idx",
    "read_npz",
    "split",
    "write_idx",
]

__getattr__ = _getter(__name__, __all__)
