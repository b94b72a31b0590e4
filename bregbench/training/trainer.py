"""Training: the loop over phases, epochs and batches."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

import torch

from bregbench.data import BatchLoader
from bregbench.data.loader import to_unit_interval
from bregbench.foundations.console import EpochProgress
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors, write_tensors
from bregbench.foundations.interrupts import Interrupts
from bregbench.foundations.streams import Streams
from bregbench.measures import active_units, density, l1_norm, modes
from bregbench.measures.structure import structure_of
from bregbench.methods import Method
from bregbench.methods.schedules import Schedule
from bregbench.methods.thresholds import Masks
from bregbench.phases.base import Begun, Turn
from bregbench.schema.config import Config
from bregbench.schema.selecting import check_selection, selection_metric, withstood
from bregbench.schema.trainer import Precision, SelectOn
from bregbench.storage.directory import RunDirectory
from bregbench.storage.ledger import Ledger
from bregbench.storage.restore import load_weights
from bregbench.storage.sparse_weights import load_sparse, save_sparse
from bregbench.storage.tracking import Tracker
from bregbench.tasks.context import RunContext
from bregbench.tasks.scoring import Scores, score
from bregbench.training.batch_sizes import BatchSizes

#: training images that transforms may compare outputs on
_EXAMPLE = 4


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        phase: index of the phase at work.
        phase_epochs: finished epochs of that phase.
        epochs: finished epochs of the run.
        steps: training steps of the run.
        seconds: training time of the run, up to the last finished epoch.
        epoch_seconds: training time of the epoch at work.
    """

    phase: int = 0
    phase_epochs: int = 0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0


