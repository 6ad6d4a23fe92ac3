"""Data that stays in its file: the same numbers as from memory, read by batches, with what is wrong told."""

import csv
import io
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph import nn
from tensorgraph.data import (
    Dataset,
    Loader,
    Normalizer,
    Rows,
    open_csv,
    open_idx,
    open_npy,
    read_csv,
    read_idx,
    split,
    write_idx,
)
from tensorgraph.data.rows import Picked, in_file, pick
from tensorgraph.files import FileFormatError
from tensorgraph.train import fit


@pytest.fixture
def numbers():
    return np.random.default_rng(0).normal(size=(37, 3)).astype(np.float32)


@pytest.fixture
def npy(tmp_path, numbers):
    np.save(tmp_path / "x.npy", numbers)
    return tmp_path / "x.npy"


def batches(*arrays, **options):
    return [tuple(a.tobytes() for a in batch) for batch in Loader(*arrays, batch_size=8, seed=3, **options)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_from_a_file_are_those_from_memory(npy, numbers, shuffle):
    y = np.arange(37)
    mapped = open_npy(npy)
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    assert batches(mapped, y, shuffle=shuffle) == batches(numbers, y, shuffle=shuffle)
    assert in_file(mapped) and in_file(np.asarray(mapped)[3:]) and not in_file(numbers)
    x, _ = next(iter(Loader(mapped, y, shuffle=shuffle)))
    x[...] = 0.0  # a batch is one's own
    np.testing.assert_array_equal(open_npy(npy), numbers)


def test_parts_stay_in_the_file(npy, numbers):
    y = np.arange(37)
    there = split(Dataset(open_npy(npy), y), fractions=(0.6, 0.4), seed=1)
    here = split(Dataset(numbers, y), fractions=(0.6, 0.4), seed=1)
    for part, same in zip(there, here):
        assert isinstance(part.x, Rows) and repr(part) == repr(same)
        np.testing.assert_array_equal(part.x[:], same.x)
        np.testing.assert_array_equal(np.asarray(part.y), same.y)
        assert batches(part) == batches(same)
    (x, _), _ = split(open_npy(npy), y, fractions=(0.6, 0.4), seed=1)
    np.testing.assert_array_equal(np.asarray(x), here[0].x)
    again = there[0].take([4, 0, 4])
    assert again.x._rows is there[0].x._rows  # one step from the file, however often it is cut
    np.testing.assert_array_equal(again.x[:], here[0].x[[4, 0, 4]])
    assert there[0].take(np.array([], int)).x.shape == (0, 3)


def test_rows_are_taken_as_those_of_an_array(numbers):
    rows = Picked(numbers, np.arange(37))
    for key in (
        3,
        -1,
        slice(2, 9, 3),
        slice(None, None, -1),
        [5, 1, 5],
        [-2, 0],
        np.arange(37) % 2 == 0,
        [],
        np.int8(4),
    ):
        np.testing.assert_array_equal(rows[key], numbers[key])
    assert rows.ndim == 2 and rows.size == 111 and len(rows) == 37 and repr(rows) == "Picked(float32[37, 3])"
    np.testing.assert_array_equal(np.asarray(rows, np.float64), numbers)
    for key, error in (((0, 1), TypeError), (None, TypeError), (37, IndexError), ([-38], IndexError), (0.5, TypeError),
                       ([[0]], TypeError), (np.array([True]), IndexError)):  # fmt: skip
        with pytest.raises(error):
            rows[key]
    with pytest.raises(ValueError, match="copies"):
        np.asarray(rows, copy=False)
    with pytest.raises(NotImplementedError):
        Rows().read(np.arange(1))


def test_statistics_and_finiteness_by_blocks(npy, numbers, tmp_path, monkeypatch):
    monkeypatch.setattr("tensorgraph.data.arrays.BLOCK", 30)
    rows = Picked(open_npy(npy), np.arange(37)[::-1])
    here, there = Normalizer().fit(numbers[::-1]), Normalizer().fit(rows)
    np.testing.assert_array_equal(here.mean, there.mean)
    np.testing.assert_array_equal(here.std, there.std)
    np.testing.assert_array_equal(there.transform(rows), here.transform(numbers[::-1]))
    broken = numbers.copy()
    broken[33, 1] = np.inf
    np.save(tmp_path / "broken.npy", broken)
    with pytest.raises(ValueError, match=r"holds inf at position \(33, 1\)"):
        Normalizer().fit(open_npy(tmp_path / "broken.npy"))


def test_labels_of_a_file_are_checked(tmp_path):
    np.save(tmp_path / "y.npy", np.array([0, 1, 5]))
    with pytest.raises(ValueError, match="labels from 0 to 5"):
        Dataset(np.zeros((3, 1)), open_npy(tmp_path / "y.npy"), ["a", "b"])


def test_npy_files_that_are_none_are_told(npy, tmp_path):
    whole = npy.read_bytes()
    for content, message in (
        (whole[:-1], "holds 443"),
        (whole + b"x", "holds 445"),
        (whole[:20], "damaged header"),
        (b"", "damaged header"),
        (b"hello", "damaged header"),
    ):
        (tmp_path / "bad.npy").write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            open_npy(tmp_path / "bad.npy")
    np.savez(tmp_path / "a.npz", x=[1])
    with pytest.raises(FileFormatError, match="read_npz reads it"):
        open_npy(tmp_path / "a.npz")
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(FileFormatError, match="never unpickled"):
        open_npy(tmp_path / "o.npy")
    np.save(tmp_path / "f.npy", np.asfortranarray(np.zeros((2, 3))))
    with pytest.raises(FileFormatError, match="column by column"):
        open_npy(tmp_path / "f.npy")
    np.save(tmp_path / "e.npy", np.zeros((0, 3)))
    assert open_npy(tmp_path / "e.npy").shape == (0, 3)
    with pytest.raises(FileNotFoundError):
        open_npy(tmp_path / "none.npy")


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_idx_is_mapped_and_its_order_of_bytes_is_no_matter(tmp_path, dtype):
    values = np.arange(24).reshape(6, 2, 2).astype(dtype)
    write_idx(tmp_path / "a", values)
    mapped = open_idx(tmp_path / "a")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, read_idx(tmp_path / "a"))
    assert batches(mapped) == batches(values)
    picked = pick(mapped, np.array([4, 2]))
    assert picked[:].dtype == np.dtype(dtype) and picked[:].dtype.isnative
    np.testing.assert_array_equal(picked[:], values[[4, 2]])


