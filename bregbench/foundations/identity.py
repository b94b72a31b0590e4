"""What makes two runs the same run: a config as plain values, and its hash.

Fields marked `local()` (paths, device, threads, tracking) never change a result and stay out of the hash.
Values equal to their default stay out too, so that an option added later leaves old runs valid; a default
may therefore never change: add a new field instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from enum import Enum
from typing import Any

from omegaconf import MISSING


def local(default: Any = dataclasses.MISSING, **arguments: Any) -> Any:
    """A dataclass field that says where or how a run is carried out, not what it computes."""
    if default is not dataclasses.MISSING:
        arguments["default"] = default
    return dataclasses.field(metadata={"identity": False}, **arguments)


def chosen(factory: Any) -> Any:
    """A polymorphic dataclass field whose default is `factory()`.

    OmegaConf lets no other class replace a default object, so the schema leaves the value open and the
    owner fills it in with `fill_chosen` from its `__post_init__`.
    """
    return dataclasses.field(default=MISSING, metadata={"default_factory": factory})


def fill_chosen(config: Any) -> None:
    """Give every `chosen` field that was left open its default."""
    for field in dataclasses.fields(config):
        if "default_factory" in field.metadata and getattr(config, field.name) == MISSING:
            setattr(config, field.name, field.metadata["default_factory"]())


def to_plain(value: Any) -> Any:
    """A config as JSON values; each polymorphic dataclass says its `kind`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return _kind(value) | {field.name: to_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


#: whether identities ask for fingerprints, or what answers in their place
Contents = bool | Callable[[Any], str | None]


def identity(config: Any, *, contents: Contents = True) -> dict[str, Any]:
    """The plain values that decide what a run computes: no local fields, no defaults.

    A dataclass with a method `fingerprint()` (a data set) adds what that returns, unless it is None.

    Args:
        config: a dataclass.
        contents: ask for fingerprints, which reads files; or what knows the fingerprint of a dataclass.
    """
    plain: dict[str, Any] = _kind(config)
    for field in dataclasses.fields(config):
        if not field.metadata.get("identity", True):
            continue
        value, default = _identity_of(getattr(config, field.name), contents), _default(field)
        # Compared as identities, so that a nested config whose local fields alone differ is a default.
        if default is dataclasses.MISSING or value != _identity_of(default, contents):
            plain[field.name] = value
    if contents and hasattr(config, "fingerprint"):
        fingerprint = contents(config) if callable(contents) else config.fingerprint()
        if fingerprint is not None:
            plain["fingerprint"] = fingerprint
    return plain


def config_hash(config: Any, *, contents: Contents = True) -> str:
    """Eight hexadecimal digits that name what a run computes; `contents` as for `identity`."""
    canonical = json.dumps(
        identity(config, contents=contents), sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def _kind(config: Any) -> dict[str, Any]:
    """Which class of a config group this is; a mere field called `kind` is not meant."""
    if "kind" in {field.name for field in dataclasses.fields(config)}:
        return {}
    return {"kind": config.kind} if hasattr(config, "kind") else {}


def _identity_of(value: Any, contents: Contents) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return identity(value, contents=contents)
    if isinstance(value, dict):
        return {str(key): _identity_of(item, contents) for key, item in value.items()}
    # Dataclasses in lists keep their defaults: records rely on hashes that were made so.
    return to_plain(value)


def _default(field: dataclasses.Field[Any]) -> Any:
    if "default_factory" in field.metadata:
        return field.metadata["default_factory"]()
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING
