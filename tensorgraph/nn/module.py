"""`Module`: a model, or a part of one. Its attributes are its parameters, buffers and parts."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from tensorgraph.arguments.checks import checked, refuse_call
from tensorgraph.arguments.foreign import answer, entries, keywords, own_attribute, put_absent
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.changes import move
from tensorgraph.engine.modes import MODE, Mode, current
from tensorgraph.engine.numbers import TRACED
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.drawable import notebook
from tensorgraph.nn.names import require_place
from tensorgraph.nn.ranks import Ranks
from tensorgraph.nn.registry import register
from tensorgraph.nn.settings import Setting
from tensorgraph.nn.state import load_cells, load_tree, read_cells
from tensorgraph.nn.switches import Switches
from tensorgraph.nn.walk import Walk

if TYPE_CHECKING:
    from tensorgraph.compile import Compiled

__all__ = ["Module"]

M = TypeVar("M", bound="Module")
INTERNAL = frozenset({"_entered", "_place", "_width", "_hooks", "_forward_template", "ranks", "training", "frozen"})
UNKEPT = frozenset({"_entered", "_place", "_width", "_hooks", "_forward_template", "ranks"})  # what a copy has not
ndarray = np.ndarray


class _ForwardSignature:
    """What `inspect.signature` says of a module: the arguments of its ``forward``, so that graphs name them."""

    def __get__(self, instance: Any, owner: Any = None) -> inspect.Signature | None:
        return None if instance is None else inspect.signature(instance.forward)


class Module(Walk, Switches):
    """The base of models and layers: assign parameters, buffers and other modules, and write ``forward``.

    Whatever is assigned to an attribute is found by `parameters`, `state_dict` and the rest, each once: a `Parameter`,
    a `Buffer`, a Module, and lists, tuples and dicts of these; other objects that hold a part are refused. Each cell
    knows its path from the root, such as ``layers.0.weight``.

    Attributes
    ----------
    training : bool
        Whether layers behave as in training (`train`, `eval`).
    frozen : bool
        Whether layers keep their own state as it is (`freeze`).
    atomic : bool
        Of the class: whether one call does nothing twice, so that pictures tell a layer's calls in a row apart.

    Notes
    -----
    A class that says in `config` how it was made is saved with its structure (`tensorgraph.train.save`), and rebuilt
    where it is imported.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import nn
    >>> class Model(nn.Module):
    ...     def __init__(self):
    ...         self.layers = [nn.Linear(4, 8, seed=0), nn.Linear(8, 3, seed=1)]
    ...
    ...     def forward(self, x):
    ...         first, second = self.layers
    ...         return second(tg.relu(first(x)))
    >>> model = Model()
    >>> [path for path, _ in model.named_parameters()]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    >>> model(tg.ones((2, 4))).shape
    (2, 3)
    """

    atomic: ClassVar[bool] = False
    moves_mark: ClassVar[bool] = True  # of tensorgraph.engine.changes, when an attribute is set
    training: bool = True
    frozen: bool = False
    _place: tuple[weakref.ref[Module], str] | None = None  # the parent and the name there
    _entered: tuple[Mode, Mode, int] | None = None  # the mode outside, the mode inside, the widest parameter's bytes
    _width: int | None = None
    ranks: Ranks | None = None  # of whom it has a replica: `tensorgraph.dist` says it

    __signature__ = _ForwardSignature()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        register(cls)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes. Call the module itself: it names the scope first."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method; define forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outer, entered = current(), self._entered
        if entered is None or entered[0] is not outer:
            entered = self._enter(outer)
        width = entered[2]
        if width:
            for x in (*args, *kwargs.values()) if kwargs else args:
                wide = isinstance(x, (Tensor, ndarray)) and x.dtype.itemsize > width and x.dtype.kind == "f"
                if wide and type(x) not in TRACED:  # a traced number takes the width of what it meets
                    self._too_wide(x.dtype, width)
        token = MODE.set(entered[1])
        try:
            forward = self.forward if self._hooks is None else self._hooked(self.forward)
            result = forward(*args, **kwargs)
            if outer.trace is not None:
                outer.trace.returned(entered[1].call, self.forward, args, kwargs, result)  # type: ignore[arg-type]
            return result
        except TypeError as error:
            refuse_call(error, type(self).__name__, self.forward, args, kwargs)
            raise
        finally:
            MODE.reset(token)

    @checked
    def compile(
        self, *, check: bool = False, exact: bool = False, fail_on_recompile: bool = False, wait: bool = True
    ) -> Compiled:
        """The module as a compiled function of its ``forward``'s arguments: see `tensorgraph.compile`.

        The module itself stays as it is, and shares its parameters with the function.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> model = tg.nn.Linear(2, 3, seed=0)
        >>> forward = model.compile()
        >>> forward(tg.ones((4, 2))).shape, forward.stats.traces
        ((4, 3), 1)
        """
        from tensorgraph.compile import compile

        return compile(self, check=check, exact=exact, fail_on_recompile=fail_on_recompile, wait=wait)

    def _enter(self, outer: Mode) -> tuple[Mode, Mode, int]:
        """The mode inside a call, kept for the next call from the same mode."""
        if outer.trace is not None and self._place is None:
            self.modules()  # lists may have grown since: everyone learns their place
        inner, scope = outer, outer.scope
        if self._place is not None and (parent := self._place[0]()) is not None:
            name, base = self._place[1], parent.path
            inside = outer.scope == base or outer.scope.endswith(f".{base}") or not base
            outside = outer.scope if inside else ""
            scope = f"{outside}.{name}" if outside else (f"{base}.{name}" if base else name)
        elif outer.trace is not None:
            scope = outer.trace.called(self, scope)
        if outer.trace is not None:
            inner = outer.replace(call=outer.trace.enter("module", type(self).__name__, scope, self.forward))
        elif scope != outer.scope:
            inner = outer.replace(scope=scope)
        width = self._width
        if width is None:
            sizes = [p.dtype.itemsize for p in self.parameters() if p.dtype.kind == "f"]
            width = self.__dict__["_width"] = max(sizes, default=0)
        entered = (outer, inner, width)
        if outer.plain:  # a mode that holds a trace would keep the whole graph alive
            self.__dict__["_entered"] = entered
        return entered

    def _too_wide(self, dtype: Any, width: int) -> None:
        said = f"{self.label} has float{8 * width} parameters and got a {dtype} input, which would make every layer run"
        raise TypeError(f"{said} in {dtype}; cast the data once with x.astype('float{8 * width}')")

    # places -------------------------------------------------------------------------------------------------------

    @property
    def root(self) -> Module:
        """The outermost module that this one is a part of."""
        module = self
        while module._place is not None and (parent := module._place[0]()) is not None:
            module = parent
        return module

    @property
    def path(self) -> str:
        """The dotted path from the root, such as ``layers.0``; empty for a root."""
        place = self._place
        if place is None or (parent := place[0]()) is None:
            return ""
        base = parent.path
        return f"{base}.{place[1]}" if base else place[1]

    @property
    def label(self) -> str:
        """The kind of module and its path, for messages."""
        path = self.path
        return f"{type(self).__name__} {path!r}" if path else type(self).__name__

    def __setattr__(self, name: str, value: Any) -> None:
        if not own_attribute(self, name):
            refuse_foreign(self, name)
        require_place(self, Module, name, value)
        if not isinstance(getattr(type(self), name, None), Setting):
            old = self.__dict__.get(name)
            if isinstance(old, Cell) and value is not None and not isinstance(value, Cell):
                raise TypeError(
                    f"{self.label}.{name} is a {type(old).__name__}; change its numbers with .{name}.assign(value), or "
                    f"replace it by another {type(old).__name__}"
                )
            if isinstance(old, (Module, Cell)) and old is not value:
                self._disown(old, name)
            if old is not value or name not in self.__dict__:
                move()
        object.__setattr__(self, name, value)
        if isinstance(value, (Cell, Module, list, tuple, dict)):
            self.modules()
            self._forget()

    def __delattr__(self, name: str) -> None:
        old = self.__dict__.get(name)
        object.__delattr__(self, name)
        move()
        if isinstance(old, (Module, Cell)):
            self._disown(old, name)
        self._forget()

    def _disown(self, old: Module | Cell, name: str) -> None:
        """Forget a place that is left."""
        if isinstance(old, Cell):
            if old.owner is not None and old.owner[0]() is self and old.owner[1] == name:
                old.owner = None
        elif old._place is not None and old._place[0]() is self and old._place[1] == name:
            old.__dict__["_place"] = None

    def _forget(self) -> None:
        """Drop what calls have kept, here, above and below."""
        for module in (*self.modules(), *self._above()):
            module.__dict__.pop("_entered", None)
            module.__dict__.pop("_width", None)

    def _above(self) -> Iterator[Module]:
        module = self
        while module._place is not None and (parent := module._place[0]()) is not None:
            yield parent
            module = parent

    def _items(self) -> Iterator[tuple[str, Any]]:
        """Own cells and modules by attribute, those in lists, tuples and dicts as ``name.0``."""
        stack = [(name, value) for name, value in reversed(self.__dict__.items()) if name not in INTERNAL]
        while stack:
            name, value = stack.pop()
            if isinstance(value, (Cell, Module)):
                yield name, value
            elif isinstance(value, (list, tuple)):
                stack += [(f"{name}.{i}", item) for i, item in reversed(list(enumerate(value)))]
            elif isinstance(value, dict):
                stack += [(f"{name}.{key}", item) for key, item in reversed(value.items())]

    def modules(self) -> list[Module]:
        """This module and all below, each once, in order; whoever has no place yet gets one."""
        found: dict[int, Module] = {id(self): self}
        stack: list[Module] = [self]
        order: list[Module] = []
        while stack:
            module = stack.pop()
            order.append(module)
            children = []
            here: dict[str, Any] | None = None
            taken: dict[str, Any] = {}
            for name, item in module._items():
                if taken.setdefault(name, item) is not item:  # a container was changed after it was assigned
                    raise ValueError(f"{module.label}: two parts are called {name!r}; take keys that differ as text")
                place = item.owner if isinstance(item, Cell) else item._place
                holder = None if place is None else place[0]()
                if holder is None or (place[1] != name and holder is module):
                    # a second name of the same thing does not take the first one's place
                    here = dict(module._items()) if here is None and holder is not None else here
                    if holder is None or (here is not None and here.get(place[1]) is not item):
                        self._settle(module, name, item)
                if isinstance(item, Module) and id(item) not in found:
                    found[id(item)] = item
                    children.append(item)
            stack += reversed(children)
        return order

    @staticmethod
    def _settle(module: Module, name: str, item: Any) -> None:
        place = (weakref.ref(module), name)
        if isinstance(item, Cell):
            item.owner = place
            return
        if item is module or any(above is item for above in module._above()):
            raise ValueError(f"{module.label}.{name}: a module cannot be a part of itself")
        item.__dict__["_place"] = place
        item.__dict__.pop("_entered", None)

    # saving -------------------------------------------------------------------------------------------------------

    @checked
    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copies of all parameters and buffers by path.

        Examples
        --------
        >>> from tensorgraph import nn
        >>> {path: a.shape for path, a in nn.Linear(2, 3).state_dict().items()}
        {'weight': (2, 3), 'bias': (3,)}
        """
        return read_cells(self.named_cells())

    @checked
    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take all parameters and buffers from a dict of arrays: all of them, or none where anything does not fit.

        Parameters
        ----------
        state : mapping of path to array
            As `state_dict` gives. Floats of another width are converted.
        strict : bool
            Whether missing and unexpected paths are errors; shapes always are.

        Raises
        ------
        ValueError
            Naming every path that is missing, unexpected, or of another shape or kind. Nothing is changed then.
        """
        load_cells(dict(self.named_cells()), state, strict, self.label)

    @checked
    def load(self, tree: Any) -> None:
        """Put a tree of `tensorgraph.functional` back: the parameters, the state, or both; all of it, or nothing.

        Parameters
        ----------
        tree : dict of str to Tensor
            By path, or nested by its parts. Of parameters and of state each is whole or left out.

        Raises
        ------
        ValueError
            Naming every path that is missing, unexpected, or of another shape or dtype. Nothing is changed then.
        """
        load_tree(dict(self.named_cells()), tree, f"{self.label}.load")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in UNKEPT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.modules()

    def config(self) -> dict[str, Any]:
        """What the constructor was given, as literals: numbers, strings, None, lists and dicts of these, and modules.

        ``type(layer).from_config(layer.config())`` has the same structure. What is loaded anyway, such as first
        numbers and their seed, is left out. A module whose constructor takes nothing needs no definition of its own.

        Raises
        ------
        NotImplementedError
            If the class does not say.
        """
        if not self.says_how_it_was_made():
            raise NotImplementedError(
                f"{type(self).__name__} does not say how it was made; define config(self), a dict of its constructor's "
                "arguments as literals"
            )
        return {}

    @classmethod
    def says_how_it_was_made(cls) -> bool:
        """Whether `config` is not older than the constructor, or the constructor takes nothing."""
        owner, maker = (next(c for c in cls.__mro__ if name in vars(c)) for name in ("config", "__init__"))
        if cls.forward is Module.forward:
            return False
        if owner is Module:
            return maker is object or len(inspect.signature(vars(maker)["__init__"]).parameters) == 1
        return issubclass(owner, maker)

    @classmethod
    @checked
    def from_config(cls: type[M], config: Mapping[str, Any]) -> M:
        """A new module as `config` says."""
        return cls(**config)

    # looking ------------------------------------------------------------------------------------------------------

    @checked
    def summary(self, *examples: Any) -> Any:
        """A table of the layers with their output shapes and numbers of parameters.

        Parameters
        ----------
        *examples
            Inputs, or their types (`tensorgraph.spec`); nothing is computed with them. Without, no output shapes.

        Returns
        -------
        Summary
            Prints as a table; ``rows`` holds it.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> from tensorgraph import nn
        >>> nn.Sequential(nn.Linear(4, 8), nn.ReLU()).summary(tg.spec((32, 4)))
        layer  kind        output      parameters
        -----  ----------  ----------  ----------
               Sequential  f32[32, 8]          40
        0      Linear      f32[32, 8]          40
        1      ReLU        f32[32, 8]           0
        -----  ----------  ----------  ----------
        40 parameters (160 B), 40 trained; 0 buffers
        """
        from tensorgraph.nn.table import summarise

        return summarise(self, examples)

    def extra_repr(self) -> str:
        """What stands between the brackets of the layer's ``repr``."""
        return ""

    def __repr__(self) -> str:
        parts = [(name, item) for name, item in self._items() if isinstance(item, Module)]
        inside = self.extra_repr()
        if not parts:
            return f"{type(self).__name__}({inside})"
        lines = [f"{type(self).__name__}({inside}"]
        for name, part in parts:
            lines.append(f"  {name}: " + repr(part).replace("\n", "\n  "))
        return "\n".join([*lines, ")"])

    _repr_mimebundle_ = notebook


def refuse_foreign(layer: Module, name: str) -> None:
    """Refuse to give a layer of the library an attribute that says in other libraries what another says here.

    It would change nothing. Names that nobody knows are the user's.
    """
    hint = answer("Module", name) if name in entries()["Module"] else ""
    own = next((target for target in keywords().get(name, ()) if target in layer.__dict__), None)
    if own and not hint:
        hint = f"it is called {own!r} here"
    if hint:
        raise AttributeError(f"{layer.label} has no attribute {name!r}; {hint}", name=name)


put_absent(Module)
