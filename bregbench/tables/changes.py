"""Changes to the configs of a table's runs: begin with the run of another row, or train fewer epochs."""

from __future__ import annotations

import dataclasses

from bregbench.foundations.errors import BenchError
from bregbench.phases.rewinding import Rewinding
from bregbench.phases.transfer import Transfer
from bregbench.schema.config import Config
from bregbench.storage.directory import RunDirectory


def begin_with(config: Config, source: RunDirectory) -> Config:
    """The config whose phases with `begin=transfer` begin with the network of the run `source`.

    Raises:
        BenchError: no phase begins with another run.
    """
    phases = dict(config.phases)
    if not any(isinstance(phase.begin, Transfer) for phase in phases.values()):
        raise BenchError(
            f"source={source.path.parts[-2]}: no phase begins with another run: add phases=transfer"
        )
    for name, phase in phases.items():
        if isinstance(phase.begin, Transfer):
            place = "/".join(source.path.parts[-3:])
            begin = dataclasses.replace(phase.begin, run=str(source.path), source=place)
            phases[name] = dataclasses.replace(phase, begin=begin)
    return dataclasses.replace(config, phases=phases)


def shorten(config: Config, epochs: int) -> Config:
    """The config with at most `epochs` epochs in every phase; phases rewind to epochs that exist."""
    if not config.phases:
        short = min(config.trainer.epochs, epochs)
        trainer = dataclasses.replace(config.trainer, epochs=short)
        return dataclasses.replace(config, trainer=trainer)
    phases = dict(config.phases)
    before = 0
    for name, phase in sorted(phases.items(), key=lambda item: item[1].order):
        begin = phase.begin
        if isinstance(begin, Rewinding) and begin.rewind is not None:
            begin = dataclasses.replace(begin, rewind=min(begin.rewind, before))
        short = min(phase.epochs, epochs)
        phases[name] = dataclasses.replace(phase, epochs=short, begin=begin)
        before += short * phase.repeat
    return dataclasses.replace(config, phases=phases)
