"""Graphs of one function at several sizes, longer or shorter, as one text of functions: their texts, laid side by side.

What a loop over a size does is the same text at every size but for numbers: ``range(13)`` at one, ``range(14)`` at
another, ``saved[12]`` and ``saved[13]``. A number that differs is an expression of the sizes, whatever else differs
makes other texts. Nothing here need be proved: whoever asks reads the text back and compares it with the graphs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from tensorgraph.text.functions import measured
from tensorgraph.text.lines import folded_line
from tensorgraph.text.sizes import Sample, SizeError, written
from tensorgraph.text.terms import Names

__all__ = ["aligned", "logical_lines"]

WIDTH = 110
PART = re.compile(
    r'("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]))'
)  # a string or a number
OPENS, CLOSES = "([{", ")]}"


Limits = Mapping[str, int]  # the least size that a dimension has


def aligned(samples: Sequence[Sample], dims: Sequence[str], growing: bool = True, limits: Limits | None = None) -> str:
    """The text of functions that these graphs share, with names in the place of sizes; see `measured`.

    Raises
    ------
    SizeError
        Where their texts differ in more than numbers that follow the sizes.
    """
    sizes, graphs = [given for given, _ in samples], [graph for _, graph in samples]
    told = [measured(graph, dims, growing) for graph in graphs]
    texts = [logical_lines(text) for text, _ in told]
    names = Names(sizes)
    if len({len(lines) for lines in texts}) > 1:
        raise SizeError(_apart(sizes, texts))
    found = []
    for alike in zip(*texts, strict=True):
        line = alike[0] if len(set(alike)) == 1 else _generalised(alike, names)
        if line is None:
            raise SizeError(_apart(sizes, texts))
        found.append(line)
    main = max(number for number, line in enumerate(found) if line.startswith("def "))
    found[main + 1 : main + 1] = [f"    assert {dim} >= {least}" for dim, least in (limits or {}).items()]
    return "\n".join(line for one in _bound(found, names, [own for _, own in told]) for line in _wrapped(one))


def logical_lines(text: str) -> list[str]:
    """The lines of a text, those that go on in brackets as one.

    Examples
    --------
    >>> logical_lines("y = f(\\n    a,\\n    b,\\n)\\nreturn y")
    ['y = f(a, b)', 'return y']
    """
    found: list[str] = []
    depth = 0
    for line in text.split("\n"):
        if depth:
            held, more = found[-1], line.strip()
            if more[:1] in CLOSES:
                found[-1] = held.removesuffix(",") + more
            else:
                found[-1] = f"{held}{'' if held[-1] in OPENS else ' '}{more}"
        else:
            found.append(line)
        said = PART.sub("", line)
        depth += sum(said.count(sign) for sign in OPENS) - sum(said.count(sign) for sign in CLOSES)
    return found


def _generalised(lines: Sequence[str], names: Names) -> str | None:
    """One line of all texts, each number that differs as an expression of the sizes; None where more differs."""
    parts = [PART.split(line) for line in lines]
    if len({len(own) for own in parts}) > 1:
        return None
    found: list[str] = []
    for place, alike in enumerate(zip(*parts, strict=True)):
        if len(set(alike)) == 1:
            found.append(alike[0])
            continue
        values = None if place % 2 == 0 or alike[0][0] in "\"'" else [ast.literal_eval(part) for part in alike]
        if values is None or len({type(value) for value in values}) > 1:
            return None
        said = names.of(tuple(values)) if type(values[0]) is int else names.of_floats(tuple(values))
        if said is None:
            return None
        before, behind = found[-1].rstrip()[-1:], parts[0][place + 1].lstrip()[:1]
        alone = said.isidentifier() or (before in "([,:=" and behind in ")],:")
        found.append(said if alone else f"({said})")
    return "".join(found)


def _apart(sizes: Sequence[Mapping[str, int]], texts: Sequence[list[str]]) -> str:
    """Where two of the texts part."""
    first = texts[0]
    for given, other in zip(sizes[1:], texts[1:], strict=True):
        for one, two in zip(first, other, strict=False):
            if PART.sub("0", one) != PART.sub("0", two):
                return f"{one.strip()} at {written(sizes[0])}, {two.strip()} at {written(given)}"
    return f"texts of {len(first)} lines at {written(sizes[0])}, and of others at other sizes"


# lines ----------------------------------------------------------------------------------------------------------------


def _wrapped(line: str) -> Iterator[str]:
    said = line.lstrip(" ")
    pad = line[: len(line) - len(said)]
    yield from (pad + one for one in folded_line(said, WIDTH - len(pad)))


def _bound(lines: Sequence[str], names: Names, sizes: Sequence[Mapping[str, list[tuple[str, int]]]]) -> Iterator[str]:
    """The lines, with ``N = x.shape[0]`` behind the head of each function that reads such a name."""
    starts = [number for number, line in enumerate(lines) if line.startswith("def ")]
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        head, body = lines[start], lines[start + 1 : stop]
        yield head
        said = " ".join(PART.sub("", line) for line in body)
        function = head.removeprefix("def ").partition("(")[0]
        for dim in names.dims:
            if re.search(rf"(?<![\w.]){dim}\b", said):
                known = [dict(own.get(function, [])) for own in sizes]
                columns = ((place, [own.get(place) for own in known]) for place in known[0])
                place = next((place for place, column in columns if column == names.column[dim]), None)
                if place is None:
                    raise SizeError(f"no argument has the size {dim} in {head}")
                yield f"    {dim} = {place}"
        yield from body
