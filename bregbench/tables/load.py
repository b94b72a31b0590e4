"""Reading a table or figure from its YAML file."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bregbench.foundations.errors import BenchError
from bregbench.foundations.nearest import unknown
from bregbench.tables.spec import Table


def known_files() -> dict[str, Traversable]:
    """The files of configs/table and configs/figure by the names of what they describe."""
    found: dict[str, Traversable] = {}
    for group in ("table", "figure"):
        for path in (resources.files("bregbench.configs") / group).iterdir():
            found[path.name.removesuffix(".yaml")] = path
    return found


def read_file(name: str) -> dict[str, Any]:
    """The content of the file of a table or figure.

    A file with `base: <name>` says what that one says, but for the keys that it has itself.

    Raises:
        BenchError: no file has that name, or the file is no YAML.
    """
    known = known_files()
    if name not in known:
        raise BenchError(unknown(name, sorted(known), there="choose one of", prefix="table="))
    try:
        read = OmegaConf.to_container(OmegaConf.create(known[name].read_text(encoding="utf-8")))
    except OmegaConfBaseException as error:
        raise BenchError(f"{known[name].name}: {str(error).splitlines()[0]}") from error
    assert isinstance(read, dict)
    own = {str(key): value for key, value in read.items()}
    base = own.pop("base", None)
    return own if base is None else read_file(str(base)) | own


def build(schema: type[Table], name: str, read: dict[str, Any]) -> Table:
    """The table or figure that a file describes.

    Args:
        schema: dataclass of the table or figure.
        name: name of the file, for messages.
        read: content of the file.

    Raises:
        BenchError: the content does not fit the dataclass, or `Table.check` refuses it.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(read))
        table = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise BenchError(f"{name}.yaml: {str(error).splitlines()[0]}") from error
    assert isinstance(table, Table)
    table.check()
    return table


def load_rows(name: str) -> Table:
    """The rows, columns and seeds of a table or figure, without what a figure needs for drawing.

    Raises:
        BenchError: no file has that name, or the file does not fit.
    """
    known = Table.__dataclass_fields__
    return build(Table, name, {key: v for key, v in read_file(name).items() if key in known})
