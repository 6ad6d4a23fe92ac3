"""`Op`: one frozen declaration of an operation, and the catalogue of them all.

A declaration says everything the rest of the library needs: name, inputs, attributes and outputs (from a one-line
signature), the forward on plain arrays, the shape rule, the derivative rules. How an op is *called* lives one room
up, in `declare.py`; this room knows avals only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, broadcast_shapes, canonical_axes, default_dtype
from tensorgraph.engine.recognition import Recognition
from tensorgraph.engine.signature import Signature
from tensorgraph.engine.traits import with_implied

__all__ = ["ALIASES", "CATALOGUE", "Kind", "Op", "Rule", "op_named", "saved_names", "usual_want"]

CATALOGUE: dict[str, Op] = {}
"""Every declared op by name."""

ALIASES: dict[str, Op] = {}
"""Ops by the further names of their functions."""


def op_named(name: str) -> Op | None:
    """The op of this name or further name."""
    return CATALOGUE.get(name) or ALIASES.get(name)


class Kind:
    """What ops of a family share: the name of the family and its shape rule.

    Parameters
    ----------
    name : str
        Shown in pictures and text; decides fusibility.
    infer : callable
        ``infer(op, avals, attrs) -> Aval or tuple of Aval``; `avals` holds an `Aval` for a tensor, the Python scalar
        itself for a weak scalar, None for an absent input and a list for a list input.
    traits : iterable of str
        What the family's name says of all its ops: see `tensorgraph.engine.traits`.
    large : str
        ``"module:function"`` of this package, loaded at first use, that makes kernels of functions of large arrays
        which are written with ops of the family. Eager calls of ops that say ``direct=True``, and their derivative
        rules, run those.
    """

    def __init__(
        self,
        name: str,
        infer: Callable[[Op, tuple[Any, ...], Mapping[str, Any]], Any] | None,
        traits: Iterable[str] = (),
        large: str = "",
    ) -> None:
        self.name = name
        self.infer = infer
        self.traits = with_implied(traits, f"the kind {name}")
        self.large = large

    def kernels_of(self, function: Callable[..., Any], values: Sequence[Any]) -> Callable[..., Any] | None:
        """What runs a function on arrays as these; None where the function itself does."""
        module, _, name = self.large.partition(":")
        made: Callable[..., Any] | None = getattr(import_module(f"tensorgraph.{module}"), name)(function, values)
        return made

    def __repr__(self) -> str:
        return f"Kind({self.name!r})"


class TypeCheck:
    """A check before a kernel that looks at types alone: that they are what the shape rule takes.

    A graph, whose types are known, does without it.
    """

    def __init__(self, infer: Callable[..., Any]) -> None:
        self.infer = infer

    def __call__(self, *values: Any, **attrs: Any) -> None:
        self.infer(*[self._aval(v) for v in values], **attrs)

    def _aval(self, value: Any) -> Any:
        return [self._aval(v) for v in value] if isinstance(value, list) else Aval(value.shape, value.dtype)


class Rule:
    """A derivative rule and the names of what it reads."""

    __slots__ = ("function", "params")

    def __init__(self, function: Callable[..., Any], params: tuple[str, ...]) -> None:
        self.function, self.params = function, params


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Op:
    """One operation: everything that is known of it.

    Attributes
    ----------
    signature : Signature
    forward : callable
        On plain arrays and scalars; returns one array, or a tuple of outputs followed by residuals.
    kind : Kind
    rules : mapping of input name to Rule or None
        None: no gradient is recorded for that input. Empty where `joint` is given.
    flat : tuple of str
        Inputs in which the derivative is zero wherever there is one, or through which none is meant to flow.
    unruled : tuple of str
        Inputs that have no rule and are not flat: a derivative that should flow through them would be lost.
    joint : Rule or None
        One rule for all inputs; its parameter ``want`` is a tuple of bools.
    residuals : tuple of str
        Names of what `forward` returns besides its outputs.
    residual_types : callable or None
        Their avals, as `infer_rule` gives those of the outputs. None: found by running the forward on ones.
    infix : str or None
        The Python operator, for printing; attached to Tensor.
    methods : tuple of str
        Names of Tensor methods that are this op.
    also : tuple of str
        Further names of the op's function, such as NumPy's; graphs and texts say the first.
    numpy : tuple
        NumPy functions that call this op when given a Tensor (a ufunc forward needs no mention).
    examples : tuple
        What tests call the op with: ``((inputs...), attrs)``, an input being a shape (filled with random numbers), an
        array, or a list of them. Elementwise ops and reductions need none.
    domain : tuple or dict
        ``(low, high)`` from which tests draw numbers, for all inputs or by name.
    oracle : callable or None
        The same values by another expression, on arrays of any float type: `tensorgraph.testing.check` evaluates it in
        a wider one. Not needed where NumPy has a function of the op's name.
    kinks : tuple of float
        Where the derivative jumps: tests keep away from these.
    dtype : str
        How the output's dtype follows: ``"promote"``, ``"float"``, ``"bool"``, ``"int"``, ``"same"``.
    scalar : callable or None
        For elementwise ops: one element of the output from one of each input, then the attributes by name, written with
        operators and the words of `tensorgraph.ops.kernels.scalar`. It is given numbers, arrays, and to compilers.
    teaches : mapping of input to (str, str)
        The gradient as a textbook writes it, as text and as LaTeX, where the rule is a kernel that shows nothing.
    reference : callable or None
        For fused ops: the same function composed of other ops.
    backward : callable or None
        For fused ops: the backward kernel.
    gradient, primal : Op or None
        Of a fused op the op ``name_vjp``, and of that the op whose gradient it is.
    flops : float or callable, optional
        Arithmetic operations. Every addition, multiplication, division, comparison, selection, root and exponential of
        the formula counts one, so a multiply-add is two. A number is per element: of the input of a reduction, of the
        first output otherwise. A callable gets what the shape rule gets and gives the whole count. By default 1 per
        element, 0 where numbers are only moved or made, and for a fused op the count of its reference.
    traits : frozenset of str
        What is true of every call, in the words of `tensorgraph.engine.traits`: those declared, those of its kind, and
        what follows from them.
    batch : callable or None
        The rule by which a batch of calls is one call; see `tensorgraph.engine.batching`. None: the kind's.
    recognise : Recognition or None
        For fused ops: how spellings of it are found; None: only the reference itself is.
    otherwise : callable or None
        What a call gives whose arguments are none of the op's own, such as tensors where it has attributes: gets the
        arguments by name, and gives NotImplemented where they are no other's either.
    further : (callable, tuple of str) or None
        A composition of ops, and its keywords that the op has not: a call with one of them is the composition, which
        gets all arguments by name.
    synonyms : mapping of str to str
        Further names of attributes, by keyword: ``{"min": "a_min"}``.
    scratch : float or callable
        Memory that the forward takes besides its outputs: in sizes of the outputs, or a callable that gives bytes. Of
        an op that is `direct` what its kernels take.
    native : str or callable or None
        What the compiler makes of a call: a rule that is given a `tensorgraph.native.places.Call`, by itself or as
        ``"module:function"`` of `tensorgraph.ops.native`, which is loaded at first use. None: the forward is called.
    on_numpy : str
        Where no rule is written: why compiled functions leave it to NumPy, for `explain()`.
    direct : bool
        Whether eager calls run these kernels too where there are some: see `tensorgraph.engine.direct`. Those of an
        elementwise op are made of its formula, and of its derivative rules, for large arrays.
    """

    signature: Signature
    forward: Callable[..., Any]
    kind: Kind
    rules: Mapping[str, Rule | None] = field(default_factory=dict)
    joint: Rule | None = None
    flat: tuple[str, ...] = ()
    residuals: tuple[str, ...] = ()
    infix: str | None = None
    methods: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    dtype: str = "promote"
    scalar: Callable[..., Any] | None = None
    infer_rule: Callable[..., Any] | None = None
    residual_types: Callable[..., Any] | None = None
    check: Callable[..., None] | None = None
    reference: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None
    domain: Any = None
    oracle: Callable[..., Any] | None = None
    kinks: tuple[float, ...] = ()
    examples: tuple[Any, ...] = ()
    numpy: tuple[Any, ...] = ()
    teaches: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    flops: Callable[..., float] | float | None = None
    scratch: Callable[..., float] | float = 0.0
    native: Callable[..., bool] | str | None = None
    on_numpy: str = ""
    direct: bool = False
    traits: frozenset[str] = frozenset()
    batch: Callable[..., Any] | None = None
    recognise: Recognition | None = None
    otherwise: Callable[..., Any] | None = None
    further: tuple[Callable[..., Any], tuple[str, ...]] | None = None
    synonyms: Mapping[str, str] = field(default_factory=dict)
    doc: str = ""
    unruled: tuple[str, ...] = field(init=False, default=())
    # set by `fused_op`, which declares both
    gradient: Op | None = field(default=None, init=False, repr=False)
    primal: Op | None = field(default=None, init=False, repr=False)
    # made on first use by `declare.py`: the functions that call the op, and its gradient on arrays
    calls: dict[str, Any] = field(default_factory=dict, repr=False)
    pull: Callable[..., None] = field(init=False, repr=False)

    @property
    def name(self) -> str:
        return self.signature.name

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.signature.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.signature.outputs

    @property
    def single(self) -> bool:
        """Whether it gives one value rather than a tuple."""
        return len(self.signature.outputs) == 1 and not self.signature.variadic

    @property
    def attrs(self) -> dict[str, Any]:
        """Attribute names and defaults."""
        return self.signature.attrs

    def native_rule(self) -> Callable[..., bool] | None:
        """The rule that makes kernels of a call; None where there is none."""
        if not isinstance(self.native, str):
            return self.native
        return _native_rule(self.native)

    @property
    def differentiable(self) -> bool:
        """Whether any input has a derivative rule."""
        if self.joint is not None:
            return True
        for rule in self.rules.values():  # noqa: SIM110 (Ctrl-C that comes within a generator is lost)
            if rule is not None:
                return True
        return False

    def among(self, *what: Op | str) -> bool:
        """Whether it is one of these ops or has one of these traits."""
        return self in what or not self.traits.isdisjoint(what)

    @property
    def has_shape_rule(self) -> bool:
        """Whether types follow from a rule, and not from running the forward on ones."""
        return self.infer_rule is not None or self.kind.infer is not None

    def infer(self, avals: tuple[Any, ...], attrs: Mapping[str, Any]) -> tuple[Aval, ...]:
        """Output avals from input avals: the shape rule.

        Raises
        ------
        ValueError, TypeError
            Saying what was expected and what came.
        """
        if self.infer_rule is not None:
            result = self.infer_rule(*avals, **attrs)
        elif self.kind.infer is not None:
            result = self.kind.infer(self, avals, attrs)
        else:
            result = tuple(
                Aval(np.shape(v), np.asarray(v).dtype) for v in run_on_ones(self, avals, attrs)[: len(self.outputs)]
            )
        return result if isinstance(result, tuple) else (result,)

    def infer_residuals(self, avals: tuple[Any, ...], attrs: Mapping[str, Any]) -> tuple[Aval, ...] | None:
        """The avals of what the forward gives besides its outputs; None where that is not all arrays."""
        if self.residual_types is None:
            values = run_on_ones(self, avals, attrs)[len(self.outputs) :]
            arrays = [np.asarray(v) for v in values]
            return (
                tuple(Aval(a.shape, a.dtype) for a in arrays) if all(a.dtype.kind in "fiub" for a in arrays) else None
            )
        result = self.residual_types(*avals, **attrs)
        return result if isinstance(result, tuple) else (result,)

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        """Apply inside the library: arrays give arrays, a Tensor anywhere gives Tensors. Users call `public`."""
        return self.calls["apply"](*args, **attrs)

    @property
    def public(self) -> Callable[..., Any]:
        """The function users call: always returns Tensors."""
        return self.calls["public"]  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"Op({self.name})"


@functools.cache
def _native_rule(name: str) -> Callable[..., bool]:
    """A rule by its module and name."""
    module, _, function = name.partition(":")
    rule: Callable[..., bool] = getattr(import_module(f"tensorgraph.ops.native.{module}"), function)
    return rule


def usual_want(declared: Op, avals: Sequence[Aval | None]) -> tuple[bool, ...]:
    """The attribute ``want`` of a fused op's gradient where all that may be is asked for: of each input of floats."""
    assert declared.primal is not None
    given = [*avals, *[None] * len(declared.inputs)][: len(declared.primal.inputs)]
    return tuple(aval is not None and aval.dtype.kind == "f" for aval in given)


