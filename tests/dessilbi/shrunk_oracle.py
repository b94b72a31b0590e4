"""Small sparse networks, and the ordinary optimiser in which all that is left out stands still."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from bregman import AdaBreg, LinBreg, penalize
from bregman.dual import recover_
from bregman.layers import WEIGHT_LAYERS, weight_layers
from bregman.optimizer import group_penalty
from bregman.rules import Rule
from dessilbi import ShrunkTraining

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "linbreg": lambda groups: LinBreg(groups, lr=0.05, delta=0.9),
    "momentum": lambda groups: LinBreg(groups, lr=0.05, momentum=0.8),
    # Where the gradient is zero but for rounding, as that of biases before norm layers, Adam with a
    # small eps takes steps of any size.
    "adabreg": lambda groups: AdaBreg(groups, lr=0.005, eps=1e-3),
}
RULES: dict[str, list[Rule]] = {
    name: [Rule(penalty, module=WEIGHT_LAYERS, name="*weight", group=group)]
    for name, (penalty, group) in {
        "l1": ("l1", None),
        "filter": ("l12", "filter"),
        "channel": ("l12", "channel"),
    }.items()
}


class Block(nn.Module):
    """A residual block with a projection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.last = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, images: Tensor) -> Tensor:
        branch = self.last(self.second(functional.relu(self.norm(self.first(images)))))
        return functional.relu(branch + self.shortcut(images))


def mlp() -> nn.Module:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10), nn.Tanh()),
        nn.Linear(10, 3),
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32, 9), nn.ReLU(), nn.Linear(9, 3)),
    )


def resnet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU()),
        *(Block(5, 6, 2), Block(6, 7, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 3)),
    )


NETWORKS = {"mlp": (mlp, (1, 4, 4)), "cnn": (cnn, (1, 10, 10)), "resnet": (resnet, (1, 8, 8))}


@torch.no_grad()
def sparse(network: nn.Module, penalty: str) -> nn.Module:
    """In float64, without half of the units or half of what reads them; shifts are not zero."""
    network.double()
    layers = list(weight_layers(network))
    for _, layer, weight in layers:
        if penalty in ("l1", "filter") and layer is not layers[-1][1]:
            weight[torch.rand(len(weight)) < 0.5] = 0.0
        if penalty in ("l1", "channel") and layer is not layers[0][1]:
            weight[:, torch.rand(weight.shape[1]) < 0.4] = 0.0
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            nn.init.uniform_(layer.bias, -1.0, 0.4)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    return network


def batches(name: str, count: int) -> list[tuple[Tensor, Tensor]]:
    shape = NETWORKS[name][1]
    return [(torch.randn(8, *shape).double(), torch.randint(3, (8,))) for _ in range(count)]


def loss_of(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(network(batch[0]), batch[1])


class Pair:
    """Shrunk training, and the same network trained whole."""

    def __init__(self, name: str, optimizer: str, penalty: str, **options: Any) -> None:
        self.network = sparse(NETWORKS[name][0](), penalty)
        self.optimizer = self._build(self.network, optimizer, penalty)
        self.whole = copy.deepcopy(self.network)
        self.ordinary = self._build(self.whole, optimizer, penalty)
        self.stale: dict[str, Tensor] = {}  # running statistics that stood still
        example = batches(name, 1)[0][0]
        self.shrunk = ShrunkTraining(self.network, self.optimizer, example=example, **options)

    def _build(self, network: nn.Module, optimizer: str, penalty: str) -> Any:
        return OPTIMIZERS[optimizer](penalize(network, RULES[penalty], lam=0.02))

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[float, float, bool]:
        """One step of both; their losses, and whether the network was a smaller one."""
        network = self.shrunk.network
        self.shrunk.zero_grad()
        ours = loss_of(network, batch)
        ours.backward()
        self.ordinary.zero_grad()
        theirs = loss_of(self.whole, batch)
        theirs.backward()
        small = network is not self.network
        masks = self._masks() if small else {}
        if small:
            self._note_stale()
        self.shrunk.step()
        self._masked_step(masks)
        return float(ours.detach()), float(theirs.detach()), small

    def _masks(self) -> dict[Tensor, Tensor]:
        """True at the entries that are trained, per parameter of the whole network."""
        assert self.shrunk._kept is not None
        masks: dict[Tensor, Tensor] = {
            p: torch.zeros_like(p, dtype=torch.bool) for p in self.whole.parameters()
        }
        slices = self.shrunk._slices(self.shrunk._kept)
        for name, param in self.whole.named_parameters():
            if name in slices:
                part = torch.ones_like(slices[name].take(masks[param]))
                slices[name].put(masks[param], part)
            else:
                masks[param].fill_(True)
        return masks

    def _note_stale(self) -> None:
        """Units that were left out because nobody reads them, and show no constant."""
        cycle = self.shrunk._cycle
        assert cycle is not None
        for name, layer in self.network.named_modules():
            if isinstance(layer, _BatchNorm) and f"{name}.weight" in cycle._slices:
                left = torch.ones(layer.num_features, dtype=torch.bool)
                left[cycle._slices[f"{name}.weight"].index[0]] = False
                for still in cycle._still:
                    if still.layer is layer:
                        left[still.index] = False
                for buffer in ("running_mean", "running_var"):
                    key = f"{name}.{buffer}"
                    self.stale[key] = left | self.stale.get(key, torch.tensor(False))

    @torch.no_grad()
    def _masked_step(self, masks: dict[Tensor, Tensor]) -> None:
        for param, mask in masks.items():
            param.grad[~mask] = 0.0  # type: ignore[index]
        before = {
            param: copy.deepcopy({**self.ordinary.state[param], "param": param.detach()})
            for param in masks
        }
        self.ordinary.step()
        for group in self.ordinary.param_groups:
            for param in [p for p in group["params"] if p in masks]:
                state = self.ordinary.state[param]
                for key, value in state.items():
                    if isinstance(value, Tensor):
                        value[~masks[param]] = before[param][key][~masks[param]]
                if group["penalty"] == "l12":  # weights follow the groups that are trained
                    penalty, lam, delta = group_penalty(group), group["lam"], group["delta"]
                    recover_([param], [state["dual"]], penalty, lam=lam, delta=delta)
                else:
                    param[~masks[param]] = before[param]["param"][~masks[param]]
