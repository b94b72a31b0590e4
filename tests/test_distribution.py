"""What is shipped: every package and every YAML file, and a Makefile that lists its targets."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import torch

from bregbench.schema.compose import compose
from bregbench.schema.groups import GROUPS
from bregbench.schema.options import options as options_of_groups
from bregbench.schema.options import options_page, options_table
from bregbench.tables.rendering import replace_section
from tests.places import ROOT

CONFIGS = ROOT / "configs"
PACKAGES = ("bregman", "dessilbi", "lifted", "clip", "fno", "bregbench")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_every_schema_has_a_config_file(group):
    assert {kind.kind for kind in GROUPS[group]} <= set(options(group))


@pytest.mark.parametrize(
    ("group", "option"),
    [
        (str(path.parent.relative_to(CONFIGS)), path.stem)
        for path in sorted(CONFIGS.rglob("*.yaml"))
        if path.parent
        not in (
            CONFIGS,
            *(CONFIGS / name for name in ("table", "figure", "transform")),
        )  # no parts of a run
    ],
)
def test_every_config_file_composes(group, option):
    bases = {"objective/penalty": ["objective=lasso"], "method/solver": ["method=lifted"]}
    base = bases.get(group, [])
    config = compose(*base, f"{group}={'[' + option + ']' if group == 'evaluators' else option}")
    assert config.name


def test_pages_list_every_option():
    written = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert written == options_page(), "make pages brings the page up to date"
    own = (ROOT / "docs" / "own.md").read_text(encoding="utf-8")
    assert "<!-- options -->" in own
    assert replace_section(own, "options", options_table()) == own, "make pages does it"


def test_every_option_says_what_it_is():
    silent = [
        f"{group}={option}"
        for group, known in options_of_groups().items()
        for option, text in known.items()
        if not text
    ]
    assert silent == []


def test_every_metric_of_a_record_is_defined():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    names = re.findall(r"`([a-z0-9_]+(?:/[A-Za-z0-9_<>]+)*)`", page)
    patterns = [re.compile(re.sub(r"<\w+>", r"[^ ]+", re.escape(name))) for name in set(names)]
    measured: set[str] = set()
    for summary in (ROOT / "results" / "records").rglob("summary.json"):
        final = json.loads(summary.read_text(encoding="utf-8"))["final"]
        measured |= {key for chosen in final.values() for m in chosen.values() for key in m}
    undefined = {key for key in measured if not any(p.fullmatch(key) for p in patterns)}
    assert undefined == set()


def test_packages_are_all_listed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert found | {"bregbench.configs", "bregbench.published"} == listed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    # Of a copy, so that nothing left over from an earlier build in the checkout can be picked up.
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    kept = ("pyproject.toml", "README.md", "LICENSE", "configs", "results/published", *PACKAGES)
    source.mkdir()
    for name in kept:
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, source / name)
        else:
            caches = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=caches)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, source],
        check=True,
        capture_output=True,
    )
    (built,) = place.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_contains_code_configs_and_marks(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in CONFIGS.rglob("*.yaml"):
        assert f"bregbench/configs/{path.relative_to(CONFIGS)}" in names
    for path in (ROOT / "results" / "published").glob("*.csv"):
        assert f"bregbench/published/{path.name}" in names
    assert {"bregman/py.typed", "clip/py.typed", "bregbench/figures/bregbench.mplstyle"} <= names
    assert not any(name.startswith(("tests/", "scripts/", "configs/")) for name in names)
    assert b"bregbench = bregbench.cli.main:main" in zipfile.ZipFile(wheel).read(
        next(name for name in names if name.endswith("entry_points.txt"))
    )


@pytest.mark.slow
def test_wheel_is_the_whole_tool(wheel, tmp_path):
    """Outside of the repository, with nothing of it but the wheel, everything works."""
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # A line of a path file: the packages there are seen, its own path files (of this checkout) are not.
    (site / "present.pth").write_text(str(Path(torch.__file__).parents[1]))

    def bregbench(*arguments: str) -> str:
        done = subprocess.run(
            [tmp_path / "venv" / "bin" / "python", "-m", "bregbench", *arguments],
            cwd=tmp_path,
            env={"PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    bregbench("reproduce", "clip_readme", "render=true")
    table = (tmp_path / "results" / "clip_readme" / "clip_readme.md").read_text()
    assert "NOT RUN" in table
    bregbench("train", "model.hidden=[8]", "trainer.epochs=1", "tracking=none")
    bregbench("plot", "runs", "output=figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    bregbench("export", "runs", "output=network.pt2")
    assert (tmp_path / "network.pt2").stat().st_size > 1000


def listed_by(target: str) -> list[str]:
    """The lines that a target for help prints."""
    done = subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_help_fits_a_screen():
    lines = listed_by("help")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    lines = [line.split() for name in ("help", "help-reproduce") for line in listed_by(name)]
    listed = {words[1] for words in lines if words[:1] == ["make"]} - {"reproduce-<name>"}
    for path in [*CONFIGS.glob("table/*.yaml"), *CONFIGS.glob("figure/*.yaml")]:
        name = path.stem.replace("_", "-")
        numbered = re.fullmatch(r"(\w+)-(table|figure)(\d+)", name)
        targets.add(f"reproduce-{name}")
        targets.add("{1}-{0}-{2}".format(*numbered.groups()) if numbered else f"render-{name}")
    assert listed == targets


def test_make_renders_the_table_that_its_target_names():
    for target, table in (
        ("table-bregman-2", "bregman_table2"),
        ("figure-bregman-4", "bregman_figure4"),
    ):
        done = subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert f"table={table} render=true" in done.stdout


def test_pinned_dependencies_name_no_addresses():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+", line), (
            line
        )
