"""Whether a device has instructions for bfloat16; without them, bf16 is far slower than fp32."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

#: Flags of /proc/cpuinfo, each of which means instructions for bfloat16.
_FLAGS = {"avx512_bf16", "amx_bf16"}


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16: on a CPU, AVX512-BF16 or AMX."""
    if device.type == "cuda":
        ampere = (8, 0)
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= ampere
    return device.type == "cpu" and _cpu_has_bf16()


@functools.cache
def _cpu_has_bf16() -> bool:
    # oneDNN reports support on every CPU with AVX-512, and none if an environment variable limits it. So
    # only its "no" counts.
    if _ask(_mkldnn_says) is False:
        return False
    said = _ask(_avx512_says)
    return bool(said) or bool(_FLAGS & _cpu_flags())


def _mkldnn_says() -> bool:
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _avx512_says() -> bool:
    return torch.cpu._is_avx512_bf16_supported()


def _ask(question: Callable[[], Any]) -> bool | None:
    """The answer of a function of torch; None if this version of torch lacks the function."""
    try:
        return bool(question())
    except (AttributeError, RuntimeError, NotImplementedError):
        return None


def _cpu_flags() -> set[str]:
    """Flags of the first core; empty on systems other than Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("flags"):
                return set(line.partition(":")[2].split())
    return set()
