"""Figures 7, 8, 11 to 13 and 16 of the lifted paper: shared runs, levels, codes of one image."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from bregbench.data.loader import to_unit_interval
from bregbench.figures.base import Figure
from bregbench.figures.curves import Curves
from bregbench.figures.lifted import Codes as CodesFigure
from bregbench.figures.pictures import Reconstructions
from bregbench.figures.specs import load_table
from bregbench.foundations.errors import BenchError
from bregbench.papers.lifted import Codes
from bregbench.runs.load import load_run
from bregbench.runs.train import run_directory, train
from bregbench.schema.config import Config
from bregbench.tables.cells import fill
from bregbench.tables.published import Published
from bregbench.tables.rendering import to_markdown
from bregbench.tables.verdicts import Verdict
from tests.places import at, local_place

#: what makes a run small, after the overrides of its row
TINY = (
    "dataset=digits",
    "data.limit=60",
    "data.validation=100",
    "model.hidden=[12,12,12]",
    "trainer.epochs=2",
    "trainer.device=cpu",
    "task.noise=0",
    "evaluators.reconstruction.images=2",
    "evaluators.reconstruction.train_images=2",
)


def figure(number: int) -> Figure:
    loaded = load_table(f"lifted_figure{number}")
    assert isinstance(loaded, Figure)
    return loaded


def test_figures_share_their_runs():
    """A run is named by its hash: equal hashes in one experiment are one run."""
    seven, eight, uae = figure(7), figure(8), load_table("lifted_uae")
    for label in ("LBN", "LBN (alternating, rho=1)", "ISGD-BP"):
        assert seven.config(label, 0).hashed_name == eight.config(label, 0).hashed_name
    for label in ("LBN", "LBN (alternating, rho=1)", "SGD-BP"):
        sparse = uae.config(f"Sparse, {label}", 0)
        assert sparse.hashed_name == seven.config(label, 0).hashed_name
    for number in (11, 12, 13, 16):
        other = figure(number)
        assert (other.experiment, other.common) == (seven.name, seven.common)
        assert other.rows == eight.rows
    assert (eight.experiment, uae.experiment) == (seven.name, seven.name)


def test_rows_are_the_settings_of_section_6_3():
    seven, eight, uae = figure(7), figure(8), load_table("lifted_uae")
    configs = {label: seven.config(label, 0) for label in seven.rows}
    faster = {label: configs.pop(f"{label} (lr=0.02)") for label in ("SGD-BP", "ISGD-BP")}
    for label, config in faster.items():  # our rows, which differ in the rate alone
        assert (value(config, "lr"), value(configs[label], "lr")) == (0.02, 4e-4)
        assert value(config, "iterations") == value(configs[label], "iterations")
    for label, common in {
        "LBN (": "LBN",
        "LBN (alternating, rho=1, ": "LBN (alternating, rho=1)",
    }.items():
        # Ours as well: the threshold of Figure 3 next to this figure's alpha.
        config = configs.pop(f"{label}threshold 0.09)")
        assert value(config.model, "code_threshold", 0) == 0.09
        same = dataclasses.replace(config.model, code_threshold=0.055)
        assert dataclasses.replace(config, model=same) == configs[common]
    long = eight.config("SGD-BP (1,500 epochs)", 0)
    # 1,500 epochs are as many steps as 50 epochs of 30 inner iterations.
    inner = [value(configs[label], "iterations") for label in configs]
    assert inner == [30, 30, 1, 30]
    assert long.trainer.epochs == 30 * configs["LBN"].trainer.epochs == 1500
    assert [value(c, "lr", None) for c in configs.values()] == [None, None, 4e-4, 4e-4]
    rates = [value(configs[label], "tau") or value(configs[label], "rho") for label in configs]
    assert rates == [1, 1, None, 1]
    for config in (*configs.values(), long):
        assert (config.data.limit, config.trainer.batch_size) == (10_000, 200)
        assert value(config.model, "code_threshold", 0) == 0.055
        assert dataclasses.asdict(config.method)["code"] | {"mode": None} == {
            "layer": 2,
            "lam": 0.055,
            "mode": None,
        }
    for label in ("UAE, LBN", "UAE, LBN (alternating, rho=1)", "UAE, SGD-BP"):
        config = uae.config(label, 0)
        network = config.model.build(input_shape=(1, 28, 28), classes=10)
        sizes = [tuple(p.shape) for p in network.parameters() if p.dim() == 2]
        assert sizes == [(784, 784), (70, 784), (784, 70), (784, 784)]
        assert not any(isinstance(module, torch.nn.Softshrink) for module in network.modules())
        assert dataclasses.asdict(config.method)["code"]["layer"] == 0


def value(config: object, name: str, default: object = 1) -> object:
    """A field of a model, or of a run's solver."""
    owner = getattr(config.method, "solver", None) if isinstance(config, Config) else config
    return getattr(owner, name, default)


