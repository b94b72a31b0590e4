"""Winning tickets: training of a masked network from an earlier state, and baseline masks.

A ticket found by DessiLBI is `weight_masks(model, optimizer)` at an early epoch. Baselines keep as
many entries of the same weights: the largest at the end of training (one-shot), the largest round
by round (iterative magnitude pruning), or random ones. Masks are keyed by parameter name, so they
carry over to a network with another head.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bregman import apply_masks
from bregman.choices import Scope
from bregman.masks import Masks
from bregman.validation import check_choice, check_density


class Ticket:
    """A network whose masked weights stay zero: call `project` after every step of its optimiser.

    The class uses no hooks and does not change gradients. An optimiser with momentum may move a masked
    weight, and `project` sets the weight to zero before the next forward pass.

    Args:
        model: The network to train.
        masks: Bool tensors of the shape of their weights, keyed by parameter name.

    Raises:
        ValueError: A mask names no parameter of the model, or has another shape.
    """

    def __init__(self, model: nn.Module, masks: Masks) -> None:
        self._model = model
        self._masks = {name: mask.clone() for name, mask in masks.items()}
        apply_masks(model, self._masks)
        params = dict(model.named_parameters(remove_duplicate=False))
        self._cut = [(params[name], ~mask.to(params[name].device)) for name, mask in masks.items()]

    @property
    def masks(self) -> Masks:
        """The masks."""
        return self._masks

    @torch.no_grad()
    def project(self) -> None:
        """Set the weights that the masks do not keep to zero."""
        for param, cut in self._cut:
            param.masked_fill_(cut, 0.0)

    def rewind(self, state: Mapping[str, Tensor]) -> None:
        """Load an earlier state of the network, from initialisation or an early epoch, and project.

        Args:
            state: A copy of the earlier `model.state_dict()`, which includes norm statistics.
        """
        self._model.load_state_dict(state)
        self.project()


def budget(masks: Masks) -> int:
    """Number of entries that masks keep."""
    return sum(int(mask.count_nonzero()) for mask in masks.values())


@torch.no_grad()
def largest_within(model: nn.Module, within: Masks, keep: int) -> Masks:
    """The largest entries by magnitude, counted over all layers together.

    With `within` all true the result is one-shot pruning; with the masks of the last round it is a round
    of iterative pruning.

    Args:
        model: The network whose weights are compared.
        within: Masks of the entries that may be kept, keyed by parameter name.
        keep: Number of entries to keep, for instance `budget(masks)` of a ticket.

    Raises:
        ValueError: `keep` is negative, or more than `within` keeps.
    """
    params = dict(model.named_parameters())
    # Entries outside of `within` come last, behind weights that are zero.
    sizes = {
        name: params[name].abs().masked_fill(~mask.to(params[name].device), -1.0)
        for name, mask in within.items()
    }
    return _top(sizes, keep, budget(within))


def random_masks(
    masks: Masks, *, generator: torch.Generator | None = None, scope: str = "layer"
) -> Masks:
    """Random masks that keep as many entries as the given masks.

    Args:
        masks: Masks whose numbers of kept entries count.
        generator: Random generator on the CPU.
        scope: `"layer"`: as many entries in each layer; `"global"`: as many in total.

    Raises:
        ValueError: The scope is unknown.
    """
    check_choice("scope", scope, Scope)
    scores = {name: torch.rand(mask.shape, generator=generator) for name, mask in masks.items()}
    if scope == "global":
        return _top(scores, budget(masks), sum(mask.numel() for mask in masks.values()))
    return {
        name: _top({name: scores[name]}, int(mask.count_nonzero()), mask.numel())[name]
        for name, mask in masks.items()
    }


def round_densities(density: float, rounds: int) -> list[float]:
    """Densities after each round of iterative pruning, which removes an equal share in each round.

    Raises:
        ValueError: The density is not in (0, 1], or there is no round.
    """
    check_density(density)
    if rounds < 1:
        raise ValueError(f"Invalid number of rounds: {rounds!r} (must be >= 1)")
    return [density ** ((index + 1) / rounds) for index in range(rounds)]


def _top(scores: Mapping[str, Tensor], keep: int, available: int) -> Masks:
    if not 0 <= keep <= available:
        raise ValueError(f"Invalid number of entries to keep: {keep} (must be in [0, {available}])")
    if not scores:
        return {}
    flat = torch.cat([score.flatten().cpu() for score in scores.values()])
    kept = torch.zeros(flat.shape, dtype=torch.bool)
    kept[flat.topk(keep).indices] = True
    parts = kept.split([score.numel() for score in scores.values()])
    return {
        name: part.view(score.shape).to(score.device)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }
