"""The kinds of figures, and tables and figures by the names of their YAML files."""

from __future__ import annotations

from bregbench.figures.base import Figure
from bregbench.foundations.errors import BenchError
from bregbench.foundations.kinds import import_all, kinds_of
from bregbench.foundations.nearest import unknown
from bregbench.tables.load import build, read_file
from bregbench.tables.spec import Table

_ROOM = "bregbench.figures"
import_all(_ROOM)
FIGURES: dict[str, type[Figure]] = {kind.kind: kind for kind in kinds_of(Figure, _ROOM)}


def load_table(name: str) -> Table:
    """The table that configs/table/<name>.yaml describes, or the figure of configs/figure.

    Raises:
        BenchError: no file has that name, or the file does not fit the schema.
    """
    read = read_file(name)
    kind = read.pop("kind", None)
    if kind is None:
        return build(Table, name, read)
    if kind not in FIGURES:
        raise BenchError(unknown(kind, sorted(FIGURES), there="use", prefix=f"{name}.yaml: kind="))
    return build(FIGURES[kind], name, read)
