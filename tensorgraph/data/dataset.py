"""A data set as a value: samples, labels, and what the numbers mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tensorgraph.arguments import ClassNames, checked
from tensorgraph.data.arrays import Array, Numbers, bounds, float_dtype, same_length
from tensorgraph.data.rows import pick
from tensorgraph.engine.aval import FloatDType
from tensorgraph.files import MissingExtraError

__all__ = ["Dataset", "load_digits"]


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples and their labels; what the readers return, and what `split` and `Loader` take.

    Parameters
    ----------
    x : array of shape (N, ...)
        The samples; rows in a file, of `open_npy`, `open_idx` or `open_csv`, stay there.
    y : array of shape (N, ...), optional
        Labels or target values.
    class_names : sequence of str, optional
        What the integer labels mean: label c is ``class_names[c]``.
    feature_names : sequence of str, optional
        The columns' names.
    name : str
        Where the data comes from, for titles and messages.

    Raises
    ------
    ValueError
        If `x` and `y` differ in length, or a label has no class name.

    Examples
    --------
    >>> from tensorgraph.data import Dataset
    >>> data = Dataset([[0.5], [1.5], [2.5]], [0, 1, 0], class_names=["cat", "dog"])
    >>> data
    Dataset(3 samples, x: float64[3, 1], y: int64[3], 2 classes)
    >>> data.take([2, 1]).y
    array([0, 1])
    """

    x: Numbers
    y: Numbers | None = None
    class_names: ClassNames | None = None
    feature_names: ClassNames | None = None
    name: str = ""

    def __post_init__(self) -> None:
        # a frozen dataclass sets its fields through object.__setattr__
        same_length(*self._columns())
        for field in ("class_names", "feature_names"):
            names = getattr(self, field)
            if names is not None:
                object.__setattr__(self, field, tuple(names))
        self._check_labels()

    def _check_labels(self) -> None:
        if self.class_names is None or self.y is None or self.y.dtype.kind not in "iu" or self.y.size == 0:
            return
        low, high = bounds(self.y)
        if low < 0 or high >= len(self.class_names):
            raise ValueError(
                f"y holds labels from {low} to {high}, but there are {len(self.class_names)} class names: "
                f"labels are 0 to {len(self.class_names) - 1}"
            )

    def _columns(self) -> tuple[list[Array], list[str]]:
        return ([self.x], ["x"]) if self.y is None else ([self.x, self.y], ["x", "y"])

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        columns, names = self._columns()
        parts = [f"{n}: {a.dtype}[{', '.join(map(str, a.shape))}]" for a, n in zip(columns, names)]
        if self.class_names is not None:
            parts.append(f"{len(self.class_names)} classes")
        title = f"{self.name}, " if self.name else ""
        return f"Dataset({title}{len(self)} samples, {', '.join(parts)})"

    @checked
    def take(self, indices: Numbers) -> Dataset:
        """Return the samples at the given positions, with the same names: copied, or left in the file they are in.

        Parameters
        ----------
        indices : array of int or bool
            Positions, or a mask over the samples.
        """
        index = np.asarray(indices)
        if index.size == 0:
            index = index.astype(np.int64)
        return replace(self, x=pick(self.x, index), y=None if self.y is None else pick(self.y, index))


@checked
def load_digits(*, dtype: FloatDType | None = None) -> Dataset:
    """Load the 1,797 handwritten digits that come with scikit-learn.

    Parameters
    ----------
    dtype : float dtype, optional
        Of `x`; the library's default dtype unless given.

    Returns
    -------
    Dataset
        `x` of shape (1797, 64), the 8×8 grey values from 0 to 16, row by row; `y` int64, the digit.

    Raises
    ------
    MissingExtraError
        If scikit-learn is not installed.

    References
    ----------
    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    table = _digits_table()
    return Dataset(
        table[:, :-1].astype(float_dtype(dtype)),
        table[:, -1].copy(),
        tuple(str(digit) for digit in range(10)),
        tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        "digits",
    )


def _digits_table() -> Array:
    """Integers of shape (1797, 65): grey values, and in the last column the digit.

    Read from scikit-learn's own file where it lies: opening scikit-learn takes fifty times as long.
    """
    found = find_spec("sklearn")
    if found is None:
        raise MissingExtraError(
            'the digits come with scikit-learn: install it with `pip install "tensorgraph-engine[demo]"`'
        )
    for folder in found.submodule_search_locations or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, np.int64, delimiter=",")
    from sklearn.datasets import load_digits as bundled  # of another version, or out of an archive

    digits = bundled()
    return np.column_stack([digits.data, digits.target]).astype(np.int64)
