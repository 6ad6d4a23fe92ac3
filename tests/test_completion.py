"""Completion: each shell offers what the grammar has, at every place of every command."""

import argparse
import shutil
import subprocess

import pytest

from tensorgraph.commands import cli
from tensorgraph.commands.cli import main
from tensorgraph.commands.completion import SHELLS, levels, script


def toy():
    """A grammar with all that grammars have: an argument before a command, choices, several values, odd texts."""
    top = argparse.ArgumentParser(prog="tensorgraph")
    top.add_argument("--secret", help=argparse.SUPPRESS)
    commands = top.add_subparsers()
    steer = commands.add_parser("steer", help="it's 100%% `safe` $HOME \\ (%(prog)s)")
    steer.add_argument("run")
    steer.add_argument("--sizes", nargs=2, type=int)
    steer.add_argument("--kinds", nargs="+", choices=("one", "two"))
    inner = steer.add_subparsers()
    put = inner.add_parser("put", help="a * and a ?")
    put.add_argument("name", choices=("lr", "beta*"))
    put.add_argument("files", nargs="*")
    inner.add_parser("halt")
    return top


def ask(shell, words, grammar, folder):
    """What a shell offers where the last of these words is typed; "FILES" stands for files."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (folder / "completion").write_text(script(shell, grammar), "utf-8")
    (folder / "file.txt").touch()
    if shell == "bash":
        code = """compgen() { echo FILES; }; complete() { :; }; source ./completion
                  COMP_WORDS=(tensorgraph "$@"); COMP_CWORD=$#; _tensorgraph; printf '%s\\n' "${COMPREPLY[@]}" """
        command = ["bash", "--norc", "-c", code, "bash", *words]
    elif shell == "zsh":
        code = """compdef() { :; }; _files() { print FILES; }; _describe() { shift; print -rl -- "${(@P)1}"; }
                  source ./completion; words=(tensorgraph "$@"); CURRENT=$(( $# + 1 )); _tensorgraph"""
        command = ["zsh", "-f", "-c", code, "zsh", *words]
    else:
        line = " ".join(["tensorgraph", *words])
        command = ["fish", "--no-config", "-c", "source ./completion; complete -C $argv[1]", line]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.stderr == "", done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    if shell == "zsh":  # which narrows by itself
        lines = [line.partition(":")[0] if line != "FILES" else line for line in lines]
        return [line for line in lines if line.startswith(words[-1]) or line == "FILES"]
    found = [line.partition("\t")[0] for line in lines]
    return ["FILES"] if shell == "fish" and "file.txt" in found else found


PLACES = [
    ([""], ["steer"]),
    (["st"], ["steer"]),
    (["steer", ""], ["FILES"]),
    (["steer", "run", ""], ["halt", "put"]),
    (["steer", "--sizes", "3", "4", "run", "p"], ["put"]),
    (["steer", "--sizes", ""], []),
    (["steer", "--kinds", "one", ""], ["one", "two"]),
    (["steer", "--kinds", "t"], ["two"]),
    (["steer", "run", "put", ""], ["beta*", "lr"]),
    (["steer", "run", "put", "lr", ""], ["FILES"]),
    (["steer", "run", "put", "lr", "a", "b", ""], ["FILES"]),
    (["steer", "run", "put", "-"], ["--help", "-h"]),
    (["steer", "run", "halt", ""], []),
    (["steer", "--si"], ["--sizes"]),
]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_kind_of_place(shell, tmp_path):
    for words, expected in PLACES:
        assert sorted(ask(shell, words, toy(), tmp_path)) == expected, words


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_offered_with_its_options(shell, tmp_path):
    grammar = cli.parser()
    found = list(levels(grammar))
    assert {"draw", "train", "completion"} <= {level.path for level in found}
    by_path = {level.path: level for level in found}
    for path, level in by_path.items():
        typed, outer = [], ""
        for name in path.split():  # an outer command's arguments come before the inner command
            typed += ["x" for argument in by_path[outer].arguments if not argument.opens] + [name]
            outer = f"{outer} {name}".strip()
        options = {name for names, _, _ in level.options for name in names}
        assert set(ask(shell, [*typed, "-"], grammar, tmp_path)) == options, path


def test_the_command_prints_a_script(capsys):
    for shell in SHELLS:
        assert main(["completion", shell]) == 0
        assert capsys.readouterr().out == script(shell, cli.parser())
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "tcsh"])
    assert stopped.value.code == 2


def test_what_is_hidden_is_not_offered():
    assert [
        name for level in levels(toy()) for names, _, _ in level.options for name in names if "secret" in name
    ] == []
