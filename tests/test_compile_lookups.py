"""How an attribute is found may change as well as the attribute: what was missing is there, a class or a dict is
another one. Each program reads something, is changed a few times, and gives what it gives uncompiled."""

from __future__ import annotations

import linecache
import sys
import types
from collections import ChainMap, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

OBJECT = "class C: pass\no = C(); o.a = 2.0\n"
SLOTS = "class C: __slots__ = ('a', 'b')\no = C(); o.a = 2.0\n"
BASES = "class B: a = 2.0\nclass C(B):\n    a = 9.0\n    def m(self): return super().a\no = C()\n"
MODULE = "import sys, types\nmodule = sys.modules['tg_lookups'] = types.ModuleType('tg_lookups'); module.a = 2.0\n"
# what is there, what is read, and how it is changed
PROGRAMS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "missing, by name": (OBJECT, "getattr(o, 'q', 3.0)", ("C.q = 5.0", "o.q = 6.0", "del o.q", "del C.q")),
    "missing, asked for": (OBJECT, "1.0 if hasattr(o, 'q') else 2.0", ("C.q = 5.0", "del C.q", "o.q = 1")),
    "of a class, by name": ("class C: a = 2.0\no = C()\n", "getattr(o, 'a')", ("C.a = 3.0", "o.a = 4.0", "del o.a")),
    "of a class that is called": (
        "class C: a = 2.0\n", "C().a", ("C.a = 3.0", "C.__init__ = lambda own: setattr(own, 'a', 5.0)"),
    ),
    "of a class by another name": ("class C: a = 2.0\nc = C\n", "c().a", ("C.a = 3.0",)),
    "of a type": ("class C: a = 2.0\no = C()\n", "type(o).a", ("C.a = 3.0", "type(o).a = 4.0")),
    "a slot that is not filled": (SLOTS, "1.0 if hasattr(o, 'b') else 2.0", ("o.b = 1", "del o.b")),
    "another dict": (OBJECT, "o.a", ("o.__dict__ = {'a': 9.0}", "o.__dict__['a'] = 8.0")),
    "an item of another dict": (OBJECT, "o.__dict__['a']", ("o.__dict__ = {'a': 9.0}", "o.a = 8.0")),
    "an item of the dict of vars": (OBJECT, "vars(o)['a']", ("o.__dict__ = {'a': 9.0}", "o.a = 8.0")),
    "a default in another dict": ("class C: a = 2.0\no = C()\n", "o.a", ("o.__dict__ = {'a': 9.0}", "C.a = 3.0")),
    "data behind super": (BASES, "o.m()", ("B.a = 3.0", "C.a = 4.0", "B.a = 5.0")),
    "imported in the function": (MODULE, "imported()", ("module.a = 3.0", "module.a = 4.0")),
    "a read-only array": (
        "import numpy as np\na = np.ones(3); a.flags.writeable = False\n", "a.sum()",
        ("a.flags.writeable = True; a[0] = 7.0", "a[1] = 5.0", "a.flags.writeable = False"),
    ),
    "an attribute that is computed": (
        "class C:\n    def __getattr__(self, name): return self.table[name]\no = C(); o.table = {'a': 2.0}\n", "o.a",
        ("o.table['a'] = 3.0", "o.a = 4.0", "del o.a"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_how_an_attribute_is_found_is_watched(name: str, tmp_path: Path) -> None:
    setup, read, changes = PROGRAMS[name]
    text = f"{setup}def imported():\n    from tg_lookups import a\n    return a\ndef f(x):\n    return x * ({read})\n"
    results = []
    for compiled in (False, True):
        file, scope = str(tmp_path / f"{compiled}.py"), {"__name__": "lookups"}
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), scope)
        f, found = tg.compile(scope["f"]) if compiled else scope["f"], []
        for change in ("pass", *changes):
            exec(change, scope)
            found += [float(f(tg.ones(()))), float(f(tg.ones(())))]
        results.append(found)
    sys.modules.pop("tg_lookups", None)
    assert results[1] == pytest.approx(results[0], rel=1e-6)
    assert len({*results[0]}) > 1


def test_what_stays_is_traced_once() -> None:
    """None of that is another one where nothing has changed, though objects are made anew."""
    options = types.SimpleNamespace(a=2.0, shape=(3,))
    fixed = np.ones(3)
    fixed.flags.writeable = False

    class Local:
        k = 1.0

    @tg.compile
    def f(x: tg.Tensor) -> tg.Tensor:
        own = Local()
        own.k = getattr(options, "q", own.k) + len(vars(options))
        return x * own.k * options.a * fixed.sum() * type(own).k

    values = [float(f(tg.ones(()))) for _ in range(3)]
    assert values == [18.0] * 3 and f.stats.traces == 1


def test_who_watches_a_mapping_puts_nothing_into_it() -> None:
    """What code names in a branch that is not taken would be made by a defaultdict that is asked for it."""
    rates: Any = defaultdict(float, known=2.0)
    outer = ChainMap(defaultdict(float, known=1.0))

    def f(x: Any) -> Any:
        if x.shape[0] == 2:
            return x * rates["other"] * outer["more"]
        return x * rates["known"] * outer["known"]

    compiled = tg.compile(f)
    assert compiled(np.ones(3)).numpy().tolist() == [2.0] * 3
    assert list(rates) == ["known"] and list(outer) == ["known"]
    rates["known"], rates["other"], outer["more"] = 5.0, 3.0, 1.0
    assert compiled(np.ones(3)).numpy().tolist() == [5.0] * 3
    assert compiled(np.ones(2)).numpy().tolist() == [3.0] * 2
