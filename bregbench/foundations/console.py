"""Output for people during a run: lines on stderr, and a progress bar on a terminal."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from bregbench.foundations.durations import duration

_SECONDS_BETWEEN_LINES = 2.0
#: columns of the bar: what stands beside it fits into 80 with it
_BAR = 12
#: metrics of the widths of a smaller network that was trained, layer by layer
_AT_WORK = "units_at_work/"


_console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Print one plain line on stderr, above a progress bar."""
    _console.print(line, markup=False)


class Patience:
    """Progress lines of long work: at most one line every two seconds, and none of short work."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def say(self, line: str) -> None:
        """Print the line if two seconds have passed since the last line, or since the beginning."""
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            say(line)


class _Times(ProgressColumn):
    """Time since the beginning, and until the end at the pace of the last steps."""

    def render(self, task: Task) -> Text:
        left = "?" if task.time_remaining is None else duration(task.time_remaining)
        return Text(f"elapsed {duration(task.elapsed or 0)}  left {left}", no_wrap=True)


class EpochProgress:
    """Progress over epochs: a bar on a terminal, plain lines otherwise; both name the time that is left.

    Args:
        epochs: of the whole run.
        done: epochs that are behind it already.
        steps_per_epoch: of which the bar shows each.
    """

    def __init__(self, *, epochs: int, done: int, steps_per_epoch: int) -> None:
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._bar: Progress | None = None
        self._first = done
        self._begin = time.monotonic()
        self._said = -math.inf
        if _console.is_terminal and epochs:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=_BAR),
                _Times(),
                # Alone this column is cut where the terminal is narrow.
                TextColumn(
                    "{task.fields[metrics]}",
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
                console=_console,
                transient=True,
                expand=True,
            )
            self._task = self._bar.add_task(
                self._position(done),
                total=epochs * steps_per_epoch,
                completed=done * steps_per_epoch,
                metrics="",
            )

    def _position(self, done: int) -> str:
        """Which epoch is under way."""
        return f"epoch {min(done + 1, self._epochs)}/{self._epochs}"

    def __enter__(self) -> EpochProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self) -> None:
        """Note that a training step is done."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        """Note that an epoch is done, with its metrics."""
        text = _brief(metrics)
        if self._bar is not None:
            self._bar.update(
                self._task,
                description=self._position(number),
                completed=number * self._steps_per_epoch,
                metrics=text,
            )
            return
        # Short epochs would flood a log: print the first, the last and one epoch every two seconds.
        now = time.monotonic()
        if number < self._epochs and now - self._said < _SECONDS_BETWEEN_LINES:
            return
        self._said = now
        left = (now - self._begin) / (number - self._first) * (self._epochs - number)
        say(f"epoch {number}/{self._epochs}  {text}  ETA {duration(left)}")


def fail(message: str) -> None:
    """Print an error as one line on stderr."""
    sys.stderr.write(f"error: {message}\n")


def _brief(metrics: dict[str, float]) -> str:
    shown = {
        "loss": "train/loss",
        "train": "train/accuracy",
        "validation": "validation/accuracy",
        "train PSNR": "train/psnr",
        "validation PSNR": "validation/psnr",
        "density": "density/total",
    }
    parts = [f"{name} {metrics[key]:.4f}" for name, key in shown.items() if key in metrics]
    widths = [f"{value:.0f}" for key, value in metrics.items() if key.startswith(_AT_WORK)]
    return "  ".join(parts + ([f"at work {'-'.join(widths)}"] if widths else []))
