"""Phases of DessiLBI: pruning, removal, tickets, transfer, growing; each trained for two epochs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bregbench import load_run
from bregbench.evaluators import Cost
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors
from bregbench.runs.evaluate import evaluate
from bregbench.runs.load import read_config
from bregbench.runs.records import export_record, record_of
from bregbench.runs.train import run_directory, train
from bregbench.schema.compose import compose
from bregbench.schema.config import Config
from bregbench.storage.restore import load_weights
from bregbench.storage.sparse_weights import load_sparse

RESNET = ("model=resnet_cifar", "model.depth=8", "model.widths=[6,6,8]")
VGG = ("model=vgg16", "model.widths=[6]", "model.head=double", "model.hidden=8")
#: eight steps of 0.05: a group is selected whose mean over them has a norm above lam nu / 0.4
SELECT = ("method=dessilbi_momentum", "method.lr=0.05", "method.nu=0.4")
SOME = {"filters": "method.lam=0.4", "weights": "method.lam=0.05", "all": "method.lam=1e-6"}
LISTS = {
    "weight_pruning": ("train", "prune"),
    "weight_pruning_rt": ("train", "prune"),
    "filter_pruning": ("train", "prune"),
    "filter_pruning_rt": ("train", "prune"),
    "layer_pruning": ("train", "prune"),
    "ticket": ("search", "ticket"),
    "ticket_random": ("search", "ticket"),
    "ticket_one_shot": ("search", "ticket"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """128 made-up images of 16 x 16 pixels."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        f"{split}_{kind}": generator.integers(0, high, (count, *shape), dtype=np.uint8)
        for split, count in (("train", 144), ("test", 16))
        for kind, high, shape in (("images", 256, (16, 16, 1)), ("labels", 4, ()))
    }
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def make(images, tmp_path) -> Callable[..., Config]:
    def build(*overrides: str) -> Config:
        return compose(
            "dataset=arrays",
            f"data.path={images}",
            "data.validation=16",
            "trainer.batch_size=16",
            "trainer.device=cpu",
            "tracking=none",
            "evaluators=[density,structure]",
            f"runs_dir={tmp_path / 'runs'}",
            *overrides,
        )

    return build


def short(name: str) -> list[str]:
    """A phase list of one epoch a phase; tickets rewind to what there is by then."""
    rewinds = ["phases.ticket.begin.rewind=1"] if name.startswith("ticket") else []
    return [f"phases={name}", *(f"phases.{phase}.epochs=1" for phase in LISTS[name]), *rewinds]


def network_of(config: Config) -> torch.nn.Module:
    return load_run(run_directory(config).path)


def check_loading(config: Config, tmp_path: Path) -> None:
    """Run and record give the same network back, and it does what the summary says."""
    directory = run_directory(config)
    record = record_of(config, tmp_path / "records")
    export_record(directory, record)
    pictures = torch.rand(5, 1, 16, 16)
    kept = [load_run(place.path) for place in (directory, record)]
    assert torch.equal(kept[0](pictures), kept[1](pictures))
    count = sum(parameter.numel() for parameter in kept[0].parameters())
    assert count == directory.read_summary()["parameters"]
    data = config.data.build(torch.device("cpu"))
    assert evaluate(kept[1], data, [Cost(repeats=1)])["cost/forward_seconds"] > 0


@pytest.mark.parametrize("name", LISTS)
def test_every_list_of_two_phases_trains(make, tmp_path, name):
    pruned = "filter" in name or "layer" in name
    penalty = ["method.path=true"] if pruned else ["method/penalty=l1"]
    lam = SOME["filters" if pruned else "weights"]
    config = make(*RESNET, *SELECT, lam, *penalty, *short(name))
    summary = train(config)
    final = summary["final"]["trained"]["last"]
    rows = run_directory(config).read_metrics()
    assert [row["phase"] for row in rows] == list(LISTS[name])
    check_loading(config, tmp_path)
    if pruned:
        assert final["cost/relative_macs"] < 1
        assert summary["parameters"] < sum(p.numel() for p in full(config).parameters())
    else:
        assert final["cost/relative_macs"] == 1
        assert 0 < final["density/of_built"] < 1
        assert final["density/of_built"] == final["density/parameters"]
    if name.startswith("weight"):  # what Gamma held is what is left
        share = rows[0]["gamma_density/total"]
        assert rows[1]["density/total"] == pytest.approx(share, abs=2e-3)
    if name.startswith("ticket"):
        assert final["density/linear"] == 1.0
    if name == "ticket_random":  # as many as Gamma selects, layer by layer, but others
        convolutions = [key for key in rows[0] if "gamma_density/" in key and "conv" in key]
        left = network_of(config)
        for key in convolutions:
            weight = left.get_parameter(key.removeprefix("gamma_density/") + ".weight")
            assert int(weight.count_nonzero()) == pytest.approx(rows[0][key] * weight.numel())


