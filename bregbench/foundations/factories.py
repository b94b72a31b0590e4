"""A user's own functions: named as `package.module:function`, imported, and called with what they ask for."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bregbench.foundations.errors import BenchError, require

#: what stands for a module in the name of an object that was handed over in Python
GIVEN = "<given>"
#: such objects, by the rest of their name
_given: dict[str, Callable[..., Any]] = {}
_FORM = (
    "package.module:function, such as my_networks:make, with the module in this folder or installed"
)


def give(name: str, function: Callable[..., Any]) -> str:
    """Remember a function that no module holds, and return the name under which `find` knows it.

    The name lives as long as this process, and says which function it is: two different functions need
    different names.
    """
    _given[name] = function
    return f"{GIVEN}:{name}"


def name_of(function: Callable[..., Any]) -> str | None:
    """`package.module:function` of a function or class that can be imported; None of any other."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module is None or name is None or module == "__main__":
        return None
    found = sys.modules.get(module)
    with contextlib.suppress(AttributeError):
        if functools.reduce(getattr, name.split("."), found) is function:
            return f"{module}:{name}"
    return None


def check_factory(factory: str, arguments: Any, at: str) -> None:
    """Refuse what cannot be the name of a function, and arguments that no file could hold.

    Args:
        factory: `package.module:function`.
        arguments: of the function, a mapping by name; None for none.
        at: key of the options `factory` and `arguments`.

    Raises:
        BenchError: names the key, the value and what is allowed.
    """
    module, _, function = factory.partition(":")
    named = module == GIVEN or all(map(str.isidentifier, module.split(".")))
    named = named and (module == GIVEN or all(map(str.isidentifier, function.split("."))))
    # Without a name the files of configs still compose; `find` refuses it.
    require(not factory or (named and bool(function)), f"{at}.factory", factory, _FORM)
    mapping = arguments is None or isinstance(arguments, dict)
    require(
        mapping, f"{at}.arguments", arguments, f"a mapping, such as '{at}.arguments={{hidden: 64}}'"
    )
    for name, value in (arguments or {}).items():
        allowed = "a finite number, a text, true, false, null, or lists and mappings of them"
        require(_is_plain(value), f"{at}.arguments.{name}", value, allowed)


def find(factory: str, key: str) -> Callable[..., Any]:
    """The function of a name; its module may lie in the working directory.

    Raises:
        BenchError: there is no name, no such module or function, or the module cannot be imported.
    """
    module_name, _, path = factory.partition(":")
    require(bool(factory), key, "(empty)", _FORM)
    if module_name == GIVEN:
        if path not in _given:
            raise BenchError(
                f"{key}={factory} was an object of another Python process: hand it over again, with "
                "bregbench.train, or name a function as package.module:function"
            )
        return _given[path]
    module = _imported(module_name, f"{key}={factory}")
    try:
        function = functools.reduce(getattr, path.split("."), module)
    except AttributeError:
        known = [n for n, v in vars(module).items() if callable(v) and n[0] != "_"]
        listed = ", ".join(known[:12]) or "nothing that can be called"
        raise BenchError(
            f"{key}={factory}: the module {module_name} ({_place(module)}) has no {path}: it has {listed}"
        ) from None
    if not callable(function):
        raise BenchError(
            f"{key}={factory} is {_article(function)} and cannot be called: give a function or a class"
        )
    return function


def call(
    factory: str, arguments: Mapping[str, Any] | None, offered: Mapping[str, Any], *, at: str
) -> Any:
    """What the function of a name returns.

    Args:
        factory: `package.module:function`.
        arguments: by name; None for none.
        offered: further arguments, which the function gets where it has parameters of these names and
            `arguments` does not set them.
        at: key of the options `factory` and `arguments`.

    Raises:
        BenchError: the function is not found, takes other arguments, or raises an exception.
    """
    key = f"{at}.factory"
    function = find(factory, key)
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some functions that are written in C
        signature = None
    given = dict(arguments or {})
    if signature is not None:
        wanted = signature.parameters
        given |= {n: v for n, v in offered.items() if n in wanted and n not in given}
        try:
            signature.bind(**given)
        except TypeError as error:
            offers = [name for name in offered if name in wanted]
            also = f", and gets {', '.join(offers)} from the bench" if offers else ""
            raise BenchError(
                f"{at}.arguments={arguments or {}} do not fit {key}={factory} ({error}): it takes "
                f"({', '.join(map(str, wanted.values()))}){also}"
            ) from None
    with _working_directory():
        try:
            return function(**given)
        except BenchError:
            raise
        except Exception as error:
            raise BenchError(
                f"{key}={factory} failed{_where(error)}: {type(error).__name__}: {error}; mend the "
                f"function, or give other {at}.arguments"
            ) from error


def source_digest(factory: str) -> str | None:
    """SHA-256 of the file that defines a function, in hexadecimal; None where no file does."""
    if factory.startswith(f"{GIVEN}:"):
        return None  # its name says what it is
    try:
        file = inspect.getsourcefile(inspect.unwrap(find(factory, "factory")))
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (BenchError, TypeError, OSError):
        return None


def _imported(name: str, what: str) -> Any:
    with _working_directory():
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise BenchError(
                    f"{what}: importing {name} failed{_where(error)}: {error}; install what it needs"
                ) from error
            raise BenchError(
                f"{what}: there is no module {error.name} in {Path.cwd()} or among the installed ones: "
                f"correct it ({_FORM})"
            ) from None
        except Exception as error:
            raise BenchError(
                f"{what}: importing {name} failed{_where(error)}: {type(error).__name__}: {error}; mend "
                "the module"
            ) from error


@contextlib.contextmanager
def _working_directory() -> Iterator[None]:
    """Within the block modules are also looked for in the working directory, and there first."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _where(error: BaseException) -> str:
    """File and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename != __file__ and not f.filename.startswith("<frozen")]
    if not own:
        return ""
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})"


def _place(module: Any) -> str:
    return getattr(module, "__file__", None) or "built in"


def _article(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)
