"""Typed configs from the plain dictionaries that run directories hold."""

from __future__ import annotations

import dataclasses
import functools
import typing
from enum import Enum
from typing import Any

from bregbench.foundations.errors import BenchError
from bregbench.schema.config import Config
from bregbench.schema.groups import GROUPS


def from_plain(plain: dict[str, Any]) -> Config:
    """The config that `identity.to_plain` wrote, for instance a run's `config.json`.

    Raises:
        BenchError: another version has written the config, with keys or kinds unknown to this one.
    """
    return _revive(Config, plain)


def _revive(declared: Any, value: Any) -> Any:
    """Turn JSON values into the declared type, choosing subclasses by their `kind`."""
    if value is None:
        return None
    if dataclasses.is_dataclass(declared) and isinstance(declared, type):
        return _revive_dataclass(declared, dict(value))
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is list:
        return [_revive(arguments[0], item) for item in value]
    if origin is dict:
        return {key: _revive(arguments[1], item) for key, item in value.items()}
    if type(None) in arguments:
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _revive(inner, value)
    if isinstance(declared, type) and issubclass(declared, Enum):
        return declared[value]
    return value


def _revive_dataclass(declared: type, plain: dict[str, Any]) -> Any:
    fields = {field.name for field in dataclasses.fields(declared)}
    kind = plain.pop("kind", None) if "kind" not in fields else None
    if kind is not None:
        kinds = _kinds(declared)
        if kind not in kinds:
            raise BenchError(f"{declared.__name__} of kind {kind} is unknown to this version")
        declared = kinds[kind]
    hints = _hints(declared)
    known = {f.name for f in dataclasses.fields(declared)}
    unknown = sorted(set(plain) - known)
    if unknown:
        raise BenchError(f"{declared.__name__} has no {', '.join(unknown)} in this version")
    return declared(**{key: _revive(hints[key], item) for key, item in plain.items()})


# Commands read hundreds of records, and `get_type_hints` is slow.
@functools.cache
def _hints(declared: type) -> dict[str, Any]:
    return typing.get_type_hints(declared)


@functools.cache
def _kinds(declared: type) -> dict[str, type]:
    return {k.kind: k for ks in GROUPS.values() for k in ks if issubclass(k, declared)}
