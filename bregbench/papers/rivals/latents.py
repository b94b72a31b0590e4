"""STR and spred: SGD on other variables, from which the weights of the network are computed.

The network keeps plain weights, the effective ones, and the optimiser's state holds the variables
behind them. So densities, exports and checkpoints of the network need to know nothing of either, and
the chain rule is two lines.

Sources: Kusupati et al. 2020, "Soft threshold weight reparameterization" (STR); Ziyin, Wang 2023,
"spred: solving L1 penalty with SGD". Clean-room: written from descriptions, not from code.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.sgd import sgd

from bregman.validation import check_decay, check_non_negative, check_positive

#: below it sigmoid is exactly 0 in float32, and no gradient reaches its argument
UNDERFLOW = -88.0


class LatentSGD(Optimizer):
    """SGD, as torch has it, on the latent variables of every parameter in groups with a penalty.

    Args:
        params: Groups as `bregman.penalize` returns them; those with `penalty` `none` are trained
            by SGD itself, with the same decay. The strength lam of a penalty is not looked at.
        lr: Learning rate.
        momentum: As in `torch.optim.SGD`.
        nesterov: As in `torch.optim.SGD`.
        weight_decay: Of all variables alike, coupled as in `torch.optim.SGD`; what makes both methods
            sparse.

    Raises:
        ValueError: A value is out of range.
    """

    #: names of the latent variables in the state of a parameter
    names: tuple[str, ...]

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        **more: Any,
    ) -> None:
        check_non_negative("learning rate", lr)
        check_decay("momentum", momentum)
        check_non_negative("weight_decay", weight_decay)
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "penalty": "l1"}
        super().__init__(params, defaults | {"weight_decay": weight_decay} | more)
        self._open()

    @torch.no_grad()
    def _open(self) -> None:
        """Make the latent variables, and write the weights that belong to them."""
        for group in self.param_groups:
            if group["penalty"] != "none":
                for param in group["params"]:
                    self.state[param].update(self._latents(param, group))
                    param.copy_(self._effective(self.state[param]))

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's; the weights become those of the loaded variables."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            if group["penalty"] != "none":
                for param in group["params"]:
                    param.copy_(self._effective(self.state[param]))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of SGD on the variables, then the weights."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if group["penalty"] == "none":
                    self._descend(group, state, {"param": param}, [param.grad])
                    continue
                latents = {name: state[name] for name in self.names}
                self._descend(group, state, latents, self._pull(state, param.grad))
                param.copy_(self._effective(state))
        return loss

    def _descend(
        self,
        group: dict[str, Any],
        state: dict[str, Any],
        variables: dict[str, Tensor],
        grads: list[Tensor],
    ) -> None:
        """Step on the variables of one parameter."""
        keys = [f"momentum_{name}" for name in variables]
        buffers: list[Tensor | None] = [state.get(key) for key in keys]
        sgd(
            list(variables.values()),
            grads,
            buffers,
            foreach=False,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
        )
        state.update({k: b for k, b in zip(keys, buffers, strict=True) if b is not None})

    @abstractmethod
    def _latents(self, param: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The variables that a parameter begins with."""

    @abstractmethod
    def _effective(self, state: dict[str, Any]) -> Tensor:
        """The weights that belong to the variables."""

    @abstractmethod
    def _pull(self, state: dict[str, Any], grad: Tensor) -> list[Tensor]:
        """Gradients of the variables from that of the weights."""


class STR(LatentSGD):
    r"""Soft thresholds that are learned: weights `soft(w, sigmoid(s))` with one s for each parameter.

    The gradient of w is g where abs(w) > sigmoid(s), that of s is
    `-sigmoid'(s) sum of sign(w) g` over the same entries. Decay acts on w and s alike; on s it is what
    raises the threshold from 0 towards sigmoid(0) = 1/2. Sparsity is an outcome: sweep the decay.

    Below `UNDERFLOW` the threshold is exactly 0 in float32, and only decay moves s: from -3200, as for
    ImageNet, that takes a sum of lr wd / (1 - momentum) of 3.6. A layer that is all zero stays so.

    Args: as `LatentSGD`, and
        start: s at the beginning.
    """

    names = ("dense", "logit")

    def __init__(self, params: Any, lr: float, *, start: float = -8.0, **options: Any) -> None:
        super().__init__(params, lr, start=start, **options)

    @torch.no_grad()
    def thresholds(self) -> dict[Tensor, float]:
        """sigmoid(s) by parameter."""
        return {
            param: float(self.state[param]["logit"].sigmoid())
            for group in self.param_groups
            if group["penalty"] != "none"
            for param in group["params"]
        }

    def _latents(self, param: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"dense": param.detach().clone(), "logit": param.new_tensor(group["start"])}

    def _effective(self, state: dict[str, Any]) -> Tensor:
        dense = state["dense"]
        return dense.sign() * (dense.abs() - state["logit"].sigmoid()).clamp_(min=0)

    def _pull(self, state: dict[str, Any], grad: Tensor) -> list[Tensor]:
        dense, threshold = state["dense"], state["logit"].sigmoid()
        alive = dense.abs() > threshold
        slope = threshold * (1 - threshold)
        return [grad * alive, -slope * (dense.sign() * grad * alive).sum()]


class Spred(LatentSGD):
    r"""Weights u v with decay on both: SGD that solves an l1 penalty of strength wd.

    `min over u v = w of wd (u^2 + v^2) / 2 = wd abs(w)`, reached at abs(u) = abs(v). It begins there:
    u = sign(w) sqrt(abs(w)), v = sqrt(abs(w)), so that the network begins as usual. There are no exact
    zeros; `small` says which weights to cut before anything is evaluated.
    """

    names = ("left", "right")

    @torch.no_grad()
    def small(self, ratio: float = 1e-6) -> dict[Tensor, Tensor]:
        """Where weights are below `ratio` times the largest of their parameter, by parameter."""
        penalised = (g for g in self.param_groups if g["penalty"] != "none")
        return small_entries((param for group in penalised for param in group["params"]), ratio)

    def _latents(self, param: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        root = param.detach().abs().sqrt()
        return {"left": param.detach().sign() * root, "right": root.clone()}

    def _effective(self, state: dict[str, Any]) -> Tensor:
        return state["left"] * state["right"]

    def _pull(self, state: dict[str, Any], grad: Tensor) -> list[Tensor]:
        return [grad * state["right"], grad * state["left"]]


def small_entries(params: Iterable[Tensor], ratio: float) -> dict[Tensor, Tensor]:
    """Where entries are below `ratio` times the largest of their parameter, by parameter."""
    check_positive("ratio", ratio)
    return {param: param.abs() < ratio * param.abs().max() for param in params}
