"""The bench: data, architectures, training methods, the loop, measurements and records.

Part of bregbench. The optimisers themselves live in `bregman`, which needs torch alone.
"""

from importlib.metadata import version

__version__ = version("bregbench")
