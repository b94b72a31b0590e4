"""How one part of a run begins from the last; what only DessiLBI does between phases lives in `papers`."""

from bregbench.phases.base import Begun, Phase, PhaseConfig, TransformConfig, Turn
from bregbench.phases.magnitude import MagnitudePruning
from bregbench.phases.rewinding import MagnitudeTicket
from bregbench.phases.transfer import Transfer

TRANSFORMS: tuple[type[TransformConfig], ...] = (MagnitudePruning, MagnitudeTicket, Transfer)

__all__ = ["TRANSFORMS", "Begun", "Phase", "PhaseConfig", "TransformConfig", "Turn"]
