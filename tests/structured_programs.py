"""Random programs as people nest them: functions that call each other and take gradients of each other, loops, lists
and dicts, modules of modules, steps of optimisers. `structured` writes one from a seed, all of it from the dice."""

from __future__ import annotations

import linecache
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim

__all__ = ["Structured", "structured"]

ONE = ("tg.tanh({})", "tg.sin({})", "tg.sigmoid({})", "{} * 0.5", "{} + 1.0", "-{}", "tg.exp(-{} * {})", "tg.relu({})",
       "{} ** 2", "tg.softmax({})", "1.0 - {}", "{}.detach()")  # fmt: skip
TWO = ("{} + {}", "{} * {}", "{} - {}", "tg.maximum({}, {})", "tg.tanh({}) * {}", "tg.where({} > 0.0, {}, {})",
       "{} + {}.sum(axis=-1, keepdims=True)")  # fmt: skip
KEPT = ("{} = sum({})", "{} = tg.stack({}).mean(axis=0)", "{} = {}[-1] * {}[0]", "{} = tg.stack({}[::-1]).sum(axis=0)")
SEVERAL = {  # how several values are handed over, and taken apart
    "tuple": ("({}, {})", "{}, {} = {}", "(lambda r: (r[0] * r[1]).sum())({})"),
    "list": ("[{}, {}]", "{}, {} = {}", "(lambda r: (r[0] * r[1]).sum())({})"),
    "dict": ("{{'a': {}, 'b': {}}}", "{}, {} = {}.values()", "(lambda r: (r['a'] + r['b']).sum())({})"),
}


class Structured:
    """A program: its source, `forward`, a number for two arguments of one shape, and `step`, where it has state."""

    def __init__(self, seed: int, source: str) -> None:
        self.source = source
        file = f"<structured program {seed}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        space: dict[str, Any] = {"np": np, "tg": tg, "nn": nn, "optim": optim, "__name__": "structured"}
        exec(compile(source, file, "exec"), space)
        self.forward: Callable[..., Any] = space["forward"]
        self.step: Callable[..., Any] | None = space.get("step")

    def slope(self, x: Any, y: Any) -> Any:
        """What a second derivative is taken of."""
        return (tg.grad(self.forward)(x, y) ** 2).sum()


