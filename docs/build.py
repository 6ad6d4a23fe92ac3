"""Write what is generated in the documentation, from the catalogue, the demonstration's network and measurements.

python docs/build.py             ops.md, passes.md, lint.md, native.md, from_*.md, the pictures, the type stubs
python docs/build.py --check     say which of these are stale, the README's table of speed included; 1 if any
python docs/build.py --speed     the README's table and picture of speed, from bench-output/benchmarks.json
"""

from __future__ import annotations

import argparse
import dataclasses
import html
import inspect
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import coming
import gallery
import speed

import tensorgraph as tg
from tensorgraph.commands import stubs
from tensorgraph.commands.demo.digits import FULL, SIDE, network
from tensorgraph.commands.demo.pictures import drawings
from tensorgraph.engine.batching import one_by_one, rule_of
from tensorgraph.engine.functions import FUNCTIONS
from tensorgraph.engine.op import Op
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.native import machine
from tensorgraph.viz import draw

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PICTURES = DOCS / "pictures"
MEASURED = ROOT / "bench-output" / "benchmarks.json"  # what `make bench` wrote last; not kept
KEPT = DOCS / "speed.json"  # what the README shows

KINDS = {
    "elementwise": "Element by element, with NumPy's broadcasting.",
    "reduction": "Over one axis, several or all.",
    "shape": "The same elements in another shape or order.",
    "index": "Picking elements, and what undoes it.",
    "list": "Lists of tensors.",
    "contraction": "Products of matrices.",
    "linear algebra": "Factorisations, systems and numbers of matrices: `tensorgraph.linalg`.",
    "scan": "Along an axis, each result of all elements up to its own.",
    "creation": "From no tensor, or from labels.",
    "random": "Pure functions of a random state, which they return advanced; `tensorgraph.random` keeps one for you.",
    "fused": "One compiled kernel for a composition of other ops, which is its reference and its other implementation.",
    "structural": "What other ops are differentiated and cut with.",
    "opaque": "Without a family: shapes are found by a rule of their own.",
}

HEAD = """\
# The catalogue

Every op: `softmax` here is `tensorgraph.softmax` in Python. Generated from the declarations by `make docs`; do not
edit.

*Implementations*: `fused` ops are one compiled kernel; `impl="composed"` on the call, or
`with tg.implementation("composed"):` around a region, takes the composition of other ops instead.
*Derivatives*: rules are written with ops, so an op that has one is differentiable to any order, backward and forward.
*Batched*: how `tg.vmap` makes one call of many. *Source*: the file that declares it, and the papers it follows.
"""


FUNCTIONS_ABOUT = """\
Composed of ops, as which graphs and texts record them: differentiable to any order, batched and drawn as these."""


def call_text(op: Op) -> str:
    """The op as it is called: inputs, then attributes with their defaults."""
    names = [f"[{n}]" if n in op.signature.lists else n for n in op.inputs]
    names = [f"{n}=None" if n in op.signature.optional else n for n in names]
    attrs = [a if default is REQUIRED else f"{a}={default!r}" for a, default in op.attrs.items()]
    text = f"{op.name}({', '.join([*names, *attrs])})"
    return text if op.single else f"{text} -> {', '.join(op.outputs)}"


def also_text(op: Op) -> str:
    """The operator and the method of an op."""
    forms = []
    if op.infix is not None:
        forms.append(f"`{op.infix[1:]}x`" if op.infix.startswith("u") else f"`a {op.infix} b`")
    forms += [f"`{name}`" for name in op.also]
    forms += [f"`x.{name}()`" for name in op.methods if not name.startswith("_")]
    return ", ".join(forms)


def derivative_text(op: Op) -> str:
    """In which inputs an op is differentiable, and to which order."""
    if not op.differentiable:
        return "none"
    named = [name for name, rule in op.rules.items() if rule is not None]
    if op.joint is not None or len(named) == len(op.inputs):
        return "any order"
    return f"any order, in {', '.join(f'`{name}`' for name in named)}"


