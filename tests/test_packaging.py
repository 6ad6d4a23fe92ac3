"""What is installed: the command, versions said once, extras, and folders that hide packages say the remedy."""

import importlib
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from child import python

import tensorgraph

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("folder", ["ops", "viz"])
def test_bare_import_of_a_source_folder_names_the_package(folder: str) -> None:
    done = python("-c", f"import {folder}", cwd=CHECKOUT)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    package = f"tensorgraph.{folder}"
    assert last == f"ImportError: the folder {folder}/ is the package {package}: write `import {package}`"


def test_the_folder_that_hides_numpy_says_the_remedy() -> None:
    done = python("-c", "import numpy", cwd=CHECKOUT / "tensorgraph")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the folder tensorgraph/numpy/ hides NumPy here")
    assert "another folder" in last and "python -P" in last
    assert python("-P", "-c", "import numpy", cwd=CHECKOUT / "tensorgraph").returncode == 0


def test_source_folder_that_hides_an_installed_package_says_the_remedy() -> None:
    # -S leaves out site-packages, so this is what an installed wheel looks like from here, and no install at all
    done = python("-S", "-c", "import tensorgraph", cwd=CHECKOUT)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "pip install -e ." in last
    assert "another folder" in last


def test_the_command_runs_as_a_module_too(tmp_path: Path) -> None:
    done = python("-m", "tensorgraph", "--version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"tensorgraph {tensorgraph.__version__}\n"
    wrong = python("-m", "tensorgraph", "dance", cwd=tmp_path)
    assert wrong.returncode == 2 and "invalid choice: 'dance'" in wrong.stderr


def test_version_is_said_once() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    assert tensorgraph.__version__ == project["version"] == importlib.metadata.version("tensorgraph-engine")
    assert f"## [{project['version']}]" in (CHECKOUT / "CHANGELOG.md").read_text("utf-8")


def test_extra_all_holds_every_extra_for_users() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    named = set(everything[everything.index("[") + 1 : -1].split(","))
    assert named == set(extras) - {"all", "test", "lint", "ray"}  # ray is large, and few have its cluster


def test_oldest_versions_tested_are_the_oldest_allowed() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    allowed = dict(re.fullmatch(r"(\w+)>=([\d.]+).*", need).groups() for need in project["dependencies"])
    lines = (CHECKOUT / ".ci" / "oldest.txt").read_text("utf-8").splitlines()
    tested = dict(line.removesuffix(".*").split("==") for line in lines if not line.startswith("#"))
    assert tested == allowed
