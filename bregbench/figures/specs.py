"""Tables and figures by the names of their YAML files."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bregbench.figures.base import Figure
from bregbench.foundations.errors import BenchError
from bregbench.tables.spec import Table


def load_table(name: str) -> Table:
    """The table that configs/table/<name>.yaml describes, or the figure of configs/figure.

    Raises:
        BenchError: there is none of that name, or the file does not fit the schema.
    """
    known: dict[str, tuple[type[Table], Traversable]] = {}
    for group, schema in (("table", Table), ("figure", Figure)):
        for path in (resources.files("bregbench.configs") / group).iterdir():
            known[path.name.removesuffix(".yaml")] = (schema, path)
    if name not in known:
        raise BenchError(f"table={name} is unknown: choose one of {', '.join(sorted(known))}")
    schema, path = known[name]
    try:
        loaded = OmegaConf.create(path.read_text(encoding="utf-8"))
        table = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), loaded))
    except OmegaConfBaseException as error:
        raise BenchError(f"configs/{path.name}: {str(error).splitlines()[0]}") from error
    assert isinstance(table, Table)
    table.check()
    return table
