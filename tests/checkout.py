"""The modules of the checkout, and what each of them imports."""

import ast
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
HOMES = {"tensorgraph": "tensorgraph", "ops": "tensorgraph.ops", "viz": "tensorgraph.viz"}


@dataclass(frozen=True)
class Import:
    """One import statement's target, as a module name, and where it stands."""

    module: str
    line: int
    late: bool


def module_name(path: Path) -> str:
    """Return the import name of a source file of the checkout."""
    folder, *rest = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join([HOMES[folder], *(rest[:-1] if rest[-1] == "__init__" else rest)])


@cache
def sources() -> dict[str, Path]:
    """Return every module of the checkout by its import name."""
    return {module_name(path): path for folder in HOMES for path in sorted((CHECKOUT / folder).rglob("*.py"))}


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax of every module; the garbage collector would take thrice as long."""
    gc.disable()
    try:
        return {name: ast.parse(path.read_text("utf-8")) for name, path in sources().items()}
    finally:
        gc.enable()


def is_type_checking(test: ast.expr) -> bool:
    """Tell whether a condition is TYPE_CHECKING, by whatever private name, whose branch never runs."""
    return (isinstance(test, ast.Name) and test.id.lstrip("_") == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports_of(tree: ast.Module, module: str, is_package: bool, known: set[str]) -> Iterator[Import]:
    """Yield what a module imports, wherever the statement stands, types-only branches left out."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, late = stack.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, late)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                kept = package[: len(package) - node.level + 1]
                base = ".".join([*kept, *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if inner in known else base, node.lineno, late)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            stack += [(child, late) for child in node.orelse]
        else:
            late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            stack += [(child, late) for child in ast.iter_child_nodes(node)]


@cache
def all_imports() -> dict[str, list[Import]]:
    """Return the imports of every module of the checkout."""
    known = set(sources())
    return {
        name: list(imports_of(trees()[name], name, path.name == "__init__.py", known))
        for name, path in sources().items()
    }


def where(module: str, found: Import) -> str:
    """Return file and line of an import, for a message."""
    return f"{sources()[module].relative_to(CHECKOUT)}:{found.line}"
