"""What a training method is, whatever happens inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn

from bregbench.foundations.streams import Streams
from bregbench.objectives import ObjectiveConfig
from bregbench.tasks.context import RunContext


class Step(NamedTuple):
    """One step: the mean loss of the batch and the network's outputs on it, both on the device.

    The outputs are those that the step itself needed; they give the running training scores for free.
    """

    loss: torch.Tensor
    outputs: torch.Tensor


class Method(Protocol):
    """A network in training.

    Attributes:
        network: it.
        remedy: what to change where its loss becomes infinite, as advice to the user.
    """

    network: nn.Module
    remedy: ClassVar[str]

    def step(
        self, inputs: torch.Tensor, targets: torch.Tensor, indices: torch.Tensor | None = None
    ) -> Step:
        """Take one training step; no host synchronisation.

        Args:
            inputs: what the network is shown.
            targets: what it should answer.
            indices: which training images these are, for methods that keep something of each.
        """
        ...

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """See the epoch's metrics and return further ones, such as the learning rate."""
        ...

    def scale_lr(self, factor: float) -> None:
        """Set every learning rate to `factor` times its configured value."""
        ...

    def variants(self) -> dict[str, nn.Module]:
        """The networks to be judged at the end, by name; `trained` is the network itself."""
        ...

    def describe(self) -> str:
        """Which parameter is trained how, as a text table; empty where all are treated alike."""
        ...

    def notes(self) -> list[str]:
        """What a reader of the results must know, such as a target that was not reached."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything but the network's own state; plain values and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        ...


@runtime_checkable
class Traced(Protocol):
    """A method that keeps small tensors of its epochs for figures."""

    def traces(self) -> dict[str, torch.Tensor]:
        """CPU tensors by name."""
        ...


@runtime_checkable
class Split(Protocol):
    """A method some of whose variants rest on its state, and not on the weights alone.

    Attributes:
        last_only: the names of these variants; they exist for the last epoch only.
    """

    last_only: frozenset[str]


@runtime_checkable
class Resizing(Protocol):
    """A method whose steps may train a smaller network in the place of `network`."""

    @property
    def at_work(self) -> nn.Module:
        """The network that the latest step has trained."""
        ...

    def synchronise(self) -> None:
        """Write what was trained into `network`, before anybody reads it."""
        ...

    def train_in_full(self, reason: str) -> None:
        """Train `network` itself in every step from now on, and say why."""
        ...


@dataclass
class MethodConfig:
    """Which method trains the network."""

    kind: ClassVar[str]
    #: the networks that a run of the method may be judged by, those of `Method.variants`
    variants: ClassVar[tuple[str, ...]] = ("trained",)
    #: whether its steps follow gradients of the objective, which can be clipped and accumulated
    follows_gradients: ClassVar[bool] = True
    #: whether it begins anew whenever its learning rate changes
    restarts: ClassVar[bool] = False

    @property
    def shrinks(self) -> bool:
        """Whether its steps may train a smaller network in the place of the whole one."""
        return False

    def check(self, at: str) -> None:
        """Refuse values out of range.

        Args:
            at: key of this method, such as `method` or `phases.dense.method`.

        Raises:
            BenchError: names the key, the value and what is allowed.
        """

    def paced(self) -> str | None:
        """The option that spreads something over the whole length of a phase; None where none does."""
        return None

    def prepare(self, network: nn.Module, streams: Streams) -> None:
        """Set the weights that training starts from; called once, before the first phase."""

    def build(self, network: nn.Module, objective: ObjectiveConfig, context: RunContext) -> Method:
        """The method at work on this network."""
        raise NotImplementedError
