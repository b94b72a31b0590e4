"""Arithmetic and rendering of the benchmark; nothing here depends on how fast the machine is."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from bregbench.benchmark import __main__ as command
from bregbench.benchmark import clip as lipschitz
from bregbench.benchmark import fno as fourier
from bregbench.benchmark import lifted, loop, steps
from bregbench.benchmark.memory import peak_bytes, peak_of, state_bytes_per_parameter
from bregbench.benchmark.report import environment, render, render_row, write_report
from bregbench.benchmark.rows import Row
from bregbench.benchmark.sides import NETWORKS, OURS, ours, yardstick
from bregbench.benchmark.timing import interleave, median_milliseconds, median_ratio

SETTING = {
    "cpu": "Test CPU",
    "threads": 1,
    "torch": "9.9",
    "date": "2030-01-02",
    "commit": "abc",
    "rounds": 5,
}


class FakeMachine:
    """A clock that only the timed calls advance, and the order in which they were called."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def side(self, name: str, costs):
        costs = itertools.cycle(costs)

        def call() -> None:
            self.calls.append(name)
            self.now += next(costs)

        return call


def test_interleave_divides_by_repeats_and_does_not_count_the_warm_up():
    machine = FakeMachine()
    sides = {"a": machine.side("a", [100.0, 1.0, 1.0, 1.0, 1.0]), "b": machine.side("b", [2.0])}
    seconds = interleave(sides, rounds=2, repeats=2, clock=lambda: machine.now)
    assert seconds == {"a": [1.0, 1.0], "b": [2.0, 2.0]}


def test_interleave_rotates_who_comes_first():
    machine = FakeMachine()
    sides = {name: machine.side(name, [1.0]) for name in "abc"}
    interleave(sides, rounds=4, repeats=1, clock=lambda: machine.now)
    assert "".join(machine.calls) == "abc" + "abc" + "bca" + "cab" + "abc"


def test_ratio_is_the_median_of_ratios_within_rounds():
    seconds = {"x": [2.0, 30.0, 8.0], "y": [1.0, 10.0, 2.0]}
    assert median_ratio(seconds, "x", "y") == 3.0  # of 2, 3, 4; the ratio of medians would be 4
    assert median_milliseconds(seconds, "x") == 8000.0


@pytest.mark.parametrize(
    ("value", "goal", "exact", "verdict"),
    [
        (1.0, None, False, "-"),
        (1.35, 1.35, False, "PASS"),
        (1.36, 1.35, False, "FAIL"),
        (4.0, 4.0, True, "PASS"),
        (3.9, 4.0, True, "FAIL"),
    ],
)
def test_verdicts(value, goal, exact, verdict):
    assert Row("s", "w", value, "x S", goal, exact).verdict == verdict


def test_row_rendering():
    row = Row("s", "LinBreg, l1", 1.239, "x S", 1.35, milliseconds=4.9321)
    assert render_row(row) == "| LinBreg, l1 | 4.93 | 1.24 x S | <= 1.35 | PASS |"
    assert render_row(Row("s", "state", 4.0, "B/parameter", 4.0, exact=True)).endswith(
        "| 4.00 B/parameter | = 4 | PASS |"
    )


def test_report_has_one_table_per_section_and_plain_json(tmp_path):
    rows = [
        Row("one", "a", 1.0, "x S"),
        Row("two", "b", 2.0, "x S", 1.5),
        Row("one", "c", 3.0, "x A", 4.0),
    ]
    write_report(rows, SETTING, tmp_path / "deep")
    text = (tmp_path / "deep" / "optimizer_steps.md").read_text()
    assert text == render(rows, SETTING)
    assert text.count("## ") == 2
    assert text.index("| a |") < text.index("| c |") < text.index("## two") < text.index("| b |")
    for value in ("Test CPU", "torch 9.9", "2030-01-02", "commit abc", "1 thread", "5 rounds"):
        assert value in text
    record = json.loads((tmp_path / "deep" / "optimizer_steps.json").read_text())
    assert record["environment"] == SETTING
    assert [row["verdict"] for row in record["rows"]] == ["-", "FAIL", "PASS"]


def test_environment_names_no_path():
    setting = environment(7)
    assert setting.keys() == SETTING.keys()
    assert setting["torch"] == torch.__version__
    assert setting["rounds"] == 7
    assert str(Path.cwd()) not in json.dumps(setting)


