"""`bregbench-train`: train one run, or a sweep of them with `-m`."""

from __future__ import annotations

import os
import sys

import hydra
from omegaconf import DictConfig

from bregbench import __version__
from bregbench.cli import sweep
from bregbench.cli.outcome import guarded
from bregbench.cli.train_help import help_text
from bregbench.foundations.own_packages import refuse_shadowed


def main() -> None:
    """Entry point; exits with 0, with 1 after an error, with 128 + signal when interrupted."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.stdout.write(help_text())
        sys.exit(0)
    if "--version" in sys.argv[1:]:
        sys.stdout.write(f"bregbench {__version__}\n")
        sys.exit(0)
    # Hydra then raises errors instead of printing them over several lines; `guarded` prints one.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # argparse refuses options that stand between overrides, such as the -m in `seed=0,1 -m`.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: "=" in argument and argument[0] != "-")
    sys.exit(guarded(_command))


def _command() -> int:
    refuse_shadowed()
    # After that check, since these import the packages that could be hidden.
    from bregbench.schema.groups import register_schemas

    register_schemas()
    _raised.clear()
    sweep.SweepDirectory.path = None
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


#: what a single run raised, carried past Hydra, which would print lines of its own
_raised: list[Exception] = []


if __name__ == "__main__":
    main()
