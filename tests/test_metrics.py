"""Measures of a classifier."""

import warnings

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph.train import metrics

MEASURES = [metrics.accuracy, metrics.confusion_matrix, metrics.precision, metrics.recall, metrics.f1_score]


@st.composite
def scored(draw):
    """Scores with many ties, infinities included, and true labels."""
    n, classes = draw(st.integers(1, 30)), draw(st.integers(2, 6))
    value = st.sampled_from([-np.inf, -1.0, 0.0, -0.0, 0.5, 2.0, np.inf])
    scores = draw(hnp.arrays(draw(st.sampled_from([np.float32, np.float64])), (n, classes), elements=value))
    return scores, draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))


def naive_ranking(row):
    return sorted(range(len(row)), key=lambda c: (-row[c], c))


@given(scored())
def test_top_k_and_accuracy_against_sorting(sample):
    scores, targets = sample
    for k in range(1, scores.shape[1] + 1):
        hits = [t in naive_ranking(row)[:k] for row, t in zip(scores, targets)]
        assert metrics.top_k_accuracy(scores, targets, k) == np.mean(hits)
    assert metrics.accuracy(scores, targets) == metrics.top_k_accuracy(scores, targets, 1)
    assert metrics.top_k_accuracy(scores, targets, scores.shape[1]) == 1.0


@given(scored())
def test_confusion_matrix_and_what_follows_from_it(sample):
    scores, targets = sample
    classes = scores.shape[1]
    labels = [naive_ranking(row)[0] for row in scores]
    matrix = metrics.confusion_matrix(scores, targets)
    assert matrix.shape == (classes, classes) and matrix.dtype == np.int64
    for t in range(classes):
        for p in range(classes):
            assert matrix[t, p] == sum(a == t and b == p for a, b in zip(targets, labels))
    assert metrics.accuracy(scores, targets) == np.trace(matrix) / len(targets)
    # predicted labels say the same as the scores they come from
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, targets, classes=classes), matrix, strict=True)
    occurs = (matrix.sum(0) + matrix.sum(1)) > 0
    for measure in (metrics.precision, metrics.recall, metrics.f1_score):
        each = measure(scores, targets, average=None)
        assert each.shape == (classes,) and (np.isfinite(each) == occurs).all()
        assert measure(scores, targets) == pytest.approx(each[occurs].mean(), rel=1e-15)


@given(scored())
def test_against_scikit_learn(sample):
    reference = pytest.importorskip("sklearn.metrics")
    scores, targets = sample
    labels = scores.argmax(axis=1)
    occurring = sorted(set(labels.tolist()) | set(targets.tolist()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's on classes that are never predicted
        each = reference.precision_recall_fscore_support(targets, labels, labels=occurring, zero_division=0.0)
        mean = reference.precision_recall_fscore_support(targets, labels, average="macro", zero_division=0.0)
    for i, measure in enumerate((metrics.precision, metrics.recall, metrics.f1_score)):
        ours = measure(scores, targets, average=None)[occurring]
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, each[i], rtol=1e-14)
        assert measure(scores, targets) == pytest.approx(mean[i], rel=1e-14)


@given(scored())
def test_normalised_matrices(sample):
    scores, targets = sample
    matrix = metrics.confusion_matrix(scores, targets)
    for kind, axis in (("true", 1), ("predicted", 0)):
        shares = metrics.confusion_matrix(scores, targets, normalize=kind)
        sums, there = shares.sum(axis=axis), matrix.sum(axis=axis) > 0
        assert shares.dtype == np.float64 and np.isnan(sums[~there]).all()
        np.testing.assert_allclose(sums[there], 1.0, rtol=1e-14)
    np.testing.assert_array_equal(metrics.confusion_matrix(scores, targets, normalize="all"), matrix / len(targets))


def test_worked_example():
    targets = [0, 0, 0, 1, 1, 2]
    labels = [0, 0, 1, 1, 1, 0]
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, targets), [[2, 1, 0], [0, 2, 0], [1, 0, 0]])
    np.testing.assert_allclose(metrics.precision(labels, targets, average=None), [2 / 3, 2 / 3, 0.0])
    np.testing.assert_allclose(metrics.recall(labels, targets, average=None), [2 / 3, 1.0, 0.0])
    np.testing.assert_allclose(metrics.f1_score(labels, targets, average=None), [2 / 3, 0.8, 0.0])
    assert np.isnan(metrics.recall(labels, targets, classes=4, average=None)[3])
    assert metrics.recall(labels, targets, classes=4) == metrics.recall(labels, targets)


def test_a_tie_goes_to_the_first_maximum():
    assert metrics.accuracy([[1.0, 1.0], [1.0, 1.0]], [0, 1]) == 0.5
    assert metrics.top_k_accuracy([[1.0, 1.0, 1.0]], [1], k=2) == 1.0
    assert metrics.top_k_accuracy([[1.0, 1.0, 1.0]], [2], k=2) == 0.0


