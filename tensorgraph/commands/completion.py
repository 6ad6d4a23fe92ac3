"""``tensorgraph completion``: what bash, zsh and fish complete, made from the grammar itself.

A script walks the words before the cursor as the grammar would: an option takes its values, a word at a command's place
opens that command, any other counts as an argument. Three tables say what there is: the options of a command, the kind
of an option's value, the kind of each argument. A kind is ``file``, ``none`` or lines of a word, a tab and its help.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["SHELLS", "Level", "add_completion", "levels", "script"]

MANY = 99  # values, of an option that takes as many as there are


@dataclass(frozen=True)
class Value:
    """What stands at a place: ``file``, ``none``, or one of some words with their help; and how often."""

    kind: str
    words: tuple[tuple[str, str], ...] = ()
    times: int = 1
    opens: bool = False  # whether the words are commands


@dataclass(frozen=True)
class Level:
    """A command by its path, such as ``panda set``: its options with the value that each takes, and its arguments."""

    path: str
    options: tuple[tuple[tuple[str, ...], str, Value | None], ...]
    arguments: tuple[Value, ...]


def levels(parser: argparse.ArgumentParser, path: str = "") -> Iterator[Level]:
    """Every command of a grammar, outer ones first."""
    options: list[tuple[tuple[str, ...], str, Value | None]] = []
    arguments: list[Value] = []
    inner: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: _line(choice.help) for choice in action._choices_actions}
            words = tuple((name, told.get(name, "")) for name in action.choices)
            arguments.append(Value("words", words, opens=True))
            inner += action.choices.items()
        elif action.option_strings:
            value = None if action.nargs == 0 else _value(action)
            options.append((tuple(action.option_strings), _line(action.help), value))
        else:
            arguments.append(_value(action))
    yield Level(path, tuple(options), tuple(arguments))
    for name, sub in inner:
        yield from levels(sub, f"{path} {name}".strip())


def _value(action: argparse.Action) -> Value:
    """Numbers and what a function reads are not completed; any other text may be a file."""
    times = action.nargs if isinstance(action.nargs, int) else MANY if action.nargs in ("*", "+", "...") else 1
    if action.choices is not None:
        return Value("words", tuple((str(choice), "") for choice in action.choices), times)
    return Value("file" if action.type is None else "none", times=times)


def _line(text: str | None) -> str:
    """A help text in a line, without argparse's placeholders."""
    return " ".join((text or "").replace("(%(default)s)", "").replace("%%", "%").split())


# ---- the three tables, as cases of a shell


def _tables(grammar: list[Level]) -> dict[str, list[tuple[list[str], str]]]:
    """Of each table, which keys have which content."""
    found: dict[str, list[tuple[list[str], str]]] = {"options": [], "values": [], "arguments": []}
    for level in grammar:
        lines = [f"{name}\t{told}" for names, told, _ in level.options for name in names]
        found["options"].append(([level.path], "\n".join(lines)))
        for names, _, value in level.options:
            if value is not None:
                found["values"].append(([f"{level.path}/{name}" for name in names], _content(value)))
        for k, value in enumerate(level.arguments):
            places = [str(i) for i in range(k, k + value.times)] if value.times < MANY else ["*"]
            found["arguments"].append(([f"{level.path}/{place}" for place in places], _content(value)))
    return found


def _content(value: Value) -> str:
    """The kind, how many values, and the words."""
    first = "open" if value.opens else value.kind
    return "\n".join((f"{first} {value.times}", *(f"{word}\t{told}" for word, told in value.words)))


