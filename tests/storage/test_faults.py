"""Files that are lost, cut short or damaged stop a run in one line; nothing ends complete without them."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import zipfile
from pathlib import Path

import pytest

from bregbench.cli import runs
from bregbench.cli.outcome import guarded
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors, write_json, write_tensors
from bregbench.runs.load import read_config
from bregbench.runs.train import run_directory, train
from bregbench.storage import locking
from bregbench.storage.directory import RunDirectory
from bregbench.storage.weights import weights_of
from bregbench.training.trainer import Training
from tests.places import without_times

#: a run whose every file is used: a best epoch, snapshots, three epochs
OPTIONS = ("trainer.snapshots=[0,1]", "trainer.epochs=3", "evaluators=[accuracy,density]")


class Killed(BaseException):
    """Ends a run as a kill does."""


@pytest.fixture
def after_save(monkeypatch):
    """Do something once a checkpoint of a number has been written."""

    def arrange(number: int, action) -> None:
        save, seen = Training.save, []

        def saving(self: Training) -> None:
            save(self)
            seen.append(1)
            if len(seen) == number:
                action(self.directory)

        monkeypatch.setattr(Training, "save", saving)

    return arrange


def stop(directory: RunDirectory) -> None:
    raise Killed


def without_seconds(directory: RunDirectory) -> list[dict]:
    return without_times(directory.read_metrics())


def flip(path: Path, *, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 4
    path.write_bytes(content)


DELETED = {
    "config.json": lambda run: run.config,
    "penalties.txt": lambda run: run.penalties,
    "metrics.jsonl": lambda run: run.metrics,
    "best.pt": lambda run: run.best,
    "epoch0001": lambda run: run.snapshot(1),
    "run directory": lambda run: run.lock,
}


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("name", DELETED)
def test_run_whose_file_is_deleted_meanwhile_is_not_complete(
    make_config, after_save, monkeypatch, name, epoch
):
    config = make_config(*OPTIONS)
    after_save(epoch, lambda run: DELETED[name](run).unlink())
    with pytest.raises(BenchError, match=rf"{name}.* deleted"):
        train(config)
    assert not run_directory(config).complete


@pytest.mark.parametrize("epoch", [1, 3])
def test_run_whose_directory_is_deleted_meanwhile_makes_no_other(make_config, after_save, epoch):
    config = make_config(*OPTIONS)
    after_save(epoch, lambda run: shutil.rmtree(run.path))
    with pytest.raises(BenchError, match=r"run directory .* was deleted while the run was at work"):
        train(config)
    assert not run_directory(config).path.exists()


def test_run_whose_directory_is_replaced_meanwhile_writes_nothing_into_it(make_config, after_save):
    config = make_config(*OPTIONS)

    def replace(run: RunDirectory) -> None:
        shutil.rmtree(run.path)
        run.path.mkdir()
        run.lock.touch()

    after_save(1, replace)
    with pytest.raises(BenchError, match="was deleted while the run was at work"):
        train(config)
    assert [path.name for path in run_directory(config).path.iterdir()] == ["lock"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "best.pt", "epoch0001", "penalties.txt"])
def test_one_flipped_bit_before_the_end_is_found(make_config, after_save, name):
    config = make_config(*OPTIONS)
    after_save(3, lambda run: flip(DELETED[name](run)))
    with pytest.raises(BenchError, match=rf"{name}.* damaged"):
        train(config)
    assert not run_directory(config).complete


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


HARM = {"deleted": Path.unlink, "cut": _cut, "flipped": flip}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", ["metrics.jsonl", "best.pt", "epoch0001"])
def test_resumed_run_misses_what_its_checkpoint_relies_on(make_config, monkeypatch, name, harm):
    config = make_config(*OPTIONS)
    with monkeypatch.context() as patched:
        patched.setattr(Training, "_next_phase", lambda self: stop(self.directory))
        with pytest.raises(Killed):
            train(config)
    directory = run_directory(config)
    path = DELETED[name](directory)
    whole = path.read_bytes()
    HARM[harm](path)
    with pytest.raises(
        BenchError, match=rf"{name}.* put the file back, or delete .* from the beginning"
    ):
        train(config)
    assert not directory.complete
    path.write_bytes(whole)  # the remedy
    assert train(config)["epochs"] == 3


@pytest.mark.parametrize("entry", range(8))
def test_one_flipped_bit_in_a_checkpoint_is_found(make_config, after_save, monkeypatch, entry):
    config = make_config(*OPTIONS)
    with monkeypatch.context() as patched:
        patched.setattr(Training, "_next_phase", lambda self: stop(self.directory))
        with pytest.raises(Killed):
            train(config)
    checkpoint = run_directory(config).checkpoint
    with zipfile.ZipFile(checkpoint) as archive:
        infos = [info for info in archive.infolist() if info.file_size]
        info = infos[entry * (len(infos) - 1) // 7]
    # Behind the local header, whose last two fields are the lengths of the name and of the padding.
    content = checkpoint.read_bytes()
    lengths = content[info.header_offset + 26 : info.header_offset + 30]
    begin = (
        info.header_offset + 30 + sum(int.from_bytes(lengths[i : i + 2], "little") for i in (0, 2))
    )
    flip(checkpoint, at=(begin + info.file_size // 2 + 0.5) / len(content))
    with pytest.raises(BenchError, match=r"checkpoint\.pt is damaged or was cut short"):
        train(config)


def test_checkpoint_without_ledger_is_taken_up_where_its_files_are_there(make_config, monkeypatch):
    config, whole = make_config(*OPTIONS), make_config(*OPTIONS, "experiment_name=whole")
    train(whole)

    def interrupted(at: str) -> RunDirectory:
        directory = run_directory(config)
        shutil.rmtree(directory.path, ignore_errors=True)
        with monkeypatch.context() as patched:
            patched.setattr(Training, "_next_phase", lambda self: stop(self.directory))
            with pytest.raises(Killed):
                train(config)
        state = read_tensors(directory.checkpoint)
        del state["files"]
        import torch

        torch.save(state, directory.checkpoint)
        return directory

    directory = interrupted("end")
    train(config)
    assert without_seconds(directory) == without_seconds(run_directory(whole))
    for name in ("metrics.jsonl", "best.pt", "epoch0001"):
        directory = interrupted("end")
        DELETED[name](directory).unlink()
        with pytest.raises(BenchError, match=rf"{name}|no weights of epoch 1"):
            train(config)


def test_kill_between_a_checkpoint_and_its_best_weights(make_config, monkeypatch):
    config, whole = make_config(*OPTIONS), make_config(*OPTIONS, "experiment_name=whole")
    train(whole)
    for method in ("keep_next_best", "append_metrics"):
        experiment = make_config(*OPTIONS, f"experiment_name={method}")
        with monkeypatch.context() as patched:
            patched.setattr(
                f"bregbench.storage.ledger.Ledger.{method}", lambda self, *row: stop(self)
            )
            with pytest.raises(Killed):
                train(experiment)
        train(experiment)
        ours, theirs = run_directory(experiment), run_directory(whole)
        assert without_seconds(ours) == without_seconds(theirs)
        for selection in ("best", "last"):
            found, known = weights_of(ours, selection), weights_of(theirs, selection)
            assert all((found[name] == known[name]).all() for name in known)
        assert not ours.next_best.exists()
    assert config.run_name.hash == whole.run_name.hash


@pytest.mark.parametrize("bytes_", [100, 6000, 20_000])
def test_full_disk_is_one_line_and_the_same_command_goes_on(make_config, capsys, bytes_):
    config = make_config(*OPTIONS, f"experiment_name=full{bytes_}")
    train(make_config(*OPTIONS, "experiment_name=whole"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))
    try:
        with pytest.raises(BenchError, match="cannot be written"):
            train(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    directory = run_directory(config)
    assert not directory.complete
    assert not list(directory.path.glob(".*"))
    train(config)
    whole = run_directory(make_config(*OPTIONS, "experiment_name=whole"))
    assert without_seconds(directory) == without_seconds(whole)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_disk_errors_without_a_path_are_one_line(capsys, number):
    def command() -> int:
        raise OSError(number, os.strerror(number))

    assert guarded(command) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    ["../../x", "/x", ".", "..", "a/../b", "a//b", "a/", ".hidden", "a\\b", "a\nb", "x" * 256],
)
def test_experiments_that_are_no_folder_of_ours_are_refused(make_config, tmp_path, name):
    config = make_config()
    config.experiment_name = name
    with pytest.raises(BenchError, match="experiment_name="):
        train(config)
    assert not (tmp_path / "runs").exists()


def test_experiment_may_be_a_folder_in_a_folder(make_config):
    config = make_config("trainer.epochs=1", "experiment_name=a/b")
    train(config)
    assert run_directory(config).path.parts[-4:-2] == ("a", "b")


@pytest.mark.parametrize("file", ["metrics.jsonl", "config.json", "status.json", "summary.json"])
@pytest.mark.parametrize("content", [b"\xff\xfe", b"{}\n", b'{"epochs": "x"}\n', b"[" * 99_999])
def test_one_damaged_run_takes_no_list_down(make_config, call, tmp_path, file, content):
    config = make_config("trainer.epochs=1")
    if not run_directory(config).complete:
        train(config)
    whole = run_directory(config)
    broken = RunDirectory(whole.path.with_name("seed9"))
    shutil.copytree(whole.path, broken.path)
    if file != "summary.json":
        broken.summary.unlink()
        write_json(broken.status, {"state": "running", "epochs": 3})
    (broken.path / file).write_bytes(content)
    code, out, _ = call(runs, "list", "runs=runs")
    assert code == 0
    states = [line.split()[0] for line in out.splitlines()[1:-1] if line[:2].strip()]
    assert len(states) == 2
    assert "complete" in states


def test_leftovers_of_killed_processes_are_cleaned_up(make_config, tmp_path):
    config = make_config("trainer.epochs=1")
    directory = run_directory(config)
    directory.snapshots.mkdir(parents=True)
    for folder in (directory.path, directory.snapshots):
        (folder / ".best.pt.999999999.tmp").write_bytes(b"half")
    train(config)
    assert not list(directory.path.rglob(".*"))
    (tmp_path / ".x.json.999999999.tmp").write_text("half")
    (tmp_path / f".x.json.{os.getppid()}.tmp").write_text("at work")
    write_json(tmp_path / "x.json", {})
    assert sorted(p.name for p in tmp_path.glob(".x*")) == [f".x.json.{os.getppid()}.tmp"]


def _no_locks(*arguments: object) -> None:
    raise OSError(errno.ENOLCK, "no locks available")


@pytest.mark.parametrize("flock", [_no_locks, lambda *arguments: None], ids=["fails", "pretends"])
def test_without_working_locks_there_are_never_two_writers(make_config, monkeypatch, capsys, flock):
    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(locking, "_said", False)
    monkeypatch.setattr("bregbench.storage.directory._LOCK_SECONDS", 0.05)
    config = make_config("trainer.epochs=1")
    directory = run_directory(config)
    with directory.locked():
        assert directory.live
        with pytest.raises(locking.InUse, match=rf"in use by process {os.getpid()} .*held if that"):
            train(config)
    assert not directory.live
    assert train(config)["epochs"] == 1
    assert capsys.readouterr().err.count("has no working locks") == 1


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", ["weights.pt", "best.pt", "epoch0001", "penalties.txt"])
def test_finished_run_with_a_damaged_file_is_not_called_complete(make_config, name, harm):
    config = make_config(*OPTIONS)
    train(config)
    directory = run_directory(config)
    path = directory.weights if name == "weights.pt" else DELETED[name](directory)
    whole = path.read_bytes()
    HARM[harm](path)
    with pytest.raises(BenchError, match=rf"{name}.* put the file back, or delete"):
        train(config)
    path.write_bytes(whole)
    assert train(config)["epochs"] == 3


def test_finished_run_without_its_config_is_not_called_complete(make_config):
    config = make_config(*OPTIONS)
    train(config)
    run_directory(config).config.unlink()
    with pytest.raises(BenchError, match=r"config\.json was deleted"):
        train(config)


def test_tensors_for_a_folder_that_is_gone_are_one_line(tmp_path):
    with pytest.raises(BenchError, match="cannot be written"):
        write_tensors(tmp_path / "gone" / "x.pt", {}, make_folder=False)
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("selection", ["best", "last"])
def test_one_flipped_bit_in_saved_weights_is_found(make_config, selection):
    config = make_config(*OPTIONS)
    train(config)
    directory = run_directory(config)
    flip(directory.best if selection == "best" else directory.weights)
    with pytest.raises(BenchError, match="is damaged or was cut short"):
        weights_of(directory, selection)


@pytest.mark.parametrize("harm", HARM)
def test_config_that_is_damaged_while_data_are_read_is_written_again(
    make_config, monkeypatch, harm
):
    config = make_config("trainer.epochs=1")
    resume = Training.resume

    def resuming(self: Training) -> bool:
        HARM[harm](self.directory.config)
        return resume(self)

    monkeypatch.setattr(Training, "resume", resuming)
    train(config)
    assert read_config(run_directory(config)) == config


def test_file_deleted_between_a_look_and_a_read_is_one_line(make_config, monkeypatch):
    config = make_config("trainer.epochs=1")
    directory = run_directory(config)

    def vanished(*_: object) -> None:
        (directory.path / "never.pt").read_bytes()

    monkeypatch.setattr("bregbench.runs.train.judge_run", vanished)
    with pytest.raises(BenchError, match=r"never\.pt was deleted while this run trained"):
        train(config)
    assert not directory.complete
