"""The architecture holds: a file imports from its own package and from floors below, nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    "bregman": 1,
    "dessilbi": 2,
    "lifted": 2,
    "clip": 2,
    "fno": 2,
    "bregbench": 3,
    "scripts": 4,
}
#: what each floor may import beyond the standard library and our own packages
OUTSIDE = {1: {"torch"}, 2: {"torch"}}
FILES = [path for package in FLOORS for path in (ROOT / package).rglob("*.py")]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    import sys

    own = path.relative_to(ROOT).parts[0]
    floor = FLOORS[own]
    for name in imported(path) - {own}:
        if name in FLOORS:
            assert FLOORS[name] < floor, f"{own} (floor {floor}) imports {name}"
        elif floor in OUTSIDE and name not in sys.stdlib_module_names:
            assert name in OUTSIDE[floor], f"{own} imports {name}"


def test_every_package_is_covered():
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"configs", "tests"}
    assert packages == set(FLOORS) - {"scripts"}
