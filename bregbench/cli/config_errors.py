"""What is wrong with a config that cannot be composed, in one line with what would be allowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from bregbench.foundations.nearest import did_you_mean, unknown
from bregbench.schema.options import options


def config_error(error: Exception) -> str:
    """The line for an error of Hydra or OmegaConf."""
    if isinstance(error, MissingConfigException):
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        known = [name for name in error.options or options().get(group, ()) if name != "schema"]
        if known:
            return unknown(option, known, there="choose one of", prefix=f"{group}=")
    cause = error.__cause__ or error
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return _unfitting(error, cause)
    return "; ".join(_lines(error))


def _unfitting(error: Exception, cause: OmegaConfBaseException) -> str:
    """An override that does not fit the schema: an unknown key, or a value of another type."""
    key = str(getattr(cause, "full_key", None) or "")
    if isinstance(cause, ConfigKeyError | AttributeError) and key:
        found = unknown_key(key, getattr(cause, "object_type", None))
        if found:
            return found
    message = f"{_lines(error)[0].rstrip('.:')}: {_lines(cause)[0]}"
    if "is not a subclass of" in message and key:
        message += f" (options of a group are chosen with a slash: {key.replace('.', '/')}=...)"
    return message


def unknown_key(key: str, owner: type | None) -> str:
    """What to say of a key that a part of the config does not have; empty where that part is no dataclass.

    Args:
        key: from the root of the config, such as `method.lamb`.
        owner: class of the part.
    """
    if owner is None or not dataclasses.is_dataclass(owner):
        return ""
    fields = [field.name for field in dataclasses.fields(owner)]
    part, dot, word = key.rpartition(".")
    if dot:
        return unknown(word, fields, there=f"{owner.__name__} has", prefix=f"{part}.")
    groups = list(options())
    meant = _elsewhere(word) or did_you_mean(word, [*groups, *fields])
    return f"{word} is unknown: {meant}the groups are {', '.join(groups)}; the keys are {', '.join(fields)}"


def _elsewhere(word: str) -> str:
    """A key that was typed without the part of the config that it belongs to."""
    from bregbench.schema.groups import GROUPS
    from bregbench.schema.trainer import TrainerConfig

    owners: dict[str, Iterable[type]] = {"trainer": (TrainerConfig,), "data": GROUPS["dataset"]}
    owners |= {name: GROUPS[name] for name in ("model", "method", "objective")}
    for part, kinds in owners.items():
        for kind in kinds:
            if word in {field.name for field in dataclasses.fields(kind)}:
                return f"did you mean {part}.{word}? "
    return ""


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("Set the environment variable")] or [
        type(error).__name__
    ]
