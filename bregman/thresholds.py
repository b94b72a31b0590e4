r"""Courses of the threshold of a dual optimiser, by which LinBreg, RDA and gRDA differ.

The three methods step on a dual v and recover `theta = prox_{A_t J}(v)`. They minimise at every step t

    <sum of tau_i g_i, theta> + R_t(theta) + |theta - theta_0|^2 / 2

with `R_t = lam (J(theta) - <p_0, theta>)`, p_0 a subgradient of J at theta_0, for LinBreg: its penalty
stands still while the data's term grows (inverse scale space). With `R_t = A_t J(theta)` and a growing
A_t the penalty keeps pace.

| `threshold`  | A_t                                              | method                                  |
|--------------|--------------------------------------------------|-----------------------------------------|
| `constant`   | lam                                              | LinBreg, AdaBreg                        |
| `cumulative` | lam sum_i tau_i                                  | RDA (Xiao 2010); torchao's PAT          |
| `power`      | lam sum_i tau_i^(1/2 + mu) (i^mu - (i - 1)^mu)   | gRDA (Chao et al. 2020), c = lam        |

With a constant learning rate the sum of `power` is `tau^(1/2 + mu) t^mu`. A group keeps the sum as
`elapsed`, which is 0 before the first step, so that RDA and gRDA start dense: v_0 = theta_0.
"""

from __future__ import annotations

from typing import Any

from bregman.validation import check_choice, check_decay, check_non_negative

THRESHOLDS = ("constant", "cumulative", "power")


def check_threshold(group: dict[str, Any]) -> None:
    """Raise ValueError unless the group's `threshold` and `mu` are in range."""
    check_choice("threshold", group["threshold"], THRESHOLDS)
    check_decay("mu", group["mu"])
    check_non_negative("elapsed", group["elapsed"])
    check_non_negative("elapsed_steps", group["elapsed_steps"])


def level(group: dict[str, Any]) -> float:
    """The present threshold A_t of a group."""
    if group["threshold"] == "constant":
        return group["lam"]
    return group["lam"] * group["elapsed"]


def advance(group: dict[str, Any], lr: float) -> float:
    """Count a step with this learning rate; return the threshold after it."""
    if group["threshold"] == "cumulative":
        group["elapsed"] += lr
    elif group["threshold"] == "power":
        mu, steps = group["mu"], group["elapsed_steps"] + 1
        group["elapsed_steps"] = steps
        group["elapsed"] += lr ** (0.5 + mu) * (steps**mu - (steps - 1) ** mu)
    return level(group)
