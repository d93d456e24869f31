"""The requirement manifest: promises as data, and tests that cite them by `@requirement("id")`. Nothing is imported."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
MANIFEST = REPOSITORY / "tests" / "requirements.yaml"
TestFunction = TypeVar("TestFunction", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One promise. `source` is a path of this repository; `gap` says why no test proves it yet."""

    id: str
    promise: str
    source: str
    gap: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A test and the ids it cites."""

    test: str
    """`tests/…/test_x.py::test_name`."""
    ids: tuple[str, ...]


def requirement(*ids: str) -> Callable[[TestFunction], TestFunction]:
    """Mark a test as proof of these requirements; `tests/unit/house/test_requirements.py` checks the ids."""
    if not ids:
        raise ValueError("name at least one requirement")
    return lambda test: test


def requirements() -> dict[str, Requirement]:
    """Return all promises by id."""
    loaded = yaml.safe_load(MANIFEST.read_text())
    return {name: Requirement(id=name, **fields) for name, fields in loaded.items()}


def proofs(folder: Path) -> Iterator[Proof]:
    """Yield every test below a folder, with or without ids, from its source."""
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                test = f"{path.relative_to(REPOSITORY)}::{node.name}"
                yield Proof(test=test, ids=tuple(_cited(node)))


def _cited(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", None) == "requirement":
            for argument in decorator.args:
                yield str(ast.literal_eval(argument))
