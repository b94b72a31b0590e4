"""The networks of DessiLBI's CIFAR experiments: published sizes, shapes, removable filters."""

from __future__ import annotations

import pytest
import torch

from bregbench.foundations.errors import BenchError
from bregbench.measures.structure import structure_of
from bregbench.models import Head, Lenet5, ModelConfig, Vgg16
from bregbench.papers.dessilbi import ResnetCifar, Shortcut
from dessilbi.removal import fixed_layers

COLOUR = (3, 32, 32)
SEED = ResnetCifar(depth=56, widths=[8, 8, 8], shortcut=Shortcut.everywhere)


@pytest.mark.parametrize(
    ("config", "parameters", "macs"),
    [
        (ResnetCifar(), 269_722, 40.55),
        (ResnetCifar(depth=32), 464_154, 68.86),
        (ResnetCifar(depth=56), 853_018, 125.49),
        (ResnetCifar(depth=110), 1_727_962, 252.89),
        (ResnetCifar(depth=50, shortcut=Shortcut.conv), 758_554, 111.59),
        (SEED, 32_290, 14.16),
        (Vgg16(), 15_253_578, 313.73),
        (Vgg16(head=Head.single), 14_728_266, 313.20),
        (Vgg16(head=Head.double), 15_778_378, 314.25),
        (Vgg16(head=Head.double, widths=[16]), 68_138, 4.60),
        (Vgg16(head=Head.double, widths=[8]), 30_490, 1.27),
    ],
)
def test_sizes_are_the_published_ones(config: ModelConfig, parameters: int, macs: float) -> None:
    found = structure_of(config.build(input_shape=COLOUR, classes=10), COLOUR)
    assert found.parameters == parameters
    assert round(found.macs / 1e6, 2) == macs


@pytest.mark.parametrize(
    "config", [ResnetCifar(depth=8), SEED, *(Vgg16(head=head, widths=[2]) for head in Head)]
)
def test_shapes_come_from_the_data(config: ModelConfig) -> None:
    network = config.build(input_shape=(1, 32, 48), classes=7).eval()
    assert network(torch.rand(2, 1, 32, 48)).shape == (2, 7)


def test_sixty_per_cent_of_resnet56_costs_what_table_3_prints() -> None:
    """ceil(0.6 n) filters in the first layer of each block: 77.95 M, the paper's 78 (62 %)."""
    from dessilbi import mask_filters, shrink

    network = ResnetCifar(depth=56).build(input_shape=COLOUR, classes=10)
    keep = {}
    for name, width in structure_of(network, COLOUR).widths.items():
        if name.endswith("conv1"):
            keep[f"{name}.weight"] = torch.arange(width) < -(-3 * width // 5)
    assert not {name.removesuffix(".weight") for name in keep} & set(fixed_layers(network))
    mask_filters(network, keep)
    small = structure_of(shrink(network), COLOUR)
    assert round(small.macs / 1e6, 2) == 77.95
    assert small.macs / 125_485_696 == pytest.approx(0.62, abs=0.005)


def test_streams_with_padded_shortcuts_are_fixed() -> None:
    network = ResnetCifar(depth=8).build(input_shape=COLOUR, classes=10)
    fixed = set(fixed_layers(network))
    assert {"conv", "stage1.0.conv2", "stage3.0.conv2"} <= fixed
    assert "stage1.0.conv1" not in fixed


def test_lenet_may_enlarge_its_images() -> None:
    network = Lenet5(resize=True).build(input_shape=(1, 28, 28), classes=10)
    assert network.conv1.padding == (0, 0)  # type: ignore[union-attr]
    assert network.linear1.in_features == 120  # type: ignore[union-attr]
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (ResnetCifar(depth=21), r"model\.depth=21"),
        (ResnetCifar(widths=[16, 32]), r"model\.widths"),
        (Vgg16(widths=[1, 2]), r"model\.widths"),
        (Vgg16(hidden=0), r"model\.hidden=0"),
    ],
)
def test_sizes_out_of_range_are_refused(config: ModelConfig, key: str) -> None:
    with pytest.raises(BenchError, match=key):
        config.check("model")


def test_images_too_small_for_five_poolings() -> None:
    Vgg16(head=Head.double, widths=[2]).build(input_shape=(1, 16, 16), classes=10)
    with pytest.raises(BenchError, match="at least 32 x 32 pixels and the data set has 16 x 16"):
        Vgg16().build(input_shape=(1, 16, 16), classes=10)
