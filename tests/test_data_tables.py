"""CSV tables."""

import csv
import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph.data import read_csv
from tensorgraph.files import FileFormatError


@pytest.fixture
def table(tmp_path):
    def write(text, **options):
        path = tmp_path / "t.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_csv(path, **options)

    return write


@given(
    x=hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)),
                 elements=st.floats(allow_nan=False, allow_infinity=True)),
    header=st.booleans(), labels=st.sampled_from([None, "int", "float", "text"]), data=st.data(),
)  # fmt: skip
def test_round_trip(x, header, labels, data):
    n = len(x)
    kinds = {"int": st.integers(-(2**63), 2**63 - 1), "float": st.floats(-9, 9).filter(lambda v: True),
             "text": st.sampled_from(["rose", "lily, white", 'the "red"', "two\nlines", "ünï"])}  # fmt: skip
    y = None if labels is None else data.draw(st.lists(kinds[labels], min_size=n, max_size=n))
    names = [f"feature {i}" for i in range(x.shape[1])] + ([] if y is None else ["label"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if header:
                writer.writerow(names)
            for i in range(n):
                writer.writerow([repr(float(v)) for v in x[i]] + ([] if y is None else [y[i]]))
        read = read_csv(path, label=None if y is None else -1, dtype="float64")
    np.testing.assert_array_equal(read.x, x, strict=True)
    assert read.feature_names == (tuple(names[: x.shape[1]]) if header else None)
    if labels == "int":
        np.testing.assert_array_equal(read.y, np.array(y, np.int64), strict=True)
    elif labels == "float":
        np.testing.assert_array_equal(read.y, np.array(y), strict=True)
    elif labels == "text":
        assert read.class_names == tuple(sorted(set(y))) and [read.class_names[c] for c in read.y] == y
    else:
        assert read.y is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,2\n", ("a", "b")),
        ("1,2\n3,4\n", None),
        (",b\n1,2\n", ("", "b")),
        ("\ufeffa,b\r\n1,2\r\n", ("a", "b")),
        ("\n\n a , b \n 1 , 2 \n\n", ("a", "b")),
        ("1e3,x\n1,2\n", "error"),
    ],
)
def test_header_detection(table, text, names):
    if names == "error":
        with pytest.raises(FileFormatError, match="line 1, column 2: expected a number, got 'x'"):
            table(text)
    else:
        data = table(text)
        assert data.feature_names == names and data.x.dtype == np.float32 and data.x[-1].tolist() in ([1, 2], [3, 4])


def test_header_said_outright(table):
    assert table("1,2\n3,4\n", header=True).feature_names == ("1", "2")
    assert len(table("1,2\n3,4\n", header=False)) == 2
    with pytest.raises(
        FileFormatError, match="line 1, column 1: expected a number, got 'a'; if this is the label, pass"
    ):
        table("a,b\n1,2\n", header=False)


def test_a_label_in_a_first_line_without_header(table):
    data = table("5.1,3.5,rose\n4.9,3.0,lily\n", label=2)
    assert len(data) == 2 and data.y.tolist() == [1, 0] and data.name == "t"


def test_labels_columns_and_classes(table):
    text = "id,a,kind,b\n7,1,x,2\n8,3,y,4\n"
    data = table(text, label="kind", drop=["id"])
    assert data.feature_names == ("a", "b") and data.x.tolist() == [[1, 2], [3, 4]] and data.class_names == ("x", "y")
    assert table(text, label="kind", class_names=["y", "x"], drop=[0]).y.tolist() == [1, 0]
    with pytest.raises(FileFormatError, match="line 3: the label 'y' is not among the class names 'x', 'z'"):
        table(text, label="kind", class_names=["x", "z"])
    # numbers as text, in the order given
    assert table("1,3\n2,5\n", label=1, class_names=["5", "3"]).y.tolist() == [1, 0]
    with pytest.raises(ValueError, match="no column 'sort'; it has the columns 'id', 'a', 'kind', 'b'"):
        table(text, label="sort")
    with pytest.raises(ValueError, match="no column 4; it has the columns"):
        table(text, label=4)
    with pytest.raises(ValueError, match="no header line to look 'a' up in"):
        table("1,2\n", label="a")
    with pytest.raises(ValueError, match="several columns 'a'; pass a position"):
        table("a,a\n1,2\n", label="a")
    with pytest.raises(ValueError, match="both the label and dropped"):
        table(text, label="kind", drop=["kind"])
    with pytest.raises(TypeError, match=r"write \['id'\]"):
        table(text, drop="id")
    with pytest.raises(FileFormatError, match="no column of features"):
        table("a\n1\n", label="a")


def test_label_kinds(table):
    assert table("1,3\n2,-5\n", label=1).y.dtype == np.int64
    assert table("1,3\n2,5.5\n", label=1).y.dtype == np.float32
    assert table("1,3\n2,five\n", label=1).class_names == ("3", "five")
    assert table("1,1_0\n2,2_0\n", label=1).class_names == ("1_0", "2_0")
    with pytest.raises(FileFormatError, match="line 2: the label 99999999999999999999 is beyond int64"):
        table("1,3\n2,99999999999999999999\n", label=1)


