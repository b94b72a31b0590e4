"""What the shell completes, asked of bash itself."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from bregbench.cli.completion import script

ASK = """
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
_bregbench
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("bregbench tr", ["train "]),
        ("bregbench train metho", ["method=", "method/penalty=", "method/solver=", "method.lr="]),
        ("bregbench train method=linbreg_", ["linbreg_momentum"]),
        ("bregbench train -m method=sgd,linbreg_", ["sgd,linbreg_momentum"]),
        ("bregbench train trainer/schedule=co", ["constant", "cosine"]),
        ("bregbench evaluate PATH evaluators=[acc", ["[accuracy"]),
        ("bregbench runs sh", ["show "]),
        ("bregbench plot outp", ["output="]),
        ("bregbench reproduce clip_ta", ["clip_table1 "]),
        ("bregbench reproduce table=clip_ta", ["clip_table1"]),
        ("bregbench runs show some/path", [""]),
    ],
)
def test_bash_completes(tmp_path, line, replies):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    file = tmp_path / "script"
    file.write_text(script() + ASK.format(line=line))
    done = subprocess.run(["bash", file], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.split("\n")[: len(replies)] == replies
