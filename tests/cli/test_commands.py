"""The commands as a user types them: one line on stderr for every mistake, and a non-zero exit."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bregbench import __version__
from bregbench.cli import doctor, plot, train
from bregbench.cli.train_help import help_text
from bregbench.foundations.errors import Interrupted
from bregbench.schema.compose import compose
from bregbench.storage.directory import RunDirectory
from tests.places import ROOT, SHARED_DATA

SMALL = ("model.hidden=[8]", "trainer.epochs=1", "trainer.device=cpu", "tracking=none")


def refusal(err: str) -> str:
    """The single line of an error, without the lines that say what was started or is going on."""
    going_on = ("started: ", "composing configs: ", "reading records: ")
    lines = [line for line in err.splitlines() if not line.startswith(going_on)]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["method.lrr=0.1"],
            "method.lrr is unknown: did you mean method.lr? LinBreg has lr, start, cut, ",
        ),
        (["method=nosuch"], "method=nosuch is unknown: choose one of adabreg, ada"),
        (["dataset=nosuch"], "dataset=nosuch is unknown: choose one of arrays, cifar10"),
        (["evaluators=[nosuch]"], "evaluators=nosuch is unknown: choose one of accuracy, codes"),
        (["trainer.schedule=step"], "chosen with a slash: trainer/schedule=..."),
        (["method/penalty=nosuch"], "choose one of columns, filters"),
        (["dataset=mnist", "data.root=/nonexistent"], "data.root=/nonexistent"),
        (["trainer.epochs=-1"], "trainer.epochs=-1 is out of range"),
        (["trainer.epochs=few"], "Value 'few' of type 'str' could not be converted to Integer"),
        (["trainer.batch_size=0"], "trainer.batch_size=0 is out of range"),
        (["trainer.device=tpu9"], "trainer.device=tpu9 is unknown"),
        (["method.lr=-0.1"], "method.lr=-0.1 is out of range"),
        (["method.lam=-1"], "method.lam=-1.0 is out of range"),
        (["method.momentum=1.5"], "1.5"),
        (["method.target_density=2"], "method.target_density=2.0 is out of range"),
        (["method.start.density=0"], "method.start.density=0.0 is out of range"),
        (["method=sgd", "method.lr=1e30"], "train/loss became nan in epoch 1"),
        (["method/penalty=kernels", "method.penalty.linear.kind=l12"], "group"),
        (["seed=-1"], "seed=-1 is out of range"),
        (["+nonsense=1"], "nonsense is unknown"),
        (["method=linbrg"], "method=linbrg is unknown: did you mean method=linbreg? choose one of"),
        (["evaluators=[acuracy]"], "did you mean evaluators=accuracy? choose one of accuracy"),
        (["method.lamb=1"], "method.lamb is unknown: did you mean method.lam? LinBreg has lr, "),
        (["trainer.epoch=3"], "did you mean trainer.epochs? TrainerConfig has epochs, "),
        (["modle=mlp"], "modle is unknown: did you mean model? the groups are dataset, "),
        (["+modle=mlp"], "modle is unknown: did you mean model? the keys here are data, "),
        (["trainer/schedul=step"], "trainer/schedul is unknown: did you mean trainer/schedule? "),
        (["epochs=3"], "epochs is unknown: did you mean trainer.epochs? the groups are"),
        (["lam=3"], "lam is unknown: did you mean method.lam? the groups are"),
        (["--cgf", "job"], "--cgf is unknown: did you mean --cfg? see bregbench train --help"),
        (["nonsense"], "'nonsense' is not group=option or key=value: see bregbench train --help"),
        (
            ["linbreg"],
            "'linbreg' is not group=option or key=value: did you mean method=linbreg? see",
        ),
        (["linbrg"], "did you mean method=linbreg? see bregbench train --help"),
        (["modle"], "did you mean model=...? see bregbench train --help"),
        (["trainer/schedule=plateau", "trainer.schedule.metric=x"], "metric=x is not measured"),
        (["dataset=arrays"], "data.path"),
        (["model=cnn"], "8"),
        (["data.limit=0"], "data.limit=0 is out of range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(call, overrides, says):
    code, _, err = call(train, *SMALL, *overrides)
    assert code == 1
    assert says in refusal(err)


def test_truncated_idx_file_is_one_line(call, tmp_path):
    source = SHARED_DATA / "MNIST" / "raw"
    if not source.is_dir():
        pytest.skip("needs the real MNIST in ../shared/data")
    raw = tmp_path / "data" / "MNIST" / "raw"
    shutil.copytree(source, raw)
    images = raw / "train-images-idx3-ubyte"
    images.chmod(0o644)
    with images.open("r+b") as file:
        file.truncate(1_000_000)
    code, _, err = call(train, *SMALL, "dataset=mnist")
    assert code == 1
    assert "MNIST/raw" in refusal(err)


def test_archive_without_an_array_is_one_line(call, tmp_path):
    np.savez(tmp_path / "x.npz", train_images=np.zeros((4, 8, 8), np.uint8))
    code, _, err = call(train, *SMALL, "dataset=arrays", "data.path=x.npz")
    assert code == 1
    assert "train_labels" in refusal(err)


def test_failed_run_leaves_earlier_records_intact(call, tmp_path):
    assert call(train, *SMALL, "method=sgd")[0] == 0
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    assert call(train, *SMALL, "method=sgd", "method.lr=1e30")[0] == 1
    assert all(f.read_bytes() == content for f, content in before.items())
    (status,) = (f for f in tmp_path.rglob("status.json") if f not in before)
    assert "train/loss became nan" in status.read_text()


def test_nan_in_a_later_epoch_keeps_the_earlier_ones(call, tmp_path, monkeypatch):
    from bregbench.training.trainer import Training

    measure = Training._measure

    def poisoned(self: Training) -> dict[str, float]:
        found = measure(self)
        return found | {"l1_norm": float("inf")} if self.position.epochs == 2 else found

    monkeypatch.setattr(Training, "_measure", poisoned)
    code, _, err = call(train, *SMALL, "trainer.epochs=3")
    assert code == 1
    assert "l1_norm became inf in epoch 2" in err
    (metrics,) = tmp_path.rglob("metrics.jsonl")
    assert len(metrics.read_text().splitlines()) == 1


def test_what_a_method_reports_must_be_finite_too(call, tmp_path, monkeypatch):
    from bregbench.methods.backprop import Backprop

    monkeypatch.setattr(Backprop, "end_epoch", lambda self, metrics: {"lam": float("nan")})
    code, _, err = call(train, *SMALL)
    assert code == 1
    assert "lam became nan in epoch 1: lower method.lr" in refusal(err)


def test_sweep_goes_on_past_failures_and_lists_them(call, tmp_path):
    code, _, err = call(train, *SMALL, "-m", "method.lam=0.01,0.1,-1", "seed=0,1")
    assert code == 1
    assert len(list(tmp_path.rglob("summary.json"))) == 4
    assert "sweep: 4 of 6 jobs complete" in err
    assert err.count("error: failed job") == 2
    assert "Traceback" not in err
    code, _, err = call(train, *SMALL, "-m", "method.lam=0.01,0.1", "seed=0,1")
    assert code == 0
    assert "sweep: 4 of 4 jobs complete" in err

    code, _, err = call(plot, "runs=runs", "y=validation/accuracy,l1_norm", "output=a/b.png")
    assert code == 0
    assert (tmp_path / "a" / "b.png").stat().st_size > 10_000
    code, _, err = call(plot, "x=density/total", "y=test/accuracy", "output=c.pdf")
    assert code == 0
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")


def test_interrupted_job_ends_the_sweep(call, tmp_path, monkeypatch):
    from bregbench.runs import train as run

    train_one, begun = run.train, []

    def interrupted(config):
        begun.append(config.seed)
        if config.seed == 1:
            raise Interrupted("SIGTERM", code=143)
        return train_one(config)

    monkeypatch.setattr("bregbench.runs.train.train", interrupted)
    code, _, err = call(train, *SMALL, "-m", "seed=0,1,2")
    assert code == 143
    assert begun == [0, 1]
    assert "sweep: 1 of 2 jobs begun complete" in err
    assert "\nsweep ended with job 1: interrupted (SIGTERM)" in err
    assert "error" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("runs_dir", ["/proc/x", "file", "file/x"])
def test_folder_that_cannot_be_is_one_line(call, tmp_path, runs_dir):
    (tmp_path / "file").write_text("no folder")
    for more in ((), ("-m", "seed=0,1")):
        code, _, err = call(train, *SMALL, f"runs_dir={runs_dir}", *more)
        assert code == 1
        assert f"{runs_dir.partition('/x')[0]}" in refusal(err)


def test_output_that_cannot_be_written_is_one_line(call, tmp_path):
    call(train, *SMALL)
    (tmp_path / "file").write_text("no folder")
    code, _, err = call(plot, "output=file/figure.png")
    assert code == 1
    assert "file" in refusal(err)


@pytest.mark.slow
def test_killed_worker_of_a_sweep_is_listed(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    endless = [option for option in SMALL if not option.startswith("trainer.epochs")]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "-m", "seed=0,1,2"]
    said = tmp_path / "stderr"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bregbench.cli.train",
                *endless,
                "trainer.epochs=100000",
                *launcher,
            ],
            cwd=tmp_path,
            stderr=stderr,
        )
    try:
        workers = _workers(process, tmp_path)
        os.kill(workers[0].read_status()["pid"], signal.SIGKILL)
        assert process.wait() == 1
    finally:
        process.kill()
        process.wait()
    err = said.read_text()
    assert "Traceback" not in err
    assert "sweep: 0 of" in err
    assert "seed=0): its process ended without a word" in err
    assert "error: the sweep ended before all of its jobs had begun" in err.splitlines()[-1]


def _workers(process: subprocess.Popen[bytes], folder: Path) -> list[RunDirectory]:
    """The runs of two workers, once both are at work."""
    while True:
        assert process.poll() is None
        found = [RunDirectory(path) for path in sorted(folder.glob("runs/default/*/seed*"))]
        if sum(bool(run.read_metrics()) for run in found) == 2:
            return found
        time.sleep(0.05)


@pytest.mark.slow
def test_workers_of_a_killed_sweep_end(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    endless = [option for option in SMALL if not option.startswith("trainer.epochs")]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "-m", "seed=0,1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bregbench.cli.train", *endless, "trainer.epochs=100000", *launcher],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        runs = _workers(process, tmp_path)
    finally:
        process.kill()
        process.wait()
    while any(run.live for run in runs):  # else this never ends
        time.sleep(0.05)
    assert {run.read_status()["state"] for run in runs} == {"interrupted"}


@pytest.mark.slow
def test_sweep_in_worker_processes_reports_failures_too(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = [sys.executable, "-m", "bregbench.cli.train", *SMALL, *launcher]
    done = subprocess.run(
        [*command, "-m", "method.lam=0.1,-1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "sweep: 1 of 2 jobs complete" in done.stderr
    assert "error: failed job 1" in done.stderr
    assert len(list(tmp_path.rglob("summary.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["runs=nowhere"], "runs=nowhere is not a folder"),
        (["runs=."], "no runs in ."),
        (["nonsense=1"], "nonsense is unknown: bregbench plot has runs, x, y, "),
        (["nonsense"], "runs=nonsense is not a folder"),
        (["outptu=a.png"], "outptu is unknown: did you mean output? bregbench plot has runs"),
        (
            ["--output", "a.png"],
            "'--output' is not key=value: did you mean output=...? see bregbench plot",
        ),
        ([".", "runs=."], "runs is given twice, as . and as runs=: give it once"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_plot_arguments_are_one_line(call, arguments, says):
    code, _, err = call(plot, *arguments)
    assert code == 1
    assert says in refusal(err)


def test_plot_of_an_unknown_metric_lists_the_known_ones(call, tmp_path):
    call(train, *SMALL)
    code, _, err = call(plot, "y=nonsense")
    assert code == 1
    assert "nonsense was not measured: choose from" in refusal(err)
    assert not (tmp_path / "figure.png").exists()


def test_plot_refuses_an_unknown_image_format(call):
    call(train, *SMALL)
    code, _, err = call(plot, "output=figure.doc")
    assert code == 1
    assert ".png, .pdf, .svg" in refusal(err)


def test_doctor_shows_versions_and_data(call):
    code, out, _ = call(doctor, f"data_root={SHARED_DATA}")
    assert code == 0
    assert "torch" in out
    assert "ours" in out
    assert "mnist" in out
    assert "HIDDEN" not in out


@pytest.mark.parametrize(
    ("has", "says"), [(True, "yes (precision=auto: bf16)"), (False, "no (precision=auto: fp32)")]
)
def test_doctor_says_whether_the_machine_has_bf16(call, monkeypatch, has, says):
    monkeypatch.setattr("bregbench.foundations.half_precision.has_bf16", lambda _device: has)
    _, out, _ = call(doctor, f"data_root={SHARED_DATA}")
    (line,) = (line for line in out.splitlines() if "bf16 on cpu" in line)
    assert says in line


def test_doctor_reports_a_shadowing_package(tmp_path):
    stranger = tmp_path / "clip"
    stranger.mkdir()
    (stranger / "__init__.py").write_text('"""Another package altogether."""\n')
    done = subprocess.run(
        [sys.executable, "-m", "bregbench.cli.doctor"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert f"hides ours: clip ({stranger})" in done.stderr


def test_help_of_every_command(call):
    for module in (plot, doctor):
        code, out, _ = call(module, "--help")
        assert code == 0
        assert "key=value" in out


COMMANDS = [
    "compare",
    "doctor",
    "evaluate",
    "export",
    "main",
    "plot",
    "reproduce",
    "results_next",
    "runs",
    "search",
    "status",
    "train",
]
ASKED = """
import runpy, sys
sys.argv[1:] = [{flag!r}]
try:
    runpy.run_module("bregbench.cli.{command}", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "hydra", "pandas", "matplotlib", "wandb"}} & sys.modules.keys()
