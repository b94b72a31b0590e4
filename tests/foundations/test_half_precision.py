"""`trainer.precision=auto` is settled before anything is hashed, from what the device has."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bregbench.foundations import half_precision
from bregbench.foundations.half_precision import has_bf16
from bregbench.foundations.identity import config_hash, to_plain
from bregbench.runs.train import run_directory, train
from bregbench.schema.compose import compose
from bregbench.schema.trainer import Precision, TrainerConfig

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["with bf16", "without"])
def machine(request, monkeypatch) -> Precision:
    """A machine with or without instructions for bf16, and what it should compute in."""
    monkeypatch.setattr("bregbench.schema.trainer.has_bf16", lambda _device: request.param)
    return Precision.bf16 if request.param else Precision.fp32


def test_auto_is_the_precision_of_the_machine(machine):
    config = compose("method=sgd", "trainer.precision=auto", "trainer.device=cpu")
    explicit = compose("method=sgd", f"trainer.precision={machine.name}", "trainer.device=cpu")
    assert config.trainer.precision is machine
    assert config_hash(config) == config_hash(explicit)
    assert to_plain(config) == to_plain(explicit)
    assert TrainerConfig(precision=Precision.auto, device="cpu").precision is machine
    for other in (Precision.bf16, Precision.fp32):
        assert TrainerConfig(precision=other, device="cpu").precision is other


def test_the_device_decides(monkeypatch):
    asked: list[torch.device] = []
    monkeypatch.setattr("bregbench.schema.trainer.has_bf16", lambda d: not asked.append(d))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("cpu", "cuda:1", "auto"):
        TrainerConfig(precision=Precision.auto, device=device)
    assert asked == [CPU, torch.device("cuda:1"), torch.device("cuda")]
    # What is not there is refused when the run begins, as without `auto`.
    assert TrainerConfig(precision=Precision.auto, device="cuda:5").precision is Precision.fp32


def test_runs_and_records_say_what_was_computed(make_config, machine):
    given = make_config("trainer.epochs=1")
    given.trainer.precision = Precision.auto  # by hand, after the config was made
    explicit = dataclasses.replace(
        given, trainer=dataclasses.replace(given.trainer, precision=machine)
    )
    assert run_directory(given).path == run_directory(explicit).path
    summary = train(given)
    assert given.trainer.precision is Precision.auto
    assert run_directory(explicit).read_config()["trainer"]["precision"] == machine.name
    assert summary["hash"] == config_hash(explicit)
    assert train(explicit) == summary


@pytest.fixture
def torch_says(monkeypatch):
    def say(mkldnn, avx512, flags):
        def answer(value):
            def question(*_):
                if isinstance(value, Exception):
                    raise value
                return value

            return question

        monkeypatch.setattr(half_precision, "_mkldnn_says", answer(mkldnn))
        monkeypatch.setattr(half_precision, "_avx512_says", answer(avx512))
        monkeypatch.setattr(half_precision, "_cpu_flags", lambda: set(flags))
        half_precision._cpu_has_bf16.cache_clear()

    yield say
    half_precision._cpu_has_bf16.cache_clear()


UNKNOWN = AttributeError("of another version")


@pytest.mark.parametrize(
    ("mkldnn", "avx512", "flags", "expected"),
    [
        (True, True, ["avx2"], True),
        (True, False, ["avx2", "avx512f"], False),  # any AVX-512 satisfies oneDNN
        (True, False, ["amx_bf16"], True),
        (False, True, ["avx512_bf16"], False),  # ONEDNN_MAX_CPU_ISA
        (UNKNOWN, UNKNOWN, ["avx512_bf16"], True),
        (UNKNOWN, UNKNOWN, [], False),  # such as macOS
        (UNKNOWN, True, [], True),
    ],
)
def test_cpus_have_bf16_by_their_instructions(torch_says, mkldnn, avx512, flags, expected):
    torch_says(mkldnn, avx512, flags)
    assert has_bf16(CPU) is expected


def test_the_cpu_of_this_machine_has_an_answer():
    assert has_bf16(CPU) in (True, False)
    assert not has_bf16(torch.device("meta"))


def test_gpus_have_bf16_from_ampere_on(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", None)
    for capability, expected in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _d, c=capability: c)
        assert has_bf16(torch.device("cuda")) is expected
