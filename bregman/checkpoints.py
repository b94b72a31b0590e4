"""Reading the state dict of an optimiser: all of it is checked and copied before anything changes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping
from numbers import Real
from typing import Any, NoReturn

import torch
from torch import Tensor

#: Key under which a state dict names its optimiser. State dicts of older versions lack it.
KIND = "optimizer"
#: Options that a saved group may lack: the optimiser then keeps its own values of them.
OPTIONAL = frozenset(
    {"maximize", "foreach", "group_weight", "legacy_bias_correction", "differentiable"}
)
#: Options that state dicts of older versions lack, with the values by which those versions computed.
LATER: dict[str, Any] = {
    **{"threshold": "constant", "mu": 0.6, "elapsed": 0.0, "elapsed_steps": 0},
    **{"dual_leak": 0.0, "birth_lr": None},
}
#: Options that some optimisers of this family have and others lack. A state dict without `KIND` is
#: refused when it has such an option and the loading optimiser does not.
TELLING = frozenset(
    {
        *("delta", "momentum", "betas", "eps", "legacy_bias_correction"),
        *("kappa", "nu", "nesterov", "coupling_in_momentum", "decoupled_weight_decay"),
        *("scaling", "scaling_floor"),
    }
)


def read_groups(
    state_dict: Any,
    groups: list[dict[str, Any]],
    *,
    kind: str | None,
    defaults: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Copies of the saved groups that hold the parameters of `groups` and lack no option.

    Raises:
        ValueError: The argument is no state dict, or the state dict belongs to another optimiser or
            to other groups.
    """
    check_mapping(state_dict)
    for key, expected in (("state", Mapping), ("param_groups", list | tuple)):
        if not isinstance(state_dict.get(key), expected):
            refuse(f"it has no {key!r} (must be what state_dict() of an optimiser returned)")
    found = state_dict.get(KIND)
    if found is not None and kind is not None and found != kind:
        refuse(f"it belongs to {found} (this optimiser is {kind})")
    saved_groups = state_dict["param_groups"]
    if len(saved_groups) != len(groups):
        refuse(f"it has {len(saved_groups)} groups of parameters (must have {len(groups)})")
    read = []
    for number, (saved, own) in enumerate(zip(saved_groups, groups, strict=True)):
        ids = saved.get("params") if isinstance(saved, Mapping) else None
        if not isinstance(ids, list | tuple):
            refuse(f"group {number} has no list of parameters")
        if len(ids) != len(own["params"]):
            refuse(f"group {number} has {len(ids)} parameters (must have {len(own['params'])})")
        if len(saved.get("param_names", ids)) != len(ids):
            refuse(f"group {number} has {len(ids)} parameters and another number of names")
        group = {name: copy.deepcopy(saved[name]) for name in saved if name != "params"}
        group |= {name: LATER[name] for name in LATER if name in defaults and name not in group}
        missing = [name for name in defaults if name not in group and name not in OPTIONAL]
        if missing:
            refuse(f"group {number} lacks {', '.join(missing)} (it belongs to another optimiser)")
        foreign = sorted((TELLING - defaults.keys()) & group.keys()) if found is None else []
        if foreign:
            refuse(f"group {number} has {', '.join(foreign)} (it belongs to another optimiser)")
        for name in ("param_names", *defaults):
            if name in own:
                group.setdefault(name, own[name])
        read.append({"params": own["params"], **group})
    return read


def saved_states(state_dict: Any, count: int) -> list[Mapping[str, Any] | None]:
    """Saved state of each of the `count` parameters in the order of the groups; None where none is.

    Raises:
        ValueError: A parameter is named twice, or a state belongs to no parameter.
    """
    ids = [index for group in state_dict["param_groups"] for index in group["params"]]
    try:
        distinct = set(ids)
    except TypeError:
        refuse("its groups name parameters by objects that cannot be a key (must be integers)")
    if len(distinct) != count:
        refuse("its groups name a parameter twice (must name each parameter once)")
    strays = [key for key in state_dict["state"] if key not in distinct]
    if strays:
        refuse(f"its state of parameter {strays[0]!r} belongs to no group")
    states = [state_dict["state"].get(index) for index in ids]
    if not all(state is None or isinstance(state, Mapping) for state in states):
        refuse("its state of a parameter is no dictionary (must be what state_dict() returned)")
    return states


def read_state(
    saved: Mapping[str, Any],
    param: Tensor,
    *,
    label: str,
    required: Collection[str],
    optional: Collection[str],
    empty: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """A copy of the saved state of one parameter; empty if the parameter had not been stepped.

    Args:
        saved: State of the parameter: values by name.
        param: The parameter.
        label: How errors name the parameter.
        required: Names that a non-empty state must hold.
        optional: Names that a state may hold.
        empty: Makes the tensor into which a value of the parameter's shape is copied.

    Raises:
        ValueError: A name is missing or unknown, or a value does not fit the parameter.
    """
    if not saved:
        return {}
    missing = sorted(set(required) - saved.keys())
    if missing:
        refuse(f"{label} lacks {', '.join(missing)} (it belongs to another optimiser)")
    unknown = sorted(map(str, saved.keys() - set(required) - set(optional)))
    if unknown:
        refuse(f"{label} has {', '.join(unknown)} (it belongs to another optimiser)")
    return {
        name: _count(value, f"{label}: {name}")
        if name == "step"
        else _like(value, param, f"{label}: {name}", empty)
        for name, value in saved.items()
    }


def check_mapping(state_dict: Any) -> None:
    """Raise ValueError unless the argument is a mapping, as every state dict is."""
    if not isinstance(state_dict, Mapping):
        refuse(f"it is a {type(state_dict).__name__} (must be what state_dict() returned)")


def refuse(reason: str) -> NoReturn:
    """Raise the ValueError of a state dict that does not fit."""
    raise ValueError(f"Invalid state dict: {reason}")


def _like(value: Any, param: Tensor, label: str, empty: Callable[[Tensor], Tensor]) -> Tensor:
    if not isinstance(value, Tensor):
        refuse(f"{label} is a {type(value).__name__} (must be a tensor)")
    if value.layout != torch.strided or value.is_nested:
        refuse(f"{label} is not dense (must be a dense tensor)")
    if not value.is_floating_point():
        refuse(f"{label} has dtype {value.dtype} (must be real floating point)")
    if value.shape != param.shape:
        refuse(f"{label} has shape {tuple(value.shape)} (must be {tuple(param.shape)})")
    if value.is_meta and not param.is_meta:
        refuse(f"{label} is on the meta device (it has no values)")
    if label.endswith("exp_avg_sq") and not value.is_meta and bool((value < 0).any()):
        refuse(f"{label} has negative entries (must be >= 0)")
    with torch.no_grad():
        return empty(param).copy_(value)


def _count(value: Any, label: str) -> int:
    if isinstance(value, Tensor) and value.dim() == 0 and not value.is_meta:
        value = value.item()  # as torch's own optimisers keep it
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not (number >= 0 and number.is_integer()):
        shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else value
        refuse(f"{label} is {shown} (must be an integer >= 0)")
    return int(number)
