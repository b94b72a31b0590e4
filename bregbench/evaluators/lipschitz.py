"""Bounds on the Lipschitz constant of a finished network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

import clip
from bregbench.data import Data
from bregbench.data.loader import to_unit_interval
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.evaluators.sample import sample_of
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import check_counts
from bregbench.tasks.context import RunContext

#: For more outputs than this number, power iteration is cheaper than the whole Jacobian.
_WHOLE_JACOBIAN = 64


@dataclass
class Lipschitz(EvaluatorConfig):
    """Bounds on the Lipschitz constant of the logits in Euclidean norms, with input normalisation.

    Attributes:
        images: number of test images at which the lower bound takes the norm of the Jacobian.
    """

    kind: ClassVar[str] = "lipschitz"
    measures: ClassVar[tuple[str, ...]] = ("lipschitz/lower", "lipschitz/upper")
    images: int = 256

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "images")

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`lipschitz/lower` and `lipschitz/upper`.

        Raises:
            BenchError: a layer has no bound, or the bounds contradict each other.
        """
        sample = sample_of(data.test, self.images)
        iterations = None if data.classes <= _WHOLE_JACOBIAN else 20
        try:
            lower = clip.lower_bound(
                network, to_unit_interval(sample.images), iterations=iterations
            )
            upper = clip.upper_bound(network, data.input_shape)
            clip.check_bounds(lower, upper)
        except clip.BoundError as error:
            raise BenchError(f"evaluators=[lipschitz]: {error}") from error
        return {"lipschitz/lower": lower, "lipschitz/upper": upper}
