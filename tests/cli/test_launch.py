"""What Hydra's choices mean for a run: its name, and what `--cfg job` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bregbench.cli import train
from bregbench.schema.compose import compose

SMALL = ("model.hidden=[8]", "trainer.epochs=1", "trainer.device=cpu", "tracking=none")


def folders(place: Path) -> list[str]:
    return sorted(path.name[:-9] for path in (place / "runs" / "default").iterdir())


def test_runs_are_named_by_the_chosen_method(call, tmp_path):
    assert call(train, *SMALL, "-m", "method=adam,amsgrad,sgd")[0] == 0
    assert folders(tmp_path) == ["digits-mlp-adam", "digits-mlp-amsgrad", "digits-mlp-sgd"]
    (summary,) = tmp_path.rglob("digits-mlp-amsgrad-*/seed0/summary.json")
    assert json.loads(summary.read_text())["name"] == "digits-mlp-amsgrad"
    # The name is no part of what a run is.
    config = compose(*SMALL, "method=amsgrad")
    assert summary.parent.parent.name.endswith(config.run_name.hash)
    before = summary.read_bytes()
    assert "complete: " in call(train, *SMALL, "method=amsgrad")[2]
    assert summary.read_bytes() == before


def test_a_run_under_its_former_name_is_found(call, tmp_path):
    assert call(train, *SMALL, "method=amsgrad")[0] == 0
    (named,) = tmp_path.glob("runs/default/digits-mlp-amsgrad-*")
    former = named.with_name(named.name.replace("amsgrad", "adam"))
    named.rename(former)
    for file in ("config.json", "summary.json"):
        path = former / "seed0" / file
        stored = json.loads(path.read_text())
        stored.pop("method_name", None)
        path.write_text(
            json.dumps(stored | ({"name": "digits-mlp-adam"} if "final" in stored else {}))
        )
    code, _, err = call(train, *SMALL, "method=amsgrad")
    assert code == 0, err
    assert folders(tmp_path) == ["digits-mlp-adam"]


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["-c", "job"], ["--cfg=job"]])
def test_the_printed_config_names_the_choices(call, tmp_path, flags):
    code, out, _ = call(train, "method=amsgrad", "evaluators=[accuracy]", *flags)
    assert code == 0
    lines = out.splitlines()
    assert {"# method=amsgrad", "# dataset=digits", "# evaluators=[accuracy]"} <= set(lines)
    assert "  amsgrad: true" in lines
    assert not (tmp_path / "runs").exists()
