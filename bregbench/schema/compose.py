"""Composition of YAML files and overrides into a typed config, once, at the start of a command."""

from __future__ import annotations

import dataclasses

import hydra
from omegaconf import DictConfig, OmegaConf

from bregbench.foundations.errors import BenchError
from bregbench.foundations.nearest import unknown
from bregbench.schema.config import Config
from bregbench.schema.groups import register_schemas


def to_config(composed: DictConfig) -> Config:
    """The composed config as plain, checked objects.

    Raises:
        BenchError: a value is missing or out of range.
    """
    refuse_unknown(composed, prefix="")
    missing = OmegaConf.missing_keys(composed)
    if missing:
        raise BenchError(f"missing values: {', '.join(sorted(missing))}")
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    config.check()
    return config


def compose(*overrides: str) -> Config:
    """The config that `bregbench train` would run with these overrides.

    Raises:
        BenchError: a value is missing or out of range.
        HydraException: an unknown key or option, or a value of the wrong type.
    """
    register_schemas()
    with hydra.initialize_config_module("bregbench.configs", version_base="1.3"):
        return to_config(hydra.compose("config", list(overrides)))


def choices(*overrides: str) -> dict[str, str]:
    """The chosen option of every group, in the order of `configs/config.yaml`.

    Raises:
        HydraException: as for `compose`.
    """
    register_schemas()
    with hydra.initialize_config_module("bregbench.configs", version_base="1.3"):
        composed = hydra.compose("config", list(overrides), return_hydra_config=True)
    found = dict(composed.hydra.runtime.choices) | {
        "evaluators": f"[{','.join(composed.evaluators)}]"
    }
    return {group: str(name) for group, name in found.items() if not group.startswith("hydra/")}


def refuse_unknown(node: DictConfig, *, prefix: str) -> None:
    """Raise BenchError for unknown keys, forced into a config by `+key=value`, which no code would read."""
    schema = OmegaConf.get_type(node)
    for key in node:
        known = dataclasses.fields(schema) if dataclasses.is_dataclass(schema) else None
        if known is not None and key not in {field.name for field in known}:
            names = [field.name for field in known]
            raise BenchError(unknown(str(key), names, there="the keys here are", prefix=prefix))
        child = None if OmegaConf.is_missing(node, key) else node[key]
        if isinstance(child, DictConfig):
            refuse_unknown(child, prefix=f"{prefix}{key}.")
