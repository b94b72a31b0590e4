"""What all figures share: style, formats, saving."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_FORMATS = (".png", ".pdf", ".svg")


def check_output(path: Path) -> None:
    """Refuse a figure file that could not be written.

    Raises:
        BenchError: the ending is not one of png, pdf, svg.
    """
    if path.suffix not in _FORMATS:
        raise BenchError(f"output={path} has an unknown ending: use one of {', '.join(_FORMATS)}")


@contextmanager
def figure_to(path: Path, *, width: float, height: float) -> Iterator[Figure]:
    """A figure in the house style that is written atomically when the block ends.

    Args:
        path: image file.
        width: in inches.
        height: in inches.
    """
    check_output(path)
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with plt.style.context(os.fspath(Path(__file__).with_name("bregbench.mplstyle"))):
        figure = plt.figure(figsize=(width, height))
        try:
            yield figure
            for axes in figure.axes:
                if axes.images:
                    axes.grid(visible=False)  # lines through a picture hide its pixels
            write_atomically(path, lambda temporary: _save(figure, temporary, path.suffix))
        finally:
            plt.close(figure)


def logarithmic(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Make axes logarithmic, with plain numbers that leave each other room; after plotting."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis, wanted in ((axes.xaxis, x), (axes.yaxis, y)):
        if not wanted:
            continue
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # pyright: ignore[reportAttributeAccessIssue]
        low, high = axis.get_view_interval()
        narrow = high < 300 * low
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _save(figure: Any, temporary: Path, suffix: str) -> None:
    # The temporary name has no ending that would tell the format. Without dates, the same records
    # give the same files.
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    figure.savefig(temporary, format=suffix.removeprefix("."), metadata=dates.get(suffix))
