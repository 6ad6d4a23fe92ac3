"""Mini-batches, splits and the Dataset value."""

import subprocess
import sys

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph.data import Dataset, Loader, load_digits, minibatches, split

sizes = st.integers(1, 60)


@given(n=sizes, batch_size=st.integers(1, 70), shuffle=st.booleans(), seed=st.integers(0, 5),
       last=st.sampled_from(["keep", "drop", "merge"]), epoch=st.integers(0, 3))  # fmt: skip
def test_every_sample_exactly_once(n, batch_size, shuffle, seed, last, epoch):
    x, y = np.arange(n, dtype=np.float64)[:, None], np.arange(n)
    if last == "drop" and n < batch_size:
        with pytest.raises(ValueError, match="lower batch_size"):
            Loader(x, y, batch_size=batch_size, last=last)
        return
    loader = Loader(x, y, batch_size=batch_size, shuffle=shuffle, seed=seed, last=last)
    loader.epoch = epoch
    batches = list(loader)
    assert len(batches) == len(loader) and loader.epoch == epoch + 1 and loader.samples == n
    lengths = [len(labels) for _, labels in batches]
    seen = np.concatenate([labels for _, labels in batches])
    if last == "drop":
        assert set(lengths) == {batch_size} and n - len(seen) < batch_size
        assert len(set(seen.tolist())) == len(seen)
    else:
        assert sorted(seen.tolist()) == list(range(n))
    if last == "keep":
        assert all(length == batch_size for length in lengths[:-1]) and 1 <= lengths[-1] <= batch_size
    if last == "merge":
        assert all(length == batch_size for length in lengths[:-1])
        assert lengths[-1] == n if n < batch_size else batch_size <= lengths[-1] < 2 * batch_size
    assert (seen == loader.order(epoch)[: len(seen)]).all()
    for samples, labels in batches:
        assert samples.dtype == np.float32 and labels.dtype == np.int64
        assert (samples[:, 0] == labels).all()  # what belongs together stays together
    if not shuffle:
        assert (seen == np.arange(len(seen))).all()


def test_epochs_differ_and_are_reproducible():
    y = np.arange(100)
    loader = Loader(y, batch_size=30, seed=3)
    epochs = [np.concatenate([batch for (batch,) in loader]) for _ in range(3)]
    assert not any((epochs[i] == epochs[j]).all() for i in range(3) for j in range(i))
    again = Loader(y, batch_size=7, seed=3)  # the order is not a matter of the batch size
    again.epoch = 2
    assert (np.concatenate([batch for (batch,) in again]) == epochs[2]).all()
    other = Loader(y, batch_size=30, seed=4)
    assert not (np.concatenate([batch for (batch,) in other]) == epochs[0]).all()


def test_two_iterations_at_once_do_not_disturb_each_other():
    loader = Loader(np.arange(10), batch_size=4)
    first, second = iter(loader), iter(loader)
    together = list(zip(first, second))
    for epoch in (0, 1):
        assert (np.concatenate([pair[epoch][0] for pair in together]) == loader.order(epoch)).all()
    next(iter(loader))  # left after one batch: the next iteration is the next epoch
    assert loader.epoch == 3


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_share_nothing_and_keep_their_kind(shuffle):
    columns = [np.zeros((6, 2), np.float32), np.zeros(6, np.uint8), np.zeros(6, bool), np.zeros((6, 1), np.float16)]
    loader = minibatches(*columns, batch_size=4, shuffle=shuffle)
    for batch in loader:
        assert [array.dtype for array in batch] == [np.float32, np.uint8, np.bool, np.float32]
        for array, column in zip(batch, columns):
            assert not np.shares_memory(array, column)
            array[...] = 1
    assert not any(column.any() for column in columns)
    ((x, *_), *_) = Loader(*columns, batch_size=2, dtype="float64")
    assert x.dtype == np.float64


def test_a_memory_map_is_read_a_batch_at_a_time(tmp_path):
    on_disk = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float64, shape=(10, 3))
    on_disk[:] = np.arange(30.0).reshape(10, 3)
    loader = Loader(on_disk, batch_size=4, shuffle=False)
    assert np.shares_memory(loader._arrays[0], on_disk)  # no copy of the whole
    batches = [x for (x,) in loader]
    assert [type(x) for x in batches] == [np.ndarray] * 3
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(30.0, dtype=np.float32).reshape(10, 3))
    del on_disk, loader


def test_datasets_lists_and_tensors():
    data = Dataset([[1.0], [2.0]], [0, 1])
    assert [len(batch) for batch in Loader(data)] == [2]
    assert [len(batch) for batch in Loader(Dataset([[1.0], [2.0]]))] == [1]

    class Box:
        def numpy(self):
            return np.arange(4.0)

    ((x,),) = Loader(Box(), shuffle=False)
    np.testing.assert_array_equal(x, np.arange(4.0, dtype=np.float32), strict=True)
    assert repr(Loader(data)) == "Loader(2 samples, 1 batches of 32, seed=0, last='keep', epoch=0)"
    assert "shuffle=False" in repr(Loader(data, shuffle=False)) and Loader(data).batch_size == 32


