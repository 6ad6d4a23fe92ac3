"""A plan as Python that a person can read: a call a kernel with all its words, and the texts of the kernels."""

from __future__ import annotations

from collections.abc import Iterator

from tensorgraph.compile.explain import head
from tensorgraph.compile.plan import Plan
from tensorgraph.compile.selection import Step
from tensorgraph.graph.graph import Literal, Var
from tensorgraph.native.kernel import Kernel
from tensorgraph.native.places import Address, Buffer, Record

__all__ = ["listing"]


def listing(plan: Plan) -> str:
    """What a plan runs, in order, and the kernels.

    `values` is the memory that all results share, `cells` and `given` the arrays of cells and arguments by name.
    """
    kernels = [record.kernel for record in _records(plan)]
    names = _names(kernels)
    buffers = _buffers(plan)
    lines = [f"# {head(plan)}", f"def {_identifier(plan.graph.name)}(values, cells, given, constants):"]
    body = [line for step in plan.steps for line in _step(plan, step, names, buffers)]
    if all(line.startswith("#") for line in body):  # of arrays without elements there is nothing to compute
        body.append("pass")
    lines += [f"    {line}" for line in body]
    texts = [f"# {names[kernel]}: {_what(kernel)}\n{kernel.text.replace('<lambda>', 'nameless')}" for kernel in names]
    return "\n\n\n".join(["\n".join(lines), *texts, ""])


def _records(plan: Plan) -> Iterator[Record]:
    for step in plan.steps:
        if step.call is not None:
            for check in step.call.checks:
                yield check.record
            yield from step.call.records


def _names(kernels: list[Kernel]) -> dict[Kernel, str]:
    """What kernels are called: their functions' names, with a number where several have one."""
    found: dict[Kernel, str] = {}
    count: dict[str, int] = {}
    for kernel in kernels:
        if kernel not in found:
            count[kernel.name] = n = count.get(kernel.name, 0) + 1
            found[kernel] = kernel.name if n == 1 else f"{kernel.name}_{n}"
    return found


def _what(kernel: Kernel) -> str:
    """The type and the values that a kernel is made for."""
    given = "".join(f", {name}={value!r}" for name, value in kernel.constants.items())
    return f"{kernel.dtype}{given}; {kernel.symbol}"


def _buffers(plan: Plan) -> dict[Buffer, str]:
    """Python for the beginnings of buffers."""
    graph, layout = plan.graph, plan.layout
    found = {buffer: f"values + {offset}" for buffer, offset in plan.arena.offsets.items()}
    found |= {buffer: f"cells[{(graph.cells[k].path or k)!r}]" for buffer, k in layout.cells.items()}
    found |= {buffer: f"given[{(graph.inputs[k].name or k)!r}]" for buffer, k in layout.inputs.items()}
    found |= {buffer: f"constants[{k}]" for k, buffer in enumerate(layout.constants)}
    found |= {value: found[cell] for value, cell in plan.donated.items()}
    found |= {buffer: f"given['new {graph.outputs.index(var)}']" for buffer, var in plan.fresh.items()}
    return found


def _step(plan: Plan, step: Step, names: dict[Kernel, str], buffers: dict[Buffer, str]) -> Iterator[str]:
    ops = " ".join(dict.fromkeys(eq.op.name for eq in step.equations))
    where = " ".join(dict.fromkeys(str(eq.source) for eq in step.equations if eq.source is not None))
    if step.call is None:
        (eq,) = step.equations
        given = ", ".join(_operand(plan, atom, buffers) for atom in eq.atoms())
        yield f"numpy.{_identifier(eq.op.name)}({given})  # {where}: {step.why}"
        return
    yield f"# {where + ': ' if where else ''}{ops}"
    for check in step.call.checks:
        yield f"{_call(check.record, names, buffers)}  # {' '.join(check.error.split())[:60]}"
    for record in step.call.records:
        yield _call(record, names, buffers) + (f"  # in {record.blocks} blocks" if record.blocks > 1 else "")


def _call(record: Record, names: dict[Kernel, str], buffers: dict[Buffer, str]) -> str:
    return f"{names[record.kernel]}({', '.join(_word(word, buffers) for word in record.words)})"


def _word(word: int | Address, buffers: dict[Buffer, str]) -> str:
    if not isinstance(word, Address):
        return str(int(word))
    base = buffers.get(word.buffer, f"memory[{word.buffer.what!r}]")
    return base if not word.offset else f"{base} + {word.offset}"


def _operand(plan: Plan, atom: Var | Literal, buffers: dict[Buffer, str]) -> str:
    if type(atom) is not Var:
        return repr(getattr(atom, "value", atom)) if type(getattr(atom, "value", None)) is not type(...) else "..."
    return buffers.get(plan.layout.places[atom].buffer) or repr(atom.name or str(atom.aval))


def _identifier(name: str) -> str:
    made = "".join(c if c.isalnum() else "_" for c in name)
    return made if made[:1].isalpha() else f"f_{made}"