def test_kinds_of_input():
    class Box:
        def __init__(self, value):
            self.value = np.asarray(value)

        def numpy(self):
            return self.value

    assert metrics.accuracy(Box([[0.0, 1.0]]), Box([1])) == 1.0
    assert metrics.accuracy(np.array([True, False]), np.array([1, 1], np.uint8)) == 0.5
    assert metrics.accuracy(np.array([[3, 1]], np.int16), [0]) == 1.0
    assert isinstance(metrics.accuracy([0], [0]), float) and isinstance(metrics.f1_score([0], [0]), float)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("kind", "message", "predictions", "targets"),
    [
        (ValueError, "no samples", [], []),
        (ValueError, "no samples", np.zeros((0, 3)), []),
        (ValueError, "2 predictions and 1 targets", [[1.0, 2.0], [1.0, 2.0]], [0]),
        (ValueError, "2 predictions and 3 targets", [0, 1], [0, 1, 1]),
        (ValueError, "label 2 at position 1, expected 0 to 1", [[1.0, 2.0], [1.0, 2.0]], [0, 2]),
        (ValueError, "label -1 at position 0", [0, 1], [-1, 1]),
        (ValueError, "predictions holds the label -1", [0, -1], [0, 1]),
        (ValueError, "nan in row 1", [[1.0, 2.0], [np.nan, 2.0]], [0, 1]),
        (TypeError, "targets has dtype float64, expected integer labels", [0, 1], [0.0, 1.0]),
        (TypeError, "predictions has dtype float64", [0.3, 1.0], [0, 1]),
        (ValueError, r"of one-hot rows take \.argmax\(axis=1\)", [0, 1], [[0, 1], [1, 0]]),
        (ValueError, r"shape \(2, 1\), expected \(N, C\)", [[0.3], [0.4]], [0, 1]),
        (ValueError, "expected", np.zeros((2, 3, 4)), [0, 1]),
        (ValueError, "expected", 3, [0]),
        (ValueError, r"targets has shape \(\)", [1], 1),
        (TypeError, "predictions must be an array of .* dtype <U1", ["a"], [1]),
    ],
)
def test_errors(measure, kind, message, predictions, targets):
    with pytest.raises(kind, match=message):
        measure(predictions, targets)


def test_more_errors():
    scores = [[0.1, 0.9], [0.8, 0.2]]
    for k, message in ((3, "at most the number of classes, 2, got 3"), (0, "k must be a positive integer")):
        with pytest.raises(ValueError, match=message):
            metrics.top_k_accuracy(scores, [0, 1], k)
    with pytest.raises(ValueError, match="expected"):
        metrics.top_k_accuracy([0, 1], [0, 1], 1)
    with pytest.raises(ValueError, match="no samples"):
        metrics.top_k_accuracy(np.zeros((0, 2)), [], 1)
    with pytest.raises(ValueError, match="classes=3, but the predictions hold 2 scores"):
        metrics.confusion_matrix(scores, [0, 1], classes=3)
    with pytest.raises(ValueError, match="targets holds the label 5"):
        metrics.confusion_matrix([0, 1], [5, 1], classes=3)
    with pytest.raises(ValueError, match="of 1000001 classes is too large, at most 16384; number the labels"):
        metrics.precision([0, 1], [10**6, 1])
    with pytest.raises(ValueError, match="normalize must be"):
        metrics.confusion_matrix(scores, [0, 1], normalize="rows")
    with pytest.raises(ValueError, match="average must be 'macro' or None"):
        metrics.f1_score(scores, [0, 1], average="micro")


# of numbers -----------------------------------------------------------------------------------------------------------


def test_measures_of_numbers_against_their_formulas():
    rng = np.random.default_rng(0)
    p, t = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    assert metrics.mae(p, t) == pytest.approx(np.abs(p - t).mean(), rel=1e-15)
    assert metrics.mse(p, t) == pytest.approx(((p - t) ** 2).mean(), rel=1e-15)
    assert metrics.rmse(p, t) == np.sqrt(metrics.mse(p, t))
    one_by_one = [metrics.r2(p[:, i], t[:, i]) for i in range(3)]
    assert metrics.r2(p, t) == pytest.approx(np.mean(one_by_one), rel=1e-14)
    assert one_by_one[0] == pytest.approx(1 - ((t - p)[:, 0] ** 2).sum() / (50 * t[:, 0].var()), rel=1e-13)
    # large float32 numbers, whose squares float32 could not add up
    big = np.full(1 << 16, 3e4, np.float32)
    assert metrics.mse(big, np.zeros_like(big)) == 9e8
    assert metrics.r2(t, t) == 1.0 and metrics.r2(np.broadcast_to(t.mean(axis=0), t.shape), t) == pytest.approx(0.0)


def test_measures_of_numbers_at_the_edges():
    assert metrics.mae([[1.0], [2.0]], [1, 2]) == metrics.mae([1.0, 2.0], [[1], [2]]) == 0.0
    assert np.isnan(metrics.r2([1.0, 2.0], [3.0, 3.0])) and np.isnan(metrics.r2([1.0], [1.0]))
    assert metrics.r2([[0.0, 5.0], [1.0, 7.0]], [[0.0, 3.0], [1.0, 3.0]]) == 1.0  # the second explains nothing
    assert metrics.mae([np.inf], [0.0]) == np.inf
    for name in metrics.OF_NUMBERS:
        measure = getattr(metrics, name)
        for p, t, error, message in (
            ([], [], ValueError, "needs at least one"),
            ([1.0, 2.0], [1.0], ValueError, "2 predictions and 1 targets"),
            ([[1.0, 2.0]], [1.0], ValueError, "must be one shape"),
            (1.0, 1.0, ValueError, "an axis over the samples"),
            ([np.nan], [1.0], ValueError, r"nan at position \(0,\)"),
            (["a"], [1.0], TypeError, "numbers"),
        ):
            with pytest.raises(error, match=message):
                measure(p, t)
