"""Training: the loop over phases, epochs and batches."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from bregbench.data import BatchLoader
from bregbench.data.loader import to_unit_interval
from bregbench.foundations.console import EpochProgress
from bregbench.foundations.files import read_tensors, write_tensors
from bregbench.foundations.interrupts import Interrupts
from bregbench.foundations.streams import Streams
from bregbench.measures.structure import structure_of
from bregbench.methods import Method
from bregbench.methods.thresholds import Masks
from bregbench.models.base import StartsFromData
from bregbench.phases.base import Begun, Turn
from bregbench.schema.config import Config
from bregbench.schema.selecting import check_selection
from bregbench.schema.trainer import Precision
from bregbench.storage.directory import RunDirectory
from bregbench.storage.restore import load_weights
from bregbench.storage.tracking import Tracker
from bregbench.tasks.context import RunContext
from bregbench.tasks.scoring import Scores
from bregbench.training.averaging import MovingAverage
from bregbench.training.batch_sizes import BatchSizes
from bregbench.training.effort import Effort, Meter
from bregbench.training.keeping import Keeper
from bregbench.training.measuring import measure, refuse_nonfinite
from bregbench.training.position import Position, on_cpu, to_channels_last
from bregbench.training.sources import Sources
from bregbench.training.stage import Stage

#: training images that transforms may compare outputs on
_EXAMPLE = 4
#: training images that a network may set itself by
_STARTERS = 5000


class Training:
    """One run in memory: data, network, position and the phase at work.

    The constructor reads the data and builds the network; `begin` or `resume` makes it ready to run.

    Attributes:
        position: how far the run has come.
        effort: what training has taken.
        initial: measurements before the first step.
        keeper: best weights, snapshots, and the files that the run relies on.
        sources: digests of the user's own functions.
        average: moving average of the weights in the phase at work, where it is asked for.

    Raises:
        BenchError: the config does not fit the data or the machine.
    """

    def __init__(self, config: Config, directory: RunDirectory) -> None:
        self.config = config
        self.directory = directory
        self.keeper = Keeper(config, directory)
        self.sources = Sources(config)
        self.device = config.trainer.torch_device()
        self.streams = Streams(config.seed)
        self.streams.seed_global()
        self.data = config.data.build(self.device)
        check_selection(config.trainer.select_on, config.task, self.data)
        config.task.check_targets(self.data.train.labels)
        with self.streams.scope("model"):
            self.network = config.model.build(
                input_shape=self.data.input_shape,
                classes=self.data.classes,
                normalization=self.data.normalization,
            )
        config.task.check_network(self.network, self.data.input_shape, self.data.classes)
        self.phases = config.run_phases()
        # Only phases that begin with something can change what the network consists of.
        changes = any(phase.begin is not None for phase in self.phases)
        self._built = structure_of(self.network, self.data.input_shape) if changes else None
        self._loader = BatchLoader(
            self.data.train,
            config.trainer.step_size,
            generator=self.streams.generator("data_order"),
            augment_generator=self.streams.generator("augmentation", self.device),
            augment=config.data.augment,
        )
        sizes = config.trainer.image_sizes
        drawn = bool(sizes) and not config.trainer.sizes_in_order
        self._resize = BatchSizes(sizes, self.streams.generator("image_sizes") if drawn else None)
        self.position = Position()
        self.effort = Effort()
        self._noise = self.streams.generator("task", self.device)
        self._scores = Scores(config.task, self.device)
        self._stage: Stage | None = None
        self.average: MovingAverage | None = None
        self.initial: dict[str, float] = {}

    @property
    def stage(self) -> Stage:
        """The phase at work; there is none before `begin` or `resume`."""
        assert self._stage is not None, "begin or resume comes first"
        return self._stage

    @property
    def method(self) -> Method:
        """The method of the phase at work."""
        return self.stage.method

    def begin(self) -> Training:
        """Set the starting weights, begin the first phase and measure; returns itself.

        Raises:
            BenchError: the network, a phase or a method does not fit the data.
        """
        if isinstance(self.network, StartsFromData):
            self.network.start_from(to_unit_interval(self.data.train.images[:_STARTERS]))
        self.phases[0].method.prepare(self.network, self.streams)
        self._place()
        example = to_unit_interval(self.data.train.images[:1])
        self._resize.check(self.network, example, self.config.model.kind)
        first = self._transformed(0)
        assert first is not None
        self._enter(first)
        self.initial = self._measure()
        for phase in self.phases:
            phase.schedule.check_measured(self.initial)
        return self

    def resume(self) -> bool:
        """Take up the run where its checkpoint stands, without beginning it; False where there is none.

        Raises:
            BenchError: a file that the run relies on was lost or damaged.
        """
        if not self.directory.checkpoint.is_file():
            return False
        state = read_tensors(self.directory.checkpoint, self.device)
        self.position = Position(**state["position"])
        self.effort = Effort.resumed(state.get("effort"))
        load_weights(self.network, state["network"])
        self._place()
        self._build_stage(state["masks"])
        self.stage.load_state_dict(state)
        if self.average is not None:
            self.average.network.load_state_dict(state["average"])
        self._scores.load_state_dict(state["scores"])
        self.streams.load_state_dict(on_cpu(state["streams"]))
        self._loader.load_state_dict(on_cpu(state["loader"]))
        self.initial = state["initial"]
        self.sources.load_state_dict(state.get("sources", {}))
        self.keeper.restore(state["best"], state.get("files"), epochs=self.position.epochs)
        return True

    def context(self) -> RunContext:
        """What the method of the phase at work may know."""
        trainer = self.config.trainer
        return RunContext(
            task=self.config.task,
            data=self.data,
            batch_size=trainer.step_size,
            steps_per_epoch=len(self._loader),
            epochs=self.phases[self.position.phase].epochs,
            device=self.device,
            streams=self.streams,
            bf16=trainer.precision is Precision.bf16,
            channels_last=trainer.channels_last,
            compile=trainer.compile,
            clip_gradients=trainer.clip_gradients,
            accumulate=trainer.accumulate,
            built=self._built,
        )

    def run(self, tracker: Tracker, *, deadline: float | None = None) -> None:
        """Train from the present position to the end.

        Args:
            tracker: sees every epoch.
            deadline: reading of `time.monotonic` after which to stop; None for never.

        Raises:
            BenchError: a metric is no longer finite.
            Interrupted: a signal or the deadline asked to stop; the position is saved.
        """
        total = sum(phase.epochs for phase in self.phases)
        with (
            Interrupts(deadline) as interrupts,
            EpochProgress(
                epochs=total,
                done=self.position.epochs,
                steps_per_epoch=len(self._loader),
            ) as progress,
        ):
            if self.position.steps == 0:
                self.keeper.keep_snapshot(0, self.network.state_dict())
            while True:
                while self._epochs_left() and self._steps_left():
                    self._train_epoch(progress, interrupts)
                    row = self._end_epoch(total)
                    tracker.log(row)
                    progress.epoch(self.position.epochs, row)
                    # A request that came after the last step would otherwise be forgotten, and the final
                    # evaluation would go on.
                    request = interrupts.request()
                    if request is not None:
                        raise request
                if not self._steps_left() or not self._next_phase():
                    return
                self.save()

    def _next_phase(self) -> bool:
        """Begin the next phase that has anything to do; False where there is none."""
        index = self.position.phase + 1
        while index < len(self.phases):
            begun = self._transformed(index)
            if begun is not None:
                self.position.phase = index
                self.position.phase_epochs = 0
                self._enter(begun)
                return True
            group = self.phases[index].group
            while index < len(self.phases) and self.phases[index].group == group:
                index += 1
        return False

    def _transformed(self, index: int) -> Begun | None:
        """What a phase begins with; None where it has nothing to do."""
        phase = self.phases[index]
        if phase.begin is None:
            return Begun(network=self.network)
        turn = Turn(
            phase=phase.name,
            number=phase.number,
            repeat=phase.repeat,
            network=self.network,
            method=self._stage.method if self._stage is not None else None,
            snapshot=lambda epoch: self.keeper.snapshot(epoch, now=self.position.epochs),
            example=to_unit_interval(self.data.train.images[:_EXAMPLE]),
            streams=self.streams,
        )
        return phase.begin.begin(turn)

    def _enter(self, begun: Begun) -> None:
        """Make the phase of the present position ready for its first step."""
        if begun.network is not self.network:
            self.network = begun.network
            self._place()
        self._build_stage(begun.masks)
        self.keeper.begin_phase()
        if begun.carry is not None:
            begun.carry(self.method)

    def _build_stage(self, masks: Masks) -> None:
        phase = self.phases[self.position.phase]
        warmup, decay = self.config.trainer.warmup, self.config.trainer.ema
        self._stage = Stage.build(phase, self.network, masks, self.context(), warmup=warmup)
        self.average = None if decay is None else MovingAverage(self.network, decay)
        self._meter = Meter(self.network, self.data.input_shape)

    def _place(self) -> None:
        """Put the network on its device, in its memory layout."""
        self.network.to(self.device)
        if self.config.trainer.channels_last:
            to_channels_last(self.network)

    def _epochs_left(self) -> bool:
        return self.position.phase_epochs < self.stage.phase.epochs and not self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether the phase at work has waited long enough for a better epoch."""
        patience, best = self.config.trainer.patience, self.keeper.best["epoch"]
        return patience is not None and best > 0 and self.position.epochs - best >= patience

    def _done(self) -> float:
        """The share of the run's epochs that lie behind."""
        return self.position.epochs / max(1, sum(phase.epochs for phase in self.phases))

    def _steps_left(self) -> bool:
        limit = self.config.trainer.max_steps
        return limit is None or self.position.steps < limit

    def _train_epoch(self, progress: EpochProgress, interrupts: Interrupts) -> None:
        self.network.train()
        context = self.context()
        begin = time.perf_counter() - self.position.epoch_seconds
        next_save = time.monotonic() + 60 * self.config.trainer.checkpoint_minutes
        self.effort.start()
        for images, labels in self._loader:
            images = self._resize(images, self._done())
            inputs, targets = self.config.task.pose(images, labels, self._noise)
            step = self.method.step(context.arrange(inputs), targets, self._loader.indices)
            self.stage.hold_masks()
            if self.average is not None:
                self.average.update(self.network)
            self._scores.add(step.loss, step.outputs, targets)
            self.effort.add(len(labels), self.method, self._meter)
            self.position.steps += 1
            self.position.epoch_seconds = time.perf_counter() - begin
            progress.step()
            request = interrupts.request()
            if request is not None:
                self._save_within_epoch()
                raise request
            if time.monotonic() > next_save:
                self._save_within_epoch()
                next_save = time.monotonic() + 60 * self.config.trainer.checkpoint_minutes
            if not self._steps_left():
                break
        self.effort.stop(self.device)

    def _save_within_epoch(self) -> None:
        self.effort.stop(self.device)
        self.save()
        self.effort.start()

    def _end_epoch(self, total: int) -> dict[str, Any]:
        self.position.phase_epochs += 1
        self.position.epochs += 1
        begin = time.perf_counter()
        self.stage.synchronise()
        metrics = {**self._scores.read("train"), **self._measure()}
        self._scores = Scores(self.config.task, self.device)
        self._refuse_nonfinite(metrics)
        found = self.method.end_epoch(metrics)
        self._refuse_nonfinite(found)
        metrics |= found | self.effort.end_epoch(self._meter)
        seconds = self.position.epoch_seconds + time.perf_counter() - begin
        self.position.seconds += seconds
        self.position.epoch_seconds = 0.0
        self.stage.end_epoch(metrics)
        self.keeper.ledger.refuse_lost()
        self.keeper.keep(self.position.epochs, metrics, self.network.state_dict())
        row = {"epoch": self.position.epochs, "phase": self.stage.phase.name, **metrics}
        row["seconds"] = round(seconds, 4)
        self.keeper.ledger.append_metrics(row)
        self.save()
        self.directory.write_status("running", epoch=self.position.epochs, epochs=total)
        return row

    def _measure(self) -> dict[str, float]:
        return measure(self.network, self.data, self.context(), self.config.trainer.select_on)

    def _refuse_nonfinite(self, metrics: dict[str, float]) -> None:
        advice = f"{self.method.remedy}; earlier epochs are kept in {self.directory.path}"
        refuse_nonfinite(metrics, self.position.epochs, advice)

    def save(self) -> None:
        """Write a checkpoint from which the run continues bit by bit, once what it relies on is written.

        Raises:
            BenchError: a file of the run was deleted or cut short, or nothing can be written.
        """
        self.keeper.sync()
        self.stage.synchronise()
        state = {
            "position": dataclasses.asdict(self.position),
            "effort": dataclasses.asdict(self.effort),
            "network": self.network.state_dict(),
            **self.stage.state_dict(),
            "scores": self._scores.state_dict(),
            "streams": self.streams.state_dict(),
            "loader": self._loader.state_dict(),
            "best": self.keeper.best,
            "initial": self.initial,
            "sources": self.sources.state_dict(),
            **({"average": self.average.network.state_dict()} if self.average is not None else {}),
            "files": self.keeper.ledger.state_dict(),
        }
        write_tensors(self.directory.checkpoint, state, make_folder=False)
        self.keeper.ledger.keep_next_best()
        self.keeper.ledger.refuse_lost()
