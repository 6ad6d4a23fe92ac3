"""Readers of CSV, NPZ and IDX: values, errors, and files that lie."""

import gzip
import io
import os
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph.data import read_idx, read_npz, write_idx
from tensorgraph.files import FileFormatError

IDX_KINDS = ["u1", "i1", "i2", "i4", "f4", "f8", ">i2", ">f8"]
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def peak_memory(function):
    """Peak bytes allocated while a call runs that must raise FileFormatError."""
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@st.composite
def mutations(draw, content):
    """The content with a few bytes changed, left out, put in or cut off."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


# IDX


@given(array=hnp.arrays(st.sampled_from(IDX_KINDS).map(np.dtype), shapes), zipped=st.booleans())
def test_idx_round_trip(array, zipped):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.gz" if zipped else "a")
        write_idx(path, array)
        assert (path.read_bytes()[:2] == b"\x1f\x8b") == zipped
        back = read_idx(path)
    assert back.dtype == array.dtype.newbyteorder("=") and back.shape == array.shape
    assert back.dtype.isnative and back.flags.writeable
    assert back.tobytes() == array.astype(back.dtype).tobytes()


def test_idx_bytes_are_those_of_mnist(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 255]))
    np.testing.assert_array_equal(read_idx(path), np.array([7, 2, 255], np.uint8), strict=True)
    path.write_bytes(bytes([0, 0, 0x0B, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 255, 255]))
    np.testing.assert_array_equal(read_idx(path), np.array([[256, -1]], np.int16), strict=True)
    write_idx(tmp_path / "again", read_idx(path))
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_idx_gzip_is_seen_from_the_content_and_is_reproducible(tmp_path):
    write_idx(tmp_path / "a.gz", np.arange(10, dtype=np.int32).reshape(2, 5).T)
    (tmp_path / "plain-name").write_bytes((tmp_path / "a.gz").read_bytes())
    np.testing.assert_array_equal(read_idx(tmp_path / "plain-name"), np.arange(10, dtype=np.int32).reshape(2, 5).T)
    write_idx(tmp_path / "b.gz", np.arange(10, dtype=np.int32).reshape(2, 5).T)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too few for an IDX file"),
        (b"\0\0\x08", "has 3 bytes, too few"),
        (b"\0\0\x0a\x01\0\0\0\0", "begins with 0x00000a01, expected an IDX magic number"),
        (b"\x01\0\x08\x01\0\0\0\0", "begins with 0x01000801"),
        (b"P5\n28 28\n255\n", "it is no IDX file"),
        (b"\0\0\x08\x03\0\0\0\x01", "ends within its 3 dimensions"),
        (b"\0\0\x08\x01\0\0\0\x03ab", r"promises uint8\[3\], 3 bytes, and holds 2: it is cut off or damaged"),
        (b"\0\0\x08\x01\0\0\0\x03abcd", r"promises uint8\[3\], 3 bytes, and holds (4|more)"),
        (b"\0\0\x0e\x02\xff\xff\xff\xff\xff\xff\xff\xff", "promises float64"),
        (b"\0\0\x08\x41" + b"\0\0\0\x01" * 65 + b"a", "which no array can have"),
        (b"\0\0\x08\x04\0\0\0\0" + b"\xff" * 12, "which no array can have"),
    ],
)
def test_damaged_idx(tmp_path, content, message, pack):
    (tmp_path / "a.idx").write_bytes(pack(content))
    with pytest.raises(FileFormatError, match=r"a\.idx.*" + message):
        read_idx(tmp_path / "a.idx")


def test_damaged_gzip(tmp_path):
    write_idx(tmp_path / "a.gz", np.random.default_rng(0).integers(0, 255, 1000).astype(np.uint8))
    content = (tmp_path / "a.gz").read_bytes()
    for damaged in (content[:-1], content[:500], content[:-8] + b"\0" * 8, content[:20] + b"\xff" * 9 + content[29:],
                    content + b"more", b"\x1f\x8b"):  # fmt: skip
        (tmp_path / "a.gz").write_bytes(damaged)
        with pytest.raises(FileFormatError, match=r"a\.gz"):
            read_idx(tmp_path / "a.gz")


def test_an_idx_header_that_lies_takes_no_memory(tmp_path):
    path = tmp_path / "a"
    header = struct.pack(">HBB2I", 0, 8, 2, 40_000, 50_000)  # two gigabytes
    path.write_bytes(header + b"abc")
    assert peak_memory(lambda: read_idx(path)) < 1 << 20
    path.write_bytes(gzip.compress(header + b"abc"))
    assert peak_memory(lambda: read_idx(path)) < 1 << 20
    # possible by the size of the packed file, and yet not true
    path.write_bytes(gzip.compress(struct.pack(">HBB1I", 0, 8, 1, 80_000_000) + os.urandom(100_000)))
    assert peak_memory(lambda: read_idx(path)) < 1 << 23
    # and a small array before gigabytes of zeros is refused without unpacking them
    path.write_bytes(gzip.compress(struct.pack(">HBB1I", 0, 8, 1, 3) + b"abc" + b"\0" * 50_000_000))
    assert peak_memory(lambda: read_idx(path)) < 1 << 22


@examples(300)
@given(data=st.data(), zipped=st.booleans())
def test_mutated_idx_is_an_error_or_a_value(data, zipped):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.gz" if zipped else "a")
        write_idx(path, np.arange(12, dtype=np.int16).reshape(3, 4))
        path.write_bytes(data.draw(mutations(path.read_bytes())))
        try:
            array = read_idx(path)
        except FileFormatError as error:
            assert str(path) in str(error)
        else:
            assert array.dtype.kind in "iuf"


def test_write_idx_errors(tmp_path):
    with pytest.raises(TypeError, match="uint8, int8, int16, int32, float32, float64, got int64"):
        write_idx(tmp_path / "a", [1, 2])
    with pytest.raises(ValueError, match="32 bits"):
        write_idx(tmp_path / "a", np.broadcast_to(np.uint8(0), (1 << 32, 0)))
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "a")
    assert os.listdir(tmp_path) == []


# NPZ


@given(
    x=hnp.arrays(st.sampled_from(["f2", "f4", "f8", ">f4", "u1", "i8", ">i2", "?"]).map(np.dtype),
                 hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4), elements=st.integers(0, 1)),
    packed=st.booleans(), fortran=st.booleans(),
)  # fmt: skip
def test_npz_round_trip(x, packed, fortran):
    y = np.arange(len(x))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "some.npz")
        (np.savez_compressed if packed else np.savez)(path, x=np.asfortranarray(x) if fortran else x, y=y)
        data = read_npz(path)
    assert data.x.dtype == (np.float32 if x.dtype.kind == "f" else x.dtype.newbyteorder("=")) and data.x.dtype.isnative
    np.testing.assert_array_equal(data.x, x.astype(data.x.dtype), strict=True)
    np.testing.assert_array_equal(data.y, y, strict=True)
    assert data.name == "some"


def test_npz_names(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=np.zeros((2, 3)), y_train=[1, 0], x_test=np.array([None]))
    data = read_npz(path, x="x_train", y="y_train", class_names=["no", "yes"], dtype="float64")
    assert data.x.dtype == np.float64 and data.class_names == ("no", "yes")
    assert read_npz(path, x="x_train", y=None).y is None
    with pytest.raises(ValueError, match="has no array 'x'; its arrays are 'x_train', 'y_train', 'x_test'"):
        read_npz(path)
    with pytest.raises(FileFormatError, match="Python objects, which are never unpickled"):
        read_npz(path, x="x_test", y=None)
    np.savez(path, x=np.zeros((2, 3)), y=[1, 0, 1])
    with pytest.raises(FileFormatError, match=r"'x' of shape \(2, 3\) and 'y' of shape \(3,\)"):
        read_npz(path)
    np.savez(path, x=np.zeros(()), y=0)
    with pytest.raises(FileFormatError, match="first axes"):
        read_npz(path)
    np.savez(path, x=np.array(["text"]))
    with pytest.raises(FileFormatError, match="'x' of <U4; save it as an array of numbers"):
        read_npz(path, y=None)


def archive(path, content, name="x.npy", **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr(name, content)


def npy(shape, data=b"", descr="<f8", version=(1, 0)):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}\n".encode("latin-1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged header of 'x'"),
        (b"not an array at all", "damaged header of 'x'"),
        (npy("(2,)", b"12345678"), r"promises 'x' of float64\[2\], 16 bytes, and holds 8"),
        (npy("(1,)", b"123456789"), "8 bytes, and holds 9"),
        (npy("(-1, -1)", b"12345678"), "damaged"),
        (npy("(True,)", b"12345678"), "damaged"),
        (npy("('a',)"), "damaged header"),
        (npy("(" * 900), "damaged header"),
        (npy("-" * 5000 + "1"), "damaged header"),
        (npy("(1,)", b"\0" * 8, version=(2, 0)), None),
        (npy("(1,)", b"x" * 8), None),
        (npy("(1,)", b"x" * 8, version=(3, 0)), "named fields"),
        (npy("(1,)", b"x" * 8, version=(9, 9)), "damaged header|version"),
        (npy("(1,)", b"x" * 8, descr="|O"), "never unpickled"),
        (npy("(1,)", b"x" * 16, descr="<c16"), "complex128"),
        (npy("(1,)", b"x" * 8, descr="<M8[s]"), "datetime64"),
        (npy("(9999999999999,)"), "holds 0"),
        (npy("(1,)", b"x", descr="|V99999999999999"), "damaged header|save it as"),
    ],
)
def test_damaged_npy_inside(tmp_path, content, message):
    archive(tmp_path / "a.npz", content)
    if message is None:
        assert len(read_npz(tmp_path / "a.npz", y=None, dtype="float64")) == 1
        return
    with pytest.raises(FileFormatError, match=r"a\.npz.*(" + message + ")"):
        read_npz(tmp_path / "a.npz", y=None)


def test_damaged_archives(tmp_path):
    path = tmp_path / "a.npz"
    for content, message in [
        (b"", "not a whole .npz"),
        (b"PK\x03\x04", "not a whole .npz"),
        (b"text", "not a whole .npz"),
        (npy("(1,)", b"12345678"), r"single \.npy array; open it with open_npy"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            read_npz(path)
    archive(path, npy("(1,)", b"12345678"), compression=zipfile.ZIP_BZIP2)
    with pytest.raises(FileFormatError, match="method that NumPy does not write"):
        read_npz(path, y=None)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(ValueError, match="its arrays are none"):
        read_npz(path)
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")
    with pytest.raises(TypeError, match=r"float dtype .* got the class int"):
        read_npz(path, dtype=int)


def test_an_npz_that_lies_takes_no_memory(tmp_path):
    path = tmp_path / "a.npz"
    # the array's header promises 8 GB
    archive(path, npy("(1000000000,)", b"abc"))
    assert peak_memory(lambda: read_npz(path, y=None)) < 1 << 22
    # and so does the archive's directory
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", (1 << 32) - 2)
    path.write_bytes(content)
    assert peak_memory(lambda: read_npz(path, y=None)) < 1 << 22
    content[directory + 20 : directory + 24] = struct.pack("<I", (1 << 32) - 2)
    path.write_bytes(content)
    assert peak_memory(lambda: read_npz(path, y=None)) < 1 << 22
    # an array's header length of 4 GB
    archive(path, b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\xff" + b"{}")
    assert peak_memory(lambda: read_npz(path, y=None)) < 1 << 22


@examples(300)
@given(data=st.data(), packed=st.booleans())
def test_mutated_npz_is_an_error_or_a_value(data, packed):
    buffer = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, x=np.arange(6.0).reshape(3, 2), y=[0, 1, 0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.npz")
        path.write_bytes(data.draw(mutations(buffer.getvalue())))
        try:
            read = read_npz(path)
        except (FileFormatError, ValueError) as error:
            assert isinstance(error, FileFormatError) or "has no array" in str(error)
        else:
            assert len(read.x) == len(read.y)


def test_an_npz_longer_than_a_piece(tmp_path):
    x = np.random.default_rng(0).normal(size=(3000, 100))
    np.savez_compressed(tmp_path / "a.npz", x=x)
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz", y=None, dtype="float64").x, x, strict=True)


def test_an_npz_that_ends_early_with_a_right_checksum(tmp_path):
    path = tmp_path / "a.npz"
    archive(path, npy("(3,)", b"\0" * 16), compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    (size,) = struct.unpack("<I", content[directory + 24 : directory + 28])
    content[directory + 24 : directory + 28] = struct.pack("<I", size + 8)
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="cut off within 'x': 16 of 24 bytes"):
        read_npz(path, y=None)


def test_numbers_beyond_float32(tmp_path):
    np.savez(tmp_path / "a.npz", x=[[1e300]], y=[0])
    with pytest.raises(ValueError, match=r"a\.npz': 'x' holds numbers beyond float32; normalise .* wider dtype="):
        read_npz(tmp_path / "a.npz")
    assert read_npz(tmp_path / "a.npz", dtype="float64").x == 1e300


def test_every_cut_of_an_npz_is_noticed(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(6.0).reshape(3, 2), y=[0, 1, 0])
    content = (tmp_path / "a.npz").read_bytes()
    for length in range(len(content)):
        (tmp_path / "a.npz").write_bytes(content[:length])
        with pytest.raises(FileFormatError):
            read_npz(tmp_path / "a.npz")
