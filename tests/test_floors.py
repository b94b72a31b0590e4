"""The architecture holds: files import from their own room and from floors below, never in circles."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

FLOORS = {
    "bregman": 1,
    "dessilbi": 2,
    "lifted": 2,
    "clip": 2,
    "fno": 2,
    "bregbench": 3,
    "scripts": 4,
}
#: the floors inside the bench, from the ground up; rooms of one floor do not know each other
BENCH = (
    ("foundations", "measures"),
    ("data", "storage"),
    ("tasks", "models"),
    ("objectives", "evaluators"),
    ("methods",),
    ("phases",),
    ("papers",),
    ("schema",),
    ("training",),
    ("runs",),
    ("tables",),
    ("figures",),
    ("reproduce", "site"),
    ("cli",),
    ("benchmark", "faults"),
)
ROOMS = {room: floor for floor, rooms in enumerate(BENCH) for room in rooms}
#: who may know the papers: the registry of config groups, and the benchmark, which times what they bring
KNOW_PAPERS = ("bregbench.schema.groups", "bregbench.benchmark")
#: what each floor may import beyond the standard library and our own packages
OUTSIDE = {1: {"torch"}, 2: {"torch"}}
FILES = [path for package in FLOORS for path in (ROOT / package).rglob("*.py")]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}
#: the door of the house, `python -m bregbench`, is in no room
DOOR = "bregbench.__main__"
OF_BENCH = [m for m in MODULES if m.startswith("bregbench.") and m != DOOR]


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere: at the top, inside functions and for type checking."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            inner = {f"{base}.{alias.name}" for alias in node.names}
            found = inner & MODULES.keys()
            names |= found or {base}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    own = path.relative_to(ROOT).parts[0]
    floor = FLOORS[own]
    for name in {module.split(".")[0] for module in imported(path)} - {own}:
        if name in FLOORS:
            assert FLOORS[name] < floor, f"{own} (floor {floor}) imports {name}"
        elif floor in OUTSIDE and name not in sys.stdlib_module_names:
            assert name in OUTSIDE[floor], f"{own} imports {name}"


@pytest.mark.parametrize("module", OF_BENCH)
def test_rooms_of_the_bench_import_from_floors_below(module):
    own = module.split(".")[1]
    for other in imported(MODULES[module]):
        room = other.split(".")[1] if other.startswith("bregbench.") else own
        if room == own:
            continue
        assert ROOMS[room] < ROOMS[own], f"{module} imports {other}"
        if room == "papers":
            assert module.startswith(KNOW_PAPERS), f"{module} imports {other}"


@pytest.mark.parametrize("module", [m for m in OF_BENCH if m.startswith("bregbench.papers.")])
def test_papers_do_not_know_each_other(module):
    own = module.split(".")[2]
    for other in imported(MODULES[module]):
        if other.startswith("bregbench.papers."):
            assert other.split(".")[2] == own, f"{module} imports {other}"


@pytest.mark.parametrize("name", ["__init__", "budgets", "latents", "masks", "rewiring", "snip"])
def test_algorithms_of_rivals_need_torch_alone(name):
    """They work in anybody's loop: what they import is torch, `bregman` and each other."""
    own = "bregbench.papers.rivals"
    for other in imported(ROOT / "bregbench" / "papers" / "rivals" / f"{name}.py"):
        if other.startswith(f"{own}."):
            assert other.removeprefix(f"{own}.") in ("budgets", "rewiring")
        else:
            first = other.split(".")[0]
            assert first in ("torch", "bregman") or first in sys.stdlib_module_names, other


def test_every_module_of_the_bench_has_a_room():
    assert {module.split(".")[1] for module in OF_BENCH} == set(ROOMS)


def test_no_import_goes_in_circles():
    graph = {m: imported(path) & MODULES.keys() - {m} for m, path in MODULES.items()}
    done: set[str] = set()
    way: list[str] = []

    def visit(module: str) -> None:
        if module in done:
            return
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        way.append(module)
        for other in sorted(graph[module]):
            visit(other)
        done.add(way.pop())

    for module in sorted(graph):
        visit(module)


def test_every_package_is_covered():
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"configs", "tests"}
    assert packages == set(FLOORS) - {"scripts"}
