"""Steps in one auxiliary variable, all other variables fixed: eq. (17b) and its mirror form.

As a function of aux[l] = x the energy is `w (kernel(x) - <x, a>) + S(x) + R(x)` per sample, with the
weight w, the pre-activation a from below, the penalties S of the layers above, whose gradient has the
Lipschitz constant L, and the regulariser R. With kappa = c w / (L + c w) both forms relax towards
`d = a - grad S(x) / w`:

    prox:    v = (1 - kappa) x + kappa d,   x <- prox_{kappa Psi + (kappa / w) R}(v)
    mirror:  p <- (1 - kappa) p + kappa d,  x <- sigma(p)

The prox form is the printed step, with step size c / L. The mirror form takes |.|^2 / 2 + Psi instead of
|.|^2 / 2 as the Bregman function and needs sigma only, so it serves activations without a formula
for the prox of a multiple of Psi. The minimiser is the only fixed point of either form.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bregman.validation import check_choice
from lifted.activation import Activation
from lifted.choices import XStep
from lifted.lift import Lift
from lifted.regularisers import L1Regulariser


def choose_form(lift: Lift, number: int, form: str) -> str:
    """`prox` or `mirror` for one variable; `auto` takes `prox` where the prox is a formula.

    Raises:
        ValueError: The form is unknown, or is `prox` while the variable has an iterative regulariser.
    """
    check_choice("x_step", form, XStep)
    term = lift.network.regularisers.get(number)
    iterative = term is not None and not term.in_energy
    if form == "auto":
        return "prox" if _kernel(lift, number).closed_prox and not iterative else "mirror"
    if form == "prox" and iterative:
        raise ValueError(
            "Invalid x_step: 'prox' cannot take an iterative regulariser (use 'auto' or 'mirror')"
        )
    return form


def lipschitz(lift: Lift, number: int, norms: dict[int, Tensor] | None = None) -> Tensor:
    """The Lipschitz constant of grad S, from the norms of the layers above.

    Args:
        lift: The variables.
        number: Index of the variable, from 0.
        norms: Squared norms by layer; the norms of absent layers are computed.
    """
    known = norms or {}
    parts = []
    for above in lift.reached(number):
        norm = known.get(above)
        if norm is None:
            norm = lift.network.layers[above].affine.input_norm(lift.layer_input(above))
        parts.append(lift.curvature(above) * norm)
    return torch.stack(parts).sum() if len(parts) > 1 else parts[0]


def relaxation(lift: Lift, number: int, bound: Tensor, scale: float, form: str) -> Tensor:
    """The relaxation kappa for the Lipschitz constant `bound` and c = `scale`; mirror: c <= 1."""
    weight = (min(scale, 1.0) if form == "mirror" else scale) * _weight(lift, number)
    return weight / (bound + weight)


class AuxiliaryBlock:
    """Steps in one auxiliary variable; constants of the steps are looked up once.

    Args:
        lift: The variables.
        number: Index of the variable, from 0.
        form: `prox` or `mirror`.

    Attributes:
        number: Index of the variable, from 0.
        form: `prox` or `mirror`.
    """

    def __init__(self, lift: Lift, number: int, form: str) -> None:
        self.number, self.form = number, form
        self._lift, self._mirror = lift, form == "mirror"
        self._weight, self._kernel = _weight(lift, number), _kernel(lift, number)
        self._activation = lift.network.layers[number].activation
        self._anchor = lift.network.penalty.anchor
        self._term = lift.network.regularisers.get(number)

    def step(self, kappa: Tensor) -> None:
        """One step; kappa as `relaxation` returns it."""
        self._lift.set_aux(self.number, *self.update(kappa))

    def update(self, kappa: Tensor, *, push: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The variable and its dual (None in prox form) after one step; the lift does not change.

        Args:
            kappa: Relaxation, as `relaxation` returns it.
            push: Heavy-ball term, which is added to the point that the step starts from.
        """
        lift, number, kernel, term = self._lift, self.number, self._kernel, self._term
        anchor = self._anchor(self._activation, lift.preactivation(number))
        direction = torch.sub(anchor, lift.gradient(number), alpha=1 / self._weight)
        start = lift.dual[number] if self._mirror else lift.aux[number]
        point = (start if push is None else start + push).lerp(direction, kappa)
        if term is not None and not term.in_energy:
            return _iterative(point, kappa, kernel, term)
        if term is not None:
            point = term.shift(point, kappa / self._weight, kernel)
        return (kernel(point), point) if self._mirror else (kernel.prox(point, kappa), None)


def _iterative(
    point: Tensor, kappa: Tensor, kernel: Activation, term: L1Regulariser
) -> tuple[Tensor, Tensor]:
    """The mirror step whose Bregman function is kernel + R.

    The dual is a subgradient of kernel + R at the new x: the sum of `inner`, a subgradient of the
    kernel, and a subgradient of R.
    """
    inner = term.shift(point, 1 - kappa, kernel)
    return kernel(inner), (point - kappa * inner) / (1 - kappa)


def _weight(lift: Lift, number: int) -> float:
    return lift.network.lam[number] * lift.network.penalty.scale


def _kernel(lift: Lift, number: int) -> Activation:
    return lift.network.penalty.kernel(lift.network.layers[number].activation)
