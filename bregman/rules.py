"""Which parameter gets which penalty: ordered rules on the owner's type and the parameter's name.

The first rule that matches decides. A parameter that no rule matches is an error, so that nothing
is trained with a penalty, or without one, by accident.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from bregman.groups import Group
from bregman.layers import NORM_LAYERS, WEIGHT_LAYERS
from bregman.penalties import make_penalty
from bregman.validation import check_non_negative


@dataclass(frozen=True)
class Rule:
    """One line of the assignment of penalties.

    Attributes:
        penalty: `none`, `l1`, `l12`, `nonnegative` or `nuclear`.
        module: Type(s) of the module that owns the parameter, or the name of its class or of a base
            class; None matches every module.
        name: Glob on the full dotted name of the parameter, e.g. `"features.*.weight"`.
        scale: The parameter's lam is `scale` times the lam given to `penalize`.
        group: For `l12`: what forms one group (see `bregman.groups`).
        group_weight: For `l12`: `"sqrt"` or `"none"`.

    Raises:
        ValueError: Unknown penalty or group, or a negative scale.
    """

    penalty: str
    module: type[nn.Module] | tuple[type[nn.Module], ...] | str | None = None
    name: str = "*"
    scale: float = 1.0
    group: Group | Sequence[int] | None = None
    group_weight: str = "sqrt"

    def __post_init__(self) -> None:
        if isinstance(self.group, list):  # OmegaConf hands over lists, which cannot be a dict's key
            object.__setattr__(self, "group", tuple(self.group))
        check_non_negative("scale", self.scale)
        make_penalty(self.penalty, group=self.group, group_weight=self.group_weight)

    def matches(self, module: nn.Module, name: str) -> bool:
        """Whether the rule covers the parameter called `name` that `module` owns."""
        if isinstance(self.module, str):
            owner = any(base.__name__ == self.module for base in type(module).__mro__)
        else:
            owner = self.module is None or isinstance(module, self.module)
        return owner and fnmatchcase(name, self.name)


#: Always tried last: norm layers and biases (also those of recurrent layers) carry no penalty.
UNPENALISED_RULES = (
    Rule("none", module=NORM_LAYERS),
    Rule("none", name="*bias"),
    Rule("none", name="*bias_?h_l*"),
)
#: Used when no rules are given: l1 on the weights of Linear and Conv layers.
DEFAULT_RULES = (Rule("l1", module=WEIGHT_LAYERS, name="*weight"),)


def penalize(
    model: nn.Module, rules: Sequence[Rule] | None = None, *, lam: float
) -> list[dict[str, Any]]:
    """Sort the parameters of a model into groups for the optimisers of this package.

    Args:
        model: Any module; a parameter shared by several modules is taken once, with its first name.
        rules: Tried in order; the built-in rule that norm layers and biases carry no penalty is
            tried after them. None: l1 on the weights of Linear and Conv layers.
        lam: Weight of the penalty.

    Returns:
        Groups with `params` (pairs of name and parameter), `penalty`, `lam` (the argument times
        `lam_scale`), `lam_scale`, `group` and `group_weight`. Parameters with equal settings share one
        group; a group without a penalty has `lam` and `lam_scale` 0.

    Raises:
        ValueError: lam is negative, no rule covers a parameter, or a penalty does not fit a parameter,
            which the message names.
    """
    check_non_negative("lam", lam)
    ordered = (*(DEFAULT_RULES if rules is None else rules), *UNPENALISED_RULES)
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, module, param in _owned_parameters(model):
        rule = next((rule for rule in ordered if rule.matches(module, name)), None)
        if rule is None:
            raise ValueError(
                f"no rule covers parameter {name!r} of a {type(module).__name__}, "
                f"shape {tuple(param.shape)} (add a Rule for it; "
                "Rule('none', name=...) trains it without a penalty)"
            )
        settings = _settings(rule, lam)
        try:
            make_penalty(rule.penalty, group=rule.group, group_weight=rule.group_weight).check(
                param.shape
            )
        except ValueError as error:
            raise ValueError(f"parameter {name!r}: {error}") from None
        group = groups.setdefault(tuple(settings.values()), {"params": [], **settings})
        group["params"].append((name, param))
    return list(groups.values())


def match_table(param_groups: Iterable[dict[str, Any]]) -> str:
    """The groups of `penalize`, or of an optimiser, as a text table: a line per parameter."""
    rows = [("parameter", "shape", "penalty", "lam", "group")]
    for group in param_groups:
        for name, param in named_params(group):
            shape = "x".join(str(size) for size in param.shape) or "scalar"
            axes = "-" if group["group"] is None else str(group["group"])
            rows.append((name, shape, group["penalty"], f"{group['lam']:g}", axes))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def named_params(group: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Names and parameters of one group of `penalize` or of an optimiser; "-" stands for no name."""
    names = group.get("param_names", ["-"] * len(group["params"]))
    for name, item in zip(names, group["params"], strict=True):
        yield item if isinstance(item, tuple) else (name, item)


def _settings(rule: Rule, lam: float) -> dict[str, Any]:
    scale = 0.0 if rule.penalty == "none" else float(rule.scale)
    return {
        # Plain words, because a checkpoint with a member of an enum does not load with weights_only=True.
        "penalty": str(rule.penalty),
        "lam": scale * lam,
        "lam_scale": scale,
        "group": str(rule.group) if isinstance(rule.group, str) else rule.group,
        "group_weight": str(rule.group_weight),
    }


def _owned_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Every parameter once, with its full name and the module that it is registered on."""
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for name, param in module.named_parameters(recurse=False):
            if id(param) not in seen:
                seen.add(id(param))
                yield f"{prefix}.{name}" if prefix else name, module, param