def _posix(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _pattern(key: str) -> str:
    """A key as a pattern of a POSIX shell, where what is quoted stands for itself."""
    return _posix(key.removesuffix("*")) + ("*" if key.endswith("/*") else "")


def _posix_tables(grammar: list[Level]) -> str:
    said = []
    for table, rows in _tables(grammar).items():
        cases = "\n".join(
            f"    {'|'.join(_pattern(key) for key in keys)}) found={_posix(text)} ;;" for keys, text in rows
        )
        said.append(f'_tensorgraph_{table}() {{\n  case "$1" in\n{cases}\n    *) found=; return 1 ;;\n  esac\n}}\n')
    return "\n".join(said)


# in bash and zsh: the words are gone through, and `found` is what may stand at the cursor, its first line the kind
WALK = r"""
_tensorgraph_walk() {
  local current=$1 command= kind= place=0 left=0 word head
  shift
  local values=
  for word in "$@"; do
    if [ "$word" = "=" ]; then continue; fi
    if [ "$left" -gt 0 ] && [ "${word#-}" = "$word" ]; then left=$((left - 1)); continue; fi
    left=0
    if [ "${word#-}" != "$word" ]; then
      if [ "${word#*=}" = "$word" ] && _tensorgraph_values "$command/$word"; then
        values=$found; head=${found%%$'\n'*}; left=${head#* }
      fi
      continue
    fi
    _tensorgraph_arguments "$command/$place"
    head=${found%%$'\n'*}
    if [ "${head% *}" = "open" ]; then command="${command:+$command }$word"; place=0; else place=$((place + 1)); fi
  done
  if [ "$left" -gt 0 ] && [ "${current#-}" = "$current" ]; then found=$values; return; fi
  if [ "${current#-}" != "$current" ]; then _tensorgraph_options "$command"; found="words 1"$'\n'"$found"; return; fi
  _tensorgraph_arguments "$command/$place" || found="none 1"
}
"""

BASH = r"""
_tensorgraph() {
  local found current=${COMP_WORDS[COMP_CWORD]}
  [ "$current" = "=" ] && current=
  _tensorgraph_walk "$current" "${COMP_WORDS[@]:1:COMP_CWORD-1}"
  local line
  COMPREPLY=()
  case "${found%% *}" in
    file)
      compopt -o filenames 2>/dev/null
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current") ;;
    words|open)
      while IFS= read -r line; do
        line=${line%%$'\t'*}
        case "$line" in "$current"*) COMPREPLY+=("$line") ;; esac
      done <<< "${found#*$'\n'}" ;;
  esac
}
complete -F _tensorgraph tensorgraph
"""

ZSH = r"""
_tensorgraph() {
  local found line
  local -a told
  _tensorgraph_walk "${words[CURRENT]}" "${(@)words[2,CURRENT-1]}"
  case "${found%% *}" in
    file) _files ;;
    words|open)
      for line in "${(@f)${found#*$'\n'}}"; do
        told+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
      done
      _describe 'tensorgraph' told ;;
  esac
}
compdef _tensorgraph tensorgraph
"""

FISH = r"""
function __tensorgraph_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l command ''
  set -l place 0
  set -l left 0
  set -l values
  for word in $words[2..-1]
    if test $left -gt 0; and not string match -q -- '-*' $word
      set left (math $left - 1)
      continue
    end
    set left 0
    if string match -q -- '-*' $word
      if not string match -q -- '*=*' $word
        set values (__tensorgraph_values "$command/$word")
        if test -n "$values[1]"
          set left (string split ' ' $values[1])[2]
        end
      end
      continue
    end
    set -l found (__tensorgraph_arguments "$command/$place")
    if string match -q 'open *' -- "$found[1]"
      set command (string trim "$command $word")
      set place 0
    else
      set place (math $place + 1)
    end
  end
  set -l found
  if string match -q -- '-*' $current
    __tensorgraph_options "$command"
    return
  else if test $left -gt 0
    set found $values
  else
    set found (__tensorgraph_arguments "$command/$place")
  end
  switch "$found[1]"
    case 'file *'
      __fish_complete_path $current
    case 'words *' 'open *'
      printf '%s\n' $found[2..-1]
  end
end
complete -c tensorgraph -f -a '(__tensorgraph_complete)'
"""


def _fish_tables(grammar: list[Level]) -> str:
    said = []
    for table, rows in _tables(grammar).items():
        cases = "\n".join(
            f"    case {' '.join(_fish(key) for key in keys)}\n      printf '%s\\n' {_fish_lines(text)}"
            for keys, text in rows
        )
        said.append(f'function __tensorgraph_{table}\n  switch "$argv[1]"\n{cases}\n  end\nend\n')
    return "\n".join(said)


def _fish_lines(text: str) -> str:
    return " ".join(_fish(line) for line in text.split("\n"))


SHELLS = ("bash", "zsh", "fish")


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """What a shell reads to complete the command.

    Parameters
    ----------
    shell : str
        "bash", "zsh" or "fish".
    parser : argparse.ArgumentParser
        The grammar.
    """
    grammar = list(levels(parser))
    if shell == "fish":
        return f"# tensorgraph: completion for fish\n{_fish_tables(grammar)}{FISH}"
    head = "#compdef tensorgraph\n" if shell == "zsh" else "# tensorgraph: completion for bash\n"
    return f"{head}{_posix_tables(grammar)}{WALK}{ZSH if shell == 'zsh' else BASH}"


def add_completion(commands: Any, grammar: Callable[[], argparse.ArgumentParser]) -> None:
    """Add it to the grammar, which it asks for when it runs, so that commands added later are there too."""
    completion = commands.add_parser(
        "completion", help="print what a shell reads to complete this command",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="to have it in every new shell\n"
        '  bash   echo \'eval "$(tensorgraph completion bash)"\' >> ~/.bashrc\n'
        '  zsh    echo \'eval "$(tensorgraph completion zsh)"\' >> ~/.zshrc    (after compinit)\n'
        "  fish   tensorgraph completion fish > ~/.config/fish/completions/tensorgraph.fish",
    )  # fmt: skip
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(command=lambda options: print(script(options.shell, grammar()), end=""))