def weak(value: Any) -> Any:
    """The Python type that stands for a weak scalar in NumPy's promotion, or the aval's dtype."""
    if isinstance(value, Aval):
        return value.dtype
    if type(value) is bool:
        return np.dtype(bool)
    return type(value)


def promote(*values: Any) -> np.dtype[Any]:
    """NumPy 2's promotion of avals and weak Python scalars; only scalars give the default dtypes."""
    dtypes = [v.dtype for v in values if isinstance(v, Aval)]
    scalars = [v for v in values if not isinstance(v, Aval) and v is not None]
    if not dtypes:
        if any(isinstance(s, float) for s in scalars):
            return default_dtype()
        return np.result_type(*[np.asarray(s).dtype for s in scalars])
    return settle(np.result_type(*dtypes, *scalars), dtypes)


def require_fit(dtype: np.dtype[Any], values: tuple[Any, ...]) -> None:
    """Refuse a weak integer outside the integer dtype it is to take: ufuncs do too, but only once there are numbers."""
    if dtype.kind in "iu":
        for v in values:
            if type(v) is int and not np.iinfo(dtype).min <= v <= np.iinfo(dtype).max:
                raise ValueError(f"the number {v} does not fit {dtype}, the dtype of what it meets; convert that first")


def settle(dtype: np.dtype[Any], given: list[np.dtype[Any]]) -> np.dtype[Any]:
    """NumPy's promotion with one difference: float64 comes only from float64.

    Where NumPy widens integers met by floats to float64, the floats' own dtype stays, or the default dtype. uint64 and
    signed integers have no integer dtype in common, which NumPy mends by float64: refused.
    """
    if dtype != np.float64 or np.dtype(np.float64) in given:
        return dtype
    floats = [d for d in given if d.kind == "f"]
    if floats:
        return np.result_type(*floats)
    signed = [d for d in given if d.kind == "i"]
    if signed and np.dtype(np.uint64) in given:
        raise TypeError(
            f"uint64 and {signed[0]} have no integer dtype in common; convert one of them, as in .astype('int64'), or "
            "both to a float dtype"
        )
    return default_dtype()


