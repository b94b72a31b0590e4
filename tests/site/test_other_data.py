"""The page in a real browser with data that the repository does not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy.stats import t

from bregbench.site.page import compressed_json
from tests.site.browser import Browser
from tests.site.test_page import data_of

pytestmark = pytest.mark.browser


def with_data(browser: Browser, page: Path, folder: Path, data: dict) -> None:
    """Let the browser see the page with other data."""
    text = page.read_text(encoding="utf-8")
    old = text.partition('id="data">')[2].partition("<")[0]
    browser.page = folder / "index.html"
    browser.page.write_text(text.replace(old, compressed_json(data)), encoding="utf-8")


def test_texts_of_the_data_are_no_markup(browser, page, tmp_path):
    data = data_of(page)
    evil = "<img src=x onerror=alert(1)>AdaBreg"
    data["texts"] = [evil if text == "AdaBreg" else text for text in data["texts"]]
    with_data(browser, page, tmp_path, data)
    browser.open("#view=cells&table=bregman_table1")
    assert evil in browser.text("main tbody")
    assert browser.all("main tbody img") == []


@pytest.mark.parametrize(
    ("lead", "said"), [(0.01, "is significant"), (0.001, "is not significant")]
)
def test_tables_without_runs_are_points_with_significance(browser, page, tmp_path, lead, said):
    data = data_of(page)
    texts = data["texts"]

    def cell(row: str, column: str, mean: float, sd: float | None) -> list:
        words = {"row": row, "column": column, "unit": "1", "verdict": "-", "method": row}
        numbers = {"mean": mean, "sd": sd, "n": 5, "published": None, "margin": None}
        texts.extend(words.get(key, "") for key in data["cell"] if key not in numbers)
        place = iter(range(len(texts) - len(data["cell"]) + len(numbers), len(texts)))
        return [numbers[key] if key in numbers else next(place) for key in data["cell"]]

    rows = (("first", 0.9, 0.002), ("second", 0.9 - lead, 0.003))
    cells = [
        line
        for row, mean, sd in rows
        for line in (cell(row, "density/total", 0.02, None), cell(row, "test/accuracy", mean, sd))
    ]
    table = {"name": "frontier", "title": "Frontier", "paper": "bench", "cells": cells}
    data["tables"].append(table | {"claims": []})
    with_data(browser, page, tmp_path, data)
    browser.open("#view=frontier&from=frontier")
    sentence = browser.text(".best [role=status]")
    assert said in sentence
    # Welch's interval, its degrees of freedom rounded down
    u, v = 0.002**2 / 5, 0.003**2 / 5
    freedom = (u + v) ** 2 / (u**2 / 4 + v**2 / 4)
    half = t.ppf(0.975, int(freedom)) * (u + v) ** 0.5
    low, high = sentence.partition("95 % interval is ")[2].partition(" (")[0].split(" to ")
    assert float(low) == pytest.approx(lead - half, rel=0.05)
    assert float(high) == pytest.approx(lead + half, rel=0.05)
