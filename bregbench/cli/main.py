"""`bregbench`: one command, whose sub-commands are modules that are imported when they are asked for."""

from __future__ import annotations

import sys
from importlib import import_module

from bregbench import __version__
from bregbench.cli.commands import COMMANDS
from bregbench.cli.help import definitions

_HEAD = """\
bregbench: train sparse and robust networks, and compare methods on one bench.

  bregbench COMMAND ...

"""
_FOOT = """
Examples:
  bregbench train dataset=digits method=linbreg tracking=none
  bregbench train -m method=sgd,linbreg,adabreg seed=0,1,2
  bregbench runs list
  bregbench plot runs/default y=validation/accuracy,density/total
  bregbench reproduce bregman_table1 dry_run=true

`bregbench COMMAND --help` explains a command, `bregbench --version` names the
version. Completion by the tab key: eval "$(bregbench completion)"
"""


def main() -> None:
    """Entry point; exits as the sub-command does, with 1 where there is none of that name."""
    sys.exit(_command(*(sys.argv[1:] or ["--help"])))


def _command(name: str, *arguments: str) -> int:
    if name in ("-h", "--help", "help"):
        sys.stdout.write(help_text())
    elif name == "--version":
        sys.stdout.write(f"bregbench {__version__}\n")
    elif name == "completion":
        from bregbench.cli.completion import script

        sys.stdout.write(script())
    elif name in COMMANDS:
        # What argparse and Hydra call the program.
        sys.argv = [f"bregbench {name}", *arguments]
        import_module(f"bregbench.cli.{name}").main()
    else:
        return _refuse(name)
    return 0


def help_text() -> str:
    """What `bregbench --help` shows."""
    return _HEAD + "Commands:\n" + definitions(COMMANDS) + _FOOT


def _refuse(name: str) -> int:
    from bregbench.foundations.console import fail
    from bregbench.foundations.nearest import unknown

    fail(unknown(name, COMMANDS, there="the commands are"))
    return 1


if __name__ == "__main__":
    main()
