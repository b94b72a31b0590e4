"""Small parts that much else relies on."""

from __future__ import annotations

import json
import os
import platform
import re

import pytest
import torch

from bregbench.foundations.durations import duration, parse_duration
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors, write_atomically, write_json, write_tensors
from bregbench.foundations.memory import keep_freed_memory
from bregbench.foundations.provenance import commit
from bregbench.schema.trainer import TrainerConfig


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("9m", 540), ("1.5h", 5400)])
def test_durations_are_parsed(text, seconds):
    assert parse_duration(text, key="budget") == seconds


@pytest.mark.parametrize("text", ["", "9", "9 minutes", "-3m", "m"])
def test_other_durations_are_refused(text):
    with pytest.raises(BenchError, match=r"write 90s, 9m or 1\.5h"):
        parse_duration(text, key="budget")


def test_durations_are_shown():
    assert [duration(s) for s in (5, 65, 3700)] == ["0:05", "1:05", "1:01:40"]


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})

    def half(temporary):
        temporary.write_text("{")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_atomically(path, half)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_content_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    synced: list[tuple[int, bool]] = []

    def fsync(number: int) -> None:
        synced.append((os.fstat(number).st_ino, (tmp_path / "x.json").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(tmp_path / "x.json", {"a": 1})
    assert synced == [((tmp_path / "x.json").stat().st_ino, False)]


def test_tensors_survive(tmp_path):
    state = {"a": torch.arange(3), "b": {"c": 1.5, "d": "text"}}
    write_tensors(tmp_path / "x.pt", state)
    loaded = read_tensors(tmp_path / "x.pt")
    assert torch.equal(loaded["a"], state["a"])
    assert loaded["b"] == state["b"]


def test_freed_memory_is_kept_with_glibc():
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


def test_commit_is_a_hash_or_none():
    found = commit()
    assert found is None or re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", found)


def test_settings_of_a_run_are_put_back():
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with TrainerConfig(threads=before[0] + 1, deterministic=True).applied():
        assert torch.get_num_threads() == before[0] + 1
        assert torch.are_deterministic_algorithms_enabled()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_unknown_device_is_refused():
    for device in ("tpu", "cuda:99", "meta"):
        with pytest.raises(BenchError, match=f"trainer.device={device}"):
            TrainerConfig(device=device).torch_device()
