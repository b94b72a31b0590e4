"""Time circular convolutions in their three evaluations: `python -m fno.timing`.

For every kernel size: a spatial convolution, the same through the FFT, and a spectral layer with as
many modes, forward and backward, gradient of the input included. Prints a table; with `--output` it
is written as CSV, too.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fno.circular import CircularConv2d
from fno.spectral_conv import SpectralConv2d

KERNELS = (3, 5, 7, 10, 15, 20, 25, 28)
COLUMNS = ("kernel", "direct_ms", "fft_ms", "spectral_ms")


def time_layer(layer: nn.Module, images: Tensor, *, repeats: int) -> float:
    """Milliseconds of one forward and backward pass: the fastest of several, after a warm-up."""
    images = images.detach().requires_grad_()
    seconds = []
    for _ in range(repeats + 1):
        start = _now(images.device)
        layer(images).sum().backward()
        seconds.append(_now(images.device) - start)
    return 1e3 * min(seconds[1:])


def compare(
    kernel: int,
    *,
    inputs: int = 8,
    outputs: int = 16,
    size: int = 28,
    batch: int = 128,
    repeats: int = 5,
    device: str = "cpu",
) -> list[float]:
    """Milliseconds for one kernel size: direct, through the FFT, spectral.

    The defaults are the second convolution of the paper's network on Fashion-MNIST.

    Args:
        kernel: size, and number of modes.
        inputs: channels.
        outputs: channels.
        size: of the images.
        batch: number of images.
        repeats: passes, of which the fastest counts.
        device: where to run.
    """
    images = torch.randn(batch, inputs, size, size, device=device)
    layers = (
        CircularConv2d(inputs, outputs, kernel, method="direct"),
        CircularConv2d(inputs, outputs, kernel, method="fft"),
        SpectralConv2d(inputs, outputs, kernel),
    )
    return [time_layer(layer.to(device), images, repeats=repeats) for layer in layers]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m fno.timing", description=__doc__)
    parser.add_argument("--kernels", type=int, nargs="+", default=KERNELS)
    parser.add_argument("--inputs", type=int, default=8, help="channels")
    parser.add_argument("--outputs", type=int, default=16, help="channels")
    parser.add_argument("--size", type=int, default=28, help="of the images")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    options = vars(parser.parse_args(arguments))
    kernels, output = options.pop("kernels"), options.pop("output")
    rows = []
    print(" ".join(name.rjust(12) for name in COLUMNS))
    for kernel in kernels:
        times = compare(kernel, **options)
        rows.append([kernel, *times])
        print(f"{kernel:12d}", *(f"{value:12.2f}" for value in times), flush=True)
    if output is not None:
        with output.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
