"""List the packages for setuptools: `ops/` and `viz/` install inside `tensorgraph`. All else is in pyproject.toml."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent
HOMES = {"tensorgraph": "tensorgraph", "ops": "tensorgraph.ops", "viz": "tensorgraph.viz"}


def packages() -> list[str]:
    """Return the import name of every folder with an `__init__.py`, so that a new folder ships without a list."""
    names = []
    for folder, home in HOMES.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            names.append(".".join([home, *init.parent.relative_to(ROOT / folder).parts]))
    return sorted(names)


if __name__ == "__main__":
    from setuptools import setup

    setup(packages=packages())
