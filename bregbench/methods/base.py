"""The interface of training methods."""

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

    The step computes the outputs anyway, so the running training scores cost no extra forward pass.
    """

    loss: torch.Tensor
    outputs: torch.Tensor


class Method(Protocol):
    """A network in training.

    Attributes:
        network: the network that is trained.
        remedy: advice to the user if the loss is not finite.
    """

    network: nn.Module
    remedy: ClassVar[str]

    def step(
        self, inputs: torch.Tensor, targets: torch.Tensor, indices: torch.Tensor | None = None
    ) -> Step:
        """Take one training step without host synchronisation.

        Args:
            inputs: inputs of the task, with the batch as first axis.
            targets: targets of the task.
            indices: indices of the batch in the training split, for methods with state for each sample.
        """
        ...

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """Receive the metrics of an epoch and return further metrics, such as the learning rate."""
        ...

    def scale_lr(self, factor: float) -> None:
        """Set every learning rate to `factor` times its configured value."""
        ...

    def variants(self) -> dict[str, nn.Module]:
        """The networks that evaluators measure at the end, by name; `trained` is the network itself."""
        ...

    def describe(self) -> str:
        """A text table of the treatment of each parameter; empty if all are treated alike."""
        ...

    def notes(self) -> list[str]:
        """Sentences that a reader of the results must know, such as a target that was not reached."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state of the method without the network's state: plain values and tensors."""
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
    """A method with variants that depend on its state, and not only on the network's weights.

    Attributes:
        last_only: names of these variants, which exist for the last epoch only.
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
    """Config of the method that trains the network."""

    kind: ClassVar[str]
    #: Names of the networks that `Method.variants` may return.
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
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this method, such as `method` or `phases.dense.method`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """

    def paced(self) -> str | None:
        """The option that spreads something over the whole length of a phase; None where none does."""
        return None

    def prepare(self, network: nn.Module, streams: Streams) -> None:
        """Set the starting weights; called once, before the first phase."""

    def build(self, network: nn.Module, objective: ObjectiveConfig, context: RunContext) -> Method:
        """The method for this network, objective and context.

        Raises:
            BenchError: the method does not fit the network.
        """
        raise NotImplementedError
