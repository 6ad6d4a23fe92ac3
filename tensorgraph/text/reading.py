"""Text to Python's own syntax tree, in bounded time and memory; nothing is ever executed."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import tokenize
import warnings

from tensorgraph.text.errors import ParseError

__all__ = ["MOST_CHARACTERS", "column_of", "lines_of", "syntax"]

MARK = "\ufeff"  # that a text is Unicode: some editors write it at the head of a file
MOST_CHARACTERS = 50_000_000
MOST_DEPTH = 60  # brackets in brackets, blocks in blocks
MOST_TOKENS = 2_000_000  # each takes Python's parser up to a kilobyte
MOST_ON_A_LINE = 5_000_000  # characters of one statement; the head of a function declares all its cells
MOST_OPERATORS = 1_000  # in one statement: Python's parser goes as deep
MOST_DIGITS = 400  # of one number

OPENING, CLOSING = frozenset("([{"), frozenset(")]}")
WORDY = frozenset({"not", "lambda", "if", "else", "and", "or", "await", "in", "is"})


def lines_of(text: str) -> list[str]:
    """The lines of a text as Python counts them: a form feed or an exotic separator ends none."""
    return text.removeprefix(MARK).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def column_of(line: str, offset: int) -> int:
    """The column in a line, from 1 on: Python's syntax tree counts bytes, people letters."""
    return len(line.encode()[:offset].decode(errors="ignore")) + 1


def syntax(text: str, file: str = "<text>") -> ast.Module:
    """The syntax tree of a text.

    Raises
    ------
    ParseError
        For what is no Python, and for texts so large or so deeply nested that reading them could exhaust the machine.
    """
    if not isinstance(text, str):
        raise TypeError(f"parse takes a string, got {type(text).__name__}; to read a file use tensorgraph.load_graph")
    if len(text) > MOST_CHARACTERS:
        raise ParseError(f"a text has at most {MOST_CHARACTERS:,} characters, got {len(text):,}", file=file)
    lines = lines_of(text)
    text = "\n".join(lines)

    def error(message: str, line: int, column: int) -> ParseError:
        line = min(max(line, 1), len(lines))
        return ParseError(message, line, max(column, 1), lines[line - 1], file)

    odd = re.search("[\0\ud800-\udfff]", text)
    if odd is not None:
        what = "null characters" if odd[0] == "\0" else f"lone surrogates, and here is U+{ord(odd[0]):X}"
        before = text[: odd.start()]
        raise error(f"a text has no {what}", before.count("\n") + 1, len(before.rsplit("\n", 1)[-1]) + 1)
    try:
        with contextlib.suppress(tokenize.TokenError):  # something is not closed: Python says it better
            _measure(text, error)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an invalid escape in a string
            return ast.parse(text, file)
    except ParseError:
        raise
    except SyntaxError as found:  # IndentationError and TabError are among them
        raise error(f"this is not Python: {found.msg}", found.lineno or 1, found.offset or 1) from None
    except (RecursionError, MemoryError, ValueError, OverflowError) as found:
        raise error(f"this cannot be read: {found or type(found).__name__}", 1, 1) from None


def _measure(text: str, error: object) -> None:
    """Refuse what would take Python's parser very deep, from the tokens alone."""
    assert callable(error)
    depth = operators = blocks = began = 0
    try:
        for number, token in enumerate(tokenize.generate_tokens(io.StringIO(text).readline)):
            if number > MOST_TOKENS:
                raise error(f"a text has at most {MOST_TOKENS:,} names, numbers and signs", *_place(token))
            if token.type in (tokenize.COMMENT, tokenize.NL):
                continue
            if token.type == tokenize.OP:
                if token.string in OPENING:
                    depth += 1
                elif token.string in CLOSING:
                    depth -= 1
                elif token.string not in (",", ":", "=", "->"):
                    operators += 1
            elif token.type == tokenize.INDENT:
                blocks += 1
            elif token.type == tokenize.DEDENT:
                blocks -= 1
            elif token.type == tokenize.NEWLINE:
                operators = began = 0
                continue
            elif token.type == tokenize.NAME and token.string in WORDY:
                operators += 1
            elif token.type == tokenize.NUMBER and len(token.string) > MOST_DIGITS:
                raise error(f"a number has at most {MOST_DIGITS} digits", *_place(token))
            began += len(token.string)
            if depth > MOST_DEPTH or blocks > MOST_DEPTH:
                raise error(f"nested more than {MOST_DEPTH} deep", *_place(token))
            if operators > MOST_OPERATORS:
                raise error(f"more than {MOST_OPERATORS:,} operators in one statement: break it up", *_place(token))
            if began > MOST_ON_A_LINE:
                raise error(f"a statement of more than {MOST_ON_A_LINE:,} characters: break it up", *_place(token))
    except IndentationError as found:
        raise error(f"this is not Python: {found.msg}", found.lineno or 1, found.offset or 1) from None


def _place(token: tokenize.TokenInfo) -> tuple[int, int]:
    return token.start[0], token.start[1] + 1
