"""The measurements and pictures of docs/course.md: `make course` runs its examples and writes them into the page.

A block of the page that begins with ``$ python examples/course/NAME.py`` holds what that command prints; what it draws
is docs/pictures/course/NAME.png. Both are written by hand never, and by `make docs` neither: the examples take minutes,
and some print times. Names on the command line choose some of the examples.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "course.md"
PICTURES = ROOT / "docs" / "pictures" / "course"
BLOCK = re.compile(r"^```text\n\$ python examples/(course/\w+|\w+)\.py\n(.*?)^```$", re.S | re.M)
WIDTH, MOST = 1100, 60_000  # pixels and bytes of the pictures as they are kept: small, and sharp enough to read


def examples() -> list[str]:
    """The examples that the page has a block for, in its order."""
    return [name for name, _ in BLOCK.findall(PAGE.read_text("utf-8"))]


def kept(png: bytes) -> bytes:
    """A picture as it is kept: narrower, and in few colours."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    for colours in (96, 48):  # fewer make one colour of two classes
        out = io.BytesIO()
        picture.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(out, "png", optimize=True)
        if out.tell() < MOST:
            return out.getvalue()
    raise SystemExit(f"a picture has {out.tell()} bytes in 48 colours, and may have {MOST}: draw less in it")


def run(name: str) -> str:
    """Run an example at its full size; keeps its picture and gives what it printed."""
    path = ROOT / "examples" / f"{name}.py"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, str(path)], cwd=folder, capture_output=True, text=True, env={**os.environ}, check=False
        )
        if done.returncode:
            raise SystemExit(f"examples/{name}.py failed:\n{done.stderr}")
        PICTURES.mkdir(parents=True, exist_ok=True)
        picture = Path(folder) / f"{path.stem}.png"
        (PICTURES / picture.name).write_bytes(kept(picture.read_bytes()))
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def main() -> int:
    """Run the command line."""
    known = examples()
    chosen = sys.argv[1:] or known
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise SystemExit(f"docs/course.md has no block of {', '.join(unknown)}; it has {', '.join(known)}")
    for name in chosen:
        print(name, flush=True)
        told = run(name)
        block = f"```text\n$ python examples/{name}.py\n{told}```"
        page = PAGE.read_text("utf-8")
        changed = BLOCK.sub(lambda match: block if match[1] == name else match[0], page)  # noqa: B023 (called at once)
        PAGE.write_text(changed, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
