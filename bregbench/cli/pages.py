"""`make pages`: write what README.md and docs/options.md say about options, from the files in configs."""

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

    readme, page = Path("README.md"), Path("docs", "options.md")
    if not readme.is_file() or not page.parent.is_dir():
        raise BenchError(f"{Path.cwd()} has no README.md and docs: call this in a checkout")
    text = readme.read_text(encoding="utf-8")
    write_text(readme, replace_section(text, "options", options_table()))
    write_text(page, options_page())
    say(f"written: {readme}, {page}")
    return 0


if __name__ == "__main__":
    main()
