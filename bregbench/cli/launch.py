"""Runs and sweeps as Hydra begins them."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from bregbench.cli import sweep
from bregbench.schema.groups import register_schemas

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
    if arguments[:2] == ["--cfg", "job"] or "--cfg=job" in arguments:
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
        train(to_config(composed))
    except Exception as raised:  # noqa: BLE001 - reported by the caller, without Hydra's own lines
        error = raised
    if sweep.in_sweep():
        sweep.report_job(error)
    elif error is not None:
        _raised.append(error)


def _say_chosen(overrides: list[str]) -> None:
    """The chosen option of every group as comments, before Hydra prints the keys."""
    from bregbench.schema.compose import choices

    for group, option in choices(*overrides).items():
        print(f"# {group}={option}")