def batching_text(op: Op) -> str:
    """How `tensorgraph.vmap` makes one call of many."""
    rule = rule_of(op)
    if rule is one_by_one:
        return "one by one"
    if rule is not None:
        return "at once"
    return "as its reference" if op.reference is not None or op.primal is not None else "in a loop, if asked"


CITED = re.compile(r"\(([^()]*\b(?:1[89]|20)\d\d(?:;[^()]*)?)\)")


def declared_in() -> dict[str, str]:
    """The file of each op, from the root: that in which its signature stands."""
    files = {}
    for path in sorted((ROOT / "ops").glob("*.py")):
        for name in re.findall(r'op\(\s*"(\w+)\(', path.read_text("utf-8")):
            files.setdefault(name, f"ops/{path.name}")
    return files


def file_of(function: Any) -> str | None:
    """The file of a function, if it is one of the catalogue's."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    path = Path(code.co_filename) if code is not None else ROOT
    return f"ops/{path.name}" if path.parent.name == "ops" else None


def source_text(doc: str, file: str | None) -> str:
    """Where it is declared, and the papers that its description names."""
    cited = [" ".join(found.split()) for found in CITED.findall(doc)]
    return "; ".join(([f"[{Path(file).stem}](../{file})"] if file else []) + cited)


def row(cells: Sequence[str]) -> str:
    """One line of a table; a bar inside a cell would end it."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def ops_page(catalogue: Sequence[Op]) -> str:
    """The catalogue as tables, one a kind."""
    lines, files = [HEAD], declared_in()
    unknown = {op.kind.name for op in catalogue} - set(KINDS)
    if unknown:
        raise ValueError(f"KINDS in docs/build.py says nothing of {sorted(unknown)}")
    for kind, about in KINDS.items():
        ops = sorted((op for op in catalogue if op.kind.name == kind), key=lambda op: op.name)
        if not ops:
            continue
        lines += [f"## {kind}", "", about, ""]
        heads = ["op", "also", "inputs", "implementations", "derivatives", "batched", "what it gives", "source"]
        lines += [row(heads), "|" + "---|" * len(heads)]
        for op in ops:
            ways = "fused, composed" if op.reference is not None else "NumPy"
            inputs = ", ".join(op.inputs) or "none"
            summary = op.doc.strip().split("\n\n")[0].replace("\n", " ").replace("``", "`")
            cells = [f"`{call_text(op)}`", also_text(op), inputs, ways, derivative_text(op), batching_text(op)]
            lines.append(
                row([*cells, " ".join(summary.split()), source_text(op.doc, files.get(op.name) or file_of(op.forward))])
            )
        lines.append("")
    lines += ["## functions", "", FUNCTIONS_ABOUT, ""]
    lines += [row(["function", "also", "what it gives", "source"]), "|" + "---|" * 4]
    for name, declared in sorted(FUNCTIONS.items()):
        names = list(inspect.signature(declared.call).parameters.values())
        shown = ", ".join(
            ("*" if p.kind is p.VAR_POSITIONAL else "") + p.name + ("" if p.default is p.empty else f"={p.default!r}")
            for p in names
        )
        also = ", ".join([f"`{other}`" for other in declared.also] + [f"`x.{m}()`" for m in declared.methods])
        summary = (declared.call.__doc__ or "").strip().split("\n\n")[0]
        source = source_text(declared.call.__doc__ or "", file_of(declared.call))
        lines.append(row([f"`{name}({shown})`", also, " ".join(summary.split()), source]))
    return "\n".join(lines).rstrip() + "\n"


PASSES_HEAD = """\
# Passes

What makes a graph of a graph. `graph.transform()` runs those marked "yes" in this order;
`graph.transform("recognise", "simplify")` those that are named; `without=("recognise", "simplify.algebra.name_only")`
leaves out passes or single rules. `graph.explain()` tells what was done to a graph, by rule and line. Generated from
the passes themselves by `make docs`; do not edit.
"""