def image_of(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)


def test_rows_train_and_all_figures_are_drawn(tmp_path, monkeypatch):
    local = (*TINY, f"runs_dir={tmp_path / 'runs'}")
    eight = figure(8)
    for label in eight.rows:
        train(eight.config(label, 0, local_place(*local)))
    rows = fill(eight, {}, at(tmp_path / "records", *local))
    assert [row.label for row in rows] == list(eight.rows)
    assert all(len(cell.values) == 1 for row in rows for cell in row.cells.values())
    png, _ = eight.draw_files(rows, {}, tmp_path)
    levels = image_of(png)
    assert isinstance(eight, Curves)
    eight.ends = []
    png, _ = eight.draw_files(rows, {}, tmp_path)
    curves = image_of(png)
    assert levels.shape == curves.shape
    assert (levels != curves).any()

    # Figure 7 has a published number for two of its rows; the others show the extra columns.
    seven = figure(7)
    published = {("LBN", "lifted/code_sparsity/layer2@2"): Published(90, "%", 100, "made up")}
    filled = {row.label: row for row in fill(seven, published, at(tmp_path / "records", *local))}
    assert next(iter(filled)) == "LBN"
    assert set(filled) == set(seven.rows)
    column = "lifted/code_sparsity/layer2@2"
    assert filled["LBN"].cells[column].judgement.verdict is Verdict.PASS
    assert column not in filled["ISGD-BP"].cells
    zeros = filled["LBN"].cells["code_zeros"].values
    assert zeros == filled["LBN"].cells[column].values
    heads = to_markdown(seven, list(filled.values()), verdicts=True).splitlines()[4]
    assert heads.startswith("| row | Zeros of the code, epoch 2 [%] | Zeros of the code [%] |")

    from matplotlib.axes import Axes

    axes: list[str] = []
    monkeypatch.setattr(Axes, "set_ylabel", lambda self, name: axes.append(name))
    assert seven.draw_files(list(filled.values()), published, tmp_path)
    monkeypatch.undo()
    assert axes[:3] == ["Training objective", "Validation loss", "Zeros of the code"]

    for number in (11, 12, 16):
        pictures = figure(number)
        assert isinstance(pictures, Reconstructions)
        pictures.images = 2
        filled_rows = fill(pictures, {}, at(tmp_path / "records", *local))
        png, _ = pictures.draw_files(filled_rows, {}, tmp_path)
        assert image_of(png).std() > 0.05

    codes = figure(13)
    assert isinstance(codes, CodesFigure)
    rows = fill(codes, {}, at(tmp_path / "records", *local))
    png, _ = codes.draw_files(rows, {}, tmp_path)
    assert image_of(png).std() > 0.05
    config = codes.config("LBN", 0, local_place(*local))
    code_is_what_the_next_layer_sees(config, rows[0].cells["code/zeros"].values[0] / 100)

    run_directory(config).traces.unlink()
    assert codes.draw_files(rows, {}, tmp_path) == []


def code_is_what_the_next_layer_sees(config: Config, zeros: float) -> None:
    """The evaluator against the modules one after the other, without noise."""
    data = config.data.build(torch.device("cpu"))
    run = run_directory(config)
    network = load_run(run.path)
    from safetensors.torch import load_file

    kept = load_file(run.traces)
    at = int((data.train.labels == 5).nonzero()[0])
    assert torch.equal(kept["codes/image"], data.train.images[at])
    x = to_unit_interval(data.train.images[at])[None]
    with torch.no_grad():
        for name, module in network.named_children():
            x = module(x)
            if name == "activation2":
                break
    torch.testing.assert_close(kept["codes/code"], x.flatten(), rtol=0, atol=1e-6)
    assert abs(float((kept["codes/code"] == 0).double().mean()) - zeros) < 1e-12
    assert kept["codes/code"].abs().max() > 0


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        (Codes(label=12), r"evaluators.codes.label=12 has no training image: choose from \[0, 1,"),
        (Codes(layer=2), r"evaluators.codes.layer=2 .*in 1..1"),
        (Codes(layer=0), r"evaluators.codes.layer=0 .*at least 1"),
        (Codes(layer=1, image=10**6), r"evaluators.codes.image=1000000 .*of label 5"),
    ],
)
def test_codes_that_are_not_there(evaluator, message):
    from bregbench.runs.evaluate import evaluate
    from bregbench.schema.compose import compose

    config = compose("dataset=digits", "model=mlp", "model.hidden=[4]", "method=sgd")
    data = config.data.build(torch.device("cpu"))
    network = config.model.build(input_shape=data.input_shape, classes=data.classes)
    with pytest.raises(BenchError, match=message):
        evaluate(network, data, [evaluator])
