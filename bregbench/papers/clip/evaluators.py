"""Robustness: accuracy of networks under noise and under attacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn

from bregbench.data import Data
from bregbench.data.loader import to_unit_interval
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.evaluators.sample import sample_of
from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import MOST, check_counts, check_numbers
from bregbench.foundations.streams import Streams
from bregbench.tasks.context import RunContext
from clip import attacks
from clip.choices import Norm
from clip.gradients import checked


@dataclass
class Robustness(EvaluatorConfig):
    """Accuracy under projected gradient attacks and under Gaussian noise, images in [0, 1].

    Attributes:
        images: how many test images are attacked.
        norm: norm of the perturbations.
        radii: largest norms of the perturbations.
        steps: number of steps of every attack.
        restarts: number of starts of every attack; the first start is the image itself.
        noise: standard deviations of Gaussian noise; noisy images are clamped to [0, 1].
    """

    kind: ClassVar[str] = "robustness"
    measures: ClassVar[tuple[str, ...]] = ("robustness/clean", "robustness/*_[0-9]*")
    images: int = 1000
    norm: Norm = Norm.l2
    radii: list[float] = field(default_factory=lambda: [0.1, 0.25, 0.5, 1.0, 2.0])
    steps: int = 50
    restarts: int = 1
    noise: list[float] = field(default_factory=lambda: [0.1, 0.3])

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "images")
        check_counts(self, at, "steps", "restarts", most=MOST)
        check_numbers(self, at, "radii", above=0)
        check_numbers(self, at, "noise", least=0)

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`robustness/clean`, `robustness/<norm>_<radius>` and `robustness/noise_<deviation>`."""
        sample = sample_of(data.test, self.images)
        images, labels = to_unit_interval(sample.images), sample.labels
        # Streams of their own: an evaluation must not depend on what was drawn before it.
        streams = Streams(context.streams.seed)
        attack = partial(attacks.pgd, norm=self.norm, steps=self.steps, restarts=self.restarts)
        broken = _withstood(
            network,
            images,
            labels,
            radii=self.radii,
            attack=attack,
            generator=streams.generator("attack", images.device),
        )
        _note_masked(self.kind, broken)
        found = {"robustness/clean": _accuracy(network, images, labels)}
        found |= {f"robustness/{self.norm}_{r:g}": share for r, share in broken.items()}
        generator = streams.generator("noise", images.device)
        for deviation in self.noise:
            noisy = attacks.gaussian_noise(images, deviation, generator, clamp=(0.0, 1.0))
            found[f"robustness/noise_{deviation:g}"] = _accuracy(network, noisy, labels)
        return found


