"""Configurations: where each key of a TOML file stands, and errors that name file, line and key."""

import datetime
import tomllib

import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph.arguments import Count, Positive
from tensorgraph.commands.config import read_config
from tensorgraph.commands.errors import CommandError
from tensorgraph.commands.toml_lines import lines_of

TEXT = '''\
# a comment with = and [brackets]
title = "a # in a string"   # and a comment after
"quoted.key" = 1
a.b."c d" = 2
a.b.e = """
several "lines" = [1]
\\""" still inside
""""
lit = \'\'\'
[not.a.table]
\'\'\'

[table]
x = [1, [2,
  3], {y = 4, z.w = 5},  # in an array
  "]",
]
when = 1979-05-27T07:32:00Z

[table.inner]  # nested
k = {a = {b = [
    {c = 1},
]}}

[[many]]
n = 1
[many.part]
m = 2
[[many]]
n = 3
[[many.deep]]
o = 4
[[many.deep]]
o = 5
[ spaced . "k" ]
p=-1
'''


def test_each_key_has_its_line():
    tomllib.loads(TEXT)
    found = lines_of(TEXT)
    assert {path: found[path] for path in [
        ("title",), ("quoted.key",), ("a",), ("a", "b", "c d"), ("a", "b", "e"), ("lit",), ("table",), ("table", "x"),
        ("table", "x", 1, 1), ("table", "x", 2, "y"), ("table", "x", 2, "z", "w"), ("table", "x", 3), ("table", "when"),
        ("table", "inner"), ("table", "inner", "k", "a", "b", 0, "c"), ("many",), ("many", 0, "n"),
        ("many", 0, "part", "m"), ("many", 1), ("many", 1, "n"), ("many", 1, "deep", 0, "o"),
        ("many", 1, "deep", 1, "o"), ("spaced", "k", "p"),
    ]} == {
        ("title",): 2, ("quoted.key",): 3, ("a",): 4, ("a", "b", "c d"): 4, ("a", "b", "e"): 5, ("lit",): 9,
        ("table",): 13, ("table", "x"): 14, ("table", "x", 1, 1): 15, ("table", "x", 2, "y"): 15,
        ("table", "x", 2, "z", "w"): 15, ("table", "x", 3): 16, ("table", "when"): 18, ("table", "inner"): 20,
        ("table", "inner", "k", "a", "b", 0, "c"): 22, ("many",): 25, ("many", 0, "n"): 26,
        ("many", 0, "part", "m"): 28, ("many", 1): 29, ("many", 1, "n"): 30, ("many", 1, "deep", 0, "o"): 32,
        ("many", 1, "deep", 1, "o"): 34, ("spaced", "k", "p"): 36,
    }  # fmt: skip
    assert set(found) == set(paths(tomllib.loads(TEXT)))


def paths(value, path=()):
    """The paths of everything in what TOML gave."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


words = st.text(st.sampled_from("ab#=[]{}.,'\"\\\n é"), max_size=4)
leaves = st.one_of(words, st.integers(), st.booleans(), st.just(datetime.date(2020, 1, 2)), st.floats(allow_nan=False))
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(words, v, max_size=3), max_leaves=8)


def quoted(text):
    return '"' + "".join(f"\\u{ord(c):04x}" if c in '"\\\n' else c for c in text) + '"'


def written(value, newline):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)} = {written(v, '')}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        inside = "".join(f"{newline}{written(v, newline)},{newline}" for v in value)
        return f"[{inside}]"
    if isinstance(value, str):
        return quoted(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


@given(st.dictionaries(words, values, max_size=4), st.sampled_from(["", " ", "\n", "# ]}'\n"]))
@examples(80)
def test_the_scanner_finds_what_tomllib_reads(document, newline):
    text = "".join(f"{quoted(key)} = {written(value, newline)}\n" for key, value in document.items())
    found, read = lines_of(text), tomllib.loads(text)
    assert set(found) == set(paths(read))
    for key in read:  # a key stands on the line that begins with it
        assert text.split("\n")[found[(key,)] - 1].startswith(quoted(key))


@pytest.fixture
def config(tmp_path):
    def make(text):
        path = tmp_path / "run.toml"
        path.write_text(text, "utf-8")
        return read_config(path)

    return make


def test_values_are_held_to_their_kinds(config):
    top = config("[model]\nsize = 3\nfile = 'nets/a.tg.py'\nkind = 'big'\n[more]\nanything = 1\n")
    model = top.section("model")
    assert model.take("size", Count) == 3 and model.take("lr", Positive, 0.5) == 0.5
    assert model.choose("kind", ["big", "small"]) == "big"
    assert model.file_of("file").parts[-2:] == ("nets", "a.tg.py") and model.file_of("none", None) is None
    assert top.section("more").rest() == {"anything": 1}
    assert top.section("not there", {}).take("x", int, 7) == 7
    top.close()


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("a = 1\n\n[model]\nsize = 'x'", lambda t: t.section("model").take("size", Count),
         "line 4: model.size must be a positive integer, got 'x'"),
        ("[model]\nsize = 0", lambda t: t.section("model").take("size", Count), "line 2: model.size must be"),
        ("[model]\nsize = true", lambda t: t.section("model").take("size", Count), "line 2: model.size must be"),
        ("\nmodel = 3", lambda t: t.section("model"), "line 2: model must be a table, [model], got 3"),
        ("[model]", lambda t: t.section("model").take("file", str), "line 1: [model] needs the key 'file': write"),
        ("[model]\nflie = 3", lambda t: t.section("model").take("file", str),
         "line 2: [model] needs the key 'file': 'flie' stands there; did you mean 'file'?"),
        ("x = 1", lambda t: t.section("model"), "run.toml: [model] is missing"),
        ("[model]\nkind = 'bgi'", lambda t: t.section("model").choose("kind", ["big", "small"]),
         "line 2: model.kind is 'bgi'; did you mean 'big'?"),
        ("[model]\nkind = 'x'", lambda t: t.section("model").choose("kind", ["big", "small"]),
         "line 2: model.kind is 'x'; there are big, small"),
        ("[a]\n[a.b]\nc = 1\n'ä' = 2", lambda t: t.section("a").section("b").take("c", int) and t.close(),
         "line 4: [a.b] has no key 'ä'; there are c"),
        ("epochs = 1\nepcohs = 2", lambda t: t.take("epochs", int) and t.close(),
         "line 2: the file has no key 'epcohs'; did you mean 'epochs'?"),
    ],
)  # fmt: skip
def test_errors_name_the_file_the_line_and_the_key(config, text, read, message):
    with pytest.raises(CommandError) as told:
        read(config(text))
    assert message in str(told.value) and "run.toml" in str(told.value)


def test_what_is_no_toml_is_told_with_its_place(config, tmp_path):
    with pytest.raises(CommandError, match=r"run\.toml: .*line 2"):
        config("a = 1\nb = = 2")
    with pytest.raises(CommandError, match="is not UTF-8"):
        (tmp_path / "bad.toml").write_bytes(b"a = '\xff'")
        read_config(tmp_path / "bad.toml")
    with pytest.raises(CommandError, match="it is no configuration"):
        config("# " + "x" * (1 << 20))
    with pytest.raises(CommandError, match="nested too deep"):
        config("a = " + "[" * 100_000 + "]" * 100_000)
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path / "no.toml")
