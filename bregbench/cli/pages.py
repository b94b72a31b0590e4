"""`make pages`: write what docs/own.md and docs/options.md say about options, from the files in configs."""

from __future__ import annotations

import sys
from pathlib import Path

from bregbench.cli.outcome import guarded
from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_text
from bregbench.schema.options import options_page, options_table


def main() -> None:
    """Entry point; works on the checkout that it is called in."""
    sys.exit(guarded(_command))


def _command() -> int:
    from bregbench.tables.rendering import replace_section

    own, page = Path("docs", "own.md"), Path("docs", "options.md")
    if not own.is_file():
        raise BenchError(f"{Path.cwd()} has no docs/own.md: call this in a checkout")
    text = own.read_text(encoding="utf-8")
    write_text(own, replace_section(text, "options", options_table()))
    write_text(page, options_page())
    say(f"written: {own}, {page}")
    return 0


if __name__ == "__main__":
    main()
