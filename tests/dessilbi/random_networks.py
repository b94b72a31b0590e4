"""Random small networks, with units that contribute nothing, for tests of removal.

A network is a list of steps on a stack of tensors, drawn along with a run on one batch, so that it
accepts inputs of that shape (with any number of samples).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from bregman.layers import WEIGHT_LAYERS

Step = tuple[str, Callable[..., Any], tuple[int, ...]]

#: Widths of layers; few, so that sums fit.
WIDTHS = (4, 6)
STARTS = ((3,), (5, 3), (6, 6), (2, 6, 6), (3, 5, 4), (2, 8))


class RandomNet(nn.Module):
    """Runs its steps; each maps some of the tensors before it to the next one."""

    def __init__(self, start: tuple[int, ...]) -> None:
        super().__init__()
        self.start = start
        self.layers = nn.ModuleDict()
        self.constants = nn.ParameterDict()
        self.steps: list[Step] = []
        self.outputs: list[int] = []

    def forward(self, inputs: Tensor) -> Any:
        found: list[Any] = [inputs]
        for _, function, sources in self.steps:
            found.append(function(self, *(found[source] for source in sources)))
        results = tuple(found[index] for index in self.outputs)
        return results[0] if len(results) == 1 else results

    def __str__(self) -> str:
        return f"{self.start}: " + ", ".join(f"{name}{list(s)}" for name, _, s in self.steps)


@dataclass
class _Draw:
    """The state of drawing one network: the tensors that a batch of five has given so far."""

    dice: random.Random
    net: RandomNet
    found: list[Tensor] = field(default_factory=list)
    dead: dict[int, Tensor] = field(default_factory=dict)

    def apply(self, name: str, function: Callable[..., Any], *sources: int) -> bool:
        """Add a step if it runs and gives a tensor of sensible size."""
        before = [tensor.clone() for tensor in self.found]
        try:
            with torch.no_grad():
                value = function(self.net, *(self.found[source] for source in sources))
        except (RuntimeError, ValueError, IndexError):
            self.found = before
            return False
        sound = isinstance(value, Tensor) and value.dim() >= 2 and len(value) == 5
        if not sound or not 0 < value.numel() < 5000 or not value.isfinite().all():
            self.found = before
            return False
        self.net.steps.append((name, function, sources))
        self.found.append(value)
        return True

    def add(self, name: str, layer: nn.Module, *sources: int) -> bool:
        """Add a step that calls a new layer."""
        key = f"{name}{len(self.net.steps)}"
        self.net.layers[key] = layer.double().eval()
        if self.apply(name, lambda net, x: net.layers[key](x), *sources):
            return True
        del self.net.layers[key]
        return False

    def recent(self) -> int:
        """The index of a tensor, mostly the newest."""
        last = len(self.found) - 1
        return last if self.dice.random() < 0.75 else self.dice.randint(0, last)


def random_network(seed: int, *, constants: bool = False) -> RandomNet:
    """A network in float64.

    Args:
        seed: Decides everything.
        constants: Leave the biases of some dead units, and units that nobody reads.
    """
    dice = random.Random(seed)
    torch.manual_seed(seed)
    net = RandomNet(dice.choice(STARTS))
    draw = _Draw(dice, net, [torch.randn(5, *net.start, dtype=torch.float64)])
    names, weights = zip(*_STEPS.values(), strict=True)
    for _ in range(dice.randint(5, 14)):
        dice.choices(names, weights)[0](draw)
    if draw.dice.random() < 0.8:
        _linear(draw)
    last = len(draw.found) - 1
    net.outputs = [last] if dice.random() < 0.85 else sorted({last, draw.recent()})
    _silence(draw, constants)
    return net.train(dice.random() < 0.3)


def _linear(draw: _Draw) -> None:
    index = draw.recent()
    width = draw.dice.choice(WIDTHS)
    bias = draw.dice.random() < 0.8
    draw.add("linear", nn.Linear(draw.found[index].shape[-1], width, bias=bias), index)


def _convolution(draw: _Draw) -> None:
    index = draw.recent()
    rank = draw.found[index].dim()
    inputs, width = draw.found[index].shape[1], draw.dice.choice(WIDTHS)
    groups = draw.dice.choice([1, 1, 1, 1, 2, inputs])
    width = inputs if groups == inputs else width
    if inputs % groups or width % groups or rank not in (3, 4):
        return
    transposed = draw.dice.random() < 0.2
    kind: Any = {
        (3, False): nn.Conv1d,
        (3, True): nn.ConvTranspose1d,
        (4, False): nn.Conv2d,
        (4, True): nn.ConvTranspose2d,
    }[rank, transposed]
    size = draw.dice.choice([1, 3])
    padding = draw.dice.choice([0, size // 2])
    draw.add(
        "transposed" if transposed else "conv",
        kind(inputs, width, size, padding=padding, groups=groups),
        index,
    )


def _norm(draw: _Draw) -> None:
    index = draw.recent()
    shape = draw.found[index].shape
    batch = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    affine = draw.dice.random() < 0.85
    kinds: list[Callable[[], nn.Module]] = [
        *[lambda: batch(shape[1], affine=affine)] * 4,
        lambda: nn.LayerNorm(shape[-1]),
        lambda: nn.GroupNorm(draw.dice.choice([1, 2]), shape[1]),
        lambda: batch(shape[1], affine=affine, track_running_stats=False),
    ]
    try:
        layer = draw.dice.choice(kinds)()
    except ValueError:
        return
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    draw.add("norm", layer, index)


def _activation(draw: _Draw) -> None:
    draw.add(
        "activation",
        draw.dice.choice(
            [
                *[nn.ReLU()] * 4,
                *(nn.ReLU(inplace=True), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.PReLU()),
                *(nn.Identity(), nn.Dropout(0.5), nn.Softmax(dim=-1), nn.Hardswish()),
            ]
        ),
        draw.recent(),
    )


def _function(draw: _Draw) -> None:
    factor = draw.dice.choice([-1.5, 0.5, 2])
    functions: dict[str, Callable[..., Any]] = {
        "relu": lambda _, x: torch.relu(x),
        "relu_": lambda _, x: x.relu_(),
        "leaky": lambda _, x: functional.leaky_relu(x, 0.2),
        "dropout": lambda net, x: functional.dropout(x, training=net.training),
        "scaled": lambda _, x: x * factor,
        "divided": lambda _, x: x / factor,
        "negative": lambda _, x: -x,
        "moved": lambda _, x: x + factor,
        "sized": lambda _, x: x / x.shape[1],
        "exp": lambda _, x: torch.exp(-x.abs()),
    }
    name = draw.dice.choice(list(functions))
    draw.apply(name, functions[name], draw.recent())


def _reshape(draw: _Draw) -> None:
    index = draw.recent()
    shape = draw.found[index].shape
    axis, other = draw.dice.randrange(1, len(shape)), draw.dice.randrange(1, len(shape))
    rest = draw.dice.sample(range(1, len(shape)), len(shape) - 1)
    functions: dict[str, Callable[..., Any]] = {
        "flatten": lambda _, x: x.flatten(1),
        "flatten_2": lambda _, x: torch.flatten(x, min(2, len(shape) - 1)),
        "flatten_12": lambda _, x: x.flatten(1, 2),
        "view": lambda _, x: x.view(x.size(0), -1),
        "reshape": lambda _, x: x.reshape(x.shape[0], x.shape[1], -1),
        "literal": lambda _, x: x.reshape(-1, *shape[1:-1], shape[-1] // 2, 2),
        "split": lambda _, x: x.reshape(x.shape[0], 2, -1),
        "permute": lambda _, x: x.permute(0, *rest),
        "transpose": lambda _, x: x.transpose(axis, other),
        "mean": lambda _, x: x.mean(axis),
        "mean_keep": lambda _, x: x.mean(dim=axis, keepdim=True),
        "means": lambda _, x: x.mean((2, 3)),
        "unsqueeze": lambda _, x: x.unsqueeze(axis),
        "squeeze": lambda _, x: x.squeeze(axis),
        "unflatten": lambda _, x: x.unflatten(axis, (-1, 2)),
        "unflatten_2": lambda _, x: x.unflatten(axis, (2, -1)),
        "sum": lambda _, x: x.sum(axis),
        "max": lambda _, x: x.amax(axis),
        "slice": lambda _, x: x[:, :2],
        "chunk": lambda _, x: x.chunk(2, dim=1)[0],
        "roll": lambda _, x: x.roll(1, axis),
    }
    name = draw.dice.choice(list(functions))
    draw.apply(name, functions[name], index)


def _pooling(draw: _Draw) -> None:
    index = draw.recent()
    pools: list[nn.Module] = {
        2: [nn.MaxPool1d(2), nn.AvgPool1d(2)],
        3: [nn.MaxPool1d(2), nn.AvgPool1d(2, padding=1), nn.AdaptiveAvgPool1d(1)],
    }.get(
        draw.found[index].dim(),
        [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(2)],
    )
    draw.add("pool", draw.dice.choice(pools), index)


def _sum(draw: _Draw) -> None:
    first = draw.recent()
    shape = draw.found[first].shape
    alike = [i for i, other in enumerate(draw.found) if other.shape == shape and i != first]
    broadcast = [i for i, other in enumerate(draw.found) if _broadcasts(other, draw.found[first])]
    choice = draw.dice.choice(alike or [first]) if draw.dice.random() < 0.8 else None
    second = draw.dice.choice(broadcast or [first]) if choice is None else choice
    functions: dict[str, Callable[..., Any]] = {
        "add": lambda _, x, y: x + y,
        "add_": lambda _, x, y: x.add_(y),
        "torch_add": lambda _, x, y: torch.add(x, y),
        "alpha": lambda _, x, y: torch.add(x, y, alpha=-1),
        "sub": lambda _, x, y: x - y,
        "torch_sub": lambda _, x, y: torch.sub(x, y, alpha=2),
        "iadd": _iadd,
        "mul": lambda _, x, y: x * y,
        "cat": lambda _, x, y: torch.cat([x, y], dim=1),
        "cat_last": lambda _, x, y: torch.cat([x, y], dim=-1),
        "max": lambda _, x, y: torch.maximum(x, y),
    }
    names = [*functions, *["add", "iadd", "sub", "alpha"] * 2]
    name = draw.dice.choice(names)
    draw.apply(name, functions[name], *draw.dice.sample([first, second], 2))


def _iadd(_: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x += y
    return x


def _broadcasts(one: Tensor, other: Tensor) -> bool:
    try:
        return len(torch.broadcast_shapes(one.shape, other.shape)) > 0
    except RuntimeError:
        return False


def _constant(draw: _Draw) -> None:
    index = draw.recent()
    shape = [size if draw.dice.random() < 0.5 else 1 for size in draw.found[index].shape]
    key = f"p{len(draw.net.steps)}"
    draw.net.constants[key] = nn.Parameter(torch.randn(1, *shape[1:], dtype=torch.float64))
    functions: list[Callable[..., Any]] = [
        lambda net, x: x + net.constants[key],
        lambda net, x: net.constants[key] - x,
        lambda net, x: x * net.constants[key],
    ]
    if not draw.apply("constant", draw.dice.choice(functions), index):
        del draw.net.constants[key]


def _residual(draw: _Draw) -> None:
    """`x + f(x)`, the second part of two or three steps of equal width."""
    index = len(draw.found) - 1
    x = draw.found[index]
    if x.dim() == 4 and draw.dice.random() < 0.8:
        layers: list[Any] = [nn.Conv2d(x.shape[1], x.shape[1], 3, padding=1) for _ in range(2)]
        layers.insert(1, nn.BatchNorm2d(x.shape[1]))
    else:
        layers = [nn.Linear(x.shape[-1], x.shape[-1]) for _ in range(2)]
    for layer in (*layers[:-1], nn.ReLU(), layers[-1]):
        if not draw.add("branch", layer, len(draw.found) - 1):
            return
    functions: dict[str, Callable[..., Any]] = {
        "shortcut": lambda _, h, f: h + f,
        "shortcut_other": lambda _, h, f: f + h,
        "shortcut_iadd": lambda _, h, f: _iadd(_, f, h),
        "shortcut_minus": lambda _, h, f: h - f,
    }
    name = draw.dice.choice(list(functions))
    draw.apply(name, functions[name], index, len(draw.found) - 1)


def _again(draw: _Draw) -> None:
    """A layer, or its weight, is used once more."""
    keys = list(draw.net.layers)
    if not keys:
        return
    key = draw.dice.choice(keys)
    if isinstance(draw.net.layers[key], nn.Linear) and draw.dice.random() < 0.2:
        draw.apply(
            "weight", lambda net, x: functional.linear(x, net.layers[key].weight), draw.recent()
        )
    else:
        draw.apply(f"again {key}", lambda net, x: net.layers[key](x), draw.recent())


_STEPS: dict[str, tuple[Callable[[_Draw], None], float]] = {
    "linear": (_linear, 4),
    "convolution": (_convolution, 5),
    "norm": (_norm, 2),
    "activation": (_activation, 3),
    "function": (_function, 1),
    "reshape": (_reshape, 2),
    "pooling": (_pooling, 0.7),
    "sum": (_sum, 2),
    "constant": (_constant, 0.4),
    "residual": (_residual, 2),
    "again": (_again, 0.4),
}


@torch.no_grad()
def _silence(draw: _Draw, constants: bool) -> None:
    """Units of one width are dead in the same places, so that sums are, too."""
    dice = draw.dice
    dead = {width: torch.rand(width) < 0.4 for width in range(1, 200)}
    for layer in draw.net.layers.values():
        if isinstance(layer, WEIGHT_LAYERS) and dice.random() < 0.8:
            outputs = 1 if getattr(layer, "transposed", False) else 0
            rows: Tensor = layer.weight.transpose(0, outputs)  # type: ignore[assignment]
            chosen = dead[len(rows)] | (dice.random() < 0.15)
            rows[chosen] = 0.0
            keep = constants and dice.random() < 0.5
            bias = layer.bias
            if isinstance(bias, Tensor) and not keep:
                bias[chosen if len(chosen) == len(bias) else slice(None)] = 0.0
            if constants and dice.random() < 0.3:
                columns = rows.transpose(0, 1)
                columns[torch.rand(len(columns)) < 0.3] = 0.0
        elif isinstance(layer, _BatchNorm) and layer.affine and dice.random() < 0.8:
            chosen = dead[layer.num_features] | (dice.random() < 0.1)
            layer.weight[chosen] = 0.0
            layer.bias[chosen] = 0.0
