"""The starting weights of training: dense, or sparse as in section 4.1 of the Bregman paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

import torch
from torch import nn

from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.ranges import check_counts, check_numbers
from bregbench.foundations.streams import Streams
from bregbench.measures.layers import distinct_weights
from bregbench.methods.thresholds import Grouping
from bregman import he_normal, initialize_biases, initialize_shifts, sparsify
from fno import SpectralConv2d
from fno.frequencies import keep_low_frequencies


class Weights(StrEnum):
    """Distribution of the weights: the layers' own (torch's default), He-normal or Glorot-uniform.

    `he_out` is He-normal with the fan out, for convolutions only, and sets their biases to zero, as in
    the pruning experiments of DessiLBI.
    """

    default = "default"
    he = "he"
    glorot = "glorot"
    he_out = "he_out"


class Biases(StrEnum):
    """Distribution of the biases: the layers' own, U(0, s), U(-s, s) or zero."""

    default = "default"
    positive = "positive"
    symmetric = "symmetric"
    zero = "zero"


@dataclass
class StartConfig:
    """The starting weights of training.

    Attributes:
        weights: distribution before anything is dropped.
        density: share of the weights that is kept; 1 keeps all.
        by: what is kept or dropped as a whole.
        exact: keep exactly that share of each layer, instead of each unit with that probability.
        balanced: keep that share of each filter and row, at least one weight, so that none is empty.
        rescale: multiply what is kept by 1/sqrt(density), which keeps the variance (4.3, 4.5).
        factor: multiply by this instead (the published code used 4.77 or 10).
        biases: distribution of the biases; dead ReLU units need positive ones.
        bias_scale: biases are drawn up to bias_scale / sqrt(fan in).
        shifts: shifts of BatchNorm are drawn from U(0, shifts), for the same reason as positive biases; 0
            leaves them at torch's zero.
        frequencies: keep the modes of spectral layers up to this frequency only, 0 for the mean alone;
            None keeps all. Density and weights above are those of Linear layers and other convolutions.
        zero: globs on names of weights that begin at zero, such as those of the last layer, whatever the
            density.
    """

    weights: Weights = Weights.default
    density: float = 1.0
    by: Grouping = Grouping.entry
    exact: bool = True
    balanced: bool = False
    rescale: bool = True
    factor: float | None = None
    biases: Biases = Biases.default
    bias_scale: float = 1.0
    shifts: float = 0.0
    frequencies: int | None = None
    zero: list[str] = field(default_factory=list)

    def check(self, at: str) -> None:
        """Raise BenchError if a value is out of range.

        Args:
            at: key of these options, such as `method.start`.

        Raises:
            BenchError: a value is out of range; the message names the key, the value and the range.
        """
        check_numbers(self, at, "density", above=0, most=1)
        check_numbers(self, at, "factor", above=0)
        check_numbers(self, at, "bias_scale", "shifts", least=0)
        check_counts(self, at, "frequencies", least=0)
        whole = self.by in (Grouping.filter, Grouping.row) or not self.exact
        require(
            not (self.balanced and whole),
            f"{at}.balanced",
            self.balanced,
            f"false with {at}.by={self.by.name} and {at}.exact={self.exact}: weights of each filter "
            "are counted, entries or kernels",
        )

    def apply(self, network: nn.Module, streams: Streams) -> None:
        """Set the network's weights and biases in place.

        Raises:
            BenchError: a glob of `zero` matches no parameter.
        """
        generator = streams.generator("start")
        if self.weights is Weights.he:
            he_normal(network, generator=generator)
        if self.weights is Weights.glorot:
            for layer in distinct_weights(network).values():
                if not isinstance(
                    layer, SpectralConv2d
                ):  # fan in and fan out of modes are not defined
                    nn.init.xavier_uniform_(layer.weight, generator=generator)
        if self.weights is Weights.he_out:
            _he_out(network, generator)
        if self.biases is not Biases.default:
            initialize_biases(
                network, scheme=self.biases, scale=self.bias_scale, generator=generator
            )
        rescale = self.rescale if self.factor is None else self.factor
        if self.density < 1 or self.factor is not None:
            sparsify(
                network,
                self.density,
                by=self.by,
                exact=self.exact,
                balanced=self.balanced,
                rescale=rescale,
                generator=generator,
            )
        if self.shifts > 0:
            initialize_shifts(network, scale=self.shifts, generator=streams.generator("shifts"))
        if self.frequencies is not None:
            keep_low_frequencies(network, self.frequencies)
        self._empty(network)

    @torch.no_grad()
    def _empty(self, network: nn.Module) -> None:
        for glob in self.zero:
            found = [p for name, p in network.named_parameters() if fnmatchcase(name, glob)]
            if not found:
                known = ", ".join(name for name, _ in network.named_parameters())
                raise BenchError(f"method.start.zero={glob} names no parameter: {known}")
            for parameter in found:
                parameter.zero_()


def sparse_start() -> StartConfig:
    """The paper's start: 1 % of He-normal weights, rescaled, and positive biases."""
    return StartConfig(weights=Weights.he, density=0.01, biases=Biases.positive)


def glorot_start() -> StartConfig:
    """Glorot-uniform weights and no biases."""
    return StartConfig(weights=Weights.glorot, biases=Biases.zero)


@torch.no_grad()
def _he_out(network: nn.Module, generator: torch.Generator) -> None:
    """Convolution weights from N(0, 2 / (outputs x kernel size)), their biases zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
