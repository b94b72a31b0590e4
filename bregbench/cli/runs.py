"""`bregbench-runs`: list, show, pack and merge runs and records."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bregbench import __version__
from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import say
from bregbench.foundations.durations import duration
from bregbench.foundations.errors import BenchError
from bregbench.foundations.own_packages import refuse_shadowed
from bregbench.storage.directory import RunDirectory


@dataclass
class ListOptions:
    """State, progress, time left and reason of failure of every run."""

    runs: list[str] = option(default_factory=lambda: ["runs"], help="folders with runs or records")


@dataclass
class ShowOptions:
    """Everything about one run: its state, its summary and its last epoch."""

    run: str = option("", help="run directory or record, or a folder with just one below it")


@dataclass
class PackOptions:
    """Write the records of all finished runs into one archive, to be merged elsewhere."""

    runs: list[str] = option(default_factory=lambda: ["runs"], help="folders with runs or records")
    output: str = option("records.tar.gz", help="the archive")


@dataclass
class MergeOptions:
    """Add the records of an archive to those that are here; nothing is overwritten."""

    archive: str = option("records.tar.gz", help="what pack wrote")
    records_dir: str = option("results/records", help="where records are kept")


def main() -> None:
    """Entry point."""
    sys.exit(guarded(_command))


def _command() -> int:
    commands: dict[str, Callable[[list[str]], None]] = {
        "list": _list,
        "show": _show,
        "pack": _pack,
        "merge": _merge,
    }
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(f"bregbench-runs {'|'.join(commands)} key=value ...; --help after each for its keys")
        return 0
    if name == "--version":
        print(f"bregbench {__version__}")
        return 0
    if name not in commands:
        raise BenchError(f"{name!r} is unknown: bregbench-runs {'|'.join(commands)}")
    refuse_shadowed()
    commands[name](arguments)
    return 0


def _list(arguments: list[str]) -> None:
    options = parse(ListOptions, arguments, command="bregbench-runs list")
    table = Table("state", "epochs", "left", "experiment", "run", "seed", "reason", box=None)
    for run in _find(options.runs):
        try:
            state, progress, left, reason = _standing(run)
        except BenchError as error:
            state, progress, left, reason = "damaged", "", "", str(error)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{run.path} has a file that is not of this version or damaged ({error!r})"
            state, progress, left = "damaged", "", ""
        place = (run.path.parent.parent.name, run.name, run.path.name.removeprefix("seed"))
        table.add_row(*(escape(text) for text in (state, progress, left, *place, str(reason))))
    Console(soft_wrap=True, width=200).print(table)


def _show(arguments: list[str]) -> None:
    options = parse(ShowOptions, arguments, command="bregbench-runs show")
    from bregbench.storage.find import find_run

    run = find_run(options.run)
    rows = run.read_metrics()
    shown = {
        "path": str(run.path),
        "state": run.state,
        "status": run.read_status(),
        "config": run.read_config(),
        "last_epoch": rows[-1] if rows else {},
        "summary": run.read_summary() if run.complete else {},
    }
    print(json.dumps(shown, indent=2))


def _pack(arguments: list[str]) -> None:
    options = parse(PackOptions, arguments, command="bregbench-runs pack")
    from bregbench.runs.archive import pack

    output = Path(options.output)
    count = pack(_find(options.runs), output)
    say(f"packed: {count} records, {output.stat().st_size / 2**20:.2f} MiB, {output}")


def _merge(arguments: list[str]) -> None:
    options = parse(MergeOptions, arguments, command="bregbench-runs merge")
    from bregbench.runs.archive import merge

    new, known, completed = merge(Path(options.archive), Path(options.records_dir))
    for name in new:
        say(f"new: {name}")
    for name in completed:
        say(f"further evaluations: {name}")
    say(f"merged: {len(new)} new records, {len(known)} were here already")


def _find(folders: list[str]) -> list[RunDirectory]:
    from bregbench.storage.find import find_run_directories

    return find_run_directories(folders)


def _standing(run: RunDirectory) -> tuple[str, str, str, str]:
    """State, epochs, time left, and the reason where it has stopped; refuses damaged files."""
    run.read_config()
    state = run.state
    reason = run.read_status().get("reason", "") if state in ("failed", "interrupted") else ""
    return state, _progress(run), _left(run), reason


def _progress(run: RunDirectory) -> str:
    if run.complete:
        return str(run.read_summary()["epochs"])
    status = run.read_status()
    total = status.get("epochs")
    return f"{len(run.read_metrics())}/{total if total is not None else '?'}"


def _left(run: RunDirectory) -> str:
    """Time that the rest takes at the pace so far."""
    rows, total = run.read_metrics(), run.read_status().get("epochs")
    if run.complete or not rows or total is None:
        return ""
    return duration((total - len(rows)) * sum(row["seconds"] for row in rows) / len(rows))


if __name__ == "__main__":
    main()
