"""Arguments of the small commands: `key=value`, as with Hydra, into a dataclass."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from bregbench import __version__
from bregbench.foundations.errors import BenchError

T = TypeVar("T")


def option(default: Any = dataclasses.MISSING, *, help: str, **arguments: Any) -> Any:  # noqa: A002
    """A dataclass field with a line of help."""
    if default is not dataclasses.MISSING:
        arguments["default"] = default
    return dataclasses.field(metadata={"help": help}, **arguments)


def parse(schema: type[T], arguments: list[str], *, command: str) -> T:
    """Typed options from `key=value` arguments; `--help` prints them and exits, `--version` too.

    Args:
        schema: a dataclass whose fields are made with `option`; its docstring is the help's headline.
        arguments: as typed, without the command itself.
        command: the command's name, for the help.

    Raises:
        BenchError: an unknown key, a value of the wrong type, or an argument without `=`.
    """
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(_help(schema, command))
        sys.exit(0)
    if "--version" in arguments:
        sys.stdout.write(f"bregbench {__version__}\n")
        sys.exit(0)
    for argument in arguments:
        if "=" not in argument:
            raise BenchError(f"{argument!r} is not key=value; see {command} --help")
    try:
        given = OmegaConf.from_dotlist(arguments)
        base = OmegaConf.structured(schema)
        for key in given:
            # A list may be typed without its brackets: `y=a,b`, and a list of one as `y=a`.
            if key in base and OmegaConf.is_list(base[key]) and not OmegaConf.is_list(given[key]):
                given[key] = str(given[key]).split(",")
        return OmegaConf.to_object(OmegaConf.merge(base, given))  # type: ignore[return-value]
    except (OmegaConfBaseException, YAMLError) as error:
        keys = ", ".join(field.name for field in dataclasses.fields(schema))  # type: ignore[arg-type]
        raise BenchError(f"{str(error).splitlines()[0]}; {command} has {keys}") from error


def _help(schema: type, command: str) -> str:
    headline = (schema.__doc__ or "").strip().splitlines()[0]
    lines = [f"{command}: {headline}", "", f"  {command} key=value ...", ""]
    for field in dataclasses.fields(schema):
        default = (
            field.default_factory()
            if field.default_factory is not dataclasses.MISSING
            else field.default
        )
        shown = "null" if default is None else default
        lines.append(f"  {field.name}={shown}".ljust(48) + field.metadata.get("help", ""))
    return "\n".join(lines) + "\n"
