"""Turning exceptions into one line on stderr and an exit code."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from collections.abc import Callable
from importlib import resources

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from bregbench.foundations.console import fail
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
        fail(str(request))
        return request.code
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on from the last checkpoint")
        return INTERRUPTED
    except (HydraException, OmegaConfBaseException) as error:
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


def config_error(error: Exception) -> str:
    """A config that cannot be composed, in one line with what would be allowed."""
    if isinstance(error, MissingConfigException):
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        options = [name for name in error.options or _options(group) if name != "schema"]
        if options:
            return f"{group}={option} is unknown: choose one of {', '.join(options)}"
    cause = error.__cause__ or error
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        headline = _lines(error)[0].rstrip(".:")
        message = f"{headline}: {_lines(cause)[0]}"
        if isinstance(cause, ConfigKeyError | AttributeError):
            message += _allowed_keys(cause)
        key = getattr(cause, "full_key", None)
        if "is not a subclass of" in message and key:
            message += f" (options of a group are chosen with a slash: {key.replace('.', '/')}=...)"
        return message
    return "; ".join(_lines(error))


def _options(group: str) -> list[str]:
    """The files of a config group, which Hydra does not name where several may be chosen."""
    folder = resources.files("bregbench.configs").joinpath(*group.split("/")) if group else None
    if folder is None or not folder.is_dir():
        return []
    return sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml"))


def _allowed_keys(error: OmegaConfBaseException) -> str:
    owner = getattr(error, "object_type", None)
    if not isinstance(owner, type) or not dataclasses.is_dataclass(owner):
        return ""
    return f"; {owner.__name__} has {', '.join(f.name for f in dataclasses.fields(owner))}"


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("Set the environment variable")] or [
        type(error).__name__
    ]
