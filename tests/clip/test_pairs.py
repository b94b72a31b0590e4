"""Where pairs come from, when they are drawn anew, and that a set can be taken up again."""

from __future__ import annotations

import io

import pytest
import torch

from clip import Ascent, DataPairs, GivenPairs, NoisyData, PairSet, UniformPoints
from clip.sources import NoiseKind

IMAGES = torch.rand(20, 3, 2, generator=torch.Generator().manual_seed(1))


def test_noisy_data_pairs_each_image_with_its_copy():
    pairs = PairSet(NoisyData(IMAGES, noise=0.1))
    assert torch.equal(pairs.points[:, 0], IMAGES)
    assert pairs.points.shape == (20, 2, 3, 2)
    few = PairSet(NoisyData(IMAGES, count=7))
    first = few.points[:, 0].flatten(1)
    chosen = (first[:, None] == IMAGES.flatten(1)).all(dim=2)
    assert chosen.sum(dim=1).eq(1).all()
    assert chosen.sum(dim=0).max() == 1, "an image was drawn twice"


@pytest.mark.parametrize(
    ("kind", "low", "high", "mean", "variance"),
    [
        ("normal", -9, 9, 0, 0.04),
        ("uniform", -0.2, 0.2, 0, 0.04 / 3),
        ("one_sided", 0, 0.2, 0.1, 0.01 / 3),
    ],
)
def test_noise_has_the_moments_of_its_kind(kind: NoiseKind, low, high, mean, variance):
    images = torch.zeros(100, 500)
    pairs = PairSet(NoisyData(images, noise=0.2, kind=kind))
    noise = pairs.points[:, 1] - pairs.points[:, 0]
    assert noise.mean().item() == pytest.approx(mean, abs=4 * (variance / noise.numel()) ** 0.5)
    assert noise.var().item() == pytest.approx(variance, rel=0.05)
    assert low <= noise.min()
    assert noise.max() <= high


def test_data_pairs_join_different_images():
    pairs = PairSet(DataPairs(IMAGES, count=300))
    numbers = (pairs.points[:, :, None] == IMAGES).flatten(3).all(dim=3).int().argmax(dim=2)
    assert (numbers[:, 0] != numbers[:, 1]).all()
    assert {*numbers.flatten().tolist()} == set(range(20))


def test_uniform_points_fill_the_box():
    pairs = PairSet(UniformPoints((2,), count=400, low=-4, high=4))
    assert pairs.points.min() < -3.9
    assert pairs.points.max() > 3.9
    assert abs(torch.corrcoef(pairs.points[..., 0].T)[0, 1]) < 0.2
    near = PairSet(UniformPoints((2,), count=400, low=-4, high=4, noise=0.1, kind="uniform"))
    assert (near.points[:, 0] - near.points[:, 1]).abs().max() <= 0.1 + 1e-6


def test_given_pairs_come_back_at_a_refresh():
    points = torch.rand(4, 2, 3)
    pairs = PairSet(GivenPairs(points))
    Ascent().run(torch.nn.Linear(3, 2), pairs, steps=3)
    assert not torch.equal(pairs.points, points)
    pairs.refresh()
    assert torch.equal(pairs.points, points)
    assert pairs.rates.eq(1).all()
    assert pairs.quotients.eq(0).all()


def test_range_and_distance_hold_from_the_start():
    pairs = PairSet(NoisyData(IMAGES, noise=5.0), value_range=(0.0, 1.0))
    assert 0 <= pairs.points.min() <= pairs.points.max() <= 1
    near = torch.tensor([[[1.0, 0.0], [1.0 + 1e-6, 0.0]], [[0.0, 0.0], [3.0, 4.0]]])
    pairs = PairSet(GivenPairs(near), min_distance=0.5)
    assert torch.allclose(
        pairs.points, torch.tensor([[[0.75, 0.0], [1.25, 0.0]], [[0.0, 0.0], [3.0, 4.0]]])
    )


def test_turns_cover_the_set():
    pairs = PairSet(NoisyData(IMAGES))
    turns = [pairs.advance(8) for _ in range(4)]
    assert [(turn.start, turn.stop) for turn in turns] == [(0, 8), (8, 16), (16, 20), (0, 8)]
    assert pairs.advance(8).start == 8
    pairs.refresh()
    assert pairs.advance() == slice(0, 20)
    assert pairs.advance(30) == slice(0, 20)


@pytest.mark.parametrize(
    ("refresh", "changes"),
    [
        ("never", [False] * 6),
        ("epoch", [False, False, True, False, False, True]),
        (2, [False, True, False, True, False, True]),
    ],
)
def test_refresh_policies(refresh, changes):
    """Steps 1 to 6 with an epoch of three; what the next step sees."""
    pairs = PairSet(NoisyData(IMAGES), refresh=refresh)
    pairs.advance()
    for number, change in enumerate(changes, start=1):
        before = pairs.points.clone()
        if number % 3 == 0:
            pairs.end_epoch()
        pairs.advance()
        assert torch.equal(pairs.points, before) != change, f"after step {number}"


