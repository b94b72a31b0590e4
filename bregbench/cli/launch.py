"""Runs and sweeps as Hydra begins them."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bregbench.cli import sweep
from bregbench.schema.groups import register_schemas

if TYPE_CHECKING:
    from bregbench.schema.config import Config

#: what a single run raised, carried past Hydra, which would print lines of its own
_raised: list[Exception] = []


def launch(arguments: list[str]) -> int:
    """Train what the command line says; the exit code.

    Args:
        arguments: those that Hydra will read from `sys.argv`.
    """
    register_schemas()
    _raised.clear()
    sweep.SweepDirectory.path = None
    if re.search(r"(^| )(--cfg|-c)[ =]job( |$)", " ".join(arguments)):
        _say_chosen([a for a in arguments if "=" in a and not a.startswith("-")])
    ended: Exception | None = None
    try:
        _run()
    except sweep.Stopped:
        pass
    except Exception as error:
        if not sweep.has_begun():
            raise
        ended = error
    if _raised:
        raise _raised[0]
    return sweep.summarize(ended)


@hydra.main(version_base="1.3", config_path="pkg://bregbench.configs", config_name="config")
def _run(composed: DictConfig) -> None:
    from bregbench.runs.train import train
    from bregbench.schema.compose import to_config

    error: Exception | None = None
    if sweep.in_sweep():
        sweep.begin_job()
    try:
        train(_named(to_config(composed)))
    except Exception as raised:  # noqa: BLE001 - reported by the caller, without Hydra's own lines
        error = raised
    if sweep.in_sweep():
        sweep.report_job(error)
    elif error is not None:
        _raised.append(error)


def _named(config: Config) -> Config:
    """The config under the name of the chosen method; a run that is there under that of its kind keeps it."""
    from bregbench.runs.train import run_directory

    option = HydraConfig.get().runtime.choices.get("method")
    if option in (None, config.method.kind) or config.method_name or not option.isidentifier():
        return config
    named = dataclasses.replace(config, method_name=option)
    there, wanted = run_directory(config).path, run_directory(named).path
    return config if there.exists() and not wanted.exists() else named


def _say_chosen(overrides: list[str]) -> None:
    """The chosen option of every group as comments, before Hydra prints the keys."""
    from bregbench.schema.compose import choices

    for group, option in choices(*overrides).items():
        print(f"# {group}={option}")
