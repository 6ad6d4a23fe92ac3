"""Borders, pieces, windows and diagonals: what NumPy gives, and what is refused."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

X = np.arange(12.0).reshape(3, 4)


def same(got: Any, expected: Any) -> None:
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            same(g, e)
        return
    assert isinstance(got, tg.Tensor) and got.dtype == expected.dtype and np.array_equal(got.numpy(), expected)


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("widths", [0, 2, (1, 2), ((3, 0), (0, 5)), ((1, 2),), [[1, 1], [2, 0]]])
def test_borders_are_numpys(mode: Any, widths: Any) -> None:
    x = tg.tensor(X)
    expected = np.pad(X, widths, mode)
    for got in (tg.pad(x, widths, mode), np.pad(x, widths, mode), np.pad(x, pad_width=widths, mode=mode)):
        same(got, expected)
    graph = tg.trace(lambda x: tg.pad(x, widths, mode), x)
    assert tg.parse(str(graph)) == graph
    same(graph(x), expected)
    weights = np.cos(np.arange(expected.size)).reshape(expected.shape)
    g = tg.grad(lambda x: (tg.pad(x, widths, mode) * weights).sum())(x).numpy()
    at = np.pad(np.arange(12).reshape(3, 4) + 1, widths, mode).reshape(-1)
    assert np.allclose(g.reshape(-1), np.bincount(at, weights.reshape(-1), 13)[1:], atol=1e-12)


def test_borders_that_are_refused() -> None:
    same(np.pad(tg.tensor(X), 1, constant_values=7.0), np.pad(X, 1, constant_values=7.0))
    with pytest.raises(ValueError, match="got 'linear_ramp'"):
        np.pad(tg.tensor(X), 1, "linear_ramp")
    with pytest.raises(ValueError, match="no elements to take a border"):
        tg.pad(tg.zeros((2, 0)), 1, "edge")
    with pytest.raises(TypeError, match="two values"):
        tg.pad(X, 1, value=2.0, constant_values=3.0)


@pytest.mark.parametrize("parts", [3, [1, 2], [0], [3, 1], [-1, 9], []])
def test_pieces_are_numpys(parts: Any) -> None:
    x = tg.tensor(X)
    same(np.array_split(x, parts), np.array_split(X, parts))
    same(np.vsplit(x, parts), np.vsplit(X, parts))
    same(tg.tensor(X.T).hsplit(parts), np.hsplit(X.T, parts))


def test_what_cannot_be_cut() -> None:
    for call in (lambda: tg.vsplit(X, 2), lambda: tg.array_split(X, 0), lambda: tg.hsplit(X, 3)):
        with pytest.raises(ValueError, match="cannot be cut into"):
            call()
    with pytest.raises(ValueError, match="two axes"):
        tg.vsplit([1.0], 1)
    with pytest.raises(ValueError, match="three axes"):
        tg.dsplit(X, 1)
    assert [p.shape[0] for p in tg.chunk(tg.zeros(7), 3)] == [3, 3, 1] and len(tg.chunk(tg.zeros(0), 2)) == 1


@pytest.mark.parametrize(
    ("places", "values", "axis"),
    [(1, 5.0, None), ([1, 1, 3], [7.0, 8.0, 9.0], None), (slice(0, 2), 1.0, 0), (-1, [1.0, 2.0, 3.0], 1), ([0], 2.0, 1),
     (1, np.ones((2, 4)), 0), ([0, 2], np.ones((3, 1)), 1), ([], 5.0, 0)],
)  # fmt: skip
def test_insertions_are_numpys(places: Any, values: Any, axis: Any) -> None:
    same(np.insert(tg.tensor(X), places, values, axis), np.insert(X, places, values, axis))
    same(tg.delete(X, places, axis), np.delete(X, places, axis))


def test_blocks_and_diagonals() -> None:
    x = tg.tensor(X)
    same(np.block([[x, x[:, :1]], [tg.ones((1, 5), "f64")]]), np.block([[X, X[:, :1]], [np.ones((1, 5))]]))
    same(tg.block([[[x]], [[x]]]), np.block([[[X]], [[X]]]))
    with pytest.raises(ValueError, match="nested equally deep"):
        tg.block([[x], x])
    same(tg.tri(3, 4, -1), np.tri(3, 4, -1, dtype="f4"))
    assert tg.vander([1.0, 2.0], 0).shape == (2, 0) and np.vander(tg.tensor([1, 2]), 3).tolist() == [
        [1, 1, 1],
        [4, 2, 1],
    ]
    assert np.array_equal(tg.grad(lambda x: tg.vander(x, 3).sum())(tg.tensor([0.0, 2.0])).numpy(), [1, 5])
    filled = X.copy()
    np.fill_diagonal(filled, [7.0, 8.0, 9.0])
    same(tg.fill_diagonal(X, [7.0, 8.0, 9.0]), filled)
    for f in (lambda: tg.fill_diagonal(tg.ones((2, 2, 3)), 0.0), lambda: tg.vander(X), lambda: tg.diag_embed(1.0)):
        with pytest.raises(ValueError, match="x must"):
            f()
    same(tg.diagonal(tg.diag_embed(X, 1), 1, -2, -1), X)


def test_windows() -> None:
    view = np.lib.stride_tricks.sliding_window_view
    same(view(tg.tensor(X), (2, 3)), view(X, (2, 3)))
    same(tg.sliding_window_view(X, (2, 2), (1, 1)), view(X, (2, 2), (1, 1)))
    same(tg.tensor(X).unfold(1, 2, 2), view(X, 2, 1)[:, ::2])
    with pytest.raises(ValueError, match="a window of 9"):
        tg.unfold(X, 0, 9)
    with pytest.raises(ValueError, match="for 2 axes"):
        tg.sliding_window_view(X, 2)
