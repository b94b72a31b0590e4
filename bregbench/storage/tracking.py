"""Mirrors of a run: W&B shows the content of local files, and its failures never stop a run."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import netrc
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from bregbench.foundations.console import say

#: Seconds that a server may take to answer before a run begins without it.
_SECONDS = 5


class Mode(Enum):
    """Whether W&B talks to its server; None in a config means online if there is an API key."""

    online = "online"
    offline = "offline"
    disabled = "disabled"


class Tracker:
    """The interface of mirrors of one run; this class mirrors nothing."""

    def catch_up(self, rows: list[dict[str, Any]]) -> None:
        """Mirror the epochs of a resumed run that an earlier process has not mirrored."""

    def log(self, row: dict[str, Any]) -> None:
        """Mirror the metrics of one epoch."""

    def finish(self, summary: dict[str, Any]) -> None:
        """Mirror the summary of a finished run."""

    def close(self) -> None:
        """Close the mirror at the end of a finished or interrupted run."""


@dataclass
class TrackingConfig:
    """Config of the mirror of a run."""

    kind: ClassVar[str]

    def build(self, *, name: str, group: str, directory: Path, config: dict[str, Any]) -> Tracker:
        """A tracker for one run.

        Args:
            name: the run's name; together with `group` it identifies a run that is resumed.
            group: the experiment's name.
            directory: folder for the tracker's files.
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
        """A tracker of a W&B run; without W&B, a tracker that does nothing and one line with the reason."""
        if importlib.util.find_spec("wandb") is None:
            say("tracking: wandb is not installed, metrics stay in the run directory alone")
            return Tracker()
        later = f"mirror later with: bregbench runs sync {directory}"
        try:
            mode = self.mode or _available_mode()
            silent = unreachable() if mode is Mode.online else None
            if silent is not None:
                mode = Mode.offline
                say(f"tracking: {silent} does not answer, so that W&B is offline; {later}")
            elif mode is Mode.offline:
                say(f"tracking: W&B is offline; {later}")
            return _WandbTracker(self._start(mode, name, group, directory, config))
        except Exception as error:  # noqa: BLE001 - a mirror must never take a run down
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            say(f"tracking: W&B did not start ({reason}), metrics stay in the run directory alone")
            return Tracker()

    def _start(
        self, mode: Mode, name: str, group: str, directory: Path, config: dict[str, Any]
    ) -> Any:
        import wandb

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
            settings=wandb.Settings(silent=True, console="off", init_timeout=_SECONDS),
        )


class _WandbTracker(Tracker):
    def __init__(self, run: Any) -> None:
        self._run = run

    def catch_up(self, rows: list[dict[str, Any]]) -> None:
        # The server has the steps before `starting_step`; an offline run starts new files in each process.
        first = getattr(self._run, "starting_step", 0)
        for row in rows:
            if row["epoch"] >= first:
                self.log(row)

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
    """The mode of WANDB_MODE; without it, online if the client has an API key for its server."""
    wanted = os.environ.get("WANDB_MODE", "")
    if wanted in Mode.__members__:
        return Mode[wanted]
    if any(os.environ.get(key) for key in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return Mode.online
    own = os.environ.get("NETRC")
    for path in [own] if own else ["~/.netrc", "~/_netrc"]:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            known = netrc.netrc(Path(path).expanduser())
            if any(known.authenticators(host) for host in _hosts()):
                return Mode.online
    return Mode.offline


def _server() -> str:
    """Address of the server that the installed client uses: its default differs between versions."""
    given = os.environ.get("WANDB_BASE_URL")
    if given:
        return given
    import wandb

    with contextlib.suppress(AttributeError):
        return str(wandb.setup().settings.base_url)
    return str(importlib.import_module("wandb.sdk.wandb_settings").Settings().base_url)


def _hosts() -> list[str]:
    """Host names under which netrc may have a key: the server's, and that of its upstream server."""
    urls = [_server()]
    with contextlib.suppress(ImportError, AttributeError):
        urls.append(importlib.import_module("wandb.sdk.lib.urls").forge_upstream_url(urls[0]))
    return [part for url in urls for part in (urlsplit(url).netloc, urlsplit(url).hostname) if part]


def unreachable() -> str | None:
    """The server's name where nobody answers there in time; None also where a proxy is asked instead."""
    server = urlsplit(_server())
    if server.hostname is None or getproxies().get(server.scheme):
        return None
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        with socket.create_connection((server.hostname, port), timeout=_SECONDS):
            return None
    except OSError:
        return server.hostname