LINT_HEAD = """\
# What lint finds

`tg.lint(step, *examples)`, or `tensorgraph lint`: each finding has the line, the reason and the remedy, and where it is
exact a rewrite. `ignore=("TG004",)` leaves a rule out. Generated from the rules themselves by `make docs`; do not edit.
"""


def one_line(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


RECOGNISED_HEAD = """\
## What recognise finds

Each fused op's declaration says it, a user's own (`recognise=tg.Recognition(...)`) as ours, in the words of
`tensorgraph.engine.traits`. One that says nothing is found where its reference stands equation by equation, as
`tg.implementation("composed")` writes it.
"""


def recognised(op: Op) -> tuple[str, str, str]:
    """How a fused op is found, what ops a spelling of it has, and what it may leave out."""
    says = op.recognise
    if says is None:
        return "as its reference", "", ""
    needs = ", ".join(f'"{" and ".join([item] if isinstance(item, str) else item)}"' for item in says.needs)
    return "in any spelling", needs, ", ".join(f"`{name}` ({number:g})" for name, number in says.neutral.items())


def passes_page() -> str:
    """The passes in order, and the rules of simplify."""
    from tensorgraph.passes.pipeline import PASSES
    from tensorgraph.passes.simplify import RULES

    lines = [PASSES_HEAD, row(["pass", "by default", "what it does", "what it keeps"]), "|" + "---|" * 4]
    for one in PASSES:
        lines.append(row([f"`{one.name}`", "yes" if one.default else "no", one_line(one.doc), one_line(one.keeps)]))
    lines += [
        "",
        RECOGNISED_HEAD,
        row(["op", "found", "a spelling has ops that are", "and may leave out"]),
        "|" + "---|" * 4,
    ]
    for op in tg.CATALOGUE.values():
        if op.reference is not None and "internal" not in op.traits:
            lines.append(row([f"`{op.name}`", *recognised(op)]))
    lines += ["", "## Rules of simplify", "", row(["rule", "what it does", "why every bit is kept"]), "|" + "---|" * 3]
    lines += [row([f"`{name}`", one_line(what), one_line(why)]) for name, (what, why) in RULES.items()]
    return "\n".join(lines) + "\n"


def lint_page() -> str:
    """The rules of lint."""
    from tensorgraph.analysis.lint import RULES

    lines = [LINT_HEAD, row(["id", "name", "what it finds"]), "|" + "---|" * 3]
    lines += [row([rule.id, rule.name, one_line(rule.doc)]) for _, rule in sorted(RULES.items())]
    return "\n".join(lines) + "\n"


def native_page() -> str:
    """The page of kernels, with the table of their words."""
    from tensorgraph.native.words import WORDS

    lines = [row(["word", "what it is"]), "|" + "---|" * 2]
    for word in WORDS.values():
        names = list(inspect.signature(word.emit).parameters)[1:]
        lines.append(row([f"`{word.name}({', '.join(names)})`", one_line(word.__doc__ or "")]))
    text = (DOCS / "native.md").read_text("utf-8")
    head, begin, rest = text.partition("<!-- words: written by docs/build.py from the words themselves -->\n")
    _, end, tail = rest.partition("<!-- end of words -->")
    return head + begin + "\n".join(["", *lines, "", ""]) + end + tail


def pictures() -> dict[str, Any]:
    """The drawings of the demonstration's network, and of one step of its training, by file name."""
    model = network(FULL.widths, 0)
    found = dict(zip(("graph", "ops"), drawings(model, FULL.batch_size)))
    found["graph"] = dataclasses.replace(found["graph"], direction="down")  # it stands beside words
    training = draw(training_step(model, FULL.batch_size), level="training")
    found |= {"training": training, "compiled": draw(compiled_step())}
    if machine.available():  # else nothing runs as kernels
        found["kernels"] = draw(compiled_step(), level="compiled")
    return found


def training_step(model: Any, batch: int) -> Any:
    """One step of training: forward, backward and the update, as a graph."""
    adam = tg.optim.Adam(model.parameters(), lr=FULL.learning_rate)

    def step(images: Any, labels: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(images), labels, label_smoothing=FULL.label_smoothing)
        adam.minimize(loss)
        return loss

    return tg.trace(step, tg.spec((batch, SIDE * SIDE)), tg.spec((batch,), "int64"))


def compiled_step() -> Any:
    """The step of docs/compiler.md, as the graph that is compiled."""
    model = tg.nn.Sequential(tg.nn.Linear(4, 8, seed=0), tg.nn.ReLU(), tg.nn.Linear(8, 3, seed=1))
    adam = tg.optim.Adam(model, lr=0.01)

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[32, 4], tg.spec((32,), "int64")).transform()


