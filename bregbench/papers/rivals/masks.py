"""Masks that any optimiser can carry: two lines in anybody's loop, exact resume, equal on all ranks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bregbench.papers.rivals.budgets import layer_counts, random_masks
from bregbench.papers.rivals.rewiring import Plan, View
from bregman.layers import WEIGHT_LAYERS, check_plain_weights, weight_layers

Masks = dict[str, Tensor]


class MaskController:
    """Keeps the weights of Linear and convolution layers on masks, which a plan may change.

    Make it after the optimiser and go on as before:

        masks = MaskController(model, optimizer, rigl_plan(interval=100, end=7500), density=0.1)

    It hooks into gradients and into the optimiser's steps. Always: masked weights are 0 and so are
    their gradients, as everybody sees them who comes between `backward` and `step` (clipping, say),
    and their part of the optimiser's state. Weights that grow begin at 0 with a state of 0.

    Where a plan looks at dense gradients, these are collected before they are masked, over all
    backward passes of that step, and averaged over the ranks of a process group. A step that a
    gradient scaler leaves out is no step. Masks come from rank 0.

    Args:
        model: Its weights are masked in place at once.
        optimizer: Holds all masked weights; any optimiser whose state is entry by entry.
        plan: What changes the masks; `static()` leaves them.
        density: Of all masked weights together, with which random masks are drawn; None: all True.
        rule: How these divide the density among the layers: `erk`, `er` or `uniform`.
        masks: Masks to begin with instead, by name of the weight.
        leave: Globs on names of weights that are left alone: never masked and never counted.
        dense: Globs on names of weights that begin dense but are counted, and may be pruned later.
        generator: A CPU generator for all that is drawn.

    Raises:
        ValueError: No weight is left, a weight is computed from others or not in the optimiser, or
            masks do not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        plan: Plan,
        *,
        density: float | None = None,
        rule: str = "erk",
        masks: Mapping[str, Tensor] | None = None,
        leave: Collection[str] = (),
        dense: Collection[str] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        self.weights = masked_weights(model, leave)
        self._require_held(optimizer)
        self._optimizer = optimizer
        self._plan = plan
        self._generator = generator or torch.Generator().manual_seed(0)
        self.step = 0
        self._hidden: list[tuple[Tensor, Tensor]] = []
        self._dense: dict[str, Tensor] = {}
        if masks is None:
            masks = draw_masks(self.weights, density, rule, dense, self._generator)
        self.masks: Masks = {}
        self._take(masks)
        for name, weight in self.weights.items():
            weight.register_hook(partial(self._see, name))
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def density(self) -> float:
        """Share of the masked weights whose mask is True: new weights count although they are 0."""
        kept = sum(int(mask.sum()) for mask in self.masks.values())
        return kept / sum(mask.numel() for mask in self.masks.values())

    def describe(self) -> str:
        """A line per masked weight: its name, shape and how many entries are kept."""
        rows = [("weight", "shape", "kept", "of")]
        for name, mask in self.masks.items():
            shape = "x".join(map(str, mask.shape))
            rows.append((name, shape, str(int(mask.sum())), str(mask.numel())))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def state_dict(self) -> dict[str, Any]:
        """Steps, masks and the state of the generator; optimiser and weights have their own."""
        masks = {name: mask.clone() for name, mask in self.masks.items()}
        return {"step": self.step, "masks": masks, "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; weights outside of the masks become 0.

        Raises:
            ValueError: The masks are of other weights.
        """
        self._take(state["masks"])
        self.step = state["step"]
        self._generator.set_state(state["generator"].cpu())
        self._dense = {}

    def _require_held(self, optimizer: Optimizer) -> None:
        held = {id(param) for group in optimizer.param_groups for param in group["params"]}
        for name, weight in self.weights.items():
            if id(weight) not in held:
                raise ValueError(f"weight {name!r} is not in the optimiser (leave it out: leave=)")

    @torch.no_grad()
    def _take(self, masks: Mapping[str, Tensor]) -> None:
        if masks.keys() != self.weights.keys():
            odd = sorted(masks.keys() ^ self.weights.keys())
            raise ValueError(f"masks and weights differ in {', '.join(map(repr, odd))}")
        for name, weight in self.weights.items():
            if masks[name].shape != weight.shape:
                raise ValueError(f"mask {name!r} has shape {tuple(masks[name].shape)}")
        self.masks = {
            name: masks[name].to(w.device, torch.bool) for name, w in self.weights.items()
        }
        self._share()
        self._hold(state=True)

    def _see(self, name: str, grad: Tensor) -> Tensor:
        """Mask a gradient on its way; keep the whole one where it will be looked at."""
        if self._plan.needs_gradient and self._plan.due(self.step):
            held = self._dense.get(name)
            # A new sum begins with every step, and after one that a gradient scaler refused.
            new = held is None or self.weights[name].grad is None or not bool(held.isfinite().all())
            self._dense[name] = grad.clone() if new else held + grad  # pyright: ignore[reportOptionalOperand]
        return grad * self.masks[name]

    def _before(self, _: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not (self._plan.instead and self._plan.due(self.step)):
            return
        if any(arg is not None for arg in (*args[1:], kwargs.get("closure"))):  # first: itself
            raise ValueError("an update that replaces a step takes no closure: call step()")
        # Without gradients there is nothing to do for an optimiser.
        params = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._hidden = [(param, param.grad) for param in params if param.grad is not None]
        for param, _grad in self._hidden:
            param.grad = None

    @torch.no_grad()
    def _after(self, *_: Any) -> None:
        for param, grad in self._hidden:
            param.grad = grad
        self._hidden = []
        self._hold()
        if self._plan.due(self.step):
            self._update()
        self.step += 1

    def _update(self) -> None:
        if self._plan.needs_gradient and not self._dense:
            raise ValueError("the plan looks at gradients: call backward before step")
        gradients = {
            name: self._averaged(self._dense.get(name, torch.zeros_like(weight)))
            for name, weight in self.weights.items()
            if self._plan.needs_gradient
        }
        view = View(self.weights, dict(self.masks), gradients, self._generator)
        for operation in self._plan.operations:
            operation.apply(view, self.step)
        self.masks, self._dense = view.masks, {}
        self._share()
        self._hold(state=True)

    def _hold(self, *, state: bool = False) -> None:
        """Zero what is masked: weights, and where masks have changed the optimiser's state."""
        for name, weight in self.weights.items():
            gone = ~self.masks[name]
            weight.masked_fill_(gone, 0.0)
            if not state:
                continue
            for value in self._optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.masked_fill_(gone, 0.0)

    def _averaged(self, grad: Tensor) -> Tensor:
        if _ranks() > 1:
            grad = grad.contiguous()
            torch.distributed.all_reduce(grad)
        return grad

    def _share(self) -> None:
        if _ranks() > 1:
            for name, mask in self.masks.items():
                shared = mask.to(torch.uint8).contiguous()
                torch.distributed.broadcast(shared, 0)
                self.masks[name] = shared.bool()


def masked_weights(model: nn.Module, leave: Collection[str] = ()) -> dict[str, nn.Parameter]:
    """Weights of Linear and convolution layers by name, without those that a glob leaves out.

    Raises:
        ValueError: Nothing is left, or a weight is computed from other parameters.
    """
    check_plain_weights(model, modules=WEIGHT_LAYERS, tensors=("weight",))
    found = {
        name: weight
        for name, _, weight in weight_layers(model)
        if isinstance(weight, nn.Parameter) and not any(fnmatchcase(name, glob) for glob in leave)
    }
    if not found:
        raise ValueError("no weight is left to be masked (Linear and Conv layers have weights)")
    return found


def draw_masks(
    weights: Mapping[str, Tensor],
    density: float | None,
    rule: str,
    dense: Collection[str],
    generator: torch.Generator,
) -> Masks:
    """Random masks with exact counts, on the CPU; all True without a density.

    Args:
        weights: By name.
        density: Of all of them together, or None.
        rule: `erk`, `er` or `uniform`.
        dense: Globs on names of layers that begin dense.
        generator: Draws.
    """
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    if density is None:
        return {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
    full = [name for name in shapes if any(fnmatchcase(name, glob) for glob in dense)]
    return random_masks(shapes, layer_counts(shapes, density, rule=rule, dense=full), generator)


def _ranks() -> int:
    distributed = torch.distributed
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1
