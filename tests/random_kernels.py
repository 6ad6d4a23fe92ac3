"""Random kernels: bodies over integers, numbers, vectors, masks and lists, in arithmetic that is exactly rounded."""

import random

TWIST = """
def twist(a, b, again=True):
    c = a
    for k in static(2):
        c = c * 0.5 + b
    if again:
        return c - b
    c += 1.0
    return c
"""


class Writer:
    """Writes the body of a kernel; every value that it makes is stored at the end."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lines, self.indent, self.count = [], 0, 0
        self.names = {"int": ["n", "m"], "real": [], "vector": [], "mask": [], "list": []}
        self.fixed = {"n", "m"}

    def line(self, text):
        self.lines.append("    " * self.indent + text)

    def new(self, kind):
        self.count += 1
        return f"{kind[0]}{self.count}"

    def one(self, kind):
        return self.random.choice(self.names[kind]) if self.names[kind] else None

    # expressions -----------------------------------------------------------------------------------------------------

    def int(self, depth=2):
        if depth == 0 or self.random.random() < 0.2:
            return self.random.choice([self.one("int"), str(self.random.randint(-9, 9)), "LANES"])
        a, b = self.int(depth - 1), self.int(depth - 1)
        return self.random.choice(
            [
                f"({a} + {b})", f"({a} - {b})", f"({a} * ({b} % 7))", f"({a} // (abs({b}) + 1))",
                f"({a} % -(abs({b}) + 2))", f"({a} // {self.random.choice([2, 3, 8, -4, 5])})",
                f"({a} >> {self.random.randint(0, 5)})", f"({a} & {b})", f"({a} ^ {b})", f"min({a}, {b})",
                f"max({a}, {b}, 0)", f"-{a}" if a[0] != "-" else a, f"abs({a})",
                f"({a} if {self.truth(0)} else {b})", f"(({a}) << 2)",
            ]
        )  # fmt: skip

    def truth(self, depth=1):
        how = self.random.choice(["<", "<=", "==", "!=", ">", ">="])
        one = f"{self.int(0)} {how} {self.int(0)}"
        if depth == 0:
            return one
        two = self.truth(depth - 1)
        return self.random.choice(
            [one, f"({one} and {two})", f"({one} or {two})", f"(not {one})", f"(0 <= {one})"[6:-1]]
        )

    def real(self, depth=2):
        if depth == 0 or self.random.random() < 0.2:
            place = f"load(p + {self.random.randint(0, 7)} * SIZE)"
            return self.random.choice([self.one("real") or place, place, f"real({self.int(1)})"])
        a, b = self.real(depth - 1), self.random.choice([self.real(depth - 1), "0.1", "-3.0", "2"])
        made = [f"({a} {op} {b})" for op in "+-*/"]
        made += [f"most({a}, {b})", f"least({b}, {a})", f"absolute({a})", f"min({a}, {b})", f"({a} % {b})"]
        made += [f"({a} if {self.truth(0)} else {b})", f"floor({a})", f"hsum({self.vector(1)})"]
        return self.random.choice(made)

    def vector(self, depth=2):
        if depth == 0 or self.random.random() < 0.15:
            place = self.random.choice([f"ld(p + {self.random.randint(0, 9)} * SIZE)", f"ldm(p, {self.int(0)}, 0.25)"])
            return self.random.choice([self.one("vector") or place, place, f"vset({self.real(0)})"])
        a, b = self.vector(depth - 1), self.random.choice([self.vector(depth - 1), self.real(0), "0.7", "3"])
        made = [f"({a} {op} {b})" for op in "+-*/"]
        made += [f"most({a}, {b})", f"least({b}, {a})", f"-{a}", f"sqrt(absolute({a}))", f"floor({a})"]
        made += [f"select({self.mask(1)}, {a}, {b})", f"twist({a}, {b})", f"twist({a}, {b}, False)"]
        made += [
            f"from_bits(bits({a}) & -4)",
            f"{self.one('list')}[{self.random.randint(0, 1)}]" if self.one("list") else a,
        ]
        return self.random.choice(made)

    def mask(self, depth=1):
        how = self.random.choice(["<", "<=", "==", "!=", ">", ">="])
        one = self.random.choice([f"({self.vector(0)} {how} {self.vector(0)})", f"first({self.int(0)})"])
        if depth == 0:
            return self.one("mask") or one
        two = self.mask(depth - 1)
        return self.random.choice([one, f"({one} & {two})", f"({one} | {two})", f"~{one}", f"({one} ^ {two})"])

    # statements ------------------------------------------------------------------------------------------------------

    def value(self, kind, depth=2):
        return f"({self.int(depth)}) % 1009 - 400" if kind == "int" else getattr(self, kind)(depth)

    def change(self):
        """Assign to a name that is there."""
        kind = self.random.choice(["int", "real", "vector", "mask", "list"])
        names = [name for name in self.names[kind] if name not in self.fixed]
        if not names:
            return self.line("pass")
        name = self.random.choice(names)
        if kind == "list":
            self.line(f"{name}[{self.random.randint(0, 1)}] = {self.vector()}")
        elif kind in ("real", "vector") and self.random.random() < 0.4:
            self.line(f"{name} {self.random.choice('+-*')}= {self.value(kind, 1)}")
        else:
            self.line(f"{name} = {self.value(kind)}")

    def begin(self):
        """A name that is new."""
        kind = self.random.choice(["int", "real", "vector", "mask", "list"])
        if kind == "list":
            text = self.random.choice(["[{}, {}]", "[{} * k + {} for k in static(2)]"])
            text = text.format(self.vector(1), self.vector(1))
        else:
            text = self.value(kind)
        name = self.new(kind)
        self.line(f"{name} = {text}")
        self.names[kind].append(name)

    def nested(self, statements):
        before = {kind: list(names) for kind, names in self.names.items()}
        self.indent += 1
        for _ in range(statements):
            self.statement(self.indent < 3)
        self.indent -= 1
        self.names = before  # what begins inside has no value afterwards

    def statement(self, deep=True):
        kind = self.random.choice(["begin", "change", "change", "if", "for", "static", "while"] if deep else ["change"])
        if kind in ("begin", "change"):
            getattr(self, kind)()
        elif kind == "if":
            self.line(f"if {self.truth()}:")
            self.nested(2)
            if self.random.random() < 0.6:
                self.line("else:")
                self.nested(2)
        elif kind == "while":
            name = self.new("w")
            self.line(f"{name} = 0")
            self.line(f"while {name} < {self.int(0)} % 4:")
            self.nested(2)
            self.line(f"    {name} += 1")
        else:
            name = self.new("k")
            bounds = f"range({self.int(0)} % 5, {self.int(0)} % 5, {self.random.choice([1, 2, -1])})"
            self.line(f"for {name} in {bounds if kind == 'for' else 'static(3)'}:")
            self.names["int"].append(name)
            self.fixed.add(name)
            self.nested(2)
            self.names["int"].remove(name)

    def body(self, statements=9):
        """The text, and how many bytes it writes at q where vectors have `BYTES`: so many times that."""
        for kind in ("int", "real", "vector", "mask", "list"):
            text = f"[{self.vector(1)}, {self.vector(0)}]" if kind == "list" else self.value(kind)
            name = self.new(kind)
            self.line(f"{name} = {text}")
            self.names[kind].append(name)
        for _ in range(statements):
            self.statement()
        stores = {"int": "store_int({1}, {0})", "real": "store({1}, {0})", "vector": "st({1}, {0})"}
        stores |= {"mask": "stb({1}, {0}, LANES)", "list": "st({1}, {0}[0] + {0}[1])"}
        place = 0
        for kind, names in self.names.items():
            for name in names:
                self.line(stores[kind].format(name, f"q + {place} * BYTES"))
                place += 1
        return "\n".join(self.lines), place
