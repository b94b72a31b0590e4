"""Training at several resolutions: one size a batch, reproducible, resumable, refused where impossible."""

from __future__ import annotations

import pytest
import torch

from bregbench.figures.specs import load_table
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import config_hash
from bregbench.papers.fno import Resolution
from bregbench.runs.train import run_directory, train
from bregbench.schema.compose import compose
from bregbench.training.batch_sizes import BatchSizes
from bregbench.training.trainer import Training
from fno import trigonometric_resize
from tests.places import without_times

OVERRIDES = (
    "dataset=digits",
    "model=fno",
    "model.modes=3",
    "model.channels=[2]",
    "model.pool=2",
    "method=adam",
    "trainer.epochs=2",
    "trainer.batch_size=256",
    "trainer.image_sizes=[4,8,11]",
    "evaluators=[accuracy]",
    "trainer.device=cpu",
    "tracking=none",
)


def test_batches_are_resized_to_sizes_drawn_by_the_generator():
    images = torch.rand(3, 1, 8, 6)
    sizes = BatchSizes([4, 8, 12], torch.Generator().manual_seed(1))
    batches = [sizes(images) for _ in range(30)]
    assert {tuple(batch.shape[-2:]) for batch in batches} == {(4, 3), (8, 6), (12, 9)}
    assert all(torch.equal(b, trigonometric_resize(images, b.shape[-2:])) for b in batches)
    again = BatchSizes([4, 8, 12], torch.Generator().manual_seed(1))
    assert [again(images).shape for _ in range(30)] == [batch.shape for batch in batches]
    generator = torch.Generator()
    before = generator.get_state()
    assert BatchSizes([], generator)(images) is images
    assert torch.equal(generator.get_state(), before)


def test_sizes_in_order_take_equal_shares_of_the_run_and_draw_nothing():
    images = torch.rand(2, 1, 8, 6)
    sizes = BatchSizes([4, 6, 8], None)
    shares = [k / 12 for k in range(12)]
    assert [sizes(images, done).shape[2] for done in shares] == [4] * 4 + [6] * 4 + [8] * 4
    assert sizes(images, 0.9) is images
    assert torch.equal(sizes(images, 0.0), trigonometric_resize(images, (4, 3)))


def test_a_run_with_growing_images_goes_through_the_sizes(tmp_path, monkeypatch):
    ordered = ("trainer.image_sizes=[4,8]", "trainer.sizes_in_order=true")
    _, seen = trained(tmp_path, monkeypatch, *ordered)
    assert seen == sorted(seen)
    assert seen.count(4) == seen.count(8) > 0


def test_sizes_belong_to_the_identity_of_a_run():
    assert config_hash(compose("trainer.image_sizes=[]")) == config_hash(compose())
    assert config_hash(compose("trainer.image_sizes=[8]")) != config_hash(compose())


def trained(folder, monkeypatch, *overrides) -> tuple[list[dict], list[int]]:
    """Metrics of a run, and the sizes that its network saw."""
    config = compose(*OVERRIDES, *overrides, f"runs_dir={folder}")
    seen: list[int] = []
    original = BatchSizes.__call__

    def watched(self, *arguments):
        result = original(self, *arguments)
        seen.append(result.shape[-1])
        return result

    monkeypatch.setattr(BatchSizes, "__call__", watched)
    train(config)
    monkeypatch.setattr(BatchSizes, "__call__", original)
    rows = run_directory(config).read_metrics()
    return without_times(rows), seen


def test_a_run_is_reproducible(tmp_path, monkeypatch):
    first, sizes = trained(tmp_path / "a", monkeypatch)
    second, again = trained(tmp_path / "b", monkeypatch)
    assert first == second
    assert sizes == again
    assert set(sizes) == {4, 8, 11}


def test_a_run_is_resumed_with_the_sizes_that_were_to_come(tmp_path):
    config = compose(*OVERRIDES, f"runs_dir={tmp_path}")
    whole = Training(config, run_directory(config)).begin()
    shapes = [whole._resize(torch.zeros(1, 1, 8, 8)).shape for _ in range(12)]
    begun = Training(config, run_directory(config)).begin()
    begun.directory.path.mkdir(parents=True)
    for _ in range(5):
        begun._resize(torch.zeros(1, 1, 8, 8))
    begun.save()
    resumed = Training(config, run_directory(config))
    assert resumed.resume()
    assert [resumed._resize(torch.zeros(1, 1, 8, 8)).shape for _ in range(7)] == shapes[5:]


def test_networks_of_one_size_are_refused(tmp_path):
    config = compose(
        "dataset=digits", "model=mlp", "trainer.image_sizes=[4]", f"runs_dir={tmp_path}"
    )
    with pytest.raises(
        BenchError, match=r"model=mlp takes no images of height 4; use .*cnn_circular"
    ):
        Training(config, run_directory(config)).begin()
    with pytest.raises(BenchError, match=r"trainer.image_sizes"):
        Training(
            compose("dataset=digits", "model=fno", "trainer.image_sizes=[0]"),
            run_directory(config),
        ).begin()


def test_runs_of_one_size_are_those_of_figure_3():
    ours, figure3 = load_table("fno_resolutions"), load_table("fno_figure3")
    for row, other in (
        ("CNN, 5 x 5 kernels: 28 px", "CNN trained@5"),
        ("FNO, 15 x 15 modes: 28 px", "FNO trained@15"),
    ):
        mine, theirs = ours.config(row, 0), figure3.config(other, 0)
        assert mine.hashed_name == theirs.hashed_name
        needed, measured = mine.evaluators["resolution"], theirs.evaluators["resolution"]
        assert isinstance(needed, Resolution)
        assert isinstance(measured, Resolution)
        assert set(needed.sizes) <= set(measured.sizes)
    several = ours.config("FNO, 15 x 15 modes: 14 to 42 px", 0)
    assert several.hashed_name != ours.config("FNO, 15 x 15 modes: 28 px", 0).hashed_name
