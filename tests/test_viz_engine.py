"""The layout engine: which one, how long, and what becomes of its children; saving."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tensorgraph.viz import draw
from tensorgraph.viz.model.budget import MOST_BOXES, MOST_SPAN, fits, span
from tensorgraph.viz.render.engine import EngineError, find_engine, run_engine


def load(name: str) -> ModuleType:
    """A helper beside this file; the test folder is no package and not on the path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


hand = load("viz_graphs")


needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")
posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in engine is a shell script")


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without any engine."""
    monkeypatch.delenv("TENSORGRAPH_DOT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tensorgraph.viz.render.engine.sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr("tensorgraph.viz.render.engine.sysconfig.get_path", lambda name: str(tmp_path))
    return tmp_path


@posix
def test_the_order_of_engines(bare, monkeypatch):
    assert find_engine() is None
    pure = program(bare, "graphviz-pure", "exit 0")
    assert find_engine() == str(pure)
    dot = program(bare, "dot", "exit 0")
    assert find_engine() == str(dot)
    mine = program(bare, "mine", "exit 0")
    monkeypatch.setenv("TENSORGRAPH_DOT", str(mine))
    assert find_engine() == str(mine)
    monkeypatch.setenv("TENSORGRAPH_DOT", str(bare / "absent"))
    with pytest.raises(EngineError, match="TENSORGRAPH_DOT"):
        find_engine()


def test_without_an_engine_svg_is_the_text_with_one_line_on_the_remedy(bare):
    drawing = draw(hand.mlp())
    svg = drawing.svg()
    said = svg.replace("\u00a0", " ")
    assert "layers.1/batch_norm" in said and "pip install" in said and "prefers-color-scheme" in svg
    with pytest.raises(EngineError, match="pip install"):
        drawing.save(bare / "net.png")
    assert not (bare / "net.png").exists()
    drawing.save(bare / "net.svg")
    assert (bare / "net.svg").read_text() == svg


@posix
def test_an_engine_that_hangs_is_ended_with_its_children(bare, monkeypatch):
    children = bare / "child"
    monkeypatch.setenv("TENSORGRAPH_DOT", str(program(bare, "slow", f"/bin/sleep 60 & echo $! > {children}; wait")))
    with pytest.raises(EngineError, match=r"longer than 2 s"):
        run_engine("digraph {}", "svg", 2.0)
    child = int(children.read_text())
    for _ in range(100):
        if not alive(child):
            break
        time.sleep(0.05)
    assert not alive(child)
    svg = draw(hand.mlp(), timeout=0.3).svg().replace("\u00a0", " ")
    assert "shown as text: the layout took longer than 0.3 s" in svg


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


@posix
def test_an_engine_that_fails_says_why(bare, monkeypatch):
    monkeypatch.setenv("TENSORGRAPH_DOT", str(program(bare, "broken", "echo 'no memory' >&2; exit 3")))
    with pytest.raises(EngineError, match="broken could not make svg: no memory"):
        run_engine("digraph {}", "svg", 5.0)
    assert "no\u00a0memory" in draw(hand.mlp()).svg()


FAILING = {
    "fails": "echo 'no fonts here' >&2; exit 3",
    "is silent": "exit 0",
    "talks": "echo hello",
    "stops halfway": "echo '<svg><g>'; exit 0",
    "is killed": "kill -9 $$",
    "hangs": "exec /bin/sleep 60",
}


@posix
@pytest.mark.parametrize("how", FAILING)
def test_an_engine_that_fails_is_followed_by_the_next(bare, how):
    program(bare, "dot", FAILING[how])
    program(bare, "graphviz-pure", "echo '<svg>drawn</svg>'")
    begun = time.monotonic()
    assert run_engine("digraph {}", "svg", 3.0) == b"<svg>drawn</svg>\n"
    assert time.monotonic() - begun < 3.0


@posix
def test_a_program_that_does_not_start_is_followed_by_the_next(bare, monkeypatch):
    (bare / "dot").write_bytes(b"#!/absent/interpreter\n")
    (bare / "dot").chmod(0o755)
    program(bare, "graphviz-pure", "echo '<svg>drawn</svg>'")
    assert b"drawn" in run_engine("digraph {}", "svg", 3.0)
    (bare / "dot").chmod(0o644)
    assert b"drawn" in run_engine("digraph {}", "svg", 3.0)
    monkeypatch.setenv("TENSORGRAPH_DOT", str(program(bare, "mine", "exit 1")))
    assert b"drawn" in run_engine("digraph {}", "svg", 3.0)


@posix
def test_an_engine_that_works_but_is_slow_is_not_followed_by_another(bare):
    script = 'read -r first; case "$first" in "digraph {}") echo "<svg></svg>";; *) exec /bin/sleep 60;; esac'
    program(bare, "dot", script)
    program(bare, "graphviz-pure", "echo '<svg>drawn</svg>'")
    with pytest.raises(EngineError, match=r"longer than 1\.5 s"):
        run_engine("digraph tensorgraph {\n}\n", "svg", 1.5)


@posix
def test_when_all_engines_fail_each_says_why_in_full(bare):
    long = "a complaint that goes on and on " * 9 + "to its end"
    program(bare, "dot", f"echo '{long}' >&2; echo second line >&2; exit 3")
    program(bare, "graphviz-pure", "exit 4")
    with pytest.raises(EngineError, match=r"to its end second line; graphviz-pure could not make svg: .* exit code 4"):
        run_engine("digraph {}", "svg", 5.0)
    svg = draw(hand.mlp()).svg()
    said = " ".join(re.sub(r"<[^>]*>", " ", svg).replace("\u00a0", " ").split())
    assert f"shown as text: dot could not make svg: {long} second line; graphviz-pure could not" in said
    assert max(len(line) for line in re.findall(r"<text[^>]*>([^<]*)", svg)) < 140


@posix
def test_the_engine_may_not_open_files(bare, monkeypatch):
    monkeypatch.setenv("GV_FILE_PATH", "/etc")
    program(bare, "dot", 'echo "<svg>$SERVER_NAME:$GV_FILE_PATH</svg>"')
    assert run_engine("digraph {}", "svg", 5.0) == b"<svg>tensorgraph:</svg>\n"


# ---- the budget


@pytest.mark.sampled(test=10, quick=2)
@pytest.mark.parametrize("level", ["auto", "module", "op"])
@pytest.mark.parametrize("make", ["chain", "modules", "residual", "shared", "tangled"])
def test_every_drawing_is_within_the_budget_or_says_what_it_left_out(make, level):
    graph = {
        "chain": lambda: hand.chain(3_000),
        "modules": lambda: hand.chain(3_000, modules=150),
        "residual": lambda: hand.residual(400),
        "shared": lambda: shared(600),
        "tangled": lambda: tangled(800),
    }[make]()
    drawing = draw(graph, level=level)
    assert fits(drawing)
    drawn = len([n for n in drawing.nodes if n.members])
    assert drawn == len(graph.equations) or "drawn as" in drawing.title
    if any(edge.cut and edge.role != "carried" for edge in drawing.edges):
        assert any("<-" in note for note in drawing.notes)
        assert any(row.style == "stub" for node in drawing.nodes for row in node.rows)


def shared(steps: int):
    """A recurrence whose input is read at every step."""
    m = hand.Maker()
    x, h = m.input((8,)), m.input((8,), name="h")
    for _ in range(steps):
        h = m.op("tanh", m.op("multiply", x, h))
    return m.graph(h)


def tangled(ops: int):
    """Each op reads the one before it and one far back."""
    m = hand.Maker()
    values = [m.input((8,))]
    for i in range(ops):
        values.append(m.op("add", values[-1], values[i * 7919 % len(values)]))
    return m.graph(values[-1])


def test_shared_inputs_are_named_at_each_use():
    drawing = draw(shared(600), level="op", expand=True, direction="down")
    assert any("named at each use" in note for note in drawing.notes) and span(drawing) <= MOST_SPAN
    cut = [edge for edge in drawing.edges if edge.cut]
    assert len(cut) >= 598 and all("->" not in row.text for edge in cut for row in edge.rows)
    assert "-> " in drawing.dot()
    assert drawing.dot().count(" -> ") == len(drawing.edges) - len(cut)


def test_thousands_of_ops_by_op_are_drawn_by_module_with_a_note():
    drawing = draw(hand.chain(4_000, modules=50), level="op", expand=True)
    assert drawing.level == "module" and len(drawing.nodes) <= MOST_BOXES
    assert "4,000 ops are more than a layout takes" in drawing.notes[-1]
    near = draw(hand.chain(4_000, modules=50), level="op", focus="layers.7/exp#3", hops=2)
    assert len(near.nodes) == 5 and near.level == "op"


@needs_engine
@pytest.mark.slow
def test_a_large_drawing_is_laid_out():
    for graph in (hand.residual(300), tangled(1500), shared(600)):
        drawing = draw(graph, level="op", expand=True, timeout=120.0)
        assert "shown as text" not in drawing.svg()


# ---- saving


@needs_engine
@pytest.mark.parametrize("suffix", ["svg", "html", "png", "dot", "mmd", "txt", "json", "SVG"])
def test_saved_by_suffix(tmp_path, suffix):
    drawing = draw(hand.mlp(), level="module")
    path = tmp_path / f"net.{suffix}"
    assert drawing.save(path) is drawing
    data = path.read_bytes()
    starts = {
        "svg": b"<svg", "html": b"<!DOCTYPE", "png": b"\x89PNG", "dot": b"digraph", "mmd": b"---\ntitle",
        "txt": b"classifier", "json": b"{",
    }  # fmt: skip
    assert data.startswith(starts[suffix.lower()])
    assert os.listdir(tmp_path) == [path.name]


def test_an_unknown_suffix_names_those_that_exist(tmp_path):
    with pytest.raises(ValueError, match=r"\.svg, \.html, \.png, \.pdf, \.dot, \.mmd, \.txt, \.json"):
        draw(hand.mlp()).save(tmp_path / "net.bmp")
    with pytest.raises(ValueError, match="suffix"):
        draw(hand.mlp()).save(tmp_path / "net")
    assert not list(tmp_path.iterdir())


@posix
def test_pdf_says_which_engine_cannot(bare, monkeypatch):
    program(bare, "dot", 'case "$1" in -Tpdf) echo "Format: pdf not recognized" >&2; exit 1;; esac')
    with pytest.raises(EngineError, match="no engine here writes PDF"):
        draw(hand.mlp()).save(bare / "net.pdf")
    program(bare, "dot", "echo %PDF-1.5")
    draw(hand.mlp()).save(bare / "net.pdf")
    assert (bare / "net.pdf").read_bytes().startswith(b"%PDF")


@posix
def test_an_engine_that_loses_its_way_is_given_other_room(bare):
    asked = bare / "asked"
    program(
        bare,
        "dot",
        f"""while read -r line; do text="$text$line"; done; echo "$text" >> {asked}