class Training:
    """One run in memory: data, network, method and position.

    Raises:
        BenchError: the config does not fit the data or the machine.
    """

    def __init__(self, config: Config, directory: RunDirectory) -> None:
        self.config = config
        self.directory = directory
        self.ledger = Ledger(directory)
        self.device = config.trainer.torch_device()
        self.streams = Streams(config.seed)
        self.streams.seed_global()
        self.data = config.data.build(self.device)
        check_selection(config.trainer.select_on, config.task, self.data)
        with self.streams.scope("model"):
            self.network = config.model.build(
                input_shape=self.data.input_shape,
                classes=self.data.classes,
                normalization=self.data.normalization,
            )
        config.task.check_network(self.network, self.data.input_shape, self.data.classes)
        self.phases = config.run_phases()
        self.phases[0].method.prepare(self.network, self.streams)
        # Only phases that begin with something can change what the network consists of.
        changes = any(phase.begin is not None for phase in self.phases)
        self._built = structure_of(self.network, self.data.input_shape) if changes else None
        self._place()
        self._loader = BatchLoader(
            self.data.train,
            config.trainer.batch_size,
            generator=self.streams.generator("data_order"),
            augment_generator=self.streams.generator("augmentation", self.device),
            augment=config.data.augment,
        )
        sizes = config.trainer.image_sizes
        self._resize = BatchSizes(sizes, self.streams.generator("image_sizes") if sizes else None)
        example = to_unit_interval(self.data.train.images[:1])
        self._resize.check(self.network, example, config.model.kind)
        self.position = Position()
        self._noise = self.streams.generator("task", self.device)
        self._scores = Scores(config.task, self.device)
        self._masks: Masks = {}
        first = self._begin(0)
        assert first is not None
        self._begin_phase(first)
        self.initial = self._measure()
        for phase in self.phases:
            phase.schedule.check_measured(self.initial)

    def context(self) -> RunContext:
        """What the present phase's method may know."""
        trainer = self.config.trainer
        return RunContext(
            task=self.config.task,
            data=self.data,
            batch_size=trainer.batch_size,
            steps_per_epoch=len(self._loader),
            epochs=self._phase.epochs,
            device=self.device,
            streams=self.streams,
            bf16=trainer.precision is Precision.bf16,
            channels_last=trainer.channels_last,
            compile=trainer.compile,
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
                title=self.config.name,
                epochs=total,
                done=self.position.epochs,
                steps_per_epoch=len(self._loader),
            ) as progress,
        ):
            if self.position.steps == 0:
                self._keep_snapshot()
            while True:
                while self.position.phase_epochs < self._phase.epochs and self._steps_left():
                    self._train_epoch(progress, interrupts)
                    row = self._end_epoch(total)
                    tracker.log(row)
                    progress.epoch(self.position.epochs, row)
                    # Else one that came after the last step would be forgotten, and the final
                    # evaluation go on.
                    request = interrupts.request()
                    if request is not None:
                        raise request
                if not self._steps_left() or not self._next_phase():
                    return
                self.save()

    def resume(self) -> bool:
        """Take up the run where its checkpoint stands; False where there is none."""
        if not self.directory.checkpoint.is_file():
            return False
        state = read_tensors(self.directory.checkpoint, self.device)
        self.position = Position(**state["position"])
        load_weights(self.network, state["network"])
        self._place()
        self._masks = state["masks"]
        self._build_phase()
        self._method.load_state_dict(state["method"])
        self._schedule.load_state_dict(state["schedule"])
        self._scores.load_state_dict(state["scores"])
        self.streams.load_state_dict(_on_cpu(state["streams"]))
        self._loader.load_state_dict(_on_cpu(state["loader"]))
        self.best = state["best"]
        self.initial = state["initial"]
        self._take_up_files(state.get("files"))
        return True

    def _take_up_files(self, kept: dict[str, Any] | None) -> None:
        """Make sure that what the checkpoint relies on is there; older ones do not say what it is."""
        if kept is not None:
            self.ledger.load_state_dict(kept)
            return
        epochs = self.position.epochs
        if len(self.directory.read_metrics()) < epochs:
            raise BenchError(
                f"{self.directory.metrics} has lost epochs that {self.directory.checkpoint} is past: put it "
                f"back, or delete {self.directory.path} to start this run again"
            )
        self.directory.keep_metrics(epochs)
        self.ledger.begin()
        if self.best["epoch"] > 0:
            read_tensors(self.directory.best)
            self.ledger.add(self.directory.best)
        for epoch in self._snapshots():
            if epoch <= epochs:
                self._snapshot(epoch)
                self.ledger.add(self.directory.snapshot(epoch))

    def start(self) -> None:
        """Begin from nothing: what an earlier process left of this run is forgotten."""
        self.directory.remove_results()
        self.ledger.begin()

    @property
    def method(self) -> Method:
        """The method of the present phase."""
        return self._method

    def _next_phase(self) -> bool:
        """Begin the next phase that has anything to do; False where there is none."""
        index = self.position.phase + 1
        while index < len(self.phases):
            begun = self._begin(index)
            if begun is not None:
                self.position.phase = index
                self.position.phase_epochs = 0
                self._begin_phase(begun)
                return True
            group = self.phases[index].group
            while index < len(self.phases) and self.phases[index].group == group:
                index += 1
        return False

    def _begin(self, index: int) -> Begun | None:
        """What a phase begins with; None where it has nothing to do."""
        phase = self.phases[index]
        if phase.begin is None:
            return Begun(network=self.network)
        images = self.data.train.images[:_EXAMPLE]
        turn = Turn(
            phase=phase.name,
            number=phase.number,
            repeat=phase.repeat,
            network=self.network,
            method=getattr(self, "_method", None),
            snapshot=self._snapshot,
            example=to_unit_interval(images),
            streams=self.streams,
        )
        return phase.begin.begin(turn)

    def _begin_phase(self, begun: Begun) -> None:
        if begun.network is not self.network:
            self.network = begun.network
            self._place()
        self._masks = begun.masks
        self._build_phase()
        if begun.carry is not None:
            begun.carry(self._method)

    def _place(self) -> None:
        """Put the network on its device, in its memory layout."""
        self.network.to(self.device)
        if self.config.trainer.channels_last:
            _to_channels_last(self.network)

    def _build_phase(self) -> None:
        self._phase = self.phases[self.position.phase]
        context = self.context()
        self._method = self._phase.method.build(self.network, self._phase.objective, context)
        self._schedule: Schedule = self._phase.schedule.build(self._phase.epochs)
        self._method.scale_lr(self._schedule.factor)
        parameters = dict(self.network.named_parameters())
        self._masked: list[torch.Tensor] = [parameters[name] for name in self._masks]
        self._kept = [self._masks[name].to(parameters[name]) for name in self._masks]
        # "Best" is a choice among the networks that the last phase has trained; 0 is none yet.
        self.best: dict[str, Any] = {"epoch": 0, "value": None}
        self.ledger.drop(self.directory.best)

    @torch.no_grad()
    def _hold_masks(self) -> None:
        for parameter, kept in zip(self._masked, self._kept, strict=True):
            parameter.mul_(kept)

    def _steps_left(self) -> bool:
        limit = self.config.trainer.max_steps
        return limit is None or self.position.steps < limit

    def _train_epoch(self, progress: EpochProgress, interrupts: Interrupts) -> None:
        self.network.train()
        context = self.context()
        begin = time.perf_counter() - self.position.epoch_seconds
        next_save = time.monotonic() + 60 * self.config.trainer.checkpoint_minutes
        for images, labels in self._loader:
            inputs, targets = self.config.task.pose(self._resize(images), labels, self._noise)
            step = self._method.step(context.arrange(inputs), targets, self._loader.indices)
            self._hold_masks()
            self._scores.add(step.loss, step.outputs, targets)
            self.position.steps += 1
            self.position.epoch_seconds = time.perf_counter() - begin
            progress.step()
            request = interrupts.request()
            if request is not None:
                self.save()
                raise request
            if time.monotonic() > next_save:
                self.save()
                next_save = time.monotonic() + 60 * self.config.trainer.checkpoint_minutes
            if not self._steps_left():
                break

    def _end_epoch(self, total: int) -> dict[str, Any]:
        self.position.phase_epochs += 1
        self.position.epochs += 1
        begin = time.perf_counter()
        metrics = {**self._scores.read("train"), **self._measure()}
        self._scores = Scores(self.config.task, self.device)
        self._refuse_nonfinite(metrics)
        found = self._method.end_epoch(metrics)
        self._refuse_nonfinite(found)
        metrics |= found
        seconds = self.position.epoch_seconds + time.perf_counter() - begin
        self.position.seconds += seconds
        self.position.epoch_seconds = 0.0
        self._schedule.end_epoch(metrics)
        self._method.scale_lr(self._schedule.factor)
        self._keep_best(metrics)
        self._keep_snapshot()
        row = {"epoch": self.position.epochs, "phase": self._phase.name, **metrics}
        row["seconds"] = round(seconds, 4)
        self.ledger.append_metrics(row)
        self.save()
        self.directory.write_status("running", epoch=self.position.epochs, epochs=total)
        return row

    def _measure(self) -> dict[str, float]:
        select_on = self.config.trainer.select_on
        splits = {"validation": self.data.validation}
        if select_on is SelectOn.test:
            splits["test"] = self.data.test
        scores = {
            key: value
            for name, split in splits.items()
            for key, value in score(self.network, split, self.context(), name).items()
        }
        if select_on is SelectOn.robustness:
            scores |= withstood(self.network, self.data, scores)
        return {
            **scores,
            **density(self.network),
            **active_units(self.network),
            **modes(self.network),
            "l1_norm": l1_norm(self.network),
        }

    def _keep_best(self, metrics: dict[str, float]) -> None:
        value = metrics.get(selection_metric(self.config.trainer.select_on, self.config.task))
        held = self.best["value"]
        # The latest of equals, as in the published code; without validation data the last epoch.
        if value is None or held is None or value >= held:
            self.best = {"epoch": self.position.epochs, "value": value}
            # Beside the former ones, on which the last checkpoint still relies.
            write_tensors(self.directory.next_best, self.network.state_dict(), make_folder=False)

    def _snapshots(self) -> set[int]:
        """Epochs whose weights are kept, for figures or to go back to."""
        rewinds = [e for p in self.phases if p.begin is not None for e in p.begin.rewinds()]
        return {*self.config.trainer.snapshots, *rewinds}

    def _keep_snapshot(self) -> None:
        if self.position.epochs in self._snapshots():
            path = self.directory.snapshot(self.position.epochs)
            self.directory.make_snapshots()
            save_sparse(path, self.network.state_dict())
            self.ledger.add(path)

    def _snapshot(self, epoch: int) -> dict[str, torch.Tensor]:
        path = self.directory.snapshot(epoch)
        if not path.is_file():
            raise BenchError(
                f"no weights of epoch {epoch} to go back to: the run is at epoch "
                f"{self.position.epochs}; rewind to an earlier one"
            )
        return load_sparse(path)

    def _refuse_nonfinite(self, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise BenchError(
                    f"{name} became {value} in epoch {self.position.epochs}: "
                    f"{self._method.remedy}; earlier epochs are kept in {self.directory.path}"
                )

    def save(self) -> None:
        """Write a checkpoint from which the run continues bit by bit, once what it relies on is written.

        Raises:
            BenchError: a file of the run was deleted or cut short, or nothing can be written.
        """
        directory = self.directory
        directory.refuse_gone()
        if directory.next_best.is_file():
            self.ledger.add(directory.best, written_as=directory.next_best)
        self.ledger.sync()
        state = {
            "position": dataclasses.asdict(self.position),
            "network": self.network.state_dict(),
            "masks": self._masks,
            "method": self._method.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scores": self._scores.state_dict(),
            "streams": self.streams.state_dict(),
            "loader": self._loader.state_dict(),
            "best": self.best,
            "initial": self.initial,
            "files": self.ledger.state_dict(),
        }
        write_tensors(directory.checkpoint, state, make_folder=False)
        self.ledger.keep_next_best()
        self.ledger.refuse_lost()


def _to_channels_last(network: torch.nn.Module) -> None:
    """Give convolution weights the layout; `Module.to` refuses the five axes of spectral layers.

    With one channel a tensor is contiguous in either layout, so `contiguous` would leave the strides as
    they are, and these decide in which layout a convolution answers.
    """
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def _on_cpu(state: Any) -> Any:
    """Generator states are CPU tensors, whatever device the checkpoint was loaded onto."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    return state
