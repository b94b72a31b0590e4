"""The identity of a run: its config as plain values, and their hash.

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
    """A dataclass field about where or how a run is carried out, which does not change its result."""
    if default is not dataclasses.MISSING:
        arguments["default"] = default
    return dataclasses.field(metadata={"identity": False}, **arguments)


def chosen(factory: Any) -> Any:
    """A polymorphic dataclass field whose default is `factory()`.

    OmegaConf does not allow another class to replace a default object. So the schema leaves the value
    open, and the owner calls `fill_chosen` in its `__post_init__`.
    """
    return dataclasses.field(default=MISSING, metadata={"default_factory": factory})


def fill_chosen(config: Any) -> None:
    """Set every open `chosen` field to its default."""
    for field in dataclasses.fields(config):
        if "default_factory" in field.metadata and getattr(config, field.name) == MISSING:
            setattr(config, field.name, field.metadata["default_factory"]())


def to_plain(value: Any) -> Any:
    """A config as JSON values; each polymorphic dataclass gets an entry `kind`."""
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


#: Whether identities contain fingerprints of contents, or a function that gives these fingerprints.
Contents = bool | Callable[[Any], str | None]


def identity(config: Any, *, contents: Contents = True) -> dict[str, Any]:
    """The plain values that decide what a run computes: no local fields, no defaults.

    A dataclass with a method `fingerprint()` (a data set) adds its fingerprint, unless it is None.

    Args:
        config: a dataclass.
        contents: True: call `fingerprint()`, which reads files; False: add no fingerprints; a function:
            take its value for each dataclass with a fingerprint.
    """
    plain: dict[str, Any] = _kind(config)
    for field in dataclasses.fields(config):
        if not field.metadata.get("identity", True):
            continue
        value, default = _identity_of(getattr(config, field.name), contents), _default(field)
        # Identities are compared, so that a nested config counts as default if only local fields differ.
        if default is dataclasses.MISSING or value != _identity_of(default, contents):
            plain[field.name] = value
    if contents and hasattr(config, "fingerprint"):
        fingerprint = contents(config) if callable(contents) else config.fingerprint()
        if fingerprint is not None:
            plain["fingerprint"] = fingerprint
    return plain


def config_hash(config: Any, *, contents: Contents = True) -> str:
    """Eight hexadecimal digits of the identity's SHA-256; for `contents` see `identity`."""
    canonical = json.dumps(
        identity(config, contents=contents), sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def _kind(config: Any) -> dict[str, Any]:
    """The `kind` of a class of a config group; empty for a class with a field called `kind`."""
    if "kind" in {field.name for field in dataclasses.fields(config)}:
        return {}
    return {"kind": config.kind} if hasattr(config, "kind") else {}


def _identity_of(value: Any, contents: Contents) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return identity(value, contents=contents)
    if isinstance(value, dict):
        return {str(key): _identity_of(item, contents) for key, item in value.items()}
    # Dataclasses in lists keep their defaults, because the hashes of existing records include them.
    return to_plain(value)


def _default(field: dataclasses.Field[Any]) -> Any:
    if "default_factory" in field.metadata:
        return field.metadata["default_factory"]()
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING
