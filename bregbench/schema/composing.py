"""Which options of trainer and task go together with which methods and objectives."""

from __future__ import annotations

from bregbench.foundations.errors import BenchError
from bregbench.phases.base import Phase
from bregbench.schema.trainer import TrainerConfig
from bregbench.tasks.base import Classification, TaskConfig


def check_composition(trainer: TrainerConfig, task: TaskConfig, phase: Phase) -> None:
    """Refuse options of trainer and task that have no meaning in a phase.

    Raises:
        BenchError: names the option, what it does not go with, why, and the remedy.
    """
    method, objective = phase.method, phase.objective
    clipped, accumulated = trainer.clip_gradients is not None, trainer.accumulate > 1
    named = f"method={method.kind}"
    if not method.follows_gradients:
        reason = f"{named}, whose steps follow no gradients: leave it out"
        if isinstance(task, Classification) and task.label_smoothing > 0:
            raise BenchError(
                f"task.label_smoothing={task.label_smoothing} has no meaning for {named}, which has a loss "
                "of its own: leave it out"
            )
        _refuse(clipped, f"clip_gradients={trainer.clip_gradients}", reason)
        _refuse(
            accumulated,
            f"accumulate={trainer.accumulate}",
            f"{reason} and raise trainer.batch_size",
        )
    _refuse(
        accumulated and objective.whole_batch,
        f"accumulate={trainer.accumulate}",
        f"objective={objective.kind}, which looks at whole batches: raise trainer.batch_size instead",
    )
    _refuse(
        trainer.warmup > 0 and method.restarts,
        f"warmup={trainer.warmup}",
        f"{named}, which restarts whenever its learning rate changes: leave it out",
    )
    _refuse(
        trainer.patience is not None and method.paced() is not None,
        f"patience={trainer.patience}",
        f"{named}, whose method.{method.paced()} is spread over all epochs: leave one of the two out",
    )
    # A smaller network has other gradients, and between full steps the whole network stands still.
    shrinks = f"{named} with method.shrink, which trains smaller networks: leave one of the two out"
    _refuse(clipped and method.shrinks, f"clip_gradients={trainer.clip_gradients}", shrinks)
    _refuse(trainer.ema is not None and method.shrinks, f"ema={trainer.ema}", shrinks)


def _refuse(found: bool, option: str, reason: str) -> None:
    if found:
        raise BenchError(f"trainer.{option} has no meaning for {reason}")
