"""One command: it finds its sub-commands, and says what may have been meant."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

from bregbench import __version__
from bregbench.cli import main
from bregbench.cli.arguments import parse
from bregbench.cli.commands import COMMANDS
from tests.places import ROOT

HELP = """
import runpy, sys
sys.argv[1:] = {arguments!r}
try:
    runpy.run_module("bregbench", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "hydra", "pandas", "matplotlib", "wandb"}} & sys.modules.keys()
assert not heavy, heavy
"""


def test_help_is_short_and_names_every_command(call):
    code, out, _ = call(main, "--help")
    assert code == 0
    assert len(out.splitlines()) <= 30
    for command, line in COMMANDS.items():
        assert f"  {command}".ljust(13) + line in out
    assert call(main)[1] == out


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["completion"]])
def test_help_as_a_module_imports_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_for_itself(call, command):
    code, out, _ = call(main, command, "--help")
    assert code == 0
    assert out.startswith(f"bregbench {command}: ")
    assert call(main, command, "--version")[1] == f"bregbench {__version__}\n"


def test_an_unknown_command_is_one_line(call):
    code, _, err = call(main, "plto")
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("error: plto is unknown: did you mean plot? the commands are train, ")
    assert "did you mean" not in call(main, "xyz")[2]


def test_the_command_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"bregbench": "bregbench.cli.main:main"}


def test_examples_of_the_help_are_commands(call):
    lines = [line for line in call(main, "-h")[1].splitlines() if line.startswith("  bregbench ")]
    commands = [shlex.split(line)[1] for line in lines]
    assert sum(command in COMMANDS for command in commands) == 5


@pytest.mark.parametrize(
    "command", ["compare", "evaluate", "export", "plot", "reproduce", "search", "doctor"]
)
def test_examples_of_commands_parse(command):
    module = import_module(f"bregbench.cli.{command}")
    plain = {"compare": "runs", "plot": "runs", "reproduce": "table", "search": "table"}
    for example in module.EXAMPLES:
        words = [word for word in shlex.split(example) if not word.startswith("evaluators.")]
        parse(module.Options, words, command=command, plain=plain.get(command, "run"))
