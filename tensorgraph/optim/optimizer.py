"""`Optimizer`: what all optimisers share. Every number that changes while training is a cell.

A step checks everything before it writes anything. Eager steps run the update op's kernels on the cells' own arrays,
those of a group on one tape, or Numba's in-place kernels where there is no machine code; while a trace is active, with
`tensorgraph.implementation("composed")` or without Numba, the update op is called and its results are assigned. The op
runs the same kernel and gives the same bits; composed, it differs by rounding.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np

from tensorgraph.arguments import Name, Natural, NonNegative, Ordered, Positive, checked, refuse_keyword
from tensorgraph.arguments.foreign import answer, own_attribute, put_absent
from tensorgraph.engine import init, modes
from tensorgraph.engine.cells import Buffer, Cell, Parameter, set_grads
from tensorgraph.engine.changes import move
from tensorgraph.engine.direct import is_fused, overwriting
from tensorgraph.engine.interrupts import whole
from tensorgraph.engine.op import Op
from tensorgraph.engine.tape import warn_user
from tensorgraph.engine.tensor import Tensor, TraceError
from tensorgraph.graph.arranging import arrange
from tensorgraph.graph.building import Trace
from tensorgraph.graph.calls import nest
from tensorgraph.nn.module import Module
from tensorgraph.nn.settings import Setting
from tensorgraph.nn.state import load_cells, read_cells
from tensorgraph.ops.updates import state_dtype
from tensorgraph.optim.clipping import clip_norm, clip_value
from tensorgraph.optim.groups import Group, Slot, own_cells
from tensorgraph.optim.schedules import Schedule, as_schedule

__all__ = ["Hyper", "Optimizer"]

Array = np.ndarray[Any, Any]

LIMITS = ("clip_value", "clip_norm")
Trained: TypeAlias = Module | Annotated[Iterable[Parameter | Mapping[str, Any]], Ordered]
Setting_: TypeAlias = NonNegative | Tensor
Rate: TypeAlias = NonNegative | Tensor | Schedule | Callable[..., Any]


class Hyper(Setting):
    """A setting of an optimiser or of one of its groups."""

    def store(self, instance: Any) -> dict[str, Any]:
        return instance.cells  # type: ignore[no-any-return]


class LearningRate(Hyper):
    """The learning rate: a number, or a schedule or function that gives it before each step."""

    def __set__(self, instance: Any, value: Any) -> None:
        if isinstance(value, Schedule) or (callable(value) and not isinstance(value, (Tensor, type))):
            owner = instance.owner() if isinstance(instance, Group) else instance
            schedule = as_schedule(value)
            super().__set__(instance, schedule(owner.steps, owner.epoch))
            instance.schedule = schedule
            return
        if instance.schedule is not None and modes.is_tracing():
            raise TraceError(
                "the learning rate follows a schedule, which a graph does not hold: set a fixed rate before tracing, "
                "or set it outside the traced step"
            )
        super().__set__(instance, value)
        instance.schedule = None


Work = tuple[Group, list[tuple[Slot, Any]]]


class Optimizer:
    """The base of optimisers.

    Parameters
    ----------
    parameters : Module, iterable of Parameter, or list of dicts
        A dict is a parameter group: ``{"parameters": [...], "lr": 0.01, ...}``; a setting that a group leaves out is
        the optimiser's own.
    lr : float, Schedule or callable
        The learning rate; see `tensorgraph.optim.Schedule`.
    weight_decay : float
        Added to the gradient as ``weight_decay · p`` (AdamW: decoupled).
    clip_value : float, optional
        Limit each number of each gradient.
    clip_norm : float, optional
        Limit the joint norm of all gradients, after `clip_value`.
    name : str
        The path of the cells: ``optimizer.lr``, ``optimizer.m.layers.0.weight``.

    Attributes
    ----------
    steps, epoch : int
        How many steps were made; the epoch, which the training loop sets for schedules that count epochs.
    groups : list of Group

    Notes
    -----
    To write one: name the settings, the averages kept and the update op, and define the in-place form
    (see the optimisers here).
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")
    averages: ClassVar[tuple[str, ...]] = ()
    moves_mark: ClassVar[bool] = True  # of tensorgraph.engine.changes, when an attribute is set
    counted: ClassVar[bool] = False  # whether each parameter's own number of steps is kept, as `t`
    update: ClassVar[Op]
    attributes: ClassVar[tuple[str, ...]] = ()  # of the update op, each under its name here
    example: ClassVar[str] = "optim.Adam(model)"  # for messages, as in `Normalizer`

    lr = LearningRate("Learning rate.", 0.0)
    weight_decay = Hyper("Weight decay.", 0.0)

    @checked
    def __init__(
        self,
        parameters: Trained,
        lr: Rate,
        *,
        weight_decay: Setting_ = 0.0,
        clip_value: Positive | None = None,
        clip_norm: Positive | None = None,
        name: Name = "optimizer",
        **settings: Any,
    ) -> None:
        if not hasattr(type(self), "update"):
            raise NotImplementedError(
                f"{type(self).__name__} has no update; use tensorgraph.optim.SGD, Adam, ..., or name an update op"
            )
        if others := {key: value for key, value in settings.items() if key not in self.settings}:
            refuse_keyword(others, [*self.settings, *LIMITS, "name"], "__init__", self)
        self.path = name
        self.cells: dict[str, Buffer] = {}
        self.schedule: Schedule | None = None
        self._steps = self._cell("steps", np.array(0, np.int64))
        self._epoch = self._cell("epoch", np.array(0, np.int64))
        for key, value in {"lr": lr, **settings, "weight_decay": weight_decay}.items():
            setattr(self, key, value)
        self._limits: dict[str, Buffer] = {}
        for key, limit in zip(LIMITS, (clip_value, clip_norm), strict=True):
            setattr(self, key, limit)
        self._reported = False
        self.groups: list[Group] = []
        self._build(parameters)

    def _cell(self, attribute: str, data: Any) -> Buffer:
        cell = Buffer(data)
        cell.owner = (weakref.ref(self), attribute)
        cell.initialiser = "zeros()"
        return cell

    # parameters ---------------------------------------------------------------------------------------------------

    def _build(self, parameters: Any) -> None:
        items = parameters.parameters() if isinstance(parameters, Module) else list(parameters)
        if not items:
            raise ValueError(f"{type(self).__name__}: there are no parameters to train")
        if len({isinstance(item, Mapping) for item in items}) > 1:
            raise TypeError(
                f"{type(self).__name__} takes a list of Parameters or a list of groups (dicts), not both in one"
            )
        groups = [dict(item) for item in items] if isinstance(items[0], Mapping) else [{"parameters": items}]
        seen: dict[int, str] = {}
        taken: set[str] = set()
        for number, options in enumerate(groups):
            members = options.pop("parameters", options.pop("params", None))
            if members is None:
                raise ValueError(f"parameter group {number} has no 'parameters'")
            members = members.parameters() if isinstance(members, Module) else members
            members = [members] if isinstance(members, Tensor) else list(members)
            unknown = [key for key in options if key not in self.settings]
            if unknown:
                raise ValueError(
                    f"parameter group {number}: {unknown[0]!r} is not a setting of {type(self).__name__}; it has "
                    f"{', '.join(self.settings)}"
                )
            group = Group(self, number, options)
            for p in members:
                if not isinstance(p, Parameter):
                    raise TypeError(f"{type(self).__name__} trains Parameters, got {type(p).__name__}")
                if p.dtype.kind != "f":
                    raise TypeError(
                        f"{type(self).__name__}: parameter {p.path!r} is {p.dtype}, only floats are trained"
                    )
                if id(p) in seen:
                    raise ValueError(f"parameter {seen[id(p)]!r} is given twice")
                path = base = p.path or f"parameters.{len(seen)}"
                while path in taken:
                    path = f"{base}_{len(taken)}"
                taken.add(path)
                seen[id(p)] = path
                group.slots.append(Slot(p, path, self._state(p, path)))
            self.groups.append(group)
        if not seen:
            raise ValueError(f"{type(self).__name__}: there are no parameters to train in any group")

    def _state(self, p: Parameter, path: str) -> tuple[Buffer, ...]:
        kind = state_dtype(p.dtype)
        cells = [self._cell(f"{name}.{path}", np.zeros(p.shape, kind)) for name in self.averages]
        if self.counted:
            cells.append(self._cell(f"t.{path}", np.array(0, np.int64)))
        return tuple(cells)

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of the update op."""
        return {name: getattr(self, name) for name in self.attributes}

    def parameters(self) -> list[Parameter]:
        """All parameters, in order."""
        return [slot.parameter for group in self.groups for slot in group.slots]

    # settings -----------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return int(self._steps)

    @property
    def epoch(self) -> int:
        """The epoch, from 0, for schedules that count epochs; set it when one begins."""
        return int(self._epoch)

    @epoch.setter
    @checked
    def epoch(self, value: Natural) -> None:
        self._epoch.assign(value)

    @property
    def clip_value(self) -> float | None:
        """The limit of each gradient's numbers, or None."""
        return self._limit("clip_value")

    @clip_value.setter
    def clip_value(self, limit: float | None) -> None:
        self._set_limit("clip_value", limit)

    @property
    def clip_norm(self) -> float | None:
        """The limit of all gradients' joint norm, or None."""
        return self._limit("clip_norm")

    @clip_norm.setter
    def clip_norm(self, limit: float | None) -> None:
        self._set_limit("clip_norm", limit)

    def _limit(self, name: str) -> float | None:
        cell = self._limits.get(name)
        return None if cell is None else float(cell)

    def _set_limit(self, name: str, limit: float | None) -> None:
        if limit is None:
            self._limits.pop(name, None)
            return
        if isinstance(limit, bool) or not isinstance(limit, (int, float, np.number)) or not limit > 0:
            raise ValueError(f"{type(self).__name__}: {name} must be a positive number or None, got {limit!r}")
        if name in self._limits:
            self._limits[name].assign(limit)
        else:
            self._limits[name] = self._cell(name, np.array(limit, np.float64))
        self._limits[name].initialiser = init.text_of_number(float(limit))

    def named_cells(self) -> Iterator[tuple[str, Cell]]:
        """Every cell by its path: counts, settings, averages."""
        own = [self._steps, self._epoch, *[self.cells[name] for name in self.settings], *self._limits.values()]
        for group in self.groups:
            own += [group.cells[name] for name in self.settings if name in group.cells]
        for position in range(len(self.averages) + self.counted):
            own += [slot.cells[position] for group in self.groups for slot in group.slots]
        for cell in own:
            yield cell.path, cell

    @checked
    def state_dict(self) -> dict[str, Array]:
        """Copies of all cells by path."""
        return read_cells(self.named_cells())

    @checked
    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take all cells from a dict of arrays, or none where anything does not fit; as `Module.load_state_dict`."""
        load_cells(dict(self.named_cells()), state, strict, type(self).__name__)

    def __setattr__(self, name: str, value: Any) -> None:
        if "groups" in self.__dict__ and not own_attribute(self, name):  # a rate of another name would change nothing
            hint = answer("Optimizer", name) or f"its settings are {', '.join([*self.settings, *LIMITS])}"
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; {hint}", name=name)
        setting = isinstance(getattr(type(self), name, None), Setting)  # whose numbers are cells
        if not setting and (self.__dict__.get(name, self) is not value):
            move()
        object.__setattr__(self, name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        own_cells(self)

    # steps --------------------------------------------------------------------------------------------------------

    @checked
    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        parameters = self.parameters()
        set_grads(parameters, [None] * len(parameters))

    @checked
    def minimize(self, loss: Tensor) -> None:
        """``zero_grad()``, ``loss.backward()``, ``step()``, and ``zero_grad()`` again: no gradient is kept.

        To look at ``.grad``, or to change it before the step, call the first three yourself.
        """
        self.zero_grad()
        loss.backward()
        self.step()
        self.zero_grad()

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises
        ------
        RuntimeError
            If no parameter has a gradient.
        """
        mode = modes.current()
        work = self._collect()
        if mode.trace is not None:  # all lists of one step have one order
            arrange(mode.trace, [g for _, items in work for _, g in items])
        if not mode.plain or not is_fused(not any(slot.narrow for _, items in work for slot, _ in items)):
            path = self.path if mode.trace is None else self._told(mode.trace)
            scope = f"{mode.scope}.{path}" if mode.scope else path
            if mode.trace is None:
                with modes.use(grad=False, scope=scope), whole():
                    self._by_ops(work)
                return
            call = mode.trace.enter("optimizer", type(self).__name__, scope)
            with modes.use(grad=False, call=call):
                self._by_ops(work)
            updated = [(slot.parameter, g) for _, items in work for slot, g in items]
            call.complete(nest({"params": [p for p, _ in updated], "grads": [g for _, g in updated]}, mode.trace.seen))
            return
        with whole():
            if self._limits or self.schedule is not None or len(self.groups) > 1 or self.groups[0].schedule is not None:
                with modes.no_grad():
                    self._set_rates()
                    if self._limits:
                        work = self._clip(work)
            for group, items in work:
                settings = [group.cell(name)._value for name in self.settings]
                if not self._by_kernels(items, settings):
                    self._in_place(items, *map(float, settings))
            steps = self._steps.exclusive()
            steps += 1

    def _told(self, trace: Trace) -> str:
        """Tell a trace whose cells these are; gives what this is called there."""
        label = trace.paths.optimizer(self, self.path)
        names = (*self.averages, "t") if self.counted else self.averages
        for group in self.groups:
            for slot in group.slots:
                cells = {f"{label}.{name}": cell for name, cell in zip(names, slot.cells, strict=True)}
                trace.paths.keep_for(slot.parameter, slot.path, cells)
        trace.paths.keep(label, self.path, self.named_cells())
        return label

    def _collect(self) -> list[Work]:
        """The parameters that have gradients, with them. Nothing was written yet."""
        work: list[Work] = []
        missing: list[str] = []
        found = False
        for group in self.groups:
            items = []
            for slot in group.slots:
                p = slot.parameter
                g = p.grad
                if g is None:
                    if p._node is not None:
                        missing.append(slot.path)
                    continue
                items.append((slot, g))
                found = True
            work.append((group, items))
        if not found:
            raise RuntimeError(
                f"{type(self).__name__}.step: no parameter has a gradient; call loss.backward() first, with a loss "
                "that depends on these parameters and was computed outside no_grad"
            )
        if missing and not self._reported:
            self._report(missing)
        return work

    def _report(self, missing: list[str]) -> None:
        self._reported = True
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        warn_user(
            f"{type(self).__name__}: no gradient reached {shown}; these are left as they are, which is said once. If "
            "that is meant, use requires_grad_(False)"
        )

    def _set_rates(self) -> None:
        owners: list[Any] = [self, *self.groups]
        rates = [(o, o.schedule.at(self._steps, self._epoch)) for o in owners if o.schedule is not None]
        if not modes.is_tracing():
            for owner, rate in rates:
                if not 0 <= float(rate) < math.inf:
                    raise ValueError(
                        f"{type(self).__name__}: the schedule {owner.schedule} gave {float(rate)} for step "
                        f"{self.steps}, epoch {self.epoch}; a learning rate is finite and not negative"
                    )
        for owner, rate in rates:
            owner.cells["lr"].assign(rate)

    def _clip(self, work: list[Work]) -> list[Work]:
        grads = [g for _, items in work for _, g in items]
        if "clip_value" in self._limits:
            grads = clip_value(grads, self._limits["clip_value"])
        if "clip_norm" in self._limits:
            grads, _ = clip_norm(grads, self._limits["clip_norm"])
        flat = iter(grads)
        return [(group, [(slot, next(flat)) for slot, _ in items]) for group, items in work]

    def _by_ops(self, work: list[Work]) -> None:
        """Every update through the op: recorded while a trace is active. All is computed before the first write."""
        self._set_rates()
        if self._limits:
            work = self._clip(work)
        updates = [(group, slot, g) for group, items in work for slot, g in items]
        results = []
        for group, slot, g in updates:
            settings = [group.cell(name) for name in self.settings]
            cells = (slot.parameter, *slot.cells)
            new = self.update.public(slot.parameter, g, *slot.cells, *settings, **self.attrs)
            results.append((cells, new if isinstance(new, tuple) else (new,)))
        steps = self._steps + 1
        for cells, new in results:
            for cell, value in zip(cells, new, strict=True):
                cell.assign(value)
        self._steps.assign(steps)

    def _by_kernels(self, items: list[tuple[Slot, Any]], settings: list[Array]) -> bool:
        """Run the update op's kernels on the cells' own arrays; False where they do not take them."""
        rows = [(slot.parameter.exclusive(), g._value, *[cell.exclusive() for cell in slot.cells]) for slot, g in items]
        return overwriting(self.update, tuple(self.attrs.items()))(rows, settings)

    def _in_place(self, items: list[tuple[Slot, Any]], *settings: float) -> None:
        """The like by Numba's kernels."""
        raise NotImplementedError

    def _narrow(self, slot: Slot, g: Tensor, settings: tuple[float, ...]) -> None:
        """A float16 parameter goes through the op, which works in float32."""
        new = self.update.forward(
            slot.parameter._value, g._value, *[c._value for c in slot.cells], *settings, **self.attrs
        )
        for cell, value in zip((slot.parameter, *slot.cells), new if isinstance(new, tuple) else (new,), strict=True):
            cell.assign(value)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name):g}" for name in self.settings)
        count = sum(len(group.slots) for group in self.groups)
        return f"{type(self).__name__}({count} parameters, {settings})"


put_absent(Optimizer)
