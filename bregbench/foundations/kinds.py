"""Finding the classes of a config group: every subclass of a base that defines its own `kind`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import TypeVar

Base = TypeVar("Base")


def import_all(*packages: str) -> None:
    """Import every module of some packages, so that `kinds_of` sees their classes."""
    for name in packages:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(module.name)


def kinds_of(base: type[Base], *packages: str) -> tuple[type[Base], ...]:
    """The subclasses of a base that define their own `kind`, sorted by `kind`.

    Classes of other packages (of a test, for instance) are left out.

    Args:
        base: the base class.
        packages: names of the packages that define the classes; `import_all` must have imported them.

    Raises:
        TypeError: two classes have the same kind.
    """
    found: dict[str, type[Base]] = {}
    for sub in _subclasses(base):
        kind = vars(sub).get("kind")
        if not isinstance(kind, str) or not _inside(sub.__module__, packages):
            continue
        if found.setdefault(kind, sub) is not sub:
            raise TypeError(f"{found[kind]} and {sub} have the same kind {kind}")
    return tuple(found[kind] for kind in sorted(found))


def _inside(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def _subclasses(base: type[Base]) -> Iterator[type[Base]]:
    for sub in base.__subclasses__():
        yield sub
        yield from _subclasses(sub)