def test_iterative_pruning_keeps_a_share_of_what_is_left(make):
    config = make(
        *RESNET, "method=sgd", "phases=ticket_iterative", "phases.rounds.repeat=2",
        *(f"phases.{phase}.epochs=1" for phase in ("search", "rounds", "ticket")),
        "phases.rounds.begin.density=0.5", "phases.rounds.begin.rewind=0",
    )  # fmt: skip
    final = train(config)["final"]["trained"]["last"]
    rows = run_directory(config).read_metrics()
    assert [row["phase"] for row in rows] == ["search", "rounds1", "rounds2", "ticket"]
    layers = [layer for layer in full(config).modules() if isinstance(layer, torch.nn.Conv2d)]
    total = sum(layer.weight.numel() for layer in layers)
    left = network_of(config)
    kept = sum(
        int(layer.weight.count_nonzero())
        for layer in left.modules()
        if isinstance(layer, torch.nn.Conv2d)
    )
    assert kept == pytest.approx(total / 8, abs=2)
    assert final["density/linear"] == 1.0


def full(config: Config) -> torch.nn.Module:
    return config.model.build(input_shape=(1, 16, 16), classes=4)


def test_cap_and_kept_streams(make):
    """At most half of each block's first layer stays; nothing on a stream with padding goes."""
    config = make(
        *RESNET, *SELECT, SOME["all"], "method.path=true", *short("filter_pruning"),
        "phases.prune.begin.cap=0.5",
    )  # fmt: skip
    final = train(config)["final"]["trained"]["last"]
    widths = {key: value for key, value in final.items() if key.startswith("width/")}
    for stage, width in zip((1, 2, 3), (6, 6, 8), strict=True):
        assert widths[f"width/stage{stage}.0.conv1"] == width / 2
        assert widths[f"width/stage{stage}.0.conv2"] == width
    assert final["cost/dropped_layers"] == 0
    assert final["output_side/stage3.0.conv1"] == 4


def test_streams_with_convolutions_as_shortcuts_shrink(make):
    """What no layer of a stream keeps is gone, and no filter stays behind as zeros."""
    config = make(
        *RESNET, "model.shortcut=conv", *SELECT, SOME["filters"], *short("filter_pruning"),
        "phases.prune.epochs=0",
    )  # fmt: skip
    train(config)
    small = network_of(config)
    widths = [m.weight.shape[0] for m in small.modules() if isinstance(m, torch.nn.Conv2d)]
    dense = [m.weight.shape[0] for m in full(config).modules() if isinstance(m, torch.nn.Conv2d)]
    assert sum(widths) < sum(dense)
    for name, module in small.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.weight.flatten(1).any(dim=1).all(), name


def test_a_layer_without_support_beside_another_keeps_a_filter(make):
    """Nothing is selected of both ways through a block: the network would be a constant."""
    rule = "{{kind:l12,group:filter,group_weight:none,scale:1e9,name:stage2.0.{}.weight}}"
    rules = f"[{rule.format('conv?')},{rule.format('shortcut.0')}]"
    config = make(
        *RESNET, "model.shortcut=conv", *SELECT, SOME["all"], f"method.penalty.first={rules}",
        *short("layer_pruning"), "phases.prune.epochs=0",
    )  # fmt: skip
    train(config)
    small = network_of(config)
    assert small.get_submodule("stage2.0.shortcut.0").get_parameter("weight").any()
    answers = small(torch.rand(5, 1, 16, 16))
    assert answers.std(dim=0).max() > 0


