"""The layers as citizens of torch: compile, export, memory formats, autocast."""

from __future__ import annotations

import copy
import doctest
import importlib
import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import fno
from fno import (
    CircularConv2d,
    FourierClassifier,
    SpectralConv2d,
    SpectralResNet18,
    TrigonometricResize,
)
from fno.pooling import AdaptiveAveragePool2d
from tests.fno.cases import error, normal

LAYERS = {
    "spectral": lambda: SpectralConv2d(2, 3, 5, pointwise=True, activation="gelu"),
    "more modes than pixels": lambda: SpectralConv2d(2, 3, 11),
    "even": lambda: SpectralConv2d(2, 4, 8, groups=2),
    "stride": lambda: SpectralConv2d(2, 3, (4, 3), stride=2, pointwise=True),
    "fft of a kernel": lambda: CircularConv2d(2, 3, 8, method="fft"),
    "wrapping kernel": lambda: CircularConv2d(2, 3, 11, method="fft"),
    "resize up": lambda: TrigonometricResize(11),
    "resize down": lambda: TrigonometricResize(6),
}


@pytest.fixture(params=list(LAYERS.values()), ids=list(LAYERS))
def layer(request) -> nn.Module:
    return request.param()


def test_compiled_layer_computes_the_same(layer):
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    first = torch.randn(2, 2, 8, 8).requires_grad_()
    second = first.detach().clone().requires_grad_()
    values, expected = compiled(first), layer(second)
    values.square().sum().backward()
    expected.square().sum().backward()
    assert error(values, expected) < 1e-6
    assert first.grad is not None
    assert second.grad is not None
    assert error(first.grad, second.grad) < 1e-4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter's own
@pytest.mark.parametrize("name", ["even", "stride", "wrapping kernel", "network"])
def test_exported_layer_computes_the_same(name):
    pytest.importorskip("onnxscript")
    reference = pytest.importorskip("onnx.reference")
    layer = FourierClassifier(2, 3, modes=5) if name == "network" else LAYERS[name]()
    images = torch.randn(2, 2, 8, 8)
    program = torch.onnx.export(layer.eval(), (images,), dynamo=True, verbose=False)
    assert program is not None
    session = reference.ReferenceEvaluator(program.model_proto)
    (values,) = session.run(None, {session.input_names[0]: images.numpy()})
    assert error(torch.from_numpy(values).float(), layer(images)) < 1e-5


def test_channels_last_images_give_the_same(layer):
    images = torch.randn(2, 2, 8, 8)
    other = images.to(memory_format=torch.channels_last)
    assert error(layer(other), layer(images)) < 1e-6


def test_frequencies_stay_float32_under_autocast(layer):
    images = torch.randn(2, 2, 8, 8)
    narrow = images.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result, of_narrow = layer(images), layer(narrow)
    assert result.dtype == torch.float32
    assert of_narrow.dtype == torch.bfloat16
    # The 1 x 1 convolution runs in bfloat16; the rest is as without autocast.
    exact = getattr(layer, "pointwise", None) is None
    assert error(result, layer(images)) < (1e-6 if exact else 2e-2)
    assert error(of_narrow.float(), layer(narrow.float())) < 4e-2


def test_half_precision_networks_run(layer):
    for dtype in (torch.bfloat16, torch.float16):
        narrow = copy.deepcopy(layer).to(dtype)
        images = torch.randn(2, 2, 8, 8).to(dtype)
        result = narrow(images)
        assert result.dtype == dtype
        assert error(result.float(), narrow.float()(images.float())) < 4e-2


def test_no_parameter_is_unused(layer):
    layer(torch.randn(2, 2, 8, 8).requires_grad_()).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_copies_and_state_dicts_compute_the_same(layer):
    images = torch.randn(2, 2, 8, 8)
    twin = copy.deepcopy(layer)
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin(images), layer(images))
    assert repr(twin) == repr(layer)


CONVOLUTIONS = {
    "modes": lambda: SpectralConv2d(2, 3, 5),
    "more modes than pixels": lambda: SpectralConv2d(2, 3, 11),
    "small kernel": lambda: CircularConv2d(2, 3, 3),
    "kernel by matrices": lambda: CircularConv2d(2, 8, 5),
    "large kernel": lambda: CircularConv2d(2, 3, 11),
}


@pytest.mark.parametrize("build", list(CONVOLUTIONS.values()), ids=list(CONVOLUTIONS))
def test_layers_take_what_convolutions_of_torch_take(build):
    layer = build()
    images = torch.randn(2, 2, 8, 8)
    assert error(layer(images[0]), layer(images)[0]) < 1e-6
    empty = layer(images[:0])
    assert empty.shape == (0, layer.out_channels, 8, 8)
    empty.sum().backward()
    assert not layer.weight.grad.any()
    for wrong in (torch.randn(2, 4, 8, 8), torch.randn(8, 8)):
        with pytest.raises(
            ValueError, match=r"expected images \(batch, 2 channels, height, width\)"
        ):
            layer(wrong)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("modes", [(5, 4), (4, 5), (4, 4), 5])
