"""Derivatives of functions: `grad`, `value_and_grad`, `vjp`, `jvp`, `linearize`, `jacobian`, `jacfwd`,
`hessian`, `hvp`.

Arguments are arrays, tensors, and nested lists, tuples and dicts of them; results are Tensors in the same structure.
Every transform gives its arguments names of their own (an alias, or a fresh leaf), so nesting is right: a derivative
inside a derivative sees partials with respect to its own names, and the outer one sees totals.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import Kind, brief, checked, shown
from tensorgraph.engine import modes
from tensorgraph.engine.aval import default_dtype
from tensorgraph.engine.backward import cotangent, wanted_outside
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.exits import watching
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.engine.tree import flatten, leaf_paths, unflatten
from tensorgraph.ops.creation import zeros
from tensorgraph.ops.shape import reshape, transpose
from tensorgraph.ops.structure import alias, stop_gradient
from tensorgraph.transforms.custom import nothing
from tensorgraph.transforms.pulling import pull
from tensorgraph.transforms.refusals import CellArguments, name_of, require_one, require_tensors
from tensorgraph.transforms.rows import rows

__all__ = ["grad", "hessian", "hvp", "jacfwd", "jacobian", "jacrev", "jvp", "linearize", "value_and_grad", "vjp"]


# what has one of these is an array, also where it can be iterated over (`typecode`: Python's own `array`)
ARRAYS = ("dtype", "__array__", "__array_interface__", "__dlpack__", "typecode")


def _every(value: Any, kind: Kind) -> Any:
    """Arguments in a row; an array, whose rows would be taken for them, is one of them."""
    if any(hasattr(value, name) for name in ARRAYS):
        kind.refuse(value, "of one argument it is (x,)")
    return value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else kind.refuse(value)


Every: TypeAlias = Annotated[Sequence[Any], Kind("a tuple or a list of all arguments", _every, (tuple, list))]


def _lift(value: Any, what: str) -> Tensor:
    """An argument under a name of its own."""
    trace = modes.current().trace
    if isinstance(value, Cell) and modes.current().cells is not None:
        value = value.read()
    if hasattr(value, "named_cells"):
        raise TypeError(
            f"{what}: got the module {type(value).__name__}; make a function of its parameters: "
            "f, parameters = tensorgraph.functional(model)"
        )
    if not isinstance(value, Tensor):
        known = isinstance(value, (str, bytes)) or any(hasattr(value, name) for name in ARRAYS)
        if isinstance(value, Iterable) and not known:
            raise TypeError(
                f"{what}: expected a tensor, an array, a number, or a list, a tuple, a dict or a dataclass of these, "
                f"got {shown(value)}, which a transform does not look into; make a list of it"
            )
        if type(value) is float:
            value = np.asarray(value, default_dtype())
        try:
            array = as_array(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}: {error}") from None
        value = wrap(array.copy() if array is value else array)
    if value.dtype.kind != "f":
        raise TypeError(f"{what}: derivatives need float arguments, got {value.aval}; convert with .astype('float32')")
    if trace is not None:
        return trace.lift(value)
    if value._node is not None and modes.current().grad:  # in no_grad what is made here has no history behind it
        return alias.public(value)  # type: ignore[no-any-return]
    t = wrap(value._value)
    t._node = Leaf(t.shape, t.dtype, user=False)
    return t


def lift_tree(tree: Any, what: str) -> tuple[Any, list[Tensor], Any]:
    leaves, treedef = flatten(tree)
    paths = leaf_paths(treedef)
    lifted = [_lift(leaf, f"{what} {path}".strip()) for leaf, path in zip(leaves, paths, strict=True)]
    return unflatten(treedef, lifted), lifted, treedef


def _require_positions(numbers: Sequence[int], argnums: Any, args: Sequence[Any], name: str) -> None:
    """Refuse numbers of arguments that a call does not have, or has twice."""
    if len({n % len(args) for n in numbers if args}) != len(numbers):
        raise ValueError(f"argnums {argnums} names an argument of {name} twice, or {name} got no arguments")
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise TypeError(f"argnums={n}: {name} got {len(args)} positional arguments")


def _call(
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    has_aux: bool,
    lifted: Sequence[Tensor],
    cells: CellArguments,
) -> tuple[Any, Any]:
    with watching(lifted), cells.watched():
        result = function(*args, **kwargs)
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError("has_aux=True: the function must return a pair (output, auxiliary)")
    return result


def _results(out: Any, name: str, cells: CellArguments) -> tuple[list[Tensor], Any]:
    """What a function gave, as tensors, and how they are nested."""
    ys, out_tree = flatten(out)
    require_tensors(ys, name)
    ys = [y if isinstance(y, Tensor) else wrap(as_array(y)) for y in ys]
    cells.refuse_unused(ys, name)
    return ys, out_tree


def _close(lifted: Sequence[Tensor]) -> None:
    """The transform is over: nobody will want the gradient of its own leaves any more."""
    for t in lifted:
        if type(t._node) is Leaf:
            t._node.live = False


def _leave(tree: Any, lifted: Sequence[Tensor]) -> Any:
    """Results as they leave a transform: with their history only where it reaches something outside."""
    leaves, treedef = flatten(tree)
    tensors = [t for t in leaves if isinstance(t, Tensor)]
    trace = modes.current().trace
    if trace is not None and not modes.current().grad:
        floats = [t for t in tensors if t.dtype.kind == "f" and not isinstance(t._value, np.ndarray)]
        varying = {id(t) for t in floats if t._value in trace.varying}
        return unflatten(treedef, [stop_gradient.public(t) if id(t) in varying else t for t in leaves])
    if trace is not None or wanted_outside(tensors, lifted):
        return tree
    bare = [wrap(t._value) if isinstance(t, Tensor) and not isinstance(t, Cell) else t for t in leaves]
    return unflatten(treedef, bare)


@checked
def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the value of a scalar function and its gradient.

    Parameters
    ----------
    function : callable
        Returns a tensor of one element; with `has_aux`, a pair (that tensor, anything).
    argnums : int or sequence of int
        Which positional arguments to differentiate; each may be a nested container.
    has_aux : bool

    Returns
    -------
    callable
        ``(value, gradient)``, or ``((value, aux), gradient)``. The gradient has the argument's structure; for several
        `argnums` it is a tuple.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> params = {"w": tg.tensor([3.0, 4.0])}
    >>> value, g = tg.value_and_grad(lambda p: (p["w"] ** 2).sum())(params)
    >>> float(value), tg.tree_map(lambda t: t.tolist(), g)
    (25.0, {'w': [6.0, 8.0]})
    """
    numbers = (argnums,) if isinstance(argnums, (int, np.integer)) else tuple(argnums)
    name = name_of(function)
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"argnums names an argument twice: {argnums}")

    @functools.wraps(function)
    def with_gradient(*args: Any, **kwargs: Any) -> Any:
        arguments = list(args)
        lifted: list[Tensor] = []
        trees = []
        _require_positions(numbers, argnums, args, name)
        for n in numbers:
            arguments[n], leaves, treedef = lift_tree(args[n], f"{name}: argument {n}")
            lifted += leaves
            trees.append(treedef)
        cells = CellArguments([args[n] for n in numbers], lifted)
        try:
            return differentiate(arguments, kwargs, lifted, trees, cells)
        finally:
            _close(lifted)

    def differentiate(arguments: Any, kwargs: Any, lifted: list[Tensor], trees: list[Any], cells: CellArguments) -> Any:
        y, aux = _call(function, arguments, kwargs, has_aux, lifted, cells)
        require_one(y, name)
        cells.refuse_unused([y], name)
        flat = iter(pull(modes.current().trace, [y], lifted, [None]))
        grads = tuple(unflatten(t, [next(flat) for _ in range(t.size)]) for t in trees)
        gradient = grads[0] if isinstance(argnums, (int, np.integer)) else grads
        y, aux = _leave((y, aux), lifted)
        return ((y, aux), gradient) if has_aux else (y, gradient)

    return with_gradient


