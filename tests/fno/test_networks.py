"""The classifier and ResNet-18: sizes, parameters, resolution, conversion, training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bregbench.models import Resnet18
from fno import (
    CircularConv2d,
    FourierClassifier,
    SpectralConv2d,
    SpectralResNet18,
    TrigonometricResize,
    spectral_network,
    trigonometric_resize,
)
from fno.sizes import odd
from tests.fno.cases import EXACT, error, normal

SMALL = {"width": 4, "stem_kernel": 3, "stem_stride": 1, "max_pool": False}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_classifier_has_the_papers_parameters():
    assert parameters(FourierClassifier(kernel_size=5)) == 37_586
    assert parameters(FourierClassifier(kernel_size=28)) == 140_810
    names = [name for name, _ in FourierClassifier(modes=5).named_children()]
    assert names == [
        *("conv1", "activation1", "conv2", "activation2", "pool", "flatten"),
        *("linear1", "activation3", "linear2"),
    ]


@pytest.mark.parametrize(
    "options",
    [{"modes": 5}, {"modes": (4, 7), "pointwise": True, "activation": "gelu"}, {"kernel_size": 5}],
)
@pytest.mark.parametrize("size", [(3, 3), (28, 28), (31, 17)])
def test_classifier_takes_images_of_any_size(options, size):
    network = FourierClassifier(2, 7, **options)
    logits = network(torch.randn(3, 2, *size))
    assert logits.shape == (3, 7)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_classifier_learns_from_its_modes():
    network = FourierClassifier(1, 2, modes=3, channels=(4, 4))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    grid = torch.arange(12) / 12
    waves = torch.stack([(2 * torch.pi * k * grid).sin().expand(12, 12) for k in (0, 1)])
    loss = torch.tensor(torch.inf)
    for _ in range(40):
        labels = torch.randint(2, (32,))
        images = waves[labels][:, None] + 0.3 * torch.randn(32, 1, 12, 12)
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    large = trigonometric_resize(waves[:, None], 30)
    assert network(large).argmax(1).tolist() == [0, 1]


def test_resnet_mirrors_the_one_of_the_bench():
    """Where they are alike, and with every weight copied, they are the same network."""
    bench = Resnet18(width=4).build(input_shape=(3, 32, 32), classes=10).double().eval()
    ours = SpectralResNet18(**SMALL, striding="sampling").double().eval()
    assert parameters(ours) == parameters(bench)
    for (_, first), (_, second) in zip(
        bench.named_parameters(), ours.named_parameters(), strict=True
    ):
        assert first.shape == second.shape
        with torch.no_grad():
            second.copy_(first)
    for module in bench.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.padding_mode = "circular"
    images = normal(2, 3, 32, 32)
    assert error(ours(images), bench(images)) < 1e-10


def test_resnet_of_the_paper():
    network = SpectralResNet18(classes=450)
    # torchvision's resnet18 with 450 classes has as many.
    assert parameters(network) == 11_689_512 - 1000 * 513 + 450 * 513
    sizes: list[int] = []

    def note(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        sizes.append(output.shape[-1])

    for name in ("conv", "pool", "stage1", "stage2", "stage3", "stage4"):
        network.get_submodule(name).register_forward_hook(note)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, 112, 112))
    assert sizes == [56, 28, 28, 14, 7, 4]


@pytest.mark.parametrize("options", [SMALL, {"width": 4}, {**SMALL, "striding": "sampling"}])
def test_resnet_is_converted_exactly(options):
    network = SpectralResNet18(**options).double().eval()
    images = normal(2, 3, 28, 28)
    spectral = spectral_network(network, images)
    assert error(spectral(images), network(images)) < 1e-10
    kinds = [type(m) for m in spectral.modules()]
    assert CircularConv2d not in kinds
    assert kinds.count(SpectralConv2d) == 17
    assert sum(issubclass(kind, nn.Conv2d) for kind in kinds) == 3  # the shortcuts
    assert spectral(normal(1, 3, 35, 30)).shape == (1, 10)


@pytest.mark.parametrize("striding", ["trigonometric", "sampling"])
def test_resnet_trains_on_its_modes(striding):
    network = SpectralResNet18(modes=5, **SMALL, striding=striding)
    assert not any(isinstance(m, CircularConv2d) for m in network.modules())
    network(torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_shortcut_resizes_before_it_mixes_channels():
    network = SpectralResNet18(modes=3, **SMALL).double()
    shortcut = network.stage2[0].get_submodule("shortcut")
    conv = shortcut.get_submodule("conv")
    images = normal(2, 4, 9, 8)
    resize = TrigonometricResize(stride=2)
    assert error(conv(resize(images)), resize(conv(images))) < EXACT
    assert isinstance(shortcut.get_submodule("resize"), TrigonometricResize)


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="modes=None, kernel_size=None"):
        FourierClassifier()
    with pytest.raises(ValueError, match="modes=3, kernel_size=3"):
        FourierClassifier(modes=3, kernel_size=3)
    with pytest.raises(ValueError, match="pointwise=True needs modes"):
        FourierClassifier(kernel_size=3, pointwise=True)
    with pytest.raises(ValueError, match="Invalid activation: 'tanh'"):
        FourierClassifier(modes=3, activation="tanh")


@pytest.mark.parametrize("size", [(13, 13), (14, 12)])
@pytest.mark.parametrize("shown", [(5, 6), (8, 8), (12, 11), (13, 13), (14, 14), (21, 20)])
def test_a_predetermined_output_size_is_trigonometric_input_interpolation(size, shown):
    """Page 11 of the paper: a first layer whose outputs have the training size, whatever it is shown."""
    network = FourierClassifier(kernel_size=5, channels=(3, 4), bias=True).double()
    spectral = spectral_network(network, torch.zeros(1, 1, *size, dtype=torch.float64))
    layers = dict(spectral.named_children())
    predetermined = nn.Sequential(
        TrigonometricResize(odd(shown)),  # on which an even size is multiplied, eq. 8
        layers.pop("conv1"),
        TrigonometricResize(size),
        *layers.values(),
    )
    images = normal(3, 1, *shown)
    interpolated = trigonometric_resize(images, size)
    assert error(predetermined(images), spectral(interpolated)) < EXACT
    assert error(predetermined(images), network(interpolated)) < EXACT
    # Without the size the second layer sees other images, and the answers differ.
    if shown != size:
        assert error(spectral(images), spectral(interpolated)) > 1e-4
