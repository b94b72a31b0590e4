"""Networks of finished runs as files that need neither this library nor its configs."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

from bregbench.evaluators.compacting import example_inputs
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_atomically
from bregbench.measures.cost import count_macs, count_parameters, median_seconds

#: batch size of the timed forward pass, number of timed passes, largest relative error of a file's outputs
BATCH, REPEATS, TOLERANCE = 128, 5, 1e-3


@dataclass(frozen=True)
class Size:
    """What a network costs.

    Attributes:
        parameters: number of parameters.
        nonzero: number of parameters that are not zero.
        macs: multiply-accumulate operations for one input, zeros included.
        milliseconds: median time of five forward passes of 128 inputs.
    """

    parameters: int
    nonzero: int
    macs: int
    milliseconds: float


def size_of(network: nn.Module, input_shape: tuple[int, ...]) -> Size:
    """Measure a network in evaluation mode on the CPU.

    Args:
        network: maps ``(batch, *input_shape)`` to outputs.
        input_shape: shape of one input, without the batch.
    """
    inputs = torch.zeros(BATCH, *input_shape)
    seconds = median_seconds(lambda: network(inputs), inputs.device, repeats=REPEATS)
    return Size(
        parameters=count_parameters(network),
        nonzero=sum(int(parameter.count_nonzero()) for parameter in network.parameters()),
        macs=count_macs(network, input_shape).dense,
        milliseconds=1e3 * seconds,
    )


def write_network(network: nn.Module, output: Path, input_shape: tuple[int, ...]) -> float | None:
    """Write a network as one file; the batch size stays open.

    Args:
        network: in evaluation mode on the CPU.
        output: ``*.pt2`` for `torch.export.load`, or ``*.onnx``.
        input_shape: shape of one input, without the batch.

    Returns:
        The largest difference between outputs of the network and of the file; None if onnxruntime, which
        runs ONNX files, is missing.

    Raises:
        BenchError: unknown suffix, a package that writes ONNX is missing, or the outputs of the file differ
            from those of the network.
    """
    if output.suffix not in _WRITERS:
        kinds = " or ".join(f"*{suffix}" for suffix in _WRITERS)
        raise BenchError(f"output={output}: must be {kinds}")
    images = example_inputs(input_shape)
    data, run = _WRITERS[output.suffix](network, images[:2])
    difference = None
    if run is not None:
        with torch.no_grad():
            expected = network(images)
            difference = float((run(images) - expected).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
            raise BenchError(
                f"output={output}: not written, its outputs would be off by {difference:.2g}"
            )
    write_atomically(output, lambda temporary: temporary.write_bytes(data))
    return difference


_Run = Callable[[torch.Tensor], torch.Tensor]


def _pt2(network: nn.Module, images: torch.Tensor) -> tuple[bytes, _Run | None]:
    program = torch.export.export(network, (images,), dynamic_shapes=({0: Dim("batch", min=1)},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    loaded = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    return buffer.getvalue(), loaded


def _onnx(network: nn.Module, images: torch.Tensor) -> tuple[bytes, _Run | None]:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchError(
            f"output=*.onnx needs {' and '.join(missing)}: pip install 'bregbench[onnx]'"
        )
    program = torch.onnx.export(
        network, (images,), dynamic_shapes=({0: Dim("batch", min=1)},), dynamo=True, verbose=False
    )
    assert program is not None
    data = program.model_proto.SerializeToString()
    if importlib.util.find_spec("onnxruntime") is None:
        return data, None
    import onnxruntime  # pyright: ignore[reportMissingImports]

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    return data, lambda inputs: torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])


_WRITERS = {".pt2": _pt2, ".onnx": _onnx}
