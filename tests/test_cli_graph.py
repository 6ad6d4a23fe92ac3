"""``tensorgraph draw``, ``diff`` and ``lint``: targets of every form, exit codes, errors in one line."""

import json
import os
import subprocess
import sys

import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.commands import graphs, targets
from tensorgraph.commands.cli import main
from tensorgraph.commands.errors import CommandError
from tensorgraph.viz import api
from tensorgraph.viz.render.save import SUFFIXES

MODULE = """
import helper_of_nets
import tensorgraph as tg
from tensorgraph import nn

def small():
    return nn.Sequential(nn.Linear(4, 6, seed=0), nn.ReLU(), nn.Linear(6, 3, seed=1))

def large():
    return nn.Sequential(nn.Linear(4, 6, seed=0), nn.Tanh(), nn.Linear(6, 3, seed=1)), tg.f32[8, 4]

def listed():
    return small(), [tg.f32[2, 4]]

def bad(x):
    return tg.log(tg.softmax(x)).mean()

def good(x):
    return tg.log_softmax(x).mean()

number = 3
"""
TEXT = """
def scale(x: f32[N, 4]):
    return tanh(x) * 2.0
"""
HARMFUL = "import os\nos.remove('precious')\ndef f(x: f32[3]):\n    return x\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "cli_nets.py").write_text(MODULE)
    (tmp_path / "helper_of_nets.py").write_text("")
    (tmp_path / "scale.tg.py").write_text(TEXT)
    (tmp_path / "precious").write_text("")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in ("cli_nets", "helper_of_nets"):
        sys.modules.pop(name, None)


def run(capsys, *arguments):
    code = main(list(arguments))
    told = capsys.readouterr()
    return code, told.out, told.err


def refused(capsys, *arguments, lines=1):
    """The one line of a command that cannot be done; of a text that is wrong its place too."""
    code, out, err = run(capsys, *arguments)
    assert code == 2 and err.count("\n") == lines and err.startswith("tensorgraph: ") and out == "", (code, out, err)
    return err


# ---- targets


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cli_nets:small", "-i", "f32[5,4]"], "5x3 f32"),
        (["cli_nets:small", "--example", "5x4:f32"], "5x3 f32"),
        (["cli_nets:large"], "tanh"),
        (["cli_nets:listed"], "2x3 f32"),
        (["cli_nets.py:small", "-i", "f32[5,4]"], "5x3 f32"),
        ([os.path.join(".", "cli_nets.py") + ":large"], "tanh"),
        (["scale.tg.py", "--at", "N=7"], "7x4 f32"),
        (["scale.tg.py:scale", "--at", "N=7"], "7x4 f32"),
        (["cli_nets:bad", "-i", "f32[2,3]", "--level", "training"], "softmax~grad"),
        (["cli_nets:small", "-i", "f32[5,4]", "--level", "op", "--overlay", "flops"], "240 (48%)"),
        (["cli_nets:small", "-i", "f32[5,4]", "--level", "op", "--focus", "1/relu", "--hops", "0"], "1/relu"),
    ],
)
def test_targets_of_every_form_are_drawn(folder, capsys, arguments, expected):
    code, out, _ = run(capsys, "draw", *arguments)
    assert code == 0 and expected in out, out


def test_a_file_imports_what_lies_beside_it_from_anywhere(folder, capsys, monkeypatch):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, out, _ = run(capsys, "draw", str(folder / "cli_nets.py") + ":large")
    assert code == 0 and "tanh" in out


def test_a_text_is_never_executed(folder, capsys):
    (folder / "harmful.tg.py").write_text(HARMFUL)
    for command in ("draw", "lint"):
        refused(capsys, command, "harmful.tg.py", lines=3)
    refused(capsys, "diff", "harmful.tg.py", "harmful.tg.py", lines=3)
    assert (folder / "precious").exists()


def test_a_command_is_no_line_of_the_users(folder, capsys):
    assert main(["draw", "cli_nets:small", "-i", "f32[5,4]", "--format", "json"]) == 0
    assert "graphs.py:" not in capsys.readouterr().out


