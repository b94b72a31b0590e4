"""The page on extending the bench works as it stands: its files are written and its commands run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import blocks, commands, file_of
from tests.places import ROOT

PACKAGES = ("bregman", "dessilbi", "lifted", "clip", "fno", "bregbench")
PAGE = "extending.md"


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the packages with the page's files in it."""
    tree = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=ignored)
    # As installed: the YAML files are a package of the bench.
    shutil.copytree(ROOT / "configs", tree / "bregbench" / "configs", ignore=ignored)
    for language, text in blocks(PAGE):
        file = file_of(text)
        if file is None:
            assert language == "bash", text
            continue
        path = str(file).replace("configs/", "bregbench/configs/", 1)
        assert not (tree / path).exists(), path
        # Hydra wants "@package" in the first line of a file.
        (tree / path).write_text(text.partition("\n")[2], encoding="utf-8")
    return tree


def run(
    module: str, arguments: list[str], tree: Path, folder: Path
) -> subprocess.CompletedProcess[str]:
    """A command of the bench in this interpreter, from the copy."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_files_of_the_page_work_together(copy, tmp_path):
    for language, text in blocks(PAGE):
        for module, arguments in commands(text) if language == "bash" else []:
            done = run(module, arguments, copy, tmp_path)
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    table = (tmp_path / "results" / "my_signs" / "my_signs.md").read_text()
    rows = re.findall(r"\| (SGD|sign descent) \| (\S+) ± \S+ \| (\S+) ", table)
    assert [row for row, _, _ in rows] == ["SGD", "sign descent"], table
    assert all(float(accuracy) > 90 for _, accuracy, _ in rows), "stripes are easy to tell apart"
    assert (tmp_path / "results" / "my_bars" / "my_bars.png").stat().st_size > 2000
    runs = {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    assert runs == {"default", "my_signs"}, "the figure has trained nothing of its own"


def test_a_method_is_one_short_module_and_one_file():
    found = {text.splitlines()[0]: text for _, text in blocks(PAGE) if "/sign_sgd." in text}
    assert list(found) == ["# bregbench/methods/sign_sgd.py", "# configs/method/sign_sgd.yaml"]
    assert sum(text.count("\n") for text in found.values()) < 60
