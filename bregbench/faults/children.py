"""Work in processes of its own, forked from one that has everything imported: each begins at once."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bregbench.foundations.errors import BenchError, Interrupted


@dataclass(frozen=True)
class End:
    """How a process has ended.

    Attributes:
        killed: whether it was killed before its work was over.
        refusal: the one line of an error that a user can act on; empty without one.
        bug: a traceback; empty without one.
    """

    killed: bool = False
    refusal: str = ""
    bug: str = ""

    @property
    def fine(self) -> bool:
        """Whether the work was done."""
        return not (self.killed or self.refusal or self.bug)


class Child:
    """A forked process that does one piece of work.

    Args:
        work: what it does; its prints are lost.
        said: a file for what it could not do.
    """

    def __init__(self, work: Callable[[], object], said: Path) -> None:
        self._said = said
        said.unlink(missing_ok=True)
        sys.stdout.flush()
        self._process = os.fork()
        if self._process == 0:
            _work_and_exit(work, said)

    def kill_after(self, seconds: float) -> None:
        """Kill it, unless it has ended by then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._over():
            time.sleep(0.002)
        if not self._over():
            os.kill(self._process, signal.SIGKILL)

    def end(self) -> End:
        """Wait for it."""
        _, status = os.waitpid(self._process, 0)
        if os.WIFSIGNALED(status):
            return End(killed=True)
        text = self._said.read_text(encoding="utf-8") if self._said.is_file() else ""
        if os.WEXITSTATUS(status) == 0:
            return End()
        return End(refusal=text) if os.WEXITSTATUS(status) == 1 else End(bug=text)

    def _over(self) -> bool:
        return os.waitid(os.P_PID, self._process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _work_and_exit(work: Callable[[], object], said: Path) -> None:
    code = 0
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(nowhere, number)
        work()
    except (BenchError, Interrupted) as error:
        code = 1
        said.write_text(str(error), encoding="utf-8")
    except BaseException:  # noqa: BLE001 - reported by the parent
        code = 2
        said.write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(code)
