"""Figures about structure, drawn from small runs; which published runs they share."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bregbench.figures import dessilbi as structure_pictures
from bregbench.figures import trade_off
from bregbench.figures.base import Figure
from bregbench.figures.dessilbi import KeepRatios, Norms, Widths
from bregbench.figures.patterns import Patterns
from bregbench.figures.specs import load_table
from bregbench.runs.load import load_run
from bregbench.runs.train import run_directory, train
from bregbench.tables.cells import fill
from bregbench.tables.spec import Column, Row
from dessilbi.patterns import exciting_images
from tests.places import at, local_place

COMMON = [
    *("dataset=digits", "data.limit=256", "data.validation=100", "trainer.epochs=2"),
    *("model=cnn", "model.channels=[6,5]", "model.kernel_size=2", "model.hidden=[8]"),
    "evaluators=[accuracy,density,structure]",
]
#: four steps of 0.05: some filters and some weights are selected
SPLIT = ["method=dessilbi_momentum", "method.lr=0.05", "method.nu=1"]
PRUNE = ["phases.train.epochs=2", "phases.prune.epochs=1", *COMMON[:3], *COMMON[4:]]
COLUMNS = {"test/accuracy": Column(unit="%"), "layer_density/convolutions": Column(unit="%")}


Kind = TypeVar("Kind", bound=Figure)


@pytest.fixture
def drawn(tmp_path, capsys):
    """Train and draw: the figure's runs by label, its files, and what was said."""

    def draw(figure: Figure):
        local = ("trainer.device=cpu", f"runs_dir={tmp_path / 'runs'}")
        runs = {}
        for label in figure.rows:
            config = figure.config(label, 0, local_place(*local))
            train(config)
            runs[label] = run_directory(config)
        capsys.readouterr()
        rows = fill(figure, {}, at(tmp_path / "records", *local))
        paths = figure.draw_files(rows, {}, tmp_path / "drawn")
        return runs, paths, capsys.readouterr().err

    return draw


def figure(kind: type[Kind], rows: dict[str, list[str]], **more) -> Kind:
    common = more.pop("common", COMMON)
    return kind(
        name=f"small_{kind.kind}",
        title="Small",
        ours=True,
        seeds=[0],
        common=common,
        columns=COLUMNS,
        rows={label: Row(overrides) for label, overrides in rows.items()},
        **more,
    )


def ink(path) -> float:
    from matplotlib.image import imread

    return float(np.std(imread(path)))


def test_widths_before_and_after(drawn):
    rows = {"pruned": [*SPLIT, "method.lam=0.11", "method.path=true", "phases=filter_pruning"]}
    runs, paths, said = drawn(figure(Widths, rows, common=PRUNE))
    assert not said
    assert ink(paths[0]) > 0.02
    run = runs["pruned"]
    built = structure_pictures._built_widths(run)
    left = structure_pictures._by_layer(run, "width", "last")
    assert built == {"conv1": 6, "conv2": 5, "linear1": 8, "linear2": 10}
    assert set(left) == set(built)
    network = load_run(run.path)
    assert left["conv2"] == len(network.get_parameter("conv2.weight"))
    assert all(left[name] <= built[name] for name in built)
    assert left["conv1"] < 6  # at most 60 % stay


def test_keep_ratios_of_layers(drawn):
    rows = {
        "pruned": [*SPLIT, "method/penalty=l1", "method.lam=0.02", "phases=weight_pruning"],
    }
    runs, paths, said = drawn(figure(KeepRatios, rows, common=PRUNE))
    assert not said
    assert ink(paths[0]) > 0.02
    shares = structure_pictures._by_layer(runs["pruned"], "layer_density", "last")
    network = load_run(runs["pruned"].path)
    weights = {name: network.get_parameter(f"{name}.weight") for name in ("conv1", "conv2")}
    counts = {name: int(weight.count_nonzero()) for name, weight in weights.items()}
    sizes = {name: weight.numel() for name, weight in weights.items()}
    for name in weights:
        assert shares[name] == pytest.approx(counts[name] / sizes[name])
    assert 0 < shares["conv2"] < 1
    assert shares["convolutions"] == pytest.approx(sum(counts.values()) / sum(sizes.values()))
    assert set(shares) == {"conv1", "conv2", "linear1", "linear2", "convolutions"}


def test_norms_of_all_layers(drawn):
    rows = {
        "plain": [*SPLIT, "method.lam=0.11"],
        "scaled": [*SPLIT, "method.lam=0.11", "method.scaling=magnitude"],
    }
    runs, paths, said = drawn(figure(Norms, rows))
    assert not said
    assert ink(paths[0]) > 0.02
    run = runs["plain"]
    kept = structure_pictures.final_norms(run, "weights")
    assert list(kept) == ["conv1", "conv2", "linear1", "linear2"]
    network = load_run(run.path)
    for name, norms in kept.items():
        wanted = network.get_parameter(f"{name}.weight").detach().flatten(1).norm(dim=1)
        torch.testing.assert_close(norms, wanted)
    traces = load_file(run.traces)
    duals, gammas = (traces[f"dessilbi/final/{name}/conv2"] for name in ("duals", "gammas"))
    torch.testing.assert_close(gammas, (duals - 0.11).clamp(min=0))
    _, paths, said = drawn(figure(Norms, {"SGD": ["method=sgd"]}))
    assert paths == []
    assert "kept no norms of filters" in said


