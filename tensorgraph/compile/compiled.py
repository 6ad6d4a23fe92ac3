"""`compile`, and the `Compiled` function that it gives: what the user holds.

A call takes the shortest way that is right: where the arguments are those of the last call but for their numbers, and
nothing moved, the runner runs. Otherwise the signature is looked up, guards are compared, and if need be the function
is traced.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Annotated, Any, overload

from tensorgraph.arguments import Kind, checked
from tensorgraph.compile.collecting import uncollected
from tensorgraph.compile.direct import UNLIKE, DirectCall, direct_call
from tensorgraph.compile.early import early
from tensorgraph.compile.entry import Entry
from tensorgraph.compile.host_steps import WideInteger
from tensorgraph.compile.laying import Room
from tensorgraph.compile.resizing import Resizing
from tensorgraph.compile.runner import Options
from tensorgraph.compile.signatures import Leaves, Signature, arrays_of, difference
from tensorgraph.compile.statistics import Statistics
from tensorgraph.compile.tracing import Traced, TypeAsked, trace_call
from tensorgraph.engine import modes
from tensorgraph.engine.aval import default_dtype
from tensorgraph.engine.open_sizes import OpenSize
from tensorgraph.engine.operands import Borrowed
from tensorgraph.engine.tensor import TraceError
from tensorgraph.engine.tree import leaf_paths, unflatten
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.inline import inline
from tensorgraph.graph.keywords import in_order, name_of_function, named_arguments

__all__ = ["Compiled", "RecompileError", "compile"]

LOGGER = logging.getLogger("tensorgraph.compile")
MOST_SIGNATURES, MOST_VARIANTS = 64, 8  # that are kept; the oldest goes first
OFTEN = 8  # traces for what has changed, after which the log warns
# what is tried to be static where a trace needs numbers: Python's, and the size of the batch
NUMBERS: tuple[frozenset[type], ...] = (
    frozenset({int}),
    frozenset({int, float}),
    frozenset({int, float, OpenSize}),
)
current = modes.current


class RecompileError(RuntimeError):
    """A function that was compiled with ``fail_on_recompile=True`` would have to be traced again."""


def _function(value: Any, kind: Kind) -> Any:
    if isinstance(value, type):
        kind.refuse(value, f"make one: {value.__name__}(...)")
    return value if callable(value) else kind.refuse(value)


Traceable = Annotated[Callable[..., Any], Kind("a function of tensors, or a Module", _function)]


class Compiled:
    """A function that is traced once a signature and then run by its plan. Made by `tensorgraph.compile`.

    Attributes
    ----------
    function : callable
        The one that was given.
    stats : Statistics
        Traces, signatures, runs, seconds, and why it was traced again.
    """

    def __init__(self, function: Any, options: Options, fail_on_recompile: bool = False) -> None:
        self.function = function
        self.options = options
        self.fail_on_recompile = fail_on_recompile
        self.stats = Statistics()
        self._entries: dict[Signature, list[Entry]] = {}
        self._prepared: list[Resizing] = []
        self._fixed: frozenset[type] = frozenset()
        self._orders: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._last: tuple[DirectCall, Any, Any] | None = None  # of calls like the last, and its mode and dtype
        self._lock, self._room = threading.RLock(), Room()
        functools.update_wrapper(self, function, updated=())
        if not hasattr(function, "__name__"):
            self.__name__ = name_of_function(function)
        ALL.add(self)

    # calls ----------------------------------------------------------------------------------------------------------

    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        last = self._last
        if last is not None and not keywords:
            call, like, dtype = last
            mode = current()
            same = mode is like or (
                mode.plain
                and mode.grad is like.grad
                and mode.implementation == like.implementation
                and mode.watched is like.watched
                and mode.pulled is like.pulled
            )
            if same and default_dtype() is dtype:
                try:
                    result = call(args)
                except WideInteger:  # nothing has been written
                    return self.function(*args)
                if result is not UNLIKE:
                    return result
        try:
            return self._call(args, keywords)
        except WideInteger:
            return self.function(*args, **keywords)

    def _call(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        mode = current()
        if mode.trace is not None or mode.cells is not None:
            return self.function(*args, **keywords)  # it becomes a part of what is traced
        if len(keywords) > 1:
            keywords = self._in_order(keywords)
        leaves = Leaves(args, keywords, self._fixed)
        entry, leaves = self._entry(leaves, args, keywords)
        if leaves.cells:
            entry.refuse(leaves.cells, self.__name__)
        if entry.adds_to_grads(leaves.tensors):
            return self.function(*args, **keywords)
        self.stats.runs += 1
        if entry.records or mode.debug_nans:
            pulling = entry.pulling
            once = pulling is not None and mode.plain and mode.watched == () and mode.pulled == ()
            if once and pulling is not None and not keywords:
                run = functools.partial(pulling.run, lent=[type(t) is Borrowed for t in leaves.tensors])
                call = direct_call(entry, args, self._fixed, run)
                self._last = None if call is None else (call, mode, default_dtype())
            return entry.evaluate(leaves.tensors)
        if any(type(place) is int for place, _ in entry.traced.left):  # gradients of arguments
            return entry.run_with_grads(arrays_of(leaves.tensors), leaves.tensors)
        if keywords:
            return entry.run(arrays_of(leaves.tensors))
        kinds = tuple(map(type, args))
        if kinds not in entry.direct:
            entry.direct[kinds] = direct_call(entry, args, self._fixed)
        call = entry.direct[kinds]
        if call is not None:
            self._last = call, mode, default_dtype()
        return entry.run(arrays_of(leaves.tensors))

    def _in_order(self, keywords: dict[str, Any]) -> dict[str, Any]:
        """Arguments by name as the graph has them, in whatever order they are given."""
        given = tuple(keywords)
        order = self._orders.get(given)
        if order is None:
            order = self._orders[given] = tuple(in_order(self.function, keywords))
        return keywords if order == given else {name: keywords[name] for name in order}

    def _entry(self, leaves: Leaves, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Entry, Leaves]:
        """The entry of a signature whose guards hold, or a new one; and the leaves as it takes them."""
        with self._lock:
            known = self._entries.get(leaves.signature, [])
            why = None
            for entry in known:
                change = None if entry.holds() else entry.change()
                if change is None:
                    known.remove(entry)
                    known.insert(0, entry)
                    return entry, leaves
                why = why or change
            if self._entries and why is None:
                latest = next(reversed(self._entries.values()))[0]
                why = difference(latest.leaves, leaves, self._names(args, keywords))
            return self._trace(leaves, args, keywords, why)

    def _trace(self, leaves: Leaves, args: Any, keywords: Any, why: str | None) -> tuple[Entry, Leaves]:
        name = self.__name__
        resized = self._resized(leaves)
        if resized is not None:
            self.stats.resized += 1
            LOGGER.info("%s: planned for other sizes, not traced: %s", name, why)
            return self._keep(resized, leaves), leaves
        if why is not None:
            if self.fail_on_recompile:
                raise RecompileError(
                    f"{name} would be traced again: {why}; pass what changes as an argument or keep it in a "
                    "tensorgraph.Buffer, or leave out fail_on_recompile=True"
                )
            self.stats.retraces.append(why)
        with early():  # and no decorator, whose frame would be taken for the caller's
            entry, leaves = self._new(leaves, args, keywords)
        self.stats.traces += 1
        level = logging.WARNING if len(self.stats.retraces) == OFTEN and len(self._entries) < OFTEN else logging.INFO
        LOGGER.log(
            level, "%s: traced%s (%d equations, %d ms)", name, "" if why is None else f" again: {why}",
            len(entry.graph.equations), round(1000 * sum(self.stats.seconds.values())),
        )  # fmt: skip
        slow = [guard.what for guard in entry.guards.guards if guard.is_slow]
        if slow:
            LOGGER.warning(
                "%s: %s is compared before every call, and it is large: pass it as an argument, make a tensor or a "
                "tensorgraph.Buffer of it, or make the array read-only", name, ", ".join(slow),
            )  # fmt: skip
        return self._keep(entry, leaves), leaves

    def _keep(self, entry: Entry, leaves: Leaves) -> Entry:
        variants = self._entries.setdefault(leaves.signature, [])
        variants.insert(0, entry)
        del variants[MOST_VARIANTS:]
        if len(self._entries) > MOST_SIGNATURES:
            del self._entries[next(iter(self._entries))]
        self.stats.signatures = len(self._entries)
        self._last = None
        return entry

    @uncollected()
    def _resized(self, leaves: Leaves) -> Entry | None:
        """An entry made of that of a call which differs in the size of its batch alone, if nothing has changed."""
        for known in self._templates(leaves):
            if not known.holds():
                continue
            with self.stats.timed("transform"):
                made = known.at(leaves)
            if made is not None:
                return Entry(made, self.options, self.stats, self._room)
        return None

    def _templates(self, leaves: Leaves) -> Iterator[Resizing]:
        """What was traced for calls that differ from this one in sizes alone."""
        entries = (entry.resizing for entries in self._entries.values() for entry in entries)
        yield from (known for known in (*self._prepared, *entries) if leaves.differs_in_sizes(known.leaves))

    # parts of other traces ------------------------------------------------------------------------------------------

    def prepare(self, *args: Any) -> Graph:
        """Trace the function for arguments of these types, unless a trace of other sizes says what it does there.

        Nothing is planned: calls of any size go on from that, and so does what is traced with `inlined` in it.

        Returns
        -------
        Graph
            What the function does, as it was traced.

        Raises
        ------
        TraceError
            As a call.
        """
        with self._lock:
            leaves = Leaves(args, {}, self._fixed)
            for known in self._templates(leaves):
                graph = known.within(leaves.tensors, None) if known.holds() else None
                if graph is not None:
                    return graph
            with self.stats.timed("tracing"):
                traced = trace_call(self.function, (args, {}), self._fixed)
            self.stats.traces += 1
            self._prepared.insert(0, Resizing(traced, leaves))
            del self._prepared[MOST_VARIANTS:]
            return traced.graph

    def inlined(self, *args: Any) -> Any:
        """What the function gives where another one is traced: its own trace becomes a part of that, if it has one."""
        trace: Any = modes.current().trace
        if trace is None:
            return self.function(*args)
        with self._lock:
            leaves = Leaves(args, {}, self._fixed)
            for known in self._templates(leaves):
                traced = known.traced
                with modes.use(trace=None, cells=None):  # settings of layers are numbers there
                    fits = not traced.found and not traced.left and known.holds()
                graph = known.within(leaves.tensors, trace.sizes) if fits else None
                if graph is None:
                    continue
                if trace.watcher is not None:
                    trace.watcher.adopt(traced)
                outputs, written = inline(graph, leaves.tensors, [cell.read() for cell in traced.cells])
                place = {decl.var: cell for decl, cell in zip(graph.cells, traced.cells, strict=True)}
                for write, value in zip(graph.writes, written, strict=True):
                    place[write.cell].assign(value)
                return unflatten(traced.returned or graph.out_tree, outputs)
        return self.function(*args)

    def _new(self, leaves: Leaves, args: Any, keywords: Any) -> tuple[Entry, Leaves]:
        """An entry for a call. Where the function needs a number while it is traced, numbers become static."""
        error: Exception | None = None
        for fixed in (self._fixed, *(more for more in NUMBERS if not more <= self._fixed)):
            if error is not None:
                again = Leaves(args, keywords, fixed)
                if OpenSize in fixed:
                    if isinstance(error, TraceError) and not isinstance(error, TypeAsked):
                        break  # sizes say themselves where they are looked at
                elif again.signature == leaves.signature:
                    continue
                leaves = again
            try:
                with self.stats.timed("tracing"):
                    traced = trace_call(self.function, (args, keywords), fixed, self._like(leaves))
            except Exception as refused:  # any code may refuse a traced number, in words that are not the number's
                error = refused
                continue
            self._fixed = fixed
            return Entry(Resizing(traced, leaves), self.options, self.stats, self._room), leaves
        assert error is not None
        raise error

    def _like(self, leaves: Leaves) -> Traced | None:
        """A trace of a call that differs in sizes alone, if nothing has changed since."""
        return next((known.traced for known in self._templates(leaves) if known.holds()), None)

    def _names(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> list[str]:
        """What the leaves of the arguments are called."""
        from tensorgraph.engine.tree import flatten

        pairs = [*zip(named_arguments(self.function, args), args, strict=True), *keywords.items()]
        return [path for name, value in pairs for path in leaf_paths(flatten(value)[1], name)]

    # looking --------------------------------------------------------------------------------------------------------

    def _latest(self) -> Entry:
        if not self._entries:
            raise RuntimeError(f"{self.__name__} has not been called yet: call it once, then look at what was compiled")
        return next(reversed(self._entries.values()))[0]

    @property
    def graph(self) -> Graph:
        """The graph that was compiled last, after all passes."""
        return self._latest().graph

    @property
    def source(self) -> str:
        """What runs, as Python text, of the graph that was compiled last.

        Kernels' calls with all their words and the kernels, or where NumPy runs all, the function that does.
        """
        return self._latest().runner.source

    def explain(self) -> str:
        """What passes have changed, what runs where, and why; of what was compiled last."""
        entry = self._latest()
        return f"{entry.graph.explain()}\n{entry.runner.explain()}"

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}: {self.stats.traces} traces, {self.stats.runs} runs>"

    # methods, copies ------------------------------------------------------------------------------------------------

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        raise TypeError(
            f"the compiled function {self.__name__} is neither pickled nor copied, as its plan belongs to this process "
            "and to these parameters: pickle or copy the function itself, compiled.function, and compile that"
        )

    def __copy__(self) -> Any:
        return self.__reduce__()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.__reduce__()


ALL: weakref.WeakSet[Compiled] = weakref.WeakSet()


def _after_fork() -> None:
    """A lock that another thread held is nobody's in the child."""
    for compiled in [*ALL]:
        compiled._lock = threading.RLock()
        compiled._room.lock = threading.RLock()
        compiled._last = None
        for entry in (entry for entries in compiled._entries.values() for entry in entries):
            entry.lock = compiled._room.lock
            entry.direct.clear()  # which hold the lock that was


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@overload
def compile(
    function: Callable[..., Any],
    *,
    check: bool = ...,
    exact: bool = ...,
    fail_on_recompile: bool = ...,
    wait: bool = ...,
) -> Compiled: ...
@overload
def compile(
    function: None = ..., *, check: bool = ..., exact: bool = ..., fail_on_recompile: bool = ..., wait: bool = ...
) -> Callable[[Callable[..., Any]], Compiled]: ...
@checked
def compile(
    function: Traceable | None = None,
    *,
    check: bool = False,
    exact: bool = False,
    fail_on_recompile: bool = False,
    wait: bool = True,
) -> Any:
    """The function compiled: traced once for each signature, transformed, planned, and run without its Python.

    Results, random numbers, effects on parameters, buffers and gradients, and errors are those of the function itself;
    a call that fails changes nothing.

    Parameters
    ----------
    function : callable
        Of tensors, arrays, numbers, and nested containers of them: a model, a loss with its gradients, a whole training
        step. Left out, a decorator with these options is given.
    check : bool
        Compare each kernel with NumPy on live data at its first use.
    exact : bool
        Have the bits of kernels the same on all machines that run them: no product is left to BLAS, and vectors are of
        32 bytes also where the processor has wider ones.
    fail_on_recompile : bool
        Raise `RecompileError`, saying why, instead of tracing a second time.
    wait : bool
        Compile before the first call returns. With False NumPy runs the graph at first, and kernels from the first call
        after they were compiled, which a thread does meanwhile. From which call on depends on the machine, and so do
        the last bits: leave it out where a training is to be repeated exactly.

    Returns
    -------
    Compiled
        Called as the function. ``stats``, ``graph``, ``source`` and ``explain()`` say what was done.

    Raises
    ------
    TraceError
        At the first call, where the function needs the numbers of a tensor, or changes what it reads.

    Notes
    -----
    What the function reads besides its arguments is watched: where a global, a variable of a function around it, an
    attribute, a module's mode, or the numbers of a captured array are others, it is traced again, and the logger
    ``tensorgraph.compile`` says why.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import nn, optim
    >>> model = nn.Linear(2, 1, seed=0)
    >>> adam = optim.Adam(model, lr=0.1)
    >>> @tg.compile
    ... def step(x, y):
    ...     loss = tg.mse(model(x), y)
    ...     adam.minimize(loss)
    ...     return loss
    >>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> losses = [step(x, tg.tensor([[1.0], [0.0]])).item() for _ in range(50)]
    >>> losses[-1] < losses[0], step.stats.traces
    (True, 1)
    """
    if exact and not wait:
        raise ValueError(
            "exact=True asks for the same bits at every call, and with wait=False the first ones run on NumPy, which "
            "has others: leave one of them out"
        )
    options = Options(check, exact, wait)
    if function is None:
        return lambda f: compile(f, check=check, exact=exact, fail_on_recompile=fail_on_recompile, wait=wait)
    if isinstance(function, Compiled):
        function = function.function
    return Compiled(function, options, fail_on_recompile)
