"""Say whether this commit can be released as the version it names; with --tagged, whether its tag says so too."""

import argparse
import datetime
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def versions(root: Path) -> dict[str, str]:
    """Return the version of every place that says one."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    package = (root / "tensorgraph" / "__init__.py").read_text("utf-8")
    heading = re.search(r"^## \[([^]]+)\]", (root / "CHANGELOG.md").read_text("utf-8"), re.M)
    said = re.search(r'^__version__ = "([^"]+)"', package, re.M)
    return {
        "pyproject.toml": project["version"],
        "tensorgraph/__init__.py": said[1] if said else "none",
        "CHANGELOG.md, the first heading": heading[1] if heading else "none",
    }


def problems(root: Path, today: datetime.date, changed: list[str], tags_here: list[str], tags: list[str], tagged: bool,
             wheels: list[str]) -> list[str]:  # fmt: skip
    """Return what stands in the way of a release, each with its remedy."""
    said = versions(root)
    if len(set(said.values())) > 1:
        return [f"the version is said differently: {', '.join(f'{place} says {v}' for place, v in said.items())}"]
    (version,) = set(said.values())
    tag, problems = f"v{version}", []
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    day = re.search(rf"^## \[{re.escape(version)}\] - (\S+)$", changelog, re.M)
    if day is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", day[1]):
        problems.append(f'CHANGELOG.md has no day for {version}: write "## [{version}] - {today.isoformat()}"')
    if changed:
        problems.append(f"these files are not committed: {', '.join(changed)}")
    if not any(re.match(rf"tensorgraph_engine-{re.escape(version)}-", wheel) for wheel in wheels):
        problems.append(f"dist/ holds no wheel of {version} but {wheels or 'nothing'}: run `make wheel`")
    if tagged and tag not in tags_here:
        problems.append(f"the tag of this commit is not {tag} but {', '.join(tags_here) or 'none'}")
    if not tagged and tag in tags:
        problems.append(f"the tag {tag} is there already: a released version is not made again, so take the next one")
    return problems


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def main() -> int:
    """Print what is wrong, or what to do next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tagged", action="store_true", help="the tag must be there, instead of must not")
    tagged = parser.parse_args().tagged
    wheels = [path.name for path in sorted((ROOT / "dist").glob("*.whl"))]
    found = problems(
        ROOT, datetime.date.today(), [line[3:] for line in git("status", "--porcelain")],
        git("tag", "--points-at", "HEAD"), git("tag"), tagged, wheels,
    )  # fmt: skip
    for problem in found:
        print(problem)
    if not found:
        version = versions(ROOT)["pyproject.toml"]
        print(f"{version} can be released: dist/{wheels[-1]}; the next step stands in docs/releasing.md")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
