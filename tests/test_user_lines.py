"""What happens inside the library is told of the user's line, and generated source can be seen."""

import linecache
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

import tensorgraph as tg

SCRIPT = """\
import numpy as np, tensorgraph as tg
x = tg.tensor([0.0, 1.0], requires_grad=True)
tg.log(x)
y = np.log(x.numpy())
tg.tensor(np.float64(1e300)).astype(
    "float32")
tg.CATALOGUE["sum"].public(tg.tensor(np.full(2, 6e4, np.float16)), dtype="float16")
z = tg.log(x[1:] + 0.0) / x[1:]
tg.sqrt(x).sum().backward()
g = tg.trace(tg.log, tg.f32[2])
g(x)
for _ in range(3):
    1.0 / x
np.log(x)
"""


def run(folder: Path, *options: str, script: str = SCRIPT) -> str:
    path = folder / "user.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, "-P", *options, str(path)], capture_output=True, text=True, cwd=folder)
    return done.stderr


def test_warnings_of_numpy_are_told_of_the_users_line(tmp_path: Path) -> None:
    said = [line for line in run(tmp_path).splitlines() if "Warning" in line]
    assert all(line.startswith(str(tmp_path / "user.py")) for line in said), said
    lines = [int(line.split(":")[1]) for line in said]
    assert sorted(set(lines)) == [3, 4, 5, 7, 9, 11, 13, 14], said
    assert len(lines) == len(set(lines)), "once a line"
    assert "divide by zero encountered in log" in said[0]


@pytest.mark.parametrize(("option", "said"), [("error", "RuntimeWarning: divide by zero"), ("ignore", "")])
def test_the_filters_of_the_user_count(tmp_path: Path, option: str, said: str) -> None:
    text = run(tmp_path, "-W", f"{option}::RuntimeWarning")
    assert (said in text if said else not text) and ("line 3," in text or not said), text


def test_a_call_within_numpy_may_be_silenced_and_caught() -> None:
    x = tg.tensor([0.0])
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        tg.log(x)
    assert not caught
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        tg.log(x)
    with pytest.warns(RuntimeWarning, match="divide by zero encountered in log"):
        tg.log(x)


def test_generated_source_can_be_seen() -> None:
    for name in ("add", "concatenate", "softmax", "uniform"):
        code = tg.CATALOGUE[name].public.__code__
        assert code.co_name == name and linecache.getline(code.co_filename, 1).startswith(f"def {name}(")
        linecache.checkcache()
        assert "_mode()" in linecache.getline(code.co_filename, 2)
    try:
        tg.add(tg.ones((2,)), tg.ones((3,)))
    except ValueError as error:
        shown = "".join(traceback.format_exception(error))
    assert "in add" in shown and "_error(_op, (a, b,)" in shown
