"""The origin of a result: code, library versions and machine."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def commit() -> str | None:
    """The checkout's commit, with `-dirty` where tracked files differ; None outside a checkout."""
    here = Path(__file__).resolve().parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=here, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def device_name(device: torch.device) -> str:
    """The name of the device, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name()


def provenance(device: torch.device) -> dict[str, Any]:
    """Device, versions and commit, for a run's summary."""
    packages = ("bregbench", "torch", "torchvision", "numpy")
    return {
        "device": str(device),
        "device_name": device_name(device),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "commit": commit(),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
