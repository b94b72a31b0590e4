"""`bregbench train`: train one run, or a sweep of them with `-m`."""

from __future__ import annotations

import os
import sys

from bregbench import __version__
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
    from bregbench.cli.train_arguments import refuse_misspelt

    refuse_misspelt(sys.argv[1:])
    refuse_shadowed()
    # After that check, since this imports the packages that could be hidden.
    from bregbench.cli.launch import launch

    return launch(sys.argv[1:])


if __name__ == "__main__":
    main()
