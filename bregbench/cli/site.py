"""`make site`: the results browser, one HTML file from the committed records and rendered tables."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.console import say
from bregbench.foundations.files import write_text


@dataclass
class Options:
    """Build the results browser: one HTML file that opens from disk without network."""

    output: str = option("site", help="folder for index.html")
    results_dir: str = option("results", help="where records and rendered tables lie")


def main() -> None:
    """Entry point."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(Options, sys.argv[1:], command="python -m bregbench.cli.site")
    from bregbench.site.page import build_page

    page = build_page(Path(options.results_dir))
    path = Path(options.output, "index.html")
    write_text(path, page)
    say(f"written: {path} ({len(page.encode()) / 1e6:.2f} MB)")
    return 0


if __name__ == "__main__":
    main()
