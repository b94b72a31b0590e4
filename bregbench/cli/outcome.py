"""Turning exceptions into one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from bregbench.foundations.console import fail, say
from bregbench.foundations.errors import BenchError, Interrupted

#: exit codes: bad input or a failed run, and 128 + signal for an interrupted one
FAILED = 1
INTERRUPTED = 130
#: 128 + SIGPIPE
CLOSED = 141
#: what a full disk, a quota, a limit of file sizes or a broken disk answers, mostly without a path
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def guarded(command: Callable[[], int]) -> int:
    """Run a command; a user's error becomes one line, a bug keeps its traceback."""
    try:
        return command()
    except BenchError as error:
        fail(str(error))
    except Interrupted as request:
        # Somebody asked for it, so that it is no error; the exit code tells a script.
        say(str(request))
        return request.code
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from the last checkpoint")
        return INTERRUPTED
    except _config_errors() as error:
        from bregbench.cli.config_errors import config_error

        fail(config_error(error))
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does. What is still to be flushed has no reader, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:
            raise
        fail(path_error(error))
    return FAILED


def path_error(error: OSError) -> str:
    """A path that cannot be read or written, in one line."""
    if error.filename is None:
        return f"nothing more can be written: {error.strerror}; make room, then give the same command again"
    return f"{error.filename} cannot be used: {error.strerror}; give another path, or make it accessible"


def _config_errors() -> tuple[type[Exception], ...]:
    """What Hydra and OmegaConf raise, where they are imported: help and version end without them."""
    known = (("hydra.errors", "HydraException"), ("omegaconf.errors", "OmegaConfBaseException"))
    return tuple(getattr(sys.modules[name], kind) for name, kind in known if name in sys.modules)
