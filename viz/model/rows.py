"""The label of a box: title, type, parameters, constants, attributes, writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tensorgraph.engine.op import Op
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Literal, Var
from tensorgraph.viz.model.drawing import Port, Row
from tensorgraph.viz.model.facts import GONE, Facts, peak_bytes, relative
from tensorgraph.viz.model.joins import heaviest
from tensorgraph.viz.model.keys import Key, key_of
from tensorgraph.viz.model.labels import attributes, binary, clean, count, listed, times, type_text, value_text
from tensorgraph.viz.model.view import Box

__all__ = [
    "MOST_PORTS", "fold_rows", "gradient_rows", "module_title", "op_rows", "op_title", "repeated",
    "summary_rows", "write_rows",
]  # fmt: skip

MOST_PORTS = 12  # operands of a box at which edges end; with more, the words would be a wall
MOST_TOLD = 4  # joined ops of which each is named
MOST_BESIDE = 1  # ops that are named with the module that they are joined with
MOST_WRITTEN = 32  # characters of the names of cells that a box writes; with more, they are counted


def module_title(facts: Facts, scope: str, frame: str) -> Row:
    """``Linear fc1``: class where known, and the name as seen from the frame around it; a function has but a name."""
    call = facts.calls.get(scope)
    if call is not None and call.kind == "scope":
        return Row("title", clean(call.name))
    name, kind = relative(scope, frame), None if call is None else call.name
    if name.isdigit() and not kind:
        name = scope  # a bare number says too little
    said = kind and not (name == kind or name.startswith(f"{kind}_"))
    return Row("title", clean(f"{kind} {name}" if said else name))


def cell_row(cell: CellDecl, scope: str, operand: str = "") -> Row:
    scope = scope.replace(GONE, "")
    while scope and not cell.path.startswith(f"{scope}."):  # what a fused op is made of stands deeper than its cells
        scope = scope.rpartition(".")[0]
    name = clean(relative(cell.path, scope))
    if operand and operand != name.rpartition(".")[2]:
        name = f"{operand}: {name}"
    frozen = " frozen" if cell.kind == "parameter" and not cell.requires_grad else ""
    return Row("parameter" if cell.kind == "parameter" else "buffer", name, type_text(cell.aval) + frozen)


def op_title(equation: Equation, key: Key | None) -> str:
    """What an op is called; one that reads at an index, as the user wrote it: ``emb[x]``."""
    return clean(key) if key is not None and "gathers" in equation.op.traits else clean(equation.op.name)


def operand_names(equation: Equation) -> list[tuple[str, Var | Literal]]:
    """Operands in order with their names; those of a list are numbered."""
    found: list[tuple[str, Var | Literal]] = []
    names = equation.op.inputs
    for i, atom in enumerate(equation.inputs):
        name = clean(names[i]) if i < len(names) else str(i)
        if isinstance(atom, tuple):
            found += [(f"{name}.{j}", part) for j, part in enumerate(atom)]
        else:
            found.append((name, atom))
    return found


def ordered(facts: Facts, equation: Equation) -> bool:
    """Whether the picture has to say which operand is which."""
    if "commutative" in equation.op.traits:
        return False
    operands = [atom for _, atom in operand_names(equation)]
    flowing = sum(isinstance(a, Var) and a not in facts.cells and a not in facts.graph.consts for a in operands)
    given = sum(not (isinstance(a, Literal) and a.value is None) for a in operands)
    return flowing > 0 and given > 1


def op_rows(facts: Facts, box: Box, scope: str, single: str | None) -> tuple[list[Row], list[Port]]:
    """Rows and ports of one equation, seen from `scope`; `single` names a module of which it is the only op."""
    eq = facts.graph.equations[box.equations[0]]
    key = key_of([facts.graph.equations[part.equations[0]] for part in (box, *box.others)])
    rows = [Row("title", op_title(eq, key))]
    if single:
        kind, name = facts.classes.get(single), relative(single, scope)
        if kind and kind.lower() == eq.op.name.replace("_", "") and not name[:1].isdigit():
            kind = None  # an activation's name says enough
        rows.append(Row("detail", clean(f"{kind} {name}" if kind else name)))
    named = ordered(facts, eq)
    operands = operand_names(eq)
    ports, flowing = [], []
    lists = any(isinstance(atom, tuple) for atom in eq.inputs)
    second = list(facts.graph.equations[box.others[0].equations[0]].atoms()) if box.others else []
    for i, (name, atom) in enumerate(operands):
        if atom not in facts.producer and second and second[i] in facts.producer:
            flowing.append((i, name))  # a number or a cell at first, and then what the repeat before has made
        elif isinstance(atom, Literal):
            if atom.value is None:
                continue
            rows.append(number_row(eq, name, atom))
        elif atom in facts.cells:
            rows.append(cell_row(facts.cells[atom], single or scope, name if named else ""))
        elif atom in facts.graph.consts:
            array = facts.graph.consts[atom]
            text = clean(value_text(array))
            rows.append(Row("constant", name, text if array.size <= 4 else type_text(atom.aval)))
        else:
            flowing.append((i, name))
    values = [atom for _, atom in operands if isinstance(atom, Var)]
    sources = {
        facts.producer.get(var, -1) for var in values if var not in facts.cells and var not in facts.graph.consts
    }
    boxes = {facts.box_of[at] if at >= 0 else -1 for at in sources}
    repeats = len(sources) > 2 and len(boxes) == 1 and bool(facts.boxes[min(boxes)].others)  # which have one line
    if named and 1 < len(flowing) <= MOST_PORTS and not repeats:
        ports = [Port(f"p{i}", name.rpartition(".")[2] if lists and len(flowing) > 4 else name) for i, name in flowing]
    given = attributes(eq.attrs, eq.op.attrs)
    if box.others:  # what differs from repeat to repeat
        last = dict(attributes(facts.graph.equations[box.others[-1].equations[0]].attrs, eq.op.attrs))
        given = [(n, v if last.get(n, v) == v else clean(f"{v} ... {last[n]}")) for n, v in given]
    if key is not None:
        given = [(name, value) for name, value in given if name != "key"]
        if "gathers" not in eq.op.traits:
            given.insert(0, ("at", clean(f"[{key.inside}]")))
        if key.counter:
            rows.append(Row("detail", key.counter))
    rows += [Row("attribute", name, value) for name, value in given]
    return rows, ports


def number_row(eq: Equation, name: str, number: Literal) -> Row:
    """An operand that is a number: ``0.1 * b``, or its name and the number."""
    operands = operand_names(eq)
    if not eq.op.infix or len(operands) != 2:
        return Row("constant", name, clean(value_text(number.value)))
    left, right = (value_text(number.value) if atom is number else other for other, atom in operands)
    return Row("constant", f"{left} {clean(eq.op.infix)} {right}")


def gradient_rows(facts: Facts, box: Box) -> list[Row]:
    """A deferred gradient: of what, with respect to how many parameters and values."""
    eq = facts.graph.equations[box.equations[0]]
    rows = [Row("title", clean(eq.op.name))]
    lists = [atom if isinstance(atom, tuple) else (atom,) for atom in eq.inputs]
    if len(lists) >= 2:
        ys = [called(facts, a) for a in lists[0]]
        cells = [a for a in lists[1] if isinstance(a, Var) and a in facts.cells]
        others = [a for a in lists[1] if not (isinstance(a, Var) and a in facts.cells)]
        rows.append(Row("detail", f"of {listed(ys)}"))
        if cells:
            total = sum(cell.aval.size for cell in cells)
            rows.append(Row("parameter", f"wrt {count(len(cells), 'parameter')}", f"{total:,} values"))
        if others:
            names = [called(facts, a) for a in others]
            rows.append(
                Row("detail", f"wrt {listed(names) if len(set(names)) == len(names) else f'{len(names)} values'}")
            )
    return rows


def called(facts: Facts, atom: Var | Literal) -> str:
    """The user's name of a value, else the op that made it."""
    if isinstance(atom, Literal):
        return clean(value_text(atom.value))
    if atom.name or atom not in facts.producer:
        return clean(atom.name or type_text(atom.aval))
    return clean(facts.graph.equations[facts.producer[atom]].op.name)