def test_idx_files_that_cannot_be_mapped_are_told(tmp_path):
    write_idx(tmp_path / "a.gz", np.zeros((2, 2), np.uint8))
    with pytest.raises(FileFormatError, match="unpack it, or use read_idx"):
        open_idx(tmp_path / "a.gz")
    write_idx(tmp_path / "b", np.zeros((2, 2), np.uint8))
    (tmp_path / "c").write_bytes((tmp_path / "b").read_bytes()[:-1])
    with pytest.raises(FileFormatError, match="cut off or damaged"):
        open_idx(tmp_path / "c")


# tables --------------------------------------------------------------------------------------------------------------

TABLES = {
    "plain": ("a,b,c\n1,2,x\n3,4,y\n5,6,x\n", dict(label="c")),
    "no header, no last newline": ("1,2,0\n3,4.5,1\n-5e3,6,1", dict(label=-1)),
    "blank lines and blanks": ("\n a , b\n\n1, 2\n \n 3,4\n\n", {}),
    "quotes with newlines inside": ('"a\nb",c,k\n"1",2,"li\nly"\n3,"4","ro""se"\n', dict(label="k")),
    "windows": ("a;b\r\n1;2\r\n3;4\r\n", dict(delimiter=";")),
    "utf-8 with a mark": ("\ufeffhöhe,ß\n1,ä\n2,ö\n", dict(label=1)),
    "dropped": ("id,a,b\nx1,1,2\nx2,3,4\n", dict(drop=["id"])),
    "missing": ("a,b\n1,\nNA,4\n", dict(missing="nan")),
    "labels that are no whole numbers": ("1,2.5\n2,3\n", dict(label=1)),
    "float64": ("1e300,1\n2,2\n", dict(dtype="float64")),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_the_one_that_read_csv_reads(tmp_path, name):
    text, options = TABLES[name]
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("utf-8"))
    there, here = open_csv(path, **options), read_csv(path, **options)
    assert repr(there) == repr(here)
    assert there.class_names == here.class_names and there.feature_names == here.feature_names
    np.testing.assert_array_equal(there.x[:], here.x)
    np.testing.assert_array_equal(there.x[::-1], here.x[::-1])
    np.testing.assert_array_equal(there.x[[1, 0, 1]], here.x[[1, 0, 1]])
    assert there.x.finite == np.isfinite(here.x).all()
    if here.y is not None:
        assert there.y.dtype == here.y.dtype
        np.testing.assert_array_equal(there.y, here.y)
    if there.x.finite:
        assert batches(there, dtype=here.x.dtype) == batches(here, dtype=here.x.dtype)