class _Writer:
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.lines: list[str] = []
        self.functions: list[tuple[str, list[str], str]] = []  # name, kinds of arguments, kind of result
        self.modules: list[str] = []
        self.count = 0

    def fresh(self, base: str) -> str:
        self.count += 1
        return f"{base}{self.count}"

    def expression(self, known: list[str], depth: int = 0) -> str:
        dice = self.dice
        if depth > 2 or dice.random() < 0.25:
            return dice.choice(known)
        form = dice.choice(ONE if dice.random() < 0.5 else TWO)
        parts = [self.expression(known, depth + 1) for _ in range(form.count("{}"))]
        if form in ONE:
            parts = parts[:1] * len(parts)
        return form.format(*[part if part.isidentifier() else f"({part})" for part in parts])

    def given(self, kind: str, known: list[str]) -> str:
        dice = self.dice
        if kind == "number":
            return repr(dice.choice([0.5, 0.25, 2.0, 1.0]))
        one, two = dice.choice(known), dice.choice(known)
        return one if kind == "value" else SEVERAL[kind][0].format(one, two)

    def opened(self, out: list[str], pad: str, name: str, kind: str) -> list[str]:
        if kind == "value":
            return [name]
        parts = [self.fresh("v"), self.fresh("v")]
        out.append(pad + SEVERAL[kind][1].format(*parts, name))
        return parts

    def statements(
        self, known: list[str], pad: str, count: int, level: int = 0, layers: tuple[str, ...] = (),
        lists: tuple[str, ...] = (),
    ) -> tuple[list[str], list[str]]:  # fmt: skip
        """Lines, and the names of values that are known behind them."""
        dice, out, known = self.dice, [], [*known]
        for _ in range(count):
            chance = dice.random()
            if chance < 0.3:
                out.append(f"{pad}{(name := self.fresh('v'))} = {self.expression(known)}")
                known.append(name)
            elif chance < 0.5 and level < 2:
                known += self.loop(out, known, pad, level, layers, lists)
            elif chance < 0.75 and self.functions:
                function, kinds, result = dice.choice(self.functions)
                given = ", ".join(self.given(kind, known) for kind in kinds)
                out.append(f"{pad}{(name := self.fresh('r'))} = {function}({given})")
                known += self.opened(out, pad, name, result)
            elif chance < 0.85 and layers:
                out.append(f"{pad}{(name := self.fresh('v'))} = self.{dice.choice(layers)}({dice.choice(known)})")
                known.append(name)
            elif chance < 0.93 and self.functions:
                function, kinds, result = dice.choice(self.functions)
                given = [self.given(kind, known) for kind in kinds]
                inner = f"{function}({', '.join(['q', *given[1:]])})"
                number = f"{inner}.sum()" if result == "value" else SEVERAL[result][2].format(inner)
                out.append(f"{pad}{(name := self.fresh('g'))} = tg.grad(lambda q: {number})({given[0]})")
                known += self.opened(out, pad, name, kinds[0])
            else:
                out.append(f"{pad}{(name := self.fresh('v'))} = {self.expression(known)}")
                known.append(name)
        return out, known

    def loop(
        self, out: list[str], known: list[str], pad: str, level: int, layers: tuple[str, ...], lists: tuple[str, ...]
    ) -> list[str]:
        dice = self.dice
        times = dice.choice([2, 3, 4] if level else [2, 3, 5, 7, 12])
        carried = [self.fresh("h") for _ in range(dice.choice([1, 1, 2]))]
        out += [f"{pad}{name} = {dice.choice(known)}" for name in carried]
        kept = self.fresh("ys") if dice.random() < 0.4 else ""
        out += [f"{pad}{kept} = []"] if kept else []
        way, items, layer = dice.randrange(4), [], ""
        if way == 0:
            items = [self.fresh("e")]
            out.append(f"{pad}for {items[0]} in [{', '.join(dice.choice(known) for _ in range(times))}]:")
        elif way == 1 and lists:
            layer = self.fresh("layer")
            out.append(f"{pad}for {layer} in self.{dice.choice(lists)}:")
        else:
            out.append(f"{pad}for _ in range({times}):")
        before, count = [*known, *carried, *items], dice.choice([1, 2, 3])
        lines, inner = self.statements(before, f"{pad}    ", count, level + 1, layers, lists)
        out += lines
        if layer:
            out.append(f"{pad}    {(name := self.fresh('v'))} = {layer}({dice.choice(carried)})")
            inner.append(name)
        out += [f"{pad}    {name} = {self.expression(inner)}" for name in carried]
        if not kept:
            return carried
        out.append(f"{pad}    {kept}.append({dice.choice(inner[-3:])})")
        form = dice.choice(KEPT)
        out.append(pad + form.format((name := self.fresh("v")), *[kept] * (form.count("{}") - 1)))
        return [*carried, name]

    def function(self) -> None:
        dice, name = self.dice, self.fresh("fun")
        kinds = [dice.choice(["value"] * 3 + [*SEVERAL]) for _ in range(dice.choice([1, 2, 2, 3]))]
        names = [self.fresh("x") for _ in kinds]
        scale = f" * {self.fresh('scale')}" if dice.random() < 0.2 else ""
        head = [*names, *([scale[3:]] if scale else [])]
        lines = [f"def {name}({', '.join(head)}):"]
        known = [part for one, kind in zip(names, kinds, strict=True) for part in self.opened(lines, "    ", one, kind)]
        body, known = self.statements(known, "    ", dice.choice([1, 2]), 1)
        result = dice.choice(["value"] * 3 + [*SEVERAL])
        last = f"{known[-1]}{scale}"
        said = last if result == "value" else SEVERAL[result][0].format(last, dice.choice(known))
        self.lines += [*lines, *body, f"    return {said}", ""]
        self.functions.append((name, [*kinds, *(["number"] if scale else [])], result))

    def module(self) -> None:
        dice, name = self.dice, self.fresh("Mod")
        lines = [f"class {name}(nn.Module):", "    def __init__(self):"]
        kinds = ["nn.Linear(3, 3, seed=1)", "nn.LayerNorm(3)", *[f"{one}()" for one in self.modules]]
        layers = tuple(self.fresh("sub") for _ in range(dice.choice([1, 1, 2])))
        lines += [f"        self.{layer} = {dice.choice(kinds)}" for layer in layers]
        lists = (self.fresh("list"),) if dice.random() < 0.5 else ()
        for one in lists:
            lines.append(f"        self.{one} = [{', '.join([dice.choice(kinds)] * dice.choice([2, 3, 5]))}]")
        known = ["x"]
        if dice.random() < 0.4:
            known.append(self.fresh("w"))
            lines.append(f"        self.{known[1]} = tg.Parameter(np.full(3, 0.5, 'f4'))")
        lines.append("    def forward(self, x):")
        lines += [f"        {one} = self.{one}" for one in known[1:]]
        body, known = self.statements(known, "        ", dice.choice([1, 2, 3, 4]), 0, layers, lists)
        self.lines += [*lines, *body, f"        return {known[-1]}", ""]
        self.modules.append(name)


def structured(seed: int) -> Structured:
    """The program of a seed."""
    w = _Writer(seed)
    dice = w.dice
    state = dice.random() < 0.4
    for _ in range(dice.choice([0, 1, 2, 3])):
        w.function()
    for _ in range(dice.choice([1, 2]) if state else 0):
        w.module()
    if state:
        rule = dice.choice(["SGD", "Adam", "Momentum"])
        w.lines += [f"model = {w.modules[-1]}()", f"optimizer = optim.{rule}(model, lr=0.1)", ""]
    body, known = w.statements(["x", "y"], "    ", dice.choice([2, 3, 4, 6]))
    for name in ("out", "out_2")[: dice.choice([1, 1, 2])] if state else ():
        body.append(f"    {name} = model({dice.choice(known)})")
        known.append(name)
    terms = " + ".join(f"({name} * {name}).sum()" for name in known[-dice.choice([1, 2, 3]) :])
    w.lines += ["def forward(x, y):", *body, f"    return {terms}", ""]
    if state:
        w.lines += ["def step(x, y):", "    loss = forward(x, y)", "    optimizer.minimize(loss)", "    return loss"]
    return Structured(seed, "\n".join(w.lines))