def float_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype a float function gives for this one: itself for floats, the default dtype otherwise."""
    return dtype if dtype.kind == "f" else default_dtype()


def _elementwise_infer(op: Op, avals: tuple[Any, ...], attrs: Mapping[str, Any]) -> Aval:
    shape = broadcast_shapes(*[a.shape for a in avals if isinstance(a, Aval)])
    if op.dtype == "bool":
        dtype: np.dtype[Any] = np.dtype(bool)
    else:
        if op.dtype == "float":
            floats = any(a.dtype.kind == "f" for a in avals if isinstance(a, Aval))
            return Aval(shape, promote(*avals) if floats else default_dtype())
        dtype = promote(*avals)
        ufunc = next((f for f in (op.forward, *op.numpy) if isinstance(f, np.ufunc)), None)
        if ufunc is not None:
            types = tuple(weak(a) for a in avals)
            if any(isinstance(t, np.dtype) for t in types):
                try:
                    dtype = ufunc.resolve_dtypes((*types, *[None] * ufunc.nout))[-1]
                except TypeError:
                    said = " and ".join(str(a.dtype) if isinstance(a, Aval) else type(a).__name__ for a in avals)
                    logic = {"u-": "; use ~x, or logical_not", "-": "; use a ^ b"}
                    hint = logic.get(op.infix or "", "") if "bool" in said else ""
                    raise TypeError(f"{op.name} is not defined for {said}{hint}") from None
                dtype = settle(dtype, [a.dtype for a in avals if isinstance(a, Aval)])
        require_fit(dtype, avals)
    return Aval(shape, dtype)


def reduced_shape(shape: tuple[int, ...], axis: Any, keepdims: bool) -> tuple[int, ...]:
    """The shape after a reduction over `axis`."""
    axes = canonical_axes(axis, len(shape))
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _reduction_infer(op: Op, avals: tuple[Any, ...], attrs: Mapping[str, Any]) -> Aval:
    x = avals[0]
    dtype = x.dtype
    if op.dtype == "bool":
        dtype = np.dtype(bool)
    elif op.dtype == "int":
        dtype = np.dtype(np.int64)
    elif op.dtype == "float":
        dtype = float_dtype(dtype)
    elif op.dtype == "sum":  # as NumPy: small integers are summed in 64 bits
        dtype = np.add.reduce(np.zeros(0, dtype)).dtype
    return Aval(reduced_shape(x.shape, attrs.get("axis"), bool(attrs.get("keepdims"))), dtype)


def run_on_ones(op: Op, avals: tuple[Any, ...], attrs: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the forward gives for ones of these types: the shape rule of an op that declares none."""

    def ones(a: Any) -> Any:
        if isinstance(a, list):
            return [ones(item) for item in a]
        return np.ones(a.shape, a.dtype) if isinstance(a, Aval) else a

    given = [ones(a) for a in avals]
    try:
        with np.errstate(all="ignore"):
            result = op.forward(*given, **attrs)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, AssertionError) as error:
        first = op.inputs[0] if op.inputs else "x"
        failure = ValueError(
            f"{error}. This came from the forward on arrays of ones: a graph needs the shape and dtype of what an op "
            f"gives, and {op.name} says nothing of them, so it was run to see. Declare them: infer_rule=lambda "
            f"{', '.join((*op.inputs, *op.signature.attrs))}: tensorgraph.spec({first}.shape, {first}.dtype), as fits"
        )
        raise failure from error
    return result if isinstance(result, tuple) else (result,)