def fold_rows(facts: Facts, box: Box, frame: str, leaving: Sequence[Var], calls: int) -> list[Row]:
    """A module or another fold: title, ops where no class says what it is, the type that leaves it where that is not
    the type that enters, parameters."""
    if box.kind == "modules":
        first, last = relative(box.scope, frame), relative(box.last, frame)
        scopes = {facts.graph.equations[i].scope for i in box.equations} - {""}
        rows = [
            Row("title", clean(f"{first} ... {last}")),
            Row("detail", f"{count(len(scopes), 'module')}, {count(len(box.equations), 'op')}"),
        ]
    elif box.kind == "ops":
        equations = [facts.graph.equations[i] for i in box.equations]
        told = ops_told(facts, box)
        rows = [Row("title", told or clean(heaviest(facts.graph, box.equations)))]
        if told:
            pass
        elif len({eq.op for eq in equations}) > 1:
            rows.append(Row("detail", times(count(len(equations), "op"), 1 + len(box.others))))
        else:
            numbers = [
                [
                    number_row(eq, name, atom)
                    for name, atom in operand_names(eq)
                    if isinstance(atom, Literal) and atom.value is not None
                ]
                for eq in equations
            ]
            rows += [row for row in numbers[0] if all(row in found for found in numbers)]
    else:
        rows = [module_title(facts, box.scope, frame)]
        if calls > 1:
            rows[0] = Row("title", f"{rows[0].text}, call {calls}")
        beside = [i for i in box.equations if not f"{facts.graph.equations[i].scope}.".startswith(f"{box.scope}.")]
        if beside:  # joined with a module
            rows[0] = Row("title", clean(f"{rows[0].text}, {heaviest(facts.graph, beside, MOST_BESIDE)}"))
        elif box.scope not in facts.classes:
            rows.append(Row("detail", clean(heaviest(facts.graph, box.equations))))
    types = list(dict.fromkeys(type_text(v.aval) for v in leaving))
    alarm = any(facts.changes_dtype(v) for v in leaving)
    if len(types) == 1 and (alarm or types[0] != facts.entering(box)):
        rows.append(Row("warning" if alarm else "type", types[0] + (" !" if alarm else "")))
    rows += parameter_count(facts, box)
    return rows