@dataclass
class PaperRobustness(EvaluatorConfig):
    """Robustness as Table 1 of the CLIP paper measures it, and under gradient steps of the same radius.

    Attributes:
        images: how many test images are attacked.
        radius: Euclidean radius of the attacks on images in [0, 1].
        steps: number of steps of both attacks.
        noise: standard deviation of the Gaussian noise.
        step_size: step size of the paper's attack, which steps along the signs of the gradient.
        clamp: whether noisy and attacked images stay in [0, 1]: not in the paper, but in its published
            code, whose step size is 0.5.
    """

    kind: ClassVar[str] = "paper_robustness"
    measures: ClassVar[tuple[str, ...]] = (
        "robustness/noise",
        "robustness/pgd",
        "robustness/pgd_strong",
    )
    images: int = 2000
    radius: float = 2.0
    steps: int = 100
    noise: float = 1.0
    step_size: float = 0.25
    clamp: bool = False

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "images")
        check_counts(self, at, "steps", most=MOST)
        check_numbers(self, at, "radius", "noise", "step_size", above=0)

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`robustness/noise`, `robustness/pgd` (the paper's attack), `robustness/pgd_strong`."""
        sample = sample_of(data.test, self.images)
        images, labels = to_unit_interval(sample.images), sample.labels
        accuracy = partial(_withstood, network, images, labels, radii=[self.radius])
        limits = (0.0, 1.0) if self.clamp else None
        paper = partial(
            attacks.paper_pgd, steps=self.steps, step_size=self.step_size, value_range=limits
        )
        weak = accuracy(attack=paper)
        strong = accuracy(attack=partial(attacks.pgd, steps=self.steps))
        _note_masked(self.kind, weak, strong)
        generator = Streams(context.streams.seed).generator("noise", images.device)
        noisy = attacks.gaussian_noise(images, self.noise, generator, clamp=limits)
        return {
            "robustness/noise": _accuracy(network, noisy, labels),
            "robustness/pgd": weak[self.radius],
            "robustness/pgd_strong": strong[self.radius],
        }


@dataclass
class StrongRobustness(EvaluatorConfig):
    """Robustness under the union of attacks `clip.attacks.strong`: the number to report.

    `robustness/pgd_strong` of older records is another metric: a single attack with fixed steps, under which
    accuracy on the CLIP networks of Table 1 is about 1.5 times as high.

    Attributes:
        images: how many test images are attacked: the first images of `paper_robustness`, equal for all runs.
        norm: norm of the perturbations.
        radius: largest norm of the perturbations of images in [0, 1].
        steps: number of steps of every attack.
        restarts: number of starts of the adaptive attack with each loss.
    """

    kind: ClassVar[str] = "strong_robustness"
    measures: ClassVar[tuple[str, ...]] = ("robustness/strong", "robustness/masked")
    images: int = 2000
    norm: Norm = Norm.l2
    radius: float = 2.0
    steps: int = 100
    restarts: int = 2

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "images")
        check_counts(self, at, "steps", "restarts", most=MOST)
        check_numbers(self, at, "radius", above=0)

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`robustness/strong` and `robustness/masked`.

        For norm l2, images that the attack of the CLIP paper breaks by leaving [0, 1] count as broken. Thus
        `robustness/strong` is never above `robustness/pgd` with equal images, radius and steps.
        """
        sample = sample_of(data.test, self.images)
        images, labels = to_unit_interval(sample.images), sample.labels
        generator = Streams(context.streams.seed).generator("attack", images.device)
        shares = _withstood(
            network,
            images,
            labels,
            radii=[self.radius],
            attack=partial(_with_paper, self),
            generator=generator,
        )
        return {"robustness/strong": shares[self.radius], "robustness/masked": shares.masked}


def _with_paper(
    config: StrongRobustness,
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    radii: Sequence[float],
    generator: torch.Generator | None,
) -> attacks.Attacked:
    found = attacks.strong(
        model,
        images,
        labels,
        radii=radii,
        norm=config.norm,
        steps=config.steps,
        restarts=config.restarts,
        generator=generator,
    )
    if config.norm is not Norm.l2:
        return found
    paper = attacks.paper_pgd(model, images, labels, radii=radii, steps=config.steps)
    broken = {radius: found.broken[radius] | paper.broken[radius] for radius in found.broken}
    return dataclasses.replace(found, broken=broken)


def _withstood(network: nn.Module, *data: torch.Tensor, **settings: Any) -> attacks.Shares:
    """`clip.attacks.robust_accuracy`, with the errors of the bench."""
    try:
        return attacks.robust_accuracy(network, *data, **settings)
    except ValueError as error:
        raise BenchError(f"accuracy under attack: {error}") from error


def _note_masked(evaluator: str, *found: attacks.Shares) -> None:
    masked = max(shares.masked for shares in found)
    if masked > 0:
        say(
            f"note: evaluators=[{evaluator}]: at {masked:.1%} of the images the gradient of the attack's "
            "loss vanished, was lost in rounding or was not finite, and the margin of the logits took over; "
            "evaluators=[strong_robustness] is harder to deceive"
        )


@torch.no_grad()
def _accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    hits = []
    for batch, truth in zip(images.split(250), labels.split(250), strict=True):
        try:
            hits.append((checked(network(batch)).argmax(1) == truth).sum())
        except ValueError as error:
            raise BenchError(f"accuracy on clean or noisy images: {error}") from error
    return int(torch.stack(hits).sum()) / len(labels)
