"""Back-propagation on the same networks and losses: SGD-BP (20), GD-BP (3), ISGD-BP (22)."""

from __future__ import annotations

import torch
from torch import Tensor

from bregman.validation import check_choice, check_count, check_non_negative, check_positive
from lifted.choices import Reduction
from lifted.lift import Lift
from lifted.network import LiftedNetwork
from lifted.solver import Solver, StepResult, check_batch


class BackPropagation(Solver):
    """Gradient descent through all layers; the one solver that differentiates activations.

    The solver is SGD-BP with one iteration on batches, GD-BP with one iteration on all samples, and
    ISGD-BP with N iterations on `loss + rho/2 |Theta - Theta^k|^2`. Regularisers of auxiliary variables
    act on the hidden outputs of the forward pass.

    Args:
        network: The network.
        lr: Learning rate.
        iterations: Gradient steps per batch.
        rho: Proximal weight next to the mean loss, or next to the sum with `reduction="sum"`.
        reduction: `mean` or `sum` of the loss over the batch; the paper's learning rate of 1e-3 fits
            the sum.

    Raises:
        ValueError: An argument is out of range, or a regulariser is iterative, which needs steps in
            auxiliary variables.
    """

    def __init__(
        self,
        network: LiftedNetwork,
        *,
        lr: float,
        iterations: int = 1,
        rho: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(network)
        check_positive("lr", lr)
        check_count("iterations", iterations)
        check_non_negative("rho", rho)
        check_choice("reduction", reduction, Reduction)
        if not all(term.in_energy for term in network.regularisers.values()):
            raise ValueError(
                "back-propagation cannot take an iterative regulariser (use mode='variational', or a "
                "solver with auxiliary variables)"
            )
        self.lr, self.iterations, self.rho, self.reduction = lr, iterations, rho, reduction

    @torch.no_grad()
    def step(self, inputs: Tensor, targets: Tensor, indices: Tensor | None = None) -> StepResult:
        check_batch(inputs)
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        anchors = [p.clone() for p in parameters] if self.rho else []
        result = None
        for _ in range(self.iterations):
            with torch.enable_grad():
                loss, penalty, outputs = differentiable_loss(self.network, inputs, targets)
                objective = loss + penalty
                if self.reduction == "sum":
                    objective = objective * len(inputs)
                gradients = list(torch.autograd.grad(objective, parameters))
            if result is None:
                result = StepResult(loss.detach(), outputs.detach())
            for gradient, parameter, anchor in zip(gradients, parameters, anchors, strict=False):
                gradient.add_(parameter - anchor, alpha=self.rho / self._factor)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.add_(gradient, alpha=-self.lr * self._factor)
        assert result is not None
        self._watch(result.loss)
        return result

    def _update(self, lift: Lift, indices: Tensor | None) -> None:
        raise NotImplementedError("back-propagation has no lifted variables")


def differentiable_loss(
    network: LiftedNetwork, inputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean loss, mean regulariser and outputs of the forward pass, with an autograd graph."""
    x = z = inputs
    penalties = [inputs.new_zeros(())]
    for number, layer in enumerate(network.layers):
        z = layer.affine.forward(x)
        if number + 1 == network.depth:
            break
        active = layer.activation(z)
        if number in network.regularisers:
            penalties.append(network.regularisers[number].value(active).mean())
        x = x + layer.sign * active if layer.sign else active
    final = network.layers[-1].activation
    outputs = final(z) if network.ends_with_activation else z
    return final.bregman_loss(targets, z).mean(), torch.stack(penalties).sum(), outputs
