"""How one part of a run begins from the last; what only DessiLBI does between phases lives in `papers`."""

from bregbench.phases.base import Begun, Phase, PhaseConfig, TransformConfig, Turn

__all__ = ["Begun", "Phase", "PhaseConfig", "TransformConfig", "Turn"]