def test_command_writes_what_it_measures(tmp_path, monkeypatch, capsys):
    parts = {
        "steps": lambda *, rounds: [Row("s", f"{rounds}", 1.0, "x S", 2.0)],
        "loop": lambda *, rounds: [Row("l", "loop", 3.0, "x S", 2.0)],
    }
    monkeypatch.setattr(command, "PARTS", parts)
    assert command.main(["--rounds", "4", "--output", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "| s | 4 |" in output
    assert "2 rows, 1 missed their goal" in output
    assert len(json.loads((tmp_path / "optimizer_steps.json").read_text())["rows"]) == 2
    # A part of it does not take the place of the whole report, unless asked to.
    monkeypatch.chdir(tmp_path)
    assert command.main(["--only", "loop", "--rounds", "4"]) == 0
    assert "1 rows, 1 missed" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    assert command.main(["--rounds", "4"]) == 0
    assert (tmp_path / "results" / "benchmark" / "optimizer_steps.md").is_file()


def test_too_few_rounds_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["--rounds", "2"])
    assert "2 is too few (must be at least 3)" in capsys.readouterr().err


def test_fourier_rows_compare_the_chosen_way_with_ffts(monkeypatch):
    monkeypatch.setattr(fourier, "KERNELS", (3,))
    monkeypatch.setattr(fourier, "MODES", (3,))
    monkeypatch.setattr(fourier, "DIRECT", (3,))
    monkeypatch.setattr(fourier, "LAYERS", (3,))
    monkeypatch.setattr(fourier, "BATCH", 2)
    rows = list(fourier.fourier_rows(rounds=3))
    assert [row.what for row in rows] == [
        "CNN@3",
        "FNO@3",
        "CNN@3",
        "3 x 3, FFT",
        "3 x 3, spectral",
    ]
    assert [row.goal for row in rows] == [None, 0.5, None, None, None]
    assert fourier.dense.MOST_PRODUCTS == 100  # put back


def test_peak_of_signed_allocations():
    assert peak_of([]) == 0
    assert peak_of([-5, 3]) == 0
    assert peak_of([4, 6, -6, 3, -7, 1]) == 10


def test_peak_bytes_sees_what_an_action_allocates():
    x = torch.ones(1000)
    assert 4000 <= peak_bytes(lambda: x + 1) < 8000


def test_state_bytes_count_tensors_only():
    model = nn.Sequential(nn.Linear(3, 2))
    for name, size in {"LinBreg": 4, "LinBreg momentum": 8, "AdaBreg": 12}.items():
        optimizer = ours(name, model)
        optimizer.step()
        assert state_bytes_per_parameter(optimizer) == size
    adam = yardstick("A", model)
    adam.step()
    assert state_bytes_per_parameter(adam) == 8


def test_sides_work_on_copies_with_gradients_in_the_layout_of_the_weights():
    model = NETWORKS["cnn"].build()
    before = [param.detach().clone() for param in model.parameters()]
    for name in OURS:
        optimizer = ours(name, model, penalty="kernel", layout="channels_last")
        assert {group["penalty"] for group in optimizer.param_groups} == {"l12", "l1", "none"}
        for group in optimizer.param_groups:
            for param in group["params"]:
                assert param.grad.stride() == param.stride()
                assert param.grad.any()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_goals_name_rows_that_exist():
    for network, optimizer, penalty in steps.GOALS:
        assert network in NETWORKS
        assert optimizer in OURS
        assert penalty in ("l1", "kernel")


def test_rows_of_a_small_network(monkeypatch):
    """Names, yardsticks and goals of the rows; the numbers themselves come from a fake timer."""

    def fake(sides, *, rounds, repeats):
        cost = {"S": 1.0, "A": 2.0, "LinBreg": 1.2, "LinBreg momentum": 1.9, "AdaBreg": 2.6}
        return {name: [cost[name]] * rounds for name in sides}

    monkeypatch.setattr(steps, "interleave", fake)
    rows = {row.what: row for row in steps.step_rows(NETWORKS["mlp"], rounds=3)}
    assert list(rows) == [
        "S: fused SGD with momentum",
        "A: fused Adam",
        "LinBreg, l1",
        "LinBreg momentum, l1",
        "AdaBreg, l1",
    ]
    assert (rows["LinBreg, l1"].value, rows["LinBreg, l1"].goal) == (1.2, 1.5)
    assert rows["LinBreg momentum, l1"].verdict == "FAIL"
    assert (rows["AdaBreg, l1"].value, rows["AdaBreg, l1"].unit) == (1.3, "x A")


def test_training_loop_trains(monkeypatch):
    monkeypatch.setattr(loop, "ITERATIONS", 3)
    model = NETWORKS["mlp"].build()
    before = [param.detach().clone() for param in model.parameters()]
    images = torch.randint(256, (512, 1, 28, 28), dtype=torch.uint8)
    optimizer = OURS["LinBreg"](list(model.parameters()))
    loop.training_loop(model, optimizer, images, torch.randint(10, (512,)))()
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_clip_rows_measure_what_they_say(monkeypatch):
    """Every side trains, and only the sides of CLIP move their pairs."""
    monkeypatch.setattr(loop, "ITERATIONS", 2)
    called = {}

    def fake(sides, *, rounds, repeats):
        for name, run in sides.items():
            run()
            called[name] = True
        return {name: [float(index + 1)] * rounds for index, name in enumerate(sides)}

    monkeypatch.setattr(lipschitz, "interleave", fake)
    rows = list(lipschitz.lipschitz_rows(rounds=3))
    assert [row.what for row in rows] == list(called)
    assert [row.value for row in rows] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [row.verdict for row in rows] == ["-", "PASS", "PASS", "-", "-"]


def test_lifted_rows_measure_what_they_say(monkeypatch):
    monkeypatch.setattr(lifted, "STEPS", 2)

    def fake(sides, *, rounds, repeats):
        for run in sides.values():
            run()
        return {name: [float(4 * index + 1)] * rounds for index, name in enumerate(sides)}

    monkeypatch.setattr(lifted, "interleave", fake)
    rows = {row.what.rpartition(" ")[2]: row for row in lifted.lifted_rows(rounds=3)}
    assert [row.value for row in rows.values()] == [1.0, 5.0, 9.0, 13.0]
    assert rows["alternating"].verdict == "PASS"
    assert rows["layer"].verdict == "-"
