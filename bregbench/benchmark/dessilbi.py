"""DessiLBI: its step, and whole batches of VGG16 as in Table 8 of its paper, beside SGD and Adam."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from bregbench.benchmark.memory import peak_bytes, state_bytes_per_parameter
from bregbench.benchmark.rows import Row
from bregbench.benchmark.sides import (
    LEARNING_RATE,
    NETWORKS,
    SMALL_NETWORKS,
    YARDSTICKS,
    Network,
    with_gradients,
)
from bregbench.benchmark.timing import interleave, median_milliseconds, median_ratio
from bregbench.models import Vgg16
from bregman import penalize
from dessilbi import FILTER_RULES, DessiLBI
from dessilbi.choices import Scaling

#: of the paper's Table 8
BATCH, SHAPE, CLASSES = 64, (3, 32, 32), 10
#: a batch of VGG16 takes a CPU core about two seconds: more rounds would take minutes
BATCH_ROUNDS = 7
SMALL_STEP_GOAL = 4.0
STEP_GOAL, BATCH_GOAL, TEMPORARY_GOAL = 4.3, 1.03, 0.6
#: with these the steps of the comparison select some groups and leave others
COMPARED_STEPS = 20
COMPARED: dict[str, Any] = {"lr": 0.01, "nu": 1.0, "momentum": 0.9, "weight_decay": 1e-4}
COMPARED_LAM = 0.106


def split_rows(*, rounds: int) -> Iterator[Row]:
    """Every row about DessiLBI."""
    yield from split_step_rows(rounds=rounds)
    for network in SMALL_NETWORKS.values():
        yield from small_step_rows(network, rounds=rounds)
    yield from agreement_rows()
    yield from batch_rows(rounds=min(rounds, BATCH_ROUNDS))


def split_step_rows(*, rounds: int) -> Iterator[Row]:
    """The step with filters and momentum against fused SGD, and its memory, on ResNet-18."""
    network = NETWORKS["resnet18"]
    model = network.build()
    yardsticks = {
        name: build(list(with_gradients(model).parameters())) for name, build in YARDSTICKS.items()
    }
    optimizer = split_iteration(with_gradients(model))
    sides: dict[str, Optimizer] = {**yardsticks, "DessiLBI": optimizer}
    seconds = interleave(
        {name: side.step for name, side in sides.items()}, rounds=rounds, repeats=network.repeats
    )
    section = f"{network.name}, DessiLBI"
    yield Row(
        section,
        "DessiLBI, filters, momentum",
        median_ratio(seconds, "DessiLBI", "S"),
        "x S",
        STEP_GOAL,
        milliseconds=median_milliseconds(seconds, "DessiLBI"),
    )
    parameters = sum(param.numel() for param in model.parameters())
    # Biases and scales have a momentum and no V, so this is a little less than Adam's 8.
    state, adams = (state_bytes_per_parameter(side) for side in (optimizer, yardsticks["A"]))
    yield Row(section, "DessiLBI, state", state, "B/parameter", adams)
    temporary = peak_bytes(optimizer.step) / parameters
    yield Row(section, "DessiLBI, temporaries", temporary, "B/parameter", TEMPORARY_GOAL)


def small_step_rows(network: Network, *, rounds: int) -> Iterator[Row]:
    """The step of a small network against fused SGD, with each scaling of V."""
    model = network.build()
    sides: dict[str, Optimizer] = {"S": YARDSTICKS["S"](list(with_gradients(model).parameters()))}
    for scaling in Scaling:
        sides[scaling] = split_iteration(with_gradients(model), scaling=scaling)
    seconds = interleave(
        {name: side.step for name, side in sides.items()}, rounds=rounds, repeats=network.repeats
    )
    for scaling in Scaling:
        plain = scaling == "none"
        yield Row(
            f"{network.name}, DessiLBI",
            "DessiLBI, filters, momentum" + ("" if plain else f", scaling {scaling}"),
            median_ratio(seconds, scaling, "S"),
            "x S",
            SMALL_STEP_GOAL if plain else None,
            milliseconds=median_milliseconds(seconds, scaling),
        )


def agreement_rows() -> Iterator[Row]:
    """The fast path against the reference after twenty steps on ResNet-18, support and values."""
    model = NETWORKS["resnet18"].build()
    sides = [copy.deepcopy(model) for _ in range(2)]
    optimizers = [
        DessiLBI(
            penalize(side, FILTER_RULES, lam=COMPARED_LAM),
            **{"foreach": foreach, **COMPARED},
        )
        for side, foreach in zip(sides, (None, False), strict=True)
    ]
    for _ in range(COMPARED_STEPS):
        for first, second in zip(*(side.parameters() for side in sides), strict=True):
            first.grad = second.grad = 1e-2 * torch.randn_like(first)
        for optimizer in optimizers:
            optimizer.step()
    differing, distance = disagreement(sides, optimizers)
    section = f"resnet18, DessiLBI against its reference, {COMPARED_STEPS} steps"
    selected = selected_share(sides[1], optimizers[1])
    yield Row(section, "entries that Gamma selects", 100 * selected, "%")
    yield Row(section, "entries selected by one of them only", differing, "", 0.0, exact=True)
    yield Row(section, "largest difference of W over 1e-6 + 1e-5 abs(W)", distance, "", 1.0)


@torch.no_grad()
def disagreement(sides: Sequence[nn.Module], optimizers: Sequence[DessiLBI]) -> tuple[int, float]:
    """Of two networks trained alike: entries in one support only; largest difference of weights.

    The difference is counted in units of 1e-6 + 1e-5 |W|.
    """
    differing, distance = 0, 0.0
    for ours, reference in zip(*(side.parameters() for side in sides), strict=True):
        gap = (ours - reference).abs() / (1e-6 + 1e-5 * reference.abs())
        distance = max(distance, float(gap.max()))
        if optimizers[0].has_gamma(ours):
            first, second = optimizers[0].gamma(ours) != 0, optimizers[1].gamma(reference) != 0
            differing += int((first != second).sum())
    return differing, distance


def selected_share(model: nn.Module, optimizer: DessiLBI) -> float:
    """Share of the entries of all weights with a Gamma at which it is not zero."""
    gammas = [optimizer.gamma(param) for param in model.parameters() if optimizer.has_gamma(param)]
    return sum(int(g.count_nonzero()) for g in gammas) / sum(g.numel() for g in gammas)


def batch_rows(*, rounds: int, config: Vgg16 | None = None) -> Iterator[Row]:
    """Seconds and memory of a training batch of VGG16 with each optimiser (Table 8).

    Memory is what is alive at once: weights, gradients, state, activations and temporaries of the
    optimiser, without what the libraries themselves take.

    Args:
        rounds: measurements per side.
        config: the network; VGG16 as the paper prunes it if None.
    """
    model = (config or Vgg16()).build(input_shape=SHAPE, classes=CLASSES)
    images, labels = torch.rand(BATCH, *SHAPE), torch.randint(CLASSES, (BATCH,))
    builds: dict[str, Callable[[nn.Module], Optimizer]] = {
        "SGD momentum": lambda twin: YARDSTICKS["S"](list(twin.parameters())),
        "Adam": lambda twin: YARDSTICKS["A"](list(twin.parameters())),
        "DessiLBI momentum": split_iteration,
    }
    twins = {name: copy.deepcopy(model) for name in builds}
    optimizers = {name: build(twins[name]) for name, build in builds.items()}
    batches = {
        name: _batch(twins[name], optimizer, images, labels)
        for name, optimizer in optimizers.items()
    }
    seconds = interleave(batches, rounds=rounds, repeats=1)
    section = f"VGG16, a training batch of {BATCH}"
    goals = {"DessiLBI momentum": BATCH_GOAL}
    for name in batches:
        yield Row(
            section,
            name,
            median_ratio(seconds, name, "SGD momentum"),
            "x SGD momentum",
            goals.get(name),
            milliseconds=median_milliseconds(seconds, name),
        )
    megabytes: dict[str, float] = {}
    for name, run in batches.items():
        optimizers[name].zero_grad()  # else their release in the batch would not be seen
        megabytes[name] = (_alive(twins[name], optimizers[name]) + peak_bytes(run)) / 1e6
    for name, value in megabytes.items():
        goal = megabytes["Adam"] if name in goals else None
        yield Row(section, f"{name}, memory", value, "MB", goal)


def split_iteration(model: nn.Module, *, scaling: str = "none") -> DessiLBI:
    """DessiLBI as the paper's tables have it: filters and single linear weights, momentum."""
    groups = penalize(model, FILTER_RULES, lam=1.0)
    return DessiLBI(groups, lr=LEARNING_RATE, momentum=0.9, scaling=scaling)


def _batch(
    model: nn.Module, optimizer: Optimizer, images: Tensor, labels: Tensor
) -> Callable[[], None]:
    def run() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return run


def _alive(model: nn.Module, optimizer: Optimizer) -> int:
    """Bytes of weights, buffers and state between two batches, without gradients."""
    state = [v for values in optimizer.state.values() for v in values.values()]
    tensors = [*model.parameters(), *model.buffers(), *state]
    kept = [tensor for tensor in tensors if isinstance(tensor, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in kept)
