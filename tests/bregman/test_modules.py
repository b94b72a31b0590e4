"""Strided 1 x 1 convolutions on the pixels that remain, against those of torch."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bregman.modules import Conv2d, make_safe, strided_pointwise

#: (kernel, stride, padding, padding mode)
GEOMETRIES: list[tuple[Any, Any, Any, Any]] = [
    (1, 2, 0, "zeros"),
    (1, (1, 3), 0, "zeros"),
    (1, (2, 1), "valid", "zeros"),
    (1, 2, 1, "zeros"),
    (1, 3, (2, 1), "circular"),
    (1, 2, (0, 3), "reflect"),
    (1, (2, 4), 2, "replicate"),
    (1, 1, 1, "zeros"),
    (3, 2, 1, "zeros"),
    ((1, 3), 2, 1, "circular"),
]


def twins(*sizes: Any, **options: Any) -> tuple[nn.Conv2d, Conv2d]:
    torch.manual_seed(0)
    plain = nn.Conv2d(*sizes, **options).double()
    safe = Conv2d(*sizes, **options).double()
    safe.load_state_dict(plain.state_dict())
    return plain, safe


def answer(layer: nn.Module, images: Tensor, *, seed: int = 1) -> list[Tensor]:
    """Outputs, and gradients of a random linear function of them for images and parameters."""
    images = images.clone().requires_grad_()
    outputs = layer(images)
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(outputs.shape, generator=generator).to(outputs.dtype)
    leaves = [images, *layer.parameters()]
    return [outputs, *torch.autograd.grad((outputs * direction).sum(), leaves)]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding", "mode"), GEOMETRIES)
def test_outputs_and_gradients_are_those_of_torch(kernel, stride, padding, mode, bias, groups):
    plain, safe = twins(
        *(4, 6, kernel, stride, padding), groups=groups, bias=bias, padding_mode=mode
    )
    for shape in ((3, 4, 7, 8), (4, 5, 9)):
        images = torch.randn(shape, dtype=torch.float64)
        for expected, found in zip(answer(plain, images), answer(safe, images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_no_strided_pointwise_kernel_of_torch_runs(monkeypatch):
    strides: list[Any] = []
    convolve = torch.nn.functional.conv2d

    def noting(images: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, *more: Any, **kw):
        strides.append(stride)
        return convolve(images, weight, bias, stride, *more, **kw)

    monkeypatch.setattr(torch.nn.functional, "conv2d", noting)
    for kernel, stride, padding, mode in GEOMETRIES:
        strides.clear()
        layer = Conv2d(4, 6, kernel, stride, padding, padding_mode=mode)
        layer(torch.zeros(2, 4, 9, 9))
        assert strides == [1 if strided_pointwise(layer) else layer.stride]


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 8), (3, 8), (5, 9), (1, 4), (7, 17)])
@pytest.mark.parametrize("stride", [2, (1, 2), (2, 1)])
def test_few_channels_train_in_channels_last(inputs, outputs, stride):
    """The shapes on which torch's own kernel kills the process on a CPU without AVX-512."""
    layer = Conv2d(inputs, outputs, 1, stride=stride).to(memory_format=torch.channels_last)
    wide = copy.deepcopy(layer).double()
    for seed in range(5):
        images = torch.randn(12, inputs, 8, 8, generator=torch.Generator().manual_seed(seed))
        images = images.to(memory_format=torch.channels_last)
        for found, expected in zip(
            answer(layer, images), answer(wide, images.double()), strict=True
        ):
            torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def test_layers_become_safe_where_they_stand():
    class Own(nn.Conv2d):
        pass

    for kind, (kernel, stride) in itertools.product((nn.Conv2d, Own), ((1, 2), (1, 1), (3, 2))):
        layer = kind(4, 8, kernel, stride=stride)
        printed, state, weight = repr(layer), layer.state_dict(), layer.weight
        images = torch.randn(2, 4, 8, 8)
        expected = layer(images)
        make_safe(layer)
        changed = kind is nn.Conv2d and (kernel, stride) == (1, 2)
        assert type(layer) is (Conv2d if changed else kind)
        assert layer.weight is weight
        assert layer.state_dict().keys() == state.keys()
        assert not changed or repr(layer) == printed
        torch.testing.assert_close(layer(images), expected)


def test_export_and_compilers_see_a_plain_convolution():
    layer = Conv2d(4, 8, 1, stride=2).eval()
    images = torch.randn(3, 4, 9, 9)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(layer, (images[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(images), layer(images))
    torch.testing.assert_close(torch.fx.symbolic_trace(layer)(images), layer(images))
