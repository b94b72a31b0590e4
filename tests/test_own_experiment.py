"""The page on an experiment of one's own works as it stands, in one empty folder and in its order."""

from __future__ import annotations

import importlib
import sys

import pytest

from tests.pages import blocks, commands, file_of

PAGE = "your-own-experiment.md"


@pytest.fixture(autouse=True)
def _own_modules(tmp_path, monkeypatch):
    """The page's modules are imported from its folder, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("my_networks", "my_data"):
        sys.modules.pop(name, None)


def test_the_page_runs_as_it_stands(call, tmp_path, capsys):
    names: dict[str, object] = {}
    for language, text in blocks(PAGE):
        file = file_of(text)
        if file is not None:
            file.write_text(text, encoding="utf-8")
        elif language == "bash":
            for module, arguments in commands(text):
                code, _, err = call(importlib.import_module(module), *arguments)
                assert code == 0, err
        else:
            exec(compile(text, PAGE, "exec"), names)
    said = capsys.readouterr().out
    assert said.count("accuracy 0.9") + said.count("accuracy 1.0") == 2, said
    assert said.count("Lipschitz constant between") == 2
    assert len(list((tmp_path / "runs" / "default").iterdir())) == 4
    assert (tmp_path / "small.pt").is_file()
