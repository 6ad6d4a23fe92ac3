"""Data: normalising, splitting, mini-batches, and CSV, NPY, NPZ and IDX files, read whole or left where they are."""

from tensorgraph.arguments.foreign import getter as _getter
from tensorgraph.data.csv_rows import open_csv
from tensorgraph.data.dataset import Dataset, load_digits
from tensorgraph.data.idx import read_idx, write_idx
from tensorgraph.data.loader import Loader, minibatches
from tensorgraph.data.mapped import open_idx, open_npy
from tensorgraph.data.normalizer import Normalizer, NotFittedError
from tensorgraph.data.npz import read_npz
from tensorgraph.data.prefetching import prefetch
from tensorgraph.data.rows import Rows
from tensorgraph.data.splitting import split
from tensorgraph.data.tables import read_csv

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