def test_generator_is_the_only_randomness():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = PairSet(NoisyData(IMAGES, count=9))
    torch.rand(5)
    second = PairSet(NoisyData(IMAGES, count=9))
    other = PairSet(NoisyData(IMAGES, count=9), generator=torch.Generator().manual_seed(1))
    assert torch.equal(first.points, second.points)
    assert not torch.equal(first.points, other.points)
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_state_continues_to_the_bit():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2), torch.nn.Tanh())

    def work(pairs, steps):
        for _ in range(steps):
            part = pairs.advance(6)
            Ascent().run(model, pairs)
            assert part.stop <= 20

    pairs = PairSet(NoisyData(IMAGES, noise=0.3), refresh=5)
    work(pairs, 7)  # past a refresh, so that the generator has moved on
    buffer = io.BytesIO()
    torch.save(pairs.state_dict(), buffer)
    work(pairs, 7)
    buffer.seek(0)
    again = PairSet(NoisyData(IMAGES, noise=0.3), refresh=5)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    work(again, 7)
    for name in ("points", "quotients", "rates"):
        assert torch.equal(getattr(again, name), getattr(pairs, name)), name
    assert again.advance(6) == pairs.advance(6)


def test_saved_state_does_not_move_on():
    pairs = PairSet(NoisyData(IMAGES))
    state = pairs.state_dict()
    pairs.points.zero_()
    assert not state["points"].eq(0).all()


def test_set_follows_a_reference():
    pairs = PairSet(NoisyData(IMAGES))
    assert pairs.to(torch.zeros(1, dtype=torch.float64)) is pairs
    assert {pairs.points.dtype, pairs.rates.dtype, pairs.quotients.dtype} == {torch.float64}
    pairs.refresh()
    assert pairs.points.dtype == torch.float64


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NoisyData(torch.zeros(3)), r"N >= 1, got \(3,\)"),
        (lambda: NoisyData(torch.zeros(0, 3)), r"N >= 1, got \(0, 3\)"),
        (lambda: NoisyData(torch.zeros(2, 3, dtype=torch.uint8)), "floating-point.*uint8"),
        (lambda: NoisyData(IMAGES, count=0), "count=0: must be between 1 and 20"),
        (lambda: NoisyData(IMAGES, count=21), "count=21: must be between 1 and 20"),
        (lambda: NoisyData(IMAGES, noise=0.0), "Invalid noise: 0.0 .must be > 0"),
        (lambda: NoisyData(IMAGES, kind="gauss"), "Invalid kind: 'gauss'.*normal, uniform, one"),  # type: ignore[arg-type]
        (lambda: DataPairs(IMAGES[:1], count=3), "N >= 2, got"),
        (lambda: DataPairs(IMAGES, count=0), "count=0: must be at least 1"),
        (lambda: UniformPoints((), count=1), r"shape=\(\): must be sizes"),
        (lambda: UniformPoints((0,), count=1), r"shape=\(0,\): must be sizes"),
        (lambda: UniformPoints((2,), count=-1), "count=-1: must be at least 1"),
        (lambda: UniformPoints((2,), count=1, low=1.0), r"\(low, high\)=\(1.0, 1.0\)"),
        (lambda: UniformPoints((2,), count=1, noise=-1.0), "Invalid noise: -1.0"),
        (lambda: UniformPoints((2,), count=1, kind="a"), "Invalid kind: 'a'"),  # type: ignore[arg-type]
        (lambda: GivenPairs(torch.zeros(4, 3, 5)), r"n >= 1, got \(4, 3, 5\)"),
        (lambda: GivenPairs(torch.zeros(4, 2)), r"n >= 1, got \(4, 2\)"),
        (lambda: GivenPairs(torch.zeros(0, 2, 5)), r"n >= 1, got \(0, 2, 5\)"),
        (lambda: GivenPairs(torch.zeros(4, 2, 5).int()), "floating-point.*int32"),
        (lambda: PairSet(NoisyData(IMAGES), refresh="often"), "refresh='often': must be"),  # type: ignore[arg-type]
        (lambda: PairSet(NoisyData(IMAGES), refresh=0), "refresh=0: must be"),
        (lambda: PairSet(NoisyData(IMAGES), refresh=True), "refresh=True: must be"),
        (lambda: PairSet(NoisyData(IMAGES), value_range=(1, 0)), r"value_range=\(1, 0\)"),
        (lambda: PairSet(NoisyData(IMAGES), min_distance=0), "Invalid min_distance: 0"),
        (lambda: PairSet(NoisyData(IMAGES)).advance(0), "count=0: must be at least 1"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_state_of_another_set():
    pairs = PairSet(NoisyData(IMAGES))
    state = PairSet(NoisyData(IMAGES, count=3)).state_dict()
    with pytest.raises(ValueError, match=r"shape \(3, 2, 3, 2\), this set \(20, 2, 3, 2\)"):
        pairs.load_state_dict(state)