def test_a_batch_size_of_each_epoch():
    grows = Loader(np.arange(12.0), batch_size=[3, 5], seed=2)
    same = Loader(np.arange(12.0), batch_size=lambda epoch: 3 if epoch == 0 else 5, seed=2)
    assert [[len(x) for (x,) in grows] for _ in range(3)] == [[3] * 4, [5, 5, 2], [5, 5, 2]]
    assert grows.sizes(0) == [3] * 4 and grows.batch_size == 5 and len(grows) == 3
    for epoch in range(2):
        same.epoch = grows.epoch = epoch
        assert [x.tolist() for (x,) in same] == [x.tolist() for (x,) in grows]
    assert Loader(np.arange(7), batch_size=(3, 9), last="merge").sizes(1) == [7]
    with pytest.raises(ValueError, match=r"batch_size\(4\) must be a positive integer, got -1"):
        Loader(np.arange(7), batch_size=lambda epoch: 3 - epoch).sizes(4)
    with pytest.raises(ValueError, match=r"batch_size\[1\] must be a positive integer, got 0"):
        Loader(np.arange(7), batch_size=[3, 0])
    for wrong in ([], {3}, "3", int):
        with pytest.raises((TypeError, ValueError), match="batch_size must be a positive integer"):
            Loader(np.arange(7), batch_size=wrong)
    with pytest.raises(ValueError, match="last='drop' leaves no batch: 7 samples are fewer than batch_size=9"):
        Loader(np.arange(7), batch_size=[3, 9], last="drop").sizes(1)


def test_loader_errors():
    x = np.zeros((4, 2))
    cases = [
        (ValueError, "at least one array", dict(arrays=())),
        (ValueError, r"array 0 4, array 1 3\); their first axes", dict(arrays=(x, np.zeros(3)))),
        (ValueError, "single number", dict(arrays=(3.0,))),
        (ValueError, "no samples", dict(arrays=(x[:0],))),
        (TypeError, r"arrays\[1\] must be .* an array of numbers .* has dtype <U1", dict(arrays=(x, list("abcd")))),
        (ValueError, "'keep', 'drop' or 'merge', got 'cut'", dict(last="cut")),
        (ValueError, "batch_size must be a positive integer, got 0", dict(batch_size=0)),
        (TypeError, "batch_size must be a positive integer, got 2.5", dict(batch_size=2.5)),
        (TypeError, "batch_size must be a positive integer, got True", dict(batch_size=True)),
        (ValueError, "seed must be a non-negative integer, got -1", dict(seed=-1)),
        (TypeError, "float dtype .* or None, got 'int32'", dict(dtype="int32")),
    ]
    for kind, message, options in cases:
        arrays = options.pop("arrays", (x,))
        with pytest.raises(kind, match=message):
            Loader(*arrays, **options)
    with pytest.raises(ValueError, match="array 0 holds numbers beyond float32"):
        next(iter(Loader(x + 1e300)))
    with pytest.raises(ValueError, match="value must be a non-negative integer"):
        Loader(x).epoch = -1


# split


@given(n=st.integers(10, 200), seed=st.integers(0, 9))
def test_parts_cover_and_share_nothing(n, seed):
    x, y = np.arange(2.0 * n).reshape(n, 2), np.arange(n)
    parts = split(x, y, seed=seed)
    assert len(parts) == 3
    assert sorted(np.concatenate([labels for _, labels in parts]).tolist()) == list(range(n))
    for samples, labels in parts:
        assert len(labels) >= 1
        np.testing.assert_array_equal(samples, x[labels], strict=True)
        assert not np.shares_memory(samples, x)
    assert [len(labels) for _, labels in parts][0] == int(0.8 * n)
    again = split(x, y, seed=seed)
    assert all((a == b).all() for one, two in zip(parts, again) for a, b in zip(one, two))


def test_the_order_is_numpys_permutation():
    (train,), (test,) = split(np.arange(1797), fractions=(0.8, 0.2), seed=4)
    order = np.random.default_rng(4).permutation(1797)
    assert (train == order[:1437]).all() and (test == order[1437:]).all()


def test_shares_that_do_not_add_up_exactly_in_binary():
    assert [len(a) for (a,) in split(np.arange(10), fractions=(0.7, 0.2, 0.1))] == [7, 2, 1]
    assert [len(a) for (a,) in split(np.arange(10), fractions=[0.1] * 10)] == [1] * 10
    assert [len(a) for (a,) in split(np.arange(10), sizes=(6, 3, 1))] == [6, 3, 1]
    assert [len(a) for (a,) in split(np.arange(3), fractions=[1])] == [3]