def test_targets_that_are_not_there(folder, capsys):
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "raises.py").write_text("raise RuntimeError('not today')\n")
    for arguments, message in (
        (["nothing"], "neither a file nor module:name"),
        (["cli_nets:"], "neither a file nor module:name"),
        (["cli_nets.py"], "say what of 'cli_nets.py' is meant: cli_nets.py:make_net"),
        (["lost.py:f"], "there is no file 'lost.py'"),
        (["lost.tg.py"], "No such file"),
        (["cli_nets:nothing"], "'cli_nets' has no 'nothing'"),
        (["broken.py:f"], "SyntaxError"),
        (["raises.py:f"], "not today"),
        (["cli_nets:number"], "got int"),
        (
            ["cli_nets:small"],
            "its arguments are needed (missing a required argument: 'x'): add for each one such as -i f32",
        ),
        (["cli_nets:small", "-i", "f32[5,4]", "--overlay", "heat"], "overlay must be one of"),
        (["cli_nets:small", "-i", "f32[5,4]", "--focus", "9"], "focus='9' is no box"),
        (["cli_nets:small", "-i", "f32[5,4]", "-o", "net.xyz"], "saved by its suffix"),
    ):
        assert message in refused(capsys, "draw", *arguments)
    assert "raises" not in sys.modules and "broken" not in sys.modules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f32[64,784]", tg.f32[64, 784]), ("f32[64, 784]", tg.f32[64, 784]), ("i64[8]", tg.i64[8]),
        ("bool[2]", tg.bool_[2]), ("f32[]", tg.f32[()]), ("float64[3,]", tg.f64[3]), ("64x784:f32", tg.f32[64, 784]),
        ("8", tg.spec((8,))), ("()", tg.spec(())), ("0x3", tg.spec((0, 3))),
    ],
)  # fmt: skip
def test_types_are_read(text, expected):
    assert targets.example(text) == expected


@pytest.mark.parametrize("text", ["f32[a]", "f31[3]", "3xq", "f32[3", "[3]", "-1", "f32[-1]", "3:c64", "f32[1.5]"])
def test_types_that_are_none_exit_with_2(text, capsys):
    with pytest.raises(SystemExit) as told:
        main(["draw", "a:b", f"--example={text}"])
    assert told.value.code == 2 and "is no type; write a dtype and sizes" in capsys.readouterr().err


def test_sizes_are_read(capsys):
    assert targets.size("N=32") == ("N", 32)
    for text in ("N", "N=", "N=x", "=3", "N=-1", "1=3"):
        with pytest.raises(SystemExit):
            main(["draw", "a.tg.py", "--at", text])
        assert "is no size of a dimension" in capsys.readouterr().err


def test_what_the_grammar_offers_is_what_there_is():
    assert graphs.LEVELS == api.LEVELS
    assert tuple(f".{name}" for name in graphs.FORMATS) == SUFFIXES
    assert issubclass(CommandError, Exception)


# ---- where drawings go


