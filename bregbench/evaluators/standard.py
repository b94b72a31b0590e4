"""The default evaluators accuracy, density and cost, and the structure of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bregbench.data import Data
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.foundations.ranges import MOST, MOST_IMAGES, check_counts
from bregbench.measures import count_macs, count_parameters, of_weights, peak_memory_bytes
from bregbench.measures.cost import median_seconds
from bregbench.measures.density import layer_densities
from bregbench.measures.structure import structure_of
from bregbench.tasks.context import RunContext
from bregbench.tasks.scoring import score


@dataclass
class Accuracy(EvaluatorConfig):
    """Loss and scores on the test and validation splits.

    Attributes:
        train: also on the training split, after training and without augmentation.
        test: on the test split; without it a run never sees test images, as tuning asks for.
    """

    kind: ClassVar[str] = "accuracy"
    measures: ClassVar[tuple[str, ...]] = ("test/*", "validation/*", "train/*")
    train: bool = False
    test: bool = True

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`test/loss`, `validation/loss`, and the task's scores, such as `test/accuracy`."""
        return {
            **(score(network, data.test, context, "test") if self.test else {}),
            **score(network, data.validation, context, "validation"),
            **(score(network, data.train, context, "train") if self.train else {}),
        }


@dataclass
class Density(EvaluatorConfig):
    """Densities, shares of active units, numbers of modes, and the l1 norm of the network."""

    kind: ClassVar[str] = "density"
    measures: ClassVar[tuple[str, ...]] = (
        *("density/*", "active_units/*", "units/*", "modes/*"),
        "l1_norm",
    )

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`density/*`, `active_units/*`, `units/*`, `modes/*` of spectral layers, and `l1_norm`."""
        return of_weights(network)


@dataclass
class Cost(EvaluatorConfig):
    """Cost of one forward pass, and size of the network.

    Attributes:
        batch_size: number of images in the timed forward pass.
        repeats: number of timed passes; the median counts.
    """

    kind: ClassVar[str] = "cost"
    measures: ClassVar[tuple[str, ...]] = ("cost/*",)
    batch_size: int = 128
    repeats: int = 5

    def check(self, at: str) -> None:
        """See `EvaluatorConfig.check`."""
        check_counts(self, at, "batch_size", most=MOST_IMAGES)
        check_counts(self, at, "repeats", most=MOST)

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """MACs (dense, and weighted by density), parameters, forward time and peak memory."""
        macs = count_macs(network, data.input_shape)
        found: dict[str, float] = {
            "cost/macs": macs.dense,
            "cost/effective_macs": macs.effective,
            "cost/parameters": count_parameters(network),
            "cost/forward_seconds": self._forward_seconds(network, data, context),
        }
        memory = peak_memory_bytes(context.device)
        return found if memory is None else found | {"cost/peak_memory": memory}

    def _forward_seconds(self, network: nn.Module, data: Data, context: RunContext) -> float:
        shape = (self.batch_size, *data.input_shape)
        images = context.arrange(torch.zeros(shape, device=context.device))

        def forward() -> None:
            with context.autocast():
                network(images)

        return median_seconds(forward, context.device, repeats=self.repeats)


@dataclass
class Structure(EvaluatorConfig):
    """Structure of the network, also relative to the network as it was built."""

    kind: ClassVar[str] = "structure"
    measures: ClassVar[tuple[str, ...]] = (
        "width/*",
        "output_side/*",
        "layer_density/*",
        "cost/relative_macs",
        "cost/dropped_layers",
        "density/of_built",
    )

    def evaluate(self, network: nn.Module, data: Data, context: RunContext) -> dict[str, float]:
        """`width/<layer>`, `output_side/<layer>`, `layer_density/<layer>` and `/convolutions`.

        Runs whose phases may change the structure also get `cost/relative_macs`, `cost/dropped_layers`
        and `density/of_built`.
        """
        found = structure_of(network, data.input_shape)
        metrics: dict[str, float] = {f"width/{n}": width for n, width in found.widths.items()}
        metrics |= {f"output_side/{name}": side for name, side in found.sides.items()}
        metrics |= layer_densities(network)
        built = context.built
        if built is None:
            return metrics
        nonzero = sum(int(parameter.count_nonzero()) for parameter in network.parameters())
        return metrics | {
            "cost/relative_macs": found.macs / built.macs,
            "cost/dropped_layers": len(built.widths) - len(found.widths),
            "density/of_built": nonzero / built.parameters,
        }