def test_removal_changes_no_output_and_is_smaller_on_disk(make):
    """Without epochs after the removal, the network is the masked one, bit by bit smaller."""
    config = make(
        *RESNET, *SELECT, SOME["filters"], *short("filter_pruning"), "phases.prune.epochs=0",
        "trainer.snapshots=[1]",
    )  # fmt: skip
    train(config)
    directory = run_directory(config)
    dense = full(config)
    load_weights(dense, load_sparse(directory.snapshot(1)))
    small = network_of(config)
    before, after = dense.state_dict(), small.state_dict()
    assert sum(t.numel() for t in after.values()) < sum(t.numel() for t in before.values())
    # Filters that stayed are those of the dense network, so masking it gives the same outputs.
    from dessilbi import mask_filters

    keep = {}
    for name, layer in dense.named_modules():
        if name.endswith("conv1"):
            left = after[f"{name}.weight"]
            norms = layer.get_parameter("weight").flatten(1)
            columns = left.flatten(1).shape[1] == norms.shape[1]
            assert columns  # the stream that it reads is whole
            keep[f"{name}.weight"] = torch.tensor(
                [any(torch.equal(row, other) for other in left.flatten(1)) for row in norms]
            )
            assert int(keep[f"{name}.weight"].sum()) == len(left)
    mask_filters(dense, keep)
    pictures = torch.rand(6, 1, 16, 16)
    torch.testing.assert_close(dense.eval()(pictures), small(pictures), rtol=1e-5, atol=1e-6)


def test_layers_of_a_chain_are_bypassed_and_come_back(make, tmp_path):
    """Layers 5 to 13 of a VGG16 without support: those of unchanged shape go."""
    rules = "[{kind:l12,group:filter,group_weight:none,scale:1e6,name:conv1?.weight}]"
    config = make(
        *VGG, *SELECT, SOME["all"], f"method.penalty.first={rules}", *short("layer_pruning")
    )
    final = train(config)["final"]["trained"]["last"]
    assert final["cost/dropped_layers"] == 4  # conv10 to conv13
    assert "width/conv9" in final
    assert "width/conv13" not in final
    check_loading(config, tmp_path)


def test_rewinding_starts_from_the_first_weights(make):
    config = make(
        *RESNET, *SELECT, SOME["weights"], "method/penalty=l1", *short("weight_pruning_rt"),
        "phases.prune.epochs=0",
    )  # fmt: skip
    train(config)
    start = load_sparse(run_directory(config).snapshot(0))
    after = read_tensors(run_directory(config).weights)
    for name, tensor in after.items():
        mask = tensor != 0 if name.endswith("weight") else torch.ones_like(tensor, dtype=torch.bool)
        assert torch.equal(tensor[mask], start[name][mask])
    assert 0 < float((after["stage1.0.conv1.weight"] != 0).float().mean()) < 1


def test_growing_stops_by_itself_and_loads_again(make, tmp_path):
    lengths = [f"phases.{phase}.epochs=1" for phase in ("seed", "grow", "final")]
    config = make(*VGG, *SELECT, SOME["all"], "phases=growing", "phases.grow.repeat=2", *lengths)
    train(config)
    rows = run_directory(config).read_metrics()
    assert [row["phase"] for row in rows] == ["seed", "grow1", "grow2", "final"]
    assert rows[-1]["lr"] == pytest.approx(0.1 * rows[0]["lr"])
    final = run_directory(config).read_summary()["final"]["trained"]["last"]
    assert final["width/conv1"] == final["width/conv13"] == 22  # 6 + 8 + 8
    assert final["cost/relative_macs"] > 4
    check_loading(config, tmp_path)

    none = make(*VGG, *SELECT, "method.lam=100", "phases=growing", "phases.grow.repeat=2", *lengths)
    train(none)
    assert [row["phase"] for row in run_directory(none).read_metrics()] == ["seed", "final"]


def test_blocks_of_a_residual_network_grow_and_load_again(make, tmp_path):
    config = make(
        *RESNET, "model.shortcut=everywhere", *SELECT, SOME["all"], "phases=growing_resnet",
        "phases.grow.repeat=1", *[f"phases.{p}.epochs=1" for p in ("seed", "grow", "final")],
    )  # fmt: skip
    train(config)
    final = run_directory(config).read_summary()["final"]["trained"]["last"]
    assert final["width/stage1.0.conv2"] == 10
    assert final["width/stage3.0.conv1"] == 12
    check_loading(config, tmp_path)


