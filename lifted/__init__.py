"""Lifted Bregman training of neural networks: no activation is ever differentiated.

Every activation is a proximal map and defines a Bregman loss. A `LiftedNetwork` ties the outputs of
its layers to auxiliary variables by these losses, and solvers minimise over variables and parameters
in convex blocks. The package depends on torch and `bregman` only. Part of bregbench.

Source: Wang, Benning, "Lifted Bregman training of neural networks", JMLR 24(232), 2023.

Example:
    >>> import torch
    >>> from torch import nn
    >>> from lifted import ImplicitStochastic, LiftedNetwork
    >>> chain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> network = LiftedNetwork(chain, lam=10.0)
    >>> solver = ImplicitStochastic(network, rho=1.0, iterations=5)
    >>> result = solver.step(torch.randn(16, 4), torch.zeros(16, 2))
    >>> network(torch.randn(3, 4)).shape
    torch.Size([3, 2])
"""

from __future__ import annotations

from lifted.baselines import BackPropagation
from lifted.blocks import BlockCoordinate
from lifted.deterministic import ProximalGradient
from lifted.energy import energy
from lifted.entropic import Sigmoid, Softmax, Tanh
from lifted.explicit import ExplicitImplicit
from lifted.implicit import ImplicitStochastic
from lifted.lift import Lift
from lifted.multipliers import Multipliers
from lifted.network import LiftedNetwork
from lifted.parallel import DataParallel
from lifted.piecewise import Identity, ReLU, SoftThreshold
from lifted.regularisers import L1Regulariser
from lifted.residual import Residual
from lifted.rho import paper_rho
from lifted.solver import DivergenceError
from lifted.stochastic import StoredStochastic

__all__ = [
    "BackPropagation",
    "BlockCoordinate",
    "DataParallel",
    "DivergenceError",
    "ExplicitImplicit",
    "Identity",
    "ImplicitStochastic",
    "L1Regulariser",
    "Lift",
    "LiftedNetwork",
    "Multipliers",
    "ProximalGradient",
    "ReLU",
    "Residual",
    "Sigmoid",
    "SoftThreshold",
    "Softmax",
    "StoredStochastic",
    "Tanh",
    "energy",
    "paper_rho",
]
