"""Working on the project: hosted CI, pre-commit, templates and recipes call commands that exist, and the same ones."""

import datetime
import itertools
import re
import runpy
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted((CHECKOUT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
RECIPES = (
    "CONTRIBUTING.md",
    "README.md",
    "docs/releasing.md",
    "benchmarks/README.md",
    ".github/pull_request_template.md",
)


def read(name: str) -> Any:
    return yaml.safe_load((CHECKOUT / name).read_text("utf-8"))


@cache
def makefile() -> tuple[set[str], set[str]]:
    """The targets that are commands, and the variables that a command line may set."""
    text = (CHECKOUT / "Makefile").read_text("utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    variables = re.findall(r"^(\w+) \?=", text, re.M) + re.findall(r"^(?:else )?ifdef (\w+)", text, re.M)
    return set(targets.split()), set(variables)


def wrong_in(command: str) -> str | None:
    """Say what is wrong with a command that should be one of ours, if anything is."""
    program, *words = shlex.split(command)
    if program == "make":
        targets, variables = makefile()
        named = [word for word in words if "=" not in word]
        strange = {word.split("=")[0] for word in words if "=" in word} - variables
        if not named or set(named) - targets:
            return f"`{command}`: the Makefile has no target {' '.join(sorted(set(named) - targets)) or 'for it'}"
        return f"`{command}`: the Makefile reads no {', '.join(sorted(strange))}" if strange else None
    if program in ("bash", "sh"):
        return None if words and (CHECKOUT / words[0]).is_file() else f"`{command}`: there is no such script"
    return f"`{command}` is no target of the Makefile and no script of ours"


def jobs(workflow: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every job of a workflow, once for each row of its matrix."""
    for name, job in read(str(workflow))["jobs"].items():
        matrix = job.get("strategy", {}).get("matrix", {})
        for row in itertools.product(*matrix.values()):
            yield name, dict(zip(matrix, row, strict=True)), job


def filled(text: str, row: dict[str, Any]) -> str:
    """A text of a workflow with what its matrix says."""
    text = re.sub(r"\$\{\{ *matrix\.(\w+) *\}\}", lambda match: str(row[match[1]]), text)
    assert "${{" not in text, f"only the matrix may be named here: {text}"
    return text


def commands(workflow: Path) -> Iterator[tuple[str, str]]:
    """Every line that a workflow runs, with the machine it runs on."""
    for _, row, job in jobs(workflow):
        for step in job["steps"]:
            for line in step.get("run", "").splitlines():
                yield filled(job["runs-on"], row), filled(line, row)


def test_wrong_commands_are_told() -> None:
    assert wrong_in("make test PYTHON=python ARGS='-k softmax -x'") is None
    assert wrong_in("bash .ci/run") is None
    assert wrong_in("make tset") == "`make tset`: the Makefile has no target tset"
    assert wrong_in("make PYTHON=python") == "`make PYTHON=python`: the Makefile has no target for it"
    assert wrong_in("make test JOB=3") == "`make test JOB=3`: the Makefile reads no JOB"
    assert wrong_in("bash .ci/walk") == "`bash .ci/walk`: there is no such script"
    assert wrong_in("pytest -x") == "`pytest -x` is no target of the Makefile and no script of ours"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_our_commands(workflow: Path) -> None:
    lines = {line for _, line in commands(workflow)}
    assert lines
    assert not [wrong for line in lines if (wrong := wrong_in(line))]
    for line in lines:
        if line.startswith("make "):
            # what it would do, without doing it: every prerequisite is there or can be made
            done = subprocess.run([*shlex.split(line), "-n"], cwd=CHECKOUT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        else:
            done = subprocess.run(["bash", "-n", shlex.split(line)[1]], cwd=CHECKOUT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_whole(workflow: Path) -> None:
    """What the host would refuse, or do with more rights or time than wanted."""
    text = read(str(workflow))
    assert {"name", "permissions", "jobs"} <= set(text) and text["permissions"] == {"contents": "read"}
    assert True in text  # `on`, as YAML reads it
    for _, row, job in jobs(workflow):
        assert job["timeout-minutes"] <= 40
        filled(job.get("name", ""), row)
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert set(step) <= {"run", "uses", "with", "if", "name"}
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v4"))
        assert job["steps"][0]["uses"].startswith("actions/checkout@")


def test_every_machine_python_and_set_of_packages_is_tried() -> None:
    classifiers = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    tried: dict[bool, set[tuple[str, str]]] = {False: set(), True: set()}
    for _, row, job in jobs(CHECKOUT / ".github" / "workflows" / "tests.yml"):
        (python,) = [said for s in job["steps"] if (said := s.get("with", {}).get("python-version"))]
        python = filled(python, row)
        for step in job["steps"]:
            if step.get("run", "").startswith("make test "):
                tried["OLDEST=1" in step["run"]].add((filled(job["runs-on"], row).split("-")[0], python))
    assert tried[False] == set(itertools.product(("ubuntu", "macos"), classifiers))
    assert PROJECT["requires-python"] == f">={min(classifiers, key=lambda v: int(v[2:]))}"
    # the oldest NumPy and Numba have no wheels for the newest Python
    assert tried[True] == set(itertools.product(("ubuntu", "macos"), classifiers - {"3.13"}))
    assert {line for _, line in commands(CHECKOUT / ".github" / "workflows" / "tests.yml")} >= {"bash .ci/run"}


def test_what_must_hold_runs_slow_tests_too() -> None:
    stages = re.findall(r"^stage(?:_beside)? \w+ (make .*)$", (CHECKOUT / ".ci" / "run").read_text("utf-8"), re.M)
    assert not [wrong for stage in stages if (wrong := wrong_in(stage))]
    assert "make test WHEEL=1 SLOW=marked COVER=1 ARGS=--durations=40" in stages
    assert {stage.split()[1] for stage in stages} >= {"wheel", "lint", "test", "doctest", "interpreted"}


def test_pre_commit_has_the_ruff_of_the_extra_lint() -> None:
    (wanted,) = [need for need in PROJECT["optional-dependencies"]["lint"] if need.startswith("ruff")]
    hooks = [hook for repository in read(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]]
    assert [hook["entry"].split()[:2] for hook in hooks] == [["ruff", "check"], ["ruff", "format"]]
    for hook in hooks:
        assert hook["language"] == "python" and hook["additional_dependencies"] == [wanted]
        # a file that is named is read although the settings leave it out, unless this is said
        assert "--force-exclude" in hook["entry"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_issue_templates_are_forms(template: Path) -> None:
    form = read(str(template))
    if template.name == "config.yml":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 1
    for field in fields:
        assert field["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert field["attributes"]["label"]
        assert (field["type"] == "dropdown") == ("options" in field["attributes"])
    assert any(field.get("validations", {}).get("required") for field in fields)


@pytest.mark.parametrize("name", RECIPES)
def test_commands_of_recipes_exist(name: str) -> None:
    text = (CHECKOUT / name).read_text("utf-8")
    lines = re.findall(r"^ {4,}((?:make|bash|sh) .*?)(?: {2,}#.*)?$", text, re.M)
    lines += re.findall(r"`((?:make|bash|sh) [^`]+)`", re.sub(r"\s+", " ", text))
    lines = [re.sub(r" ?\.\.\.$", "", line) for line in lines]
    assert lines
    assert not [wrong for line in lines if (wrong := wrong_in(line))]


def test_a_release_is_refused_where_something_is_missing(tmp_path: Path) -> None:
    release = runpy.run_path(str(CHECKOUT / ".ci" / "release.py"))
    (tmp_path / "tensorgraph").mkdir()

    def problems(package: str = "0.3.0", day: str = "2030-01-31", **given: Any) -> list[str]:
        (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.3.0"\n', "utf-8")
        (tmp_path / "tensorgraph" / "__init__.py").write_text(f'__version__ = "{package}"\n', "utf-8")
        (tmp_path / "CHANGELOG.md").write_text(
            f"# Changelog\n\n## [0.3.0] - {day}\n\n## [0.2.0] - 2029-01-01\n", "utf-8"
        )
        state: dict[str, Any] = dict(
            changed=[],
            tags_here=[],
            tags=["v0.2.0"],
            tagged=False,
            wheels=["tensorgraph_engine-0.3.0-py3-none-any.whl"],
        )
        return release["problems"](tmp_path, datetime.date(2030, 1, 31), **state | given)  # type: ignore[no-any-return]

    assert problems() == []
    assert problems(tagged=True, tags_here=["v0.3.0"], tags=["v0.3.0"]) == []
    assert "tensorgraph/__init__.py says 0.2.0" in problems("0.2.0")[0]
    assert problems(day="unreleased") == ['CHANGELOG.md has no day for 0.3.0: write "## [0.3.0] - 2030-01-31"']
    assert problems(changed=["README.md"]) == ["these files are not committed: README.md"]
    assert "make wheel" in problems(wheels=["tensorgraph_engine-0.2.0-py3-none-any.whl"])[0]
    assert "there already" in problems(tags=["v0.3.0"])[0]
    assert problems(tagged=True) == ["the tag of this commit is not v0.3.0 but none"]


def test_the_places_of_a_version_are_read() -> None:
    said = runpy.run_path(str(CHECKOUT / ".ci" / "release.py"))["versions"](CHECKOUT)
    assert set(said.values()) == {PROJECT["version"]}
