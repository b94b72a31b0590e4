"""The page itself: data, style and scripts put into one HTML file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

from bregbench import __version__
from bregbench.foundations.errors import BenchError
from bregbench.site.packing import Texts
from bregbench.site.pictures import read_pictures
from bregbench.site.runs import method_of, pack_runs, read_runs
from bregbench.site.tables import CELL, pack_tables, read_tables
from bregbench.storage.find import SavedRun
from bregbench.tables.published import UNITS
from bregbench.tables.scoreboard import PAPERS

#: bytes that the file stays below
LIMIT = 3_000_000
#: epochs that a curve keeps, tried in this order until the file is small enough
POINTS = (101, 51, 32, 16)
#: the scripts in the order in which they need each other
SCRIPTS = (
    *("dom", "data", "state", "stats", "plot", "scatter", "grid", "detail"),
    *("scoreboard", "cells", "frontier", "curves", "figures", "main"),
)
_IMPORT = re.compile(r'^import [^;]*? from "\./[a-z]+\.js";\n', re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (?=(async )?(function|const|let|class) )", re.MULTILINE)


def build_page(results: Path) -> str:
    """The whole browser as one HTML text below 3 MB.

    Args:
        results: folder with records, published numbers and rendered tables.

    Raises:
        BenchError: no results there, or too many for one file.
    """
    if not (results / "records").is_dir():
        raise BenchError(f"results_dir={results} has no records: give the folder results")
    groups = read_runs(results)
    pictures = read_pictures(results)
    size = 0
    for points in POINTS:
        page = _assemble(_payload(results, groups, pictures, points))
        size = len(page.encode())
        if size < LIMIT:
            return page
    raise BenchError(
        f"the page would have {size} bytes, more than {LIMIT}: lower POINTS in bregbench/site/page.py"
    )


def _payload(
    results: Path, groups: dict[str, list[SavedRun]], pictures: dict[str, str], points: int
) -> dict[str, Any]:
    texts = Texts()
    known = {
        key: {"data": runs[0].config["data"]["kind"], "method": method_of(runs[0].config)}
        for key, runs in groups.items()
    }
    tables = pack_tables(read_tables(results), known, texts)
    runs = pack_runs(groups, texts, points=points)
    return {
        "version": __version__,
        "papers": {**PAPERS, "bench": "Tables of the bench"},
        "units": UNITS,
        "quantiles": _quantiles(),
        "cell": CELL,
        "texts": texts.all(),
        "tables": tables,
        "runs": runs,
        "pictures": pictures,
    }


def _quantiles() -> list[float]:
    """The 97.5 % quantiles of Student's t for 1, 2, ... 40 degrees of freedom."""
    from scipy.stats import t

    return [round(float(t.ppf(0.975, freedom)), 5) for freedom in range(1, 41)]


def _assemble(payload: dict[str, Any]) -> str:
    script = f"{_asset('vendor/uPlot.iife.min.js')}\n{bundle()}"
    style = f"{_asset('vendor/uPlot.min.css')}\n{_asset('style.css')}"
    parts = {
        "hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": style,
        "licence": _asset("vendor/uPlot.LICENSE"),
        "data": compressed_json(payload),
        "script": script,
    }
    pieces = re.split(r"\{\{(\w+)\}\}", _asset("page.html"))
    return "".join(parts[piece] if k % 2 else piece for k, piece in enumerate(pieces))


def compressed_json(value: Any) -> str:
    """JSON, compressed and in base64: a fifth of its length, and no text of it can end its element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def bundle() -> str:
    """All modules as one script: imports between them fall away, since they share one scope."""
    modules = [_EXPORT.sub("", _IMPORT.sub("", _asset(f"{name}.js"))) for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(modules) + "\n})();\n"


def _asset(name: str) -> str:
    return resources.files("bregbench.site").joinpath("assets", name).read_text(encoding="utf-8")
