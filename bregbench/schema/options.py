"""The options of every config group with a sentence each, read from YAML files without torch."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable

#: Folders of configs that are no groups of a run: tables, figures, and the transforms of phases.
_OTHER = ("table", "figure", "transform")


def options() -> dict[str, dict[str, str]]:
    """The first sentence of the comment at the head of each option's file, by group and option."""
    return _below(resources.files("bregbench.configs"), "")


def defaults() -> dict[str, str]:
    """The option of a group that a run has where none is chosen, as configs/config.yaml lists them."""
    text = (resources.files("bregbench.configs") / "config.yaml").read_text(encoding="utf-8")
    chosen = re.findall(r"^  - (\w+): (?:\[(.*)\]|(\w+))$", text, re.MULTILINE)
    return {group: several or one for group, several, one in chosen}


def options_table() -> str:
    """The groups with their options as a Markdown table."""
    lines = ["| group | options |", "|---|---|"]
    for group, known in options().items():
        lines.append(f"| [`{group}`](options.md#{_anchor(group)}) | {', '.join(known)} |")
    return "\n".join(lines)


def options_page() -> str:
    """The page docs/options.md: a section for each group, a line for each option."""
    lines = [
        "# Options",
        "",
        "What `bregbench train group=option` knows. Every option is a file `configs/<group>/<option>.yaml`,",
        "whose first sentence stands here; `bregbench train group=option --cfg job` prints all its keys.",
        "`make pages` writes this page.",
    ]
    for group, known in options().items():
        lines += ["", f"## {group}", "", "| option | what it is |", "|---|---|"]
        lines += [f"| `{name}` | {_cell(text)} |" for name, text in known.items()]
    return "\n".join(lines) + "\n"


def first_sentence(text: str) -> str:
    """The first sentence of the comment at the head of a YAML file, on one line."""
    words: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            words.append(line.removeprefix("#").strip())
    comment = " ".join(words)
    return re.split(r"(?<=[A-Za-z0-9)%\]>*])\.(?:\s|$)", comment, maxsplit=1)[0].strip().rstrip(":")


def _below(folder: Traversable, prefix: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for child in sorted(folder.iterdir(), key=lambda child: child.name):
        if not child.is_dir() or (not prefix and child.name in _OTHER):
            continue
        group = f"{prefix}{child.name}"
        files = sorted(
            (file for file in child.iterdir() if file.name.endswith(".yaml")),
            key=lambda file: file.name,
        )
        if files:
            found[group] = {
                file.name.removesuffix(".yaml"): first_sentence(file.read_text(encoding="utf-8"))
                for file in files
            }
        found |= _below(child, f"{group}/")
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(heading: str) -> str:
    return heading.replace("/", "")