def drawn() -> dict[Path, Any]:
    """Every picture and its file."""
    made = {PICTURES / f"{name}.svg": drawing for name, drawing in pictures().items()}
    return made | {PICTURES / "gallery" / f"{name}.svg": drawing for name, drawing in gallery.drawings().items()}


def shows(svg: str, drawing: Any) -> bool:
    """Tell whether an SVG is of this drawing: its title and the text of every box, whatever engine laid it out."""
    shown = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", svg)).replace("\xa0", " ").split())
    rows = [drawing.title, *(text for node in drawing.nodes for r in node.rows for text in (r.text, r.value))]
    return all(" ".join(text.split()) in shown for text in rows)


def generated() -> dict[Path, str]:
    """Every generated file and its text, but for the SVG files, which depend on the layout engine."""
    texts = {DOCS / "ops.md": ops_page(stubs.library())}
    texts |= {DOCS / "passes.md": passes_page(), DOCS / "lint.md": lint_page(), DOCS / "native.md": native_page()}
    texts |= {DOCS / name: text for name, text in coming.pages().items()}
    texts |= {DOCS / "gallery.md": gallery.page()}
    texts |= {ROOT / "tensorgraph" / name: text for name, text in stubs.stubs().items()}
    texts |= {PICTURES / f"{name}.dot": drawing.dot() for name, drawing in pictures().items()}
    return texts


def stale() -> list[str]:
    """What is not as it would be written now, with the remedy."""
    found = [
        f"{path.relative_to(ROOT)}: run `make docs`"
        for path, text in generated().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    for path, drawing in drawn().items():
        if not path.exists() or not shows(path.read_text("utf-8"), drawing):
            found.append(f"{path.relative_to(ROOT)}: run `make docs`")
    readme = (ROOT / "README.md").read_text("utf-8")
    if speed.replaced(readme, speed.block(json.loads(KEPT.read_text("utf-8")))) != readme:
        found.append("README.md: its table of speed is not what docs/speed.json says: run `make readme-bench`")
    return found


def write() -> None:
    """Write everything but the table of speed."""
    from tensorgraph.viz.render.engine import REMEDY, find_engine

    if find_engine() is None:
        raise SystemExit(f"the pictures need a layout engine: {REMEDY}")
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
    for path, drawing in drawn().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing.save(path)


def write_speed() -> None:
    """Keep the last measurements and show them in the README."""
    if not MEASURED.exists():
        raise SystemExit(f"there is no {MEASURED.relative_to(ROOT)}: run `make bench` first")
    sys.path.insert(0, str(ROOT))
    from benchmarks import plot

    measured = json.loads(MEASURED.read_text("utf-8"))
    try:
        kept = speed.kept(measured)
    except ValueError as error:
        raise SystemExit(f"{MEASURED.relative_to(ROOT)}: {error}") from None
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    plot.draw(measured, ROOT / speed.PICTURE, ("compiled",))
    path = ROOT / "README.md"
    path.write_text(speed.replaced(path.read_text("utf-8"), speed.block(kept)), encoding="utf-8")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is stale")
    parser.add_argument("--speed", action="store_true", help="the README's table and picture of speed")
    options = parser.parse_args()
    if options.check:
        found = stale()
        print("\n".join(found) if found else "all that is generated is fresh")
        return int(bool(found))
    if options.speed:
        write_speed()
    else:
        write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