case "$text" in *nodesep=0.28*) echo 'Error: in routesplines, lost' >&2; exit 1;; esac; echo '<svg></svg>'""",
    )
    assert run_engine("digraph { graph [nodesep=0.28] }\n", "svg", 10.0).strip() == b"<svg></svg>"
    assert asked.read_text("utf-8").count("digraph") == 2
    program(bare, "dot", "while read -r line; do :; done; echo 'Error: in routesplines, lost' >&2; exit 1")
    with pytest.raises(EngineError, match="lost"):
        run_engine("digraph { graph [nodesep=0.28] }\n", "svg", 10.0)


@posix
def test_an_engine_that_gives_something_else_is_told(bare):
    program(bare, "dot", "echo hello")
    assert "dot could not make svg: it gave no SVG" in draw(hand.mlp()).svg().replace("\xa0", " ")


@needs_engine
def test_a_png_too_large_to_read_is_refused(tmp_path):
    drawing = draw(hand.chain(1_900), level="op", expand=True, direction="down", timeout=120.0)
    with pytest.raises(ValueError, match="under 6 px: use svg or html"):
        drawing.save(tmp_path / "net.png")
    assert not list(tmp_path.iterdir())


@posix
def test_a_large_png_gets_fewer_dots_an_inch(bare):
    asked = bare / "asked"
    script = (
        f'case "$1" in -Tsvg) echo \'<svg width="12000pt" height="300pt"></svg>\';; '
        f'*) echo "$2" > {asked}; printf "\\\\211PNG";; esac'
    )
    program(bare, "dot", script)
    draw(hand.mlp()).save(bare / "net.png")
    assert asked.read_text().strip() == "-Gdpi=144.0"
    program(bare, "dot", script.replace("12000pt", "24000pt"))
    draw(hand.mlp()).save(bare / "net.png")
    assert asked.read_text().strip() == "-Gdpi=98.3"


def test_theme_and_timeout_do_not_change_what_is_drawn():
    drawing = draw(hand.mlp())
    assert draw(hand.mlp(), theme="dark", timeout=1.0) == drawing
    assert replace(drawing, theme="dark").dot() != drawing.dot()
    with pytest.raises(ValueError, match="theme"):
        drawing.dot("blue")


def test_importing_pictures_loads_no_graphviz(tmp_path):
    code = "import sys, tensorgraph.viz; sys.exit('graphviz' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
