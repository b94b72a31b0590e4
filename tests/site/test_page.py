"""The page as a file: its size, that it needs nothing else, and how its data are packed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import re
from pathlib import Path

import pytest

from bregbench.foundations.errors import BenchError
from bregbench.site import page as pages
from bregbench.site.packing import Texts, column, flat, rounded, thinned
from bregbench.site.runs import config_lines, method_of
from tests.places import ROOT

VENDORED = [ROOT / "bregbench" / "site" / "assets" / "vendor", ROOT / "tests" / "site" / "vendor"]


def data_of(page: Path) -> dict:
    """The data that a page carries."""
    found = re.search(r'id="data">([^<]*)<', page.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def test_page_is_small_and_needs_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    assert len(text.encode()) < 3_000_000
    assert not re.search(r'(?:src|href)="(?!#|data:)', text.partition('id="data"')[0])
    assert "default-src 'none'" in text
    # Addresses stand in comments and licences alone; the policy above forbids to open any.
    assert set(re.findall(r"https?://[\w./-]+", text)) <= {"https://github.com/leeoniya/uPlot"}


def test_policy_names_the_script(page):
    text = page.read_text(encoding="utf-8")
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_every_run_and_every_cell_is_there(page):
    data = data_of(page)
    known = {data["texts"][run["record"]] for run in data["runs"]}
    records = ROOT / "results" / "records"
    kept = {str(path.parent.parent.relative_to(records)) for path in records.rglob("summary.json")}
    # The page shows runs of bundles beside the records.
    assert kept <= known
    assert all(extra.startswith("frontier_") for extra in known - kept)
    by_name = {table["name"]: table for table in data["tables"]}
    for path in (ROOT / "results").glob("*/*.csv"):
        if path.stem == path.parent.name and path.read_text().startswith("row,column,unit"):
            lines = path.read_text(encoding="utf-8").count("\n") - 1
            assert len(by_name[path.stem]["cells"]) == lines, path


@pytest.mark.parametrize("folder", VENDORED, ids=lambda path: str(path.relative_to(ROOT)))
def test_vendored_files_are_as_published(folder):
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert len(lines) >= 2
    for line in lines:
        digest, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_modules_share_one_scope():
    script = pages.bundle()
    assert not re.search(r"^(import|export) ", script, re.MULTILINE)
    assert "</script" not in script.lower()
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", script, re.MULTILINE)
    assert len(names) > 50
    assert len(names) == len(set(names)), "two modules use one name"
    assets = (ROOT / "bregbench" / "site" / "assets").glob("*.js")
    assert {path.stem for path in assets} == set(pages.SCRIPTS)


@pytest.mark.parametrize("count", [1, 2, 7, 48, 49, 1000])
def test_thinned_keeps_both_ends(count):
    places = thinned(count, 48)
    assert len(places) == min(count, 48)
    assert (places[0], places[-1]) == (0, count - 1)
    gaps = {b - a for a, b in itertools.pairwise(places)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_numbers_keep_four_digits():
    assert rounded(0.123456) == 0.1235
    assert rounded(200.0) == 200
    assert isinstance(rounded(200.0), int)
    assert rounded(float("inf")) is None
    assert column([0.5, 0.5, 0.50000001]) == [0.5]
    assert column([0.5, None]) == [0.5, None]


def test_texts_are_stored_once():
    texts = Texts()
    places = [texts.place(word) for word in ("a", "b", "a")]
    assert places == [0, 1, 0]
    assert texts.all() == ["a", "b"]


def test_configs_say_nothing_of_the_machine():
    config = {
        "data": {"kind": "mnist", "root": "/home/somebody"},
        "method": {"kind": "linbreg", "lam": 0.1, "target_density": None},
        "objective": {"kind": "clip"},
        "runs_dir": "runs",
    }
    lines = config_lines(config)
    assert lines == [
        "data.kind=mnist",
        "method.kind=linbreg",
        "method.lam=0.1",
        "objective.kind=clip",
    ]
    assert method_of(config) == "linbreg + clip"
    assert list(flat({"a": {"b": [1], "c": {}}})) == [("a.b", [1]), ("a.c", {})]


def test_no_text_ends_the_element_of_the_data():
    packed = pages.compressed_json({"row": "</script><script>alert(1)</script>"})
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", packed)
    assert json.loads(gzip.decompress(base64.b64decode(packed)))["row"].startswith("</script>")


def test_missing_results_are_named(tmp_path):
    with pytest.raises(BenchError, match=r"has no records: give the folder results"):
        pages.build_page(tmp_path)
