"""Back-propagation: an optimiser that follows the gradients of an objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from bregbench.data.loader import to_unit_interval
from bregbench.methods.base import Step
from bregbench.methods.density import LamControl
from bregbench.methods.shrinking import Shrinking
from bregbench.methods.thresholds import Cut
from bregbench.objectives import Objective
from bregbench.tasks.context import RunContext
from bregman import Healing, QuantileControl, match_table
from dessilbi import recalibrate


class Backprop:
    """Differentiates an objective and lets an optimiser of torch take steps."""

    remedy: ClassVar[str] = "lower method.lr or the scale of the starting weights"

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        objective: Objective,
        context: RunContext,
        *,
        density_target: LamControl | None = None,
        healing: Healing | None = None,
        cut: Cut | None = None,
        recalibrate: int = 0,
        shrinking: Shrinking | None = None,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self._objective = objective
        self._context = context
        self._density_target = density_target
        self._healing = healing
        self._cut = cut
        self._recalibrate = recalibrate
        self._shrinking = shrinking
        self._forward: Callable[[torch.Tensor], torch.Tensor] = (
            torch.compile(network) if context.compile else network
        )
        self._rates = [float(group["lr"]) for group in optimizer.param_groups]

    def step(
        self, inputs: torch.Tensor, targets: torch.Tensor, indices: torch.Tensor | None = None
    ) -> Step:
        """Forward, backward, one optimiser step."""
        shrinking = self._shrinking
        forward = self._forward if shrinking is None else shrinking.network
        optimizer = self.optimizer if shrinking is None else shrinking
        loss, outputs = self._differentiated(forward, optimizer.zero_grad, inputs, targets)
        if self._context.clip_gradients is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._context.clip_gradients)
        # Asked before the step: the last one before healing may still set the density that is frozen then.
        frozen = self._healing is not None and self._healing.active
        optimizer.step()
        self._follow_density(frozen=frozen)
        return Step(loss, outputs)

    def _differentiated(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        zero_grad: Callable[[], None],
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of a batch, from its parts weighted by their sizes; its mean loss and its outputs."""
        size = -(-len(targets) // self._context.accumulate)
        losses, outputs = [], []
        for part, wanted in zip(inputs.split(size), targets.split(size), strict=True):
            with self._context.autocast():
                total, loss, output = self._objective(forward, part, wanted)
            if not losses:
                zero_grad()  # only now, because the objective itself may differentiate
            share = len(wanted) / len(targets)
            (total if share == 1 else total * share).backward()
            losses.append(loss if share == 1 else loss * share)
            outputs.append(output)
        if len(losses) == 1:
            return losses[0], outputs[0]
        return torch.stack(losses).sum(), torch.cat(outputs)

    @property
    def at_work(self) -> nn.Module:
        """The network that the latest step has trained: the whole one, or a smaller one in its place."""
        return self.network if self._shrinking is None else self._shrinking.at_work

    def synchronise(self) -> None:
        """Write what smaller networks have learned into `network`, and their state into the optimiser's."""
        if self._shrinking is not None:
            self._shrinking.synchronise()

    def train_in_full(self, reason: str) -> None:
        """Train the whole network in every step from now on, and say why."""
        if self._shrinking is not None:
            self._shrinking.train_in_full(reason)

    def _follow_density(self, *, frozen: bool) -> None:
        """Let the density's control see a step, on whole weights and duals where it acts.

        Args:
            frozen: whether healing had frozen the support before the step.
        """
        control = self._density_target
        if self._healing is not None and self.at_work is not self.network:
            self._healing.pass_by()
        if control is None or frozen:
            return
        if self._shrinking is not None and control.due:
            if isinstance(control, QuantileControl):  # which sets weights and duals anew
                self._shrinking.restart()
            else:
                self._shrinking.synchronise()
        control.after_step()

    def end_epoch(self, metrics: dict[str, float]) -> dict[str, float]:
        """Learning rate, lam of an optimiser with penalties, and metrics of the objective."""
        first = self.optimizer.param_groups[0]
        found = {"lr": float(first["lr"])}
        penalised = (g for g in self.optimizer.param_groups if g.get("penalty", "none") != "none")
        scaled = next((g for g in penalised if g["lam_scale"] > 0), None)
        if scaled is not None:
            found["lam"] = scaled["lam"] / scaled["lam_scale"]
        if self._shrinking is not None:
            found |= self._shrinking.end_epoch()
        return found | self._objective.end_epoch(metrics)

    def scale_lr(self, factor: float) -> None:
        """Set every group's learning rate to `factor` times its configured value."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def variants(self) -> dict[str, nn.Module]:
        """The trained network, and with `cut` a copy without its small weights."""
        variants = {"trained": self.network}
        if self._cut is not None and self._cut.active:
            variants["thresholded"] = self.recalibrated(self._cut.applied(self.network))
        return variants

    def recalibrated(self, cut: nn.Module) -> nn.Module:
        """A network after a cut, with new norm statistics if the config asks for them."""
        if self._recalibrate:
            images = to_unit_interval(self._context.data.train.images[: self._recalibrate])
            recalibrate(cut, self._context.arrange(images))
        return cut

    def describe(self) -> str:
        """The table of penalties of all parameters; empty for optimisers without penalties."""
        groups = self.optimizer.param_groups
        return match_table(groups) + "\n" if "penalty" in groups[0] else ""

    def notes(self) -> list[str]:
        """Whether the wanted density was missed, and what was not left out of steps."""
        note = self._density_target.note() if self._density_target is not None else None
        shrinking = self._shrinking.notes() if self._shrinking is not None else []
        return [*([note] if note else []), *shrinking]

    def state_dict(self) -> dict[str, Any]:
        """State of the optimiser, of the objective, of the feedback on lam and of shrunk training."""
        # First, because it writes into the state of the optimiser.
        shrinking = None if self._shrinking is None else self._shrinking.state_dict()
        state: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "objective": self._objective.state_dict(),
        }
        if self._density_target is not None:
            state["density_target"] = self._density_target.state_dict()
        if self._healing is not None:
            state["healing"] = self._healing.state_dict()
        if shrinking is not None:
            state["shrinking"] = shrinking
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._objective.load_state_dict(state.get("objective", {}))
        if self._density_target is not None:
            self._density_target.load_state_dict(state["density_target"])
        if self._healing is not None:
            self._healing.load_state_dict(state["healing"])
        if self._shrinking is not None:
            self._shrinking.load_state_dict(state["shrinking"])
