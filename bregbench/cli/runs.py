"""`bregbench runs`: list, show, pack and merge runs and records, sync them, and pull runs out of bundles."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bregbench import __version__
from bregbench.cli.arguments import option, parse
from bregbench.cli.help import definitions
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import say
from bregbench.foundations.durations import duration
from bregbench.foundations.errors import BenchError
from bregbench.foundations.nearest import unknown
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


@dataclass
class SyncOptions:
    """Bring what W&B has kept offline, of all runs at or below some folders, to its server."""

    runs: list[str] = option(default_factory=lambda: ["runs"], help="folders with runs")
    dry_run: bool = option(False, help="show what would be brought, and bring nothing")


@dataclass
class PullOptions:
    """Write a run of a bundle as an ordinary record, without weights."""

    run: str = option("", help="BUNDLE.jsonl.gz/EXPERIMENT/NAME-HASH/seed<k>, as list shows it")
    records_dir: str = option("results/records", help="where records are kept")


def main() -> None:
    """Entry point."""
    sys.exit(guarded(_command))


def _command() -> int:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(_HELP + definitions({key: line for key, (_, line) in COMMANDS.items()}))
        return 0
    if name == "--version":
        print(f"bregbench {__version__}")
        return 0
    if name not in COMMANDS:
        raise BenchError(unknown(name, COMMANDS, there="bregbench runs has"))
    refuse_shadowed()
    COMMANDS[name][0](arguments)
    return 0


def _list(arguments: list[str]) -> None:
    options = parse(ListOptions, arguments, command="bregbench runs list", plain="runs")
    table = Table("state", "epochs", "left", "experiment", "run", "seed", "reason", box=None)
    states: Counter[str] = Counter()
    for run in _find(options.runs):
        try:
            state, progress, left, reason = _standing(run)
        except BenchError as error:
            state, progress, left, reason = "damaged", "", "", str(error)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{run.path} has a file that is not of this version or damaged ({error!r})"
            state, progress, left = "damaged", "", ""
        states[state] += 1
        place = (run.path.parent.parent.name, run.name, run.path.name.removeprefix("seed"))
        table.add_row(*(escape(text) for text in (state, progress, left, *place, str(reason))))
    Console(soft_wrap=True, width=200).print(table)
    told = ", ".join(f"{count} {state}" for state, count in states.most_common())
    print(f"{states.total()} runs: {told}")


def _show(arguments: list[str]) -> None:
    options = parse(ShowOptions, arguments, command="bregbench runs show", plain="run")
    if not options.run:
        raise BenchError("bregbench runs show wants a path: give a run directory or a record")
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
    options = parse(PackOptions, arguments, command="bregbench runs pack", plain="runs")
    from bregbench.runs.archive import pack

    output = Path(options.output)
    count = pack(_find(options.runs), output)
    say(f"packed: {count} records, {output.stat().st_size / 2**20:.2f} MiB, {output}")


def _merge(arguments: list[str]) -> None:
    options = parse(MergeOptions, arguments, command="bregbench runs merge", plain="archive")
    from bregbench.runs.archive import merge

    new, known, completed = merge(Path(options.archive), Path(options.records_dir))
    for name in new:
        say(f"new: {name}")
    for name in completed:
        say(f"further evaluations: {name}")
    say(f"merged: {len(new)} new records, {len(known)} were here already")


def _sync(arguments: list[str]) -> None:
    options = parse(SyncOptions, arguments, command="bregbench runs sync", plain="runs")
    from bregbench.storage.syncing import offline_runs, refuse_unreachable, sync

    kept = offline_runs(options.runs)
    if kept and not options.dry_run:
        refuse_unreachable()
    for number, path in enumerate(kept, start=1):
        say(f"{number}/{len(kept)}: {path}")
        if not options.dry_run:
            sync(path)
    say(f"{'to sync' if options.dry_run else 'synced'}: {len(kept)} offline runs of W&B")


def _pull(arguments: list[str]) -> None:
    options = parse(PullOptions, arguments, command="bregbench runs pull", plain="run")
    from bregbench.runs.agreement import refuse_disagreement
    from bregbench.runs.archive import run_name
    from bregbench.runs.records import export_record
    from bregbench.storage.bundles import BundledRun
    from bregbench.storage.find import find_run

    run = find_run(options.run)
    if not isinstance(run, BundledRun):
        raise BenchError(f"run={options.run} is no run of a bundle: see bregbench runs list")
    refuse_disagreement(run, run_name(run))
    record = RunDirectory(Path(options.records_dir) / run_name(run).path)
    new = export_record(run, record, replace=False)
    say(f"{'pulled' if new else 'there already'}: {record.path}")


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
    return f"{len(run.read_metrics())}/{_total(run)}"


def _total(run: RunDirectory) -> int:
    """Epochs of a whole run; its config knows them where whoever stopped it has left no word."""
    told = run.read_status().get("epochs")
    if told is not None:
        return int(told)
    config = run.read_config()
    phases = config["phases"].values()
    epochs = sum(phase["epochs"] * phase["repeat"] for phase in phases)
    return epochs if phases else config["trainer"]["epochs"]


def _left(run: RunDirectory) -> str:
    """Time that the rest takes at the pace so far."""
    rows = run.read_metrics()
    if run.complete or not rows:
        return ""
    return duration((_total(run) - len(rows)) * sum(row["seconds"] for row in rows) / len(rows))


_HELP = """\
bregbench runs: list, show, pack, merge and sync runs and records.

  bregbench runs COMMAND ...

Commands (--help after each shows its keys, which are all key=value):
"""
COMMANDS: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "list": (_list, "state, progress, time left and reason of failure of every run"),
    "show": (_show, "everything about one run, as JSON"),
    "pack": (_pack, "write the records of finished runs into one archive"),
    "merge": (_merge, "add the records of an archive to those that are here"),
    "pull": (_pull, "write a run of a bundle as an ordinary record"),
    "sync": (_sync, "bring what W&B has kept offline to its server"),
}


if __name__ == "__main__":
    main()
