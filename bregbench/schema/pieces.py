"""Fast composition of many configs that share options: parts that Hydra has composed are put together.

Hydra takes a sixth of a second for a config, and tables compose hundreds of configs. Every config group
fills one key of a config, so the composed part below a key serves every config with the same options for
the key. Values (`method.lam=0.1`) are set afterwards, in their order, as Hydra sets them. `compose` is the
reference: overrides that are not plain and overrides that fail are composed by it, and a test compares the
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

#: The key of a config that a group fills, for groups with another name than their key.
_KEYS = {"dataset": "data"}
#: Overrides that choose options for one key of a config, in their order.
_Choices = tuple[str, ...]


def compose_from_pieces(*overrides: str) -> Config:
    """The config that `compose` returns, faster from the second config on.

    Raises:
        BenchError: see `compose`.
        HydraException: see `compose`.
    """
    try:
        wanted = _wanted(overrides)
        if wanted is not None:
            return _PIECES.config(wanted)
    except (HydraException, OmegaConfBaseException, BenchError):
        pass  # Hydra composes the config again, and its error messages are clearer.
    return copy.deepcopy(_by_hydra(*overrides))


def forget() -> None:
    """Drop all cached parts, for instance because a test changes the properties of the machine."""
    _PIECES.composed.clear()
    _PIECES.converted.clear()
    _by_hydra.cache_clear()


def prepare(runs: Iterable[Iterable[str]], say: Callable[[str], None]) -> None:
    """Compose the parts of the configs of many runs, in as few of Hydra's compositions as possible.

    Args:
        runs: the overrides of each run; errors in them are left to `compose_from_pieces`.
        say: function that gets a progress line before every composition.
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
    """The overrides of a run below one key: choices of options and values, each in their order."""

    choices: _Choices = ()
    values: tuple[str, ...] = ()


@dataclass
class _Pieces:
    """The parts that have been composed so far.

    Attributes:
        empty: a composed config whose keys are all missing.
        composed: the tree below a key, by key and choices.
        converted: plain objects with values set, by key, choices and values.
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
        """Let Hydra compose a config, and keep its parts."""
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
            # An interpolation of another key finds a missing value and raises an error.
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
    """The overrides of a run by key of its config; None if an override is not plain."""
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
    """Whether an override chooses an option of one key, or changes an existing value."""
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