@given(
    labels=hnp.arrays(np.int64, st.integers(10, 200), elements=st.integers(-3, 3)),
    first=st.floats(0.3, 0.8), seed=st.integers(0, 5),
)  # fmt: skip
def test_stratified_parts_keep_the_shares(labels, first, seed):
    n = len(labels)
    fractions = (first, (1 - first) / 2, (1 - first) / 2)
    parts = split(np.arange(n), fractions=fractions, seed=seed, stratify=labels)
    assert sorted(np.concatenate([index for (index,) in parts]).tolist()) == list(range(n))
    plain = split(np.arange(n), fractions=fractions, seed=seed)
    assert [len(a) for (a,) in parts] == [len(a) for (a,) in plain]
    for number, (index,) in enumerate(parts):
        for label in set(labels.tolist()):
            expected = (labels == label).sum() * len(index) / n
            assert abs((labels[index] == label).sum() - expected) < (1 if number == 0 else 2)


def test_stratified_draws_are_fair():
    """Each sample is as likely as any other to be in the test set."""
    labels = np.repeat([0, 1, 2], [30, 15, 5])
    hits = np.zeros(50)
    for seed in range(2000):
        _, (test,) = split(np.arange(50), fractions=(0.8, 0.2), seed=seed, stratify=labels)
        hits[test] += 1
    # 0.2 of 2000 draws each, with a deviation of about 18; five deviations
    assert np.abs(hits - 400).max() < 90


def test_split_of_a_dataset():
    data = load_digits()
    train, dev, test = split(data, stratify=True)
    assert isinstance(train, Dataset) and [len(part) for part in (train, dev, test)] == [1437, 180, 180]
    assert train.class_names == data.class_names and test.name == "digits"
    text = np.array(data.class_names)[data.y]
    again = split(data, stratify=text)[2]
    assert len(again) == 180 and np.bincount(again.y).min() >= 15


def test_split_errors():
    x = np.zeros((10, 2))
    cases = [
        (ValueError, "sum to 1, got", dict(fractions=(0.5, 0.4))),
        (ValueError, "positive", dict(fractions=(1.2, -0.2))),
        (ValueError, "sum to 1", dict(fractions=())),
        (ValueError, "positive number, got nan", dict(fractions=(np.nan, 1.0))),
        (ValueError, r"parts of \(9, 0, 1\): none may be empty", dict(fractions=(0.9, 0.05, 0.05))),
        (ValueError, "sum to 9, expected the number of samples, 10", dict(sizes=(5, 4))),
        (ValueError, "positive integer, got 0", dict(sizes=(10, 0))),
        (ValueError, r"stratify has shape \(3,\), expected one label a sample, \(10,\)", dict(stratify=[1, 2, 3])),
        (ValueError, "stratify holds nan", dict(stratify=[np.nan] * 10)),
        (ValueError, "pass the labels, stratify=y", dict(stratify=True)),
        (ValueError, "at least one array", dict(arrays=())),
        (ValueError, "different numbers of samples", dict(arrays=(x, x[:3]))),
        (ValueError, "this Dataset has none", dict(arrays=(Dataset(x),), stratify=True)),
    ]
    for kind, message, options in cases:
        arrays = options.pop("arrays", (x,))
        with pytest.raises(kind, match=message):
            split(*arrays, **options)


# Dataset


def test_digits():
    data = load_digits()
    assert repr(data) == "Dataset(digits, 1797 samples, x: float32[1797, 64], y: int64[1797], 10 classes)"
    assert data.class_names == tuple("0123456789") and data.x.max() == 16.0 and len(data.feature_names) == 64
    assert load_digits(dtype="float64").x.dtype == np.float64


def test_digits_are_those_of_scikit_learn(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    read, theirs = load_digits(), datasets.load_digits()
    monkeypatch.setattr("tensorgraph.data.dataset.Path.is_file", lambda path: False)
    for data in (read, load_digits()):  # from its file, and by its function
        np.testing.assert_array_equal(data.x, theirs.data.astype(np.float32))
        np.testing.assert_array_equal(data.y, theirs.target)
        assert data.x.flags.c_contiguous and data.y.base is None
        assert data.class_names == tuple(map(str, theirs.target_names))
        assert data.feature_names == tuple(theirs.feature_names)


def test_digits_are_loaded_without_importing_scikit_learn():
    code = "import sys; from tensorgraph.data import load_digits; load_digits(); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install "tensorgraph-engine\[demo\]"'):
        load_digits()


def test_dataset_take_and_errors():
    data = Dataset(np.arange(6.0).reshape(3, 2), [0, 1, 0], ["a", "b"], ["u", "v"], "tiny")
    assert len(data.take([])) == 0 and data.take([True, False, True]).y.tolist() == [0, 0]
    assert data.take([2]).feature_names == ("u", "v") and Dataset([[1.0]]).take([0]).y is None
    with pytest.raises(ValueError, match="x 3, y 2"):
        Dataset(np.zeros((3, 1)), [0, 1])
    with pytest.raises(ValueError, match="labels from 0 to 2, but there are 2 class names"):
        Dataset(np.zeros((3, 1)), [0, 1, 2], ["a", "b"])
    with pytest.raises(TypeError, match=r"class_names must be a sequence .* got 'ab'"):
        Dataset(np.zeros((3, 1)), [0, 1, 1], "ab")
    with pytest.raises(AttributeError):
        data.x = np.zeros(3)
