"""Errors that a user can act on."""

from __future__ import annotations


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    """Raise BenchError unless a condition holds for an option.

    Raises:
        BenchError: the condition is false; the message names the key as the user typed it, the value and
            the allowed range.
    """
    if not condition:
        raise BenchError(f"{key}={value} is out of range: {key} must be {allowed}")


class BenchError(Exception):
    """Bad input or a run that cannot go on.

    The message is one line that names the value, the allowed range and the remedy. Command-line entry
    points print it on stderr and exit with a non-zero status; anything else that is raised is a bug and
    keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Diverged(BenchError):
    """A run that cannot go on because a metric is no longer finite."""


class Interrupted(Exception):
    """The run was asked to stop and has saved its position.

    Args:
        reason: reason of the interruption in a few words, such as the name of a signal.
        code: exit code of the command.
    """

    def __init__(self, reason: str, *, code: int) -> None:
        super().__init__(f"interrupted ({reason}); the same command goes on from here")
        self.code = code
