"""Configs of the penalties on weights, for `bregman.penalize`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import check_numbers
from bregman import Rule, penalize
from bregman.choices import GroupName, GroupWeight, PenaltyName
from fno import SpectralConv2d

#: Largest number of dimensions of a weight.
_MOST_DIMS = 8


@dataclass
class RuleConfig:
    """The penalty of one kind of weights.

    Attributes:
        kind: the functional.
        group: how the l12 penalty groups entries; None for other penalties.
        dims: dimensions that together form one group, in place of a named group.
        group_weight: weight of a group.
        scale: factor of the method's lam for these weights.
        name: glob on the dotted names of the parameters.
    """

    kind: PenaltyName = PenaltyName.l1
    group: GroupName | None = None
    dims: list[int] | None = None
    group_weight: GroupWeight = GroupWeight.sqrt
    scale: float = 1.0
    name: str = "*"

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of this rule, such as `method.penalty.conv`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        check_numbers(self, at, "scale", least=0)
        check_numbers(self, at, "dims", least=-_MOST_DIMS, below=_MOST_DIMS)
        try:
            self.rule(None)
        except BenchError as error:
            raise BenchError(f"{at}: {error}") from error

    def rule(self, module: type[nn.Module] | tuple[type[nn.Module], ...] | None) -> Rule:
        """The `bregman.Rule` of this config, for parameters of these module types.

        Raises:
            BenchError: both `group` and `dims` are given, or the group does not fit the penalty.
        """
        if self.group is not None and self.dims is not None:
            raise BenchError(
                f"penalty: group={self.group.name} and dims={self.dims} exclude each other: give one"
            )
        group = tuple(self.dims) if self.dims is not None else self.group
        try:
            return Rule(
                penalty=self.kind,
                module=module,
                name=self.name,
                scale=self.scale,
                group=group,
                group_weight=self.group_weight,
            )
        except ValueError as error:
            raise BenchError(f"penalty of {self.name}: {error}") from error


@dataclass
class PenaltyConfig:
    """Penalties by layer type; biases and norm layers carry none.

    Attributes:
        linear: weights of linear layers.
        conv: weights of convolutions.
        spectral: modes of spectral layers, ``(outputs, inputs, rows, columns, 2)``.
        first: rules by name that are tried before the rules by layer type.
    """

    linear: RuleConfig = field(default_factory=lambda: RuleConfig(name="*weight"))
    conv: RuleConfig = field(default_factory=lambda: RuleConfig(name="*weight"))
    spectral: RuleConfig = field(default_factory=lambda: RuleConfig(name="*weight"))
    first: list[RuleConfig] = field(default_factory=list)

    def groups(self, network: nn.Module, lam: float) -> list[dict[str, Any]]:
        """Parameter groups for a Bregman or proximal optimiser.

        Raises:
            BenchError: a penalty does not fit a weight, or a parameter matches no rule.
        """
        convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        rules = [rule.rule(None) for rule in self.first]
        rules += [self.linear.rule(nn.Linear), self.conv.rule(convolutions)]
        rules += [self.spectral.rule(SpectralConv2d)]
        try:
            return penalize(network, rules, lam=lam)
        except ValueError as error:
            raise BenchError(str(error)) from error
