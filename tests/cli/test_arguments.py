"""Arguments of the small commands."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bregbench.cli.arguments import option, parse
from bregbench.foundations.errors import BenchError


@dataclass
class Several:
    """Paths and numbers."""

    runs: list[str] = option(default_factory=lambda: ["runs"], help="paths")
    most: int = option(1, help="at most")
    quick: bool = option(False, help="in a hurry")


@dataclass
class One:
    """One path."""

    run: str = option("", help="a path")


def several(*arguments: str) -> Several:
    return parse(Several, list(arguments), command="test", plain="runs")


def test_paths_stand_without_a_key():
    assert several().runs == ["runs"]
    assert several("a", "b/c", "most=2") == Several(["a", "b/c"], 2)
    assert parse(One, ["a/seed0"], command="test", plain="run").run == "a/seed0"


def test_paths_are_taken_as_they_are():
    paths = ["a,b", "[c]", "runs/lr=0.1/seed0", "1e3", "null", "~x: y"]
    assert several(*paths).runs == paths


def test_lists_need_no_brackets():
    assert several("runs=a,b").runs == several("runs=[a,b]").runs == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mots=2"], "mots is unknown: did you mean most? test has runs, most, quick"),
        (["zzz=2"], "zzz is unknown: test has runs"),
        (["most=few"], "most: Value 'few' of type 'str' could not be converted to Integer"),
        (["a", "runs=b"], "runs is given twice, as a and as runs=: give it once"),
        (["--quick"], "'--quick' is not key=value: did you mean quick=...? see test --help"),
    ],
)
def test_refusals_name_what_was_meant(arguments, says):
    with pytest.raises(BenchError) as error:
        several(*arguments)
    assert str(error.value).startswith(says)


def test_a_command_of_one_path_takes_no_other():
    with pytest.raises(BenchError, match="test takes one run, not a, b: give one of them"):
        parse(One, ["a", "b"], command="test", plain="run")
    with pytest.raises(BenchError, match="'a' is not key=value"):
        parse(One, ["a"], command="test")


def test_help_shows_values_as_they_are_typed(capsys):
    with pytest.raises(SystemExit):
        several("--help")
    out = capsys.readouterr().out
    for shown in ("test RUNS ... key=value ...", "runs=runs", "most=1 ", "quick=false"):
        assert shown in out