def test_preserving_growth_keeps_outputs_and_duals(make):
    config = make(
        *VGG, *SELECT, SOME["all"], "phases=growing", "phases.grow.begin.mode=preserve",
        "phases.grow.repeat=1", "phases.seed.epochs=1", "phases.grow.epochs=0",
        "phases.final.epochs=0", "trainer.snapshots=[1]",
    )  # fmt: skip
    train(config)
    directory = run_directory(config)
    before, after = full(config), network_of(config)
    load_weights(before, load_sparse(directory.snapshot(1)))
    pictures = torch.rand(6, 1, 16, 16)
    torch.testing.assert_close(before.eval()(pictures), after(pictures), rtol=1e-5, atol=1e-6)
    assert after.get_submodule("conv2").out_channels == 14


def test_transfer_trains_under_the_masks_of_another_run(make, tmp_path):
    source = make(*RESNET, *SELECT, SOME["weights"], "method/penalty=l1", *short("weight_pruning"))
    train(source)
    place = run_directory(source).path

    def target(*overrides: str) -> Config:
        return make(
            *RESNET, "method=sgd", "phases=transfer", "phases.train.epochs=1",
            f"phases.train.begin.run={place}", "seed=1", *overrides,
        )  # fmt: skip

    config = target()
    train(config)
    ours, theirs = (read_tensors(run_directory(c).weights) for c in (config, source))
    name = "stage2.0.conv1.weight"
    assert torch.equal(ours[name] != 0, theirs[name] != 0)
    assert not torch.equal(ours[name], theirs[name])
    record = record_of(config, tmp_path / "records")
    export_record(run_directory(config), record)
    assert str(tmp_path) not in record.config.read_text()
    assert read_config(record).phases["train"].begin is not None
    warm = target("phases.train.begin.weights=true", "phases.train.epochs=0")
    train(warm)
    taken = read_tensors(run_directory(warm).weights)
    assert torch.equal(taken[name], theirs[name])
    assert warm.hashed_name != config.hashed_name


@pytest.mark.parametrize(
    ("overrides", "at"),
    [
        ([*RESNET, SOME["filters"], "method.path=true", *short("filter_pruning_rt")], (1, 2)),
        (
            [
                *VGG,
                SOME["all"],
                "phases=growing",
                "phases.grow.repeat=1",
                *(f"phases.{phase}.epochs=1" for phase in ("seed", "grow", "final")),
            ],
            (2, 3),
        ),
    ],
    ids=["removal", "growth"],
)
def test_resume_around_a_change_of_structure_is_exact(make, train_killed, overrides, at):
    whole = make(*SELECT, *overrides, "experiment_name=whole")
    train(whole)
    for saves in at:  # at the end of an epoch, and right after the structure has changed
        config = make(*SELECT, *overrides, f"experiment_name=killed{saves}")
        train_killed(config, saves=saves)
        first, second = (read_tensors(run_directory(c).weights) for c in (whole, config))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["method=sgd", "phases=weight_pruning"], "the phase before has method=sgd"),
        (["method=sgd", "phases=transfer"], r"begin\.run=\(empty\)"),
        (["phases=filter_pruning", "phases.prune.begin.cap=1.5"], r"cap=1\.5 .* \(0, 1\]"),
        (["phases=weight_pruning", "phases.prune.begin.cap=0.5"], "left out with"),
        (["phases=ticket", "phases.ticket.begin.rewind=-1"], "an epoch from 0 on"),
        (
            ["phases=ticket", "phases.ticket.begin.rewind=500"],
            "an epoch of the 2 before this phase",
        ),
        (["phases=weight_pruning", "phases.prune.method.lr=-1"], r"phases\.prune\.method\.lr=-1"),
        (
            ["phases=weight_pruning", "phases.prune.schedule.factor=-3"],
            r"phases\.prune\.schedule\.factor=-3",
        ),
        (
            ["phases=weight_pruning", "method.lam=1e6", "phases.train.epochs=1"],
            r"phases\.prune\.begin has nothing to keep: Gamma is empty",
        ),
        (["phases=growing", "phases.grow.repeat=0"], r"repeat=0 .* at least 1"),
        (["phases=growing", "phases.grow.begin.threshold=0"], r"threshold=0"),
        (["method=sgd", "phases=ticket_random"], "needs a phase with method=dessilbi"),
    ],
)
def test_what_cannot_follow_is_refused_in_one_line(make, overrides, says):
    base = [] if overrides[0].startswith("method=") else ["method=dessilbi"]
    with pytest.raises(BenchError, match=says) as caught:
        train(make(*RESNET, *base, *overrides))
    assert "\n" not in str(caught.value)
