"""Base class of the optimisers: groups, state, checkpoints, the step around the update.

Structure and conventions follow `torch.optim`: a class that validates and owns state, a
single-tensor function that is the readable specification (`foreach=False`), and a multi-tensor
function that must agree with it.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from bregman.checkpoints import (
    KIND,
    check_mapping,
    read_groups,
    read_state,
    refuse,
    saved_states,
)
from bregman.penalties import Penalty, make_penalty
from bregman.validation import check_non_negative, check_rate

#: A group, its parameters that have a gradient, their gradients and their states.
Collected = tuple[dict[str, Any], list[Tensor], list[Tensor], list[dict[str, Any]]]
Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class PenalisedOptimizer(Optimizer):
    """Base class; groups and state hold tensors, numbers, strings and tuples of them only.

    Subclasses implement `_update`, extend `_check_group`, create the state of a parameter in
    `_init_state` and name its entries in `_entries`.
    """

    #: Name of the optimiser in its state dicts; None: the name is neither written nor checked.
    _kind: ClassVar[str | None] = None
    #: True: steps are added to the parameter, whose dtype may round them off; False: to a wider state.
    _steps_on_parameters: ClassVar[bool] = True

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)  # pyright: ignore[reportArgumentType]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # checkpoints written before an option existed
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, after checking its settings and that its penalty fits its parameters.

        Raises:
            ValueError: A hyper-parameter is out of range, or the penalty does not fit a parameter,
                which the message names.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        # Plain words, because a state dict with a member of an enum does not load with weights_only=True.
        group.update({key: str(word) for key, word in group.items() if isinstance(word, StrEnum)})
        try:
            self._check_group(group)
        except ValueError:
            self.param_groups.pop()
            raise
        if self._steps_on_parameters:
            self._warn_of_narrow(self.param_groups[-1])

    def _warn_of_narrow(self, group: dict[str, Any]) -> None:
        for index, param in enumerate(group["params"]):
            if param.dtype != state_dtype(param):
                name, dtype = type(self).__name__, str(param.dtype).removeprefix("torch.")
                warnings.warn(
                    f"{_label(group, index)}: {name} adds its steps to the {dtype} parameter itself, "
                    f"so that steps below {torch.finfo(param.dtype).eps / 2:.1g} of its size are "
                    "lost (keep parameters in float32 and use autocast)",
                    stacklevel=4,
                )
                return

    def state_dict(self) -> dict[str, Any]:
        """State dict of torch and, under `"optimizer"`, the optimiser's name, which loading checks."""
        state_dict = super().state_dict()
        if self._kind is not None:
            state_dict.setdefault(KIND, self._kind)
        return state_dict

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a copy of a state dict; unlike torch's version, this one keeps the dtype of the state.

        torch rounds floating point state to the dtype of the parameter, which would turn the
        float32 dual of a bfloat16 parameter into bfloat16. Hooks act as in torch.

        Args:
            state_dict: What `state_dict` of this or an earlier version returned. Options that change
                only how a step is computed may be missing; the optimiser keeps its own values of them.

        Raises:
            ValueError: The state dict belongs to another optimiser or to other parameters, an option is
                missing or out of range, or a tensor has another shape or a dtype that is not real
                floating point. The optimiser does not change then.
        """
        check_mapping(state_dict)
        state_dict = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        groups = read_groups(state_dict, self.param_groups, kind=self._kind, defaults=self.defaults)
        for number, group in enumerate(groups):
            try:
                self._check_group(group)
            except ValueError as error:
                refuse(f"group {number}: {error}")
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        members = [(group, index) for group in groups for index in range(len(group["params"]))]
        saved_of = saved_states(state_dict, len(members))
        for (group, index), saved in zip(members, saved_of, strict=True):
            param = group["params"][index]
            required, optional = self._entries(group)
            if saved is None:
                continue
            state[param] = read_state(
                saved,
                param,
                label=_label(group, index),
                required=required,
                optional=optional,
                empty=empty_state,
            )
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: Re-evaluates the model with gradients and returns the loss.

        Returns:
            What the closure returned, or None without a closure.

        Raises:
            RuntimeError: A parameter has a sparse gradient, or a parameter with penalty `nuclear` has a
                gradient that is not finite; no parameter has changed then. Under other penalties a NaN
                spreads from the gradient to the parameter, and the loss shows it: a check would make
                every step wait for the device, as the decomposition of `nuclear` does anyway.
        """
        # The step breaks a compiled graph, because its kernels are fused already, and a compiled step
        # would be compiled anew whenever the step count or the learning rate changes. Outside of a
        # compiled graph `_disable_dynamo` is avoided, because it slows down every Python call inside.
        if torch.compiler.is_compiling():
            return self._uncompiled_step(closure)
        return self._step(closure)

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def _uncompiled_step(self, closure: Callable[[], Any] | None) -> Any:
        return self._step(closure)

    @torch.no_grad()
    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["penalty"] == "nuclear":
                _check_finite(group)
        collected = [(group, *self._collect(group)) for group in self.param_groups]
        self._update_groups([one for one in collected if one[1]])
        return loss

    def _update_groups(self, collected: list[Collected]) -> None:
        """One step on all groups that have a gradient."""
        for one in collected:
            self._update(*one)

    @abstractmethod
    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        """One step on the parameters of a group that have a gradient."""

    @abstractmethod
    def _init_state(self, param: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Fill the empty `state` of a parameter, before its first update."""

    @abstractmethod
    def _entries(self, group: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        """Names that the state of a parameter of this group must hold, and those that it may hold."""

    def _check_group(self, group: dict[str, Any]) -> None:
        """Raise ValueError unless the group is valid; subclasses add their own checks."""
        check_rate("learning rate", group["lr"])
        check_non_negative("weight_decay", group["weight_decay"])
        check_non_negative("lam", group["lam"])
        if isinstance(group["group"], Iterable) and not isinstance(group["group"], str):
            group["group"] = tuple(group["group"])  # YAML and OmegaConf hand over lists
        penalty = group_penalty(group)
        for index, param in enumerate(group["params"]):
            label = _label(group, index)
            if not param.is_floating_point():
                raise ValueError(
                    f"{label} has dtype {param.dtype} (must be real floating point; "
                    "store complex weights with a last axis of length 2 and use group 'complex')"
                )
            try:
                penalty.check(param.shape)
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from None

    def _collect(
        self, group: dict[str, Any]
    ) -> tuple[list[Tensor], list[Tensor], list[dict[str, Any]]]:
        params, grads, states = [], [], []
        for index, param in enumerate(group["params"]):
            grad = param.grad
            if grad is None or param.numel() == 0:
                continue
            if grad.layout != torch.strided:
                name = type(self).__name__
                raise RuntimeError(
                    f"{_label(group, index)}: {name} does not support sparse gradients"
                )
            state = self.state[param]
            if not state:
                self._init_state(param, group, state)
            params.append(param)
            grads.append(grad)
            states.append(state)
        return params, grads, states


def group_penalty(group: dict[str, Any]) -> Penalty:
    """The penalty that a parameter group names, or the penalty object that the group holds."""
    if hasattr(group["penalty"], "prox_into"):
        return group["penalty"]
    return make_penalty(group["penalty"], group=group["group"], group_weight=group["group_weight"])


def learning_rate(group: dict[str, Any]) -> float:
    """The learning rate of a group as a number.

    A tensor is read, as `torch.optim` reads it for a step without `capturable`. Reading costs nothing
    on the CPU; on another device the host waits for the device.
    """
    rate = group["lr"]
    return rate.item() if isinstance(rate, Tensor) else rate


def state_dtype(param: Tensor) -> torch.dtype:
    """Type of optimiser state: float32, or the parameter's dtype if that is wider."""
    return torch.promote_types(param.dtype, torch.float32)


def empty_state(param: Tensor) -> Tensor:
    """Uninitialised state with the shape and memory layout of the parameter."""
    return torch.empty_like(param, dtype=state_dtype(param), memory_format=torch.preserve_format)


def zero_state(param: Tensor) -> Tensor:
    """Zero state with the shape and memory layout of the parameter."""
    return empty_state(param).zero_()


def momentum_buffers(params: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
    """The momentum buffers; a state without one gets a zero buffer, as after a late switch to momentum."""
    try:
        return [state["momentum_buffer"] for state in states]
    except KeyError:
        for param, state in zip(params, states, strict=True):
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = zero_state(param)
    return [state["momentum_buffer"] for state in states]


def _check_finite(group: dict[str, Any]) -> None:
    for index, param in enumerate(group["params"]):
        grad = param.grad
        if grad is not None and grad.layout == torch.strided and not bool(grad.isfinite().all()):
            raise RuntimeError(
                f"{_label(group, index)}: its gradient holds NaN or infinity, and penalty 'nuclear' "
                "needs finite numbers (lower the learning rate, clip gradients or leave the step out)"
            )


def _label(group: dict[str, Any], index: int) -> str:
    """The parameter's name, or its index and shape where the optimiser was not given names."""
    if "param_names" in group:
        return f"parameter {group['param_names'][index]!r}"
    return f"parameter {index} of its group, shape {tuple(group['params'][index].shape)}"
