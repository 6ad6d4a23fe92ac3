"""What is done to a module and all its parts at once: switches, another dtype, a function; and hooks of its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tensorgraph.arguments.checks import checked
from tensorgraph.engine.aval import FloatDType, canonical_dtype
from tensorgraph.engine.cells import Parameter, refuse_in_trace, set_grads
from tensorgraph.engine.changes import move

if TYPE_CHECKING:
    from tensorgraph.nn.module import Module

__all__ = ["HookHandle", "Switches"]

M = TypeVar("M", bound="Switches")


class HookHandle:
    """A hook that stands in a module, until `remove` is called or a ``with`` block of the handle ends."""

    def __init__(self, hooks: dict[HookHandle, Any], hook: Any) -> None:
        self.hooks = hooks
        hooks[self] = hook
        move()

    def remove(self) -> None:
        """Take the hook out; a second time does nothing."""
        self.hooks.pop(self, None)
        move()

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Switches:
    """The part of `Module` that reaches everything below it."""

    _hooks: tuple[dict[HookHandle, Any], dict[HookHandle, Any]] | None = None  # before forward, and after

    if TYPE_CHECKING:

        def modules(self) -> list[Module]: ...
        def parameters(self) -> list[Parameter]: ...
        def _forget(self) -> None: ...
        @property
        def label(self) -> str: ...

    @checked
    def train(self: M, training: bool = True) -> M:
        """Behave as in training from now on: batch norm uses the batch's moments, dropout drops. Returns self."""
        others = [module for module in self.modules() if module.training is not training]
        for module in others:
            object.__setattr__(module, "training", training)
        if others:
            move()
        return self

    @checked
    def eval(self: M) -> M:
        """Behave as at test time from now on. Returns self."""
        return self.train(False)

    @checked
    def freeze(self: M, frozen: bool = True) -> M:
        """Keep the layers' own state: batch norm normalises with its running averages, in training too. Returns self.

        Independent of `requires_grad_`, which says whether parameters are trained.
        """
        for module in self.modules():
            object.__setattr__(module, "frozen", frozen)
        move()
        return self

    @checked
    def unfreeze(self: M) -> M:
        """Undo `freeze`. Returns self."""
        return self.freeze(False)

    @checked
    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Let all parameters be trained, or none. Returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    @checked
    def zero_grad(self) -> None:
        """Forget all gradients."""
        parameters = self.parameters()
        set_grads(parameters, [None] * len(parameters))

    @checked
    def astype(self: M, dtype: FloatDType) -> M:
        """Keep all parameters in another dtype of floats from now on. Changes this module and returns it.

        Buffers of floats follow, in at least float32, for they are averages; single numbers of float64, such as a
        layer's settings, stay. Gradients are forgotten. An optimiser keeps moments in the parameters' dtype: make it
        afterwards. Graphs that were traced before do not fit any more.

        Examples
        --------
        >>> from tensorgraph import nn
        >>> nn.Linear(2, 3).astype("float64").weight.dtype
        dtype('float64')
        """
        refuse_in_trace("Module.astype")
        kind = canonical_dtype(dtype)
        wide = np.promote_types(kind, np.float32)
        self.zero_grad()
        seen: set[int] = set()
        for module in self.modules():
            for _, cell in module._items():
                if not hasattr(cell, "_value") or id(cell) in seen or cell.dtype.kind != "f":
                    continue
                seen.add(id(cell))
                trained = isinstance(cell, Parameter)
                if trained or cell.shape or cell.dtype != np.float64:
                    cell._value = cell._value.astype(kind if trained else wide)
                    if cell._node is not None:
                        cell._node.dtype = cell._value.dtype  # in which its gradient comes
        self._forget()
        move()
        return self

    @checked
    def apply(self: M, function: Callable[[Any], Any]) -> M:
        """Call a function with every part, the innermost first, and with this module at last. Returns self.

        Examples
        --------
        >>> from tensorgraph import nn
        >>> kinds = []
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).apply(lambda part: kinds.append(type(part).__name__))
        >>> kinds
        ['ReLU', 'Linear', 'Sequential']
        """
        for module in reversed(self.modules()):
            function(module)
        return self

    @checked
    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Have ``hook(module, args)`` called before every call, in traces too; what it gives, if anything, is passed.

        Returns
        -------
        HookHandle
            Its ``remove()``, or the end of a ``with`` block of it, takes the hook out. Copies and files have no hooks.
        """
        return HookHandle(self._hook_lists()[0], hook)

    @checked
    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Have ``hook(module, args, output)`` called after every call; what it gives, if anything, is the output.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> layer = tg.nn.ReLU()
        >>> with layer.register_forward_hook(lambda module, args, output: output + 1.0):
        ...     print(layer(tg.tensor([-1.0, 2.0])).tolist())
        [1.0, 3.0]
        >>> layer(tg.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
        """
        return HookHandle(self._hook_lists()[1], hook)

    def _hook_lists(self) -> tuple[dict[HookHandle, Any], dict[HookHandle, Any]]:
        if self._hooks is None:
            self.__dict__["_hooks"] = ({}, {})
        assert self._hooks is not None
        return self._hooks

    def _hooked(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """What `forward` and the hooks around it give."""
        assert self._hooks is not None
        before, after = (list(hooks.values()) for hooks in self._hooks)

        def call(*args: Any, **kwargs: Any) -> Any:
            for hook in before:
                given = hook(self, args)
                if given is not None:
                    args = given if isinstance(given, tuple) else (given,)
            result = forward(*args, **kwargs)
            for hook in after:
                given = hook(self, args, result)
                result = result if given is None else given
            return result

        return call