def test_standard_output_and_formats(folder, capsysbinary):
    target = ["draw", "cli_nets:large"]
    assert main([*target, "-o", "-"]) == 0
    svg = capsysbinary.readouterr()
    assert svg.out.startswith(b"<svg") and svg.out.rstrip().endswith(b"</svg>")
    assert main([*target, "-o", "-", "--format", "dot"]) == 0
    assert capsysbinary.readouterr().out.startswith(b"digraph")
    assert main([*target, "--format", "json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["title"].startswith("Sequential")
    assert main([*target, "-o", "picture", "--format", "dot"]) == 0
    assert (folder / "picture").read_bytes().startswith(b"digraph")
    assert b"written to picture" in capsysbinary.readouterr().out
    assert main([*target, "-o", "net.mmd", "--theme", "dark"]) == 0 and (folder / "net.mmd").stat().st_size > 50


def test_a_drawing_is_written_whole_or_not_at_all(folder, capsys):
    (folder / "old.svg").write_text("old")
    refused(capsys, "draw", "cli_nets:nothing", "-o", "old.svg")
    assert (folder / "old.svg").read_text() == "old"
    assert "does not exist; create it first" in refused(capsys, "draw", "cli_nets:large", "-o", "nowhere/net.txt")


# ---- diff


def test_diff_tells_by_its_exit_code(folder, capsys):
    same = ["cli_nets:small", "cli_nets.py:small", "-i", "f32[8,4]"]
    assert run(capsys, "diff", *same) == (0, "", "")
    code, out, err = run(capsys, "diff", "cli_nets:small", "cli_nets:large", "-i", "f32[8,4]")
    assert code == 1 and err == "" and out.startswith("--- Sequential: 5 equations\n+++ Sequential: 5 equations\n")
    assert "\n- " in out and "\n+ " in out and "relu(" in out and out.endswith("1 added, 1 removed, 1 changed\n")
    assert run(capsys, "diff", "-q", "cli_nets:small", "cli_nets:large", "-i", "f32[8,4]") == (1, "", "")
    for arguments, message in (
        (["cli_nets:small", "cli_nets:nothing", "-i", "f32[8,4]"], "has no 'nothing'"),
        (["cli_nets:small", "cli_nets:number", "-i", "f32[8,4]"], "is no graph, model or function but int"),
        (["cli_nets:small", "cli_nets:small", "-i", "f32[8,5]"], "takes 4 features"),
    ):
        assert message in refused(capsys, "diff", *arguments)


def test_a_text_that_leaves_sizes_open_is_looked_at_with_some(folder, capsys):
    note = "note: scale is looked at with N=2; --at N=64 takes another size\n"
    code, out, err = run(capsys, "draw", "scale.tg.py")
    told = "note: a template: counts, bytes and figures are those of N = 2\n"
    assert (code, err) == (0, told) and "Nx4 f32" in out and "2x4" not in out
    code, out, err = run(capsys, "draw", "scale.tg.py", "--at", "N=7")
    assert (code, err) == (0, "") and "7x4 f32" in out
    assert run(capsys, "lint", "scale.tg.py")[2] == note
    assert run(capsys, "diff", "scale.tg.py", "scale.tg.py") == (0, "", note * 2)


def test_diff_of_texts_and_pictures(folder, capsys):
    (folder / "new.tg.py").write_text(TEXT.replace("2.0", "3.0"))
    code, out, _ = run(capsys, "diff", "scale.tg.py", "new.tg.py", "--at", "N=2", "-o", "difference.dot")
    assert code == 1 and "b: 2.0 -> 3.0" in out and "written to difference.dot" in out
    assert "~ multiply" in (folder / "difference.dot").read_text()
    code, out, err = run(capsys, "diff", "scale.tg.py", "new.tg.py", "--at", "N=2", "-o", "-", "--format", "txt")
    assert code == 1 and "b: 2.0 -> 3.0" in err and "~ multiply" in out
    code, out, _ = run(capsys, "diff", "scale.tg.py", "scale.tg.py", "--at", "N=2", "-o", "same.txt")
    assert code == 0 and (folder / "same.txt").exists()


def test_diff_of_a_saved_model(folder, capsys):
    model = nn.Sequential(nn.Linear(4, 6, seed=0), nn.ReLU(), nn.Linear(6, 3, seed=1))
    tg.save(folder / "model.safetensors", model)
    assert main(["diff", "model.safetensors", "cli_nets:small", "-i", "f32[8,4]"]) == 0


# ---- lint


def test_lint_tells_by_its_exit_code(folder, capsys):
    code, out, _ = run(capsys, "lint", "cli_nets:good", "-i", "f32[8,10]")
    assert (code, out) == (0, "no findings\n")
    code, out, _ = run(capsys, "lint", "cli_nets:bad", "-i", "f32[8,10]")
    assert code == 1 and "TG003" in out and "cli_nets.py" in out
    code, out, _ = run(capsys, "lint", "cli_nets:bad", "-i", "f32[8,10]", "--format", "json")
    assert code == 1 and [finding["id"] for finding in json.loads(out)] == ["TG003"]
    assert run(capsys, "lint", "cli_nets:bad", "-i", "f32[8,10]", "--ignore", "TG003")[0] == 0
    assert "TG999" in refused(capsys, "lint", "cli_nets:bad", "-i", "f32[8,10]", "--ignore", "TG999")
    assert "lint: target must be a Graph, a Template or callable" in refused(capsys, "lint", "cli_nets:number")
    assert run(capsys, "lint", "scale.tg.py", "--at", "N=2")[0] == 0


# ---- help


@pytest.mark.parametrize("command", ["draw", "diff", "lint"])
def test_help_has_examples_and_says_what_a_target_is(command, capsys):
    with pytest.raises(SystemExit) as told:
        main([command, "--help"])
    out = capsys.readouterr().out
    assert told.value.code == 0 and f"tensorgraph {command} " in out.split("examples")[1]
    assert "model.tg.py" in out and "never executed" in out and "imported" in out
    assert command == "draw" or "Exit code: 0" in out


def test_the_codes_reach_the_shell(folder):
    command = [sys.executable, "-m", "tensorgraph", "diff", "scale.tg.py", "other.tg.py", "--at", "N=2"]
    (folder / "other.tg.py").write_text(TEXT.replace("tanh", "exp"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 1 and "exp(x)" in done.stdout and done.stderr == ""
