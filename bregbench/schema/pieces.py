"""Composing many configs that share their choices: Hydra's own composition, put together from pieces.

Hydra takes a sixth of a second for a config, and tables compose hundreds. Every config group fills one key
of a config alone, so the part below that key, once composed, serves every config that makes the same
choices for it. Values (`method.lam=0.1`) are set afterwards, in their order, as Hydra sets them. `compose`
is the reference: overrides that are not plain and overrides that fail go there, and a test compares the
results for rows of all tables.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bregbench.foundations.errors import BenchError
from bregbench.schema.compose import compose, refuse_unknown
from bregbench.schema.config import Config
from bregbench.schema.groups import register_schemas

#: the key of a config that a group fills, where the two have different names
_KEYS = {"dataset": "data"}
#: the choices made for one key of a config, in their order
_Choices = tuple[str, ...]


def compose_from_pieces(*overrides: str) -> Config:
    """What `compose` returns, faster from the second config on.

    Raises:
        BenchError: as `compose`.
        HydraException: as `compose`.
    """
    try:
        wanted = _wanted(overrides)
        if wanted is not None:
            return _PIECES.config(wanted)
    except (HydraException, OmegaConfBaseException, BenchError):
        pass  # Hydra finds what is wrong again, and has words for it.
    return copy.deepcopy(_by_hydra(*overrides))


def forget() -> None:
    """Compose everything anew from now on, for instance because the machine seems to be another one."""
    _PIECES.composed.clear()
    _PIECES.converted.clear()
    _by_hydra.cache_clear()


def prepare(runs: Iterable[Iterable[str]], say: Callable[[str], None]) -> None:
    """Compose what the configs of many runs need, in as few of Hydra's compositions as possible.

    Args:
        runs: the overrides of each run; what is wrong with them is left to `compose_from_pieces`.
        say: told before every composition how far this has come.
    """
    missing: dict[str, dict[_Choices, None]] = {}
    for overrides in runs:
        with contextlib.suppress(HydraException):
            for key, part in (_wanted(tuple(overrides)) or {}).items():
                if (key, part.choices) not in _PIECES.composed:
                    missing.setdefault(key, {})[part.choices] = None
    rounds = list(itertools.zip_longest(*missing.values(), fillvalue=()))
    for number, choices in enumerate(rounds, 1):
        say(f"composing configs: {number} of {len(rounds)}")
        with contextlib.suppress(HydraException, OmegaConfBaseException):
            _PIECES.compose(dict(zip(missing, choices, strict=True)))


@dataclass(frozen=True)
class _Part:
    """What a run wants below one key: the choices and the values, both in their order."""

    choices: _Choices = ()
    values: tuple[str, ...] = ()


@dataclass
class _Pieces:
    """What has been composed so far.

    Attributes:
        empty: a composed config, without anything below its keys.
        composed: what stands below a key after the choices made for it.
        converted: the same with values, as plain objects.
    """

    empty: DictConfig | None = None
    composed: dict[tuple[str, _Choices], Any] = field(default_factory=dict)
    converted: dict[tuple[str, _Part], Any] = field(default_factory=dict)

    def config(self, wanted: dict[str, _Part]) -> Config:
        """The checked config of all its parts."""
        if any((key, part.choices) not in self.composed for key, part in wanted.items()):
            self.compose({key: part.choices for key, part in wanted.items()})
        found = {key: copy.deepcopy(self._convert(key, part)) for key, part in wanted.items()}
        config = Config(**found)
        config.check()
        return config

    def compose(self, wanted: dict[str, _Choices]) -> None:
        """Let Hydra compose a config, and keep its pieces."""
        register_schemas()
        chosen = [choice for choices in wanted.values() for choice in choices]
        with hydra.initialize_config_module("bregbench.configs", version_base="1.3"):
            whole = hydra.compose("config", chosen)
        for key in _keys():
            self.composed.setdefault((key, wanted.get(key, ())), whole[key])
        if self.empty is None:
            empty = copy.deepcopy(whole)
            for key in _keys():
                empty[key] = MISSING
            self.empty = empty

    def _convert(self, key: str, part: _Part) -> Any:
        if (key, part) not in self.converted:
            tree = copy.deepcopy(self.empty)
            assert tree is not None
            # Interpolations of other keys find nothing here, and raise an error.
            tree[key] = self.composed[key, part.choices]
            for override in map(_parse, part.values):
                OmegaConf.update(tree, override.key_or_group, override.value(), merge=True)
            value = tree[key]
            if OmegaConf.is_config(value):
                refuse_unknown(value, prefix=f"{key}.")
                if OmegaConf.missing_keys(value):
                    raise BenchError(f"missing values below {key}")
                value = OmegaConf.to_object(value)
            self.converted[key, part] = value
        return self.converted[key, part]


_PIECES = _Pieces()


@functools.cache
def _by_hydra(*overrides: str) -> Config:
    return compose(*overrides)


@functools.cache
def _wanted(overrides: tuple[str, ...]) -> dict[str, _Part] | None:
    """What a run wants below each key of its config; None where overrides are more than plain."""
    wanted = dict.fromkeys(_keys(), _Part())
    for text in overrides:
        override = _parse(text)
        if not _is_plain(override):
            return None
        chosen = _chosen_key(override)
        key = chosen or re.split(r"[.\[]", override.key_or_group)[0]
        if key not in wanted:
            return None
        own = wanted[key]
        wanted[key] = (
            _Part(own.choices, (*own.values, text))
            if chosen is None
            else _Part((*own.choices, text), own.values)
        )
    return wanted


@functools.cache
def _parse(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


def _is_plain(override: Override) -> bool:
    """Whether an override chooses options of one key, or changes a value that is there already."""
    more = override.is_add() or override.is_force_add() or override.is_delete()
    more |= override.is_sweep_override() or override.is_hydra_override()
    # A value with an interpolation has to be read within its whole config.
    return not more and override.package is None and "${" not in (override.input_line or "")


def _chosen_key(override: Override) -> str | None:
    """The key of a config for which an override chooses an option; None for a value."""
    group = override.key_or_group.partition("/")[0]
    chooses = group != override.key_or_group or group in _groups()
    return _KEYS.get(group, group) if chooses else None


@functools.cache
def _groups() -> frozenset[str]:
    """The config groups at the top."""
    folders = resources.files("bregbench.configs").iterdir()
    return frozenset(folder.name for folder in folders if folder.is_dir())


def _keys() -> list[str]:
    """The keys at the top of a config."""
    return [field.name for field in dataclasses.fields(Config)]
