"""The bench: data, architectures, training methods, the loop, measurements and records.

Part of bregbench. The optimisers themselves live in `bregman`, which needs torch alone.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bregbench.runs.experiment import train
    from bregbench.runs.load import load_run

__version__ = version("bregbench")

__all__ = ["__version__", "load_run", "train"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line can check for shadowed packages before importing any of ours.
    if name == "load_run":
        from bregbench.runs.load import load_run

        return load_run
    if name == "train":
        from bregbench.runs.experiment import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
