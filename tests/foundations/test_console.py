"""What a person sees in a terminal of 80 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bregbench.foundations import console
from bregbench.foundations.console import EpochProgress

METRICS = {
    "train/loss": 0.1,
    "train/accuracy": 0.9,
    "validation/accuracy": 0.8,
    "density/total": 0.05,
}


@pytest.mark.parametrize("width", [80, 120])
def test_bar_keeps_epoch_elapsed_and_left(monkeypatch, width):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(console, "_console", terminal)
    progress = EpochProgress(epochs=1000, done=99, steps_per_epoch=2)
    progress.epoch(100, METRICS)
    assert progress._bar is not None
    shown = Console(file=io.StringIO(), width=width, color_system=None)
    shown.print(progress._bar)
    assert isinstance(shown.file, io.StringIO)
    (line,) = shown.file.getvalue().splitlines()
    assert line.startswith("epoch 101/1000 ")
    assert "elapsed 0:00  left ?" in line
    assert "loss 0.1000  tr" in line
    assert ("density 0.0500" in line) == (width == 120)
    assert "━" in line
    assert len(line) <= width


def test_long_times_fit_too(monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(console, "_console", terminal)
    progress = EpochProgress(epochs=100_000, done=99_998, steps_per_epoch=1)
    bar = progress._bar
    assert bar is not None
    now = [0.0]
    monkeypatch.setattr(bar.tasks[0], "_get_time", lambda: now[0])
    monkeypatch.setattr(bar, "get_time", lambda: now[0])
    bar.tasks[0].start_time = 0.0
    for seconds in (360_000.0, 720_000.0):
        now[0] = seconds
        bar.advance(progress._task, 0.5)
    shown = Console(file=io.StringIO(), width=80, color_system=None)
    shown.print(bar)
    assert isinstance(shown.file, io.StringIO)
    line = shown.file.getvalue()
    assert "epoch 99999/100000 " in line
    assert "elapsed 200:00:00  left " in line
