"""Mirrors of a run: W&B sees what the local files hold and never takes a run down."""

from __future__ import annotations

import importlib.util
import netrc
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlparse

from bregbench.foundations.console import say


class Mode(Enum):
    """Whether W&B runs against its server; None in a config means: as far as it can."""

    online = "online"
    offline = "offline"
    disabled = "disabled"


class Tracker:
    """Follows one run; this one does nothing."""

    def log(self, row: dict[str, Any]) -> None:
        """See one epoch's metrics."""

    def finish(self, summary: dict[str, Any]) -> None:
        """See the summary of a finished run."""

    def close(self) -> None:
        """Let go, whether the run finished or not."""


@dataclass
class TrackingConfig:
    """Where a run is mirrored."""

    kind: ClassVar[str]

    def build(self, *, name: str, group: str, directory: Path, config: dict[str, Any]) -> Tracker:
        """A tracker for one run.

        Args:
            name: the run's name; together with `group` it identifies a run that is resumed.
            group: the experiment's name.
            directory: where the tracker may keep files.
            config: the run's config as plain values.
        """
        raise NotImplementedError


@dataclass
class NoTracking(TrackingConfig):
    """Local files only."""

    kind: ClassVar[str] = "none"

    def build(self, *, name: str, group: str, directory: Path, config: dict[str, Any]) -> Tracker:
        """A tracker that does nothing."""
        return Tracker()


@dataclass
class WandbTracking(TrackingConfig):
    """Weights & Biases; offline without an API key, local files only without the package."""

    kind: ClassVar[str] = "wandb"
    project: str = "bregbench"
    entity: str | None = None
    mode: Mode | None = None
    tags: list[str] = field(default_factory=list)

    def build(self, *, name: str, group: str, directory: Path, config: dict[str, Any]) -> Tracker:
        """A W&B run, or one line that says why there is none."""
        if importlib.util.find_spec("wandb") is None:
            say("tracking: wandb is not installed, metrics stay in the run directory alone")
            return Tracker()
        try:
            return _WandbTracker(self._start(name, group, directory, config))
        except Exception as error:  # noqa: BLE001 - a mirror must never take a run down
            say(f"tracking: W&B did not start ({error}), metrics stay in the run directory alone")
            return Tracker()

    def _start(self, name: str, group: str, directory: Path, config: dict[str, Any]) -> Any:
        import wandb

        mode = self.mode or _available_mode()
        if mode is Mode.offline:
            say(f"tracking: W&B is offline; mirror later with: wandb sync {directory}/wandb/*")
        directory.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self.project,
            entity=self.entity,
            name=name,
            group=group,
            tags=self.tags,
            config=config,
            dir=str(directory),
            id=f"{group}-{name}".replace("/", "-"),
            resume="allow" if mode is Mode.online else None,
            mode=mode.value,
            settings=wandb.Settings(silent=True, console="off", init_timeout=30),
        )


class _WandbTracker(Tracker):
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, row: dict[str, Any]) -> None:
        self._attempt(lambda run: run.log(row, step=row["epoch"]))

    def finish(self, summary: dict[str, Any]) -> None:
        for variant, selections in summary["final"].items():
            for selection, metrics in selections.items():
                named = {f"final/{variant}/{selection}/{k}": v for k, v in metrics.items()}
                self._attempt(lambda run, named=named: run.summary.update(named))

    def close(self) -> None:
        self._attempt(lambda run: run.finish())

    def _attempt(self, action: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # noqa: BLE001 - a mirror must never take a run down
            say(f"tracking: W&B stopped ({error}), metrics stay in the run directory alone")
            self._run = None


def _available_mode() -> Mode:
    """What WANDB_MODE says; else online where an API key is at hand (environment or netrc)."""
    wanted = os.environ.get("WANDB_MODE", "")
    if wanted in Mode.__members__:
        return Mode[wanted]
    if os.environ.get("WANDB_API_KEY"):
        return Mode.online
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        known = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        known = None
    return Mode.online if known else Mode.offline