def test_states_of_other_layers_are_refused_where_shapes_agree(modes, balanced, tmp_path):
    def build(**changes: Any) -> SpectralConv2d:
        options: dict[str, Any] = {"in_channels": 4, "out_channels": 4, "modes": modes}
        return SpectralConv2d(**(options | {"bias": False, "balanced": balanced} | changes))

    first, second = build().modes
    others: dict[str, dict[str, Any]] = {
        f"modes={build().modes}": {"modes": (first, second + 1 - 2 * (second % 2))},
        "in_channels=4, groups=1": {"in_channels": 8, "groups": 2},
    }
    torch.save(build().state_dict(), tmp_path / "state.pt")
    for state in (build().state_dict(), torch.load(tmp_path / "state.pt", weights_only=True)):
        for saved, changes in others.items():
            other = build(**changes)
            before = other.weight.detach().clone()
            assert before.shape == build().weight.shape
            of = re.escape(f"weight is that of a SpectralConv2d with {saved}, and this layer has ")
            with pytest.raises(RuntimeError, match=of):
                other.load_state_dict(state, strict=False)
            assert torch.equal(other.weight, before)
            # Bare tensors do not say whose they are.
            other.load_state_dict(dict(state))
            assert torch.equal(other.weight, state["weight"])
        for same in (build(), build(balanced=not balanced)):
            same.load_state_dict(state)
            assert torch.equal(same.weight, state["weight"])
    assert set(build().state_dict()) == {"weight"}


def test_the_layer_of_a_network_whose_state_is_refused_is_named():
    five, four = (FourierClassifier(modes=(5, columns), channels=(2, 2)) for columns in (5, 4))
    with pytest.raises(
        RuntimeError, match=r"conv1.weight is that .* modes=\(5, 4\), and this layer"
    ):
        five.load_state_dict(four.state_dict())
    five.load_state_dict(copy.deepcopy(five).state_dict())


@pytest.mark.parametrize(
    "build",
    [
        *LAYERS.values(),
        *(partial(CircularConv2d, 2, 3, kernel) for kernel in (1, 3, 5, 7, 9, 12)),
        *(partial(CircularConv2d, 2, 3, 7, method=method) for method in ("auto", "direct", "fft")),
        partial(CircularConv2d, 2, 4, 7, groups=2, stride=2, dilation=2),
        partial(SpectralConv2d, 2, 3, 5, balanced=True, striding="sampling", stride=2),
        partial(AdaptiveAveragePool2d, (3, 7)),
        partial(FourierClassifier, 2, kernel_size=7),
        partial(FourierClassifier, 2, modes=(4, 7), pointwise=True, activation="gelu"),
        partial(SpectralResNet18, 2, width=2),
        partial(SpectralResNet18, 2, width=2, modes=5, striding="sampling"),
    ],
)
def test_every_layer_has_shapes_on_a_device_without_values_or_autocast(build):
    real = build().eval()
    layer = copy.deepcopy(real).to("meta")
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        images = torch.empty(2, 2, 9, 8, device="meta", dtype=dtype)
        result = layer.to(dtype)(images)
        assert (result.device.type, result.dtype) == ("meta", dtype)
        assert result.shape == real(torch.zeros(2, 2, 9, 8)).shape
    # Autocast of another device is none of this one's.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.empty(2, 2, 9, 8, device="meta", dtype=dtype)).shape == result.shape


def test_networks_have_shapes_without_values():
    network = FourierClassifier(modes=5)
    meta = copy.deepcopy(network).to("meta")
    assert meta(torch.empty(3, 1, 28, 28, device="meta")).shape == (3, 10)
    # Tracers run networks on fake tensors; nothing of these may be left for real ones.
    with FakeTensorMode():
        assert FourierClassifier(modes=5)(torch.empty(3, 1, 29, 29)).shape == (3, 10)
    assert network(torch.randn(3, 1, 29, 29)).isfinite().all()


def test_distributed_training_reduces_all_gradients(tmp_path):
    network = FourierClassifier(modes=5, pointwise=True)
    twin = copy.deepcopy(network)
    images = torch.randn(4, 1, 12, 12)
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        nn.parallel.DistributedDataParallel(network)(images).square().sum().backward()
    finally:
        distributed.destroy_process_group()
    twin(images).square().sum().backward()
    for parameter, expected in zip(network.parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None
        assert expected.grad is not None
        assert error(parameter.grad, expected.grad) < 1e-5


def test_gradients_of_a_batch_are_sums_of_those_of_images():
    layer = SpectralConv2d(2, 3, 5).double()
    images = normal(3, 2, 8, 8)
    layer(images).sum().backward()
    assert layer.weight.grad is not None
    remaining = layer.weight.grad.clone()
    for image in images:
        (part,) = torch.autograd.grad(layer(image[None]).sum(), layer.weight)
        remaining -= part
    assert remaining.abs().max() < 1e-12


@pytest.mark.parametrize("name", ["fno", "fno.resize", "fno.frequencies", "fno.lipschitz"])
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_public_names_exist():
    assert all(hasattr(fno, name) for name in fno.__all__)
    assert "Part of bregbench" in (fno.__doc__ or "")
