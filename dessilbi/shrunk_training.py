"""Shrunk training: between full steps a run trains a smaller dense network of the active units.

A cycle is one full step of the whole network and m coarse steps. The full step computes the whole
gradient and updates every dual, so that new units enter. Then the units that are needed are chosen
(`dessilbi.active`), and a network of their rows, columns, filters and channels alone is trained, with
its parts of duals, momenta and second moments; afterwards it is written back.

What is exact, up to rounding:

- With m = 0 a run is the ordinary one, bit by bit.
- A coarse step gives the loss of the whole network, and its gradient for what is kept: all entries,
  zero or not, in kept rows of kept columns, and biases and norm layers of kept units. It is the step of
  the ordinary optimiser in which all other entries stand still, with their duals and moments. For
  `LinBreg` without momentum and weight decay it is the ordinary step with the gradient masked.
- Weights are the prox of duals, with the lam of their latest step. Where a group of `l12` reaches
  beyond what is kept, its norm and threshold are those of all its entries, and its weights outside
  follow.
- Units without weights show a constant, which their readers add. Batch norm is that of training mode;
  the running statistics of such units move as they would have done. Those of units that only are not
  read stand still.
- A run that is interrupted at any step and resumed goes on bit by bit.

Dropout draws other random numbers for fewer units. The idea of coarse steps on the support is that of
multilevel training with linearised Bregman iterations (arXiv 2602.03535); that of a weight for full
steps, and the smaller dense network, are ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bregman.dual import DualOptimizer, recover_
from bregman.optimizer import group_penalty
from bregman.validation import check_non_negative
from dessilbi.active import ActiveUnits, Kept
from dessilbi.comparing import Original
from dessilbi.cycles import Cycle
from dessilbi.graph import ChannelGraph
from dessilbi.probing import Example
from dessilbi.scattered import Scattered
from dessilbi.slices import Slice, channel_axes, network_slices


class ShrunkTraining:
    """Takes the place of an optimiser in a training loop, and of the network that it trains.

    Args:
        network: Trained in place. One that `torch.fx` cannot trace, or of which no unit can be left
            out, is trained in full, with a warning that says why.
        optimizer: `LinBreg` or `AdaBreg` on parameters of the network. Its options (learning rates
            and lam, schedulers) act on coarse steps, too.
        coarse_steps: m, the coarse steps after a full one. The attribute may be changed at any time
            and counts from the next full step on; see `coarse_steps_at`.
        weight: A full step moves the duals of entries that missed coarse steps so many times as far,
            but no more often than it makes up for: once, and once for each step that was missed.
            Without momentum that is a gradient so many times as large.
        example: A batch of inputs, see `dessilbi.shrink`.
        sparse: Linear layers with penalty `l1` on the CPU of which at most this share of the kept
            weights is not zero are multiplied in sparse form in coarse steps, which then train these
            weights alone; see `dessilbi.sparse_linear`. 0 for none.

    Attributes:
        reason: Why the network is trained in full, or None.

    Raises:
        TypeError: The optimiser is another one.
        ValueError: A number is out of range, or the optimiser has parameters of another network.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from bregman import LinBreg, penalize, sparsify
        >>> from dessilbi import ShrunkTraining
        >>> network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> sparsify(network, 0.2)
        >>> optimizer = LinBreg(penalize(network, lam=0.1), lr=0.1)
        >>> shrunk = ShrunkTraining(network, optimizer, coarse_steps=4, weight=5)
        >>> for _ in range(10):
        ...     shrunk.zero_grad()
        ...     loss = shrunk.network(torch.randn(4, 8)).square().mean()
        ...     loss.backward()
        ...     shrunk.step()
        >>> shrunk.synchronise()  # before the network or the optimiser is read
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: DualOptimizer,
        *,
        coarse_steps: int = 0,
        weight: float = 1.0,
        example: Example | None = None,
        sparse: float = 0.0,
    ) -> None:
        if not isinstance(optimizer, DualOptimizer):
            raise TypeError(
                f"Invalid optimizer: {type(optimizer).__name__} (must be LinBreg or AdaBreg)"
            )
        check_non_negative("weight", weight)
        check_non_negative("sparse", sparse)
        _check_parameters(network, optimizer)
        self._whole = network
        self._optimizer = optimizer
        self.coarse_steps = coarse_steps
        self.weight = weight
        self._left = 0  # coarse steps of this cycle
        self._missed = 0  # coarse steps that are over, by what was left out
        self._kept: Kept | None = None  # in the coarse steps after the latest full step
        self._cycle: Cycle | None = None
        self._offsets: dict[str, Tensor] | None = None
        self.reason, self._active = _traced(network, optimizer, example)
        groups = {param: group for group in optimizer.param_groups for param in group["params"]}
        self._scattered = Scattered(self._active, groups, sparse)
        self._axes = {} if self._active is None else channel_axes(self._active)
        if self.reason is not None:
            warnings.warn(f"the network is trained in full: {self.reason}", stacklevel=2)

    @property
    def coarse_steps(self) -> int:
        """How many coarse steps, m, follow a full one."""
        return self._coarse_steps

    @coarse_steps.setter
    def coarse_steps(self, value: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"Invalid coarse_steps: {value!r} (must be an integer >= 0)")
        self._coarse_steps = value

    @property
    def network(self) -> nn.Module:
        """The network of which the next step needs the gradient: the whole one, or the smaller one."""
        if self._left and self._cycle is None and self._active is not None:
            self._begin(self._active)
        return self._whole if self._cycle is None else self._cycle.network

    @property
    def kept(self) -> dict[str, Tensor]:
        """By name of layer, True at the outputs that stay in this cycle; all of layers not named."""
        kept = self._kept or {}
        return {name: kept[space].clone() for space in kept for name in space.producers}

    def zero_grad(self) -> None:
        """Forget gradients, in place of the optimiser's method."""
        self._optimizer.zero_grad()
        if self._cycle is not None:
            self._cycle.optimizer.zero_grad()

    def step(self) -> None:
        """One step on `network`, in place of the optimiser's method.

        Raises:
            RuntimeError: The gradient was computed on another network than `network`.
        """
        if self._cycle is not None:
            self._cycle.step()
            self._missed, self._left = self._missed + 1, self._left - 1
            if not self._left:
                self._end()
        elif not self._left:
            self._full_step()
        elif self._kept is not None and not self._slices(self._kept):  # everything stays
            self._optimizer.step()
            self._left -= 1
        else:
            raise RuntimeError("the next step is a coarse one: compute its gradient on `network`")

    @torch.no_grad()
    def synchronise(self) -> None:
        """Write weights, buffers and the optimiser's state back; the cycle goes on."""
        if self._cycle is not None:
            self._cycle.write_back()

    def restart(self) -> None:
        """Write back, and let the next step be a full one: before weights are changed by hand."""
        self.synchronise()
        self._left, self._missed = 0, 0
        self._kept, self._cycle, self._offsets = None, None, None

    def state_dict(self) -> dict[str, Any]:
        """Where in a cycle training is; writes back, so that network and optimiser can be saved next."""
        self.synchronise()
        begun = {} if self._cycle is None else self._cycle.offsets
        offsets = {name: offset.value.clone() for name, offset in begun.items()}
        return {
            "coarse_steps": self.coarse_steps,
            "weight": self.weight,
            "left": self._left,
            "missed": self._missed,
            "kept": None if self._kept is None else self.kept,
            "offsets": self._offsets or offsets,
            "places": dict(self._scattered.places),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; load network and optimiser, too.

        Raises:
            ValueError: It is the state of another network.
        """
        masks: dict[str, Tensor] | None = state["kept"]
        kept = None
        if masks is not None:
            spaces = () if self._active is None else self._active.spaces
            own = {name: space for space in spaces for name in space.producers}
            sizes = {name: (space.channels,) for name, space in own.items()}
            if {name: tuple(mask.shape) for name, mask in masks.items()} != sizes:
                raise ValueError("the state is that of a network with other layers")
            kept = {own[name]: mask.cpu() for name, mask in masks.items()}
        self.coarse_steps, self.weight = state["coarse_steps"], state["weight"]
        self._left, self._missed = state["left"], state["missed"]
        self._kept, self._cycle = kept, None
        self._offsets = dict(state["offsets"])
        self._scattered.places = {n: p.cpu() for n, p in state.get("places", {}).items()}

    def _begin(self, active: ActiveUnits) -> None:
        values = None
        if self._kept is None:
            self._kept, values = active.choose(self._optimizer.state)
            self._scattered.choose(network_slices(self._axes, self._kept))
        if not (slices := self._slices(self._kept)):
            return
        values = active.constants(self._kept) if values is None else values  # when resumed
        self._optimizer.zero_grad()  # gradients of the whole network would only lie about
        self._cycle = Cycle(active, self._optimizer, self._kept, slices, values, self._offsets)
        self._offsets = None

    def _slices(self, kept: Kept) -> dict[str, Slice]:
        return self._scattered.refine(network_slices(self._axes, kept))

    def _end(self) -> None:
        self.synchronise()
        self._cycle = None

    @torch.no_grad()
    def _full_step(self) -> None:
        before = self._missed_duals()
        self._optimizer.step()
        for group in self._optimizer.param_groups:
            for param in group["params"]:
                if param in before:
                    self._move_on(param, group, *before[param])
        self._left = self.coarse_steps if self._active else 0
        self._missed, self._kept = 0, None

    def _missed_duals(self) -> dict[Tensor, tuple[Slice, Tensor]]:
        """The duals of parameters of which parts missed coarse steps, and what did not."""
        if self.weight == 1.0 or not self._missed or self._kept is None:
            return {}
        slices = self._slices(self._kept)
        state = self._optimizer.state
        return {
            param: (slices[name], state[param]["dual"].clone())
            for name, param in self._whole.named_parameters()
            if name in slices and param.grad is not None and state.get(param)
        }

    def _move_on(self, param: Tensor, group: dict[str, Any], where: Slice, before: Tensor) -> None:
        """Let the duals of what missed steps go on as far as the weight says."""
        dual = self._optimizer.state[param]["dual"]
        moved = dual - before
        where.clear(moved)
        dual.add_(moved, alpha=min(self.weight - 1.0, self._missed))
        recover_([param], [dual], group_penalty(group), lam=group["lam"], delta=group["delta"])


def _check_parameters(network: nn.Module, optimizer: DualOptimizer) -> None:
    own = set(network.parameters())
    for number, group in enumerate(optimizer.param_groups):
        if not own.issuperset(group["params"]):
            raise ValueError(
                f"group {number} of the optimiser has parameters that are none of the network "
                "(give the others an optimiser of their own)"
            )


def _traced(
    network: nn.Module, optimizer: DualOptimizer, example: Example | None
) -> tuple[str | None, ActiveUnits | None]:
    """Why nothing can be left out, or what chooses it."""
    try:
        graph = ChannelGraph(network, Original(network, example).probe)
        groups = {param: group for group in optimizer.param_groups for param in group["params"]}
        active = ActiveUnits(graph, groups)
    except ValueError as error:
        return str(error), None
    if active.spaces:
        return None, active
    fixed = [space.fixed for space in graph.spaces if space.fixed is not None]
    return f"no unit can be left out ({fixed[0] if fixed else 'there is one layer'})", None