def test_trade_off_draws_a_line_for_each_series(drawn, monkeypatch):
    seen = []
    point = trade_off._point
    monkeypatch.setattr(trade_off, "_point", lambda *args: seen.append(point(*args)) or seen[-1])
    cut = [
        "method=sgd",
        "phases=ticket_one_shot",
        "phases.search.epochs=1",
        "phases.ticket.epochs=1",
    ]
    rows = {
        f"A: one-shot@{density}": [
            *cut,
            "phases.ticket.begin.rewind=1",
            f"phases.ticket.begin.density={density}",
        ]
        for density in (0.5, 0.25)
    }
    figure_ = figure(
        trade_off.TradeOff,
        rows,
        common=[*COMMON[:3], *COMMON[4:]],
        x="layer_density/convolutions",
        panels=["A", "B"],
    )
    _, paths, said = drawn(figure_)
    assert not said
    assert ink(paths[0]) > 0.02
    assert [x for x, _, _ in seen[:2]] == pytest.approx([0.5, 0.25], abs=0.02)
    assert all(spread == 0 for _, _, spread in seen)
    kept = [x for x, _, _ in seen[-2:]]
    figure_.y = ["test/accuracy", figure_.x]  # a panel each, over the same x
    seen.clear()
    _, paths, said = drawn(figure_)
    assert not said
    png = seen[:4]
    assert [x for x, _, _ in png] == [*kept, *kept]
    assert [y for _, y, _ in png[2:]] == kept
    assert [y for _, y, _ in png[:2]] != kept
    figure_.x = "robustness/clean"
    _, paths, said = drawn(figure_)
    assert paths == []
    assert "has not measured robustness/clean" in said


def test_patterns_of_snapshots(drawn):
    rows = {"A": ["method=sgd"]}
    snapshots = [*COMMON, "trainer.snapshots=[0,2]"]
    figure_ = figure(Patterns, rows, common=snapshots, layer="conv2", epochs=[0, 2])
    _, paths, said = drawn(figure_)
    assert not said
    assert ink(paths[0]) > 0.05
    first = paths[0].read_bytes()
    _, paths, _ = drawn(figure_)
    assert paths[0].read_bytes() == first
    figure_.epochs = [1]
    _, paths, said = drawn(figure_)
    assert paths == []
    assert "no weights of epoch 1" in said


def test_a_linear_filter_looks_for_its_positive_weights():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 4), nn.BatchNorm2d(3), nn.ReLU())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = exciting_images(network, "0", [2, 0], input_shape=(2, 4, 4))
    weight = network.get_parameter("0.weight").detach()
    assert torch.equal(images, (weight[[2, 0]] > 0).float())
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_filter_that_is_off_on_grey_is_found_from_other_starts():
    edge, sum_ = nn.Conv2d(1, 1, (1, 2)), nn.Conv2d(1, 2, (1, 1))
    with torch.no_grad():
        edge.weight.copy_(torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2))
        nn.init.constant_(
            edge.get_parameter("bias"), -0.3
        )  # grey is below, and so are most of the starts
        sum_.weight.copy_(torch.tensor([1.0, 0.0]).view(2, 1, 1, 1))
    network = nn.Sequential(edge, nn.ReLU(), sum_)
    images = exciting_images(network, "2", [0, 1], input_shape=(1, 1, 2))
    assert torch.equal(images[0], torch.tensor([[[0.0, 1.0]]]))
    one = exciting_images(network, "2", [0], input_shape=(1, 1, 2), starts=1)
    assert not torch.equal(one, images[:1])  # the first start is off, and stays where it is
    assert set(images[1].unique().tolist()).isdisjoint({0.0, 1.0})  # nothing excites this one


@pytest.mark.parametrize(
    ("figure", "row", "table", "other", "part"),
    [
        ("dessilbi_figure2", "ResNet56", "dessilbi_table3", "Layer Selection", "ResNet56"),
        (
            "dessilbi_figure5",
            "DessiLBI Mom-Wd",
            "dessilbi_table6",
            "DessiLBI Mom-Wd",
            "ImageNet ResNet-18",
        ),
        (
            "dessilbi_figure6",
            "with magnitude scaling",
            "dessilbi_table3",
            "DessiLBI FT 60",
            "VGG16 dense",
        ),
        ("dessilbi_figure8", "VGG16", "dessilbi_table2", "DessiLBI FT 200", "VGG16"),
    ],
)
def test_figures_share_the_runs_of_tables(figure, row, table, other, part):
    config = load_table(figure).config(row, 0)
    shared = load_table(table).config(other, 0, part=part)
    assert config.hashed_name == shared.hashed_name
    assert config.experiment_name == shared.experiment_name
