"""Atomic writing, and arrays in safetensors containers."""

import builtins
import json
import os
import stat
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorgraph.files import FileFormatError, MissingExtraError, atomic_file, atomic_write, load_tensors, save_tensors

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and links as POSIX has them")


def rewrite(path, change_header=None, change_envelope=None):
    """Write a container again with its header changed, as another program or a fault might."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if change_envelope:
        envelope = json.loads(header["__metadata__"]["tensorgraph"])
        change_envelope(envelope)
        header["__metadata__"]["tensorgraph"] = json.dumps(envelope)
    text = json.dumps(header)
    if change_header:
        text = change_header(text)
    path.write_bytes(len(text.encode()).to_bytes(8, "little") + text.encode() + data[8 + length :])


# atomic writing


def test_write_creates_and_replaces(tmp_path):
    path = tmp_path / "a.bin"
    atomic_write(path, b"first")
    atomic_write(path, memoryview(b"second"))
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [None, b"old"])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error, before):
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(error), atomic_file(path) as file:
        file.write(b"half of the n")
        raise error
    assert (path.read_bytes() if path.exists() else None) == before
    assert os.listdir(tmp_path) == ([] if before is None else ["a.bin"])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left") as raised:
        atomic_write(path, b"new")
    assert raised.value.filename == str(path)  # and not the temporary one
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


def test_the_block_may_close_and_seek_itself(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_file(path) as file:
        file.write(b"0123456789")
        file.seek(2)
        assert file.read(2) == b"23"
        file.seek(0)
        file.write(b"X")
    assert path.read_bytes() == b"X123456789"


@posix
def test_permissions_are_those_of_any_new_file_or_of_the_old_one(tmp_path):
    umask = os.umask(0o027)
    try:
        atomic_write(tmp_path / "new", b"")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    for mode in (0o600, 0o755, 0o444):
        (tmp_path / "new").chmod(mode)
        atomic_write(tmp_path / "new", b"changed")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


@posix
def test_a_private_file_is_private_while_it_is_written(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with atomic_file(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


@posix
def test_a_symbolic_link_is_followed_and_stays(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(Path("real") / "a.bin")
    atomic_write(link, b"1")
    atomic_write(link, b"2")
    assert link.is_symlink() and (tmp_path / "real" / "a.bin").read_bytes() == b"2"


@posix
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        atomic_write(tmp_path / "pipe", b"")


def test_bad_targets_and_data(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder .* does not exist; create it first"):
        atomic_write(tmp_path / "missing" / "a.bin", b"")
    with pytest.raises(IsADirectoryError, match="add a file name"):
        atomic_write(tmp_path, b"")
    with pytest.raises(TypeError, match=r"text.encode\(\)"):
        atomic_write(tmp_path / "a", "text")
    assert os.listdir(tmp_path) == []


def test_a_temporary_name_that_is_taken(tmp_path, monkeypatch):
    names = iter(["taken", "taken", "free"])
    monkeypatch.setattr("secrets.token_hex", lambda size: next(names))
    (tmp_path / ".a.taken.tmp").write_bytes(b"of another process")
    atomic_write(tmp_path / "a", b"x")
    assert sorted(os.listdir(tmp_path)) == [".a.taken.tmp", "a"]
    assert (tmp_path / ".a.taken.tmp").read_bytes() == b"of another process"


def test_a_name_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("n" * 250)
    atomic_write(path, b"x")
    assert path.read_bytes() == b"x"


# containers

KINDS = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
arrays = hnp.arrays(
    dtype=st.sampled_from(KINDS).map(np.dtype),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__")


@settings(deadline=None)
@given(
    contents=st.dictionaries(names, arrays, max_size=4),
    metadata=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values, max_size=3),
)
def test_round_trip_keeps_every_bit(contents, metadata):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.safetensors")
        save_tensors(path, contents, metadata)
        first = path.read_bytes()
        loaded, told = load_tensors(path)
        save_tensors(path, contents, metadata)
        assert path.read_bytes() == first  # equal content, equal file
    assert told == metadata
    assert list(loaded) == list(contents)
    for name, array in contents.items():
        back = loaded[name]
        assert back.dtype == array.dtype and back.shape == array.shape
        assert back.tobytes() == array.tobytes()
        assert back.flags.writeable and back.flags.aligned and back.flags.c_contiguous


def test_views_and_foreign_byte_order(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    contents = {
        "transposed": base.T,
        "strided": base[::2, ::-3],
        "broadcast": np.broadcast_to(np.float64(2.5), (3, 2)),
        "big endian": base.astype(">f4"),
        "fortran": np.asfortranarray(base),
        "scalar": np.float16(0.1),
        "list": [1, 2, 3],
        "nothing": np.zeros((0, 3), np.int8),
    }
    save_tensors(tmp_path / "a", contents)
    loaded, metadata = load_tensors(tmp_path / "a")
    assert metadata == {}
    for name, value in contents.items():
        np.testing.assert_array_equal(loaded[name], value, strict=name != "big endian")
    assert loaded["big endian"].dtype == np.float32


def test_objects_with_numpy_are_taken(tmp_path):
    class Box:
        def numpy(self):
            return np.arange(3.0)

    save_tensors(tmp_path / "a", {"box": Box()})
    np.testing.assert_array_equal(load_tensors(tmp_path / "a")[0]["box"], np.arange(3.0), strict=True)


def test_special_floats_and_payloads_survive(tmp_path):
    bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800000, 0x80000000, 0x00000001], np.uint32)
    save_tensors(tmp_path / "a", {"x": bits.view(np.float32)}, {"loss": [float("nan"), float("inf")]})
    loaded, metadata = load_tensors(tmp_path / "a")
    assert (loaded["x"].view(np.uint32) == bits).all()
    assert np.isnan(metadata["loss"][0]) and metadata["loss"][1] == float("inf")


def test_metadata_becomes_plain_python(tmp_path):
    save_tensors(tmp_path / "a", {}, {"lr": np.float32(0.5), "n": np.int64(3), "ok": np.True_, "shape": (1, 2)})
    assert load_tensors(tmp_path / "a") == ({}, {"lr": 0.5, "n": 3, "ok": True, "shape": [1, 2]})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"sizes": {1: "one"}}, r"metadata\['sizes'\] has the key 1"),
        ({"x": np.zeros(2)}, r"metadata\['x'\] is an array"),
        ({"f": [object()]}, r"metadata\['f'\]\[0\] is of type object"),
        ({"b": b"bytes"}, "is of type bytes"),
        ({"m": MappingProxyType({})}, r"a mappingproxy; JSON needs a dict: pass dict"),
    ],
)
def test_metadata_that_json_cannot_say(tmp_path, metadata, message):
    with pytest.raises(TypeError, match=message):
        save_tensors(tmp_path / "a", {}, metadata)
    assert os.listdir(tmp_path) == []


def test_metadata_that_contains_itself(tmp_path):
    loop = {}
    loop["self"] = loop
    with pytest.raises(ValueError, match="contains itself"):
        save_tensors(tmp_path / "a", {}, loop)


@pytest.mark.parametrize("value", [np.zeros(2, complex), np.array(["a"]), np.array([None]), np.zeros(1, "i4,f4")])
def test_dtypes_that_have_no_place(tmp_path, value):
    with pytest.raises(TypeError, match="array 'w' has dtype"):
        save_tensors(tmp_path / "a", {"w": value})
    assert os.listdir(tmp_path) == []


def test_bad_names(tmp_path):
    for options in ({"format": 1}, {"version": "2"}, {"version": 0}, {"version": True}):
        with pytest.raises((TypeError, ValueError), match=r"(format must be a str|version must be a positive integer)"):
            save_tensors(tmp_path / "a", {}, **options)
    with pytest.raises(TypeError, match=r"each key a str.* its key 1 is not"):
        save_tensors(tmp_path / "a", {1: np.zeros(2)})
    with pytest.raises(ValueError, match="give the array another name"):
        save_tensors(tmp_path / "a", {"__metadata__": np.zeros(2)})


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(
        path, {"w": np.arange(6.0).reshape(2, 3), "b": np.zeros(3, np.float32)}, {"k": [1]}, format="f", version=2
    )
    return path


def test_format_and_version(saved):
    assert load_tensors(saved, format="f", version=3)[1] == {"k": [1]}
    with pytest.raises(FileFormatError, match="holds 'f', expected 'g'"):
        load_tensors(saved, format="g", version=2)
    with pytest.raises(FileFormatError, match="version 2, this tensorgraph reads up to 1; upgrade"):
        load_tensors(saved, format="f", version=1)


def test_every_cut_is_noticed(saved):
    data = saved.read_bytes()
    for length in range(len(data)):
        saved.write_bytes(data[:length])
        with pytest.raises(FileFormatError, match=r"a\.safetensors"):
            load_tensors(saved, format="f", version=2)
    saved.write_bytes(data[:-1])
    with pytest.raises(FileFormatError, match="cut off: 1 bytes are missing"):
        load_tensors(saved, format="f", version=2)
    saved.write_bytes(data + b"\0")
    with pytest.raises(FileFormatError, match="damaged"):
        load_tensors(saved, format="f", version=2)


def test_every_flipped_bit_is_noticed(saved):
    """Each changed byte is refused, unless the file still says the same (blanks in the header)."""
    arrays, metadata = load_tensors(saved, format="f", version=2)
    data = saved.read_bytes()
    noticed = 0
    for i in range(len(data)):
        damaged = bytearray(data)
        damaged[i] ^= 1 << (i % 8)
        saved.write_bytes(damaged)
        try:
            again, told = load_tensors(saved, format="f", version=2)
        except FileFormatError:
            noticed += 1
            continue
        assert told == metadata and list(again) == list(arrays)
        for name in arrays:
            np.testing.assert_array_equal(again[name], arrays[name], strict=True)
    assert noticed > 0.9 * len(data)


@examples(200)
@given(data=st.data())
def test_mutated_files_raise_one_kind_of_error(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.safetensors")
        save_tensors(path, {"w": np.arange(4.0), "b": np.ones((2, 0))}, {"names": ["a", "b"]})
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        path.write_bytes(content)
        try:
            arrays, metadata = load_tensors(path)
        except FileFormatError:
            return
        assert list(arrays) == ["w", "b"] and metadata == {"names": ["a", "b"]}
        np.testing.assert_array_equal(arrays["w"], np.arange(4.0), strict=True)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(content)
        with pytest.raises(FileFormatError):
            load_tensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes"),
        (b"PK\x03\x04 and so on", "is a zip archive"),
        (b"\x80\x04\x95 and so on", "pickle, which is never loaded"),
        (b"\x93NUMPY\x01\x00 and so on", "is an .npy file"),
        (b"hello, this is text", "is not a safetensors file"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "header should have 4611686018427387904 bytes"),
        ((2).to_bytes(8, "little") + b"{}", "of another program"),
        ((9000).to_bytes(8, "little") + b"{" * 9000, "damaged header"),
        ((9003).to_bytes(8, "little") + b'{"":' + b"[" * 8999, "damaged header"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        load_tensors(tmp_path / "a")


def test_a_container_of_another_program(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(2)}, tmp_path / "a", metadata={"format": "pt"})
    with pytest.raises(FileFormatError, match="of another program; read its arrays with safetensors"):
        load_tensors(tmp_path / "a")


def test_another_program_reads_ours(saved):
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(saved)["w"], np.arange(6.0).reshape(2, 3), strict=True)


def test_duplicates_dtypes_and_offsets_in_the_header(saved):
    original = saved.read_bytes()
    faults = [
        (lambda text: text.replace('"w":', '"b":'), "'b' stands there twice"),
        (lambda text: text.replace('"F64"', '"BF16"'), "'w' with dtype 'BF16', expected one of BOOL"),
        (lambda text: text.replace('"F64"', '"I64"'), "checksum is wrong"),
        (lambda text: text.replace("[2, 3]", "[3, 2]"), "checksum is wrong"),
        (lambda text: text.replace("[2, 3]", "[2, 9999999999]"), "damaged"),
        (lambda text: text.replace('"data_offsets"', '"offsets"', 1), "damaged header"),
        (lambda text: text.replace('"w":', '"v":'), "checksum is wrong"),
        (lambda text: "[" + text + "]", "is not a safetensors file"),
    ]
    for change, message in faults:
        saved.write_bytes(original)
        rewrite(saved, change_header=change)
        with pytest.raises(FileFormatError, match=message):
            load_tensors(saved, format="f", version=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("names"), "damaged metadata"),
        (lambda e: e.update(version="2"), "version is not of type int"),
        (lambda e: e.update(names=["w", 3]), "a name is not a string"),
        (lambda e: e.update(names=["w"]), "checksum is wrong"),
        (lambda e: e.update(names=["w", "w", "b"]), "checksum is wrong"),
        (lambda e: e.update(metadata={"k": [2]}), "checksum is wrong"),
    ],
)
def test_damaged_metadata(saved, change, message):
    rewrite(saved, change_envelope=change)
    with pytest.raises(FileFormatError, match=message):
        load_tensors(saved, format="f", version=2)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        load_tensors(tmp_path / "none")
    with pytest.raises(OSError, match=tmp_path.name):
        load_tensors(tmp_path)
    with pytest.raises(FileNotFoundError, match="create it first"):
        save_tensors(tmp_path / "none" / "a", {})


def test_without_safetensors_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("safetensors"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("safetensors")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r'pip install "tensorgraph-engine\[save\]"'):
        save_tensors(tmp_path / "a", {})
    with pytest.raises(MissingExtraError, match=r"\[save\]"):
        load_tensors(tmp_path / "a")
    assert os.listdir(tmp_path) == []
