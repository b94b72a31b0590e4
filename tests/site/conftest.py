"""The page of the committed results, built once for all processes of a test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from bregbench.site.page import build_page
from tests.places import ROOT
from tests.site.browser import Browser, open_browser

RESULTS = ROOT / "results"


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """`index.html` of the committed results."""
    base = tmp_path_factory.getbasetemp()
    path = (base if worker_id == "master" else base.parent) / "site" / "index.html"
    path.parent.mkdir(exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            path.write_text(build_page(RESULTS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def session_browser() -> Iterator[Browser]:
    """One browser for all tests of a process."""
    browser = open_browser()
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(session_browser: Browser, page: Path) -> Iterator[Browser]:
    """A browser on the page; no test may leave an error or a request to another place behind."""
    session_browser.page = page
    session_browser.size(1200, 900)
    session_browser.colours("light")
    yield session_browser
    assert session_browser.errors() == []
    assert session_browser.foreign_requests() == []