def ops_told(facts: Facts, box: Box) -> str:
    """A few ops by their titles, in order, where each is another one: ``[:, 0:8], sigmoid``."""
    alike = zip(*[part.equations for part in (box, *box.others)])
    places = [[facts.graph.equations[i] for i in members] for members in alike]
    titles = [op_title(eqs[0], key_of(eqs)) for eqs in places]
    told = len(titles) <= MOST_TOLD and len(set(titles)) == len(titles)
    return ", ".join(titles) if told and len(", ".join(titles)) <= MOST_WRITTEN else ""


def parameter_count(facts: Facts, box: Box) -> list[Row]:
    """How many parameters a box has; in a template, of one repeat and of all."""
    parameters = [cell for cell in facts.cell_rows_of(box) if cell.kind == "parameter"]
    if not parameters:
        return []
    each = sum(cell.aval.size for cell in parameters)
    every = {cell.var: cell for part in (box, *box.others) for cell in facts.cell_rows_of(part)}
    total = sum(cell.aval.size for cell in every.values() if cell.kind == "parameter")
    text = repeated(count(each, "param"), each, total, 1 + len(box.others))
    said = []
    if any(len(facts.readers.get(cell.var, ())) > 1 for cell in parameters):
        said.append("shared")
    if not any(cell.requires_grad for cell in parameters):
        said.append("frozen")
    return [Row("parameter", text, ", ".join(said))]


def repeated(text: str, each: int, total: int, repeats: int) -> str:
    """``72 params x10 = 720``; of what repeats share in part, ``72 params, 100 in all``."""
    if total == each * repeats:
        return times(text, repeats, f"{total:,}")
    return text if total == each else f"{text}, {total:,} in all"


def write_rows(cells: Sequence[CellDecl], scope: str, repeats: int = 1) -> list[Row]:
    """Which cells get a value that the box makes, in the first of its repeats."""
    if not cells:
        return []
    names = ", ".join(clean(relative(cell.path, scope)) for cell in cells)
    if len(cells) > 1 and len(names) > MOST_WRITTEN:
        names = times(counted_cells(cells), repeats, f"{repeats * len(cells):,}")
    return [Row("write", f"writes {names}")]


def counted_cells(cells: Iterable[CellDecl]) -> str:
    """``4 parameters + 13 buffers``."""
    kinds = Counter(cell.kind for cell in cells)
    return " + ".join(count(number, kind) for kind, number in sorted(kinds.items(), reverse=True))


def summary_rows(graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> list[Row]:
    """One box for everything: what goes in and out, parameters, ops, memory."""
    rows = [Row("title", clean(graph.name or "graph"))]
    rows += [Row("operand", f"in {name}", type_text(v.aval)) for name, v in zip(inputs, graph.inputs, strict=True)][:8]
    for name, out in list(zip(outputs, graph.outputs, strict=True))[:8]:
        rows.append(Row("operand", f"out {name}", type_text(out.aval) if isinstance(out, Var) else str(out.value)))
    parameters = [c for c in graph.cells if c.kind == "parameter"]
    if parameters:
        size, nbytes = sum(c.aval.size for c in parameters), sum(c.aval.nbytes for c in parameters)
        rows.append(Row("parameter", f"{size:,} params", f"{len(parameters)} arrays, {binary(nbytes)}"))
    if len(graph.cells) > len(parameters):
        rows.append(Row("buffer", count(len(graph.cells) - len(parameters), "buffer")))
    rows.append(Row("detail", count(len(graph.equations), "op")))
    rows += cost_rows(graph)
    if graph.writes:
        cells = {cell.var: cell for cell in graph.cells}
        rows.append(Row("write", f"writes {counted_cells(cells[write.cell] for write in graph.writes)}"))
    return rows


def cost_rows(graph: Graph) -> list[Row]:
    """FLOPs, and the most memory at once."""
    if not all(isinstance(eq.op, Op) for eq in graph.equations):  # ops of which only the names are known
        return [Row("detail", f"at most {binary(peak_bytes(graph))} of values at once")]
    from tensorgraph.analysis.cost import si

    cost = graph.cost()
    most = f"at most {binary(cost.peak.bytes)} of values at once"
    return [Row("detail", f"{si(cost.flops)}FLOPs"), Row("detail", most)]


def boundary_rows(name: str, var: Var | Literal) -> list[Row]:
    """An input or an output: its name and type."""
    if isinstance(var, Literal):
        return [Row("title", name), Row("constant", clean(value_text(var.value)))]
    return [Row("title", name), Row("type", type_text(var.aval))]