@checked
def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of a scalar function; see `value_and_grad`.

    With `has_aux`, gives ``(gradient, aux)``.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> float(tg.grad(lambda x: x ** 3)(2.0))
    12.0
    >>> float(tg.grad(tg.grad(lambda x: x ** 3))(2.0))
    12.0
    """
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function)
    def gradient_of(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return gradient_of


@checked
def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of a function and its pullback: ``out, pullback = vjp(f, *primals)``.

    Returns
    -------
    out : tree of Tensor
    pullback : callable
        Takes a cotangent structured like `out`, gives a tuple with one gradient a primal. May be called again.
    aux : anything
        With `has_aux`.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> out, pullback = tg.vjp(lambda a, b: a * b, 3.0, 4.0)
    >>> [float(g) for g in pullback(1.0)]
    [4.0, 3.0]
    """
    arguments, lifted, treedef = lift_tree(list(primals), "vjp: primal")
    trace = modes.current().trace
    cells = CellArguments(primals, lifted)
    out, aux = _call(function, arguments, {}, has_aux, lifted, cells)
    ys, out_tree = _results(out, name_of(function), cells)

    def pullback(cotangents: Any) -> tuple[Any, ...]:
        gs, tree = flatten(cotangents, out_tree)
        if tree != out_tree:
            raise ValueError(
                f"pullback: the cotangent must be structured like the output, {out_tree}, got {brief(str(tree))}"
            )
        pairs = [(y, cotangent(y, g, "pullback")) for y, g in zip(ys, gs, strict=True) if y.dtype.kind == "f"]
        grads = pull(trace, [y for y, _ in pairs], lifted, [g for _, g in pairs], retain=True)
        return tuple(unflatten(treedef, grads))

    shown, aux = _leave((out, aux), lifted)
    _close(lifted)
    return (shown, pullback, aux) if has_aux else (shown, pullback)


