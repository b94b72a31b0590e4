"""A user's own functions: found by name, called with what they ask for, refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bregbench.foundations import factories
from bregbench.foundations.errors import BenchError

SOURCE = """
import math

five = 5

def make(input_shape, classes, hidden=2):
    return input_shape, classes, hidden

def anything(**arguments):
    return arguments

def fails():
    raise RuntimeError("first line\\nsecond line")

class Shelf:
    @staticmethod
    def make():
        return "shelf"
"""
OFFERED = {"input_shape": (1, 2, 3), "classes": 4}


@pytest.fixture
def module(tmp_path, monkeypatch, request) -> str:
    """A module in the working directory, under a name of its own for each test."""
    monkeypatch.chdir(tmp_path)
    name = f"own_{abs(hash(request.node.name))}"
    Path(f"{name}.py").write_text(SOURCE)
    return name


def call(name: str, **arguments: object) -> object:
    return factories.call(name, arguments, OFFERED, at="model")


def test_a_function_gets_its_arguments_and_what_it_has_parameters_for(module):
    path = list(sys.path)
    assert call(f"{module}:make") == ((1, 2, 3), 4, 2)
    assert call(f"{module}:make", hidden=8, classes=9) == ((1, 2, 3), 9, 8)
    assert call(f"{module}:anything", hidden=8) == {"hidden": 8}
    assert call(f"{module}:Shelf.make") == "shelf"
    assert call("builtins:dict", a=1) == {"a": 1}
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("{m}:mak", {}, r"has no mak: it has make, anything, fails, Shelf"),
        ("{m}:five", {}, r"is an int and cannot be called: give a function or a class"),
        ("{m}:make", {"hiden": 1}, r"model\.arguments=.*'hiden'.*it takes \(input_shape, classes"),
        ("{m}:make", {"hiden": 1}, r"gets input_shape, classes from the bench$"),
        (
            "{m}:fails",
            {},
            r"failed \(own_\d+\.py, line 13\): RuntimeError: first line second line;",
        ),
        ("no_such_module:make", {}, r"there is no module no_such_module in /"),
        ("os.nothing:make", {}, r"there is no module os\.nothing in /"),
        ("", {}, r"^model\.factory=\(empty\) is out of range: .*package\.module:function"),
        ("<given>:none", {}, r"object of another Python process"),
    ],
)
def test_wrong_names_and_arguments_are_refused_in_one_line(module, name, arguments, message):
    with pytest.raises(BenchError, match=message) as caught:
        call(name.format(m=module), **arguments)
    assert "\n" not in str(caught.value)
    assert name.format(m=module) in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package", r"No module named 'no_such_package'; install what it needs"),
        ("def broken(:", r"SyntaxError.*mend the module"),
        ("x = 1 / 0", r"\(\w+\.py, line 1\): ZeroDivisionError"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(module, source, message):
    Path(f"broken_{module}.py").write_text(source)
    with pytest.raises(BenchError, match=message):
        call(f"broken_{module}:make")


@pytest.mark.parametrize(
    ("factory", "arguments", "key"),
    [
        ("module", None, "factory"),
        ("module:", None, "factory"),
        ("a/b.py:make", None, "factory"),
        ("a:make", [1], "arguments"),
        ("a:make", {"x": float("nan")}, r"arguments\.x"),
        ("a:make", {"x": [{"y": object()}]}, r"arguments\.x"),
    ],
)
def test_what_no_file_could_hold_is_refused(factory, arguments, key):
    with pytest.raises(BenchError, match=rf"^model\.{key}="):
        factories.check_factory(factory, arguments, "model")
    factories.check_factory("a.b:C.make", {"x": [1, {"y": None, "z": "w"}]}, "model")


def test_a_function_that_can_be_imported_has_its_own_name():
    assert factories.name_of(Path) == f"{Path.__module__}:Path"
    assert factories.name_of(lambda: None) is None
    name = factories.give("three", lambda: 3)
    assert call(name) == 3


def test_the_digest_is_of_the_file(module):
    first = factories.source_digest(f"{module}:make")
    assert first == factories.source_digest(f"{module}:fails")
    Path(f"{module}.py").write_text(SOURCE + "# changed\n")
    assert first != factories.source_digest(f"{module}:make")
    assert factories.source_digest("builtins:dict") is None
