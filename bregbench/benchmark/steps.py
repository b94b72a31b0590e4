"""Time and memory of `optimizer.step()` alone."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from bregbench.benchmark.memory import peak_bytes, state_bytes_per_parameter
from bregbench.benchmark.rows import Row
from bregbench.benchmark.sides import NETWORKS, OURS, SMALL_NETWORKS, Network, ours, yardstick
from bregbench.benchmark.timing import Seconds, interleave, median_milliseconds, median_ratio

#: (network, optimiser, penalty) -> (yardstick, goal); without an entry a row has no goal.
GOALS: dict[tuple[str, str, str], tuple[str, float]] = {
    ("resnet18", "LinBreg", "l1"): ("S", 1.35),
    ("resnet18", "LinBreg momentum", "l1"): ("S", 1.75),
    ("resnet18", "AdaBreg", "l1"): ("A", 1.6),
    ("resnet18", "LinBreg", "kernel"): ("S", 3.3),
    ("resnet18", "AdaBreg", "kernel"): ("S", 4.1),
    ("cnn", "LinBreg", "l1"): ("S", 1.5),
    ("cnn", "LinBreg momentum", "l1"): ("S", 1.75),
    ("cnn", "AdaBreg", "l1"): ("A", 1.35),
    ("mlp", "LinBreg", "l1"): ("S", 1.5),
    ("mlp", "LinBreg momentum", "l1"): ("S", 1.75),
    ("mlp", "AdaBreg", "l1"): ("A", 1.35),
}
LAYOUT_GOAL = 1.1
STATE_GOALS = {"LinBreg": 4.0, "LinBreg momentum": 8.0, "AdaBreg": 12.0}
TEMPORARY_GOALS = {"l1": 0.1, "kernel": 0.6}


def step_rows(network: Network, *, rounds: int) -> Iterator[Row]:
    """Each optimiser against torch's, for l1 and (where there are kernels) for kernel groups."""
    model = network.build()
    penalties = ["l1", "kernel"] if _has_kernels(model) else ["l1"]
    for penalty in penalties:
        optimizers = {name: yardstick(name, model) for name in ("S", "A")}
        optimizers |= {name: ours(name, model, penalty=penalty) for name in OURS}
        seconds = interleave(
            {name: optimizer.step for name, optimizer in optimizers.items()},
            rounds=rounds,
            repeats=network.repeats,
        )
        if penalty == "l1":
            milliseconds = median_milliseconds(seconds, "S")
            yield Row(
                network.name, "S: fused SGD with momentum", 1.0, "x S", milliseconds=milliseconds
            )
            yield _against(seconds, network.name, "A: fused Adam", "A", "S", None)
        for name in OURS:
            fallback = ("A" if name == "AdaBreg" else "S", None)
            against, goal = GOALS.get((network.name, name, penalty), fallback)
            yield _against(seconds, network.name, f"{name}, {penalty}", name, against, goal)


def layout_rows(network: Network, *, rounds: int) -> Iterator[Row]:
    """Each optimiser on channels_last weights against itself on contiguous ones."""
    model = network.build()
    for penalty in ("l1", "kernel"):
        optimizers = {
            f"{name} {layout}": ours(name, model, penalty=penalty, layout=layout)
            for name in OURS
            for layout in ("contiguous", "channels_last")
        }
        seconds = interleave(
            {name: optimizer.step for name, optimizer in optimizers.items()},
            rounds=rounds,
            repeats=network.repeats,
        )
        for name in OURS:
            side = f"{name} channels_last"
            yield Row(
                f"{network.name}, channels_last",
                f"{name}, {penalty}",
                median_ratio(seconds, side, f"{name} contiguous"),
                "x contiguous",
                LAYOUT_GOAL,
                milliseconds=median_milliseconds(seconds, side),
            )


def memory_rows(network: Network) -> Iterator[Row]:
    """Bytes of state, and of temporaries in one step, per float32 parameter."""
    model = network.build()
    parameters = sum(param.numel() for param in model.parameters())
    section = f"{network.name}, memory"
    for penalty in ("l1", "kernel"):
        for name in OURS:
            optimizer = ours(name, model, penalty=penalty)
            optimizer.step()
            if penalty == "l1":
                state = state_bytes_per_parameter(optimizer)
                goal = STATE_GOALS[name]
                yield Row(section, f"{name}, state", state, "B/parameter", goal, exact=True)
            temporary = peak_bytes(optimizer.step) / parameters
            goal = TEMPORARY_GOALS[penalty]
            yield Row(section, f"{name}, {penalty}, temporaries", temporary, "B/parameter", goal)


def all_step_rows(*, rounds: int) -> Iterator[Row]:
    """Every row about `optimizer.step()`."""
    for network in (NETWORKS | SMALL_NETWORKS).values():
        yield from step_rows(network, rounds=rounds)
    yield from layout_rows(NETWORKS["resnet18"], rounds=rounds)
    yield from memory_rows(NETWORKS["resnet18"])


def _against(
    seconds: Seconds, section: str, what: str, side: str, against: str, goal: float | None
) -> Row:
    ratio = median_ratio(seconds, side, against)
    milliseconds = median_milliseconds(seconds, side)
    return Row(section, what, ratio, f"x {against}", goal, milliseconds=milliseconds)


def _has_kernels(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in model.modules())
