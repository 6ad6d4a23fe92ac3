"""`tensorgraph.lint`: faults of a graph that can be seen without running it.

A rule says what is there, why it is a fault, and what to do; where the repair changes no value but by rounding it gives
the rewritten graph too. Rules are meant to be silent on what is right: a form that can be right as well as wrong is no
finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from tensorgraph.analysis.lint import (  # noqa: F401  (register their rules)
    choice,
    loss,
    normalisation,
    numbers,
    random,
    softmax,
    use,
)
from tensorgraph.analysis.lint.findings import RULES, Finding, Findings
from tensorgraph.analysis.lint.view import View
from tensorgraph.arguments import checked
from tensorgraph.graph.graph import Graph, Source
from tensorgraph.graph.keywords import inner, refuse_strangers
from tensorgraph.graph.trace import trace
from tensorgraph.text.template import Template

__all__ = ["RULES", "Finding", "Findings", "lint"]


@checked
def lint(
    target: Graph | Template | Callable[..., Any], /, *examples: Any, ignore: str | Iterable[str] = (), **keywords: Any
) -> Findings:
    """Look for faults in a graph, a function, a module or a whole training step.

    Parameters
    ----------
    target : Graph, Template or callable
        A callable is traced first: see `tensorgraph.trace`. Of a Module, parameters that its forward never reads are
        found too.
    *examples
        What to trace the callable with: tensors, arrays, or `tensorgraph.spec` values.
    ignore : iterable of str
        Rules to leave out, by id or by name: ``("TG003", "unused-input")``.
    **keywords
        Examples of arguments that the function takes by name.

    Returns
    -------
    Findings
        A list of `Finding`, each with id, message, the user's line, remedy, and a rewrite where it is exact; false
        where there are none; ``str()`` reads like a compiler's output.

    Raises
    ------
    TypeError
        For something else than a graph or a callable, and for examples beside a graph.
    ValueError
        For a rule to ignore that there is not.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.analysis.lint import lint
    >>> found = lint(lambda x: tg.log(tg.softmax(x)).mean(), tg.spec((8, 10)))
    >>> found.ids
    ('TG003',)
    >>> graph = tg.trace(lambda x: tg.log(tg.softmax(x)), tg.spec((8, 10)))
    >>> [eq.op.name for eq in lint(graph)[0].rewrite(graph).equations]
    ['log_softmax']
    >>> bool(lint(tg.log_softmax, tg.spec((8, 10))))
    False
    """
    ignored = {_rule_id(name) for name in ((ignore,) if isinstance(ignore, str) else ignore)}
    if isinstance(target, Template):
        target, examples = target.instance(*examples), ()
    if isinstance(target, Graph):
        if examples or keywords:
            raise TypeError("lint(graph) takes no examples: a graph has its types; pass the function to trace it anew")
        view = View(target)
    elif callable(target):
        owner = target if hasattr(target, "named_parameters") else getattr(target, "__self__", None)
        refuse_strangers("lint", target, keywords, ("ignore",))
        graph: Any = trace(target, *examples, **keywords)
        view = View(graph.example() if isinstance(graph, Template) else graph, _place(target), owner)
    else:
        raise TypeError(f"lint takes a graph, or a function and examples for it, got {type(target).__name__}")
    order = {id(eq): i for i, eq in enumerate(view.graph.equations)}
    lines: dict[Any, int] = {}  # the first equation of each line
    for eq in view.graph.equations:
        lines.setdefault(eq.source, order[id(eq)])
    found = [finding for id_, rule in sorted(RULES.items()) if id_ not in ignored for finding in rule.look(view)]
    return Findings(sorted(found, key=lambda finding: lines.get(finding.source, -1)))


def _rule_id(name: str) -> str:
    """The id of a rule given by id or name."""
    names = {rule.name: id_ for id_, rule in RULES.items()}
    if isinstance(name, str) and (name in RULES or name in names):
        return names.get(name, name)
    close = get_close_matches(str(name), [*RULES, *names], 1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; rules are {', '.join(sorted(RULES))}"
    raise ValueError(f"ignore: there is no rule {name!r}{hint}")


def _place(function: Any) -> Source | None:
    """Where a function begins."""
    function = inner(function)
    if hasattr(function, "named_parameters"):
        function = type(function).forward if hasattr(type(function), "forward") else None
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return None if code is None else Source(code.co_filename, code.co_firstlineno, code.co_qualname)
