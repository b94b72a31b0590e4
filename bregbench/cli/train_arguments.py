"""Arguments of `bregbench train` that Hydra would refuse over several lines, or without a remedy."""

from __future__ import annotations

from collections.abc import Iterator

from bregbench.foundations.errors import BenchError
from bregbench.foundations.nearest import did_you_mean
from bregbench.schema.options import options

_FLAGS = (
    "-m",
    "--multirun",
    "-r",
    "--run",
    "--resolve",
    "--hydra-help",
    "-sc",
    "--shell-completion",
)
#: flags that take the argument after them
_WITH_VALUE = (
    *("-c", "--cfg", "-p", "--package", "-i", "--info", "--experimental-rerun"),
    *("-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"),
)


def refuse_misspelt(arguments: list[str]) -> None:
    """Refuse unknown flags, and words that are no override.

    Raises:
        BenchError: names the argument and what is nearest to it.
    """
    for argument in _judged(arguments):
        if argument.startswith("-"):
            flag = argument.partition("=")[0]
            known = [name for name in (*_FLAGS, *_WITH_VALUE) if name.startswith("--")]
            if flag not in (*_FLAGS, *_WITH_VALUE):
                raise BenchError(
                    f"{flag} is unknown: {did_you_mean(flag, known)}see bregbench train --help"
                )
        elif "=" not in argument and not argument.startswith("~"):
            raise BenchError(
                f"{argument!r} is not group=option or key=value: {_chosen(argument)}see bregbench "
                "train --help"
            )


def _judged(arguments: list[str]) -> Iterator[str]:
    """The arguments without values of flags."""
    rest = iter(arguments)
    for argument in rest:
        yield argument
        if argument in _WITH_VALUE:
            next(rest, None)


def _chosen(word: str) -> str:
    """The choice that a bare word may stand for: an option without its group, or a group without a choice."""
    known = options()
    for group, names in known.items():
        if word in names:
            return f"did you mean {group}={word}? "
    every = {name: group for group, names in reversed(known.items()) for name in names}
    meant = did_you_mean(word, [*known, *every])
    name = meant.removeprefix("did you mean ").removesuffix("? ")
    return f"did you mean {every[name]}={name}? " if name in every else meant.replace("?", "=...?")
