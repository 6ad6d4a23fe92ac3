"""What the documentation says is so: its code runs, its links lead somewhere, what is generated in it is fresh."""

import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import tensorgraph as tg
from tensorgraph import jit
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.testing import check

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/tour.md", "docs/train.md", "docs/language.md",
    "docs/numpy.md", "docs/ops.md",
    "docs/passes.md", "docs/lint.md", "docs/runs.md", "docs/panda.md", "docs/tune.md", "docs/ensemble.md",
    "docs/releasing.md",
    "docs/design.md", "docs/dist.md", "docs/compiler.md", "docs/native.md", "docs/performance.md",
    "benchmarks/README.md", "docs/from_pytorch.md", "docs/from_jax.md", "docs/from_numpy.md", "docs/from_keras.md",
    "docs/course.md", "docs/gallery.md",
)  # fmt: skip
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


def page(name):
    return (CHECKOUT / name).read_text("utf-8")


def blocks(text):
    """The Python blocks of a page, each with its first line."""
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.S | re.M)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in found]


def run_examples(name, names=None, flags=FLAGS):
    """Run every block of a page with prompts, one after another in one namespace; gives how many examples ran."""
    names, report, tried = {} if names is None else names, [], 0
    runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
    for line, block in blocks(page(name)):
        if ">>>" not in block:
            continue
        test = doctest.DocTestParser().get_doctest(block, names, f"{name}:{line}", name, line)
        result = runner.run(test, out=report.append, clear_globs=False)
        names, tried = test.globs, tried + result.attempted
    assert not report, "".join(report)
    return tried


