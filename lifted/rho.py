"""Conversion of the paper's tau^k to the proximal weight rho of this package."""

from __future__ import annotations

from bregman.validation import check_choice, check_positive
from lifted.choices import Convention


def paper_rho(tau: float, batch_size: int, *, convention: str = "sum") -> float:
    """The weight rho of `rho/2 |Theta - Theta^k|^2` next to a batch *mean* of the energy.

    The paper uses tau^k in two roles. Eq. (24) divides by it, Algorithm 1 multiplies with it, and
    the step sizes of section 6 fit an energy that is summed over the batch.

    Args:
        tau: The paper's tau^k, such as 100 in section 6.1.
        batch_size: |B|.
        convention: `sum`: tau multiplies a summed energy, rho = tau / |B|, which reproduces the
            tables best; `literal`: Algorithm 1 as printed, rho = tau; `reciprocal`: eq. (24),
            rho = 1 / tau.

    Raises:
        ValueError: tau or the batch size is not positive, or the convention is unknown.
    """
    check_positive("tau", tau)
    check_positive("batch_size", batch_size)
    check_choice("convention", convention, Convention)
    return {"sum": tau / batch_size, "literal": tau, "reciprocal": 1 / tau}[convention]
