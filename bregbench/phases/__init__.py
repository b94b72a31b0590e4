"""Phases of a run, and transforms of the network between them; those of the papers live in `papers`."""

from bregbench.phases.base import Begun, Phase, PhaseConfig, TransformConfig, Turn

__all__ = ["Begun", "Phase", "PhaseConfig", "TransformConfig", "Turn"]