def load(name, monkeypatch):
    """A script of docs/ as a module of its own name."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    return module


def test_a_wrong_example_is_found(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("a\n\n```python\n>>> 1 + 1\n3\n\n```\n", encoding="utf-8")
    monkeypatch.setattr(sys.modules[__name__], "CHECKOUT", tmp_path)
    with pytest.raises(AssertionError, match=r"(?s)line 4, in page\.md.*Expected:\s+3\s+Got:\s+2"):
        run_examples("page.md")


def test_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_examples("docs/train.md") >= 20


def test_the_array_namespace():
    assert run_examples("docs/numpy.md") >= 14


def test_runs(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    assert run_examples("docs/runs.md") >= 20
    assert run_examples("docs/panda.md") >= 9


def test_the_tour(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    assert run_examples("docs/tour.md") >= 50
    assert {path.name for path in tmp_path.iterdir()} >= {"model.svg", "layers.safetensors", "model.safetensors"}


def test_the_page_of_the_language():
    """Its errors too, to the letter."""
    assert run_examples("docs/language.md", flags=FLAGS & ~doctest.IGNORE_EXCEPTION_DETAIL) >= 25


def test_the_page_of_searching():
    assert run_examples("docs/tune.md") >= 20


def test_the_page_of_the_course():
    assert run_examples("docs/course.md") >= 10


def test_a_step_becomes_a_tape():
    assert run_examples("docs/compiler.md") >= 25


def test_the_kernels_of_the_page_run():
    assert run_examples("docs/native.md") >= 10


@pytest.mark.parametrize("library", ["pytorch", "jax", "numpy", "keras"])
def test_the_pages_for_people_from_elsewhere(library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = FLAGS & ~doctest.IGNORE_EXCEPTION_DETAIL
    assert run_examples(f"docs/from_{library}.md", flags=flags) >= 5
    table = [line for line in page(f"docs/from_{library}.md").splitlines() if line.startswith("| `")]
    assert len(table) > 10


def test_the_examples_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_examples("README.md") == 15


def test_the_ten_lines_of_the_readme(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    if not jit.compiled():
        pytest.skip("it takes long without compiled kernels")
    (code,) = [block for _, block in blocks(page("README.md")) if ">>>" not in block]
    assert len(code.strip().splitlines()) == 10 + 1  # and an empty one
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    told = capsys.readouterr().out
    assert float(re.search(r"'accuracy': ([0-9.]+)", told)[1]) > 0.97
    assert "BatchNorm" in (tmp_path / "model.svg").read_text("utf-8")


def test_the_op_that_contributing_adds_passes_every_check():
    (code,) = [block for _, block in blocks(page("CONTRIBUTING.md"))]
    names = {}
    try:
        exec(compile(code, "CONTRIBUTING.md", "exec"), names)
        op = names["soft_step"]
        assert tg.CATALOGUE["soft_step"] is op
        tg.check(op)
        assert tg.soft_step([-1.0, 0.0, 3.0]).tolist() == [-0.5, 0.0, 0.75]
        assert float(tg.grad(tg.grad(tg.soft_step))(tg.tensor(1.0))) == pytest.approx(-0.25)
        assert "soft_step(x)" in str(tg.trace(lambda x: tg.soft_step(x), tg.spec((2,))))
    finally:
        tg.CATALOGUE.pop("soft_step", None)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    text = re.sub(r"^```.*?^```$", "", page(name), flags=re.S | re.M)
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    here = (CHECKOUT / name).parent
    broken = [link for link in links if not re.match("https?://", link) and not (here / link.split("#")[0]).exists()]
    assert not broken


def test_every_page_is_tested():
    found = {str(path.relative_to(CHECKOUT)) for folder in (".", "docs", "benchmarks")
             for path in (CHECKOUT / folder).glob("*.md")}  # fmt: skip
    assert found == set(PAGES)


def test_every_command_that_is_named_exists():
    makefile = page("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    named = {word for name in PAGES for word in re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page(name), re.M)}
    assert named <= targets and {"demo", "test", "bench", "lint"} <= named
    told = set(re.findall(r"^#   make ([a-z-]+)", makefile, re.M))
    assert told == targets - {"format", "wheel", "help"}, "the head of the Makefile lists what one may want"
    assert set(re.findall(r"^\.PHONY: (.*)", makefile, re.M)[0].split()) == targets


def test_every_extra_is_in_the_readme():
    import tomllib

    extras = tomllib.loads(page("pyproject.toml"))["project"]["optional-dependencies"]
    told = re.findall(r"^\| `(\w+)` \|", page("README.md"), re.M)
    assert set(told) == set(extras) - {"all", "test", "lint"}


def test_what_is_generated_is_fresh(tmp_path):
    # in a process of its own: tests declare ops of theirs
    command = [sys.executable, str(CHECKOUT / "docs" / "build.py"), "--check"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "all that is generated is fresh\n"


def test_stale_files_are_found(tmp_path, monkeypatch):
    build = load("build", monkeypatch)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "PICTURES", tmp_path)
    monkeypatch.setattr(build, "generated", lambda: {tmp_path / "a.md": "new", tmp_path / "b.md": "same"})
    drawing = tg.draw(lambda x: tg.tanh(x), tg.spec((3,)))
    names = ("good", "old", "none")
    monkeypatch.setattr(build, "drawn", lambda: {tmp_path / f"{name}.svg": drawing for name in names})
    (tmp_path / "a.md").write_text("old")
    (tmp_path / "b.md").write_text("same")
    drawing.save(tmp_path / "good.svg")
    tg.draw(lambda x: tg.exp(x), tg.spec((3,))).save(tmp_path / "old.svg")
    (tmp_path / "README.md").write_text(f"{build.speed.BEGIN}\nfast\n{build.speed.END}")
    remedy = ": run `make docs`"
    table = "README.md: its table of speed is not what docs/speed.json says: run `make readme-bench`"
    assert build.stale() == [f"a.md{remedy}", f"old.svg{remedy}", f"none.svg{remedy}", table]


def test_a_row_of_the_catalogue(monkeypatch):
    build = load("build", monkeypatch)
    text = build.ops_page([tg.CATALOGUE[name] for name in ("where", "bitwise_or", "softmax", "split", "sign")])
    assert "| `where(c, a, b)` |  | c, a, b | NumPy | any order, in `a`, `b` | at once | " in text
    assert "| `bitwise_or(a, b)` | `a \\| b` | a, b | NumPy | none | at once | a \\| b" in text
    assert "| `softmax(x, axis=-1)` | `x.softmax()` | x | fused, composed | any order | " in text
    assert "| [softmax](../ops/softmax.py) |" in text
    assert "| `split(x, sizes, axis=0) -> parts` |" in text and "| `sign(x)` | `x.sign()` | x | NumPy | none |" in text
    assert re.findall(r"^## (\w+)$", text, re.M) == ["elementwise", "list", "fused", "functions"]
    strange = SimpleNamespace(kind=SimpleNamespace(name="strange"))
    with pytest.raises(ValueError, match="says nothing of \\['strange'\\]"):
        build.ops_page([strange])


def measured():
    """Two rows as `make bench` writes them."""

    def case(group, label, **times):
        return {"group": group, "label": label, "single_thread": group == "eager", "times": times}

    return {
        "machine": {"processor": "P", "processors": 2, "system": "Linux 1.2.3 x86_64", "python": "3.12.1", "load": 0.1},
        "date": "2026-01-02T03:04:05+0000",
        "libraries": {"tensorgraph": {"version": "0.1", "numpy": "2", "numba": "0.6"},
                      "torch": {"version": "9", "threads": 2}, "jax": {"version": "8"}},
        "cases": [
            case("eager", "forward", tensorgraph=1.0e-4, torch=2.0e-4),
            case("fused", "softmax 64x10", tensorgraph=3.0e-6, torch=2.0e-6, jax=4.0e-6),
            case("fused", "softmax 1024x1000", tensorgraph=0.1504, torch=0.2, jax=0.3),
            case("ops", "sort 1000x200", tensorgraph=1e-3, torch=3e-3),
            case("step", "S", tensorgraph=1.5e-3, torch=2.5e-2, jax=1.25e-3),
            case("compiled", "LSTM", **{"tensorgraph": 1e-3, "torch": 2e-3, "torch.compile": 3e-3, "eager": 1e-4}),
            case("inference", "MLP", tensorgraph=1e-3, torch=2e-3, onnxruntime=5e-4),
        ],
        "imports": {name: {"after_numpy": 0.1234} for name in ("tensorgraph", "torch", "jax")},
        "first_calls": {"empty cache": {"add": 0.01, "softmax": 1.5}, "filled cache": {"add": 0.01, "softmax": 0.04}},
        "wrong": [],
    }  # fmt: skip


def test_the_table_of_speed(monkeypatch):
    speed = load("speed", monkeypatch)
    text = speed.block(json.loads(json.dumps(speed.kept(measured()))))
    short, every = text.split("<details>")
    assert "| Step of an MLP with batch norm, 64 × 64-32-10 | 1.50 ms | 25.0 ms | **1.25 ms** |" in short
    assert "| 50 × (product, tanh) on 8 numbers, forward | **100 µs** | 200 µs |  |" in short
    assert "| `softmax` 1,024 × 1,000 | **0.15 s** | 0.20 s | 0.30 s |" in short
    assert "sort" not in short and "| sort 1000x200 | **1.00 ms** | 3.00 ms |  |" in every
    assert "64 × 10 |" not in short and "| `softmax` 64 × 10 | 3.0 µs | **2.0 µs** | 4.0 µs |" in every
    assert "| LSTM | **1.00 ms** | 2.00 ms | 3.00 ms |" in short and "fastest in 1 of these 1 rows" in short
    assert "| | tensorgraph | PyTorch | ONNX Runtime |" in short and "| MLP | 1.00 ms | 2.00 ms | **500 µs** |" in short
    assert "fastest in 0 of these 1 rows" in short
    assert "Eager, tensorgraph is the fastest in 3 of all 5 rows" in short and "Linux x86_64, Python 3.12.1" in short
    assert "(1.5 to 1.5 s); later processes find it on disk (0.04 to 0.04 s)" in short
    readme = f"a\n{speed.BEGIN}\nold\n{speed.END}\nb\n"
    assert speed.replaced(readme, text) == f"a\n{text}\nb\n"
    with pytest.raises(ValueError, match="must hold one block"):
        speed.replaced("nothing", text)


def test_a_part_of_the_measurements_is_no_table(monkeypatch):
    speed = load("speed", monkeypatch)
    results = measured()
    results["cases"] = results["cases"][:1]
    del results["libraries"]["jax"]
    with pytest.raises(
        ValueError, match=r"it lacks compiled, inference, step, fused, ops, jax: make the peers once with `make bench"
    ):
        speed.kept(results)
    results = {**measured(), "wrong": ["softmax: torch gives 1, tensorgraph 2"]}
    with pytest.raises(ValueError, match=r"libraries disagreed.*torch gives 1"):
        speed.kept(results)


def test_the_op_of_contributing_passes_every_check():
    """A newcomer copies it, so it runs as it stands."""
    source = next(block for _, block in blocks(page("CONTRIBUTING.md")) if "= op(" in block)
    names = {}
    before = set(CATALOGUE)
    exec(compile(source, "CONTRIBUTING.md", "exec"), names)
    (name,) = set(CATALOGUE) - before
    try:
        check(names[name])
    finally:
        tg.remove_op(name)