elementwise = Kind("elementwise", _elementwise_infer, traits=("keeps order",), large="compile.eager:kernels_of")
reduction = Kind("reduction", _reduction_infer, traits=("reduces", "keeps order"))
shape = Kind("shape", None, traits=("moves", "analytic"))
index = Kind("index", None, traits=("refuses integers",))
contraction = Kind("contraction", None, traits=("keeps order",))
listing = Kind("list", None)
scan = Kind("scan", None, traits=("keeps order",))
creation = Kind("creation", None, traits=("moves", "keeps order"))
random = Kind("random", None, traits=("keeps order",))
fused = Kind("fused", None, traits=("keeps order",))
opaque = Kind("opaque", None)
structural = Kind("structural", None)


def rule_names(declared: Op, rule: Rule) -> set[str]:
    if rule.params == ("want", "*"):
        return set(declared.inputs)
    gs = {"g", "want", *(f"g_{o}" for o in declared.outputs)}
    # a parent knows its own shape and dtype, so an input's own aval is not kept; lists hold items without a parent
    lists = declared.signature.lists
    own = next((f"{n}_aval" for n, r in declared.rules.items() if r is rule and n not in lists), None)
    return {p for p in rule.params if p not in gs and p not in declared.attrs and p != own}


def saved_layout(declared: Op) -> tuple[str, ...]:
    """Names of everything that some rule needs, in a fixed order: the layout of ``node.saved``."""
    every = [r for r in (declared.joint, *declared.rules.values()) if r is not None]
    needed: set[str] = set().union(*[rule_names(declared, r) for r in every])
    order = (*declared.inputs, *declared.outputs, *declared.residuals, *(f"{i}_aval" for i in declared.inputs))
    return tuple(n for n in order if n in needed)


def saved_names(declared: Op, wanted: tuple[bool, ...]) -> set[str]:
    """What the rules of the wanted inputs need."""
    if declared.joint is not None:
        return rule_names(declared, declared.joint)
    names: set[str] = set()
    for name, want in zip(declared.inputs, wanted, strict=True):
        rule = declared.rules[name]
        if want and rule is not None:
            names |= rule_names(declared, rule)
    return names