@pytest.mark.parametrize("mark", ["", "NA", "n/a", "NaN", "null", "None", "?", "  "])
def test_missing_values(table, mark):
    text = f"a,b,kind\n1,2,x\n3,{mark},y\n"
    with pytest.raises(FileFormatError, match=r"line 3, column 2 \('b'\): the value is missing .*missing='nan'"):
        table(text, label="kind")
    data = table(text, label="kind", missing="nan")
    np.testing.assert_array_equal(data.x, np.array([[1, 2], [3, np.nan]], np.float32), strict=True)
    with pytest.raises(FileFormatError, match=r"line 2, column 3 \('kind'\): the label is missing"):
        table(f"a,b,kind\n1,2,{mark}\n", label="kind", missing="nan")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n\n", "is empty"),
        ("a,b\n", "has a header and no data"),
        ("1,2\n3\n", "line 2: 1 fields, expected 2 as in the first line; check the delimiter"),
        ("1,2\n\n3,4,5\n", "line 3: 3 fields"),
        ('1,"2\n3,4\n', "check the quotes"),
        ('1,"2"3\n', "check the quotes"),
        ("1,2\n3,1e999\n", "line 2, column 2: '1e999' is beyond float64"),
        ("a,b\n1,2\n3,1e99\n", r"line 3, column 2 \('b'\): 1e\+99 is beyond float32; pass dtype='float64'"),
        ("1,2\n1_000,3\n", "line 2, column 1: expected a number, got '1_000'"),
        ("1;2\n3;4\n", "expected a number"),
        (b"1,2\n3,\xff\xfe\n", "pass encoding="),
        (b"\x1f\x8b\x08\x00\x00", "unpack the file"),
        ("1," + "9" * 200_000 + "\n", "field larger than field limit"),
    ],
)
def test_damaged_tables(table, text, message):
    with pytest.raises(FileFormatError, match=r"t\.csv.*" + message):
        table(text, header=False if isinstance(text, str) and "a,b" not in text else "auto")


def test_other_options(table):
    assert table("1;2\n3;4\n", delimiter=";").x.tolist() == [[1, 2], [3, 4]]
    assert table("caf\xe9\n1\n".encode("latin-1"), encoding="latin-1").feature_names == ("café",)
    assert table("inf,-Infinity\n").x.tolist() == [[np.inf, -np.inf]]
    assert table("1,2\n", dtype="float64").x.dtype == np.float64
    with pytest.raises(ValueError, match="missing must be 'raise' or 'nan'"):
        table("1\n", missing="skip")
    with pytest.raises(ValueError, match="header must be True or False or 'auto'"):
        table("1\n", header="yes")
    with pytest.raises(FileNotFoundError):
        read_csv("no such file.csv")


def test_line_numbers_count_lines_of_the_file_not_records(table):
    with pytest.raises(FileFormatError, match="line 4, column 1"):
        table('1,"two\nlines"\n\nx,b\n', label=1)


@examples(300)
@given(data=st.data())
def test_mutated_tables_are_an_error_or_a_value(data):
    content = bytearray(b"a,b,kind\n1.5,2,x\n3,4,y\n-5,6e2,x\n")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        piece = st.binary(max_size=4) | st.sampled_from(
            [b'"', b",", b"\n", b"\r", b"\0", b"nan", b"1e999", b"\xef\xbb\xbf"]
        )
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(piece)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_bytes(content)
        try:
            read = read_csv(path, label=2, missing=data.draw(st.sampled_from(["raise", "nan"])))
        except FileFormatError as error:
            assert "t.csv" in str(error)
        except ValueError as error:
            assert "has no column" in str(error)
        else:
            assert len(read.x) == len(read.y) >= 1


@given(content=st.binary(max_size=60))
def test_any_bytes_are_an_error_or_a_value(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_bytes(content)
        try:
            assert len(read_csv(path)) >= 1
        except FileFormatError as error:
            assert "t.csv" in str(error)


def test_columns_delimiter_and_class_names_are_what_they_are(table):
    text = "a,k\n1,x\n2,y\n"
    for column in (True, 1.0):
        with pytest.raises(TypeError, match="label must be a str, an integer or None"):
            table(text, label=column)
    for names in (["x", "y", "x"], "xy", {"x", "y"}):
        with pytest.raises((ValueError, TypeError), match=r"class_names (is|must be) a sequence"):
            table(text, label="k", class_names=names)
    for delimiter in ("", ",,", None):
        with pytest.raises((ValueError, TypeError), match="delimiter must be"):
            table(text, label="k", delimiter=delimiter)


def test_a_first_line_that_is_half_names_names_the_remedy(table):
    text = "a,2020\n1,2\n"
    with pytest.raises(FileFormatError, match="pass header=True"):
        table(text)
    assert table(text, header=True).feature_names == ("a", "2020")
