"""Normalising inputs: centre every feature and divide it by its standard deviation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.data.arrays import Array, Numbers, as_array, blocks, check_finite, float_dtype
from tensorgraph.engine.aval import FloatDType
from tensorgraph.engine.sums import total

__all__ = ["Normalizer", "NotFittedError"]


class NotFittedError(ValueError):
    """A normaliser was used before it had seen any data."""


class Normalizer:
    """Subtract each feature's mean and divide by its standard deviation, as found on the training set.

    With m training samples, mu = (1/m) Σ x and sigma² = (1/m) Σ (x − mu)², and every input, in training and at test
    time, becomes (x − mu) / sigma. A feature that is constant in the training set is centred and left unscaled.

    Parameters
    ----------
    dtype : float dtype, optional
        The dtype of what `transform` returns; the library's default dtype unless given. Statistics are float64.

    Notes
    -----
    Statistics are taken of x minus the first sample seen, which makes a constant feature's deviation exactly zero, and
    blocks of rows are combined by the pairwise formula of Chan, Golub and LeVeque (1979), so memory stays bounded and
    data may come in chunks. Source: Andrew Ng, Improving Deep Neural Networks, "Normalizing inputs" (whose slide
    divides by sigma²; sigma is meant).

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph.data import Normalizer
    >>> normalizer = Normalizer().fit([[1.0, 5.0], [3.0, 5.0]])
    >>> normalizer.mean, normalizer.std
    (array([2., 5.]), array([1., 0.]))
    >>> normalizer.transform([[1.0, 5.0], [4.0, 6.0]])
    array([[-1.,  0.],
           [ 2.,  1.]], dtype=float32)
    """

    @checked
    def __init__(self, *, dtype: FloatDType | None = None) -> None:
        self._dtype = None if dtype is None else float_dtype(dtype)
        self._count = 0
        self._shift = self._offset = self._m2 = np.zeros(())

    example: ClassVar[str] = "Normalizer().fit(x)"

    def __repr__(self) -> str:
        seen = f"features={self._shift.shape}, samples={self._count}" if self._count else "not fitted"
        return f"Normalizer({seen})"

    @property
    def count(self) -> int:
        """The number of samples seen."""
        return self._count

    @property
    def mean(self) -> Array:
        """mu, float64, of one sample's shape."""
        self._need_fit()
        return self._shift + self._offset

    @property
    def variance(self) -> Array:
        """sigma², the biased variance, float64, of one sample's shape."""
        self._need_fit()
        return self._m2 / self._count

    @property
    def std(self) -> Array:
        """sigma, float64, of one sample's shape; 0 for a constant feature."""
        return np.sqrt(self.variance)

    @property
    def scale(self) -> Array:
        """What is divided by: sigma, and 1 for a constant feature."""
        std = self.std
        return np.where(std > 0.0, std, 1.0)

    @checked
    def fit(self, x: Numbers) -> Normalizer:
        """Forget what was seen and take the statistics of `x`.

        Parameters
        ----------
        x : array of shape (N, ...)
            N ≥ 1 training samples of any finite numbers; every element of a sample is a feature.

        Returns
        -------
        Normalizer
            This one.

        Raises
        ------
        ValueError
            If `x` is empty, has fewer than two axes, or holds nan or infinity; the old statistics are then kept.
        """
        fresh = Normalizer(dtype=self._dtype).partial_fit(x)
        self.__dict__.update(fresh.__dict__)
        return self

    @checked
    def partial_fit(self, x: Numbers) -> Normalizer:
        """Add one more chunk of training samples to the statistics.

        Parameters
        ----------
        x : array of shape (N, ...)
            N ≥ 1 samples, with the features of the chunks before.

        Returns
        -------
        Normalizer
            This one.

        Raises
        ------
        ValueError
            As `fit`, and if the features are not those of the chunks before; nothing is then added.
        """
        x = as_array(x, "x")
        if x.ndim < 2:
            raise ValueError(
                f"x has shape {x.shape}, expected (samples, features); for a single feature pass x[:, None]"
            )
        if x.size == 0:
            raise ValueError(f"x has shape {x.shape}, which holds nothing to take statistics of; skip empty chunks")
        if self._count:
            self._check_features(x.shape[1:], x.shape)
        n, shift, offset, m2 = self._count, self._shift, self._offset, self._m2
        if n == 0:
            check_finite(x[:1], "x")
            shift = x[0].astype(np.float64)
            offset, m2 = np.zeros_like(shift), np.zeros_like(shift)
        for start, rows in blocks(x):
            check_finite(rows, "x", start)
            with np.errstate(over="ignore", invalid="ignore"):
                deviation = np.subtract(rows, shift, dtype=np.float64)
                block_mean = total(deviation, 0) / len(rows)
                deviation -= block_mean
                # the mean just taken is rounded; what it left over corrects both moments
                left = total(deviation, 0) / len(rows)
                block_m2 = total(np.square(deviation, out=deviation), 0) - len(rows) * left * left
                delta = block_mean + left - offset
                seen = n + len(rows)
                offset = offset + delta * (len(rows) / seen)
                m2 = m2 + np.maximum(block_m2, 0.0) + delta * delta * (n * len(rows) / seen)
            n = seen
        if not np.isfinite(m2).all():
            feature = tuple(int(i) for i in np.argwhere(~np.isfinite(m2))[0])
            raise ValueError(f"the variance of feature {feature} is beyond float64; divide that feature first")
        self._count, self._shift, self._offset, self._m2 = n, shift, offset, m2
        return self

    @checked
    def transform(self, x: Numbers) -> Array:
        """Normalise samples by the statistics of the training set.

        Parameters
        ----------
        x : array of shape (N, ...) or (...)
            Samples, N ≥ 0, or one sample without the first axis.

        Returns
        -------
        numpy.ndarray
            (x − mu) / sigma in the shape of `x`, computed in float64, in this normaliser's dtype.

        Raises
        ------
        NotFittedError
            If nothing was fitted.
        ValueError
            If the features are not those fitted, or `x` holds nan or infinity.
        """
        return self._apply(x, self.mean, self.scale, inverse=False)

    @checked
    def inverse_transform(self, z: Numbers) -> Array:
        """Undo `transform`: z · sigma + mu, in the shape of `z`, with the same errors."""
        return self._apply(z, self.mean, self.scale, inverse=True)

    @checked
    def fit_transform(self, x: Numbers) -> Array:
        """`fit`, then `transform`, of the same training samples."""
        return self.fit(x).transform(x)

    def state_dict(self) -> dict[str, Array]:
        """What was learnt, as new arrays: `count` (int64, 0-d), `mean` and `m2` = Σ (x − mu)² (float64)."""
        self._need_fit()
        return {"count": np.array(self._count), "mean": self.mean, "m2": self._m2.copy()}

    @classmethod
    @checked
    def from_state_dict(cls, state: Mapping[str, Any], *, dtype: FloatDType | None = None) -> Normalizer:
        """Make a normaliser from `state_dict()`; it transforms to the same bits, and may go on with `partial_fit`.

        Parameters
        ----------
        state : mapping
            `count`, `mean` and `m2`.
        dtype : float dtype, optional
            As in the constructor.

        Raises
        ------
        ValueError
            If an entry is missing, unknown or impossible.
        """
        if set(state) != {"count", "mean", "m2"}:
            raise ValueError(f"a normaliser's state has the entries count, mean, m2; got {', '.join(sorted(state))}")
        # copies: the state stays the caller's
        number = np.array(as_array(state["count"], "count"))
        mean = np.array(as_array(state["mean"], "mean"), np.float64)
        m2 = np.array(as_array(state["m2"], "m2"), np.float64)
        if number.ndim or number.dtype.kind not in "iu" or number < 1:
            raise ValueError(f"count is one whole number of at least 1, got {number!r}")
        if mean.shape != m2.shape or mean.ndim == 0:
            raise ValueError(f"mean and m2 have one sample's shape, got {mean.shape} and {m2.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(m2).all() and (m2 >= 0).all()):
            raise ValueError("mean and m2 are finite and m2 is not negative, which this state does not keep")
        result = cls(dtype=dtype)
        result._count, result._shift, result._offset, result._m2 = int(number), mean, np.zeros_like(mean), m2
        return result

    def _need_fit(self) -> None:
        if not self._count:
            raise NotFittedError("this normaliser has seen no data; call fit(x) with the training set first")

    def _check_features(self, features: tuple[int, ...], came: tuple[int, ...]) -> None:
        if features != self._shift.shape:
            expected = ", ".join(["N", *map(str, self._shift.shape)])
            raise ValueError(
                f"x has shape {came}, expected ({expected}): the features that this normaliser was fitted on"
            )

    def _apply(self, x: Any, mean: Array, scale: Array, *, inverse: bool) -> Array:
        x = as_array(x, "x")
        if x.shape == mean.shape:  # one sample
            return self._apply(x[None], mean, scale, inverse=inverse).reshape(x.shape)
        self._check_features(x.shape[1:], x.shape)
        out = np.empty(x.shape, float_dtype(self._dtype))
        for start, rows in blocks(x):
            check_finite(rows, "x", start)
            with np.errstate(over="ignore", invalid="ignore"):
                out[start : start + len(rows)] = rows * scale + mean if inverse else (rows - mean) / scale
            check_finite(out[start : start + len(rows)], f"the result in {out.dtype}", start)
        return out
