"""Requests to stop (Ctrl-C, a scheduler's SIGTERM, a time budget), noticed between two steps."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType

from bregbench.foundations.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


#: Exit code when the time budget is used up, as in timeout(1).
OUT_OF_TIME = 124


#: Seconds between two checks of the parent process, and seconds to finish a step and save without it.
_SECONDS_BETWEEN_LOOKS, _SECONDS_TO_SAVE = 0.5, 600.0
_parents: list[int] = []


def end_with_parent() -> None:
    """Let this worker process end when its parent ends: a killed parent cannot stop its workers.

    A run in the worker saves its position first, as on SIGTERM.
    """
    if not _parents:
        _parents.append(os.getppid())
        threading.Thread(target=_end_when_orphaned, daemon=True).start()


def orphaned() -> bool:
    """Whether the parent of a worker process is gone, so that nobody waits for an answer."""
    return bool(_parents) and os.getppid() != _parents[0]


def _end_when_orphaned() -> None:
    while not orphaned():
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    # The signal ends an idle worker. A run finishes its step, saves, and stops because of `orphaned`.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SECONDS_TO_SAVE)
    os._exit(128 + signal.SIGTERM)


class Interrupts:
    """A context in which a signal is noted and does not end the process.

    A second signal of the same kind acts as usual, for users who do not wait for the end of a step.

    Args:
        deadline: reading of `time.monotonic` after which the run is to stop, too; None for never.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self._deadline = deadline
        self._received: int | None = None
        self._previous: dict[int, object] = {}

    def request(self) -> Interrupted | None:
        """The exception to raise after saving if a signal or the deadline asks the run to stop, else None."""
        if self._received is not None:
            name = signal.Signals(self._received).name
            return Interrupted(name, code=128 + self._received)
        if self._deadline is not None and time.monotonic() > self._deadline:
            return Interrupted("time budget used up", code=OUT_OF_TIME)
        return None

    def __enter__(self) -> Interrupts:
        # Python delivers signals to the main thread only, so other threads install no handlers.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        signal.signal(number, self._previous[number])  # type: ignore[arg-type]
