"""Arguments of the small commands: `key=value`, as with Hydra, and paths, into a dataclass."""

from __future__ import annotations

import dataclasses
import re
import sys
from dataclasses import Field
from typing import Any, TypeVar

from bregbench import __version__
from bregbench.cli.help import definitions, filled
from bregbench.foundations.errors import BenchError
from bregbench.foundations.nearest import did_you_mean, unknown

T = TypeVar("T")
_KEY = re.compile(r"[A-Za-z_][\w.]*")


def option(default: Any = dataclasses.MISSING, *, help: str, **arguments: Any) -> Any:  # noqa: A002
    """A dataclass field with a line of help."""
    if default is not dataclasses.MISSING:
        arguments["default"] = default
    return dataclasses.field(metadata={"help": help}, **arguments)


def parse(
    schema: type[T],
    arguments: list[str],
    *,
    command: str,
    plain: str = "",
    examples: tuple[str, ...] = (),
) -> T:
    """Typed options from `key=value` arguments; `--help` prints them and exits, `--version` too.

    Args:
        schema: a dataclass whose fields are made with `option`; its docstring opens the help.
        arguments: as typed, without the command itself.
        command: the command's name, for the help.
        plain: the field that arguments without a key go to; all of them where it is a list, else one.
        examples: arguments of calls that the help shows.

    Raises:
        BenchError: an unknown key, a value of the wrong type, or an argument without `=`.
    """
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(_help(schema, command, plain, examples))
        sys.exit(0)
    if "--version" in arguments:
        sys.stdout.write(f"bregbench {__version__}\n")
        sys.exit(0)
    fields = {field.name: field for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    typed = [argument for argument in arguments if _has_key(argument)]
    bare = [argument for argument in arguments if not _has_key(argument)]
    for argument in bare:
        if not plain or argument.startswith("-"):
            raise BenchError(_no_key(argument, list(fields), command))
    for argument in typed:
        key = argument.partition("=")[0]
        if key.partition(".")[0] not in fields:
            raise BenchError(unknown(key, fields, there=f"{command} has"))
    return _typed(schema, typed, _plain(fields, plain, bare, typed, command))


def _typed(schema: type[T], typed: list[str], plain: dict[str, Any]) -> T:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        given = OmegaConf.from_dotlist(typed)
        base = OmegaConf.structured(schema)
        for key in given:
            # A list may be typed without its brackets: `y=a,b`, and a list of one as `y=a`.
            if OmegaConf.is_list(base[key]) and not OmegaConf.is_list(given[key]):
                given[key] = str(given[key]).split(",")
        return OmegaConf.to_object(OmegaConf.merge(base, given, plain))  # type: ignore[return-value]
    except (OmegaConfBaseException, YAMLError) as error:
        key = getattr(error, "full_key", None)
        where = f"{key}: " if key else ""
        raise BenchError(f"{where}{str(error).splitlines()[0]}") from error


def _has_key(argument: str) -> bool:
    """Whether an argument is key=value; a path may hold an equals sign too, but no key holds a slash."""
    key, equals, _ = argument.partition("=")
    return bool(equals and _KEY.fullmatch(key))


def _plain(
    fields: dict[str, Field[Any]], plain: str, bare: list[str], typed: list[str], command: str
) -> dict[str, Any]:
    """What the arguments without a key mean.

    Raises:
        BenchError: there are several for one value, or the key is given as well.
    """
    if not bare:
        return {}
    if any(argument.startswith(f"{plain}=") for argument in typed):
        raise BenchError(f"{plain} is given twice, as {bare[0]} and as {plain}=: give it once")
    if _is_list(fields[plain]):
        return {plain: bare}
    if len(bare) > 1:
        raise BenchError(f"{command} takes one {plain}, not {', '.join(bare)}: give one of them")
    return {plain: bare[0]}


def _no_key(argument: str, names: list[str], command: str) -> str:
    word = argument.lstrip("-").partition("=")[0]
    meant = did_you_mean(word, names).replace("? ", "=...? ")
    return f"{argument!r} is not key=value: {meant}see {command} --help"


def _is_list(field: Field[Any]) -> bool:
    return str(field.type).startswith("list")


def _help(schema: type, command: str, plain: str, examples: tuple[str, ...]) -> str:
    fields = {field.name: field for field in dataclasses.fields(schema)}
    headline, *rest = (" ".join(part.split()) for part in (schema.__doc__ or "").split("\n\n"))
    usage = f"  {command} key=value ..."
    if plain:
        usage = (
            f"  {command} {plain.upper()}{' ...' if _is_list(fields[plain]) else ''} key=value ..."
        )
    opening = filled(f"{command}: {headline}", indent=0)
    parts = [opening, *(filled(paragraph, indent=0) for paragraph in rest), usage]
    shown = {f"{name}={_default(field)}": field.metadata["help"] for name, field in fields.items()}
    parts.append("Keys and their values where none is given:\n" + definitions(shown).rstrip())
    if examples:
        lines = "\n".join(f"  {command} {example}".rstrip() for example in examples)
        parts.append(f"Examples:\n{lines}")
    return "\n\n".join(parts) + "\n"


def _default(field: Field[Any]) -> str:
    made = field.default_factory
    value = made() if made is not dataclasses.MISSING else field.default
    if isinstance(value, list):
        return ",".join(map(str, value)) if value else "[]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
