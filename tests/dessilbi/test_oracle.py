"""Channel spaces of torchvision's classification networks, held to those that Torch-Pruning finds.

Opt-in: `pip install bregbench[oracle]`. Torch-Pruning follows the graph of gradients, this package
the traced forward; where removal is offered here, both must name the same layers, and what is cut
must have the same shapes and outputs.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.layers import WEIGHT_LAYERS
from dessilbi import shrink
from dessilbi.comparing import compare_outputs
from dessilbi.graph import ChannelGraph, Space
from dessilbi.resizing import output_axis

pruning = pytest.importorskip("torch_pruning", reason="needs torch-pruning (bregbench[oracle])")

#: One network of each kind, the smallest, and the side of the images that it gets. Torch-Pruning 1.6.1
#: cannot build the graph of ShuffleNet (it divides by zero).
NETWORKS = {
    "alexnet": 96,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_x_400mf": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "squeezenet1_1": 64,
    "swin_t": 64,
    "vgg11": 64,
    "vgg11_bn": 64,
    "vit_b_32": 224,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Torch-Pruning are its own
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_layers_share_their_channels(name):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options).eval()
    images = torch.randn(2, 3, NETWORKS[name], NETWORKS[name])
    for norm in model.modules():
        if isinstance(norm, _BatchNorm):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    spaces = [space for space in ChannelGraph(model, images).spaces if space.fixed is None]
    assert spaces
    oracle = pruning.DependencyGraph().build_dependency(model, images)
    for space in spaces:
        assert _coupled(model, oracle, space) == _named(space), space.producers
    chosen = [spaces[0], spaces[len(spaces) // 2], spaces[-1]]
    small = _cut_here(model, chosen, images)
    _check_against_oracle(model, small, chosen, images)


def _named(space: Space) -> dict[str, set[str]]:
    return {"out": {*space.producers, *space.norms}, "in": set(space.readers)}


def _group(model: nn.Module, oracle: Any, space: Space, channels: list[int]) -> Any:
    layer = model.get_submodule(space.producers[0])
    linear = isinstance(layer, nn.Linear)
    function = pruning.prune_linear_out_channels if linear else pruning.prune_conv_out_channels
    return oracle.get_pruning_group(layer, function, idxs=channels)


def _coupled(model: nn.Module, oracle: Any, space: Space) -> dict[str, set[str]]:
    names = {module: name for name, module in model.named_modules()}
    found: dict[str, set[str]] = {"out": set(), "in": set()}
    for dependency, _ in _group(model, oracle, space, [0]):
        module = dependency.target.module
        if module in names and isinstance(module, (*WEIGHT_LAYERS, _BatchNorm)):
            side = "in" if "in_channels" in dependency.handler.__name__ else "out"
            found[side].add(names[module])
    return found


def _dead(space: Space) -> list[int]:
    return [channel for channel in range(space.channels) if channel % 3 == 1]


@torch.no_grad()
def _cut_here(model: nn.Module, spaces: list[Space], images: torch.Tensor) -> nn.Module:
    for space in spaces:
        dead = _dead(space)
        for name in (*space.producers, *space.norms):
            layer = model.get_submodule(name)
            axis = 0 if isinstance(layer, _BatchNorm) else output_axis(layer)
            layer.get_parameter("weight").transpose(0, axis)[dead] = 0.0
            if layer.bias is not None:
                layer.get_parameter("bias")[dead] = 0.0
    return shrink(model, example=images)


def _check_against_oracle(
    model: nn.Module, small: nn.Module, spaces: list[Space], images: torch.Tensor
) -> None:
    other = copy.deepcopy(model)
    graph = pruning.DependencyGraph().build_dependency(other, images)
    for space in spaces:
        _group(other, graph, space, _dead(space)).prune()
    shapes = {name: param.shape for name, param in other.named_parameters()}
    assert {name: param.shape for name, param in small.named_parameters()} == shapes
    compare_outputs(other, small, images)