@checked
def jvp(function: Callable[..., Any], primals: Every, tangents: Every, has_aux: bool = False) -> Any:
    """The value of a function and its directional derivative: ``out, out_tangent = jvp(f, primals, tangents)``.

    The pullback is linear in its cotangent; its own pullback is the derivative in a direction.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> out, tangent = tg.jvp(lambda x: x ** 2, (3.0,), (1.0,))
    >>> float(out), float(tangent)
    (9.0, 6.0)
    """
    line = _Linear(function, list(primals), has_aux, "jvp")
    tangent = line.push(tangents, retain=False)
    return (line.out, tangent, line.aux) if has_aux else (line.out, tangent)


@checked
def linearize(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of a function and its derivative there as a linear function: ``out, push = linearize(f, *primals)``.

    Returns
    -------
    out : tree of Tensor
    push : callable
        Takes one tangent a primal, gives the tangent of `out`: what `jvp` gives, and f is run only once for many.
    aux : anything
        With `has_aux`.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> out, push = tg.linearize(lambda x: x ** 2, 3.0)
    >>> float(out), float(push(1.0)), float(push(-2.0))
    (9.0, 6.0, -12.0)
    """
    line = _Linear(function, list(primals), has_aux, "linearize")

    def push(*tangents: Any) -> Any:
        return line.push(tangents, retain=True)

    return (line.out, push, line.aux) if has_aux else (line.out, push)


class _Linear:
    """A function at a point, and its derivative in any direction: the pullback of its pullback, which is linear."""

    def __init__(self, function: Callable[..., Any], primals: list[Any], has_aux: bool, what: str) -> None:
        self.what, self.trace = what, modes.current().trace
        arguments, self.lifted, self.treedef = lift_tree(primals, f"{what}: primal")
        cells = CellArguments(primals, self.lifted)
        out, aux = _call(function, arguments, {}, has_aux, self.lifted, cells)
        self.ys, self.out_tree = _results(out, name_of(function), cells)
        live = [y for y in self.ys if y.dtype.kind == "f"]
        with modes.use(grad=True):
            self.us = [_lift(nothing(y.shape, y.dtype), what) for y in live]
            with watching(self.us):  # the rules are run for a derivative here
                self.pulled = pull(self.trace, live, self.lifted, self.us)
        self.out, self.aux = _leave((out, aux), self.lifted)
        _close(self.lifted)
        _close(self.us)

    def push(self, tangents: Sequence[Any], retain: bool) -> Any:
        if len(tangents) != len(self.treedef.children):
            raise TypeError(f"{self.what}: {len(self.treedef.children)} primals but {len(tangents)} tangents")
        directions, tree = flatten(list(tangents), self.treedef)
        if tree != self.treedef:
            raise ValueError(f"{self.what}: tangents must be structured like primals, {self.treedef}, got {tree}")
        directions = [
            v if isinstance(v, Tensor) else wrap(np.array(as_array(v, x.dtype)))
            for v, x in zip(directions, self.lifted, strict=True)
        ]
        for v, x in zip(directions, self.lifted, strict=True):
            if v.shape != x.shape:
                raise ValueError(f"{self.what}: a tangent must have its primal's shape {x.shape}, got {v.shape}")
        with modes.use(grad=True):
            moved = iter(pull(self.trace, self.pulled, self.us, directions, retain=retain))
        results = [next(moved) if y.dtype.kind == "f" else nothing(y.shape, default_dtype()) for y in self.ys]
        return unflatten(self.out_tree, results)


@checked
def jacobian(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that gives all first derivatives, of shape ``output.shape + argument.shape``.

    Of a nested argument, such as a model's parameters, it gives the same nesting of them.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.jacobian(lambda x: x ** 2)(tg.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    >>> p = {"w": tg.tensor([1.0, 2.0]), "b": tg.tensor(3.0)}
    >>> tg.jacobian(lambda p: p["w"] * p["b"])(p)["b"].tolist()
    [1.0, 2.0]
    """
    numbers = (argnums,) if isinstance(argnums, (int, np.integer)) else tuple(argnums)
    name = name_of(function)

    @functools.wraps(function)
    def all_derivatives(*args: Any, **kwargs: Any) -> Any:
        _require_positions(numbers, argnums, args, name)
        arguments, chosen = list(args), [args[n] for n in numbers]
        trace = modes.current().trace
        trees, lifted, treedef = lift_tree(chosen, f"{name}: argument")
        for n, tree in zip(numbers, trees, strict=True):
            arguments[n] = tree
        cells = CellArguments(chosen, lifted)
        ys, out_tree = _results(_call(function, arguments, kwargs, False, lifted, cells)[0], name, cells)
        _close(lifted)
        gradients = rows(trace, ys, lifted)
        blocks, at = [], 0
        for y in ys:
            columns = []
            for row, x in zip(gradients, lifted, strict=True):
                part = row if len(ys) == 1 else row[at : at + y.size]
                shape = (*y.shape, *x.shape)
                columns.append(part if part.shape == shape else reshape.public(part, shape=shape))
            at += y.size
            per_argument = unflatten(treedef, columns)
            blocks.append(per_argument[0] if isinstance(argnums, (int, np.integer)) else tuple(per_argument))
        return unflatten(out_tree, blocks)

    return all_derivatives


jacrev = jacobian
"""`jacobian`: rows, by backward passes."""


@checked
def jacfwd(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that gives what `jacobian` gives by columns, in directions of the arguments.

    Where there are more results than arguments this is less work.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.jacfwd(lambda x: tg.stack([x, x ** 2, x ** 3]))(2.0).tolist()
    [1.0, 4.0, 12.0]
    """
    numbers = (argnums,) if isinstance(argnums, (int, np.integer)) else tuple(argnums)
    name = name_of(function)

    @functools.wraps(function)
    def all_derivatives(*args: Any, **kwargs: Any) -> Any:
        _require_positions(numbers, argnums, args, name)

        def of(*chosen: Any) -> Any:
            arguments = list(args)
            for n, value in zip(numbers, chosen, strict=True):
                arguments[n] = value
            return function(*arguments, **kwargs)

        line = _Linear(of, [args[n] for n in numbers], False, name)
        columns = iter(rows(line.trace, line.pulled, line.us))
        blocks = []
        for y in line.ys:
            column = next(columns) if y.dtype.kind == "f" else None
            parts, at = [], 0
            for x in line.lifted:
                if column is None:
                    parts.append(zeros.public(shape=(*y.shape, *x.shape), dtype=default_dtype().name))
                    continue
                part = reshape.public(column[at : at + x.size], shape=(*x.shape, *y.shape))
                at += x.size
                axes = (*range(len(x.shape), len(x.shape) + len(y.shape)), *range(len(x.shape)))
                parts.append(transpose.public(part, axes=axes) if x.shape and y.shape else part)
            per_argument = unflatten(line.treedef, parts)
            blocks.append(per_argument[0] if isinstance(argnums, (int, np.integer)) else tuple(per_argument))
        return unflatten(line.out_tree, blocks)

    return all_derivatives


@checked
def hessian(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that gives all second derivatives of a scalar function.

    Of a nested argument, such as a model's parameters, it gives a nesting of nestings: ``h["w"]["b"]`` has the shape of
    w, then that of b.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.hessian(lambda x: (x ** 3).sum())(tg.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    >>> p = {"w": tg.tensor([1.0, 2.0]), "b": tg.tensor(3.0)}
    >>> tg.hessian(lambda p: (p["w"] ** 2).sum() * p["b"])(p)["w"]["b"].tolist()
    [2.0, 4.0]
    """
    return jacobian(grad(function, argnums), argnums)


@checked
def hvp(function: Callable[..., Any], primals: Every, tangents: Every) -> Any:
    """The gradient of a scalar function and its Hessian times a vector: ``g, hv = hvp(f, primals, tangents)``.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x, v = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 0.0])
    >>> g, hv = tg.hvp(lambda x: (x ** 3).sum(), (x,), (v,))
    >>> g[0].tolist(), hv[0].tolist()
    ([3.0, 12.0], [6.0, 0.0])
    """
    return jvp(grad(function, argnums=tuple(range(len(primals)))), primals, tangents)
