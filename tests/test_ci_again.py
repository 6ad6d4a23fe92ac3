"""Tests that fail in `.ci/run` beside others run once more, alone: what then passes is told, and the rest fails."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")

# what stands for `make`: a stage fails at first where its name is in FAILS, and again where it is in FAILS_AGAIN
MAKE = """#!/usr/bin/env bash
case $1 in
test | interpreted)
    failing=$FAILS worst="2 failed, 5 passed" best="7 passed"
    if [[ $* == *ARGS=--last-failed* ]]; then failing=$FAILS_AGAIN worst="1 failed" best="2 passed"; fi
    echo "$SAYS"
    if [[ " $failing " == *" $1 "* ]]; then echo "== $worst in 1.0s =="; exit 1; fi
    echo "== $best in 1.0s ==" ;;
doctest) echo "== 3 passed in 0.1s ==" ;;
demo) for made in graph.svg ops.svg model.safetensors; do echo made >$made; done ;;
esac
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(CHECKOUT / ".ci" / "run", tmp_path / ".ci" / "run")
    for name, text in (("make", MAKE), ("chromium", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python3").symlink_to(sys.executable)
    cache = tmp_path / ".pytest_cache" / "v" / "cache" / "lastfailed"
    cache.parent.mkdir(parents=True)

    def run(failed, **more):
        cache.write_text(json.dumps(dict.fromkeys(failed, True)))
        environment = {
            **os.environ,
            "FAILS_AGAIN": "",
            "SAYS": "",
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            **more,
        }
        done = subprocess.run(["bash", ".ci/run"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, [line for line in done.stdout.splitlines() if not line.startswith("all of it")]

    return run


TWO = ["tests/test_a.py::test_one", "tests/test_b.py::test_two[10,000 ops in modules]"]


def test_what_passes_alone_is_told_and_fails_nothing(run):
    status, said = run(TWO, FAILS="test")
    told = [f"unsteady, it failed beside others and passed alone: {test}" for test in TWO]
    assert (status, said[-3:]) == (0, [*told, "10 passed, 0 failed"])
    assert run([], FAILS="")[1][-2:] == ["--- interpreted passed in 0 s", "10 passed, 0 failed"]


@pytest.mark.parametrize("stage", ["test", "interpreted"])
def test_what_fails_again_has_failed(run, stage):
    status, said = run(TWO, FAILS=stage, FAILS_AGAIN=stage)
    assert status == 1 and f"failed: {stage}" in said and not [line for line in said if "unsteady" in line]


def test_many_failures_are_no_accident(run):
    assert run([f"tests/test_a.py::test_{n}" for n in range(5)], FAILS="test")[0] == 1
    assert run([], FAILS="test")[0] == 1  # nothing that failed: it was broken off


def test_lines_that_did_not_run_do_not_run_by_trying_again(run):
    missing = "FAIL Required test coverage of 95% not reached. Total coverage: 94.00%"
    assert run(TWO, FAILS="interpreted", SAYS=missing)[0] == 1
