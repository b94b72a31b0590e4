"""Sizes, shapes and layer structure of the four architectures."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import ValidationError
from torch import nn

from bregbench.foundations.errors import BenchError
from bregbench.models import (
    Activation,
    AlexNet,
    Cnn,
    Lenet5,
    Mlp,
    ModelConfig,
    Normalize,
    Resnet18,
    Stem,
    Vgg16,
)
from bregbench.papers.dessilbi import ResnetCifar, Shortcut
from bregbench.papers.fno import CnnCircular, Fno, SpectralResnet18
from bregbench.papers.fno.models import Striding
from bregman.modules import Conv2d, strided_pointwise

GREY = (1, 28, 28)
COLOUR = (3, 32, 32)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def weights(network: nn.Module, kind: type[nn.Linear] | type[nn.Conv2d]) -> int:
    return sum(m.weight.numel() for m in network.modules() if isinstance(m, kind))


def kernels(network: nn.Module) -> int:
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    return sum(m.weight.shape[0] * m.weight.shape[1] for m in convs)


@pytest.mark.parametrize(
    ("config", "shape", "total", "conv", "linear", "conv_kernels"),
    [
        (Mlp(), GREY, 173_890, 0, 784 * 200 + 200 * 80 + 800, 0),
        (Cnn(), GREY, 236_618, 104_000, 132_352, 4_160),
        (Lenet5(), GREY, 61_706, 150 + 2_400 + 48_000, 120 * 84 + 840, 6 + 96 + 1_920),
        (Resnet18(), COLOUR, 11_173_962, 11_159_232, 5_120, 1_392_832),
    ],
)
def test_default_networks_have_the_published_sizes(
    config: ModelConfig,
    shape: tuple[int, int, int],
    total: int,
    conv: int,
    linear: int,
    conv_kernels: int,
) -> None:
    network = config.build(input_shape=shape, classes=10)
    assert parameters(network) == total
    assert weights(network, nn.Conv2d) == conv
    assert weights(network, nn.Linear) == linear
    assert kernels(network) == conv_kernels


@pytest.mark.parametrize("config", [Mlp(), Cnn(), Lenet5(), Resnet18(width=4)])
@pytest.mark.parametrize("shape", [GREY, COLOUR, (2, 36, 30)])
def test_networks_take_their_shapes_from_the_data(
    config: ModelConfig, shape: tuple[int, int, int]
) -> None:
    network = config.build(input_shape=shape, classes=7)
    assert network(torch.rand(3, *shape)).shape == (3, 7)


def test_small_digits_fit_the_networks_that_can_take_them() -> None:
    for config in (Mlp(), Resnet18(width=2), Cnn(channels=[4, 4], kernel_size=2)):
        network = config.build(input_shape=(1, 8, 8), classes=10)
        assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("config", [Cnn(), Lenet5()])
def test_images_too_small_are_refused_with_a_remedy(config: ModelConfig) -> None:
    with pytest.raises(BenchError, match=r"at least .* has 8 x 8: use model=mlp"):
        config.build(input_shape=(1, 8, 8), classes=10)


@pytest.mark.parametrize(("config", "side"), [(Cnn(), 16), (Lenet5(), 28)])
def test_the_smallest_size_named_in_the_message_is_exact(config: ModelConfig, side: int) -> None:
    config.build(input_shape=(1, side, side), classes=10)
    with pytest.raises(BenchError, match=f"at least {side} x {side}"):
        config.build(input_shape=(1, side, side - 1), classes=10)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (Mlp(hidden=[5, 0]), "model.hidden"),
        (Cnn(channels=[-1]), "model.channels"),
        (Cnn(hidden=[0]), "model.hidden"),
        (Cnn(kernel_size=0), "model.kernel_size"),
        (Resnet18(width=0), "model.width"),
    ],
)
def test_sizes_out_of_range_are_refused(config: ModelConfig, key: str) -> None:
    with pytest.raises(BenchError, match=key):
        config.check("model")


def test_cnn_pools_before_the_activation_and_ends_in_logits() -> None:
    network = Cnn().build(input_shape=GREY, classes=10)
    assert [name for name, _ in network.named_children()] == [
        "normalize",
        *["conv1", "pool1", "activation1", "conv2", "pool2", "activation2"],
        *["flatten", "linear1", "activation3", "linear2"],
    ]


def test_mlp_output_is_linear_unless_asked_otherwise() -> None:
    assert isinstance(Mlp().build(input_shape=GREY, classes=10)[-1], nn.Linear)
    activated = Mlp(activation=Activation.sigmoid, activate_output=True)
    assert isinstance(activated.build(input_shape=GREY, classes=10)[-1], nn.Sigmoid)


@pytest.mark.parametrize("activation", list(Activation))
def test_every_activation_builds_its_own_module(activation: Activation) -> None:
    assert activation.build() is not activation.build()


@pytest.mark.parametrize("config", [Mlp(), Cnn(), Lenet5(), Resnet18(width=4)])
def test_no_module_is_used_twice(config: ModelConfig) -> None:
    network = config.build(input_shape=COLOUR, classes=10)
    calls: list[nn.Module] = []
    leaves = [module for module in network.modules() if not list(module.children())]
    for module in leaves:
        module.register_forward_hook(lambda module, _inputs, _output: calls.append(module))
    network(torch.rand(2, *COLOUR))
    assert isinstance(calls[0], Normalize)
    assert len(calls) == len(leaves)
    assert {id(module) for module in calls} == {id(module) for module in leaves}


@dataclass
class Schema:
    model: ModelConfig = MISSING


@pytest.mark.parametrize(
    "config",
    [
        Cnn(channels=[4, 4], kernel_size=1),
        Lenet5(),
        AlexNet(),
        Vgg16(),
        Resnet18(width=2),
        Resnet18(width=2, stem=Stem.imagenet),
        *(ResnetCifar(depth=8, widths=[2, 3, 4], shortcut=shortcut) for shortcut in Shortcut),
        CnnCircular(),
        Fno(),
        *(
            SpectralResnet18(width=2, modes=modes, stem_kernel=1, stem_stride=2, striding=striding)
            for modes in (None, 3)
            for striding in Striding
        ),
    ],
    ids=lambda config: config.kind,
)
def test_no_network_runs_a_strided_pointwise_kernel_of_torch(config: ModelConfig) -> None:
    """It writes past its memory on some CPUs where channels are few; see `bregman.modules`."""
    network = config.build(input_shape=(3, 64, 64), classes=10)
    convs = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert all(isinstance(conv, Conv2d) for conv in convs if strided_pointwise(conv))


@pytest.mark.parametrize("config", [Mlp(), Cnn(), Lenet5(), Resnet18()])
def test_configs_round_trip_through_omegaconf(config: ModelConfig) -> None:
    assert OmegaConf.to_object(OmegaConf.structured(config)) == config
    composed = OmegaConf.merge(OmegaConf.structured(Schema), {"model": type(config)})
    assert OmegaConf.to_object(composed) == Schema(model=config)


def test_wrong_values_fail_in_the_schema() -> None:
    schema = OmegaConf.structured(Mlp)
    with pytest.raises(ValidationError):
        schema.activation = "rellu"
    with pytest.raises(ValidationError):
        schema.hidden = ["many"]


def test_a_filter_without_weights_is_reached_with_one_over_the_root_of_eps() -> None:
    """BatchNorm of variance 0: the gradient of a zero filter, against that of a filter of variance 1."""
    found = []
    for eps in (1e-5, 1e-1):
        model = Resnet18(width=2, norm_eps=eps).build(input_shape=(3, 8, 8), classes=10).double()
        torch.manual_seed(0)
        branch = nn.Sequential(model.conv, model.norm)
        nn.init.zeros_(model.conv.weight)
        images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
        (branch(images) * torch.rand(4, 2, 8, 8, dtype=torch.float64)).sum().backward()
        assert model.conv.weight.grad is not None
        found.append(model.conv.weight.grad)
    torch.testing.assert_close(found[0], found[1] * 100)
