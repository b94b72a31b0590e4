"""`fno` against FFTs and direct convolutions: steps of Figure 3's networks, and single layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Adam

from bregbench.benchmark.rows import Row
from bregbench.benchmark.timing import interleave, median_milliseconds, median_ratio
from bregbench.foundations.memory import keep_freed_memory
from bregbench.papers.fno import CnnCircular, Fno
from fno import CircularConv2d, SpectralConv2d, dense

BATCH, REPEATS = 128, 3
#: of the paper's Figure 3
KERNELS, MODES = (3, 5, 15, 20, 25, 28), (3, 5, 10, 15, 20, 25, 28)
#: of the networks that direct convolutions are measured on; larger kernels take seconds
DIRECT = (3, 5, 7, 10, 15)
#: sizes of the layers that are measured alone
LAYERS = (3, 5, 7, 10, 15, 20, 25, 28)
#: no more than so much of the time without matrices; wholly spectral steps with few modes gain most
GOALS = {"CNN@5": 1.1, "FNO@3": 0.5, "FNO@5": 0.5, "FNO@10": 0.6, "FNO@15": 0.7}


def fourier_rows(*, rounds: int) -> Iterator[Row]:
    """Time of a training step of each network (Adam, 128 images of 28 x 28), beside other ways."""
    keep_freed_memory()  # as a run does
    configs: dict[str, CnnCircular | Fno] = {
        f"CNN@{k}": CnnCircular(kernel_size=k) for k in KERNELS
    }
    configs |= {f"FNO@{m}": Fno(modes=m) for m in MODES}
    for name, config in configs.items():
        step = _step(config)
        seconds = interleave({"chosen": step, "FFT": _by_fft(step)}, rounds=rounds, repeats=REPEATS)
        yield Row(
            "networks of FNO Figure 3, whole step",
            name,
            median_ratio(seconds, "chosen", "FFT"),
            "x FFT",
            GOALS.get(name),
            milliseconds=median_milliseconds(seconds, "chosen"),
        )

    for kernel in DIRECT:
        config = CnnCircular(kernel_size=kernel)
        sides = {"chosen": _step(config), "direct": _step(config, direct=True)}
        seconds = interleave(sides, rounds=rounds, repeats=REPEATS)
        yield Row(
            "networks of FNO Figure 3, direct convolutions",
            f"CNN@{kernel}",
            median_ratio(seconds, "direct", "chosen"),
            "x chosen",
            None,
            milliseconds=median_milliseconds(seconds, "direct"),
        )

    for kernel in LAYERS:
        seconds = interleave(_layer_passes(kernel), rounds=rounds, repeats=1)
        for way in ("FFT", "spectral"):
            yield Row(
                "circular convolutions, 8 to 16 channels of 28 x 28, forward and backward",
                f"{kernel} x {kernel}, {way}",
                median_ratio(seconds, way, "direct"),
                "x direct",
                milliseconds=median_milliseconds(seconds, way),
            )


def _layer_passes(kernel: int) -> dict[str, Callable[[], None]]:
    """Passes of the second convolution of the paper's network: direct, by FFT, as a spectral layer."""
    layers: dict[str, nn.Module] = {
        "direct": CircularConv2d(8, 16, kernel, method="direct"),
        "FFT": CircularConv2d(8, 16, kernel, method="fft"),
        "spectral": SpectralConv2d(8, 16, kernel),
    }
    images = torch.randn(BATCH, 8, 28, 28, requires_grad=True)
    return {
        way: lambda layer=layer: layer(images).sum().backward() for way, layer in layers.items()
    }


def _step(config: CnnCircular | Fno, *, direct: bool = False) -> Callable[[], None]:
    network = config.build(input_shape=(1, 28, 28), classes=10)
    for module in network.modules():
        if direct and isinstance(module, CircularConv2d):
            module.method = "direct"
    optimizer = Adam(network.parameters(), lr=1e-3)
    images, labels = torch.rand(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))

    def step() -> None:
        loss = functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _by_fft(step: Callable[[], None]) -> Callable[[], None]:
    """The same without products of matrices: FFTs, or direct convolutions for kernels below 10 x 10."""

    def run() -> None:
        allowed, dense.MOST_PRODUCTS = dense.MOST_PRODUCTS, 0
        try:
            step()
        finally:
            dense.MOST_PRODUCTS = allowed

    return run
