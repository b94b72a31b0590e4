"""Write what README.md and docs/options.md say about options, from the files in configs."""

from __future__ import annotations

from pathlib import Path

from bregbench.foundations.files import write_text
from bregbench.schema.options import options_page, options_table
from bregbench.tables.rendering import replace_section

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write the page and the section, in the checkout that this script lies in."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    write_text(readme, replace_section(text, "options", options_table()))
    write_text(ROOT / "docs" / "options.md", options_page())


if __name__ == "__main__":
    main()
