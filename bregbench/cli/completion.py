"""`bregbench completion`: what a shell needs to complete commands, keys and options by the tab key."""

from __future__ import annotations

import dataclasses
from importlib import import_module, resources

from bregbench.cli.commands import COMMANDS
from bregbench.schema.options import options

#: `=`, `,` and `[` end a piece of a word; the shell replaces what follows the last `=` alone
_SCRIPT = """\
# Completion of bregbench for bash; zsh reads it after: autoload -U bashcompinit && bashcompinit
_bregbench_words() {
  case "$1" in
@WORDS@
  esac
}
_bregbench() {
  local line="${COMP_LINE:0:COMP_POINT}" word command piece inner lead reply
  word="${line##* }"
  command="${line#* }"
  COMPREPLY=()
  if [ "$command" = "$word" ]; then
    COMPREPLY=($(compgen -W "$(_bregbench_words commands)" -- "$word"))
    COMPREPLY=("${COMPREPLY[@]/%/ }")
  elif [ "$word" = "${word#*=}" ]; then
    COMPREPLY=($(compgen -W "$(_bregbench_words "${command%% *}")" -- "$word"))
    if [ "${#COMPREPLY[@]}" = 1 ] && [ "${COMPREPLY[0]}" = "${COMPREPLY[0]%=}" ]; then
      COMPREPLY[0]="${COMPREPLY[0]} "
    fi
  else
    piece="${word##*[=,[]}"
    inner="${word#*=}"
    lead="${inner%"$piece"}"
    COMPREPLY=($(compgen -P "$lead" -W "$(_bregbench_words "${command%% *} ${word%%=*}")" -- "$piece"))
  fi
}
complete -o nospace -o default -F _bregbench bregbench
"""
#: keys of runs that are typed most; those of a method and a network are too many
_RUN_KEYS = (
    *("seed=", "experiment_name=", "runs_dir=", "data.root=", "data.path=", "data.download="),
    *("trainer.epochs=", "trainer.batch_size=", "trainer.device=", "trainer.precision="),
    *("method.lr=", "method.lam=", "method.target_density=", "-m", "--cfg", "--help"),
)


def script() -> str:
    """The script, with the sub-commands, groups, options and keys of this version."""
    words = {"commands": [*COMMANDS, "--help", "--version"]}
    groups = options()
    words["train"] = [*(f"{group}=" for group in groups), *_RUN_KEYS]
    words |= {f"train {group}": list(known) for group, known in groups.items()}
    words |= {command: _words_of(command) for command in COMMANDS if command != "train"}
    words |= {"reproduce table": words["reproduce"], "search table": words["search"]}
    words["evaluate evaluators"] = list(groups["evaluators"])
    cases = "\n".join(f'    "{key}") echo "{" ".join(known)}";;' for key, known in words.items())
    return _SCRIPT.replace("@WORDS@", cases)


def _words_of(command: str) -> list[str]:
    """Sub-commands or keys of a command, and what it takes without a key."""
    module = import_module(f"bregbench.cli.{command}")
    if hasattr(module, "COMMANDS"):
        return [*module.COMMANDS, "--help"]
    keys = [f"{field.name}=" for field in dataclasses.fields(module.Options)]
    return [*(_tables() if command in ("reproduce", "search") else ()), *keys, "--help"]


def _tables() -> list[str]:
    """The names of all tables and figures, from file names alone."""
    folders = [resources.files("bregbench.configs") / group for group in ("table", "figure")]
    return sorted(
        file.name.removesuffix(".yaml") for folder in folders for file in folder.iterdir()
    )