assert not heavy, heavy
"""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_need_no_heavy_package(command, flag):
    done = subprocess.run(
        [sys.executable, "-c", ASKED.format(command=command, flag=flag)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = f"bregbench {__version__}\n" if flag == "--version" else "Examples:"
    if flag == "--version" or command not in ("runs", "results_next", "status"):
        assert expected in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_of_training_names_every_option(call):
    code, out, _ = call(train, "seed=1", "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    configs = ROOT / "configs"
    words = set(out.replace(",", " ").replace("=", " ").split())
    for path in configs.rglob("*.yaml"):
        group, option = path.parent.relative_to(configs), path.stem
        if group.parts and group.parts[0] not in ("table", "figure", "transform"):
            assert {group.as_posix(), option} <= words


def test_examples_of_the_help_compose():
    examples = [line for line in help_text().splitlines() if line.startswith("  bregbench train ")]
    overrides = [
        [
            word
            for word in shlex.split(line)[1:]
            if "=" in word and "..." not in word and "," not in word
        ]
        for line in examples
    ]
    assert sum(map(bool, overrides)) >= 3
    for words in overrides:
        compose(*[word for word in words if not word.startswith(("group", "key"))])


def test_scripts_are_the_commands():
    scripts = ROOT / "scripts"
    for script in scripts.glob("*.py"):
        assert f"from bregbench.cli.{script.stem} import main" in script.read_text()


def test_a_reader_that_leaves_is_no_error():
    code = (
        "import sys; from bregbench.cli.outcome import guarded; "
        "sys.exit(guarded(lambda: [print('line', flush=True) for _ in range(100000)] and 0))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141