cells = st.one_of(st.floats(-1e6, 1e6).map(repr), st.integers(-9, 9).map(str))


@given(
    st.lists(st.tuples(cells, cells, st.sampled_from(["a", "b\nc", 'd"', "e,f", "é"])), min_size=1, max_size=12),
    st.booleans(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["utf-8", "utf-8-sig", "latin-1"]),
)  # fmt: skip
@examples(40)
def test_any_table_is_the_one_that_read_csv_reads(tmp_path_factory, rows, blank, newline, encoding):
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=newline + newline * blank)
    writer.writerows(rows)
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    there, here = (read(path, label=2, header=False, encoding=encoding) for read in (open_csv, read_csv))
    np.testing.assert_array_equal(there.x[:], here.x)
    np.testing.assert_array_equal(there.y, here.y)
    assert there.class_names == here.class_names
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(there.x[order], here.x[order])


def test_many_numbers_as_labels_are_not_kept_as_text(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorgraph.data.tables.MOST_TEXTS", 3)
    path = tmp_path / "t.csv"
    path.write_text("".join(f"1,{i}.5\n" for i in range(9)))
    np.testing.assert_array_equal(open_csv(path, label=1).y, np.arange(9) + np.float32(0.5))
    path.write_text("".join(f"1,{i}\n" for i in range(9)))
    assert open_csv(path, label=1).y.tolist() == list(range(9))
    path.write_text("".join(f"1,w{i}\n" for i in range(9)))
    assert len(open_csv(path, label=1).class_names) == 9
    path.write_text("".join(f"1,{i}\n" for i in range(9)) + "1,red\n")
    with pytest.raises(FileFormatError, match=r"line 10: the label 'red' is no number, and more than 3 different"):
        open_csv(path, label=1)


def test_what_is_wrong_with_a_table_is_told_when_it_is_opened(tmp_path):
    path = tmp_path / "t.csv"
    for text, message in (
        ("a,b\n1,2\n3,x\n", r"line 3, column 2 \('b'\): expected a number"),
        ("a,b\n1,2\n3\n", "line 3: 1 fields, expected 2"),
        ("a,b\n1,2\n3,\n", "line 3, column 2 .*missing"),
        ("a,b\n1,1e300\n", "beyond float32"),
        ('a,b\n1,"2\n', "check the quotes"),
        ("a,b\n", "has a header and no data"),
        ("", "is empty"),
    ):
        path.write_text(text)
        with pytest.raises(FileFormatError, match=message):
            open_csv(path)
    path.write_bytes("1,2\n3,4\n".encode("utf-16"))
    for encoding in ("utf-16", "utf-7", "iso2022_jp"):
        with pytest.raises(ValueError, match="convert the file to UTF-8, or use read_csv"):
            open_csv(path, encoding=encoding)
    path.write_text("1,2\n3,4\n")
    data = open_csv(path)
    path.write_text("1,2\n3,4\n5,6\n")
    with pytest.raises(FileFormatError, match="was changed after it was opened"):
        data.x[:1]


# memory --------------------------------------------------------------------------------------------------------------

BOUND = 24 << 20  # bytes


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of 192 MB, eight times the bound; most of it is a hole, which reads as zeros and takes no disk."""
    path = tmp_path_factory.mktemp("large") / "x.npy"
    file = np.lib.format.open_memmap(path, "w+", np.float32, (12_000, 4096))
    file[::1000] = np.random.default_rng(0).normal(size=(12, 4096))
    file.flush()
    del file
    yield path
    path.unlink()


def test_memory_stays_bounded(large):
    """By what is allocated, of NumPy too: pages of a mapped file are the system's to take back."""
    tracemalloc.start()
    try:
        part, rest = split(Dataset(open_npy(large), np.arange(12_000) % 2), fractions=(0.9, 0.1))
        Normalizer().fit(part.x)
        seen = sum(len(x) for x, _ in Loader(part, batch_size=64))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == len(part) == 10_800 and len(rest) == 1_200
    assert peak < BOUND, f"{peak >> 20} MB"


LIMITED = """
import resource, sys
import numpy as np
from tensorgraph import nn, train
from tensorgraph.data import Dataset, Normalizer, open_npy
import tensorgraph as tg

def data_of():  # kB of private memory that a process may write
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))

x = open_npy(sys.argv[1])
limit = (data_of() << 10) + (96 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.array(x)
    print("the whole file fits")
except MemoryError:
    pass
print(Normalizer().fit(x).count)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it asks Linux how much memory there is")
def test_a_process_that_may_not_have_the_memory_reads_it_all_the_same(large):
    done = subprocess.run(
        [sys.executable, "-P", "-c", LIMITED, str(large)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "12000\n", done.stderr


def test_a_table_is_read_in_bounded_memory(tmp_path, monkeypatch):
    """A block is a million numbers; here less, so that a small file is large beside it."""
    monkeypatch.setattr("tensorgraph.data.csv_rows.BLOCK", 1 << 13)
    path = tmp_path / "t.csv"
    path.write_text((",".join(["0.125"] * 256) + ",1\n") * 1200)
    size = path.stat().st_size
    tracemalloc.start()
    try:
        data = open_csv(path, label=-1, header=False)
        kept, read = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for start in range(0, 1200, 300):
            data.x[start : start + 16]
        batch = tracemalloc.get_traced_memory()[1] - kept
    finally:
        tracemalloc.stop()
    assert size > 1_800_000
    assert kept < size / 10  # where each row begins, and the labels
    assert read < size / 4 and batch < size / 4


def test_training_on_a_file_stays_in_bounded_memory(large):
    """With metrics=() nothing is kept of an epoch; the dev set is read a batch at a time too."""
    model = nn.Linear(4096, 2, seed=0)
    data = Dataset(open_npy(large), np.arange(12_000) % 2)
    part, dev = split(data, fractions=(0.9, 0.1))
    normalizer = Normalizer().fit(dev.x)
    options = dict(optimizer="sgd", epochs=1, batch_size=64, metrics=(), normalizer=normalizer, progress=False)
    fit(model, (dev.x[:64], np.asarray(dev.y)[:64]), **options)  # what is loaded and compiled once
    tracemalloc.start()
    try:
        history = fit(model, part, dev=dev, prefetch=1, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.isfinite(history["dev_loss"][0]) and len(history.learning_rate) == 168
    # the dev set goes by 256 samples, which are 8 MB where they are normalised, in float64, and three of these at once
    assert peak < 40 << 20, f"{peak >> 20} MB"
